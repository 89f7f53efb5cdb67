// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/address.h"

namespace fwd::control {

/// Whose address the target sees as the source of a forwarded packet.
enum class SourceMode {
    automatic,   ///< masquerade when the target is reached through the link the packet came in by, else
                 ///< preserve
    masquerade,  ///< fwd's own address and a port of its own (full NAT)
    preserve,    ///< the client's own
};

enum class RuleOrigin {
    config_file,  ///< from the configuration file: fwdctl may not delete it
    database,     ///< durable: added with fwdctl, back after a restart
    runtime,      ///< added with --runtime: gone with the daemon
};

/// A rule as an operator writes it. Every member has been checked for form, not against links or other rules.
struct Rule {
    static constexpr std::size_t kMostPrefixes = 65536;

    std::string name;  ///< unique; 1 to 63 of [A-Za-z0-9._-]
    bool tcp = false;  ///< "tcp", "udp" or "tcp+udp": at least one is set
    bool udp = false;
    std::optional<std::string> link;  ///< packets that came in by this link only; any link when absent
    net::Endpoint external;           ///< where clients connect to
    net::Endpoint target;             ///< where they are sent
    SourceMode source = SourceMode::automatic;
    std::vector<net::Ipv4Prefix> from;  ///< allowed sources; all when empty

    RuleOrigin origin = RuleOrigin::runtime;
    std::string origin_text;  ///< for config_file: "fwd.conf:12", for messages
};

}  // namespace fwd::control
