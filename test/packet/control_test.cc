// SPDX-License-Identifier: BSD-3-Clause
// What control makes of the data plane's tables and counters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "control/counter_watch.h"
#include "control/rule_totals.h"
#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;
using control::CounterWatch;
using control::RuleTotaller;

/// The rule of the only sessions there are.
dataplane::RuleId rule_of_sessions(Box& box) {
    dataplane::RuleId rule{};
    const control::LiveSessions sessions{box.dataplane(), [] {}};
    sessions.visit(0, sessions.flows().position_count(),
                   [&](dataplane::FlowPosition id, dataplane::StateWord) {
                       rule = sessions.flows().session(id).rule;
                       return true;
                   });
    return rule;
}

TEST(RuleTotals, AreKeptForTwentyTimesAsLongAsTheirWalkTook) {
    Box box{kOneArm};
    ASSERT_NE(open_example(box, 40000), 0);
    const dataplane::RuleId rule = rule_of_sessions(box);
    RuleTotaller::Clock::time_point now{};
    now += 1h;
    int pauses = 0;
    const control::LiveSessions sessions{box.dataplane(), [&] {
                                             ++pauses;
                                             now += 10ms;  // what the walk takes, by this clock
                                         }};
    RuleTotaller totals{box.dataplane(), sessions, [&] { return now; }};

    totals.refresh();
    EXPECT_EQ(totals.of(rule).sessions, 1U);
    EXPECT_EQ(totals.of(rule).packets, 1U);
    EXPECT_GT(pauses, 0) << "ARP can't wait for the end of a walk";

    ASSERT_NE(open_example(box, 40001), 0);
    const int pauses_before = pauses;
    const auto walk = 10ms * pauses;
    now += 19 * walk;
    totals.refresh();
    EXPECT_EQ(pauses, pauses_before) << "the table was walked over again";
    EXPECT_EQ(totals.of(rule).sessions, 1U);
    now += 2 * walk;
    totals.refresh();
    EXPECT_EQ(totals.of(rule).sessions, 2U);
}

TEST(RuleTotals, NewRuleInAnOldSlotStartsAtNothing) {
    Box box{kOneArm};
    ASSERT_NE(open_example(box), 0);
    dataplane::RuleId rule = rule_of_sessions(box);
    const control::LiveSessions sessions{box.dataplane(), [] {}};
    RuleTotaller totals{box.dataplane(), sessions};
    totals.refresh();
    ++rule.generation;
    EXPECT_EQ(totals.of(rule).sessions, 0U);
}

/// R11, R18
TEST(CounterWatch, SaysOnceASecondThatTheSessionTableIsFull) {
    Box box{R"(
        sessions = 16;
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
        neighbours = ( { link = "lan"; address = "10.0.0.1"; mac = "02:00:00:00:00:01"; },
                       { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );
    )"};
    CounterWatch watch{box.dataplane()};
    CounterWatch::Clock::time_point now{};
    now += 1h;
    const auto flood = [&](std::uint16_t first) {
        for (std::uint16_t port = first; port < first + 200; ++port) {
            box.put("lan", box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(port, 53));
            box.settle();
        }
    };
    EXPECT_THAT(watch.look(now), IsEmpty());
    flood(1000);
    EXPECT_THAT(watch.look(now + 900ms), IsEmpty()) << "a second has not gone by";
    const auto lines = watch.look(now + 1s);
    ASSERT_THAT(lines, testing::Not(IsEmpty()));
    for (const std::string& line : lines) EXPECT_THAT(line, HasSubstr("raise `sessions`"));
    EXPECT_THAT(watch.look(now + 3s), IsEmpty()) << "nothing new";
}

/// T5, U5
TEST(Policies, EachStateHasTheTimeoutThatItsKeySays) {
    Box box{
        "timeouts = { udp_unanswered = 11; udp = 12; tcp_opening = 13; tcp_established = 14; tcp_closing = "
        "15; };" +
        kOneArm};
    using enum dataplane::SessionState;
    const dataplane::Policy& policy = *box.dataplane().shared().policy.load();
    for (const auto& [state, seconds] : {std::pair{udp_unanswered, 11s},
                                         {udp_answered, 12s},
                                         {udp_assured, 12s},
                                         {tcp_unanswered, 13s},
                                         {tcp_opening, 13s},
                                         {tcp_established, 14s},
                                         {tcp_closing, 15s}}) {
        const auto rounding = policy.timeout(state).to_duration() - seconds;
        EXPECT_GE(rounding, 0ms) << static_cast<int>(state);
        EXPECT_LT(rounding, 20ms) << static_cast<int>(state);
    }
}

TEST(Policies, RemovingAHundredThousandRulesTakesLinearTime) {
    constexpr std::uint32_t kRules = 100'000;
    Box box{kOneArm, 1, 131072};
    control::Settings settings;
    control::Policies policies{settings, 131072};
    control::Policies::Rules rules;
    for (std::uint32_t i = 0; i < kRules; ++i) {
        control::Rule& rule = rules[i + 1];
        rule.udp = true;
        rule.external = endpoint(net::Ipv4Address{net::be32::from_host(0x0a010000U + i)}, 53);
        rule.targets = {{endpoint(kServer, 53)}};
    }
    dataplane::Dataplane& dataplane = box.dataplane();
    ASSERT_TRUE(policies.initial(dataplane.hash()));
    ASSERT_TRUE(policies.prepare_rules(dataplane, rules));
    policies.publish_rules(dataplane);
    ASSERT_TRUE(policies.prepare_rules(dataplane, {}));
    const std::clock_t begin = std::clock();
    policies.publish_rules(dataplane);
    EXPECT_LT(std::clock() - begin, CLOCKS_PER_SEC / 2);
}

}  // namespace
}  // namespace fwd::test
