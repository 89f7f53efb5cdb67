// SPDX-License-Identifier: BSD-3-Clause
// What goes there comes back: whoever is translated, and however, a packet that the other side sends back as
// it has come arrives bit for bit as it was sent, but for the hops that it has made.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17;
constexpr std::uint16_t kService = 80;

/// One way to translate: who calls whom, and what is not the same again.
struct Way {
    const char* name;
    std::string more;  ///< to kTwoArm6
    const char* client_link;
    const char* server_link;
    net::IpAddress client, called;

    bool is_ipv6() const { return !client.is_v4(); }
};
void PrintTo(const Way& way, std::ostream* out) {
    *out << way.name;
}

std::string rule(const char* external, const char* target, const char* source) {
    return std::string{"rules = ( { protocol = \"tcp+udp\"; external = \""} + external + "\"; target = \"" +
           target + "\"; source = \"" + source + "\"; } );";
}
const Way kWays[] = {
    {"Preserve", rule("192.0.2.3:80", "10.0.0.4:8080", "preserve"), "wan", "lan", kFarClient, kPublic},
    {"FullNat", rule("192.0.2.3:80", "10.0.0.4:8080", "masquerade"), "wan", "lan", kFarClient, kPublic},
    {"Preserve6", rule("[2001:db8:2::3]:80", "[fd00::4]:8080", "preserve"), "wan", "lan", kFarClient6,
     kPublic6},
    {"FullNat6", rule("[2001:db8:2::3]:80", "[fd00::4]:8080", "masquerade"), "wan", "lan", kFarClient6,
     kPublic6},
    {"FromIpv4ToIpv6", rule("192.0.2.3:80", "[fd00::4]:8080", "masquerade"), "wan", "lan", kFarClient,
     kPublic},
    {"FromIpv6ToIpv4", rule("[2001:db8:2::3]:80", "10.0.0.4:8080", "masquerade"), "wan", "lan", kFarClient6,
     kPublic6},
    {"Masquerade", "masquerades = ( { inside = \"lan\"; } );", "lan", "wan", kLanServer, kFarClient},
    {"Masquerade6", "masquerades = ( { inside = \"lan\"; } );", "lan", "wan", kLanServer6, kFarClient6},
    {"Prefix6", "prefixes = ( { inside = \"fd00::/48\"; external = \"2001:db8:aa::/48\"; } );", "lan", "wan",
     kLanServer6, kFarClient6},
};

/// A packet of the conversation, without its addresses and ports.
struct Shot {
    bool from_client;
    std::uint8_t flags, hops, traffic_class;
    std::uint16_t identification;
    std::uint32_t flow_label;
    bool dont_fragment, has_options, has_no_checksum;
    Bytes payload;
};
std::ostream& operator<<(std::ostream& out, const Shot& shot) {
    return out << (shot.from_client ? "client" : "server") << ", flags " << int{shot.flags} << ", hops "
               << int{shot.hops} << ", class " << int{shot.traffic_class} << ", id " << shot.identification
               << ", label " << shot.flow_label << (shot.dont_fragment ? ", DF" : "")
               << (shot.has_options ? ", options" : "") << (shot.has_no_checksum ? ", no checksum" : "")
               << ", " << shot.payload.size() << " bytes";
}
const std::vector<std::uint8_t> kFlags{kAck, kAck | kPsh, kSyn | kAck, kFin | kAck};

rc::Gen<Shot> any_shot() {
    using rc::gen::arbitrary;
    using rc::gen::inRange;
    return rc::gen::build<Shot>(
        rc::gen::set(&Shot::from_client), rc::gen::set(&Shot::flags, rc::gen::elementOf(kFlags)),
        rc::gen::set(&Shot::hops, inRange<std::uint8_t>(3, 255)), rc::gen::set(&Shot::traffic_class),
        rc::gen::set(&Shot::identification),
        rc::gen::set(&Shot::flow_label, inRange<std::uint32_t>(0, 1U << 20U)),
        rc::gen::set(&Shot::dont_fragment), rc::gen::set(&Shot::has_options),
        rc::gen::set(&Shot::has_no_checksum),
        // Those that add up to nothing, or to 0xffff, are the hard ones.
        rc::gen::set(&Shot::payload, rc::gen::container<Bytes>(rc::gen::weightedOneOf<std::uint8_t>(
                                         {{2, arbitrary<std::uint8_t>()},
                                          {1, rc::gen::just<std::uint8_t>(0xff)},
                                          {1, rc::gen::just<std::uint8_t>(0)}}))));
}

/// An IP packet's fields as they lie there.
class View {
 public:
    explicit View(Bytes frame) : bytes_{std::move(frame)} {}

    bool is_ipv6() const { return bytes_.at(12) == 0x86; }
    std::size_t l4() const {
        if (!is_ipv6()) return kIp + (bytes_.at(kIp) & 0xfU) * std::size_t{4};
        return kIp + 40 + (bytes_.at(kIp + 6) == kDestinationOptions ? 8 : 0);
    }
    std::uint8_t protocol() const {
        return !is_ipv6()                               ? bytes_.at(kIp + 9)
               : bytes_[kIp + 6] == kDestinationOptions ? bytes_.at(kIp + 40)
                                                        : bytes_[kIp + 6];
    }
    std::uint8_t& hops() { return bytes_.at(kIp + (is_ipv6() ? 7 : 8)); }
    void set_traffic_class(std::uint8_t value) {
        if (!is_ipv6()) {
            bytes_.at(kIp + 1) = value;
        } else {
            bytes_[kIp] = static_cast<std::uint8_t>(0x60 | value >> 4U);
            bytes_[kIp + 1] = static_cast<std::uint8_t>((value & 0xfU) << 4U | (bytes_[kIp + 1] & 0xfU));
        }
    }
    void set_flow_label(std::uint32_t label) {
        bytes_[kIp + 1] = static_cast<std::uint8_t>((bytes_[kIp + 1] & 0xf0U) | label >> 16U);
        bytes_[kIp + 2] = static_cast<std::uint8_t>(label >> 8U);
        bytes_[kIp + 3] = static_cast<std::uint8_t>(label);
    }
    /// IPv4's identification and DF, which IPv6 has no place for.
    void forget_fragmentation() {
        std::fill_n(bytes_.begin() + kIp + 4, 4, std::uint8_t{0});
        put(kIp + 10, header_checksum());
    }
    /// As the receiver sends it back: by the same link, to whom it came from.
    View sent_back() const {
        View back{*this};
        const std::size_t address = is_ipv6() ? 16 : 4, source = kIp + (is_ipv6() ? 8 : 12);
        back.swap(0, 6, 6);
        back.swap(source, source + address, address);
        back.swap(l4(), l4() + 2, 2);
        return back;
    }
    /// The same with right checksums, but for a missing one.
    void repair() {
        if (!is_ipv6()) put(kIp + 10, header_checksum());
        const std::size_t at = l4() + (protocol() == kTcp ? 16 : 6);
        if (protocol() == kUdp && bytes_[at] == 0 && bytes_[at + 1] == 0) return;
        put(at, 0);
        const std::uint16_t sum = l4_checksum();
        put(at, sum == 0 && protocol() == kUdp ? 0xffff : sum);
    }
    const Bytes& bytes() const { return bytes_; }
    Frame frame() const { return {bytes_}; }

 private:
    static constexpr std::size_t kIp = 14;
    static constexpr std::uint8_t kDestinationOptions = 60;

    void put(std::size_t at, std::uint16_t value) {
        bytes_.at(at) = static_cast<std::uint8_t>(value >> 8U);
        bytes_.at(at + 1) = static_cast<std::uint8_t>(value);
    }
    void swap(std::size_t a, std::size_t b, std::size_t count) {
        std::swap_ranges(bytes_.begin() + static_cast<std::ptrdiff_t>(a),
                         bytes_.begin() + static_cast<std::ptrdiff_t>(a + count),
                         bytes_.begin() + static_cast<std::ptrdiff_t>(b));
    }
    std::uint16_t header_checksum() const {
        Bytes header(bytes_.begin() + kIp, bytes_.begin() + static_cast<std::ptrdiff_t>(l4()));
        header.at(10) = header.at(11) = 0;
        return slow_checksum(header);
    }
    std::uint16_t l4_checksum() const {
        const std::size_t address = kIp + (is_ipv6() ? 8 : 12), count = is_ipv6() ? 32 : 8;
        const auto at = [this](std::size_t i) { return bytes_.begin() + static_cast<std::ptrdiff_t>(i); };
        Bytes summed(at(address), at(address + count));
        const std::size_t length = bytes_.size() - l4();
        summed.insert(summed.end(), {0, protocol(), static_cast<std::uint8_t>(length >> 8U),
                                     static_cast<std::uint8_t>(length)});
        summed.insert(summed.end(), at(l4()), bytes_.end());
        return slow_checksum(summed);
    }

    Bytes bytes_;
};

class Symmetry : public ::testing::TestWithParam<Way> {
 protected:
    /// A packet of `from` to `to`, by the link where it comes in.
    View made(const Shot& shot, std::uint8_t protocol, const char* link, const net::IpEndpoint& from,
              const net::IpEndpoint& to) const {
        PacketBuilder builder = box_->to(link);
        builder.from(std::string{link} == "wan" ? kRouterMac : kServerMac).ttl(shot.hops);
        const bool has_options = shot.has_options && !is_crossing_;
        if (!from.address.is_v4()) {
            builder.ipv6(from.address.v6(), to.address.v6());
            if (has_options) builder.extension(60, Bytes{0, 1, 4, 0, 0, 0, 0});
        } else {
            builder.ipv4(from.address.v4(), to.address.v4()).identification(shot.identification);
            if (shot.dont_fragment) builder.dont_fragment();
            if (has_options) builder.ip_options({1, 1, 1, 0});
        }
        if (protocol == kTcp) {
            builder.tcp(from.port.host(), to.port.host(), shot.flags);
        } else {
            builder.udp(from.port.host(), to.port.host());
            if (shot.has_no_checksum && from.address.is_v4() && !is_crossing_) builder.l4_checksum(0);
        }
        View view{builder.payload(shot.payload).bytes()};
        view.set_traffic_class(shot.traffic_class);
        if (view.is_ipv6()) view.set_flow_label(shot.flow_label);
        view.repair();
        return view;
    }
    std::vector<Frame> pass(const char* in, const View& frame, const char* out) {
        box_->put(in, frame.bytes());
        box_->settle();
        return box_->take(out);
    }

    std::optional<Box> box_;
    bool is_crossing_ = false;
};
INSTANTIATE_TEST_SUITE_P(, Symmetry, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return test.param.name; });

/// P1, P2, S1
TEST_P(Symmetry, WhatComesBackIsWhatWasSent) {
    const Way& way = GetParam();
    const std::string networks = kTwoArm6.substr(0, kTwoArm6.find("rules = "));
    box_.emplace(networks + way.more);
    box_->settle();
    std::uint16_t client_port = 1024;
    EXPECT_TRUE(rc::check([&] {
        for (const char* link : {"wan", "lan"}) box_->take(link);
        const std::uint8_t protocol = *rc::gen::element(kTcp, kUdp).as("protocol");
        auto shots = *rc::gen::container<std::vector<Shot>>(any_shot()).as("packets");
        const net::IpEndpoint client{way.client, net::be16::from_host(++client_port)};
        const net::IpEndpoint called{way.called, net::be16::from_host(kService)};
        shots.insert(shots.begin(), Shot{true, kSyn, 64, 0, 0, 0, false, false, false, {}});
        std::optional<Seen> seen;  // by the server
        for (const Shot& shot : shots) {
            const char* in = shot.from_client ? way.client_link : way.server_link;
            const char* out = shot.from_client ? way.server_link : way.client_link;
            const View sent = shot.from_client ? made(shot, protocol, in, client, called)
                                               : made(shot, protocol, in, seen->destination, seen->source);
            const auto there = pass(in, sent, out);
            RC_ASSERT(there.size() == 1U);
            View arrived{there[0].bytes};
            if (!seen) {
                seen = look_into(there[0]);
                is_crossing_ = seen->source.address.is_v4() == way.is_ipv6();
            }
            View repaired{arrived};
            repaired.repair();
            RC_ASSERT(arrived.frame() == repaired.frame());
            const auto back = pass(out, arrived.sent_back(), in);
            RC_ASSERT(back.size() == 1U);
            View returned{back[0].bytes};
            View expected = sent.sent_back();
            expected.hops() = static_cast<std::uint8_t>(shot.hops - 2);
            if (is_crossing_ && expected.is_ipv6()) expected.set_flow_label(0);
            if (is_crossing_ && !expected.is_ipv6()) {
                expected.forget_fragmentation();
                returned.forget_fragmentation();
            }
            expected.repair();
            RC_ASSERT(returned.frame() == expected.frame());
        }
        box_->end_sessions();
    }));
    box_->expect_every_packet_accounted_for();
    box_->expect_no_record_lost();
}

}  // namespace
}  // namespace fwd::test
