// SPDX-License-Identifier: BSD-3-Clause
// The log of translations (requirement R17): one line of JSON for the beginning and one for the end of each
// session, which together say who had an address and port at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/log_sink.h"
#include "control/policies.h"
#include "dataplane/session_log.h"

namespace fwd::control {

class TranslationLog {
 public:
    using Clock = std::chrono::steady_clock;

    explicit TranslationLog(dataplane::Dataplane& dataplane) : dataplane_{dataplane} {}
    ~TranslationLog();

    bool is_on() const { return sink_ != nullptr; }
    /// From now on by this sink; without one the log ends.
    Result<void> switch_to(std::unique_ptr<LogSink> sink);
    Result<void> reopen() { return sink_ ? sink_->reopen() : Result<void>{}; }
    /// Remembers what rules are called: their sessions may outlive them.
    void learn_names(const Policies& policies, const Policies::Rules& rules,
                     const Policies::Masquerades& masquerades = {});

    /// Writes what workers have reported, up to a bound; true if there may be more.
    bool drain();
    /// A line for the operator when some were lost since the last look, which is at least ten seconds ago.
    std::optional<std::string> complaint(Clock::time_point now);

    std::uint64_t written() const { return written_; }
    /// Lines that could not be written, and events that found no room on their way.
    std::uint64_t lost() const { return unwritten_ + dataplane_.flows().log().lost(); }

 private:
    using WallClock = std::chrono::system_clock;
    struct Name {
        std::uint32_t generation = 0;
        std::string text;
    };

    std::string_view name_of(dataplane::RuleId rule) const;
    void append(const dataplane::SessionEvent& event, WallClock::time_point time);
    void append_beginning(WallClock::time_point time, std::string_view event);
    void write_mark(std::string_view event);
    void flush();

    dataplane::Dataplane& dataplane_;
    std::unique_ptr<LogSink> sink_;
    std::vector<Name> names_;  ///< by slot
    std::string lines_;
    std::size_t line_count_ = 0;
    std::time_t second_ = -1;  ///< whose text is second_text_
    std::string second_text_;
    std::uint64_t written_ = 0, unwritten_ = 0, complained_ = 0;
    Clock::time_point next_complaint_{};
};

}  // namespace fwd::control
