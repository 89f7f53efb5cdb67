// SPDX-License-Identifier: BSD-3-Clause
// Where the log of translations goes: a file with others before it, or syslog. Writing never waits and never
// ends fwdd: lines that can't be written are lost, and counted by the caller.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "control/error.h"
#include "control/files.h"

namespace fwd::control {

/// What the configuration says of the log of translations; there is none when both are empty.
struct TranslationLogSettings {
    std::filesystem::path file;                ///< absolute
    std::filesystem::path syslog;              ///< instead of a file: a socket such as /dev/log
    std::uint64_t rotate_bytes = 100'000'000;  ///< the file's size at which the next one begins
    unsigned keep = 9;                         ///< files of before: FILE.1 is the youngest of them

    bool is_on() const { return !file.empty() || !syslog.empty(); }
    friend bool operator==(const TranslationLogSettings&, const TranslationLogSettings&) = default;
};

class LogSink {
 public:
    virtual ~LogSink() = default;
    /// Whole lines, each with its newline. How many of them were lost; then problem() says why.
    virtual std::size_t write(std::string_view lines) = 0;
    /// Opens the file anew, which somebody else may have moved.
    virtual Result<void> reopen() = 0;
    const std::string& problem() const { return problem_; }

    static Result<std::unique_ptr<LogSink>> open(const TranslationLogSettings& settings);

 protected:
    std::string problem_;
};

}  // namespace fwd::control
