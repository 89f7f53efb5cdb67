// SPDX-License-Identifier: BSD-3-Clause
// Frames, time and changes of rules, in whatever order the input says, through the whole data plane. Every
// packet is accounted for, every record is free or live, and what leaves is well formed and shows nothing of
// the inside.
//
// An input is a byte that chooses the network, then steps: a byte that says what happens, a byte with a
// length or a time, and for a frame its bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "test/packet/eal.h"
#include "test/packet/networks.h"

namespace fwd::test {
namespace {

enum Step : std::uint8_t {
    second_link = 0x01,
    repaired = 0x02,  ///< to fwd's MAC address, with right checksums
    second_worker = 0x04,
    in_a_burst = 0x08,  ///< together with the next one
    big = 0x10,         ///< with more than a kilobyte behind
    first_other = 0xe0,
    pass_tenths = first_other,
    pass_minute,  ///< once: it takes long
    clear_sessions,
    fewer_rules,
    all_rules,
};

constexpr std::size_t kMostSteps = 64;

struct Network {
    std::string config;
    std::array<std::string, 2> links;
    std::string rules, fewer_rules;
    std::unique_ptr<Box> box = {};

    Box& get() {
        if (!box) box = std::make_unique<Box>(config, 2);
        return *box;
    }
};

const std::string kEveryKindOfRule = R"(rules = (
    { protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080*2,10.0.0.5:8080"; },
    { protocol = "tcp"; external = "192.0.2.1:2222"; target = "10.0.0.5:22"; source = "masquerade"; },
    { protocol = "udp"; external = "192.0.2.3:27000-27100"; target = "10.0.0.5:27000-27100"; rate = 20; },
    { protocol = "udp"; external = "192.0.2.3:27015"; target = "10.0.0.4:27015"; max_sessions_per_source = 2;
      not_from = [ "198.51.100.128/25" ]; } );)";

/// Few source ports, so that an input can name the one that fwd has chosen.
std::array<Network, 3>& networks() {
    static std::array<Network, 3> all{{
        {"masquerade_ports = \"5000-5001\";\n" + kOneArm,
         {"lan", "lan"},
         R"(rules = ( { protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
                      { protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );)",
         R"(rules = ( { protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );)"},
        {"masquerade_ports = \"5000-5001\";\n" + kTwoArm, {"wan", "lan"}, kEveryKindOfRule, "rules = ();"},
        {R"(links = ( { name = "wan"; device = "net_null_trunk"; vlan = 100; addresses = [ "192.0.2.1/24" ];
                        ping = true; rx_checksum = "partial"; },
                      { name = "lan"; device = "net_null_trunk"; vlan = 4094; addresses = [ "10.0.0.1/24" ];
                        mtu = 576; } );)" +
             kTwoArmRest,
         {"wan", "lan"},
         kEveryKindOfRule,
         "rules = ();"},
    }};
    return all;
}

std::uint16_t word(std::span<const std::uint8_t> bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}
void put_word(std::span<std::uint8_t> bytes, std::size_t at, std::uint16_t value) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8U);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
}

/// Where the IPv4 packet of a frame begins; its size when there is none.
std::size_t l3_offset(std::span<const std::uint8_t> frame) {
    std::size_t type = 12;
    if (frame.size() >= 18 && word(frame, type) == 0x8100) type += 4;
    return frame.size() >= type + 22 && word(frame, type) == 0x0800 ? type + 2 : frame.size();
}

struct Ip {
    std::span<std::uint8_t> header, l4;
    std::uint8_t protocol = 0;

    /// Of what begins with an IPv4 header whose lengths are true, cut to the packet; empty otherwise.
    static Ip of(std::span<std::uint8_t> bytes) {
        if (bytes.size() < 20 || bytes[0] >> 4U != 4) return {};
        const std::size_t header = (bytes[0] & 0xfU) * std::size_t{4};
        const std::size_t total = std::min<std::size_t>(word(bytes, 2), bytes.size());
        if (header < 20 || total < header) return {};
        return {bytes.first(header), bytes.subspan(header, total - header), bytes[9]};
    }
    bool is_fragment() const { return (word(header, 6) & 0x3fffU) != 0; }
    /// What TCP or UDP sums; nothing where there is no such header.
    std::span<std::uint8_t> summed() const {
        if (protocol == 6 && l4.size() >= 20) return l4;
        if (protocol == 17 && l4.size() >= 8 && word(l4, 4) >= 8 && word(l4, 4) <= l4.size())
            return l4.first(word(l4, 4));
        return {};
    }
    std::size_t checksum_at() const { return protocol == 6 ? 16 : 6; }
    /// Pseudo-header and datagram.
    Bytes with_pseudo_header() const {
        const auto datagram = summed();
        Bytes bytes(header.begin() + 12, header.begin() + 20);
        bytes.insert(bytes.end(), {0, protocol, static_cast<std::uint8_t>(datagram.size() >> 8U),
                                   static_cast<std::uint8_t>(datagram.size())});
        bytes.insert(bytes.end(), datagram.begin(), datagram.end());
        return bytes;
    }
};

void repair_ip_checksum(std::span<std::uint8_t> header) {
    put_word(header, 10, 0);
    put_word(header, 10, slow_checksum(header));
}

void repair(Bytes& frame, net::MacAddress own) {
    if (frame.size() >= 6 && (frame[0] & 1U) == 0) std::ranges::copy(own.bytes, frame.begin());
    const Ip ip = Ip::of(std::span{frame}.subspan(l3_offset(frame)));
    if (ip.header.empty()) return;
    repair_ip_checksum(ip.header);
    if (const auto datagram = ip.summed(); !datagram.empty()) {
        put_word(datagram, ip.checksum_at(), 0);
        const std::uint16_t sum = slow_checksum(ip.with_pseudo_header());
        put_word(datagram, ip.checksum_at(), sum == 0 && ip.protocol == 17 ? 0xffff : sum);
    }
    if (ip.protocol == 1 && ip.l4.size() >= 8) {
        if (const Ip quoted = Ip::of(ip.l4.subspan(8)); !quoted.header.empty())
            repair_ip_checksum(quoted.header);
        put_word(ip.l4, 2, 0);
        put_word(ip.l4, 2, slow_checksum(ip.l4));
    }
}

void expect_well_formed(Bytes bytes, const std::string& link, bool checksums_came_right) {
    const std::size_t l3 = l3_offset(bytes);
    if (l3 == bytes.size()) {
        EXPECT_GE(bytes.size(), 42U) << "ARP";
        return;
    }
    const Ip ip = Ip::of(std::span{bytes}.subspan(l3));
    ASSERT_FALSE(ip.header.empty());
    ASSERT_EQ(word(ip.header, 2), bytes.size() - l3);
    EXPECT_EQ(slow_checksum(ip.header), 0);
    const auto is_inside = [](const Ip& packet, std::size_t at) { return packet.header[at] == 10; };
    if (link == "wan") {
        EXPECT_FALSE(is_inside(ip, 12) || is_inside(ip, 16)) << "an inside address outside";
    }
    if (ip.protocol == 1) {
        ASSERT_GE(ip.l4.size(), 8U);
        EXPECT_EQ(slow_checksum(ip.l4), 0);
        const Ip quoted = Ip::of(ip.l4.subspan(8));
        if (link == "wan" && ip.l4[0] != 0 && !quoted.header.empty()) {
            EXPECT_FALSE(is_inside(quoted, 12) || is_inside(quoted, 16)) << "an inside address quoted";
        }
    } else if (checksums_came_right && !ip.is_fragment()) {
        const auto datagram = ip.summed();
        ASSERT_FALSE(datagram.empty());
        EXPECT_EQ(slow_checksum(ip.with_pseudo_header()), 0);
    }
}

void run(std::span<const std::uint8_t> input) {
    if (input.empty()) return;
    Network& network = networks()[input[0] % networks().size()];
    Box& box = network.get();
    input = input.subspan(1);
    bool checksums_right = true, has_passed = false;
    const auto look = [&] {
        for (const std::string& link : network.links) {
            for (const Frame& frame : box.take(link)) expect_well_formed(frame.bytes, link, checksums_right);
        }
    };
    for (std::size_t steps = 0; input.size() >= 2 && steps < kMostSteps; ++steps) {
        const std::uint8_t step = input[0], size = input[1];
        input = input.subspan(2);
        if (step >= first_other) {
            box.settle();
            if (step == pass_tenths) box.pass(std::chrono::milliseconds{100} * (size % 32));
            if (step == pass_minute && !std::exchange(has_passed, true)) box.pass(std::chrono::minutes{1});
            if (step == clear_sessions) box.clear_sessions();
            if (step == fewer_rules) box.set_rules(network.fewer_rules);
            if (step == all_rules) box.set_rules(network.rules);
            look();
            continue;
        }
        const std::string& link = network.links[(step & second_link) != 0 ? 1 : 0];
        Bytes frame{input.begin(),
                    input.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(size, input.size()))};
        input = input.subspan(frame.size());
        if ((step & big) != 0) frame.resize(frame.size() + 1200);
        if ((step & repaired) != 0)
            repair(frame, box.mac_of(link));
        else
            checksums_right = false;
        box.put(link, frame, (step & second_worker) != 0 ? 1 : 0);
        if ((step & in_a_burst) == 0) {
            box.settle();
            look();
        }
    }
    box.settle();
    look();
    box.expect_every_packet_accounted_for();
    // The next input finds what this one has found.
    box.clear_sessions();
    box.set_rules(network.rules);
    for (int tenths = 0; tenths < 20 && (tenths < 2 || box.sessions() != 0); ++tenths)
        box.pass(std::chrono::milliseconds{100});
    look();
    EXPECT_EQ(box.sessions(), 0);
    box.expect_no_record_lost();
}

}  // namespace
}  // namespace fwd::test

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** argv) {
    GTEST_FLAG_SET(break_on_failure, true);
    return fwd::test::start_eal((*argv)[0]) ? 0 : 1;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fwd::test::run({data, size});
    return 0;
}
