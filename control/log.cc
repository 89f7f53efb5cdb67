// SPDX-License-Identifier: BSD-3-Clause
#include "control/log.h"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace fwd::control {
namespace {

/// Set by systemd; a program that was started with another standard error inherits it too.
bool is_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    return stream != nullptr && ::fstat(STDERR_FILENO, &status) == 0 &&
           fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

/// syslog(3)'s number.
int priority(spdlog::level::level_enum level) {
    if (level >= spdlog::level::err) return 3;
    if (level == spdlog::level::warn) return 4;
    return level == spdlog::level::info ? 6 : 7;
}

class PriorityPrefix : public spdlog::custom_flag_formatter {
 public:
    void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
        const std::string text = fmt::format("<{}>", priority(message.level));
        out.append(text.data(), text.data() + text.size());
    }
    std::unique_ptr<custom_flag_formatter> clone() const override {
        return std::make_unique<PriorityPrefix>();
    }
};

}  // namespace

void set_up_log(const std::string& level) {
    auto logger = spdlog::stderr_logger_mt("fwdd");
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    // The journal has its own clock.
    formatter->add_flag<PriorityPrefix>('*').set_pattern(is_journal() ? "%*%l: %v"
                                                                      : "%Y-%m-%d %H:%M:%S.%e %l: %v");
    logger->set_formatter(std::move(formatter));
    logger->set_level(spdlog::level::from_str(level));
    spdlog::set_default_logger(std::move(logger));
}

void print_failure(std::string_view message) {
    fmt::print(stderr, "{}fwdd: {}\n", is_journal() ? "<3>" : "", message);
}

}  // namespace fwd::control
