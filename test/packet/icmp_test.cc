// SPDX-License-Identifier: BSD-3-Clause
// ICMP errors about sessions, from both sides, and those that fwd sends itself: what traceroute and path MTU
// discovery need.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kUnreachable = 3, kPortUnreachable = 3, kFragmentationNeeded = 4, kTimeExceeded = 11;

/// A UDP session through full NAT: what each side sends and sees.
class IcmpAboutMasqueradedSession : public ::testing::Test {
 protected:
    IcmpAboutMasqueradedSession() {
        const auto sent = box_.exchange("lan", request(), "lan");
        port_ = look_into(sent.at(0)).source.port.host();
    }
    PacketBuilder request() {
        return box_.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(5000, 53).payload("query");
    }
    PacketBuilder request_as_forwarded() {
        return packet().ipv4(kFwd, kServer).ttl(63).udp(port_, 5353).payload("query");
    }
    PacketBuilder answer() {
        return box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).udp(5353, port_).payload("reply");
    }
    PacketBuilder answer_as_forwarded() {
        return packet().ipv4(kExternal, kClient).ttl(63).udp(53, 5000).payload("reply");
    }

    Box box_{kOneArm};
    std::uint16_t port_ = 0;
};

/// I5
TEST_F(IcmpAboutMasqueradedSession, ErrorFromTheServerComesFromTheExternalAddress) {
    EXPECT_THAT(
        box_.exchange("lan",
                      box_.to("lan")
                          .from(kServerMac)
                          .ipv4(kServer, kFwd)
                          .icmp(kUnreachable, kPortUnreachable)
                          .payload(request_as_forwarded().ip_bytes()),
                      "lan"),
        ElementsAre(
            from_fwd(box_, "lan", kClientMac)
                .ipv4(kExternal, kClient)
                .ttl(63)
                .icmp(kUnreachable, kPortUnreachable)
                .payload(packet().ipv4(kClient, kExternal).ttl(63).udp(5000, 53).payload("query").ip_bytes())
                .frame()));
}

/// I5
TEST_F(IcmpAboutMasqueradedSession, ErrorFromARouterBeforeTheServerHidesThatRouter) {
    EXPECT_THAT(
        box_.exchange("lan",
                      box_.to("lan")
                          .ipv4("10.9.9.9"_ip, kFwd)
                          .icmp(kTimeExceeded, 0)
                          .payload(first(request_as_forwarded().ip_bytes(), 28)),
                      "lan"),
        ElementsAre(
            from_fwd(box_, "lan", kClientMac)
                .ipv4(kExternal, kClient)
                .ttl(63)
                .icmp(kTimeExceeded, 0)
                .payload(first(
                    packet().ipv4(kClient, kExternal).ttl(63).udp(5000, 53).payload("query").ip_bytes(), 28))
                .frame()));
}

/// I4
TEST_F(IcmpAboutMasqueradedSession, ErrorFromTheClientReachesTheServer) {
    box_.exchange("lan", answer(), "lan");
    EXPECT_THAT(
        box_.exchange("lan",
                      box_.to("lan")
                          .from(kClientMac)
                          .ipv4(kClient, kExternal)
                          .icmp(kUnreachable, kPortUnreachable)
                          .payload(answer_as_forwarded().ip_bytes()),
                      "lan"),
        ElementsAre(
            from_fwd(box_, "lan", kServerMac)
                .ipv4(kFwd, kServer)
                .ttl(63)
                .icmp(kUnreachable, kPortUnreachable)
                .payload(packet().ipv4(kServer, kFwd).ttl(63).udp(5353, port_).payload("reply").ip_bytes())
                .frame()));
}

/// I4
TEST_F(IcmpAboutMasqueradedSession, ErrorFromARouterBeforeTheClientKeepsThatRoutersAddress) {
    box_.exchange("lan", answer(), "lan");
    const auto sent = box_.exchange("lan",
                                    box_.to("lan")
                                        .ipv4("10.9.9.9"_ip, kExternal)
                                        .icmp(kUnreachable, kFragmentationNeeded, 1400)
                                        .payload(answer_as_forwarded().ip_bytes()),
                                    "lan");
    EXPECT_THAT(
        sent,
        ElementsAre(
            from_fwd(box_, "lan", kServerMac)
                .ipv4("10.9.9.9"_ip, kServer)
                .ttl(63)
                .icmp(kUnreachable, kFragmentationNeeded, 1400)
                .payload(packet().ipv4(kServer, kFwd).ttl(63).udp(5353, port_).payload("reply").ip_bytes())
                .frame()));
}

/// I4, I5: about packets with IP options, which fwd passes on.
TEST_F(IcmpAboutMasqueradedSession, ErrorsQuoteIpOptions) {
    const Bytes options{7, 7, 4, 0, 0, 0, 0, 0};  // record route
    for (const bool whole : {true, false}) {
        const std::size_t quoted = whole ? 1000 : 28 + options.size();
        const auto quote = [&](PacketBuilder inner) {
            return first(inner.ip_options(options).ip_bytes(), quoted);
        };
        EXPECT_THAT(
            box_.exchange("lan",
                          box_.to("lan")
                              .from(kServerMac)
                              .ipv4(kServer, kFwd)
                              .icmp(kUnreachable, kPortUnreachable)
                              .payload(quote(request_as_forwarded())),
                          "lan"),
            ElementsAre(
                from_fwd(box_, "lan", kClientMac)
                    .ipv4(kExternal, kClient)
                    .ttl(63)
                    .icmp(kUnreachable, kPortUnreachable)
                    .payload(quote(packet().ipv4(kClient, kExternal).ttl(63).udp(5000, 53).payload("query")))
                    .frame()));
    }
    // Cut within the options, or a header that says less than there is of it.
    const auto send = [&](const Bytes& inner) {
        return box_.exchange(
            "lan", box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).icmp(kUnreachable, 3).payload(inner),
            "lan");
    };
    EXPECT_THAT(send(first(request_as_forwarded().ip_options(Bytes(40, 1)).ip_bytes(), 60)), IsEmpty());
    EXPECT_THAT(send(request_as_forwarded().ip_header_words(4).ip_bytes()), IsEmpty());
    EXPECT_THAT(send(request_as_forwarded().ip_options(options).ip_total_bytes(30).ip_bytes()), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_bad_icmp), 3);
    box_.expect_every_packet_accounted_for();
}

/// I4, I6, U12
TEST_F(IcmpAboutMasqueradedSession, ErrorsNeitherRefreshNorEndASession) {
    const auto error = box_.to("lan")
                           .from(kServerMac)
                           .ipv4(kServer, kFwd)
                           .icmp(kUnreachable, kPortUnreachable)
                           .payload(request_as_forwarded().ip_bytes());
    // Unanswered UDP lives for two minutes.
    for (int i = 0; i < 11; ++i) {
        box_.pass(10s);
        EXPECT_THAT(box_.exchange("lan", error, "lan"), SizeIs(1));
        EXPECT_EQ(box_.sessions(), 1);
    }
    box_.pass(15s);
    EXPECT_EQ(box_.sessions(), 0);
    EXPECT_THAT(box_.exchange("lan", error, "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_icmp_no_session), 1);
}

TEST_F(IcmpAboutMasqueradedSession, ErrorByAnAddressThatTheSessionNeverUsedIsDropped) {
    EXPECT_THAT(box_.exchange("lan",
                              box_.to("lan")
                                  .ipv4(kServer, "10.0.0.77"_ip)
                                  .icmp(kUnreachable, kPortUnreachable)
                                  .payload(request_as_forwarded().ip_bytes()),
                              "lan"),
                IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_icmp_no_session), 1);
}

/// P5
TEST_F(IcmpAboutMasqueradedSession, ErrorFromASourceThatCannotBeIsDropped) {
    const auto error_from = [&](net::Ipv4Address source) {
        return box_.exchange("lan",
                             box_.to("lan")
                                 .ipv4(source, kFwd)
                                 .icmp(kUnreachable, kPortUnreachable)
                                 .payload(request_as_forwarded().ip_bytes()),
                             "lan");
    };
    EXPECT_THAT(error_from("127.0.0.1"_ip), IsEmpty());
    EXPECT_THAT(error_from("224.0.0.5"_ip), IsEmpty());
    EXPECT_THAT(error_from("10.0.0.255"_ip), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_martian), 3);
    EXPECT_THAT(error_from(kFwd), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_spoofed_own_address), 1);
}

/// T9, T10: a client that hears of a fault goes on or gives up by itself.
TEST(IcmpAboutTcp, EveryUnreachableArrivesWithItsCodeAndTheSessionGoesOn) {
    Box box{kOneArm};
    const std::uint16_t port = open_example(box);
    const auto answer = box.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, port, kSyn | kAck);
    ASSERT_THAT(box.exchange("lan", answer, "lan"), SizeIs(1));
    const auto forwarded = packet().ipv4(kFwd, kServer).ttl(63).tcp(port, 8080, kSyn);
    const auto sent = packet().ipv4(kClient, kExternal).ttl(63).tcp(40000, 80, kSyn);
    for (std::uint8_t code = 0; code < 16; ++code) {
        EXPECT_THAT(box.exchange("lan",
                                 box.to("lan")
                                     .from(kServerMac)
                                     .ipv4(kServer, kFwd)
                                     .icmp(kUnreachable, code, 1400)
                                     .payload(forwarded.ip_bytes()),
                                 "lan"),
                    ElementsAre(from_fwd(box, "lan", kClientMac)
                                    .ipv4(kExternal, kClient)
                                    .ttl(63)
                                    .icmp(kUnreachable, code, 1400)
                                    .payload(sent.ip_bytes())
                                    .frame()));
    }
    // Half open as before: neither ended nor moved on.
    box.pass(230s);
    EXPECT_EQ(box.sessions(), 1);
    EXPECT_THAT(box.exchange("lan", answer, "lan"), SizeIs(1));
}

/// P5
TEST(Icmp, PingFromASourceThatCannotBeIsNotAnswered) {
    Box box{kOneArm};
    for (const auto source : {"0.0.0.0"_ip, "255.255.255.255"_ip, "10.0.0.255"_ip, kFwd})
        EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4(source, kFwd).icmp(8, 0).payload("ping"), "lan"),
                    IsEmpty());
}

/// I10
TEST(Icmp, TtlThatRunsOutIsAnsweredWithTimeExceededFromFwdsAddress) {
    Box box{kTwoArm};
    const auto probe =
        box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).ttl(1).udp(40000, 27015).payload("probe");
    EXPECT_THAT(box.exchange("wan", probe, "wan"), ElementsAre(from_fwd(box, "wan", kRouterMac)
                                                                   .ipv4(kWanAddress, kFarClient)
                                                                   .identification(0)
                                                                   .dont_fragment()
                                                                   .ttl(64)
                                                                   .icmp(kTimeExceeded, 0)
                                                                   .payload(probe.ip_bytes())
                                                                   .frame()));
    EXPECT_EQ(box.sessions(), 0);
    // Of a live session too, with what arrived quoted, not what would have been sent.
    box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(40000, 27015), "lan");
    EXPECT_THAT(box.exchange("wan", probe, "wan"), SizeIs(1));
    box.expect_every_packet_accounted_for();
}

/// I10
TEST(Icmp, TimeExceededIsRateLimited) {
    Box box{kTwoArm};
    for (int i = 0; i < 5000; ++i)
        box.put("wan", box.to("wan").ipv4(kFarClient, kPublic).ttl(1).udp(40000, 27015));
    box.settle();
    EXPECT_LE(box.take("wan").size(), 1000);
    EXPECT_GE(box.count(Verdict::drop_ttl_expired), 4000);
    box.expect_every_packet_accounted_for();
}

class NarrowLan : public ::testing::Test {
 protected:
    Box box_{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; mtu = 1400; } );
    )" + kTwoArmRest};
    PacketBuilder request(std::size_t bytes) {
        return box_.to("wan")
            .from(kRouterMac)
            .ipv4(kFarClient, kPublic)
            .udp(40000, 27015)
            .payload_bytes(bytes);
    }
};

/// U13
TEST_F(NarrowLan, TooBigWithDontFragmentIsAnsweredWithTheMtu) {
    EXPECT_THAT(box_.exchange("wan", request(1372).dont_fragment(), "lan"), SizeIs(1));
    const auto big = request(1373).dont_fragment();
    EXPECT_THAT(box_.exchange("wan", big, "wan"),
                ElementsAre(from_fwd(box_, "wan", kRouterMac)
                                .ipv4(kWanAddress, kFarClient)
                                .identification(0)
                                .dont_fragment()
                                .ttl(64)
                                .icmp(kUnreachable, kFragmentationNeeded, 1400)
                                .payload(first(big.ip_bytes(), 548))
                                .frame()));
    EXPECT_THAT(box_.take("lan"), IsEmpty());
    box_.expect_every_packet_accounted_for();
}

TEST_F(NarrowLan, TooBigWithOptionsIsAnsweredWithoutDontFragment) {
    EXPECT_THAT(box_.exchange("wan", request(1373).ip_options({1, 1, 1, 0}), "wan"), SizeIs(1));
    EXPECT_THAT(box_.take("lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::punt_too_big), 1);
}

TEST(Icmp, NothingAnswersASenderWithoutAnAddressOfItsOwn) {
    Box box{kOneArm};
    for (const auto& nobody : {net::kBroadcastMac, net::MacAddress{{0x01, 0, 0x5e, 0, 0, 1}}}) {
        EXPECT_THAT(box.exchange("lan", box.to("lan").from(nobody).ipv4(kClient, kFwd).icmp(8, 0, 1), "lan"),
                    IsEmpty());
        EXPECT_THAT(
            box.exchange("lan", box.to("lan").from(nobody).ipv4(kClient, kExternal).ttl(1).tcp(1, 80, kSyn),
                         "lan"),
            IsEmpty());
    }
    box.expect_every_packet_accounted_for();
}

/// I1
TEST(Icmp, PingOfAnOwnAddressIsAnsweredWhereTheLinkSaysSo) {
    Box box{kOneArm};
    for (std::size_t bytes : {0, 1, 56, 1400}) {
        EXPECT_THAT(box.exchange("lan",
                                 box.to("lan")
                                     .from(kClientMac)
                                     .ipv4(kClient, kFwd)
                                     .ttl(9)
                                     .icmp(8, 0, 0x12340001)
                                     .payload_bytes(bytes),
                                 "lan"),
                    ElementsAre(from_fwd(box, "lan", kClientMac)
                                    .ipv4(kFwd, kClient)
                                    .ttl(64)
                                    .icmp(0, 0, 0x12340001)
                                    .payload_bytes(bytes)
                                    .frame()));
    }
    Box silent{kTwoArm};
    EXPECT_THAT(silent.exchange("wan", silent.to("wan").ipv4(kFarClient, kWanAddress).icmp(8, 0), "wan"),
                IsEmpty());
    EXPECT_EQ(silent.count(Verdict::drop_icmp_ignored), 1);
}

/// I1: by either family at most so many: a flood is counted, and leaves room for other links' pings.
TEST(Icmp, FloodOfPingsIsLimitedAndCounted) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; ping = true; },
                  { name = "lan"; device = "net_null_lan"; ping = true;
                    addresses = [ "10.0.0.2/24", "2001:db8:1::2/64" ]; } );
        neighbours = ( { link = "wan"; address = "192.0.2.9"; mac = "02:00:00:00:00:09"; },
                       { link = "lan"; address = "10.0.0.1"; mac = "02:00:00:00:00:01"; },
                       { link = "lan"; address = "2001:db8:1::1"; mac = "02:00:00:00:00:01"; } );)"};
    const auto to_lan = [&] { return box.to("lan").from(kClientMac); };
    for (const auto& ping : {to_lan().ipv4(kClient, kFwd).icmp(8, 0, 7),
                             to_lan().ipv6("2001:db8:1::1"_ip6, "2001:db8:1::2"_ip6).icmpv6(128, 0, 7)}) {
        const auto refused = box.count(Verdict::drop_punt_limited);
        for (int i = 0; i < 5'000; ++i) {
            box.put_many("lan", ping);
            if (i % 100 == 0) box.settle();
        }
        box.settle();
        EXPECT_GE(box.take("lan").size(), 200);
        EXPECT_GE(box.count(Verdict::drop_punt_limited) - refused, 4'000);
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4("192.0.2.9"_ip, kWanAddress).icmp(8, 0), "wan"),
                    SizeIs(1));
        box.pass(5s);
        box.take("lan");  // announcements
        EXPECT_THAT(box.exchange("lan", ping, "lan"), SizeIs(1)) << "in time again";
    }
    box.expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
