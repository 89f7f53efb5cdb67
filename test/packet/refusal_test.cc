// SPDX-License-Identifier: BSD-3-Clause
// What those get to know whose packets are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kUnreachable = 3, kPort = 3, kProhibited = 13;

const std::string kTelling = R"(
    links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; refuse = "icmp"; },
              { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
)" + kTwoArmRest;

PacketBuilder from_client(const Box& box) {
    return box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic);
}
Frame error_about(const Box& box, const PacketBuilder& packet, std::uint8_t code, std::size_t quoted = 548) {
    return from_fwd(box, "wan", kRouterMac)
        .ipv4(kWanAddress, kFarClient)
        .identification(0)
        .dont_fragment()
        .icmp(kUnreachable, code)
        .payload(first(packet.ip_bytes(), quoted))
        .frame();
}

/// T4, I8: by default nobody is told anything.
TEST(Refusal, IsSilentByDefault) {
    Box box{kTwoArm};
    EXPECT_THAT(box.exchange("wan", from_client(box).tcp(1, 81, kSyn), "wan"), IsEmpty());
    EXPECT_THAT(box.exchange("wan", from_client(box).udp(1, 81), "wan"), IsEmpty());
    box.pass(10s);
    EXPECT_THAT(box.take("wan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 2);
    box.expect_every_packet_accounted_for();
}

/// T4: a SYN that nobody explains is answered, but not before 6 s, and not when it belongs to a session by
/// then.
TEST(Refusal, OfASynIsToldSixSecondsLater) {
    Box box{kTelling};
    const auto syn = from_client(box).tcp(1, 81, kSyn).payload_bytes(100);
    EXPECT_THAT(box.exchange("wan", syn, "wan"), IsEmpty());
    EXPECT_THAT(box.exchange("wan", from_client(box).tcp(2, 82, kSyn), "wan"), IsEmpty());
    EXPECT_THAT(box.exchange("wan", from_client(box).tcp(1, 81, kAck), "wan"), IsEmpty()) << "no SYN";
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 3) << "still counted for what they are";
    box.expect_every_packet_accounted_for();
    box.pass(5s);
    EXPECT_THAT(box.take("wan"), IsEmpty());
    box.set_rules(
        R"(rules = ( { name = "new"; protocol = "tcp"; external = "192.0.2.3:82"; target = "10.0.0.4:8080"; } );)");
    EXPECT_THAT(box.exchange("wan", from_client(box).tcp(2, 82, kSyn), "lan"), SizeIs(1));
    box.take("wan");  // announcements
    box.pass(1100ms);
    EXPECT_THAT(box.take("wan"), ElementsAre(error_about(box, syn, kPort, 64)));
    box.pass(10s);
    EXPECT_THAT(box.take("wan"), IsEmpty());
    box.expect_every_packet_accounted_for();
}

/// I8: what a rule or the lack of room refuses is answered at once.
TEST(Refusal, ByPolicyOrForWantOfRoomIsToldAtOnce) {
    Box box{kTelling};
    const auto refused = [&](const PacketBuilder& packet, Verdict verdict) {
        EXPECT_THAT(box.exchange("wan", packet, "wan"), ElementsAre(error_about(box, packet, kProhibited)));
        EXPECT_EQ(box.count(verdict), 1);
    };
    refused(from_client(box).udp(1, 81).payload_bytes(1000), Verdict::drop_no_rule);
    const auto with_options = from_client(box).udp(1, 82).ip_options({1, 1, 1, 0});
    EXPECT_THAT(box.exchange("wan", with_options, "wan"),
                ElementsAre(error_about(box, with_options, kProhibited)));
    box.set_rules(R"(rules = (
        { name = "a"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; from = [ "203.0.113.0/24" ]; },
        { name = "b"; protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.4:53"; max_sessions = 1; } );)");
    box.take("wan");  // announcements
    refused(from_client(box).tcp(1, 80, kSyn), Verdict::drop_source_denied);
    EXPECT_THAT(box.exchange("wan", from_client(box).udp(1, 53), "lan"), SizeIs(1));
    refused(from_client(box).udp(2, 53), Verdict::drop_rule_full);
    // What is wrong with a packet is nobody's refusal.
    EXPECT_THAT(box.exchange("wan", from_client(box).tcp(1, 80, kSyn).ipv4("127.0.0.1"_ip, kPublic), "wan"),
                IsEmpty());
    // Nor does it reach those behind the other link.
    EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4(kLanServer, kFarClient).udp(1, 9), "lan"), IsEmpty());
    box.expect_every_packet_accounted_for();
}

/// I8: a flood of what is refused gets a limited number of answers, at once and later, and is counted as
/// ever.
TEST(Refusal, IsToldALimitedNumberOfTimes) {
    Box box{kTelling};
    constexpr unsigned kFlood = 2000;
    for (unsigned i = 0; i < kFlood; ++i) {
        box.put("wan", from_client(box).udp(static_cast<std::uint16_t>(i + 1), 81));
        box.put("wan", from_client(box).tcp(static_cast<std::uint16_t>(i + 1), 81, kSyn));
        if (i % 32 == 31) box.settle();
    }
    box.settle();
    const auto told = box.take("wan").size();
    EXPECT_GE(told, 10);
    EXPECT_LE(told, 30);
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 2 * kFlood);
    box.expect_every_packet_accounted_for();
    // Over a minute: at most 256 wait at a time.
    for (unsigned i = 0; i < 100; ++i) {
        for (unsigned n = 0; n < 50; ++n)
            box.put("wan", from_client(box).tcp(static_cast<std::uint16_t>(i * 50 + n + 1), 81, kSyn));
        box.pass(100ms);
    }
    box.pass(7s);
    EXPECT_LE(box.take("wan").size(), 600);
    box.expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
