// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/error.h"
#include "control/log_sink.h"
#include "control/masquerade.h"
#include "control/rule.h"
#include "dataplane/host_path.h"
#include "dataplane/net/address.h"
#include "dataplane/net/ipv6.h"

namespace fwd::control {

inline constexpr std::size_t kMostLinks = 32;         ///< as many as the data plane has room for
inline constexpr std::size_t kMostNeighbours = 2048;  ///< half of its table: ARP finds the others

/// How far a link's frames can be believed to carry complete TCP and UDP checksums (requirement P8).
enum class RxChecksum {
    trusted,  ///< complete, as on every wire: updated incrementally, nothing is looked at
    partial,  ///< a virtual link may hand over sums of the pseudo-header alone: recognised and computed in
              ///< full
};

/// How a link meets those whose packets are refused (requirements T4, I8).
enum class Refusal {
    silent,  ///< not at all: nobody can tell that fwd is there
    icmp,    ///< ICMP "administratively prohibited"; SYNs for nobody, 6 s later, "port unreachable"
};

/// What a worker does while no packet comes.
enum class IdleMode { poll, adaptive };

struct LinkSettings {
    std::string name;    ///< 1 to 31 of [A-Za-z0-9._-]
    std::string device;  ///< PCI address or DPDK vdev string; may be shared by VLAN links
    std::vector<net::IpInterfaceAddress> addresses;  ///< own addresses; none only if it waits for one
    std::optional<std::uint16_t> vlan;               ///< 802.1Q tag, 1 to 4094; untagged when absent
    std::uint16_t mtu = 1500;                        ///< of IP packets, bytes; 68 to 9600
    std::uint16_t queues = 0;  ///< rx and tx queues; 0: one for each worker if the device can
    RxChecksum rx_checksum = RxChecksum::trusted;
    bool ping = false;  ///< answer ICMP echo requests to own addresses
    Refusal refuse = Refusal::silent;
    /// What the kernel gets of the traffic for own addresses, by an interface of its own.
    std::vector<dataplane::HostService> host;
    std::string host_interface;      ///< its name; set if there are such services
    bool waits_for_address = false;  ///< one of them finds the link's addresses
    /// Addresses that fwd answers for only while the kernel has them there (VRRP).
    std::vector<net::IpAddress> floating;
    std::uint16_t mss_clamp = 0;  ///< no TCP segments beyond this through the link; 0: as the ends like
    bool mss_clamp_to_mtu = false;
    /// Packets from IPv4 that may be cut are cut to this on their way into IPv6 (RFC 7915, section 4).
    std::uint16_t lowest_ipv6_mtu = net::kIpv6LeastMtu;
    /// The same for the data plane.
    std::uint16_t greatest_mss() const {
        constexpr std::uint16_t kHeaders = 40;  // of IPv4 and TCP
        return mss_clamp_to_mtu ? static_cast<std::uint16_t>(mtu - kHeaders) : mss_clamp;
    }
    friend bool operator==(const LinkSettings&, const LinkSettings&) = default;
};

struct RouteSettings {
    net::IpPrefix prefix;             ///< 0.0.0.0/0 for the default gateway
    net::IpAddress via;               ///< inside a connected prefix of `link`
    std::optional<std::string> link;  ///< load_settings() finds it from `via` when absent
    friend bool operator==(const RouteSettings&, const RouteSettings&) = default;
};

struct NeighbourSettings {
    std::string link;
    net::IpAddress address;
    net::MacAddress mac;
    friend bool operator==(const NeighbourSettings&, const NeighbourSettings&) = default;
};

/// NPTv6: hosts of an IPv6 network have a counterpart in another one each (RFC 6296).
struct PrefixSettings {
    net::IpPrefix inside;
    net::IpPrefix external;  ///< as long; routed to fwd
    bool inbound = false;    ///< the world may open sessions to them as well
    friend bool operator==(const PrefixSettings&, const PrefixSettings&) = default;
};

/// Idle times after which a session ends. Defaults: RFC 5382 REQ-5, RFC 4787 REQ-5. Any from one second to a
/// week is accepted: shorter ones than the RFCs' are for tests and floods.
struct TimeoutSettings {
    std::chrono::seconds tcp_opening{240};
    std::chrono::seconds tcp_established{7440};
    std::chrono::seconds tcp_closing{240};
    std::chrono::seconds udp_unanswered{120};
    std::chrono::seconds udp{300};
    std::chrono::seconds mapping{300};  ///< of masquerade's UDP mappings, at least two minutes
    std::chrono::seconds port_quarantine{
        120};  ///< before a mapping's port is another one's (RFC 6888, REQ-8)
};

/// Everything that fwdd's configuration file says. Checked for form and for references between its parts.
struct Settings {
    std::variant<unsigned, std::vector<unsigned>> workers = 1U;  ///< how many, or on which cores
    std::uint32_t sessions = 65536;  ///< capacity, 16 to 100000000; memory follows from it
    IdleMode idle = IdleMode::adaptive;
    bool hugepages = true;  ///< false: never; true: when enough are free, with a warning otherwise
    std::filesystem::path socket = "/run/fwd/fwd.sock";      ///< absolute, at most 107 bytes
    std::filesystem::path state_directory = "/var/lib/fwd";  ///< absolute
    std::string log_level = "info";                          ///< error, warning, info or debug
    std::uint16_t masquerade_port_first = 1024;              ///< source ports for full NAT on own addresses
    std::uint16_t masquerade_port_last = 65535;
    bool tcp_window_check = false;  ///< drop TCP outside its receiver's window
    bool hide_hop = false;          ///< fwd is no hop: TTLs stay as they are (requirement I10)
    /// As many external ports as masquerades can have at once; at most as many as sessions.
    std::uint32_t mappings = 16384;
    std::uint16_t outbound_port_first = 32768;  ///< ports of own addresses for masquerades without a pool
    std::uint16_t outbound_port_last = 65535;
    TimeoutSettings timeouts;
    TranslationLogSettings translation_log;
    std::vector<LinkSettings> links;  ///< at least one
    std::vector<RouteSettings> routes;
    std::vector<NeighbourSettings> neighbours;
    std::vector<PrefixSettings> prefixes;
    std::vector<Rule> rules;              ///< origin config_file
    std::vector<Masquerade> masquerades;  ///< origin config_file
};

/// Reads a configuration file in libconfig syntax (`@include` works, relative to the file). The error names
/// file, line and key; an unknown key gets the nearest known one as a suggestion.
Result<Settings> load_settings(const std::filesystem::path& file);

/// Reads rules in libconfig syntax: `rules = ( {...}, ... );` and nothing else. `name` stands for the text in
/// messages. This is the inverse of format_rules().
Result<std::vector<Rule>> parse_rules(const std::string& text, const std::string& name);

/// Rules and masquerades, as `fwdctl export` prints them: either, or both.
struct RulesAndMasquerades {
    std::vector<Rule> rules;
    std::vector<Masquerade> masquerades;
};
Result<RulesAndMasquerades> parse_rules_and_masquerades(const std::string& text, const std::string& name);

/// The rules in libconfig syntax, ready for a configuration file.
std::string format_rules(const std::vector<Rule>& rules);

/// A key of the configuration file, for those who describe it: the manual page.
struct SettingKey {
    std::string_view key;
    std::string_view example;  ///< a right value, as it would be written
    std::string_view help;     ///< empty for what a request has under the same name: methods.h tells it there
    bool required = false;
};
struct SettingGroup {
    std::string_view name;  ///< the key that it stands under; empty for the file itself
    std::vector<SettingKey> keys;
};
std::vector<SettingGroup> setting_groups();

}  // namespace fwd::control
