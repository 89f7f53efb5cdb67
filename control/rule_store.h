// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/error.h"
#include "control/files.h"
#include "control/masquerade.h"
#include "control/rule.h"

struct sqlite3;

namespace fwd::control {

/// The durable rules, in the SQLite database `rules.db` of the state directory. The directory is locked as
/// long as the object lives: two daemons never share it. A database that is not understood in full is left as
/// it is.
class RuleStore {
 public:
    /// Makes directory and database when they are not there. The error says what is wrong and what to do.
    static Result<std::unique_ptr<RuleStore>> open(const std::filesystem::path& directory);
    RuleStore(const RuleStore&) = delete;
    RuleStore& operator=(const RuleStore&) = delete;
    ~RuleStore();

    /// All rules in the order in which they were added; checked for form.
    Result<std::vector<Rule>> load();

    /// Deletes the rules of these names, then adds others, and writes for some whether they are disabled, in
    /// one transaction that is on disk when this returns. On failure nothing has changed.
    Result<void> change(std::span<const std::string> deleted, std::span<const Rule* const> added,
                        std::span<const Rule* const> switched = {});

    Result<std::vector<Masquerade>> load_masquerades();
    /// The next change() puts these in the place of those that are there.
    void stage_masquerades(const std::vector<const Masquerade*>& masquerades);

    const std::filesystem::path& file() const { return file_; }

 private:
    explicit RuleStore(std::filesystem::path directory)
        : directory_{std::move(directory)}, file_{directory_ / "rules.db"} {}

    Result<void> open_directory();
    Result<void> create_database();
    Result<void> check_header() const;
    Result<void> check_version(std::uint32_t version) const;
    Result<void> open_database();
    int write_changes(std::span<const std::string> deleted, std::span<const Rule* const> added,
                      std::span<const Rule* const> switched);
    int write_masquerades();
    /// What SQLite's result code means for the operator.
    tl::unexpected<Error> failure(int code) const;
    tl::unexpected<Error> damaged(const std::string& detail) const;

    std::filesystem::path directory_;
    std::filesystem::path file_;
    FileDescriptor lock_;
    sqlite3* database_ = nullptr;
    struct StagedMasquerade {
        std::string name;
        std::string params;
    };
    std::optional<std::vector<StagedMasquerade>> staged_;
};

}  // namespace fwd::control
