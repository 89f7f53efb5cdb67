// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "control/daemon.h"
#include "control/doctor.h"
#include "control/eal.h"
#include "control/log.h"
#include "control/options.h"
#include "control/rule_store.h"
#include "control/settings.h"

namespace {

std::atomic<bool> stop_wanted{false};
std::atomic<bool> reload_wanted{false};

void set_signals() {
    struct sigaction action {};
    action.sa_handler = [](int) { stop_wanted.store(true); };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    action.sa_handler = [](int) { reload_wanted.store(true); };
    sigaction(SIGHUP, &action, nullptr);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, nullptr);
}

int fail(const fwd::control::Error& error) {
    fwd::control::print_failure(error.text());
    return EXIT_FAILURE;
}

int run(const std::string& config_file, const fwd::control::Settings& settings) {
    using fwd::control::Daemon;
    fwd::control::set_up_log(settings.log_level);
    auto store = fwd::control::RuleStore::open(settings.state_directory);
    if (!store) return fail(store.error());
    auto eal = fwd::control::start_eal(settings);
    if (!eal) return fail(eal.error());
    int status = EXIT_SUCCESS;
    {
        auto daemon = Daemon::create(config_file, settings, *eal, std::move(*store));
        if (!daemon) return fail(daemon.error());
        status = (*daemon)->run(stop_wanted, reload_wanted) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    fwd::control::stop_eal();
    return status;
}

int examine(const fwd::control::Options& options) {
    namespace control = fwd::control;
    std::vector<control::Finding> findings;
    const std::string& file = options.examined_file;
    const auto settings = control::load_settings(file);
    const auto needs =
        settings.and_then([](const control::Settings& good) { return control::needs_of(good); });
    if (needs) {
        findings = control::examine(*settings, *needs, control::Machine{});
        findings.insert(findings.begin(), {"configuration", file, control::Health::ok, "good", {}});
    } else {
        findings.push_back({"configuration", file, control::Health::error, needs.error().text(),
                            "mend it; /usr/share/doc/fwd/examples has some that are good"});
    }
    fmt::print("{}", options.json ? control::to_json(findings).dump(2) + '\n' : control::to_text(findings));
    return control::has_error(findings) ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
    fwd::control::Options options;
    CLI11_PARSE(options.app(), argc, argv);

    if (options.examines()) return examine(options);
    const bool only_check = !options.checked_file.empty();
    if (!only_check && options.config_file.empty()) {
        fmt::print(stderr, "fwdd: which configuration? Give --config FILE, or --help for more\n");
        return 2;
    }
    if (!only_check) set_signals();
    const std::string& file = only_check ? options.checked_file : options.config_file;
    auto settings = fwd::control::load_settings(file);
    if (!settings) return fail(settings.error());
    if (only_check) {
        fmt::print("{}: good: {} link(s), {} rule(s), {} sessions\n", file, settings->links.size(),
                   settings->rules.size(), settings->sessions);
        return EXIT_SUCCESS;
    }
    return run(file, *settings);
}
