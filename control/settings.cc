// SPDX-License-Identifier: BSD-3-Clause
#include "control/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <libconfig.h++>

#include "control/host_services.h"
#include "control/settings_check.h"
#include "control/settings_reader.h"
#include "control/text.h"

namespace fwd::control {
namespace {

constexpr unsigned kMostWorkers = 127;   // DPDK's RTE_MAX_LCORE in Debian's build is 128
constexpr unsigned kHighestCore = 1023;  // glibc's CPU_SETSIZE - 1
constexpr std::uint32_t kFewestSessions = 16;
constexpr std::uint32_t kMostSessions = 100'000'000;
constexpr std::uint16_t kSmallestMtu = 68;  // RFC 791
constexpr std::uint16_t kLargestMtu = 9600;
constexpr std::uint16_t kSmallestMss = 88;  // Linux takes smaller ones for an attack
constexpr std::uint16_t kLargestMss = kLargestMtu - 40;
constexpr std::uint16_t kMostQueues = 1024;  // DPDK's RTE_MAX_QUEUES_PER_PORT
constexpr std::size_t kLongestDevice = 255;
constexpr std::size_t kLongestSocketPath = 107;  // sun_path without its NUL
constexpr std::size_t kMostAddressesPerLink = 64;
constexpr std::size_t kMostRoutes = 65536;
constexpr std::size_t kMostPrefixPairs = 64;
constexpr std::size_t kMostRules = 1'000'000;
constexpr std::uint64_t kLeastRotateBytes = 10'000;
constexpr std::uint64_t kMostRotateBytes = std::uint64_t{1} << 40U;
constexpr unsigned kMostLogFiles = 1000;
constexpr std::int64_t kLongestTimeout = std::int64_t{86400} * 7;
constexpr std::int64_t kShortestMapping = 120;  // RFC 4787, REQ-5

Result<std::filesystem::path> parse_absolute_path(std::string_view text) {
    std::filesystem::path path{text};
    if (!path.is_absolute())
        return invalid({}, fmt::format("got {}, want an absolute path", in_quotes(text)));
    return path;
}

Result<std::filesystem::path> parse_socket_path(std::string_view text) {
    if (text.size() > kLongestSocketPath) {
        return invalid(
            {}, fmt::format("got a path of {} bytes, want at most {}", text.size(), kLongestSocketPath));
    }
    return parse_absolute_path(text);
}

/// Only what can't be a device at all: which ones there are, EAL knows.
Result<std::string> parse_device(std::string_view text) {
    constexpr std::string_view kExamples =
        "a PCI address such as 0000:01:00.0 or a DPDK device such as net_tap0";
    const bool is_text = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
    if (text.empty() || text.size() > kLongestDevice || !is_text) {
        return invalid({}, fmt::format("got {}, want {}", in_quotes(text), kExamples));
    }
    if (text.find_first_of(":._-,") == std::string_view::npos) {
        return invalid(
            {}, fmt::format("got {}, the kernel's name of a NIC; want {}", in_quotes(text), kExamples));
    }
    return std::string{text};
}

struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};

Result<PortRange> parse_port_range(std::string_view text) {
    const std::size_t dash = std::min(text.find('-'), text.size());
    const Result<std::uint16_t> first = parse_port(text.substr(0, dash));
    const Result<std::uint16_t> last = parse_port(text.substr(std::min(dash + 1, text.size())));
    if (!first || !last || *first > *last) {
        return invalid({}, fmt::format("got {}, want a range of ports such as 1024-65535", in_quotes(text)));
    }
    return PortRange{*first, *last};
}

Result<void> read_workers(const Value& value, Settings& settings) {
    if (value.is_integer()) {
        return assign(value.integer(1U, kMostWorkers), settings.workers);
    }
    if (!value.is_list()) return value.wrong_type("how many or a list of cores");
    std::vector<unsigned> cores;
    const auto read_core = [](const Value& core) { return core.integer(0U, kHighestCore); };
    if (Result<void> read = read_list(value, {kMostWorkers, "cores"}, read_core, cores); !read) return read;
    if (cores.empty()) return value.bad("got an empty list, want at least one core");
    for (std::size_t i = 0; i < cores.size(); ++i) {
        if (std::find(cores.begin(), cores.begin() + static_cast<std::ptrdiff_t>(i), cores[i]) !=
            cores.begin() + static_cast<std::ptrdiff_t>(i)) {
            return value.element(i).bad(fmt::format("got {} twice, want each core once", cores[i]));
        }
    }
    settings.workers = std::move(cores);
    return {};
}

Result<std::chrono::seconds> read_timeout(const Value& value, std::int64_t shortest = 1) {
    return value.integer<std::int64_t>(shortest, kLongestTimeout).map([](std::int64_t seconds) {
        return std::chrono::seconds{seconds};
    });
}

Result<void> read_prefixes(const Value& value, const char* all, std::vector<net::IpPrefix>& prefixes) {
    const auto read_prefix = [](const Value& prefix) { return read_text(prefix, parse_prefix); };
    if (Result<void> read = read_list(value, {Rule::kMostPrefixes, "prefixes"}, read_prefix, prefixes); !read)
        return read;
    if (prefixes.empty()) {
        return value.bad(fmt::format(
            "got an empty list, want at least one prefix, or no such key to allow every {}", all));
    }
    return {};
}

Result<void> read_source_prefixes(const Value& value, std::vector<net::IpPrefix>& prefixes) {
    return read_prefixes(value, "source", prefixes);
}

constexpr Field<TimeoutSettings> kTimeoutFields[] = {
    {"tcp_opening", "240", "until the handshake is complete (default: 240)",
     [](auto& v, auto& out) { return assign(read_timeout(v), out.tcp_opening); }},
    {"tcp_established", "7440", "of an established TCP connection (default: 7440)",
     [](auto& v, auto& out) { return assign(read_timeout(v), out.tcp_established); }},
    {"tcp_closing", "240", "after FIN or RST (default: 240)",
     [](auto& v, auto& out) { return assign(read_timeout(v), out.tcp_closing); }},
    {"udp_unanswered", "120", "until the first answer (default: 120)",
     [](auto& v, auto& out) { return assign(read_timeout(v), out.udp_unanswered); }},
    {"udp", "300", "of UDP that has been answered, and of what has no ports (default: 300)",
     [](auto& v, auto& out) { return assign(read_timeout(v), out.udp); }},
    {"mapping", "300", "of masquerade's mapping of a UDP endpoint, at least 120 (default: 300)",
     [](auto& v, auto& out) { return assign(read_timeout(v, kShortestMapping), out.mapping); }},
    {"port_quarantine", "120",
     "before the external port of a mapping that has ended is given to another endpoint (default: 120)",
     [](auto& v, auto& out) { return assign(read_timeout(v, 0), out.port_quarantine); }},
};

constexpr Field<TranslationLogSettings> kTranslationLogFields[] = {
    {"file", R"("/var/log/fwd/translations.log")", "the file to write to; either this or syslog",
     [](auto& v, auto& out) { return assign(read_text(v, parse_absolute_path), out.file); }},
    {"rotate_bytes", "100000000",
     "at this size the file is renamed to FILE.1, and that to FILE.2 (default: 100000000)",
     [](auto& v, auto& out) {
         return assign(v.integer(kLeastRotateBytes, kMostRotateBytes), out.rotate_bytes);
     }},
    {"keep", "9", "so many renamed files (default: 9)",
     [](auto& v, auto& out) { return assign(v.integer(0U, kMostLogFiles), out.keep); }},
    {"syslog", R"("/dev/log")", "the datagram socket of a syslog daemon to write to",
     [](auto& v, auto& out) { return assign(read_text(v, parse_socket_path), out.syslog); }},
};

Result<void> read_translation_log(const Value& value, TranslationLogSettings& log) {
    if (auto ok = read_group(value, kTranslationLogFields, log); !ok) return ok;
    if (!log.is_on()) return value.missing_key("file", kTranslationLogFields[0].example);
    if (log.file.empty() || log.syslog.empty()) return {};
    return value.member("syslog").bad("got a file as well, want either of them");
}

Result<void> read_addresses(const Value& value, LinkSettings& link) {
    const auto read_address = [](const Value& address) {
        return read_text(address, parse_interface_address);
    };
    if (Result<void> read =
            read_list(value, {kMostAddressesPerLink, "addresses"}, read_address, link.addresses);
        !read) {
        return read;
    }
    return {};
}

/// Of a group: what it names, or a service of the operator's own.
struct HostEntry {
    std::string service;
    std::optional<net::Protocol> protocol;
    std::optional<PortRange> ports;
    std::vector<net::IpPrefix> from;
};

constexpr std::pair<std::string_view, net::Protocol> kHostProtocols[] = {
    {"tcp", net::Protocol::tcp},
    {"udp", net::Protocol::udp},
};

constexpr Field<HostEntry> kHostFields[] = {
    {"service", R"("ssh")", "one of those that have names",
     [](auto& v, auto& entry) { return assign(v.string(), entry.service); }},
    {"protocol", R"("tcp")", "of a service that has none: tcp or udp",
     [](auto& v, auto& entry) { return assign(read_choice(v, kHostProtocols), entry.protocol); }},
    {"port", R"("9100" or "9100-9110")", "and the ports that its packets go to",
     [](auto& v, auto& entry) {
         const auto read_port = [](std::string_view text) {
             const Result<std::uint16_t> one = parse_port(text);
             return one ? Result<PortRange>{PortRange{*one, *one}} : parse_port_range(text);
         };
         return assign(read_text(v, read_port), entry.ports);
     }},
    {"from", R"([ "10.0.0.0/24" ])", "sources that may use it (default: all)",
     [](auto& v, auto& entry) { return read_source_prefixes(v, entry.from); }},
};

Result<void> read_host_entry(const Value& value, LinkSettings& link) {
    HostEntry entry;
    if (value.is_group()) {
        if (auto ok = read_group(value, kHostFields, entry); !ok) return ok;
    } else {
        auto name = value.string();
        if (!name) return value.wrong_type("the name of a service, or a group { ... }");
        entry.service = std::move(*name);
    }
    std::vector<dataplane::HostService> services;
    if (!entry.service.empty()) {
        const Value here = value.is_group() ? value.member("service") : value;
        if (entry.protocol || entry.ports)
            return here.bad("got a protocol or port as well, want either of them");
        auto known = host_service(entry.service);
        if (!known) return here.error(known.error().kind, known.error().message);
        services = std::move(*known);
        link.waits_for_address = link.waits_for_address || finds_addresses(entry.service);
    } else {
        if (!entry.protocol) return value.missing_key("service", kHostFields[0].example);
        if (!entry.ports) return value.missing_key("port", kHostFields[2].example);
        services.push_back({.protocol = *entry.protocol,
                            .first_port = entry.ports->first,
                            .last_port = entry.ports->last,
                            .from = {}});
    }
    for (dataplane::HostService& service : services) {
        service.from = entry.from;
        link.host.push_back(std::move(service));
    }
    return {};
}

Result<void> read_host(const Value& value, LinkSettings& link) {
    constexpr std::size_t kMostServices = 64;
    if (!value.is_list()) return value.wrong_type("a list of services");
    if (value.size() == 0) return value.bad("got an empty list, want at least one service, or no such key");
    if (value.size() > kMostServices)
        return value.bad(fmt::format("got {} services, want at most {}", value.size(), kMostServices));
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (auto ok = read_host_entry(value.element(i), link); !ok) return ok;
    }
    return {};
}

Result<std::string> parse_interface_name(std::string_view text) {
    constexpr std::size_t kLongest = 15;
    const bool good =
        !text.empty() && text.size() <= kLongest && text != "." && text != ".." &&
        std::ranges::all_of(text, [](char c) {
            return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
        });
    if (!good) {
        return invalid({},
                       fmt::format("got {}, want the name of an interface: 1 to {} of letters, digits, '-', "
                                   "'_' and '.'",
                                   in_quotes(text), kLongest));
    }
    return std::string{text};
}

constexpr std::pair<std::string_view, RxChecksum> kRxChecksums[] = {
    {"trusted", RxChecksum::trusted},
    {"partial", RxChecksum::partial},
};

constexpr std::pair<std::string_view, Refusal> kRefusals[] = {
    {"silent", Refusal::silent},
    {"icmp", Refusal::icmp},
};

Result<void> read_mss_clamp(const Value& value, LinkSettings& link) {
    if (value.is_integer()) return assign(value.integer(kSmallestMss, kLargestMss), link.mss_clamp);
    const Result<std::string> word = value.string();
    if (!word) return value.wrong_type("bytes or a word");
    if (*word != "mtu") return value.bad(fmt::format("got {}, want bytes or 'mtu'", in_quotes(*word)));
    link.mss_clamp_to_mtu = true;
    return {};
}

constexpr Field<LinkSettings> kLinkFields[] = {
    {"name", R"("lan")", "what rules, routes and reports call it",
     [](auto& v, auto& link) { return assign(read_text(v, parse_link_name), link.name); },
     Presence::required},
    {"device", R"("0000:01:00.0")",
     "the PCI address of a NIC, or the string of a virtual device of DPDK with its arguments; may be "
     "shared by links with different VLANs",
     [](auto& v, auto& link) { return assign(read_text(v, parse_device), link.device); }, Presence::required},
    {"addresses", R"([ "10.0.0.2/24" ])",
     "fwd's own addresses here, each with the length of its network's prefix", read_addresses,
     Presence::required},
    {"vlan", "100", "the 802.1Q tag of its frames (default: none)",
     [](auto& v, auto& link) { return assign(v.template integer<std::uint16_t>(1, 4094), link.vlan); }},
    {"mtu", "1500", "bytes of the largest IP packet (default: 1500)",
     [](auto& v, auto& link) { return assign(v.integer(kSmallestMtu, kLargestMtu), link.mtu); }},
    {"queues", "2", "receive and transmit queues; 0: one for each worker, if the device can (default: 0)",
     [](auto& v, auto& link) {
         return assign(v.template integer<std::uint16_t>(0, kMostQueues), link.queues);
     }},
    {"rx_checksum", R"("trusted")",
     "trusted: the checksums of frames that come in are complete, as on a wire; partial: a virtual "
     "link may leave them to the receiver (default: trusted)",
     [](auto& v, auto& link) { return assign(read_choice(v, kRxChecksums), link.rx_checksum); }},
    {"ping", "true", "answer to ping of own addresses (default: false)",
     [](auto& v, auto& link) { return assign(v.boolean(), link.ping); }},
    {"mss_clamp", R"(1452 or "mtu")",
     "TCP connections through it agree on segments of at most so many bytes; mtu: what fits into its "
     "packets (default: as the ends like)",
     read_mss_clamp},
    {"lowest_ipv6_mtu", "1500",
     "bytes that every way in the IPv6 network behind it carries: packets from IPv4 without 'don't fragment' "
     "are cut to that (default: 1280)",
     [](auto& v, auto& link) {
         return assign(v.template integer<std::uint16_t>(net::kIpv6LeastMtu, kLargestMtu),
                       link.lowest_ipv6_mtu);
     }},
    {"host", R"([ "ssh", "ping" ])",
     "services of this machine's kernel that are reached by the link's addresses: ping, ssh, dhcp-client, "
     "dhcp-server, dns, bgp, bfd, ospf, vrrp, snmp, or groups such as "
     R"({ service = "ssh"; from = [ "10.0.0.0/8" ]; } or { protocol = "tcp"; port = "9100"; } (default: none))",
     read_host},
    {"host_interface", R"("fwd-lan")",
     "what the kernel calls its interface for them (default: fwd- and the link's name)",
     [](auto& v, auto& link) { return assign(read_text(v, parse_interface_name), link.host_interface); }},
    {"floating", R"([ "10.0.0.9" ])",
     "addresses of rules that fwd answers for only while that interface has them: VRRP's (default: none)",
     [](auto& v, auto& link) {
         const auto read_address = [](const Value& address) { return read_text(address, parse_address); };
         return read_list(v, {kMostAddressesPerLink, "addresses"}, read_address, link.floating);
     }},
    {"refuse", R"("silent")",
     "what becomes of packets that no rule lets in: silent, or icmp: their senders are told (default: "
     "silent)",
     [](auto& v, auto& link) { return assign(read_choice(v, kRefusals), link.refuse); }},
};

constexpr Field<RouteSettings> kRouteFields[] = {
    {"prefix", R"("0.0.0.0/0")", "where to",
     [](auto& v, auto& route) { return assign(read_text(v, parse_prefix), route.prefix); },
     Presence::required},
    {"via", R"("10.0.0.254")", "the router's address, in a network of one of the links",
     [](auto& v, auto& route) { return assign(read_text(v, parse_address), route.via); }, Presence::required},
    {"link", R"("lan")", "the link of that router (default: found by its address)",
     [](auto& v, auto& route) { return assign(read_text(v, parse_link_name), route.link); }},
};

constexpr Field<NeighbourSettings> kNeighbourFields[] = {
    {"link", R"("lan")", "the link that it is at",
     [](auto& v, auto& neighbour) { return assign(read_text(v, parse_link_name), neighbour.link); },
     Presence::required},
    {"address", R"("10.0.0.4")", "its address",
     [](auto& v, auto& neighbour) { return assign(read_text(v, parse_address), neighbour.address); },
     Presence::required},
    {"mac", R"("02:00:00:00:00:04")", "its MAC address, which is not asked for by ARP then",
     [](auto& v, auto& neighbour) { return assign(read_text(v, parse_mac), neighbour.mac); },
     Presence::required},
};

constexpr Field<PrefixSettings> kPrefixFields[] = {
    {"inside", R"("fd00:1::/48")", "the network of the hosts inside, which a link has or a route leads to",
     [](auto& v, auto& prefix) { return assign(read_text(v, parse_prefix), prefix.inside); },
     Presence::required},
    {"external", R"("2001:db8:1::/48")", "the one that the world sees in its place; of the same length",
     [](auto& v, auto& prefix) { return assign(read_text(v, parse_prefix), prefix.external); },
     Presence::required},
    {"inbound", "false", "the world may open sessions to the hosts inside (default: false)",
     [](auto& v, auto& prefix) { return assign(v.boolean(), prefix.inbound); }},
};

Result<void> read_protocols(const Value& value, Rule& rule) {
    return read_text(value, [&](std::string_view text) { return parse_protocols(text, rule); });
}

// What add-rule and add-masquerade have under the same name is told there, in methods.cc.
constexpr std::string_view kAsInRequests{};

constexpr Field<Rule> kRuleFields[] = {
    {"name", R"("web")", kAsInRequests,
     [](auto& v, auto& rule) { return assign(read_text(v, parse_name), rule.name); }},
    {"protocol", R"("tcp")", kAsInRequests, read_protocols, Presence::required},
    {"external", R"("10.0.0.3:80")", kAsInRequests,
     [](auto& v, auto& rule) {
         return read_text(v, [&](std::string_view text) { return parse_external(text, rule); });
     },
     Presence::required},
    {"target", R"("10.0.0.4:8080")", kAsInRequests,
     [](auto& v, auto& rule) { return assign(read_text(v, parse_targets), rule.targets); },
     Presence::required},
    {"source", R"("auto")", kAsInRequests,
     [](auto& v, auto& rule) { return assign(read_text(v, parse_source_mode), rule.source); }},
    {"balance", R"("round-robin")", kAsInRequests,
     [](auto& v, auto& rule) { return assign(read_text(v, parse_balance), rule.balance); }},
    {"outbound", "false", kAsInRequests,
     [](auto& v, auto& rule) { return assign(v.boolean(), rule.outbound); }},
    {"link", R"("lan")", kAsInRequests,
     [](auto& v, auto& rule) { return assign(read_text(v, parse_link_name), rule.link); }},
    {"from", R"([ "10.0.0.0/24" ])", kAsInRequests,
     [](auto& v, auto& rule) { return read_source_prefixes(v, rule.from); }},
    {"not_from", R"([ "10.0.0.0/24" ])", kAsInRequests,
     [](auto& v, auto& rule) { return read_source_prefixes(v, rule.not_from); }},
    {"max_sessions", "1000", kAsInRequests,
     [](auto& v, auto& rule) { return assign(v.integer(1U, Rule::kMostSessions), rule.max_sessions); }},
    {"max_sessions_per_source", "100", kAsInRequests,
     [](auto& v, auto& rule) {
         return assign(v.integer(1U, Rule::kMostSessionsPerSource), rule.max_sessions_per_source);
     }},
    {"rate", "100", kAsInRequests,
     [](auto& v, auto& rule) { return assign(v.integer(1U, Rule::kMostRate), rule.rate); }},
    {"comment", R"("the shop")", kAsInRequests,
     [](auto& v, auto& rule) { return assign(read_text(v, parse_comment), rule.comment); }},
    {"disabled", "true", kAsInRequests,
     [](auto& v, auto& rule) { return assign(v.boolean(), rule.disabled); }},
};

Result<void> read_pool(const Value& value, Masquerade& masquerade) {
    const auto read_address = [](const Value& address) { return read_text(address, parse_address); };
    if (Result<void> read =
            read_list(value, {Masquerade::kMostAddresses, "addresses"}, read_address, masquerade.pool);
        !read) {
        return read;
    }
    if (masquerade.pool.empty())
        return value.bad("got an empty list, want at least one address, or no such key to use fwd's own");
    return {};
}

constexpr Field<Masquerade> kMasqueradeFields[] = {
    {"name", R"("home")", kAsInRequests,
     [](auto& v, auto& m) { return assign(read_text(v, parse_name), m.name); }},
    {"inside", R"("lan")", kAsInRequests,
     [](auto& v, auto& m) {
         return read_text(v, [&](std::string_view text) { return parse_inside(text, m); });
     },
     Presence::required},
    {"pool", R"([ "203.0.113.5" ])", kAsInRequests, read_pool},
    {"to", R"([ "198.51.100.0/24" ])", kAsInRequests,
     [](auto& v, auto& m) { return read_prefixes(v, "destination", m.to); }},
    {"filtering", R"("address-dependent")", kAsInRequests,
     [](auto& v, auto& m) { return assign(read_text(v, parse_filtering), m.filtering); }},
    {"max_ports_per_host", "1000", kAsInRequests,
     [](auto& v, auto& m) {
         return assign(v.integer(1U, Masquerade::kMostPortsPerHost), m.max_ports_per_host);
     }},
    {"max_sessions", "1000", kAsInRequests,
     [](auto& v, auto& m) { return assign(v.integer(1U, Rule::kMostSessions), m.max_sessions); }},
    {"max_sessions_per_source", "100", kAsInRequests,
     [](auto& v, auto& m) {
         return assign(v.integer(1U, Rule::kMostSessionsPerSource), m.max_sessions_per_source);
     }},
    {"rate", "100", kAsInRequests,
     [](auto& v, auto& m) { return assign(v.integer(1U, Rule::kMostRate), m.rate); }},
    {"inbound_refresh", "true", "packets from outside alone keep a session alive (default: true)",
     [](auto& v, auto& m) { return assign(v.boolean(), m.inbound_refresh); }},
};

Result<void> read_masquerades(const Value& value, std::vector<Masquerade>& masquerades) {
    const auto read_masquerade = [](const Value& element) -> Result<Masquerade> {
        Masquerade masquerade;
        if (Result<void> read = read_group(element, kMasqueradeFields, masquerade); !read)
            return tl::unexpected(read.error());
        if (masquerade.name.empty()) masquerade.name = default_name(masquerade);
        return masquerade;
    };
    return read_list(value, {Masquerade::kMost, "masquerades"}, read_masquerade, masquerades);
}

Result<Rule> read_rule(const Value& value) {
    Rule rule;
    if (Result<void> read = read_group(value, kRuleFields, rule); !read) return tl::unexpected(read.error());
    if (auto ok = check_ports(rule); !ok)
        return value.member(ok.error().field).error(ok.error().kind, ok.error().message);
    if (rule.name.empty()) rule.name = default_name(rule);
    return rule;
}

Result<void> read_rules(const Value& value, std::vector<Rule>& rules) {
    return read_list(value, {kMostRules, "rules"}, read_rule, rules);
}

template <typename T, std::size_t kCount>
Result<void> read_groups(const Value& list, Most most, const Field<T> (&fields)[kCount],
                         std::vector<T>& out) {
    const auto read_element = [&](const Value& element) -> Result<T> {
        T group;
        return read_group(element, fields, group).map([&] { return std::move(group); });
    };
    return read_list(list, most, read_element, out);
}

constexpr std::pair<std::string_view, IdleMode> kIdleModes[] = {
    {"adaptive", IdleMode::adaptive},
    {"poll", IdleMode::poll},
};

constexpr std::pair<std::string_view, bool> kTtlModes[] = {
    {"decrement", false},
    {"hide", true},
};

constexpr std::pair<std::string_view, std::string_view> kLogLevels[] = {
    {"error", "error"},
    {"warning", "warning"},
    {"info", "info"},
    {"debug", "debug"},
};

constexpr Field<Settings> kFields[] = {
    {"workers", "2 or [ 2, 3 ]",
     "how many workers, or on which cores; each is busy with nothing but packets (default: 1)", read_workers},
    {"sessions", "65536", "room for so many sessions; memory follows from it (default: 65536)",
     [](auto& v, auto& out) { return assign(v.integer(kFewestSessions, kMostSessions), out.sessions); }},
    {"mappings", "16384", "room for so many external ports of masquerades at once (default: 16384)",
     [](auto& v, auto& out) { return assign(v.integer(kFewestSessions, kMostSessions), out.mappings); }},
    {"idle", R"("adaptive")",
     "what a worker does while there are no packets: adaptive (it sleeps until there are) or poll (it "
     "never sleeps) (default: adaptive)",
     [](auto& v, auto& out) { return assign(read_choice(v, kIdleModes), out.idle); }},
    {"hugepages", "true", "use them if enough are free; false: never (default: true)",
     [](auto& v, auto& out) { return assign(v.boolean(), out.hugepages); }},
    {"socket", R"("/run/fwd/fwd.sock")", "where fwdctl reaches fwdd (default: /run/fwd/fwd.sock)",
     [](auto& v, auto& out) { return assign(read_text(v, parse_socket_path), out.socket); }},
    {"state_directory", R"("/var/lib/fwd")",
     "where rules and masquerades that fwdctl has added are kept (default: /var/lib/fwd)",
     [](auto& v, auto& out) { return assign(read_text(v, parse_absolute_path), out.state_directory); }},
    {"log_level", R"("info")", "error, warning, info or debug (default: info)",
     [](auto& v, auto& out) { return assign(read_choice(v, kLogLevels), out.log_level); }},
    {"masquerade_ports", R"("1024-65535")",
     "source ports of own addresses for rules that masquerade (default: 1024-65535)",
     [](auto& v, auto& out) {
         return read_text(v, parse_port_range).map([&](PortRange range) {
             out.masquerade_port_first = range.first;
             out.masquerade_port_last = range.last;
         });
     }},
    {"outbound_ports", R"("32768-65535")",
     "ports of own addresses for masquerades without a pool (default: 32768-65535)",
     [](auto& v, auto& out) {
         return read_text(v, parse_port_range).map([&](PortRange range) {
             out.outbound_port_first = range.first;
             out.outbound_port_last = range.last;
         });
     }},
    {"ttl", R"("decrement")",
     "decrement, or hide: fwd is no hop, and traceroute does not show it (default: decrement)",
     [](auto& v, auto& out) { return assign(read_choice(v, kTtlModes), out.hide_hop); }},
    {"tcp_window_check", "true",
     "drop TCP outside its receiver's window, of sessions that open from then on (default: false)",
     [](auto& v, auto& out) { return assign(v.boolean(), out.tcp_window_check); }},
    {"timeouts", "{ udp = 300; }", "seconds without a packet after which a session ends",
     [](auto& v, auto& out) { return read_group(v, kTimeoutFields, out.timeouts); }},
    {"translation_log", R"({ file = "/var/log/fwd/translations.log"; })",
     "who had which address and port when: a line for the beginning and the end of each session "
     "(default: none)",
     [](auto& v, auto& out) { return read_translation_log(v, out.translation_log); }},
    {"links", R"(( { name = "lan"; device = "0000:01:00.0"; addresses = [ "10.0.0.2/24" ]; } ))",
     "the NICs that fwd has, and its addresses there",
     [](auto& v, auto& out) {
         return read_groups(v, {kMostLinks, "links"}, kLinkFields, out.links);
     },
     Presence::required},
    {"routes", R"(( { prefix = "0.0.0.0/0"; via = "10.0.0.254"; } ))",
     "where packets go that are for none of the networks of the links",
     [](auto& v, auto& out) {
         return read_groups(v, {kMostRoutes, "routes"}, kRouteFields, out.routes);
     }},
    {"neighbours", R"(( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } ))",
     "next hops that are known for good",
     [](auto& v, auto& out) {
         return read_groups(v, {kMostNeighbours, "neighbours"}, kNeighbourFields, out.neighbours);
     }},
    {"prefixes", R"(( { inside = "fd00:1::/48"; external = "2001:db8:1::/48"; } ))",
     "IPv6 networks whose hosts have counterparts in another one (NPTv6)",
     [](auto& v, auto& out) {
         return read_groups(v, {kMostPrefixPairs, "prefixes"}, kPrefixFields, out.prefixes);
     }},
    {"rules", R"(( { protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; } ))",
     "what to forward, beside what fwdctl adds", [](auto& v, auto& out) { return read_rules(v, out.rules); }},
    {"masquerades", R"(( { inside = "lan"; } ))", "which inside hosts reach the world by fwd's addresses",
     [](auto& v, auto& out) { return read_masquerades(v, out.masquerades); }},
};

constexpr Field<RulesAndMasquerades> kRulesAndMasquerades[] = {
    {"rules",
     R"(( { protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; } ))",
     {},
     [](auto& v, auto& out) { return read_rules(v, out.rules); }},
    {"masquerades",
     R"(( { inside = "lan"; } ))",
     {},
     [](auto& v, auto& out) { return read_masquerades(v, out.masquerades); }},
};

constexpr Field<std::vector<Rule>> kOnlyRules[] = {
    {"rules",
     R"(( { protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; } ))",
     {},
     read_rules,
     Presence::required},
};

template <typename T, std::size_t kCount>
SettingGroup describe(std::string_view name, const Field<T> (&fields)[kCount]) {
    SettingGroup group{.name = name, .keys = {}};
    for (const Field<T>& field : fields) {
        group.keys.push_back({field.key, field.example, field.help, field.presence == Presence::required});
    }
    return group;
}

/// As a string of libconfig. A comment has no control characters.
std::string libconfig_string(std::string_view text) {
    std::string string = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') string += '\\';
        string += c;
    }
    return string + '"';
}

/// Gives `read` the root of what the source says. This is where libconfig++'s exceptions end.
Result<void> parse(const ConfigSource& source, const std::function<Result<void>(const Value& root)>& read) {
    libconfig::Config config;
    try {
        config.readString(source.text());
        return read(Value{config.getRoot(), source});
    } catch (const libconfig::ParseException& error) {
        const auto line = static_cast<std::size_t>(error.getLine());
        const std::string_view text = source.line_text(line);  // empty: the parser wanted more
        const std::string place = text.empty() ? "the end of the text" : in_quotes(text);
        return invalid(source.where(line), fmt::format("{} at or just before {}", error.getError(), place));
    } catch (const std::exception& error) {
        return invalid(source.where(0), error.what());
    }
}

}  // namespace

Result<Settings> load_settings(const std::filesystem::path& file) {
    const Result<ConfigSource> source = ConfigSource::from_file(file);
    if (!source) return tl::unexpected(source.error());
    Settings settings;
    const auto read = [&](const Value& root) -> Result<void> {
        if (Result<void> done = read_group(root, kFields, settings); !done) return done;
        const Value rules = root.member("rules");
        for (std::size_t i = 0; i < settings.rules.size(); ++i) {
            settings.rules[i].origin = RuleOrigin::config_file;
            settings.rules[i].origin_text = rules.element(i).place();
        }
        const Value masquerades = root.member("masquerades");
        for (std::size_t i = 0; i < settings.masquerades.size(); ++i) {
            settings.masquerades[i].origin = RuleOrigin::config_file;
            settings.masquerades[i].origin_text = masquerades.element(i).place();
        }
        settings.mappings = std::min(settings.mappings, settings.sessions);
        return check_settings(root, settings);
    };
    return parse(*source, read).map([&] { return std::move(settings); });
}

Result<std::vector<Rule>> parse_rules(const std::string& text, const std::string& name) {
    const Result<ConfigSource> source = ConfigSource::from_text(text, name);
    if (!source) return tl::unexpected(source.error());
    std::vector<Rule> rules;
    return parse(*source, [&](const Value& root) { return read_group(root, kOnlyRules, rules); }).map([&] {
        return std::move(rules);
    });
}

Result<RulesAndMasquerades> parse_rules_and_masquerades(const std::string& text, const std::string& name) {
    const Result<ConfigSource> source = ConfigSource::from_text(text, name);
    if (!source) return tl::unexpected(source.error());
    RulesAndMasquerades both;
    return parse(*source, [&](const Value& root) { return read_group(root, kRulesAndMasquerades, both); })
        .map([&] { return std::move(both); });
}

std::vector<SettingGroup> setting_groups() {
    return {describe("", kFields),
            describe("links", kLinkFields),
            describe("routes", kRouteFields),
            describe("neighbours", kNeighbourFields),
            describe("prefixes", kPrefixFields),
            describe("rules", kRuleFields),
            describe("masquerades", kMasqueradeFields),
            describe("timeouts", kTimeoutFields),
            describe("translation_log", kTranslationLogFields)};
}

std::string format_rules(const std::vector<Rule>& rules) {
    std::vector<std::string> groups;
    for (const Rule& rule : rules) {
        std::string group =
            fmt::format(R"({{ name = "{}"; protocol = "{}"; external = "{}"; target = "{}";)", rule.name,
                        protocols_text(rule), external_text(rule), to_text(rule.targets));
        if (rule.source != SourceMode::automatic)
            group += fmt::format(R"( source = "{}";)", to_text(rule.source));
        if (rule.balance != Balance::round_robin)
            group += fmt::format(R"( balance = "{}";)", to_text(rule.balance));
        if (rule.outbound) group += " outbound = true;";
        if (rule.link) group += fmt::format(R"( link = "{}";)", *rule.link);
        for (const auto& [key, list] : {std::pair{"from", &rule.from}, {"not_from", &rule.not_from}}) {
            if (list->empty()) continue;
            std::vector<std::string> prefixes;
            for (const net::IpPrefix& prefix : *list) prefixes.push_back('"' + to_text(prefix) + '"');
            group += fmt::format(" {} = [ {} ];", key, fmt::join(prefixes, ", "));
        }
        for (const auto& [key, limit] : {std::pair{"max_sessions", rule.max_sessions},
                                         {"max_sessions_per_source", rule.max_sessions_per_source},
                                         {"rate", rule.rate}}) {
            if (limit != 0) group += fmt::format(" {} = {};", key, limit);
        }
        if (!rule.comment.empty()) group += fmt::format(" comment = {};", libconfig_string(rule.comment));
        if (rule.disabled) group += " disabled = true;";
        groups.push_back("    " + group + " }");
    }
    if (groups.empty()) return "rules = ( );\n";
    return fmt::format("rules = (\n{}\n);\n", fmt::join(groups, ",\n"));
}

}  // namespace fwd::control
