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

/// How a rule with several targets picks one for a new session.
enum class Balance {
    round_robin,  ///< in turn, as often as their weights say
    source_hash,  ///< by the client's address
};

struct Target {
    static constexpr std::uint16_t kMostWeight = 100;

    net::EndpointRange endpoint;  ///< as many ports as the external ones, the first for the first
    std::uint16_t weight = 1;     ///< 1 to 100
    friend constexpr bool operator==(const Target&, const Target&) noexcept = default;
};

/// What becomes of the live sessions of a rule that is deleted or disabled.
enum class Existing {
    keep,   ///< they go on until they end
    drain,  ///< the same, and the rule is listed as draining until then
    kill,
};

enum class RuleOrigin {
    config_file,  ///< from the configuration file: fwdctl may not delete it
    database,     ///< durable: added with fwdctl, back after a restart
    runtime,      ///< added with --runtime: gone with the daemon
};

/// A rule as an operator writes it. Every member has been checked for form, not against links or other rules.
struct Rule {
    static constexpr std::size_t kMostPrefixes = 65536;
    static constexpr std::size_t kMostTargets = 64;
    static constexpr std::uint32_t kMostSessions = 100'000'000;
    static constexpr std::uint32_t kMostSessionsPerSource = 32'767;
    static constexpr std::uint32_t kMostRate = 1'000'000;
    static constexpr std::size_t kLongestComment = 255;

    std::string name;       ///< unique; 1 to 63 of [A-Za-z0-9._-]
    std::string comment;    ///< for people: at most 255 bytes of UTF-8 without control characters
    bool disabled = false;  ///< matches nothing, and claims nothing but its name
    bool tcp = false;       ///< "tcp", "udp" or "tcp+udp", or ...
    bool udp = false;
    bool all = false;                 ///< ... "all": every protocol and port of an address
    std::optional<std::string> link;  ///< packets that came in by this link only; any link when absent
    net::EndpointRange external;      ///< where clients connect to: a port, a range, or the whole address
    /// The address is the first IPv4 one that this link has at the time; in `external` stands 0.0.0.0.
    std::optional<std::string> external_link;
    std::vector<Target> targets;  ///< where they are sent; at least one
    bool outbound = false;        ///< with `all`: the target opens sessions under the external address, too
    Balance balance = Balance::round_robin;
    SourceMode source = SourceMode::automatic;
    std::vector<net::IpPrefix> from;      ///< allowed sources; all when empty
    std::vector<net::IpPrefix> not_from;  ///< of those, sources that are not

    std::uint32_t max_sessions = 0;             ///< live ones; 0: any number
    std::uint32_t max_sessions_per_source = 0;  ///< of one client's address; 0: any number
    std::uint32_t rate = 0;                     ///< new sessions a second; 0: any number

    RuleOrigin origin = RuleOrigin::runtime;
    std::string origin_text;  ///< for config_file: "fwd.conf:12", for messages
};

}  // namespace fwd::control
