// SPDX-License-Identifier: BSD-3-Clause
// Somebody who changes rules by JSON-RPC at random, and knows what they have to be afterwards.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>

namespace fwd::test {

using Rules = std::map<std::string, std::string>;  ///< names and external endpoints

/// A request and what the rules are when it has been carried out.
struct Step {
    nlohmann::json request;
    Rules rules;
};

class Operator {
 public:
    using Clock = std::chrono::steady_clock;

    explicit Operator(unsigned seed) : random_{seed} {}

    Step next(const Rules& rules) {
        Step step{{{"jsonrpc", "2.0"}, {"id", ++id_}}, rules};
        switch (random_() % 3) {
            case 0:
                step.request["method"] = "rule.add";
                step.request["params"] = new_rule(step.rules);
                break;
            case 1: {
                nlohmann::json list = nlohmann::json::array();
                for (int i = 0; i < 5; ++i) list.push_back(new_rule(step.rules));
                step.request["method"] = "rules.add";
                step.request["params"] = {{"rules", list}};
                break;
            }
            default: {
                if (rules.empty()) return next(rules);
                const auto victim = std::next(rules.begin(), static_cast<long>(random_() % rules.size()));
                step.request["method"] = "rule.delete";
                step.request["params"] = {{"name", victim->first}};
                step.rules.erase(victim->first);
            }
        }
        return step;
    }
    /// Before the one that is disturbed.
    unsigned requests_to_be_answered() { return random_() % 5; }
    /// A moment up to one and a half times as late as something usually takes.
    Clock::duration moment_within(Clock::duration usual) {
        return usual * static_cast<long>(random_() % 1500) / 1000;
    }

 private:
    nlohmann::json new_rule(Rules& rules) {
        ++rule_;
        const std::string name = fmt::format("r{}", rule_);
        const std::string external = fmt::format("10.1.{}.{}:80", rule_ / 250 % 250, 1 + rule_ % 250);
        rules[name] = external;
        return {{"protocol", "tcp"}, {"external", external}, {"target", "10.0.0.4:8080"}, {"name", name}};
    }

    std::mt19937 random_;
    unsigned id_ = 0;
    unsigned rule_ = 0;
};

inline void send_request(int socket, const nlohmann::json& request) {
    const std::string line = request.dump() + '\n';
    EXPECT_EQ(::send(socket, line.data(), line.size(), MSG_NOSIGNAL), static_cast<ssize_t>(line.size()));
}

/// The answer, or nothing when the daemon is dead.
inline std::optional<nlohmann::json> receive_answer(int socket) {
    std::string answer;
    while (!answer.ends_with('\n')) {
        char buffer[4096];
        const ssize_t bytes = ::recv(socket, buffer, sizeof buffer, 0);
        if (bytes <= 0) return {};
        answer.append(buffer, static_cast<std::size_t>(bytes));
    }
    return nlohmann::json::parse(answer);
}

/// How long something takes, of late.
class UsualTime {
 public:
    using Clock = std::chrono::steady_clock;

    void add(Clock::duration time) {
        usual_ = known_ ? (3 * usual_ + time) / 4 : time;
        known_ = true;
    }
    Clock::duration get() const { return usual_; }

 private:
    bool known_ = false;
    Clock::duration usual_{};
};

}  // namespace fwd::test
