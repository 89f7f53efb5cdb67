// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_book.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <random>

#include "control/rule_json.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using test::make_rule;
using Names = std::vector<std::string>;

Rule config_rule(std::string_view external, std::string name, int line = 1,
                 std::string_view target = "10.0.0.4:80") {
    Rule rule = make_rule("tcp", external, target, std::move(name));
    rule.origin = RuleOrigin::config_file;
    rule.origin_text = fmt::format("fwd.conf:{}", line);
    return rule;
}

Rule runtime_rule(std::string_view external, std::string name) {
    Rule rule = make_rule("tcp", external, "10.0.0.4:80", std::move(name));
    rule.origin = RuleOrigin::runtime;
    return rule;
}

Names names(const RuleBook& book) {
    Names names;
    for (const auto& [id, rule] : book.rules()) names.push_back(rule.name);
    return names;
}

/// All that can be seen of a book but its revision.
Json dump(const RuleBook& book) {
    Json all = Json::array();
    for (const auto& [id, rule] : book.rules()) all.push_back({id, rule_to_json(rule), rule.origin_text});
    return all;
}

class RuleBookTest : public ::testing::Test {
 protected:
    Result<RuleBook> try_open(std::vector<Rule> config_rules = {}) {
        return RuleStore::open(directory()).and_then([&](std::unique_ptr<RuleStore> store) {
            return RuleBook::open(test::example_topology(), std::move(store), std::move(config_rules));
        });
    }
    RuleBook open(std::vector<Rule> config_rules = {}) {
        auto book = try_open(std::move(config_rules));
        if (!book) throw std::runtime_error{book.error().text()};
        return std::move(*book);
    }
    /// What a daemon finds that starts once this one has ended.
    RuleBook open_after(RuleBook& book) {
        std::vector<Rule> config_rules;
        for (const auto& [id, rule] : book.rules()) {
            if (rule.origin == RuleOrigin::config_file) config_rules.push_back(rule);
        }
        { const RuleBook ended = std::move(book); }
        return open(std::move(config_rules));
    }
    std::filesystem::path directory() const { return base_.path() / "state"; }

    test::TemporaryDirectory base_;
};

/// As long as it lives nothing more can be written to a file.
class FullDisk {
 public:
    FullDisk() {
        old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit none = before_;
        none.rlim_cur = 0;
        ::setrlimit(RLIMIT_FSIZE, &none);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;
    ~FullDisk() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, old_handler_);
    }

 private:
    rlimit before_{};
    sighandler_t old_handler_ = nullptr;
};

TEST_F(RuleBookTest, DurableRulesAreBackAndOthersAreNot) {
    {
        RuleBook book = open({config_rule("10.0.0.3:1", "config")});
        ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80", "durable")));
        ASSERT_TRUE(book.add(runtime_rule("10.0.0.3:3", "runtime")));
        ASSERT_TRUE(book.commit());
        ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:4", "10.0.0.4:80", "uncommitted")));
        EXPECT_EQ(names(book), (Names{"config", "durable", "runtime", "uncommitted"}));
    }
    EXPECT_EQ(names(open()), Names{"durable"});
}

TEST_F(RuleBookTest, RemovedRuleStaysRemoved) {
    {
        RuleBook book = open();
        ASSERT_TRUE(book.add({make_rule("tcp", "10.0.0.3:1", "10.0.0.4:80", "a"),
                              make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80", "b")}));
        ASSERT_TRUE(book.commit());
        EXPECT_EQ(book.remove("a")->name, "a");
        ASSERT_TRUE(book.commit());
        EXPECT_FALSE(book.find("a"));
    }
    EXPECT_EQ(names(open()), Names{"b"});
}

TEST_F(RuleBookTest, RefusedRuleChangesNothing) {
    RuleBook book = open({config_rule("10.0.0.3:80", "web", 12)});
    const Json before = dump(book);
    const auto revision = book.revision();
    const std::vector<std::pair<Rule, std::string>> rows{
        {make_rule("tcp", "10.0.0.3:80", "10.0.0.5:80"), "external"},
        {make_rule("tcp+udp", "10.0.0.3:80", "10.0.0.5:80"), "external"},
        {make_rule("tcp", "10.0.0.3:81", "10.0.0.5:80", "web"), "name"},
        {make_rule("tcp", "10.0.0.3:81", "10.0.0.2:80"), "target"},
        {make_rule("tcp", "10.0.0.3:81", "172.16.0.1:80"), "target"},
    };
    for (const auto& [rule, field] : rows) {
        const auto refused = book.add(rule);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().field, field);
        EXPECT_EQ(dump(book), before);
        EXPECT_EQ(book.revision(), revision);
    }
    EXPECT_NE(book.add(rows[0].first).error().message.find("fwd.conf:12"), std::string::npos);
    EXPECT_TRUE(book.add(make_rule("udp", "10.0.0.3:80", "10.0.0.5:80")));
}

/// L6
TEST_F(RuleBookTest, OneBadRuleOfManyRefusesThemAll) {
    RuleBook book = open({config_rule("10.0.0.3:80", "web")});
    const Json before = dump(book);
    const auto refused = book.add({make_rule("tcp", "10.0.0.3:1", "10.0.0.4:80"),
                                   make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80"),
                                   make_rule("tcp", "10.0.0.3:1", "10.0.0.4:81")});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().field, "rules[2].external") << refused.error().text();
    EXPECT_EQ(dump(book), before);
    ASSERT_TRUE(book.commit());
    EXPECT_EQ(names(open_after(book)), Names{"web"});
}

TEST_F(RuleBookTest, RuleWithoutANameGetsOne) {
    RuleBook book = open();
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:80", "10.0.0.4:80")));
    Rule taken = make_rule("tcp", "10.0.0.5:80", "10.0.0.4:80", "udp-10.0.0.3-80");
    ASSERT_TRUE(book.add(taken));
    ASSERT_TRUE(book.add(make_rule("udp", "10.0.0.3:80", "10.0.0.4:80")));
    EXPECT_EQ(names(book), (Names{"tcp-10.0.0.3-80", "udp-10.0.0.3-80", "udp-10.0.0.3-80-2"}));
}

TEST_F(RuleBookTest, LongestMadeUpNameIsStillAName) {
    LinkSettings link = test::example_topology().links()[0];
    link.name = std::string(31, 'l');
    auto book = RuleBook::open(Topology{{link}, {}}, std::move(*RuleStore::open(directory())), {});
    ASSERT_TRUE(book);
    Rule rule = make_rule("tcp+udp", "10.255.255.250:65535", "10.0.0.4:80");
    rule.link = link.name;
    const std::string name = default_name(rule);
    for (int i = 0; i < 12; ++i) {
        Rule other = make_rule("tcp", fmt::format("10.0.0.3:{}", i + 1), "10.0.0.4:80",
                               i == 0 ? name : fmt::format("{}-{}", name.substr(0, 55), i + 1));
        ASSERT_TRUE(book->add(other));
    }
    const auto id = book->add(rule);
    ASSERT_TRUE(id);
    EXPECT_TRUE(parse_name(book->rules().at(*id).name)) << book->rules().at(*id).name;
}

TEST_F(RuleBookTest, RuleOfTheFileIsDeletedInTheFileOnly) {
    RuleBook book = open({config_rule("10.0.0.3:80", "web", 12)});
    const auto refused = book.remove("web");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::refused);
    EXPECT_EQ(
        refused.error().text(),
        "name: got 'web', a rule of the configuration file: delete it there (fwd.conf:12), then reload");
    EXPECT_EQ(book.remove("wbe").error().kind, ErrorKind::not_found);
}

TEST_F(RuleBookTest, ReloadTellsWhatChangedAndKeepsWhatDidNot) {
    RuleBook book = open({config_rule("10.0.0.3:1", "a", 1), config_rule("10.0.0.3:2", "b", 2),
                          config_rule("10.0.0.3:3", "c", 3)});
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:9", "10.0.0.4:80", "durable")));
    ASSERT_TRUE(book.commit());
    const auto id_of_b = book.find("b");
    // a is gone, b is on another line, c has another target, d takes the address of a
    const auto result = book.reload({config_rule("10.0.0.3:1", "d", 1), config_rule("10.0.0.3:2", "b", 7),
                                     config_rule("10.0.0.3:3", "c", 8, "10.0.0.5:80")});
    ASSERT_TRUE(result) << result.error().text();
    EXPECT_EQ(result->added, 2U);
    EXPECT_EQ(result->removed, 2U);
    EXPECT_EQ(result->unchanged, 1U);
    EXPECT_EQ(book.find("b"), id_of_b);
    EXPECT_EQ(book.rules().at(*id_of_b).origin_text, "fwd.conf:7");
    EXPECT_EQ(names(book), (Names{"b", "durable", "d", "c"}));
    EXPECT_EQ(to_text(book.rules().at(*book.find("c")).targets), "10.0.0.5:80");
    EXPECT_NE(book.add(make_rule("udp", "10.0.0.3:5", "10.0.0.4:1", "b")).error().message.find("fwd.conf:7"),
              std::string::npos);
}

/// L6
TEST_F(RuleBookTest, RefusedReloadChangesNothing) {
    RuleBook book = open({config_rule("10.0.0.3:1", "a", 1), config_rule("10.0.0.3:2", "b", 2)});
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:9", "10.0.0.4:80", "durable")));
    ASSERT_TRUE(book.commit());
    const Json before = dump(book);
    const std::vector<std::vector<Rule>> sets{
        {config_rule("10.0.0.3:1", "a", 5), config_rule("10.0.0.3:9", "new", 6)},
        {config_rule("10.0.0.3:3", "c", 5), config_rule("10.0.0.3:4", "durable", 6)},
        {config_rule("10.0.0.3:1", "a", 5), config_rule("10.0.0.3:1", "a", 6)},
        {config_rule("10.0.0.3:5", "x", 5), config_rule("10.0.0.3:5", "y", 6)},
    };
    for (const auto& rules : sets) {
        const auto refused = book.reload(rules);
        ASSERT_FALSE(refused);
        EXPECT_TRUE(refused.error().field.starts_with("fwd.conf:6: ")) << refused.error().text();
        EXPECT_EQ(dump(book), before);
    }
    EXPECT_TRUE(book.reload({}));
    EXPECT_EQ(names(book), Names{"durable"});
}

TEST_F(RuleBookTest, FailedCommitUndoesEverythingSinceTheLastOne) {
    RuleBook book = open({config_rule("10.0.0.3:1", "config", 1)});
    ASSERT_TRUE(book.add({make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80", "a"),
                          make_rule("tcp", "10.0.0.3:3", "10.0.0.4:80", "b")}));
    ASSERT_TRUE(book.add(runtime_rule("10.0.0.3:4", "runtime")));
    ASSERT_TRUE(book.commit());
    const Json before = dump(book);
    const auto revision = book.revision();
    {
        const FullDisk full;
        ASSERT_TRUE(book.remove("a"));
        ASSERT_TRUE(book.remove("runtime"));
        ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:2", "10.0.0.4:81", "a")));
        ASSERT_TRUE(book.remove("a"));
        ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:4", "10.0.0.4:81", "c")));
        ASSERT_TRUE(book.reload({config_rule("10.0.0.3:5", "other", 1)}));
        const auto failed = book.commit();
        ASSERT_FALSE(failed);
        EXPECT_EQ(failed.error().kind, ErrorKind::unavailable);
    }
    EXPECT_EQ(dump(book), before);
    EXPECT_NE(book.revision(), revision);
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:9", "10.0.0.4:80", "later")));
    ASSERT_TRUE(book.commit());
    EXPECT_EQ(names(open_after(book)), (Names{"config", "a", "b", "later"}));
}

TEST_F(RuleBookTest, DisabledRuleKeepsItsIdAndPlaceAndIsDisabledAfterARestart) {
    RuleBook book = open();
    ASSERT_TRUE(book.add({make_rule("tcp", "10.0.0.3:1", "10.0.0.4:80", "a"),
                          make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80", "b")}));
    ASSERT_TRUE(book.commit());
    const auto id = book.find("a");
    ASSERT_EQ(*book.disable("a"), *id);
    ASSERT_EQ(*book.disable("a"), *id) << "nothing to do";
    ASSERT_TRUE(book.commit());
    EXPECT_TRUE(book.rules().at(*id).disabled);

    RuleBook again = open_after(book);
    EXPECT_EQ(names(again), (Names{"a", "b"}));
    EXPECT_TRUE(again.rules().at(*again.find("a")).disabled);
    ASSERT_TRUE(again.enable("a"));
    ASSERT_TRUE(again.commit());
    const RuleBook once_more = open_after(again);
    EXPECT_FALSE(once_more.rules().at(*once_more.find("a")).disabled);
}

/// L4: a disabled rule ties with nobody, and may not be enabled where it would.
TEST_F(RuleBookTest, DisabledRuleClaimsItsNameAlone) {
    RuleBook book = open();
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:80", "10.0.0.4:80", "web")));
    ASSERT_TRUE(book.disable("web"));
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:80", "10.0.0.5:80", "other")));
    EXPECT_EQ(book.add(make_rule("tcp", "10.0.0.3:81", "10.0.0.5:80", "web")).error().field, "name");

    const Json before = dump(book);
    const auto refused = book.enable("web");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().text(),
              "external: got tcp 10.0.0.3:80 on any link for rule 'web', but rule 'other' has it; want "
              "another address, port, protocol or link");
    EXPECT_EQ(dump(book), before);
    ASSERT_TRUE(book.remove("other"));
    EXPECT_TRUE(book.enable("web"));
    EXPECT_EQ(book.enable("wbe").error().kind, ErrorKind::not_found);
}

/// L5: a changed rule is another one of the same name, and stays so.
TEST_F(RuleBookTest, ChangedRuleTakesThePlaceOfTheOneBefore) {
    RuleBook book = open();
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:80", "10.0.0.4:80", "web")));
    ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:81", "10.0.0.4:80", "other")));
    ASSERT_TRUE(book.commit());
    const auto id = book.find("web");
    const auto before = book.change(make_rule("tcp", "10.0.0.3:80", "10.0.0.5:80", "web"));
    ASSERT_TRUE(before) << before.error().text();
    EXPECT_EQ(before->targets, make_rule("tcp", "10.0.0.3:80", "10.0.0.4:80").targets);
    EXPECT_NE(book.find("web"), id);
    ASSERT_TRUE(book.change(make_rule("tcp", "10.0.0.3:80", "10.0.0.6:80", "web")));
    ASSERT_TRUE(book.commit());

    const Json good = dump(book);
    const auto refused = book.change(make_rule("tcp", "10.0.0.3:81", "10.0.0.6:80", "web"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().field, "external") << "it is the other one's";
    EXPECT_EQ(dump(book), good);
    EXPECT_EQ(book.change(make_rule("tcp", "10.0.0.3:80", "10.0.0.6:80", "wbe")).error().kind,
              ErrorKind::not_found);
    {
        const FullDisk full;
        ASSERT_TRUE(book.change(make_rule("tcp", "10.0.0.3:80", "10.0.0.7:80", "web")));
        EXPECT_FALSE(book.commit());
    }
    EXPECT_EQ(dump(book), good);
    const RuleBook again = open_after(book);
    EXPECT_EQ(rule_to_json(again.rules().at(*again.find("web")))["target"], "10.0.0.6:80");
    EXPECT_EQ(again.rules().size(), 2U);
}

TEST_F(RuleBookTest, FailedCommitUndoesEnablingAndDisabling) {
    RuleBook book = open();
    Rule off = make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80", "off");
    off.disabled = true;
    ASSERT_TRUE(book.add({make_rule("tcp", "10.0.0.3:1", "10.0.0.4:80", "on"), off}));
    ASSERT_TRUE(book.commit());
    const Json before = dump(book);
    {
        const FullDisk full;
        ASSERT_TRUE(book.disable("on"));
        ASSERT_TRUE(book.enable("off"));
        EXPECT_FALSE(book.commit());
    }
    EXPECT_EQ(dump(book), before);
    EXPECT_EQ(book.add(make_rule("tcp", "10.0.0.3:1", "10.0.0.4:80")).error().field, "external");
    EXPECT_TRUE(book.add(make_rule("tcp", "10.0.0.3:2", "10.0.0.4:80")));
}

/// L6: a rule that only its comment or `disabled` changes is the same rule.
TEST_F(RuleBookTest, ReloadEnablesAndDisablesInPlace) {
    const auto with = [](Rule rule, bool disabled, std::string comment = "") {
        rule.disabled = disabled;
        rule.comment = std::move(comment);
        return rule;
    };
    RuleBook book = open({config_rule("10.0.0.3:1", "a"), with(config_rule("10.0.0.3:1", "b"), true),
                          config_rule("10.0.0.3:3", "c")});
    const auto a = book.find("a");
    const auto b = book.find("b");
    const auto c = book.find("c");
    const auto result =
        book.reload({with(config_rule("10.0.0.3:1", "b"), false), with(config_rule("10.0.0.3:1", "a"), true),
                     with(config_rule("10.0.0.3:3", "c"), false, "as before")});
    ASSERT_TRUE(result) << result.error().text();
    EXPECT_EQ(result->switched, 2U);
    EXPECT_EQ(result->unchanged, 1U);
    EXPECT_EQ(result->added + result->removed, 0U);
    EXPECT_EQ(std::tuple(book.find("a"), book.find("b"), book.find("c")), std::tuple(a, b, c));
    EXPECT_EQ(book.rules().at(*c).comment, "as before");
    EXPECT_TRUE(book.rules().at(*a).disabled);

    const Json before = dump(book);
    const auto refused = book.reload({config_rule("10.0.0.3:1", "b"), config_rule("10.0.0.3:1", "a", 7)});
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().field.starts_with("fwd.conf:7: external")) << refused.error().text();
    EXPECT_EQ(dump(book), before);
    EXPECT_EQ(book.enable("a").error().text(),
              "name: got 'a', a rule of the configuration file: write `disabled = false;` there "
              "(fwd.conf:1), then reload");
}

TEST_F(RuleBookTest, RuntimeRulesNeedNoDisk) {
    RuleBook book = open();
    const FullDisk full;
    ASSERT_TRUE(book.add(runtime_rule("10.0.0.3:4", "runtime")));
    EXPECT_TRUE(book.commit());
}

TEST_F(RuleBookTest, StoredRuleThatNoLongerFitsIsRefusedWithARemedyThatWorks) {
    {
        RuleBook book = open();
        ASSERT_TRUE(book.add(make_rule("tcp", "10.0.0.3:80", "10.0.0.4:80", "web")));
        ASSERT_TRUE(book.commit());
    }
    const auto refused = try_open({config_rule("10.0.0.3:80", "other", 12)});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("fwd.conf:12"), std::string::npos) << refused.error().text();
    const std::string remedy = refused.error().message.substr(refused.error().message.find("sqlite3 "));
    EXPECT_EQ(base_.without_path(remedy), R"(sqlite3 state/rules.db "DELETE FROM rule WHERE name = 'web'")");
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open((directory() / "rules.db").c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, "DELETE FROM rule WHERE name = 'web'", nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(database);
    EXPECT_TRUE(try_open({config_rule("10.0.0.3:80", "other", 12)}));
}

TEST_F(RuleBookTest, RandomWalkAgreesWithAModel) {
    constexpr unsigned kSeed = 7;
    std::mt19937 random{kSeed};
    std::map<std::string, Json> committed;
    std::optional<RuleBook> book = open();
    for (int round = 0; round < 300; ++round) {
        std::map<std::string, Json> model = committed;
        std::optional<FullDisk> full;
        if (random() % 5 == 0) full.emplace();
        bool is_durable_change = false;
        for (unsigned i = random() % 6; i > 0; --i) {
            const std::string name = fmt::format("r{}", random() % 20);
            if (random() % 2 == 0) {
                Rule rule =
                    make_rule("tcp", fmt::format("10.0.0.3:{}", 1 + random() % 20), "10.0.0.4:80", name);
                const bool taken = std::ranges::any_of(model, [&](const auto& other) {
                    return other.first == name || other.second["external"] == to_text(rule.external);
                });
                ASSERT_EQ(book->add(rule).has_value(), !taken) << "seed " << kSeed;
                if (!taken) model[name] = rule_to_json(rule);
            } else {
                ASSERT_EQ(book->remove(name).has_value(), model.erase(name) == 1) << "seed " << kSeed;
            }
        }
        is_durable_change = model != committed;
        const bool done = book->commit().has_value();
        if (!full) {
            ASSERT_TRUE(done);
        } else if (is_durable_change) {
            ASSERT_FALSE(done);
        }
        if (done) committed = model;
        full.reset();
        if (round % 10 == 9) {
            book.reset();
            book = open();
        }
        std::map<std::string, Json> seen;
        for (const auto& [id, rule] : book->rules()) seen[rule.name] = rule_to_json(rule);
        ASSERT_EQ(seen, committed) << "seed " << kSeed << ", round " << round;
    }
}

TEST_F(RuleBookTest, AHundredThousandRulesAreAddedAndLoadedInSeconds) {
    using Clock = std::chrono::steady_clock;
    const auto seconds_since = [](Clock::time_point start) {
        return std::chrono::duration<double>{Clock::now() - start}.count();
    };
#if defined(FWD_ADDRESS_SANITIZER)
    constexpr int kRules = 10'000;  // how fast it is otherwise is no matter then
#else
    constexpr int kRules = 100'000;
#endif
    std::vector<Rule> rules;
    rules.reserve(kRules);
    for (int i = 0; i < kRules; ++i) {
        rules.push_back(make_rule(
            "tcp", fmt::format("10.1.{}.{}:{}", i / 250 % 250, 1 + i % 250, 1 + i / 62'500), "10.0.0.4:80"));
    }
    {
        RuleBook book = open();
        const auto start = Clock::now();
        ASSERT_TRUE(book.add(std::move(rules)));
        ASSERT_TRUE(book.commit());
        RecordProperty("add_all_seconds", std::to_string(seconds_since(start)));
    }
    const auto start = Clock::now();
    RuleBook book = open();
    const double load_seconds = seconds_since(start);
    RecordProperty("load_seconds", std::to_string(load_seconds));
    EXPECT_LT(load_seconds, 60) << "some 1 s on a quiet machine";
    EXPECT_EQ(book.rules().size(), std::size_t{kRules});

    const auto single = Clock::now();
    for (int i = 0; i < 1000; ++i) {
        ASSERT_TRUE(book.add(runtime_rule(fmt::format("10.2.0.1:{}", i + 1), "")));
        ASSERT_TRUE(book.commit());
    }
    EXPECT_LT(seconds_since(single), 5 * load_seconds) << "an add does not go over the whole set";
}

}  // namespace
}  // namespace fwd::control
