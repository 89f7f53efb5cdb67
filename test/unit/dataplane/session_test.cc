// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/session.h"

#include <gtest/gtest.h>

#include <ostream>
#include <set>
#include <vector>

namespace fwd::dataplane {

std::ostream& operator<<(std::ostream& out, SessionState state) {
    return out << static_cast<int>(state) << " (" << kSessionStateNames[static_cast<std::size_t>(state)]
               << ")";
}

namespace {

using enum SessionState;
using enum Direction;

constexpr std::uint8_t kFin = TcpFlags::kFin, kSyn = TcpFlags::kSyn, kRst = TcpFlags::kRst,
                       kAck = TcpFlags::kAck;
constexpr SessionState kTcpStates[] = {tcp_unanswered, tcp_opening, tcp_established, tcp_closing};

struct Step {
    const char* name;
    SessionState before;
    Direction direction;
    std::uint8_t flags;
    SessionState after;
};

class SessionStep : public ::testing::TestWithParam<Step> {};

TEST_P(SessionStep, LeadsTo) {
    const Step& step = GetParam();
    EXPECT_EQ(next_state(step.before, step.direction, TcpFlags{step.flags}), step.after);
}

INSTANTIATE_TEST_SUITE_P(
    Session, SessionStep,
    ::testing::Values(Step{"UdpClientAloneStaysUnanswered", udp_unanswered, forward, 0, udp_unanswered},
                      Step{"UdpAnswerAnswers", udp_unanswered, reverse, 0, udp_answered},
                      Step{"UdpStaysAnsweredByTheTargetAlone", udp_answered, reverse, 0, udp_answered},
                      Step{"UdpClientThatSendsAgainIsReal", udp_answered, forward, 0, udp_assured},
                      Step{"UdpStaysAssured", udp_assured, reverse, 0, udp_assured},
                      Step{"SynAgainChangesNothing", tcp_unanswered, forward, kSyn, tcp_unanswered},
                      Step{"ClientsAckBeforeAnAnswerChangesNothing", tcp_unanswered, forward, kAck,
                           tcp_unanswered},
                      Step{"SynAckOpens", tcp_unanswered, reverse, kSyn | kAck, tcp_opening},
                      Step{"SimultaneousSynOpens", tcp_unanswered, reverse, kSyn, tcp_opening},
                      Step{"TargetsAckAloneOpensNothing", tcp_unanswered, reverse, kAck, tcp_unanswered},
                      Step{"RefusalCloses", tcp_unanswered, reverse, kRst | kAck, tcp_closing},
                      Step{"SynAckAgainChangesNothing", tcp_opening, reverse, kSyn | kAck, tcp_opening},
                      Step{"ClientsAckEstablishes", tcp_opening, forward, kAck, tcp_established},
                      Step{"TargetsAckDoesNotEstablish", tcp_opening, reverse, kAck, tcp_opening},
                      Step{"DataKeepsEstablished", tcp_established, reverse, kAck, tcp_established},
                      Step{"SynKeepsEstablished", tcp_established, forward, kSyn, tcp_established},
                      Step{"ClientsFinCloses", tcp_established, forward, kFin | kAck, tcp_closing},
                      Step{"TargetsFinCloses", tcp_established, reverse, kFin | kAck, tcp_closing},
                      Step{"RstCloses", tcp_established, reverse, kRst, tcp_closing},
                      Step{"LastAckKeepsClosing", tcp_closing, forward, kAck, tcp_closing},
                      Step{"SynReopensTimeWait", tcp_closing, forward, kSyn, tcp_unanswered},  // T12
                      Step{"TargetsSynDoesNotReopen", tcp_closing, reverse, kSyn | kAck, tcp_closing},
                      Step{"SynWithFinDoesNotReopen", tcp_closing, forward, kSyn | kFin, tcp_closing}),
    [](const auto& row) { return row.param.name; });

bool is_tcp(SessionState state) {
    return state != udp_unanswered && state != udp_answered && state != udp_assured;
}

TEST(Session, ProtocolsNeverMix) {
    for (unsigned s = 0; s < kSessionStateCount; ++s) {
        for (unsigned flags = 0; flags < 256; ++flags) {
            for (const Direction direction : {forward, reverse}) {
                const auto state = static_cast<SessionState>(s);
                const auto after = next_state(state, direction, TcpFlags{static_cast<std::uint8_t>(flags)});
                EXPECT_LT(after, count_);
                EXPECT_EQ(is_tcp(state), is_tcp(after));
            }
        }
    }
}

TEST(Session, FinOrRstClosesEveryTcpState) {
    for (const SessionState state : kTcpStates) {
        for (unsigned flags = 0; flags < 256; ++flags) {
            if ((flags & (kFin | kRst)) == 0) continue;
            for (const Direction direction : {forward, reverse}) {
                EXPECT_EQ(next_state(state, direction, TcpFlags{static_cast<std::uint8_t>(flags)}),
                          tcp_closing);
            }
        }
    }
}

/// All states that some sequence of packets leads to.
std::set<SessionState> reachable_from(SessionState start, std::initializer_list<Direction> directions) {
    std::set<SessionState> seen{start};
    std::vector<SessionState> open{start};
    while (!open.empty()) {
        const SessionState state = open.back();
        open.pop_back();
        for (unsigned flags = 0; flags < 256; ++flags) {
            for (const Direction direction : directions) {
                const auto next = next_state(state, direction, TcpFlags{static_cast<std::uint8_t>(flags)});
                if (seen.insert(next).second) open.push_back(next);
            }
        }
    }
    return seen;
}

TEST(Session, IsNeverStuck) {
    const std::set<SessionState> all(std::begin(kTcpStates), std::end(kTcpStates));
    for (const SessionState state : kTcpStates)
        EXPECT_EQ(reachable_from(state, {forward, reverse}), all) << state;
}

TEST(Session, ClientAloneIsNeverAnswered) {
    EXPECT_EQ(reachable_from(udp_unanswered, {forward}), (std::set{udp_unanswered}));
    EXPECT_EQ(reachable_from(tcp_unanswered, {forward}), (std::set{tcp_unanswered, tcp_closing}));
    // A stranger who sends SYN and FIN only may be evicted whatever he does (R18).
    for (const SessionState state : reachable_from(tcp_unanswered, {forward}))
        EXPECT_TRUE(evictable_as(state)) << state;
}

/// R18: a target answers packets with a made-up source as well.
TEST(Session, OnlyAClientThatGoesOnAfterAnAnswerIsSafeFromEviction) {
    EXPECT_EQ(reachable_from(udp_answered, {reverse}), (std::set{udp_answered}));
    for (const SessionState state : reachable_from(tcp_opening, {reverse}))
        EXPECT_TRUE(evictable_as(state)) << state;
    EXPECT_FALSE(evictable_as(udp_assured));
    EXPECT_FALSE(evictable_as(tcp_established));
}

TEST(Session, SettledStatesIgnorePlainPackets) {
    for (unsigned s = 0; s < kSessionStateCount; ++s) {
        const auto state = static_cast<SessionState>(s);
        for (unsigned flags = 0; flags < 256; ++flags) {
            const TcpFlags tcp{static_cast<std::uint8_t>(flags)};
            if (tcp.changes_state()) continue;
            for (const Direction direction : {forward, reverse}) {
                if (is_settled(state, direction)) {
                    EXPECT_EQ(next_state(state, direction, tcp), state);
                }
            }
        }
    }
}

TEST(Session, OnlyFinAndRstEndEstablished) {
    for (unsigned flags = 0; flags < 256; ++flags) {
        if ((flags & (kFin | kRst)) != 0) continue;
        for (const Direction direction : {forward, reverse}) {
            EXPECT_EQ(next_state(tcp_established, direction, TcpFlags{static_cast<std::uint8_t>(flags)}),
                      tcp_established);
        }
    }
}

TEST(TcpFlags, OnlyABareSynOpens) {
    EXPECT_TRUE(TcpFlags{kSyn}.opens());
    EXPECT_TRUE(TcpFlags{kSyn | 0xc0}.opens()) << "ECN set-up, RFC 3168";
    EXPECT_FALSE(TcpFlags{kSyn | kAck}.opens());
    EXPECT_FALSE(TcpFlags{kSyn | kFin}.opens());
    EXPECT_FALSE(TcpFlags{kSyn | kRst}.opens());
    EXPECT_FALSE(TcpFlags{kAck}.opens());
    EXPECT_FALSE(TcpFlags{0}.opens());
}

}  // namespace
}  // namespace fwd::dataplane
