// SPDX-License-Identifier: BSD-3-Clause
// TCP sessions through the whole pipeline: how they open, end, and what does not end them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::SizeIs;
using namespace std::chrono_literals;
using dataplane::SessionState;

constexpr std::uint32_t kClientFirst = 1000, kTargetFirst = 0xfffffff0U;  // the target's wraps soon
constexpr std::uint8_t kWindowShift = 2;

class Tcp : public ::testing::Test {
 protected:
    /// A packet from the client, which has to come out at the other side.
    void client(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                const Bytes& options = {}) {
        EXPECT_THAT(box_.exchange("wan",
                                  box_.to("wan")
                                      .ipv4(kFarClient, kPublic)
                                      .tcp(5000, 80, flags)
                                      .sequence(sequence, acknowledged)
                                      .tcp_options(options),
                                  "lan"),
                    SizeIs(1));
    }
    void target(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                const Bytes& options = {}) {
        EXPECT_THAT(box_.exchange("lan",
                                  box_.to("lan")
                                      .ipv4(kLanServer, kFarClient)
                                      .tcp(8080, 5000, flags)
                                      .sequence(sequence, acknowledged)
                                      .tcp_options(options),
                                  "wan"),
                    SizeIs(1));
    }
    void establish(std::uint32_t client_first = kClientFirst, std::uint32_t target_first = kTargetFirst) {
        const Bytes scale{1, 3, 3, kWindowShift};
        client(kSyn, client_first, 0, scale);
        target(kSyn | kAck, target_first, client_first + 1, scale);
        client(kAck, client_first + 1, target_first + 1);
        ASSERT_EQ(state(), SessionState::tcp_established);
    }
    /// Of the only session.
    SessionState state() {
        dataplane::FlowTable& flows = box_.dataplane().flows();
        for (std::uint32_t at = 0; at < flows.position_count(); ++at) {
            const dataplane::FlowPosition id{at};
            if (flows.deadline(id).load() != dataplane::kNoSession) return flows.session(id).state.load();
        }
        return SessionState::count_;
    }

    Box box_{kTwoArm};
};

/// T2: both sides send a SYN.
TEST_F(Tcp, OpensFromBothSides) {
    client(kSyn, 1);
    target(kSyn, 100);
    client(kSyn | kAck, 1, 101);
    target(kSyn | kAck, 100, 2);
    client(kAck, 2, 101);
    EXPECT_EQ(state(), SessionState::tcp_established);
    EXPECT_EQ(box_.sessions(), 1);
}

struct Rst {
    const char* name;
    bool from_client;
    std::uint32_t sequence;
    bool believed;
};

class TcpRst : public Tcp, public ::testing::WithParamInterface<Rst> {};

/// T11: a RST is believed where its receiver waits for it, and forwarded in any case.
TEST_P(TcpRst, IsBelievedInSequenceOnly) {
    establish();
    const Rst& row = GetParam();
    row.from_client ? client(kRst, row.sequence) : target(kRst, row.sequence);
    EXPECT_EQ(state(), row.believed ? SessionState::tcp_reset : SessionState::tcp_established);
}

constexpr std::uint32_t kWindow = 0xffffU << kWindowShift;
INSTANTIATE_TEST_SUITE_P(
    , TcpRst,
    ::testing::Values(Rst{"ClientsNext", true, kClientFirst + 1, true},
                      Rst{"ClientsBehindDataOnItsWay", true, kClientFirst + 1 + 5000, true},
                      Rst{"ClientsAtTheWindowsEnd", true, kClientFirst + 1 + kWindow, true},
                      Rst{"ClientsBehindTheWindow", true, kClientFirst + 2 + kWindow, false},
                      Rst{"ClientsOfThePast", true, kClientFirst, false},
                      Rst{"ClientsGuessed", true, 0x9abcdef0U, false},
                      Rst{"TargetsNext", false, kTargetFirst + 1, true},
                      Rst{"TargetsBehindZero", false, 3, true},
                      Rst{"TargetsOfThePast", false, kTargetFirst, false},
                      Rst{"TargetsGuessed", false, 0x9abcdef0U, false}),
    [](const auto& row) { return row.param.name; });

/// T11: the window moves on with what is acknowledged, packet by packet.
TEST_F(Tcp, RstIsMeasuredByTheLastAcknowledgement) {
    establish();
    target(kAck, kTargetFirst + 1, kClientFirst + 1'000'000);
    client(kRst, kClientFirst + 1);
    EXPECT_EQ(state(), SessionState::tcp_established);
    client(kRst, kClientFirst + 1'000'000);
    EXPECT_EQ(state(), SessionState::tcp_reset);
}

/// T5, T11: a RST leaves the session as long as the transitory timer says, one out of sequence leaves it
/// alone.
TEST_F(Tcp, RstShortensTheTimerAndNoMore) {
    establish();
    client(kRst, kClientFirst);
    box_.pass(250s);
    EXPECT_EQ(state(), SessionState::tcp_established);
    client(kRst, kClientFirst + 1);
    box_.pass(235s);
    EXPECT_EQ(box_.sessions(), 1);
    box_.pass(10s);
    EXPECT_EQ(box_.sessions(), 0);
    box_.expect_no_record_lost();
}

/// T11: a RST that its receiver did not believe (RFC 5961: it answers with an ACK) ends nothing.
TEST_F(Tcp, SessionThatGoesOnAfterARstIsEstablished) {
    establish();
    target(kRst, kTargetFirst + 1 + 100);
    EXPECT_EQ(state(), SessionState::tcp_reset);
    client(kAck, kClientFirst + 1, kTargetFirst + 1);
    EXPECT_EQ(state(), SessionState::tcp_established);
    box_.pass(250s);
    EXPECT_EQ(box_.sessions(), 1);
}

/// T5: a FIN of one side only leaves the other all the time to go on.
TEST_F(Tcp, HalfClosedSessionLivesLikeAnEstablishedOne) {
    establish();
    client(kFin | kAck, kClientFirst + 1, kTargetFirst + 1);
    target(kAck, kTargetFirst + 1, kClientFirst + 2);
    EXPECT_EQ(state(), SessionState::tcp_client_done);
    box_.pass(250s);
    target(kAck, kTargetFirst + 1, kClientFirst + 2);
    target(kFin | kAck, kTargetFirst + 1, kClientFirst + 2);
    client(kAck, kClientFirst + 2, kTargetFirst + 2);
    EXPECT_EQ(state(), SessionState::tcp_closing);
    box_.pass(245s);
    EXPECT_EQ(box_.sessions(), 0);
}

/// T11, T12: a connection that follows in the same session has numbers of its own.
TEST_F(Tcp, NextConnectionForgetsTheNumbersOfTheOneBefore) {
    establish();
    client(kRst, kClientFirst + 1);
    client(kSyn, 0x70000000U);
    EXPECT_EQ(state(), SessionState::tcp_unanswered);
    target(kSyn | kAck, 0x30000000U, 0x70000001U);
    client(kAck, 0x70000001U, 0x30000001U);
    EXPECT_EQ(state(), SessionState::tcp_established);
    client(kRst, kClientFirst + 1);
    target(kRst, 0x30000001U + 0x10000U);
    EXPECT_EQ(state(), SessionState::tcp_established) << "no window scale this time";
    target(kRst, 0x30000001U);
    EXPECT_EQ(state(), SessionState::tcp_reset);
    EXPECT_EQ(box_.sessions(), 1);
}

/// T5, T12: the target may be the one that opens the next connection, which lives as long as any, and has
/// numbers of its own.
TEST_F(Tcp, TargetOpensTheNextConnection) {
    establish();
    client(kFin | kAck, kClientFirst + 1, kTargetFirst + 1);
    target(kFin | kAck, kTargetFirst + 1, kClientFirst + 2);
    client(kAck, kClientFirst + 2, kTargetFirst + 2);
    ASSERT_EQ(state(), SessionState::tcp_closing);
    target(kSyn, 0x70000000U);
    client(kSyn | kAck, 0x20000000U, 0x70000001U);
    target(kAck, 0x70000001U, 0x20000001U);
    EXPECT_EQ(state(), SessionState::tcp_established);
    box_.pass(1h);
    client(kAck, 0x20000001U, 0x70000001U);
    target(kAck, 0x70000001U, 0x20000001U);
    client(kRst, kClientFirst + 2);
    EXPECT_EQ(state(), SessionState::tcp_established) << "a RST of the connection before";
    EXPECT_EQ(box_.sessions(), 1);
}

/// T2: a SYN in an established connection changes nothing (RFC 5961).
TEST_F(Tcp, SynInAConnectionChangesNothing) {
    establish();
    client(kSyn, 77);
    EXPECT_EQ(state(), SessionState::tcp_established);
    client(kRst, kClientFirst + 1);
    EXPECT_EQ(state(), SessionState::tcp_reset) << "what was known is still known";
}

struct Clamp {
    const char* name;
    const char* wan;  ///< settings of the links
    const char* lan;
    unsigned offered;
    unsigned expected;
};

class TcpMss : public ::testing::TestWithParam<Clamp> {};

/// P1: the MSS that a SYN and its answer announce is lowered to the lower of what both links allow.
TEST_P(TcpMss, IsClamped) {
    const Clamp& row = GetParam();
    Box box{std::string{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; )"} +
            row.wan + R"( },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; )" +
            row.lan + " } );" + kTwoArmRest};
    const auto mss = [](unsigned value) {
        return Bytes{1, 1, 2, 4, static_cast<std::uint8_t>(value >> 8U), static_cast<std::uint8_t>(value),
                     1, 1};
    };
    auto syn = box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, kSyn).tcp_options(mss(row.offered));
    const auto syn_sent = packet()
                              .ipv4(kFarClient, kLanServer)
                              .ttl(63)
                              .tcp(1, 8080, kSyn)
                              .tcp_options(mss(row.expected))
                              .ip_bytes();
    const auto content = [](const Frame& frame) {
        return Bytes{frame.bytes.begin() + 14, frame.bytes.end()};
    };
    auto out = box.exchange("wan", syn, "lan");
    ASSERT_THAT(out, SizeIs(1));
    EXPECT_EQ(content(out[0]), syn_sent);
    out = box.exchange("wan", PacketBuilder{syn}.ip_options({1, 1, 1, 0}), "lan");
    ASSERT_THAT(out, SizeIs(1));
    EXPECT_EQ((Bytes{out[0].bytes.begin() + 38, out[0].bytes.end()}),
              (Bytes{syn_sent.begin() + 20, syn_sent.end()}));
    if (row.wan == std::string{"rx_checksum = \"partial\";"}) {
        EXPECT_EQ(content(box.exchange("wan", PacketBuilder{syn}.partial_l4_checksum(), "lan").at(0)),
                  syn_sent);
    }

    out = box.exchange(
        "lan",
        box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, 1, kSyn | kAck).tcp_options(mss(row.offered)),
        "wan");
    ASSERT_THAT(out, SizeIs(1));
    EXPECT_EQ(content(out[0]), packet()
                                   .ipv4(kPublic, kFarClient)
                                   .ttl(63)
                                   .tcp(80, 1, kSyn | kAck)
                                   .tcp_options(mss(row.expected))
                                   .ip_bytes());
    // Only a SYN's.
    auto ack = box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, kAck).tcp_options(mss(row.offered));
    EXPECT_EQ(content(box.exchange("wan", ack, "lan").at(0)), packet()
                                                                  .ipv4(kFarClient, kLanServer)
                                                                  .ttl(63)
                                                                  .tcp(1, 8080, kAck)
                                                                  .tcp_options(mss(row.offered))
                                                                  .ip_bytes());
}

INSTANTIATE_TEST_SUITE_P(
    , TcpMss,
    ::testing::Values(Clamp{"NotAsked", "", "", 1460, 1460},
                      Clamp{"ByTheOuterLink", "mss_clamp = 1452;", "", 1460, 1452},
                      Clamp{"ByTheInnerLink", "", "mss_clamp = 1452;", 1460, 1452},
                      Clamp{"ByTheNarrowerOne", "mss_clamp = 1300;", "mss_clamp = 1400;", 1460, 1300},
                      Clamp{"ByTheMtu", "", "mss_clamp = \"mtu\"; mtu = 1280;", 1460, 1240},
                      Clamp{"LowEnoughAlready", "mss_clamp = 1452;", "", 1452, 1452},
                      Clamp{"OverAPartialChecksum", "rx_checksum = \"partial\";", "mss_clamp = 1000;", 1460,
                            1000}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace fwd::test
