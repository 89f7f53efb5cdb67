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
constexpr SessionState kTcpStates[] = {tcp_unanswered,  tcp_opening, tcp_established, tcp_client_done,
                                       tcp_target_done, tcp_reset,   tcp_closing};

struct Step {
    const char* name;
    SessionState before;
    Direction direction;
    std::uint8_t flags;
    SessionState after;
};

class SessionStep : public ::testing::TestWithParam<Step> {};

/// T2, T11, T12
TEST_P(SessionStep, LeadsTo) {
    const Step& step = GetParam();
    EXPECT_EQ(next_state(step.before, step.direction, TcpFlags{step.flags}), step.after);
}

INSTANTIATE_TEST_SUITE_P(
    Session, SessionStep,
    ::testing::Values(
        Step{"UdpClientAloneStaysUnanswered", udp_unanswered, forward, 0, udp_unanswered},
        Step{"UdpAnswerAnswers", udp_unanswered, reverse, 0, udp_answered},
        Step{"UdpStaysAnsweredByTheTargetAlone", udp_answered, reverse, 0, udp_answered},
        Step{"UdpClientThatSendsAgainIsReal", udp_answered, forward, 0, udp_assured},
        Step{"UdpStaysAssured", udp_assured, reverse, 0, udp_assured},
        Step{"SynAgainChangesNothing", tcp_unanswered, forward, kSyn, tcp_unanswered},
        Step{"ClientsAckBeforeAnAnswerChangesNothing", tcp_unanswered, forward, kAck, tcp_unanswered},
        Step{"SynAckOpens", tcp_unanswered, reverse, kSyn | kAck, tcp_opening},
        Step{"SimultaneousSynOpens", tcp_unanswered, reverse, kSyn, tcp_opening},
        Step{"TargetsAckAloneOpensNothing", tcp_unanswered, reverse, kAck, tcp_unanswered},
        Step{"RefusalCloses", tcp_unanswered, reverse, kRst | kAck, tcp_closing},
        Step{"SynAckAgainChangesNothing", tcp_opening, reverse, kSyn | kAck, tcp_opening},
        Step{"ClientsAckEstablishes", tcp_opening, forward, kAck, tcp_established},
        Step{"TargetsAckDoesNotEstablish", tcp_opening, reverse, kAck, tcp_opening},
        Step{"DataKeepsEstablished", tcp_established, reverse, kAck, tcp_established},
        Step{"SynKeepsEstablished", tcp_established, forward, kSyn, tcp_established},
        Step{"ClientsFinAloneDoesNotClose", tcp_established, forward, kFin | kAck, tcp_client_done},
        Step{"TargetsFinAloneDoesNotClose", tcp_established, reverse, kFin | kAck, tcp_target_done},
        Step{"FinWithTheAckThatEstablishes", tcp_opening, forward, kFin | kAck, tcp_client_done},
        Step{"FinBeforeTheClientsAckCloses", tcp_opening, reverse, kFin | kAck, tcp_closing},
        Step{"FinWithoutAnAnswerIsNobodys", tcp_unanswered, forward, kFin | kAck, tcp_unanswered},
        Step{"RstEndsAConnection", tcp_established, reverse, kRst, tcp_reset},
        Step{"RstEndsHalfAConnection", tcp_client_done, forward, kRst | kAck, tcp_reset},
        Step{"RstAgainChangesNothing", tcp_reset, reverse, kRst, tcp_reset},
        Step{"RstInTheHandshakeCloses", tcp_opening, forward, kRst, tcp_closing},
        Step{"WhoGoesOnAfterARstHasNotBelievedIt", tcp_reset, forward, kAck, tcp_established},
        Step{"WhoEndsAfterARstHasNotBelievedItEither", tcp_reset, reverse, kFin | kAck, tcp_target_done},
        Step{"SynReopensAfterARst", tcp_reset, forward, kSyn, tcp_unanswered},
        Step{"SynAckDoesNotBringAConnectionBack", tcp_reset, reverse, kSyn | kAck, tcp_reset},
        Step{"LastAckKeepsClosing", tcp_closing, forward, kAck, tcp_closing},
        Step{"SynReopensTimeWait", tcp_closing, forward, kSyn, tcp_unanswered},
        Step{"TargetsSynReopensTimeWait", tcp_closing, reverse, kSyn, tcp_opening},
        Step{"TargetsSynReopensAfterARst", tcp_reset, reverse, kSyn, tcp_opening},
        Step{"SynAckDoesNotReopen", tcp_closing, reverse, kSyn | kAck, tcp_closing},
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

/// T11
TEST(Session, RstMakesEveryTcpStateTransitory) {
    for (const SessionState state : kTcpStates) {
        for (unsigned flags = 0; flags < 256; ++flags) {
            if ((flags & kRst) == 0) continue;
            for (const Direction direction : {forward, reverse}) {
                const auto after = next_state(state, direction, TcpFlags{static_cast<std::uint8_t>(flags)});
                EXPECT_TRUE(after == tcp_reset || after == tcp_closing) << state;
            }
        }
    }
}

struct Conversation {
    const char* name;
    const char* packets;  ///< flags and ">" from the client or "<" from the target
    SessionState end;
};

class SessionConversation : public ::testing::TestWithParam<Conversation> {};

/// T2, T5, T11, T12: whole connections, from the first SYN on.
TEST_P(SessionConversation, EndsIn) {
    SessionState state = first_state(net::Protocol::tcp);
    std::uint8_t flags = 0;
    for (const char* at = GetParam().packets; *at != 0; ++at) {
        switch (*at) {
            case 'S':
                flags |= kSyn;
                break;
            case 'A':
                flags |= kAck;
                break;
            case 'F':
                flags |= kFin;
                break;
            case 'R':
                flags |= kRst;
                break;
            case ' ':
                break;
            default:
                state = next_state(state, *at == '>' ? forward : reverse, TcpFlags{flags});
                flags = 0;
        }
    }
    EXPECT_EQ(state, GetParam().end);
}

INSTANTIATE_TEST_SUITE_P(
    Session, SessionConversation,
    ::testing::Values(Conversation{"ThreeWayHandshake", "S> SA< A>", tcp_established},
                      Conversation{"HandshakeWithRetransmissions", "S> S> SA< SA< A> A>", tcp_established},
                      Conversation{"SimultaneousOpen", "S> S< SA> SA<", tcp_established},
                      Conversation{"SimultaneousOpenWhoseAnswersCross", "S> S< SA< SA>", tcp_established},
                      Conversation{"SplitHandshake", "S> A< S< SA>", tcp_established},
                      Conversation{"ClientCloses", "S> SA< A> FA> A< FA< A>", tcp_closing},
                      Conversation{"TargetCloses", "S> SA< A> FA< A> FA> A<", tcp_closing},
                      Conversation{"BothCloseAtOnce", "S> SA< A> FA> FA< A> A<", tcp_closing},
                      Conversation{"ClientHasNoMoreToSay", "S> SA< A> FA> A< A< A> FA> A<", tcp_client_done},
                      Conversation{"TargetHasNoMoreToSay", "S> SA< A> FA< A> A> FA<", tcp_target_done},
                      Conversation{"Refused", "S> RA<", tcp_closing},
                      Conversation{"RefusedAndTriedAgain", "S> RA< S>", tcp_unanswered},
                      Conversation{"Reset", "S> SA< A> A< R>", tcp_reset},
                      Conversation{"ResetThatNobodyBelieved", "S> SA< A> R< A> A<", tcp_established},
                      Conversation{"ResetAfterWhatWasStillOnItsWay", "S> SA< A> R> A< R> A< R>", tcp_reset},
                      Conversation{"PortUsedAgain", "S> SA< A> FA> FA< A> S> SA< A>", tcp_established},
                      Conversation{"PortUsedAgainAfterAReset", "S> SA< A> R> S> SA< A>", tcp_established}),
    [](const auto& row) { return row.param.name; });

/// T11: what the receiver acknowledged last is 1000.
TEST(BelievesRst, OnlyWhereItsReceiverWaits) {
    for (const unsigned shift : {0U, 7U, 14U}) {
        EXPECT_TRUE(believes_rst(1000, 1000, shift));
        EXPECT_TRUE(believes_rst(1001, 1000, shift)) << "with data still on its way";
        EXPECT_TRUE(believes_rst(1000 + (0xffffU << shift), 1000, shift));
        EXPECT_FALSE(believes_rst(1000 + (0xffffU << shift) + 1, 1000, shift));
        EXPECT_FALSE(believes_rst(999, 1000, shift));
        EXPECT_FALSE(believes_rst(1000 + 0x80000000U, 1000, shift));
    }
    EXPECT_TRUE(believes_rst(5, 0xfffffff0U, 0)) << "numbers begin again at 0";
    EXPECT_FALSE(believes_rst(0xffffffefU, 0xfffffff0U, 0));
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

/// R18: neither is a stranger's session ever kept.
TEST(Session, ClientAloneIsNeverAnswered) {
    EXPECT_EQ(reachable_from(udp_unanswered, {forward}), (std::set{udp_unanswered}));
    EXPECT_EQ(reachable_from(tcp_unanswered, {forward}), (std::set{tcp_unanswered, tcp_closing}));
    // A stranger who sends SYN and FIN only may be evicted whatever he does.
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
