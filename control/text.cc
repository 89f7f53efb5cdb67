// SPDX-License-Identifier: BSD-3-Clause
#include "control/text.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <optional>
#include <vector>

namespace fwd::control {
namespace {

constexpr std::size_t kLongestName = 63;

tl::unexpected<Error> bad(std::string_view text, std::string_view wanted) {
    return invalid({}, fmt::format("got {}, want {}", in_quotes(text), wanted));
}

/// The whole text as a decimal number without sign or leading zeros, at most `maximum`.
std::optional<unsigned> decimal(std::string_view text, unsigned maximum) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > maximum) return std::nullopt;
    if (text.size() > 1 && text.front() == '0') return std::nullopt;
    return value;
}

std::optional<net::IpAddress> ip_address(std::string_view text) {
    // inet_pton() wants a C string: a NUL inside the text would hide what follows it.
    if (text.find('\0') != std::string_view::npos) return std::nullopt;
    const std::string whole{text};
    std::uint32_t wire = 0;
    if (inet_pton(AF_INET, whole.c_str(), &wire) == 1) return net::Ipv4Address{net::be32::from_wire(wire)};
    net::Ipv6Address address;
    if (inet_pton(AF_INET6, whole.c_str(), address.bytes.data()) != 1 || address.is_v4_mapped())
        return std::nullopt;
    return address;
}

struct AddressAndLength {
    net::IpAddress address;
    std::uint8_t length;
};

std::optional<AddressAndLength> address_and_length(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const std::optional<net::IpAddress> address = ip_address(text.substr(0, slash));
    if (!address) return std::nullopt;
    const std::optional<unsigned> length = decimal(text.substr(slash + 1), address->is_v4() ? 32 : 128);
    if (!length) return std::nullopt;
    return AddressAndLength{*address, static_cast<std::uint8_t>(*length)};
}

bool is_name(std::string_view text, std::size_t longest) {
    return !text.empty() && text.size() <= longest && std::ranges::all_of(text, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
               c == '_' || c == '-';
    });
}

/// The number of bytes of the UTF-8 character that a text begins with, 0 when it is malformed (RFC 3629) or a
/// control character.
std::size_t printable_character(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    if (byte(0) < 0x80) return byte(0) >= ' ' && byte(0) != 0x7f ? 1 : 0;
    const std::size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
    if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return 0;
    std::uint32_t code = byte(0) & (0x7fU >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xc0U) != 0x80) return 0;
        code = code << 6U | (byte(i) & 0x3fU);
    }
    const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool control = code < 0xa0;
    const bool turns_text_round = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return overlong || surrogate || control || turns_text_round || code > 0x10ffff ? 0 : bytes;
}

/// Levenshtein's distance, with two letters in the wrong order counted as one mistake.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before_last(b.size() + 1);
    std::vector<std::size_t> last(b.size() + 1);
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(last.begin(), last.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = std::min(row[j], before_last[j - 2] + 1);
            }
        }
        std::swap(before_last, last);
        std::swap(last, row);
    }
    return last[b.size()];
}

/// What is wanted in place of an address alone.
std::string with_a_port(const net::IpAddress& address) {
    return (address.is_v4() ? "a port as well, such as " : "brackets and a port as well, such as ") +
           to_text(net::IpEndpoint{address, net::be16::from_host(80)});
}

}  // namespace

Result<net::IpAddress> parse_address(std::string_view text) {
    const std::optional<net::IpAddress> address = ip_address(text);
    if (!address) return bad(text, "an address such as 10.0.0.3 or 2001:db8::3");
    return *address;
}

Result<net::IpEndpoint> parse_endpoint(std::string_view text) {
    if (const auto alone = ip_address(text)) return bad(text, with_a_port(*alone));
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return bad(text, "an address and a port such as 10.0.0.3:80 or [2001:db8::3]:80");
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const std::optional<net::IpAddress> address = ip_address(host);
    if (!address || address->is_v4() == bracketed)
        return bad(text, "an address before the port, such as 10.0.0.3:80 or [2001:db8::3]:80");
    const Result<std::uint16_t> port = parse_port(text.substr(colon + 1));
    if (!port) return bad(text, "a port of 1 to 65535 behind the colon");
    return net::IpEndpoint{*address, net::be16::from_host(*port)};
}

Result<net::EndpointRange> parse_endpoint_range(std::string_view text) {
    const std::size_t dash = text.rfind('-');
    if (dash == std::string_view::npos) return parse_endpoint(text);
    const auto first = parse_endpoint(text.substr(0, dash));
    const auto last = parse_port(text.substr(dash + 1));
    if (!first || !last || *last < first->port.host())
        return bad(text, "an address and two ports, the lower one first, such as 10.0.0.3:8000-8100");
    return net::EndpointRange{first->address, first->port, net::be16::from_host(*last)};
}

Result<net::EndpointRange> parse_rule_endpoint(std::string_view text) {
    if (const auto address = ip_address(text)) return net::EndpointRange{*address, {}, {}};
    return parse_endpoint_range(text);
}

Result<void> parse_external(std::string_view text, Rule& rule) {
    constexpr std::string_view kLink = "link:";
    if (!text.starts_with(kLink)) {
        return parse_rule_endpoint(text).map([&](const net::EndpointRange& external) {
            rule.external_link.reset();
            rule.external = external;
        });
    }
    const std::string_view rest = text.substr(kLink.size());
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    auto link = parse_link_name(rest.substr(0, colon));
    net::EndpointRange external{net::Ipv4Address{}, {}, {}};
    if (colon != rest.size()) {
        const auto ports = parse_endpoint_range("0.0.0.0" + std::string{rest.substr(colon)});
        if (!ports) link = tl::unexpected(ports.error());
        if (ports) external = *ports;
    }
    if (!link) return bad(text, "a link and a port or ports, such as link:wan:80");
    rule.external = external;
    if (!rule.link) rule.link = *link;
    rule.external_link = std::move(*link);
    return {};
}

std::string external_text(const Rule& rule) {
    if (!rule.external_link) return to_text(rule.external);
    std::string text = "link:" + *rule.external_link;
    if (!rule.external.is_whole_address()) text += fmt::format(":{}", rule.external.first.host());
    if (!rule.external.is_single()) text += fmt::format("-{}", rule.external.last.host());
    return text;
}

Result<std::vector<Target>> parse_targets(std::string_view text) {
    std::vector<Target> targets;
    for (std::string_view rest = text;;) {
        const std::size_t comma = rest.find(',');
        const std::string_view one = rest.substr(0, comma);
        const std::size_t star = one.find('*');
        const auto endpoint = parse_rule_endpoint(one.substr(0, star));
        if (!endpoint) return tl::unexpected(endpoint.error());
        Target target{.endpoint = *endpoint};
        if (star != std::string_view::npos) {
            const std::optional<unsigned> weight = decimal(one.substr(star + 1), Target::kMostWeight);
            if (!weight || *weight == 0)
                return bad(one, fmt::format("a weight of 1 to {} behind the star", Target::kMostWeight));
            target.weight = static_cast<std::uint16_t>(*weight);
        }
        targets.push_back(target);
        if (targets.size() > Rule::kMostTargets)
            return bad(text, fmt::format("at most {} targets", Rule::kMostTargets));
        if (comma == std::string_view::npos) return targets;
        rest.remove_prefix(comma + 1);
    }
}

Result<Existing> parse_existing(std::string_view text) {
    if (text == "keep") return Existing::keep;
    if (text == "drain") return Existing::drain;
    if (text == "kill") return Existing::kill;
    return bad(text, "'keep', 'drain' or 'kill'");
}

Result<Balance> parse_balance(std::string_view text) {
    for (const Balance balance : {Balance::round_robin, Balance::source_hash}) {
        if (text == to_text(balance)) return balance;
    }
    return bad(text, "'round-robin' or 'source-hash'");
}

Result<std::uint16_t> parse_port(std::string_view text) {
    const std::optional<unsigned> port = decimal(text, 65535);
    if (!port || *port == 0) return bad(text, "a port of 1 to 65535");
    return static_cast<std::uint16_t>(*port);
}

Result<net::IpPrefix> parse_prefix(std::string_view text) {
    const std::optional<AddressAndLength> parsed = address_and_length(text);
    if (!parsed) return bad(text, "a prefix such as 10.0.0.0/24 or 2001:db8::/32");
    const net::IpPrefix prefix = net::IpInterfaceAddress{parsed->address, parsed->length}.prefix();
    if (prefix.address != parsed->address) {
        return bad(text, fmt::format("no bits set behind the prefix length: {}", to_text(prefix)));
    }
    return prefix;
}

Result<net::IpInterfaceAddress> parse_interface_address(std::string_view text) {
    const std::optional<AddressAndLength> parsed = address_and_length(text);
    if (!parsed || parsed->length == 0) {
        return bad(text, "an address with its prefix length such as 10.0.0.2/24 or 2001:db8::2/64");
    }
    return net::IpInterfaceAddress{parsed->address, parsed->length};
}

Result<net::MacAddress> parse_mac(std::string_view text) {
    constexpr std::size_t kTextSize = 17;
    net::MacAddress mac;
    bool good = text.size() == kTextSize;
    for (std::size_t i = 0; good && i < mac.bytes.size(); ++i) {
        const char* first = text.data() + 3 * i;
        const auto [end, error] = std::from_chars(first, first + 2, mac.bytes[i], 16);
        good = error == std::errc{} && end == first + 2 && (i + 1 == mac.bytes.size() || *end == ':');
    }
    if (!good) return bad(text, "a MAC address such as 02:00:00:00:00:01");
    return mac;
}

Result<std::string> parse_name(std::string_view text) {
    if (!is_name(text, kLongestName))
        return bad(text, "1 to 63 letters, digits, dots, dashes or underscores");
    return std::string{text};
}

Result<std::string> parse_comment(std::string_view text) {
    if (text.size() > Rule::kLongestComment)
        return invalid({}, fmt::format("got {} bytes, want at most {}", text.size(), Rule::kLongestComment));
    for (std::string_view rest = text; !rest.empty();) {
        const std::size_t bytes = printable_character(rest);
        if (bytes == 0) return bad(text, "one line of UTF-8 text without control characters");
        rest.remove_prefix(bytes);
    }
    return std::string{text};
}

Result<std::string> parse_link_name(std::string_view text) {
    if (!is_name(text, 31)) return bad(text, "1 to 31 letters, digits, dots, dashes or underscores");
    return std::string{text};
}

Result<SourceMode> parse_source_mode(std::string_view text) {
    for (const SourceMode mode : {SourceMode::automatic, SourceMode::masquerade, SourceMode::preserve}) {
        if (text == to_text(mode)) return mode;
    }
    return bad(text, "'auto', 'masquerade' or 'preserve'");
}

std::string to_text(net::IpAddress address) {
    if (!address.is_v4()) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        inet_ntop(AF_INET6, address.v6().bytes.data(), text.data(), text.size());
        return text.data();
    }
    const std::uint32_t host = address.v4().value.host();
    return fmt::format("{}.{}.{}.{}", host >> 24, host >> 16 & 0xff, host >> 8 & 0xff, host & 0xff);
}

std::string to_text(const net::IpEndpoint& endpoint) {
    const std::string address = to_text(endpoint.address);
    if (endpoint.port == net::be16{}) return address;  // of a protocol without ports
    return endpoint.address.is_v4() ? fmt::format("{}:{}", address, endpoint.port.host())
                                    : fmt::format("[{}]:{}", address, endpoint.port.host());
}

std::string to_text(const net::Endpoint& endpoint) {
    return to_text(net::IpEndpoint{endpoint});
}

std::string to_text(const net::EndpointRange& range) {
    const std::string first = to_text(net::IpEndpoint{range.address, range.first});
    return range.is_single() ? first : fmt::format("{}-{}", first, range.last.host());
}

std::string to_text(const net::IpPrefix& prefix) {
    return fmt::format("{}/{}", to_text(prefix.address), prefix.length);
}

std::string to_text(const net::IpInterfaceAddress& address) {
    return fmt::format("{}/{}", to_text(address.address), address.length);
}

std::string to_text(const net::MacAddress& mac) {
    return fmt::format("{:02x}", fmt::join(mac.bytes, ":"));
}

std::string to_text(SourceMode mode) {
    switch (mode) {
        case SourceMode::automatic:
            return "auto";
        case SourceMode::masquerade:
            return "masquerade";
        case SourceMode::preserve:
            break;
    }
    return "preserve";
}

std::string to_text(Balance balance) {
    return balance == Balance::round_robin ? "round-robin" : "source-hash";
}

std::string to_text(const Target& target) {
    const std::string endpoint = to_text(target.endpoint);
    return target.weight == 1 ? endpoint : fmt::format("{}*{}", endpoint, target.weight);
}

std::string to_text(const std::vector<Target>& targets) {
    std::vector<std::string> texts;
    texts.reserve(targets.size());
    for (const Target& target : targets) texts.push_back(to_text(target));
    return fmt::format("{}", fmt::join(texts, ","));
}

std::string to_text(RuleOrigin origin) {
    switch (origin) {
        case RuleOrigin::config_file:
            return "config";
        case RuleOrigin::database:
            return "database";
        case RuleOrigin::runtime:
            break;
    }
    return "runtime";
}

std::string printable(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (c >= ' ' && c <= '~') {
            result += c;
        } else {
            result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return result;
}

std::string in_quotes(std::string_view text) {
    constexpr std::size_t kLongest = 64;
    return fmt::format("'{}{}'", printable(text.substr(0, kLongest)), text.size() > kLongest ? "..." : "");
}

std::string default_name(const Rule& rule) {
    std::string name = rule.tcp && rule.udp ? "tcp-udp" : protocols_text(rule);  // no '+' in a name
    std::string address = to_text(rule.external.address);
    std::ranges::replace(address, ':', '.');  // nor a ':'
    if (!rule.external_link) name += "-" + address;
    if (!rule.external.is_whole_address()) name += fmt::format("-{}", rule.external.first.host());
    if (!rule.external.is_single()) name += fmt::format("-{}", rule.external.last.host());
    if (rule.link) name += "-" + *rule.link;
    return name.substr(0, kLongestName);
}

std::string protocols_text(const Rule& rule) {
    if (rule.all) return to_text(net::Protocol::all);
    if (rule.tcp && rule.udp) return "tcp+udp";
    return rule.tcp ? "tcp" : "udp";
}

Result<void> parse_protocols(std::string_view text, Rule& rule) {
    if (text != "tcp" && text != "udp" && text != "tcp+udp" && text != "all")
        return bad(text, "'tcp', 'udp', 'tcp+udp' or 'all'");
    rule.all = text == "all";
    rule.tcp = text.starts_with("tcp");
    rule.udp = text.ends_with("udp");
    return {};
}

Result<void> check_ports(const Rule& rule) {
    const auto wrong = [&](std::string_view field, const net::EndpointRange& endpoint) -> Result<void> {
        if (endpoint.is_whole_address() == rule.all) return {};
        const std::string got = to_text(endpoint);
        if (rule.all) {
            return invalid(
                std::string{field},
                fmt::format("got {}, want an address alone, such as {}: protocol 'all' means every "
                            "port of it",
                            in_quotes(got), to_text(endpoint.address)));
        }
        return invalid(std::string{field},
                       fmt::format("got {}, want {}", in_quotes(got), with_a_port(endpoint.address)));
    };
    if (auto ok = wrong("external", rule.external); !ok) return ok;
    for (const Target& target : rule.targets) {
        if (auto ok = wrong("target", target.endpoint); !ok) return ok;
    }
    if (rule.outbound && !rule.all) {
        return invalid("outbound",
                       fmt::format("got true for {} of {}, want false (--outbound=false), or protocol 'all': "
                                   "under single ports nobody reaches the world",
                                   protocols_text(rule), to_text(rule.external)));
    }
    if (rule.all && rule.targets.size() > 1) {
        return invalid("target",
                       fmt::format("got {} targets, want one: protocol 'all' is 1:1", rule.targets.size()));
    }
    return {};
}

std::string to_text(net::Protocol protocol) {
    switch (protocol) {
        case net::Protocol::all:
            return "all";
        case net::Protocol::icmp:
            return "icmp";
        case net::Protocol::tcp:
            return "tcp";
        case net::Protocol::udp:
            return "udp";
        case net::Protocol::gre:
            return "gre";
        case net::Protocol::esp:
            return "esp";
        case net::Protocol::icmpv6:
            return "icmpv6";
    }
    return fmt::format("{}", static_cast<unsigned>(protocol));
}

std::string_view nearest(std::string_view word, const std::string_view* first, const std::string_view* last) {
    std::string_view best;
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const std::string_view* candidate = first; candidate != last; ++candidate) {
        if (word.size() > 2 * candidate->size() + 2) continue;  // far off, and perhaps megabytes long
        const std::size_t distance = edit_distance(word, *candidate);
        if (distance < best_distance) {
            best = *candidate;
            best_distance = distance;
        }
    }
    return best;
}

}  // namespace fwd::control
