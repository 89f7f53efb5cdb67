// SPDX-License-Identifier: BSD-3-Clause
#include "control/options.h"

namespace fwd::control {

Options::Options()
    : app_{"fwdd, the daemon of fwd: forwards ports on network cards that DPDK drives", "fwdd"} {
    auto* config = app_.add_option("--config", config_file, "run with this configuration")->type_name("FILE");
    auto* check = app_.add_option("--check-config", checked_file,
                                  "check this configuration and say what is wrong, without starting")
                      ->type_name("FILE")
                      ->excludes(config);
    examine_ =
        app_.add_option("--check", examined_file,
                        "tell whether this machine is as a configuration needs it, and what to do if not")
            ->type_name("FILE")
            ->expected(0, 1)
            ->capture_default_str()
            ->excludes(config)
            ->excludes(check);
    app_.add_flag("--json", json, "with --check: print what was found as JSON")->needs(examine_);
    app_.set_version_flag("--version", std::string{"fwdd "} + FWD_VERSION);
    app_.footer("Example: fwdd --config /etc/fwd/fwd.conf\nRules are added with fwdctl; see fwdctl --help.");
}

}  // namespace fwd::control
