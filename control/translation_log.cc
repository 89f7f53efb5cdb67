// SPDX-License-Identifier: BSD-3-Clause
#include "control/translation_log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <iterator>
#include <utility>

#include "control/text.h"

namespace fwd::control {
namespace {

using dataplane::SessionEvent;

constexpr std::size_t kEventsAtOnce = 256;
constexpr std::size_t kEventsPerTurn = 8192;  // some 10 ms
constexpr std::chrono::seconds kComplaintInterval{10};

}  // namespace

TranslationLog::~TranslationLog() {
    if (sink_) write_mark("fwdd-stop");
}

Result<void> TranslationLog::switch_to(std::unique_ptr<LogSink> sink) {
    if (!sink) {
        dataplane_.flows().log().turn_off();
        sink_.reset();
        return {};
    }
    if (const auto on = dataplane_.flows().log().turn_on(); !on)
        return unavailable(std::string{on.error().what});
    const bool begins = !std::exchange(sink_, std::move(sink));
    if (begins) write_mark("log-start");
    return {};
}

void TranslationLog::learn_names(const Policies& policies, const Policies::Rules& rules,
                                 const Policies::Masquerades& masquerades) {
    if (!sink_) return;
    names_.resize(dataplane_.rule_counters().slot_count());
    const auto learn = [&](RuleId id, const std::string& text) {
        const auto known = policies.dataplane_id(id);
        if (!known) return;
        Name& name = names_[known->slot];
        if (name.generation != known->generation || name.text.empty()) name = {known->generation, text};
    };
    for (const auto& [id, rule] : rules) learn(id, rule.name);
    for (const auto& [id, masquerade] : masquerades) learn(id, masquerade.name);
}

std::string_view TranslationLog::name_of(dataplane::RuleId rule) const {
    if (rule.slot >= names_.size() || names_[rule.slot].generation != rule.generation) return {};
    return names_[rule.slot].text;
}

bool TranslationLog::drain() {
    if (!sink_) return false;
    const auto cycles_per_us = static_cast<double>(rte_get_tsc_hz()) / 1e6;
    for (std::size_t taken = 0; taken < kEventsPerTurn;) {
        std::array<SessionEvent, kEventsAtOnce> events;
        const unsigned count = dataplane_.flows().log().take(events);
        if (count == 0) return false;
        const dataplane::Tsc now = dataplane::Tsc::read();
        const WallClock::time_point wall = WallClock::now();
        for (const SessionEvent& event : std::span{events}.first(count)) {
            const double cycles = now.cycles > event.time.cycles ? now.cycles - event.time.cycles : 0;
            append(event,
                   wall - std::chrono::microseconds{static_cast<std::int64_t>(cycles / cycles_per_us)});
        }
        flush();
        taken += count;
    }
    return true;
}

void TranslationLog::append_beginning(WallClock::time_point time, std::string_view event) {
    const std::time_t second = WallClock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
    if (second != second_) {
        second_ = second;
        second_text_ = fmt::format("{:%Y-%m-%dT%H:%M:%S}", fmt::gmtime(second));
    }
    const auto ms = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count() % 1000;
    fmt::format_to(std::back_inserter(lines_), R"({{"time":"{}.{:03}Z","event":"{}")", second_text_, ms,
                   event);
}

// No value needs escaping: rules are called by letters, digits and a few signs.
void TranslationLog::append(const SessionEvent& event, WallClock::time_point time) {
    const bool ended = event.kind == SessionEvent::Kind::ended;
    append_beginning(time, ended ? "end" : "start");
    const auto add = [this](std::string_view key, const std::string& value) {
        fmt::format_to(std::back_inserter(lines_), R"(,"{}":"{}")", key, value);
    };
    add("protocol", to_text(event.key.protocol));
    add("rule", std::string{name_of(event.rule)});
    add("client", to_text(event.key.source_endpoint()));
    add("external", to_text(event.key.destination_endpoint()));
    add("source", to_text(event.source));
    add("target", to_text(event.target));
    if (ended) {
        const dataplane::Tick age = dataplane::Tick::of(event.time) - event.opened;
        fmt::format_to(
            std::back_inserter(lines_),
            R"(,"packets_in":{},"bytes_in":{},"packets_out":{},"bytes_out":{},"duration_s":{:.2f})",
            event.packets_in, event.bytes_in, event.packets_out, event.bytes_out,
            static_cast<double>(age.to_duration().count()) / 1000);
    }
    lines_ += "}\n";
    ++line_count_;
}

void TranslationLog::write_mark(std::string_view event) {
    append_beginning(WallClock::now(), event);
    lines_ += "}\n";
    ++line_count_;
    flush();
}

void TranslationLog::flush() {
    const std::size_t lost = sink_->write(lines_);
    written_ += line_count_ - lost;
    unwritten_ += lost;
    lines_.clear();
    line_count_ = 0;
}

std::optional<std::string> TranslationLog::complaint(Clock::time_point now) {
    const std::uint64_t lost = this->lost();
    if (lost == complained_ || now < next_complaint_) return std::nullopt;
    next_complaint_ = now + kComplaintInterval;
    const std::string why = sink_ && !sink_->problem().empty() ? sink_->problem() : "more than it can take";
    return fmt::format("log of translations: {} line(s) lost: {}", lost - std::exchange(complained_, lost),
                       why);
}

}  // namespace fwd::control
