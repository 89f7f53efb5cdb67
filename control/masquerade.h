// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/error.h"
#include "control/rule.h"
#include "dataplane/net/address.h"

namespace fwd::control {

class Topology;

/// Who may reach an inside host by its external address and port.
enum class Filtering {
    address_dependent,     ///< addresses that it has sent to
    endpoint_independent,  ///< everybody
};

/// Lets hosts inside reach the world under external addresses. Every member has been checked for form, not
/// against links or other masquerades.
struct Masquerade {
    static constexpr std::size_t kMost = 256;
    static constexpr std::size_t kMostAddresses = 1024;
    static constexpr std::uint32_t kMostPortsPerHost = 32'767;

    std::string name;                     ///< unique, also among rules
    std::optional<std::string> link;      ///< the hosts behind a link that leave by another one, or
    std::optional<net::IpPrefix> prefix;  ///< those of a prefix: one of the two
    std::vector<net::IpAddress> pool;     ///< external addresses; the egress link's own ones when empty
    std::vector<net::IpPrefix> to;        ///< where they may go; anywhere when empty
    Filtering filtering = Filtering::address_dependent;
    std::uint32_t max_ports_per_host = 0;       ///< external ports of an inside host at once; 0: any number
    std::uint32_t max_sessions = 0;             ///< live ones; 0: any number
    std::uint32_t max_sessions_per_source = 0;  ///< of an inside host; 0: any number
    std::uint32_t rate = 0;                     ///< new sessions a second; 0: any number
    bool inbound_refresh = true;                ///< packets from outside keep a mapping alive too

    RuleOrigin origin = RuleOrigin::runtime;
    std::string origin_text;  ///< for config_file: "fwd.conf:12"
};

/// "lan" or "10.0.0.0/24".
std::string inside_text(const Masquerade& masquerade);
Result<void> parse_inside(std::string_view text, Masquerade& masquerade);
Result<Filtering> parse_filtering(std::string_view text);  ///< "address-dependent" or "endpoint-independent"
std::string to_text(Filtering filtering);
/// A name for one that was given none: "masquerade-lan".
std::string default_name(const Masquerade& masquerade);
/// In libconfig syntax, ready for a configuration file; empty when there are none.
std::string format_masquerades(const std::vector<Masquerade>& masquerades);
/// Whether packets would be treated the same.
bool is_same(const Masquerade& a, const Masquerade& b);

/// Whether fwd could carry it out if it were the only one. An error's field is a key ("pool[2]").
Result<void> check_masquerade(const Masquerade& masquerade, const Topology& topology);
/// Whether it is clear which of two is for a packet; otherwise refused with both names.
Result<void> check_pair(const Masquerade& masquerade, const Masquerade& other);

/// Whether rules leave the addresses of a pool alone, for which fwd answers ARP itself. Disabled rules as
/// well: to enable one asks nothing of the masquerades.
class PoolCheck {
 public:
    /// @param masquerade outlives this
    explicit PoolCheck(const Masquerade& masquerade);
    Result<void> beside(const Rule& rule) const;

 private:
    const Masquerade& masquerade_;
    std::vector<net::IpAddress> sorted_;
};

}  // namespace fwd::control
