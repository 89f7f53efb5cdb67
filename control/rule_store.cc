// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

#include "control/masquerade_json.h"
#include "control/methods.h"
#include "control/rule_json.h"
#include "control/text.h"

namespace fwd::control {
namespace {

constexpr std::uint32_t kApplicationId = 0x66776472;  // "fwdr"
constexpr std::uint32_t kVersion = 5;

constexpr const char* kSchema = R"(
    CREATE TABLE rule (
        id       INTEGER PRIMARY KEY,
        name     TEXT NOT NULL UNIQUE,
        protocol TEXT NOT NULL,         -- "tcp", "udp", "tcp+udp" or "all"
        link     TEXT,                  -- NULL: any
        external TEXT NOT NULL,         -- "10.0.0.3:80", "10.0.0.3:8000-8100" or "10.0.0.3"
        target   TEXT NOT NULL,         -- "10.0.0.4:8080*3,10.0.0.5:8080"
        source   TEXT NOT NULL,         -- "auto", "masquerade" or "preserve"
        prefixes TEXT NOT NULL,         -- of clients: ["192.0.2.0/24", ...], all when empty
        not_prefixes TEXT NOT NULL DEFAULT '[]',  -- of those, clients that are not meant
        balance TEXT NOT NULL DEFAULT 'round-robin', -- or "source-hash"
        limits TEXT NOT NULL DEFAULT '{}',        -- {"max_sessions": 10, "max_sessions_per_source": 1, "rate": 5}
        comment TEXT NOT NULL DEFAULT '',
        disabled INTEGER NOT NULL DEFAULT 0,      -- 1: matches nothing
        outbound INTEGER NOT NULL DEFAULT 0       -- 1: the target reaches the world under `external`
    ) STRICT;
    CREATE TABLE masquerade (
        id     INTEGER PRIMARY KEY,
        name   TEXT NOT NULL UNIQUE,
        params TEXT NOT NULL            -- of masquerade.add: {"inside": "lan", "pool": [...], ...}
    ) STRICT
)";

/// From each version to the next, the first one from version 1.
constexpr const char* kUpgrades[] = {
    // Single ports and single targets only, and no clients that are not meant.
    R"(
        ALTER TABLE rule ADD COLUMN not_prefixes TEXT NOT NULL DEFAULT '[]';
        ALTER TABLE rule ADD COLUMN balance TEXT NOT NULL DEFAULT 'round-robin';
        ALTER TABLE rule ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
    )",
    // No comments, and no rules that are disabled.
    R"(
        ALTER TABLE rule ADD COLUMN comment TEXT NOT NULL DEFAULT '';
        ALTER TABLE rule ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
    )",
    // No masquerades.
    R"(
        CREATE TABLE masquerade (
            id     INTEGER PRIMARY KEY,
            name   TEXT NOT NULL UNIQUE,
            params TEXT NOT NULL
        ) STRICT;
    )",
    // No targets that reach the world under a rule's address.
    "ALTER TABLE rule ADD COLUMN outbound INTEGER NOT NULL DEFAULT 0;",
};
static_assert(std::size(kUpgrades) == kVersion - 1);

// From the description of SQLite's file format.
constexpr std::string_view kMagic{"SQLite format 3\0", 16};
constexpr std::size_t kVersionOffset = 60;
constexpr std::size_t kApplicationIdOffset = 68;

std::uint32_t read_be32(const unsigned char* bytes) {
    return std::uint32_t{bytes[0]} << 24U | std::uint32_t{bytes[1]} << 16U | std::uint32_t{bytes[2]} << 8U |
           bytes[3];
}

/// A prepared statement. What went wrong comes out of run() and next().
class Statement {
 public:
    Statement(sqlite3* database, const char* sql) {
        result_ = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr);
    }
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    ~Statement() { sqlite3_finalize(statement_); }

    /// The text has to live until run() or next().
    void bind(int parameter, std::string_view text) {
        if (result_ != SQLITE_OK) return;
        result_ =
            sqlite3_bind_text64(statement_, parameter, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    }
    void bind_bool(int parameter, bool value) {
        if (result_ == SQLITE_OK) result_ = sqlite3_bind_int(statement_, parameter, value ? 1 : 0);
    }
    void bind_null(int parameter) {
        if (result_ == SQLITE_OK) result_ = sqlite3_bind_null(statement_, parameter);
    }
    /// SQLITE_ROW, SQLITE_DONE or an error.
    int next() { return result_ == SQLITE_OK ? sqlite3_step(statement_) : result_; }
    /// Runs a statement that has no rows, to be bound and run again. SQLITE_OK or an error.
    int run() {
        const int code = next();
        if (code != SQLITE_DONE && code != SQLITE_ROW) return code;
        return sqlite3_reset(statement_);
    }

    bool is_null(int column) { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
    std::string_view text(int column) {
        const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
        return bytes == nullptr
                   ? std::string_view{}
                   : std::string_view{bytes,
                                      static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
    }
    std::int64_t integer(int column) { return sqlite3_column_int64(statement_, column); }

 private:
    sqlite3_stmt* statement_ = nullptr;
    int result_ = SQLITE_OK;
};

/// The error number behind a failure, 0 if there is none. SQLite itself forgets that of a COMMIT, which
/// writes to the log.
int system_code_of(sqlite3* database) {
    if (database == nullptr) return 0;
    if (const int code = sqlite3_system_errno(database); code != 0) return code;
    sqlite3_file* log = nullptr;
    int code = 0;
    if (sqlite3_file_control(database, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK &&
        log != nullptr && log->pMethods != nullptr) {
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &code);
    }
    return code;
}

Result<Rule> read_rule(Statement& row) {
    Json params{{"name", row.text(0)},
                {"protocol", row.text(1)},
                {"external", row.text(3)},
                {"target", row.text(4)},
                {"source", row.text(5)},
                {"from", Json::parse(row.text(6), nullptr, false)},
                {"not_from", Json::parse(row.text(7), nullptr, false)},
                {"balance", row.text(8)},
                {"comment", row.text(10)},
                {"disabled", row.integer(11) != 0},
                {"outbound", row.integer(12) != 0}};
    const Json limits = Json::parse(row.text(9), nullptr, false);
    if (!limits.is_object()) return invalid("limits", "not a JSON object");
    params.update(limits);
    if (!row.is_null(2)) params["link"] = row.text(2);
    return check_params(*find_method("rule.add"), params).and_then([&] { return rule_from_json(params); });
}

}  // namespace

Result<std::unique_ptr<RuleStore>> RuleStore::open(const std::filesystem::path& directory) {
    std::unique_ptr<RuleStore> store{new RuleStore{directory}};
    if (auto ok = store->open_directory(); !ok) return tl::unexpected(ok.error());
    if (auto ok = store->open_database(); !ok) return tl::unexpected(ok.error());
    return store;
}

RuleStore::~RuleStore() {
    sqlite3_close(database_);
}

Result<void> RuleStore::open_directory() {
    const std::string name = directory_.string();
    std::error_code code;
    if (std::filesystem::exists(directory_, code) && !std::filesystem::is_directory(directory_, code)) {
        return refused(name, "is not a directory: remove it, or choose another state directory");
    }
    if (auto ok = make_directory(directory_, 0750); !ok) return ok;
    lock_ = FileDescriptor{::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!lock_.valid()) return system_error("cannot open the state directory " + name);
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return system_error("cannot lock the state directory " + name);
        return refused(name, "in use by another fwdd: stop it, or choose another state directory");
    }
    if (::faccessat(AT_FDCWD, directory_.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
        return system_error("cannot write to the state directory " + name);
    }
    return {};
}

Result<void> RuleStore::open_database() {
    std::error_code code;
    if (!std::filesystem::exists(file_, code)) {
        if (auto ok = create_database(); !ok) return ok;
    }
    if (auto ok = check_header(); !ok) return ok;
    if (const int opened = sqlite3_open_v2(file_.c_str(), &database_,
                                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, nullptr);
        opened != SQLITE_OK) {
        return failure(opened);
    }
    if (sqlite3_db_readonly(database_, "main") == 1) {
        return refused(file_.string(), "read-only: make file and directory writable for fwdd");
    }
    // Exclusive: nobody else, a second sqlite3 included, reads or writes while fwdd runs.
    const int prepared = sqlite3_exec(database_, R"(
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA journal_size_limit = 4194304;
        PRAGMA trusted_schema = OFF;
    )",
                                      nullptr, nullptr, nullptr);
    if (prepared != SQLITE_OK) return failure(prepared);

    Statement check{database_, "PRAGMA integrity_check(1)"};
    if (const int step = check.next(); step != SQLITE_ROW) return failure(step);
    if (check.text(0) != "ok") return damaged(std::string{check.text(0)});
    // Not the header's version: an upgrade before a crash is in the log alone.
    std::uint32_t version = 0;
    {
        Statement stored{database_, "PRAGMA user_version"};
        if (const int step = stored.next(); step != SQLITE_ROW) return failure(step);
        version = static_cast<std::uint32_t>(stored.integer(0));
    }
    if (auto ok = check_version(version); !ok || version == kVersion) return ok;
    std::string upgrade = "BEGIN IMMEDIATE;";
    for (std::uint32_t from = version; from < kVersion; ++from) upgrade += kUpgrades[from - 1];
    upgrade += fmt::format("PRAGMA user_version = {}; COMMIT", kVersion);
    const int upgraded = sqlite3_exec(database_, upgrade.c_str(), nullptr, nullptr, nullptr);
    if (upgraded != SQLITE_OK) return failure(upgraded);
    return {};
}

/// Under another name first, so that `rules.db` is never a database that is not whole. An empty one is a
/// damaged one.
Result<void> RuleStore::create_database() {
    const std::string log = file_.string() + "-wal";
    std::error_code code;
    if (std::filesystem::exists(log, code)) {
        return refused(file_.string(),
                       fmt::format("missing, but {} is there and may hold rules: bring the database "
                                   "back from a backup, or remove that file to start without rules",
                                   log));
    }
    const std::string fresh = file_.string() + ".new";
    ::unlink(fresh.c_str());
    ::unlink((fresh + "-journal").c_str());
    const FileDescriptor made{::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640)};
    if (!made.valid() || ::fchmod(made.get(), 0640) != 0) return system_error("cannot make " + fresh);

    int result =
        sqlite3_open_v2(fresh.c_str(), &database_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, nullptr);
    if (result == SQLITE_OK) {
        const std::string sql = fmt::format(
            "PRAGMA synchronous = FULL; BEGIN; PRAGMA application_id = {}; "
            "PRAGMA user_version = {}; {}; COMMIT",
            kApplicationId, kVersion, kSchema);
        result = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
    }
    if (result != SQLITE_OK) return failure(result);
    sqlite3_close(std::exchange(database_, nullptr));
    if (::rename(fresh.c_str(), file_.c_str()) != 0 || ::fsync(lock_.get()) != 0) {
        return system_error("cannot make " + file_.string());
    }
    return {};
}

/// Looks at the file before SQLite does, which might repair or change what is not fwd's.
Result<void> RuleStore::check_header() const {
    const std::string name = file_.string();
    const FileDescriptor file{::open(file_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    if (!file.valid()) return system_error("cannot open " + name);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
        return refused(name, "not a file: remove it, or choose another state directory");
    std::array<unsigned char, 100> header{};
    const ssize_t bytes = ::read(file.get(), header.data(), header.size());
    if (bytes < 0) return system_error("cannot read " + name);
    if (static_cast<std::size_t>(bytes) < header.size() ||
        std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0) {
        return damaged("not an SQLite database");
    }
    if (read_be32(&header[kApplicationIdOffset]) != kApplicationId) {
        return refused(name,
                       "an SQLite database, but not of fwd: move it away, or choose another state directory");
    }
    return check_version(read_be32(&header[kVersionOffset]));
}

Result<void> RuleStore::check_version(std::uint32_t version) const {
    if (version > kVersion) {
        return refused(file_.string(),
                       fmt::format("written by a newer fwd (version {} of the database, this fwd knows {}): "
                                   "install that fwd, or choose another state directory",
                                   version, kVersion));
    }
    if (version == 0) return damaged(fmt::format("version {} of the database does not exist", version));
    return {};
}

Result<std::vector<Rule>> RuleStore::load() {
    std::vector<Rule> rules;
    Statement row{database_,
                  "SELECT name, protocol, link, external, target, source, prefixes, not_prefixes, balance, "
                  "limits, comment, disabled, outbound FROM rule ORDER BY id"};
    int step = SQLITE_DONE;
    while ((step = row.next()) == SQLITE_ROW) {
        auto rule = read_rule(row);
        if (!rule) return damaged(fmt::format("rule {}: {}", in_quotes(row.text(0)), rule.error().text()));
        rules.push_back(std::move(*rule));
    }
    if ((step & 0xff) == SQLITE_ERROR) return damaged(sqlite3_errmsg(database_));  // no such table, say
    if (step != SQLITE_DONE) return failure(step);
    return rules;
}

Result<void> RuleStore::change(std::span<const std::string> deleted, std::span<const Rule* const> added,
                               std::span<const Rule* const> switched) {
    int result = sqlite3_exec(database_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
    if (result == SQLITE_OK) result = write_changes(deleted, added, switched);
    if (result == SQLITE_OK) result = write_masquerades();
    staged_.reset();
    if (result == SQLITE_OK) result = sqlite3_exec(database_, "COMMIT", nullptr, nullptr, nullptr);
    if (result == SQLITE_OK) return {};

    auto error = failure(result);
    if (sqlite3_get_autocommit(database_) == 0)
        sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
    return error;
}

int RuleStore::write_changes(std::span<const std::string> deleted, std::span<const Rule* const> added,
                             std::span<const Rule* const> switched) {
    Statement remove{database_, "DELETE FROM rule WHERE name = ?"};
    for (const std::string& name : deleted) {
        remove.bind(1, name);
        if (const int result = remove.run(); result != SQLITE_OK) return result;
        if (sqlite3_changes(database_) != 1) return SQLITE_NOTFOUND;
    }
    Statement insert{
        database_,
        "INSERT INTO rule (name, protocol, link, external, target, source, prefixes, not_prefixes, "
        "balance, limits, comment, disabled, outbound) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
    for (const Rule* rule : added) {
        const Json json = rule_to_json(*rule);
        const auto text = [&json](const char* key) -> std::string_view {
            return json.at(key).get_ref<const std::string&>();
        };
        const std::string prefixes = json.at("from").dump();
        const std::string not_prefixes = json.at("not_from").dump();
        Json limited = Json::object();
        for (const char* key : {"max_sessions", "max_sessions_per_source", "rate"}) {
            if (json.contains(key)) limited[key] = json.at(key);
        }
        const std::string limits = limited.dump();
        insert.bind(1, rule->name);
        insert.bind(2, text("protocol"));
        rule->link ? insert.bind(3, *rule->link) : insert.bind_null(3);
        insert.bind(4, text("external"));
        insert.bind(5, text("target"));
        insert.bind(6, text("source"));
        insert.bind(7, prefixes);
        insert.bind(8, not_prefixes);
        insert.bind(9, text("balance"));
        insert.bind(10, limits);
        insert.bind(11, rule->comment);
        insert.bind_bool(12, rule->disabled);
        insert.bind_bool(13, rule->outbound);
        if (const int result = insert.run(); result != SQLITE_OK) return result;
    }
    Statement set_disabled{database_, "UPDATE rule SET disabled = ? WHERE name = ?"};
    for (const Rule* rule : switched) {
        set_disabled.bind_bool(1, rule->disabled);
        set_disabled.bind(2, rule->name);
        if (const int result = set_disabled.run(); result != SQLITE_OK) return result;
        if (sqlite3_changes(database_) != 1) return SQLITE_NOTFOUND;
    }
    return SQLITE_OK;
}

Result<std::vector<Masquerade>> RuleStore::load_masquerades() {
    std::vector<Masquerade> masquerades;
    Statement row{database_, "SELECT name, params FROM masquerade ORDER BY id"};
    int step = SQLITE_DONE;
    while ((step = row.next()) == SQLITE_ROW) {
        Json params = Json::parse(row.text(1), nullptr, false);
        if (params.is_object()) params["name"] = row.text(0);
        auto masquerade = check_params(*find_method("masquerade.add"), params).and_then([&] {
            return masquerade_from_json(params);
        });
        if (!masquerade) {
            return damaged(
                fmt::format("masquerade {}: {}", in_quotes(row.text(0)), masquerade.error().text()));
        }
        masquerades.push_back(std::move(*masquerade));
    }
    if ((step & 0xff) == SQLITE_ERROR) return damaged(sqlite3_errmsg(database_));
    if (step != SQLITE_DONE) return failure(step);
    return masquerades;
}

void RuleStore::stage_masquerades(const std::vector<const Masquerade*>& masquerades) {
    staged_.emplace();
    for (const Masquerade* masquerade : masquerades)
        staged_->push_back({masquerade->name, masquerade_params(*masquerade).dump()});
}

int RuleStore::write_masquerades() {
    if (!staged_) return SQLITE_OK;
    Statement remove{database_, "DELETE FROM masquerade"};
    if (const int result = remove.run(); result != SQLITE_OK) return result;
    Statement insert{database_, "INSERT INTO masquerade (name, params) VALUES (?, ?)"};
    for (const StagedMasquerade& staged : *staged_) {
        insert.bind(1, staged.name);
        insert.bind(2, staged.params);
        if (const int result = insert.run(); result != SQLITE_OK) return result;
    }
    return SQLITE_OK;
}

tl::unexpected<Error> RuleStore::damaged(const std::string& detail) const {
    return refused(file_.string(),
                   fmt::format("damaged ({}): bring it back from a backup; or move it and {}-wal away "
                               "to start without these rules, and add them again",
                               detail, file_.filename().string()));
}

tl::unexpected<Error> RuleStore::failure(int code) const {
    const auto error = [this](std::string message) {
        return tl::unexpected(Error{ErrorKind::unavailable, file_.string(), std::move(message)});
    };
    const std::string detail = database_ != nullptr ? sqlite3_errmsg(database_) : sqlite3_errstr(code);
    const int system_code = system_code_of(database_);
    const bool is_full = system_code == ENOSPC || system_code == EDQUOT || system_code == EFBIG;
    switch (code & 0xff) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return damaged(detail);
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return error("in use by another program, perhaps sqlite3: end that first");
        case SQLITE_READONLY:
            return error("cannot be written to: " + detail);
        case SQLITE_FULL:
            break;
        case SQLITE_IOERR:
            if (is_full) break;
            [[fallthrough]];
        default:
            return error(system_code == 0 ? detail
                                          : detail + ": " + std::generic_category().message(system_code));
    }
    return error(fmt::format("the disk is full, nothing has been changed: free space in {} and try again",
                             directory_.string()));
}

}  // namespace fwd::control
