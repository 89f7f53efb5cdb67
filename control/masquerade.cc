// SPDX-License-Identifier: BSD-3-Clause
#include "control/masquerade.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "control/text.h"
#include "control/topology.h"

namespace fwd::control {
namespace {

constexpr std::size_t kLongestName = 63;

/// Whether some address is in both. There may be many thousands of prefixes.
bool overlap(std::vector<net::IpPrefix> a, std::vector<net::IpPrefix> b) {
    std::ranges::sort(a, {}, &net::IpPrefix::address);
    std::ranges::sort(b, {}, &net::IpPrefix::address);
    for (auto one = a.begin(), other = b.begin(); one != a.end() && other != b.end();) {
        if (one->last() < other->address) {
            ++one;
        } else if (other->last() < one->address) {
            ++other;
        } else {
            return true;
        }
    }
    return false;
}

template <typename Values>
std::string quoted_list(const Values& values) {
    std::vector<std::string> texts;
    for (const auto& value : values) texts.push_back('"' + to_text(value) + '"');
    return fmt::format("{}", fmt::join(texts, ", "));
}

/// Hosts, external addresses and destinations are of one family; behind a link there may be both.
Result<void> check_families(const Masquerade& masquerade) {
    if (!masquerade.prefix) return {};
    const bool v4 = masquerade.prefix->address.is_v4();
    const auto no = [&](std::string field, const std::string& got) {
        return refused(std::move(field),
                       fmt::format("got {}, {}, for hosts of {}; want {}", got, v4 ? "IPv6" : "IPv4",
                                   to_text(*masquerade.prefix), v4 ? "IPv4" : "IPv6"));
    };
    for (std::size_t i = 0; i < masquerade.pool.size(); ++i) {
        if (masquerade.pool[i].is_v4() != v4)
            return no(fmt::format("pool[{}]", i), to_text(masquerade.pool[i]));
    }
    for (std::size_t i = 0; i < masquerade.to.size(); ++i) {
        if (masquerade.to[i].address.is_v4() != v4)
            return no(fmt::format("to[{}]", i), to_text(masquerade.to[i]));
    }
    return {};
}

Result<void> check_link(const std::string& name, const Topology& topology) {
    if (const Result<void> known = topology.check_link(name); !known)
        return not_found("inside", known.error().message);
    const std::string want = "want a prefix of hosts, such as 10.0.0.0/24";
    if (topology.links().size() == 1) {
        return refused("inside", fmt::format("got {}, the only link: its hosts can leave by no other; {}",
                                             in_quotes(name), want));
    }
    if (topology.has_default_route(name)) {
        return refused("inside", fmt::format("got {}, the link of a default route, behind which the whole "
                                             "world is; want another link, or a prefix",
                                             in_quotes(name)));
    }
    return {};
}

Result<void> check_prefix(const net::IpPrefix& prefix, const Topology& topology) {
    const std::string why = control::not_a_host(prefix.address);
    if (prefix.length == 0 || !why.empty()) {
        return refused("inside", fmt::format("got {}, {}; want a prefix of hosts, such as 10.0.0.0/24",
                                             to_text(prefix), prefix.length == 0 ? "everybody" : why));
    }
    // Routes that the kernel learns come and go.
    if (topology.egress(prefix.address) == nullptr && !topology.follows_kernel()) {
        return refused("inside", fmt::format("got {}, to which there is no route; want a prefix in a link's "
                                             "network, or a route to it in the configuration",
                                             to_text(prefix)));
    }
    return {};
}

Result<void> check_pool_address(const Masquerade& masquerade, std::size_t index, const Topology& topology) {
    const net::IpAddress address = masquerade.pool[index];
    const auto no = [&](const std::string& why) {
        return refused(fmt::format("pool[{}]", index), fmt::format("got {}, {}", to_text(address), why));
    };
    constexpr const char* kWant = "want an address that no other host has";
    if (const std::string why = topology.not_a_host(address); !why.empty())
        return no(fmt::format("{}; {}", why, kWant));
    if (!address.is_v4() && !topology.has_ipv6())
        return no("but no link has an IPv6 address; want an IPv4 address, or give a link an IPv6 one");
    if (const LinkSettings* own = topology.owner(address)) {
        return no(
            fmt::format("fwd's own address on link {}; want no pool to use own addresses, or an address "
                        "that nobody has",
                        own->name));
    }
    if (const std::string host = topology.named_host(address); !host.empty())
        return no(fmt::format("{}; {}", host, kWant));
    if (masquerade.prefix && masquerade.prefix->contains(address))
        return no(fmt::format("one of the inside hosts; {}", kWant));
    if (std::find(masquerade.pool.begin(), masquerade.pool.begin() + static_cast<std::ptrdiff_t>(index),
                  address) != masquerade.pool.begin() + static_cast<std::ptrdiff_t>(index)) {
        return no("twice; want each address once");
    }
    return {};
}

}  // namespace

std::string inside_text(const Masquerade& masquerade) {
    return masquerade.link ? *masquerade.link : to_text(*masquerade.prefix);
}

Result<void> parse_inside(std::string_view text, Masquerade& masquerade) {
    if (text.find('/') != std::string_view::npos) {
        return parse_prefix(text).map([&](net::IpPrefix prefix) { masquerade.prefix = prefix; });
    }
    const auto name = parse_link_name(text);
    const auto address = parse_address(text);
    if (!name || address) {
        const char* length = address && !address->is_v4() ? "/128" : "/32";
        return invalid({}, fmt::format("got {}, want a link's name or a prefix such as {}", in_quotes(text),
                                       address ? std::string{text} + length : "10.0.0.0/24"));
    }
    masquerade.link = *name;
    return {};
}

Result<Filtering> parse_filtering(std::string_view text) {
    for (const Filtering filtering : {Filtering::address_dependent, Filtering::endpoint_independent}) {
        if (text == to_text(filtering)) return filtering;
    }
    return invalid(
        {}, fmt::format("got {}, want 'address-dependent' or 'endpoint-independent'", in_quotes(text)));
}

std::string to_text(Filtering filtering) {
    return filtering == Filtering::address_dependent ? "address-dependent" : "endpoint-independent";
}

std::string default_name(const Masquerade& masquerade) {
    std::string inside = inside_text(masquerade);
    std::ranges::replace(inside, '/', '-');
    std::ranges::replace(inside, ':', '.');
    return ("masquerade-" + inside).substr(0, kLongestName);
}

std::string format_masquerades(const std::vector<Masquerade>& masquerades) {
    std::vector<std::string> groups;
    for (const Masquerade& m : masquerades) {
        std::string group = fmt::format(R"({{ name = "{}"; inside = "{}";)", m.name, inside_text(m));
        if (!m.pool.empty()) group += fmt::format(" pool = [ {} ];", quoted_list(m.pool));
        if (!m.to.empty()) group += fmt::format(" to = [ {} ];", quoted_list(m.to));
        if (m.filtering != Filtering::address_dependent)
            group += fmt::format(R"( filtering = "{}";)", to_text(m.filtering));
        for (const auto& [key, limit] : {std::pair{"max_ports_per_host", m.max_ports_per_host},
                                         {"max_sessions", m.max_sessions},
                                         {"max_sessions_per_source", m.max_sessions_per_source},
                                         {"rate", m.rate}}) {
            if (limit != 0) group += fmt::format(" {} = {};", key, limit);
        }
        if (!m.inbound_refresh) group += " inbound_refresh = false;";
        groups.push_back("    " + group + " }");
    }
    if (groups.empty()) return {};
    return fmt::format("masquerades = (\n{}\n);\n", fmt::join(groups, ",\n"));
}

bool is_same(const Masquerade& a, const Masquerade& b) {
    const auto members = [](const Masquerade& m) {
        return std::tie(m.name, m.link, m.prefix, m.pool, m.to, m.filtering, m.max_ports_per_host,
                        m.max_sessions, m.max_sessions_per_source, m.rate, m.inbound_refresh, m.origin);
    };
    return members(a) == members(b);
}

Result<void> check_masquerade(const Masquerade& masquerade, const Topology& topology) {
    if (auto ok = check_families(masquerade); !ok) return ok;
    const Result<void> inside =
        masquerade.link ? check_link(*masquerade.link, topology) : check_prefix(*masquerade.prefix, topology);
    if (!inside) return inside;
    for (std::size_t i = 0; i < masquerade.pool.size(); ++i) {
        if (auto ok = check_pool_address(masquerade, i, topology); !ok) return ok;
    }
    return {};
}

Result<void> check_pair(const Masquerade& masquerade, const Masquerade& other) {
    const auto reference = [&other] {
        const std::string origin = other.origin_text.empty() ? "" : fmt::format(" ({})", other.origin_text);
        return fmt::format("masquerade {}{}", in_quotes(other.name), origin);
    };
    if (masquerade.name == other.name) {
        return refused("name", fmt::format("got {}, the name of {} too; want a name of its own",
                                           in_quotes(masquerade.name), reference()));
    }
    if (masquerade.link != other.link || masquerade.prefix != other.prefix) return {};
    const bool tie = masquerade.to.empty() == other.to.empty() &&
                     (masquerade.to.empty() || overlap(masquerade.to, other.to));
    if (!tie) return {};
    return refused(
        masquerade.to.empty() ? "inside" : "to",
        fmt::format("got {} for masquerade {}, but {} has the same hosts {}; want other hosts, or "
                    "destinations of its own",
                    masquerade.to.empty() ? inside_text(masquerade) : to_text(masquerade.to.front()),
                    in_quotes(masquerade.name), reference(),
                    masquerade.to.empty() ? "for any destination" : "for some of these destinations"));
}

PoolCheck::PoolCheck(const Masquerade& masquerade) : masquerade_{masquerade}, sorted_{masquerade.pool} {
    std::ranges::sort(sorted_);
}

Result<void> PoolCheck::beside(const Rule& rule) const {
    const auto refuse = [&](net::IpAddress address, const char* what, const char* of_it) {
        const auto at = std::ranges::find(masquerade_.pool, address) - masquerade_.pool.begin();
        return refused(
            fmt::format("pool[{}]", at),
            fmt::format("got {}, {} rule {}{} {}; want an address that no other host has", to_text(address),
                        what, in_quotes(rule.name),
                        rule.origin_text.empty() ? "" : fmt::format(" ({})", rule.origin_text), of_it));
    };
    for (const Target& target : rule.targets) {
        if (std::ranges::binary_search(sorted_, target.endpoint.address))
            return refuse(target.endpoint.address, "the host that", "forwards to");
    }
    if (rule.all && std::ranges::binary_search(sorted_, rule.external.address))
        return refuse(rule.external.address, "the whole of which", "forwards");
    return {};
}

}  // namespace fwd::control
