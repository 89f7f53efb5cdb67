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
#include "test/packet/ipv6_networks.h"
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
    /// Whoever is refused gets back what he has sent, whatever he knows.
    bool quotes_the_refused = false;
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

/// Both families, across them, a whole address, and a masquerade that leaves one port of each parity.
const std::string kBothFamilies = R"(rules = (
    { protocol = "tcp+udp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080"; source = "masquerade"; },
    { protocol = "udp"; external = "[2001:db8:2::3]:27000-27100"; target = "[fd00::5]:27000-27100"; },
    { protocol = "tcp+udp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; },
    { protocol = "tcp+udp"; external = "[2001:db8:2::3]:81"; target = "10.0.0.4:8080"; },
    { protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5"; outbound = true; } );
    masquerades = ( { inside = "lan"; max_ports_per_host = 8; } );)";

/// IPv4's: a whole address, masquerade behind a pool that lets everybody answer, and a hairpin to either.
const std::string kWholeAddressAndPool = R"(rules = (
    { protocol = "all"; external = "192.0.2.5"; target = "10.0.0.5"; outbound = true; },
    { protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; source = "masquerade"; },
    { protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.4:5353"; max_sessions = 4; } );
    masquerades = ( { inside = "lan"; pool = [ "192.0.2.7", "203.0.113.9" ]; filtering = "endpoint-independent";
                      max_ports_per_host = 8; } );)";
/// The same of IPv6.
const std::string kWholeAddressAndPool6 = R"(rules = (
    { protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5"; },
    { protocol = "tcp+udp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080"; },
    { protocol = "tcp+udp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; } );
    masquerades = ( { inside = "lan"; pool = [ "2001:db8:2::7" ]; filtering = "endpoint-independent"; } );)";

/// Links that tell whom they refuse, keep segments short and hide the hop; and TCP's windows are looked at.
std::string strict(std::string networks) {
    const auto put = [&networks](const std::string& link, const std::string& more) {
        const std::string name = "name = \"" + link + "\";";
        networks.insert(networks.find(name) + name.size(), more);
    };
    put("wan", R"( refuse = "icmp"; mss_clamp = 1300; ping = true;)");
    put("lan", R"( mss_clamp = "mtu"; mtu = 1400;)");
    return "tcp_window_check = true; ttl = \"hide\";\n" + networks;
}

/// Few source ports, so that an input can name the one that fwd has chosen.
std::array<Network, 9>& networks() {
    static std::array<Network, 9> all{{
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
        {"masquerade_ports = \"5000-5001\"; outbound_ports = \"6000-6001\";\n" + kTwoArm6,
         {"wan", "lan"},
         kBothFamilies,
         "rules = ();"},
        {kTwoArm6 +
             R"(prefixes = ( { inside = "fd00::/48"; external = "2001:db8:aa::/48"; inbound = true; } );)",
         {"wan", "lan"},
         kBothFamilies,
         "rules = ();"},
        {strict("masquerade_ports = \"5000-5001\";\n" + kTwoArm),
         {"wan", "lan"},
         kEveryKindOfRule,
         "rules = ();",
         true},
        {"masquerade_ports = \"5000-5001\"; outbound_ports = \"6000-6001\";\n" + kTwoArm,
         {"wan", "lan"},
         kWholeAddressAndPool,
         "rules = (); masquerades = ();"},
        {strict("masquerade_ports = \"5000-5001\"; outbound_ports = \"6000-6001\";\n" + kTwoArm6),
         {"wan", "lan"},
         kWholeAddressAndPool6,
         "rules = (); masquerades = ();",
         true},
        {strict(kTwoArm6) + R"(prefixes = ( { inside = "fd00::/64"; external = "2001:db8:aa:1::/64"; } );)",
         {"wan", "lan"},
         kWholeAddressAndPool,
         kBothFamilies,
         true},
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

/// Where the packet of a frame begins that is of this type and so long; the frame's size when there is none.
std::size_t l3_offset(std::span<const std::uint8_t> frame, std::uint16_t ether_type, std::size_t bytes) {
    std::size_t type = 12;
    if (frame.size() >= 18 && word(frame, type) == 0x8100) type += 4;
    return frame.size() >= type + 2 + bytes && word(frame, type) == ether_type ? type + 2 : frame.size();
}
std::size_t ipv4_offset(std::span<const std::uint8_t> frame) {
    return l3_offset(frame, 0x0800, 20);
}
std::size_t ipv6_offset(std::span<const std::uint8_t> frame) {
    return l3_offset(frame, 0x86dd, 40);
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

/// An IPv6 packet; `l4` only where TCP, UDP or ICMPv6 come right behind the header.
struct Ip6 {
    std::span<std::uint8_t> header, l4;
    std::uint8_t protocol = 0;

    static Ip6 of(std::span<std::uint8_t> bytes) {
        if (bytes.size() < 40 || bytes[0] >> 4U != 6) return {};
        Ip6 ip{bytes.first(40), {}, bytes[6]};
        std::size_t payload = std::min<std::size_t>(word(bytes, 4), bytes.size() - 40);
        const std::size_t least = ip.protocol == 6 ? 20 : 8;
        const bool is_summed = ip.protocol == 6 || ip.protocol == 17 || ip.protocol == 58;
        if (!is_summed || payload < least) return ip;
        if (ip.protocol == 17) {
            if (word(bytes, 44) < least || word(bytes, 44) > payload) return ip;
            payload = word(bytes, 44);
        }
        ip.l4 = bytes.subspan(40, payload);
        return ip;
    }
    std::size_t checksum_at() const { return protocol == 6 ? 16 : protocol == 17 ? 6 : 2; }
    Bytes with_pseudo_header() const {
        Bytes bytes(header.begin() + 8, header.end());
        bytes.insert(bytes.end(), {0, 0, static_cast<std::uint8_t>(l4.size() >> 8U),
                                   static_cast<std::uint8_t>(l4.size()), 0, 0, 0, protocol});
        bytes.insert(bytes.end(), l4.begin(), l4.end());
        return bytes;
    }
    /// Whether one of its addresses is the network's behind fwd.
    bool shows_inside() const {
        constexpr std::array<std::uint8_t, 8> kInside{0xfd};
        return std::equal(kInside.begin(), kInside.end(), header.begin() + 8) ||
               std::equal(kInside.begin(), kInside.end(), header.begin() + 24);
    }
};

void repair_ip_checksum(std::span<std::uint8_t> header) {
    put_word(header, 10, 0);
    put_word(header, 10, slow_checksum(header));
}

/// @return false when a checksum may be left that is not right: behind extension headers
bool repair(Bytes& frame, net::MacAddress own) {
    if (frame.size() >= 6 && (frame[0] & 1U) == 0) std::ranges::copy(own.bytes, frame.begin());
    if (const Ip6 ip = Ip6::of(std::span{frame}.subspan(ipv6_offset(frame))); !ip.l4.empty()) {
        put_word(ip.l4, ip.checksum_at(), 0);
        const std::uint16_t sum = slow_checksum(ip.with_pseudo_header());
        put_word(ip.l4, ip.checksum_at(), sum == 0 && ip.protocol == 17 ? 0xffff : sum);
    } else if (!ip.header.empty()) {
        return false;
    }
    const Ip ip = Ip::of(std::span{frame}.subspan(ipv4_offset(frame)));
    if (ip.header.empty()) return true;
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
    return true;
}

void expect_well_formed_ipv6(std::span<std::uint8_t> packet, bool outside, bool checksums_came_right,
                             bool quotes_the_refused) {
    const Ip6 ip = Ip6::of(packet);
    ASSERT_FALSE(ip.header.empty());
    ASSERT_EQ(word(packet, 4), packet.size() - 40);
    if (outside) {
        EXPECT_FALSE(ip.shows_inside()) << "an inside address outside";
    }
    if (ip.l4.empty()) return;
    if (checksums_came_right) {
        EXPECT_EQ(slow_checksum(ip.with_pseudo_header()), 0);
    }
    constexpr std::uint8_t kFirstThatIsNoError = 128;
    const bool is_refusal = quotes_the_refused && ip.l4[0] == 1;
    if (outside && ip.protocol == 58 && ip.l4[0] < kFirstThatIsNoError && !is_refusal) {
        const Ip6 quoted = Ip6::of(ip.l4.subspan(8));
        EXPECT_FALSE(!quoted.header.empty() && quoted.shows_inside()) << "an inside address quoted";
    }
}

void expect_well_formed(Bytes bytes, const std::string& link, bool checksums_came_right,
                        bool quotes_the_refused) {
    if (const std::size_t ipv6 = ipv6_offset(bytes); ipv6 != bytes.size())
        return expect_well_formed_ipv6(std::span{bytes}.subspan(ipv6), link == "wan", checksums_came_right,
                                       quotes_the_refused);
    const std::size_t l3 = ipv4_offset(bytes);
    if (l3 == bytes.size()) {
        EXPECT_GE(bytes.size(), 42U) << "ARP";
        return;
    }
    const Ip ip = Ip::of(std::span{bytes}.subspan(l3));
    ASSERT_FALSE(ip.header.empty());
    ASSERT_EQ(word(ip.header, 2), bytes.size() - l3);
    EXPECT_EQ(slow_checksum(ip.header), 0);
    // 10.0.0.0/24: a host of any other network may be a client, or a masquerade's peer.
    const auto is_inside = [](const Ip& packet, std::size_t at) {
        return packet.header[at] == 10 && packet.header[at + 1] == 0 && packet.header[at + 2] == 0;
    };
    if (link == "wan") {
        EXPECT_FALSE(is_inside(ip, 12) || is_inside(ip, 16)) << "an inside address outside";
    }
    if (ip.protocol == 1) {
        ASSERT_GE(ip.l4.size(), 8U);
        EXPECT_EQ(slow_checksum(ip.l4), 0);
        const Ip quoted = Ip::of(ip.l4.subspan(8));
        constexpr std::array<std::uint8_t, 5> kErrors{3, 4, 5, 11, 12};
        const bool is_refusal = quotes_the_refused && ip.l4[0] == 3;
        if (link == "wan" && std::ranges::find(kErrors, ip.l4[0]) != kErrors.end() && !is_refusal &&
            !quoted.header.empty()) {
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
            for (const Frame& frame : box.take(link))
                expect_well_formed(frame.bytes, link, checksums_right, network.quotes_the_refused);
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
        const bool right = (step & repaired) != 0 && repair(frame, box.mac_of(link));
        checksums_right = checksums_right && right;
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
