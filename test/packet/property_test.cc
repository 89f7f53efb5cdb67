// SPDX-License-Identifier: BSD-3-Clause
// Whatever clients, servers and operators do, in whatever order and at whichever worker: fwd agrees with a
// model of who talks to whom.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <map>
#include <ostream>
#include <tuple>
#include <vector>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

enum class Act { request, answer, stray_answer, time_passes, clear, rules_change };

struct Step {
    Act act;
    std::uint16_t who;
    unsigned worker;
};
std::ostream& operator<<(std::ostream& out, const Step& step) {
    static constexpr std::array kNames{"request", "answer", "stray answer", "time", "clear", "rules"};
    return out << kNames[static_cast<std::size_t>(step.act)] << " of " << step.who << " at " << step.worker;
}

rc::Gen<Step> any_step() {
    const auto act = rc::gen::weightedElement<Act>({{12, Act::request},
                                                    {8, Act::answer},
                                                    {2, Act::stray_answer},
                                                    {1, Act::time_passes},
                                                    {1, Act::clear},
                                                    {2, Act::rules_change}});
    return rc::gen::map(rc::gen::tuple(act, rc::gen::inRange<std::uint16_t>(0, 12), rc::gen::inRange(0U, 2U)),
                        [](const auto& parts) {
                            return Step{std::get<0>(parts), std::get<1>(parts), std::get<2>(parts)};
                        });
}

constexpr std::uint16_t kFirstPort = 5000, kPorts = 8;
const std::string kDns =
    R"({ name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; })";
const std::string kSecond =
    R"({ name = "second"; protocol = "udp"; external = "10.0.0.3:54"; target = "10.0.0.4:5353"; })";
const std::string kOtherTarget =
    R"({ name = "other"; protocol = "udp"; external = "10.0.0.3:54"; target = "10.0.0.4:5354"; })";

/// R16, S3: every live session has a source port that no other one to its target has, and only its own client
/// gets its answers.
TEST(Property, SourcePortsAreNeverShared) {
    EXPECT_TRUE(rc::check([] {
        Box box{"masquerade_ports = \"5000-5007\"; timeouts = { udp_unanswered = 2; udp = 2; };\n" + kOneArm,
                2};
        const std::array<std::string, 4> sets{kDns, kDns + "," + kSecond, kSecond, kDns + "," + kOtherTarget};
        // The target's port behind each external one, 0 without a rule.
        const std::array<std::array<std::uint16_t, 2>, 4> targets{
            {{5353, 0}, {5353, 5353}, {0, 5353}, {5353, 5354}}};
        std::size_t rules = 0;
        box.set_rules("rules = ( " + sets[rules] + " );");
        struct Session {
            std::uint16_t target, source;
        };
        std::map<std::uint16_t, Session> live;  // by client
        const auto is_used = [&](std::uint16_t target, std::uint16_t source) {
            return std::ranges::any_of(live, [&](const auto& entry) {
                return entry.second.target == target && entry.second.source == source;
            });
        };
        const auto answer = [&](std::uint16_t target, std::uint16_t source, unsigned worker) {
            return box.exchange("lan", box.to("lan").from(kServerMac).ipv4(kServer, kFwd).udp(target, source),
                                "lan", worker);
        };
        // Even clients ask one external port, odd ones the other.
        for (const Step& step : *rc::gen::container<std::vector<Step>>(any_step()).as("steps")) {
            const auto external = static_cast<std::uint16_t>(53 + step.who % 2);
            const auto client = static_cast<std::uint16_t>(1000 + step.who);
            if (step.act == Act::request) {
                const auto sent = box.exchange(
                    "lan", box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(client, external),
                    "lan", step.worker);
                const std::uint16_t target = targets[rules][step.who % 2];
                const auto known = live.find(step.who);
                if (known != live.end()) {
                    RC_ASSERT(sent.size() == 1U);
                    RC_ASSERT(look_into(sent[0]).source == endpoint(kFwd, known->second.source));
                    RC_ASSERT(look_into(sent[0]).destination == endpoint(kServer, known->second.target));
                    continue;
                }
                const auto taken = std::ranges::count_if(
                    live, [&](const auto& entry) { return entry.second.target == target; });
                if (target == 0 || taken == kPorts) {
                    RC_ASSERT(sent.empty());
                    continue;
                }
                RC_ASSERT(sent.size() == 1U);
                const Seen seen = look_into(sent[0]);
                RC_ASSERT(seen.destination == endpoint(kServer, target));
                RC_ASSERT(seen.source.address == kFwd);
                RC_ASSERT(seen.source.port.host() >= kFirstPort &&
                          seen.source.port.host() < kFirstPort + kPorts);
                RC_ASSERT(!is_used(target, seen.source.port.host()));
                live[step.who] = {target, seen.source.port.host()};
            } else if (step.act == Act::answer && !live.empty()) {
                const auto& [who, session] =
                    *std::next(live.begin(), step.who % static_cast<int>(live.size()));
                const auto sent = answer(session.target, session.source, step.worker);
                RC_ASSERT(sent.size() == 1U);
                RC_ASSERT(look_into(sent[0]).source ==
                          endpoint(kExternal, static_cast<std::uint16_t>(53 + who % 2)));
                RC_ASSERT(look_into(sent[0]).destination ==
                          endpoint(kClient, static_cast<std::uint16_t>(1000 + who)));
            } else if (step.act == Act::stray_answer) {
                const auto source = static_cast<std::uint16_t>(kFirstPort + step.who);
                if (!is_used(5353, source)) RC_ASSERT(answer(5353, source, step.worker).empty());
            } else if (step.act == Act::time_passes) {
                box.pass(std::chrono::seconds{4});
                live.clear();
            } else if (step.act == Act::clear) {
                box.clear_sessions();
                box.pass(std::chrono::seconds{2});
                live.clear();
            } else if (step.act == Act::rules_change) {
                rules = step.who % sets.size();
                box.set_rules("rules = ( " + sets[rules] + " );");
                box.settle();
                box.take("lan");
            }
            RC_ASSERT(box.sessions() == live.size());
        }
        box.expect_every_packet_accounted_for();
        box.pass(std::chrono::seconds{1});
        box.expect_no_record_lost();
    }));
}

}  // namespace
}  // namespace fwd::test
