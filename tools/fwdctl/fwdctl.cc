// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/fwdctl.h"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "control/rpc_server.h"
#include "control/text.h"
#include "tools/fwdctl/client.h"
#include "tools/fwdctl/command_line.h"
#include "tools/fwdctl/devices.h"
#include "tools/fwdctl/report.h"
#include "tools/fwdctl/rule_file.h"

namespace fwd::fwdctl {
namespace {

using control::Error;

constexpr std::uint64_t kDefaultSessions = 100;
constexpr std::uint64_t kSessionsPerPage = 1000;

/// One command, its connection and where its output goes.
class Run {
 public:
    Run(const CommandLine& line, std::ostream& out, std::ostream& err) : line_{line}, out_{out}, err_{err} {}

    int operator()() {
        if (!line_.local().empty()) return local();
        Json params = line_.params();
        std::optional<RuleFile> file;
        if (line_.method().name == "rules.add") {
            auto read = read_rule_file(params.at("rules").get<std::string>());
            if (!read) return fail(read.error(), kRefused);
            file = std::move(*read);
            params["rules"] = std::move(file->rules);
            if (!file->masquerades.empty()) params["masquerades"] = std::move(file->masquerades);
        }
        auto client = Client::connect(line_.socket(), waiting());
        if (!client) return fail(client.error());
        if (line_.method().name == "session.list") return list_sessions(*client, params);
        if (line_.watch()) return watch_stats(*client, params);

        auto result = client->call(line_.method().name, params);
        if (!result) {
            if (file) result.error().error = at_place(std::move(result.error().error), *file);
            return fail(result.error());
        }
        if (line_.json()) {
            print(*result);
        } else {
            out_ << report(line_.method().name, *result);
        }
        return kDone;
    }

 private:
    void print(const Json& result) {
        out_ << result.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
    }

    /// Long changes get long patience: who gives up early does not learn whether they were made.
    Waiting waiting() {
        const std::string_view method = line_.method().name;
        Waiting waiting;
        if (method == "reload" || method == "rules.add") waiting.patience = std::chrono::minutes{15};
        if (::isatty(STDERR_FILENO) == 1 && !line_.json()) {
            waiting.each_second = [this](std::chrono::seconds waited) {
                if (waited.count() != 0) {
                    fmt::print(err_, "\rfwdd is at work: {} s", waited.count());
                } else if (shows_progress_) {
                    err_ << "\r\033[K";
                }
                err_ << std::flush;
                shows_progress_ = waited.count() != 0;
            };
        }
        return waiting;
    }

    int fail(const Error& error, int status) {
        if (line_.json()) {
            print_error(err_, error);
        } else {
            fmt::print(err_, "fwdctl: {}\n", control::printable(error.text()));
        }
        return status;
    }
    int fail(const CallError& error) { return fail(error.error, error.answered ? kRefused : kUnreachable); }

    /// What needs no fwdd: which cards there are, and who has them.
    int local() {
        const control::Machine machine;
        if (line_.local() == "devices") {
            const auto all = cards(machine);
            if (line_.json()) {
                print(cards_json(all));
            } else {
                out_ << cards_text(all);
            }
            return kDone;
        }
        const bool binds = line_.local() == "bind";
        if (::geteuid() != 0) {
            return fail({control::ErrorKind::refused, "",
                         fmt::format("only root may take cards from drivers: sudo fwdctl {} {}",
                                     line_.local(), line_.device())},
                        kRefused);
        }
        const auto done = binds ? bind_card(machine, line_.device(), line_.driver(),
                                            line_.force() ? InUse::take : InUse::refuse)
                                : unbind_card(machine, line_.device());
        if (!done) return fail(done.error(), kRefused);
        const bool is_for_fwdd = binds && line_.driver() == "vfio-pci";
        const auto warnings = is_for_fwdd ? lacking(machine, line_.device()) : std::vector<std::string>{};
        if (line_.json()) {
            print({{"device", line_.device()}, {"warnings", warnings}});
        } else {
            for (const std::string& warning : warnings) fmt::print(err_, "fwdctl: warning: {}\n", warning);
            fmt::print(out_, "{} {}\n", line_.device(),
                       binds ? "has driver " + line_.driver() : "is the kernel's again");
        }
        return kDone;
    }

    /// Page after page: as text at once, as JSON in one piece.
    int list_sessions(Client& client, Json params) {
        const bool limit_chosen = params.contains("limit");
        std::uint64_t wanted = params.value("limit", kDefaultSessions);
        SessionReport text;
        Json all{{"sessions", Json::array()}, {"cursor", nullptr}};
        while (true) {
            params["limit"] = std::min(wanted, kSessionsPerPage);
            const auto page = client.call("session.list", params);
            if (!page) return fail(page.error());
            if (!page->is_object())
                return fail({control::ErrorKind::unavailable, "", "what answers there is not fwdd"},
                            kUnreachable);
            const Json sessions = page->value("sessions", Json::array());
            all["cursor"] = page->value("cursor", Json{});
            if (line_.json()) {
                for (const Json& session : sessions) all["sessions"].push_back(session);
            } else {
                out_ << text.page(*page);
            }
            wanted -= std::min<std::uint64_t>(wanted, sessions.size());
            if (wanted == 0 || all["cursor"].is_null()) break;
            params["cursor"] = all["cursor"];
        }
        if (line_.json()) {
            print(all);
        } else if (!all["cursor"].is_null() && !limit_chosen) {
            fmt::print(err_, "... and more: --limit N shows as many\n");
        }
        return kDone;
    }

    /// Until it is interrupted, or fwdd goes away.
    int watch_stats(Client& client, const Json& params) {
        using Clock = std::chrono::steady_clock;
        const char* const beginning =
            ::isatty(STDOUT_FILENO) == 1 ? "\033[H\033[2J" : "\n";  // clears the screen
        std::optional<EarlierStats> earlier;
        for (auto next = Clock::now();; std::this_thread::sleep_until(next)) {
            const auto start = Clock::now();
            next += std::chrono::seconds{1};
            auto result = client.call("stats", params);
            if (!result) return fail(result.error());
            if (line_.json()) {
                out_ << result->dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
            } else {
                if (earlier) earlier->age = start - last_;
                out_ << beginning << report_stats(*result, earlier) << std::flush;
            }
            if (!out_) return kDone;
            earlier = EarlierStats{std::move(*result), {}};
            last_ = start;
        }
    }

    const CommandLine& line_;
    std::ostream& out_;
    std::ostream& err_;
    bool shows_progress_ = false;
    std::chrono::steady_clock::time_point last_;
};

}  // namespace

int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
    CommandLine line;
    if (const auto status = line.parse(argc, argv, out, err)) return *status;
    return Run{line, out, err}();
}

}  // namespace fwd::fwdctl
