// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "control/rule_json.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using test::make_rule;
using ::testing::Test;

class RuleStoreTest : public Test {
 protected:
    std::unique_ptr<RuleStore> open() {
        auto store = RuleStore::open(directory());
        EXPECT_TRUE(store) << store.error().text();
        return store ? std::move(*store) : nullptr;
    }
    /// The error of an open that has to fail; the files are as they were.
    std::string open_error() {
        const auto before = files();
        const auto store = RuleStore::open(directory());
        EXPECT_FALSE(store);
        EXPECT_EQ(files(), before);
        return store ? "" : base_.without_path(store.error().text());
    }
    std::map<std::string, std::string> files() const {
        std::map<std::string, std::string> contents;
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator{directory(), ignored}) {
            std::ostringstream text;
            text << std::ifstream{entry.path(), std::ios::binary}.rdbuf();
            contents[entry.path().filename()] = text.str();
        }
        return contents;
    }
    void sql(const std::string& statements) const {
        sqlite3* database = nullptr;
        ASSERT_EQ(sqlite3_open(file().c_str(), &database), SQLITE_OK);
        char* error = nullptr;
        EXPECT_EQ(sqlite3_exec(database, statements.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
        sqlite3_close(database);
    }
    std::filesystem::path directory() const { return base_.path() / "state"; }
    std::filesystem::path file() const { return directory() / "rules.db"; }

    test::TemporaryDirectory base_;
};

Result<void> add(RuleStore& store, const std::vector<Rule>& rules) {
    std::vector<const Rule*> pointers;
    pointers.reserve(rules.size());
    for (const Rule& rule : rules) pointers.push_back(&rule);
    return store.change({}, pointers);
}

std::vector<Rule> many_rules(int count, const std::string& prefix = "r") {
    std::vector<Rule> rules;
    rules.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        rules.push_back(
            make_rule("tcp", "10.1.0.1:" + std::to_string(1 + i), "10.0.0.4:80", prefix + std::to_string(i)));
    }
    return rules;
}

TEST_F(RuleStoreTest, NewDatabaseIsEmptyAndForItsOwnerAndGroupOnly) {
    const auto store = open();
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(store->load()->empty());
    struct stat status {};
    ASSERT_EQ(::stat(directory().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0750U);
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0640U);
}

TEST_F(RuleStoreTest, RulesComeBackAsTheyWereAndInOrder) {
    Rule full = make_rule("tcp+udp", "203.0.113.1:27015", "10.0.0.7:27015", "zz-game");
    full.link = "wan";
    full.source = SourceMode::preserve;
    full.from = {*parse_prefix("0.0.0.0/0"), *parse_prefix("192.0.2.0/24")};
    full.comment = "Bücher";
    full.disabled = true;
    const Rule plain = make_rule("udp", "10.0.0.3:53", "10.0.0.4:65535", "a");
    Rule host = make_rule("udp", "10.0.0.3:1", "10.0.0.4:1", "host");
    host.udp = false;
    host.all = host.outbound = true;
    host.external = *parse_rule_endpoint("203.0.113.5");
    host.targets = *parse_targets("10.0.0.5");
    ASSERT_TRUE(add(*open(), {full, plain, host}));

    const auto rules = open()->load();
    ASSERT_TRUE(rules);
    ASSERT_EQ(rules->size(), 3U);
    EXPECT_EQ(rule_to_json((*rules)[2]), rule_to_json(host));
    EXPECT_EQ(rule_to_json((*rules)[0]), rule_to_json(full));
    EXPECT_EQ(rule_to_json((*rules)[1]), rule_to_json(plain));
    EXPECT_EQ((*rules)[0].origin, RuleOrigin::database);
}

TEST_F(RuleStoreTest, FailedChangeChangesNothing) {
    const auto store = open();
    ASSERT_TRUE(add(*store, many_rules(3)));
    const Rule taken = make_rule("tcp", "10.0.0.9:80", "10.0.0.4:80", "r2");
    const Rule fresh = make_rule("tcp", "10.0.0.9:81", "10.0.0.4:80", "fresh");
    const std::vector<const Rule*> added{&fresh, &taken};
    EXPECT_FALSE(store->change(std::vector<std::string>{"r0"}, added));
    EXPECT_FALSE(store->change(std::vector<std::string>{"r0", "unknown"}, {}));
    EXPECT_EQ(store->load()->size(), 3U);
    EXPECT_TRUE(store->change(std::vector<std::string>{"r0", "r2"}, added)) << "the name is free by then";
    EXPECT_EQ(store->load()->size(), 3U);
}

TEST_F(RuleStoreTest, SecondDaemonIsRefused) {
    const auto store = open();
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(open_error(), "state: in use by another fwdd: stop it, or choose another state directory");
}

TEST_F(RuleStoreTest, OtherProgramsAreKeptOutWhileItIsOpen) {
    const auto store = open();
    ASSERT_TRUE(add(*store, many_rules(1)));
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &other), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(other, "SELECT * FROM rule", nullptr, nullptr, nullptr), SQLITE_BUSY);
    sqlite3_close(other);
}

TEST_F(RuleStoreTest, DatabaseInUseBySqliteIsRefusedUntilThatEnds) {
    open();
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &other), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
    const auto store = RuleStore::open(directory());
    ASSERT_FALSE(store);
    EXPECT_EQ(base_.without_path(store.error().text()),
              "state/rules.db: in use by another program, perhaps sqlite3: end that first");
    sqlite3_close(other);
    EXPECT_NE(open(), nullptr);
}

TEST_F(RuleStoreTest, ForeignDatabaseIsRefusedAndLeftAlone) {
    std::filesystem::create_directory(directory());
    sql("CREATE TABLE rule (name TEXT); INSERT INTO rule VALUES ('precious')");
    EXPECT_EQ(open_error(),
              "state/rules.db: an SQLite database, but not of fwd: move it away, or choose another "
              "state directory");
}

TEST_F(RuleStoreTest, NewerDatabaseIsRefusedAndLeftAlone) {
    open();
    sql("PRAGMA user_version = 6");
    EXPECT_EQ(open_error(),
              "state/rules.db: written by a newer fwd (version 6 of the database, this fwd knows 5): "
              "install that fwd, or choose another state directory");
}

TEST_F(RuleStoreTest, WhatIsNoDatabaseIsRefusedAndLeftAlone) {
    const std::string remedy =
        ": bring it back from a backup; or move it and rules.db-wal away to start without "
        "these rules, and add them again";
    for (const std::string& content : {std::string{}, std::string{"x"}, std::string(5000, 'x'),
                                       std::string{"SQLite format 3"}, std::string(100, '\0')}) {
        base_.write("state/rules.db", content);
        EXPECT_EQ(open_error(), "state/rules.db: damaged (not an SQLite database)" + remedy)
            << content.size();
    }
    std::filesystem::remove(file());
    std::filesystem::create_directory(file());
    EXPECT_EQ(base_.without_path(RuleStore::open(directory()).error().text()),
              "state/rules.db: not a file: remove it, or choose another state directory");
}

TEST_F(RuleStoreTest, LostDatabaseWithItsLogLeftIsRefused) {
    base_.write("state/rules.db-wal", "");
    EXPECT_EQ(open_error(),
              "state/rules.db: missing, but state/rules.db-wal is there and may hold rules: bring the "
              "database back "
              "from a backup, or remove that file to start without rules");
}

TEST_F(RuleStoreTest, HalfMadeDatabaseOfACrashIsMadeAnew) {
    base_.write("state/rules.db.new", "SQLite form");
    base_.write("state/rules.db.new-journal", "x");
    ASSERT_NE(open(), nullptr);
    EXPECT_EQ(files().size(), 1U);
}

TEST_F(RuleStoreTest, DamageIsFoundWhereverItIsOrHarmless) {
    ASSERT_TRUE(add(*open(), many_rules(500)));
    const std::string whole = files()["rules.db"];
    const auto wanted = open()->load();
    std::mt19937 random{1};
    int found = 0;
    constexpr int kRounds = 200;
    for (int round = 0; round < kRounds; ++round) {
        std::string damaged = whole;
        const std::size_t at = 100 + random() % (whole.size() - 100);
        const std::size_t bytes = std::min<std::size_t>(1 + random() % 600, whole.size() - at);
        for (std::size_t i = 0; i < bytes; ++i) damaged[at + i] = static_cast<char>(random());
        base_.write("state/rules.db", damaged);
        auto store = RuleStore::open(directory());
        auto rules = store ? (*store)->load() : tl::unexpected(store.error());
        if (!rules) {
            ++found;
            EXPECT_NE(rules.error().message.find("damaged"), std::string::npos) << rules.error().text();
        } else {
            // Nothing lost. (A letter of a name may be another: SQLite has no checksums of its tables.)
            EXPECT_EQ(rules->size(), wanted->size()) << "bytes " << at << " to " << at + bytes;
        }
    }
    EXPECT_GT(found, kRounds / 2);
}

TEST_F(RuleStoreTest, ChangedByHandIntoWhatIsNoRuleIsRefused) {
    ASSERT_TRUE(add(*open(), many_rules(2)));
    const std::vector<std::pair<std::string, std::string>> rows{
        {"protocol = 'icmp'", "protocol"},
        {"external = '10.0.0.3:0'", "external"},
        {"external = '10.0.0.3'", "external"},
        {"protocol = 'all'", "external"},
        {"target = ''", "target"},
        {"name = 'a b'", "name"},
        {"source = 'none'", "source"},
        {"prefixes = 'x'", "from"},
        {"prefixes = '[1]'", "from[0]"},
        {"prefixes = '[\"10.0.0.1/8\"]'", "from[0]"},
        {"link = ''", "link"},
        {"not_prefixes = '[1]'", "not_from[0]"},
        {"balance = 'best'", "balance"},
        {"limits = '7'", "limits"},
        {"limits = '{\"rate\": 0}'", "rate"},
        {"limits = '{\"speed\": 1}'", "params"},
        {"comment = 'a' || char(10)", "comment"},
    };
    for (const auto& [change, field] : rows) {
        const std::string whole = files()["rules.db"];
        sql("UPDATE rule SET " + change + " WHERE name = 'r1'");
        const auto rules = open()->load();
        ASSERT_FALSE(rules) << change;
        EXPECT_NE(rules.error().message.find(": " + field + ": "), std::string::npos) << rules.error().text();
        base_.write("state/rules.db", whole);
    }
    EXPECT_EQ(open()->load()->size(), 2U);
}

TEST_F(RuleStoreTest, OfTheVersionBeforeItIsTakenOver) {
    ASSERT_TRUE(add(*open(), many_rules(3)));
    sql("ALTER TABLE rule RENAME TO new;"
        "CREATE TABLE rule (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, protocol TEXT NOT NULL,"
        "    link TEXT, external TEXT NOT NULL, target TEXT NOT NULL, source TEXT NOT NULL,"
        "    prefixes TEXT NOT NULL) STRICT;"
        "INSERT INTO rule SELECT id, name, protocol, link, external, target, source, prefixes FROM new;"
        "DROP TABLE new; DROP TABLE masquerade; PRAGMA user_version = 1");
    {
        const auto store = open();
        EXPECT_EQ(store->load()->size(), 3U);
        Rule range = make_rule("tcp", "10.0.0.3:1", "10.0.0.4:1", "range");
        range.external = *parse_endpoint_range("10.0.0.3:8000-8100");
        range.targets = *parse_targets("10.0.0.4:9000-9100*3,10.0.0.5:1-101");
        range.balance = Balance::source_hash;
        range.max_sessions = 1000;
        range.rate = 50;
        range.not_from = {*parse_prefix("192.0.2.0/24")};
        ASSERT_TRUE(add(*store, {range}));
    }
    const auto rules = open()->load();
    ASSERT_EQ(rules->size(), 4U);
    EXPECT_EQ(to_text(rules->back().external), "10.0.0.3:8000-8100");
    EXPECT_EQ(to_text(rules->back().targets), "10.0.0.4:9000-9100*3,10.0.0.5:1-101");
    EXPECT_EQ(rules->back().balance, Balance::source_hash);
    EXPECT_EQ(rules->back().max_sessions, 1000);
    EXPECT_EQ(rules->back().max_sessions_per_source, 0);
    EXPECT_EQ(rules->back().rate, 50);
    EXPECT_EQ(rules->back().not_from, std::vector{*parse_prefix("192.0.2.0/24")});
}

TEST_F(RuleStoreTest, OfVersionTwoItIsTakenOver) {
    ASSERT_TRUE(add(*open(), many_rules(3)));
    sql(R"(ALTER TABLE rule RENAME TO new;
    CREATE TABLE rule (
        id       INTEGER PRIMARY KEY,
        name     TEXT NOT NULL UNIQUE,
        protocol TEXT NOT NULL,
        link     TEXT,
        external TEXT NOT NULL,
        target   TEXT NOT NULL,
        source   TEXT NOT NULL,
        prefixes TEXT NOT NULL,
        not_prefixes TEXT NOT NULL DEFAULT '[]',
        balance TEXT NOT NULL DEFAULT 'round-robin', -- or "source-hash"
        limits TEXT NOT NULL DEFAULT '{}'         -- {"max_sessions": 10}
    ) STRICT;
    INSERT INTO rule SELECT id, name, protocol, link, external, target, source, prefixes, not_prefixes, balance,
        limits FROM new;
    DROP TABLE new; DROP TABLE masquerade; PRAGMA user_version = 2)");
    {
        const auto store = open();
        ASSERT_EQ(store->load()->size(), 3U);
        Rule off = make_rule("tcp", "10.0.0.3:1", "10.0.0.4:1", "off");
        off.comment = "the shop";
        off.disabled = true;
        ASSERT_TRUE(add(*store, {off}));
    }
    const auto rules = open()->load();
    ASSERT_EQ(rules->size(), 4U);
    EXPECT_FALSE(rules->front().disabled);
    EXPECT_EQ(rules->back().comment, "the shop");
    EXPECT_TRUE(rules->back().disabled);
}

TEST_F(RuleStoreTest, OfVersionFourItIsTakenOver) {
    ASSERT_TRUE(add(*open(), many_rules(3)));
    sql("ALTER TABLE rule DROP COLUMN outbound; PRAGMA user_version = 4");
    const auto rules = open()->load();
    ASSERT_EQ(rules->size(), 3U);
    EXPECT_FALSE(rules->front().outbound);
}

/// A crash after an upgrade leaves it in the log, and the version before in the file's header.
TEST_F(RuleStoreTest, UpgradeThatIsInTheLogAloneIsNotDoneAgain) {
    ASSERT_TRUE(add(*open(), many_rules(2)));
    sql("ALTER TABLE rule DROP COLUMN outbound; DROP TABLE masquerade; PRAGMA user_version = 3");
    std::map<std::string, std::string> at_the_crash;
    {
        const auto store = open();
        ASSERT_EQ(store->load()->size(), 2U);
        at_the_crash = files();
    }
    ASSERT_TRUE(at_the_crash.contains("rules.db-wal"));
    for (const auto& [name, bytes] : at_the_crash) base_.write("state/" + name, bytes);
    EXPECT_EQ(open()->load()->size(), 2U);
}

TEST_F(RuleStoreTest, WithoutItsTableItIsDamaged) {
    ASSERT_TRUE(add(*open(), many_rules(1)));
    sql("DROP TABLE rule");
    const auto rules = open()->load();
    ASSERT_FALSE(rules);
    EXPECT_NE(rules.error().message.find("damaged (no such table: rule): bring it back"), std::string::npos)
        << rules.error().text();
}

TEST_F(RuleStoreTest, DatabaseThatIsNoFileIsRefusedAtOnce) {
    ASSERT_TRUE(std::filesystem::create_directory(directory()));
    ASSERT_EQ(::mkfifo(file().c_str(), 0600), 0);
    EXPECT_EQ(base_.without_path(RuleStore::open(directory()).error().text()),
              "state/rules.db: not a file: remove it, or choose another state directory");
}

TEST_F(RuleStoreTest, StateDirectoryThatIsAFileIsRefused) {
    base_.write("state", "x");
    EXPECT_EQ(RuleStore::open(directory()).error().message,
              "is not a directory: remove it, or choose another state directory");
    EXPECT_FALSE(RuleStore::open(directory() / "below"));
}

/// Root may write anywhere: what is to be refused is tried as nobody.
class AsNobody {
 public:
    explicit AsNobody(const std::filesystem::path& directory) {
        if (::geteuid() != 0) return;
        EXPECT_EQ(::chown(directory.parent_path().c_str(), kNobody, kNobody), 0);
        EXPECT_EQ(::chown(directory.c_str(), kNobody, kNobody), 0);
        EXPECT_EQ(::seteuid(kNobody), 0);
    }
    ~AsNobody() {
        if (::getuid() == 0) {
            EXPECT_EQ(::seteuid(0), 0);
        }
    }

 private:
    static constexpr uid_t kNobody = 65534;
};

TEST_F(RuleStoreTest, ReadOnlyDatabaseIsRefused) {
    ASSERT_TRUE(add(*open(), many_rules(1)));
    ASSERT_EQ(::chmod(file().c_str(), 0444), 0);
    const AsNobody nobody{directory()};
    EXPECT_EQ(open_error(), "state/rules.db: read-only: make file and directory writable for fwdd");
}

TEST_F(RuleStoreTest, UnreadableDatabaseIsRefused) {
    ASSERT_TRUE(add(*open(), many_rules(1)));
    ASSERT_EQ(::chmod(file().c_str(), 0), 0);
    const AsNobody nobody{directory()};
    EXPECT_EQ(base_.without_path(RuleStore::open(directory()).error().text()),
              "cannot open state/rules.db: Permission denied");
}

TEST_F(RuleStoreTest, StateDirectoryWithoutPermissionIsRefused) {
    open();
    ASSERT_EQ(::chmod(directory().c_str(), 0550), 0);
    {
        const AsNobody nobody{directory()};
        EXPECT_EQ(base_.without_path(RuleStore::open(directory()).error().text()),
                  "cannot write to the state directory state: Permission denied");
    }
    ASSERT_EQ(::chmod(directory().c_str(), 0), 0);
    const AsNobody nobody{directory()};
    EXPECT_EQ(base_.without_path(RuleStore::open(directory()).error().text()),
              "cannot open the state directory state: Permission denied");
}

/// Adds until the disk is full. Then nothing of the last request may be there, and all of the others.
void fill_disk(const std::filesystem::path& directory, const std::function<void()>& make_room) {
    auto opened = RuleStore::open(directory);
    ASSERT_TRUE(opened) << opened.error().text();
    std::unique_ptr<RuleStore> store = std::move(*opened);
    int requests = 0;
    Result<void> ok;
    for (; requests < 1000; ++requests) {
        ok = add(*store, many_rules(20, "a" + std::to_string(requests) + "-"));
        if (!ok) break;
    }
    ASSERT_FALSE(ok) << "the disk was never full";
    EXPECT_EQ(ok.error().kind, ErrorKind::unavailable);
    EXPECT_NE(ok.error().message.find("the disk is full, nothing has been changed: free space in "),
              std::string::npos)
        << ok.error().text();
    EXPECT_EQ(store->load()->size(), 20U * static_cast<unsigned>(requests));
    make_room();
    EXPECT_TRUE(add(*store, many_rules(20, "b")));
    store.reset();
    auto again = RuleStore::open(directory);
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ((*again)->load()->size(), 20U * static_cast<unsigned>(requests + 1));
}

TEST_F(RuleStoreTest, LimitOfFileSizeIsReportedAndNothingIsLost) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit small = before;
    small.rlim_cur = 128 * 1024UL;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    fill_disk(directory(), [&] { EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0); });
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    std::signal(SIGXFSZ, old_handler);
}

TEST_F(RuleStoreTest, FullDiskIsReportedAndNothingIsLost) {
    std::filesystem::create_directory(directory());
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {  // a mount namespace of its own
        const int flags = ::geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER;
        if (::unshare(flags) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", directory().c_str(), "tmpfs", 0, "size=256k") != 0) {
            ::_exit(77);
        }
        base_.write("state/ballast", std::string(100'000, 'x'));
        fill_disk(directory(), [&] { std::filesystem::remove(directory() / "ballast"); });
        ::_exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no mount namespace to be had here";
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace fwd::control
