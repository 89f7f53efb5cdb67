// SPDX-License-Identifier: BSD-3-Clause
#include "control/options.h"

namespace fwd::control {

Options::Options()
    : app_{"fwdd, the daemon of fwd: forwards ports on network cards that DPDK drives", "fwdd"} {
    auto* config = app_.add_option("--config", config_file, "run with this configuration")->type_name("FILE");
    app_.add_option("--check-config", checked_file,
                    "check this configuration and say what is wrong, without starting")
        ->type_name("FILE")
        ->excludes(config);
    app_.set_version_flag("--version", std::string{"fwdd "} + FWD_VERSION);
    app_.footer("Example: fwdd --config /etc/fwd/fwd.conf\nRules are added with fwdctl; see fwdctl --help.");
}

}  // namespace fwd::control
