// SPDX-License-Identifier: BSD-3-Clause
// The same random sequences of packets through fwd and through Linux's own NAT (nftables: DNAT, DNAT with
// masquerade, masquerade of hosts inside, and whole addresses both ways): what comes out is compared field by
// field. Where fwd means to do otherwise stands in kDifferences, with the reason; any other difference is a
// failure.
//
// FWD_SEQUENCES and FWD_SEED in the environment choose how many, and where they begin.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <optional>
#include <random>
#include <set>

#include "test/differential/kernel_nat.h"
#include "test/packet/networks.h"

namespace fwd::test {
namespace {

constexpr std::size_t kNats = 2;  // fwd, the kernel
enum Nat : std::size_t { fwd_nat, kernel_nat };

enum class Way {
    preserve,  ///< rules that keep the client's address
    full_nat,  ///< rules that masquerade
    outbound,  ///< clients inside, whom a masquerade leads out
    whole,     ///< the same, led out by rules for whole addresses
};
bool masquerades(Way way) {
    return way == Way::full_nat || way == Way::outbound;
}
bool leads_out(Way way) {
    return way == Way::outbound || way == Way::whole;
}
const char* client_link(Way way) {
    return leads_out(way) ? "lan" : "wan";
}
const char* server_link(Way way) {
    return leads_out(way) ? "wan" : "lan";
}
net::MacAddress mac_of(net::Ipv4Address host) {
    return host == "10.0.0.4"_ip ? mac(4) : host == "10.0.0.5"_ip ? mac(5) : kRouterMac;
}

struct Service {
    std::uint8_t protocol;
    net::Endpoint external, target;
};
constexpr std::uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;
constexpr std::array kServices{
    Service{kTcp, endpoint("192.0.2.3"_ip, 80), endpoint("10.0.0.4"_ip, 8080)},
    Service{kTcp, endpoint("192.0.2.1"_ip, 2222), endpoint("10.0.0.5"_ip, 22)},
    Service{kUdp, endpoint("192.0.2.3"_ip, 53), endpoint("10.0.0.4"_ip, 5353)},
    Service{kUdp, endpoint("192.0.2.3"_ip, 27015), endpoint("10.0.0.5"_ip, 27015)},
};

constexpr std::array kInsideHosts{"10.0.0.4"_ip, "10.0.0.5"_ip};
/// Of Way::whole: an inside host's own.
net::Ipv4Address whole_address_of(net::Ipv4Address host) {
    return host == "10.0.0.4"_ip ? "192.0.2.4"_ip : "192.0.2.5"_ip;
}

std::string text_of(net::Ipv4Address address) {
    const std::uint32_t host = address.value.host();
    return fmt::format("{}.{}.{}.{}", host >> 24U, host >> 16U & 0xffU, host >> 8U & 0xffU, host & 0xffU);
}
std::string text_of(net::Endpoint e) {
    return fmt::format("{}:{}", text_of(e.address), e.port.host());
}

std::string fwd_config(Way way) {
    std::string networks = kTwoArm.substr(0, kTwoArm.find("rules = "));
    if (way == Way::outbound) {
        // Mappings outlive the sequence that they were made in.
        networks.replace(networks.find("256"), 3, "16384");
        return networks + R"(masquerades = ( { inside = "lan"; } );)";
    }
    std::string rules;
    if (way == Way::whole) {
        networks.replace(networks.find("256"), 3, "16384");
        for (const auto host : kInsideHosts)
            rules +=
                fmt::format(R"({}{{ protocol = "all"; external = "{}"; target = "{}"; outbound = true; }})",
                            rules.empty() ? "" : ",", text_of(whole_address_of(host)), text_of(host));
        return networks + "rules = ( " + rules + " );";
    }
    for (const Service& service : kServices) {
        rules += fmt::format(R"({}{{ protocol = "{}"; external = "{}"; target = "{}"; source = "{}"; }})",
                             rules.empty() ? "" : ",", service.protocol == kTcp ? "tcp" : "udp",
                             text_of(service.external), text_of(service.target),
                             masquerades(way) ? "masquerade" : "preserve");
    }
    return networks + "rules = ( " + rules + " );";
}

/// Of a TCP segment that its tracking of connections does not believe the kernel tells its sender, by this
/// alone.
constexpr const char* kSayWhatIsInvalid =
    "ct state invalid meta l4proto tcp reject with icmp type admin-prohibited\nct state invalid drop";

std::string kernel_config(Way way) {
    std::string rules;
    for (const Service& service : kServices) {
        if (leads_out(way)) break;
        rules += fmt::format("ip daddr {} {} dport {} dnat to {}\n", text_of(service.external.address),
                             service.protocol == kTcp ? "tcp" : "udp", service.external.port.host(),
                             text_of(service.target));
    }
    std::string sources = way == Way::outbound   ? "oifname wan masquerade"
                          : way == Way::full_nat ? "oifname lan ct status dnat masquerade"
                                                 : "";
    for (const auto host : kInsideHosts) {
        if (way != Way::whole) break;
        const std::string inside = text_of(host), external = text_of(whole_address_of(host));
        rules += fmt::format("ip daddr {} dnat to {}\n", external, inside);
        sources += fmt::format("oifname wan ip saddr {} snat to {}\n", inside, external);
    }
    return fmt::format(R"(
        table ip test {{
            chain prerouting {{
                type nat hook prerouting priority dstnat
                {0}
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat
                {1}
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop
                {2}
                ct state established,related accept
                {3}
            }}
            chain input {{
                type filter hook input priority filter; policy drop
                {2}
            }}
        }})",
                       rules, sources, kSayWhatIsInvalid,
                       way == Way::outbound ? "iifname lan oifname wan accept"
                       : way == Way::whole  ? "iifname lan oifname wan accept\nct status dnat accept"
                                            : "ct status dnat accept");
}

/// An IPv4 packet with whatever is odd about it.
struct Packet {
    std::uint8_t protocol = kUdp;
    net::Endpoint source, destination;
    std::uint8_t ttl = 64, tos = 0;
    std::uint16_t id = 0, fragment = 0;
    std::uint8_t flags = 0;
    std::uint32_t sequence = 0, acknowledged = 0;
    Bytes options, payload;  // options: of TCP
    std::uint8_t icmp_type = 0, icmp_code = 0;
    std::uint32_t icmp_rest = 0;
    std::size_t padding = 0;
    /// Comes as fragments: where each begins within the IP payload, in the order in which they come.
    std::vector<std::size_t> pieces;
    enum class Lie {
        none,
        l4_checksum,
        no_udp_checksum,
        ip_checksum,
        l4_length,
        total_length,
        truncated
    } lie = Lie::none;

    Bytes l4() const {
        const auto put = [](Bytes& bytes, std::uint32_t value, int count) {
            for (int shift = 8 * (count - 1); shift >= 0; shift -= 8)
                bytes.push_back(static_cast<std::uint8_t>(value >> shift));
        };
        Bytes bytes;
        if (protocol != kIcmp) {
            put(bytes, source.port.host(), 2);
            put(bytes, destination.port.host(), 2);
        }
        std::size_t field = 2;
        const std::uint32_t longer = lie == Lie::l4_length ? 1 : 0;
        if (protocol == kTcp) {
            put(bytes, sequence, 4);
            put(bytes, acknowledged, 4);
            put(bytes, (longer != 0 ? 4 : 5 + static_cast<std::uint32_t>(options.size()) / 4) << 4U, 1);
            put(bytes, flags, 1);
            put(bytes, 8192, 2);
            field = bytes.size();
            put(bytes, 0, 4);
            bytes.insert(bytes.end(), options.begin(), options.end());
        } else if (protocol == kUdp) {
            put(bytes, static_cast<std::uint32_t>(8 + payload.size()) + longer, 2);
            field = bytes.size();
            put(bytes, 0, 2);
        } else {
            put(bytes, icmp_type, 1);
            put(bytes, icmp_code, 1);
            put(bytes, 0, 2);
            put(bytes, icmp_rest, 4);
        }
        bytes.insert(bytes.end(), payload.begin(), payload.end());
        Bytes summed;
        if (protocol != kIcmp) {
            put(summed, source.address.value.host(), 4);
            put(summed, destination.address.value.host(), 4);
            put(summed, protocol, 2);
            put(summed, static_cast<std::uint32_t>(bytes.size()), 2);
        }
        summed.insert(summed.end(), bytes.begin(), bytes.end());
        std::uint16_t sum = slow_checksum(summed);
        if (protocol == kUdp && sum == 0) sum = 0xffff;
        if (lie == Lie::l4_checksum) {
            sum = static_cast<std::uint16_t>(sum + 0x0101);
            if (sum == 0) sum = 0x0101;  // without a checksum UDP is not wrong
        }
        if (lie == Lie::no_udp_checksum && protocol == kUdp) sum = 0;
        bytes[field] = static_cast<std::uint8_t>(sum >> 8U);
        bytes[field + 1] = static_cast<std::uint8_t>(sum);
        return bytes;
    }
    Bytes frame(net::MacAddress from, net::MacAddress to) const {
        PacketBuilder builder;
        builder.from(from).to(to).ipv4(source.address, destination.address).ttl(ttl).identification(id);
        builder.fragment(fragment).protocol(protocol, l4()).padding(padding);
        if (lie == Lie::ip_checksum) builder.ip_checksum(0x1234);
        if (lie == Lie::total_length) builder.ip_total_bytes(1500);
        Bytes bytes = builder.bytes();
        if (lie == Lie::truncated) bytes.resize(14 + 20 + 6);
        return bytes;
    }
    std::vector<Bytes> frames(net::MacAddress from, net::MacAddress to) const {
        if (pieces.empty()) return {frame(from, to)};
        const Bytes whole = l4();
        std::vector<std::size_t> sorted = pieces;
        std::ranges::sort(sorted);
        std::vector<Bytes> frames;
        for (const std::size_t begin : pieces) {
            const auto next = std::ranges::upper_bound(sorted, begin);
            const std::size_t end = next == sorted.end() ? whole.size() : *next;
            const auto part = std::span{whole}.subspan(begin, end - begin);
            PacketBuilder builder;
            builder.from(from).to(to).ipv4(source.address, destination.address).ttl(ttl).identification(id);
            builder.fragment(static_cast<std::uint16_t>(begin / 8 | (end < whole.size() ? 0x2000U : 0U)));
            frames.push_back(builder.protocol(protocol, Bytes(part.begin(), part.end())).bytes());
        }
        return frames;
    }
};

std::uint32_t word(const Bytes& bytes, std::size_t at, std::size_t count = 2) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8U | bytes.at(at + i);
    return value;
}

/// The frames of a link with a packet that came as fragments made whole; as they are when a part is missing.
std::vector<Frame> made_whole(const std::vector<Frame>& frames) {
    const auto fragment_of = [](const Bytes& bytes) {
        return bytes.size() < 34 || word(bytes, 12) != 0x0800 ? 0 : word(bytes, 14 + 6) & 0x3fffU;
    };
    std::map<std::uint32_t, Bytes> parts;  // of the one that this step has sent
    std::vector<Frame> others;
    bool right = true, has_end = false;
    for (const Frame& frame : frames) {
        const std::uint32_t fragment = fragment_of(frame.bytes);
        if (fragment == 0) {
            others.push_back(frame);
            continue;
        }
        const std::size_t end = 14 + word(frame.bytes, 16);
        right =
            right && end <= frame.bytes.size() && slow_checksum(std::span{frame.bytes}.subspan(14, 20)) == 0;
        has_end = has_end || (fragment & 0x2000U) == 0;
        if (right) parts[fragment & 0x1fffU] = first(frame.bytes, end);
    }
    if (parts.empty()) return frames;
    Bytes whole;
    for (const auto& [offset, bytes] : parts) {
        if (whole.empty()) whole = first(bytes, 34);
        right = right && whole.size() == 34 + std::size_t{offset} * 8 &&
                std::equal(bytes.begin(), bytes.begin() + 14, whole.begin()) && bytes[22] == whole[22];
        whole.insert(whole.end(), bytes.begin() + 34, bytes.end());
    }
    if (!right || !has_end) return frames;
    const auto put = [&whole](std::size_t at, std::size_t value) {
        whole[at] = static_cast<std::uint8_t>(value >> 8U);
        whole[at + 1] = static_cast<std::uint8_t>(value);
    };
    put(16, whole.size() - 14);
    put(20, 0);
    put(24, 0);
    put(24, slow_checksum(std::span{whole}.subspan(14, 20)));
    others.push_back({whole});
    return others;
}

/// What a frame says, a field a line. A port that full NAT has chosen is called so: each NAT chooses its own.
class Description {
 public:
    Description(std::optional<net::Endpoint> chosen, std::uint8_t sent_protocol, bool is_renumbered)
        : chosen_{chosen}, sent_protocol_{sent_protocol}, is_renumbered_{is_renumbered} {}

    std::string of(const std::string& link, const Frame& frame) {
        text_ = "link " + link;
        const Bytes& bytes = frame.bytes;
        if (bytes.size() < 34 || word(bytes, 12) != 0x0800) return text_ + " not IPv4";
        field("to MAC", word(bytes, 2, 4));
        const Bytes ip(bytes.begin() + 14, bytes.end());
        const std::size_t header = (ip[0] & 0xfU) * std::size_t{4};
        // Of errors of their own the two fill in the header as they like.
        const bool is_own_error = ip[9] == kIcmp && sent_protocol_ != kIcmp;
        if (!is_own_error) {
            field("tos", ip[1]);
            if (!is_renumbered_) field("id", word(ip, 4));
            field("fragment", word(ip, 6));
            field("ttl", ip[8]);
        }
        field("bytes", word(ip, 2));
        field("behind the packet", static_cast<std::uint32_t>(ip.size() - word(ip, 2)));
        field("header checksum right", slow_checksum(std::span{ip}.first(header)) == 0 ? 1 : 0);
        add_packet(ip, header, true);
        return text_;
    }

 private:
    void field(const char* name, std::uint32_t value) { text_ += fmt::format("\n  {} {}", name, value); }
    void add_endpoint(const char* name, const Bytes& ip, std::size_t address_at, std::size_t port_at) {
        const auto e = endpoint(net::Ipv4Address::from_host(word(ip, address_at, 4)),
                                static_cast<std::uint16_t>(word(ip, port_at)));
        text_ += fmt::format("\n  {} {}", name, chosen_ == e ? "chosen" : text_of(e));
    }
    void add_packet(const Bytes& ip, std::size_t header, bool is_whole) {
        field("protocol", ip[9]);
        const Bytes l4(ip.begin() + static_cast<std::ptrdiff_t>(header), ip.end());
        if (ip[9] == kIcmp) {
            text_ += "\n  from " + text_of(net::Ipv4Address::from_host(word(ip, 12, 4))) + " to " +
                     text_of(net::Ipv4Address::from_host(word(ip, 16, 4)));
            field("type", l4[0]);
            field("code", l4[1]);
            // A query's identifier each NAT chooses for itself, as it does a port.
            if (l4[0] == 8 || l4[0] == 13) {
                field("sequence", word(l4, 6));
            } else {
                field("rest", word(l4, 4, 4));
            }
            field("checksum right", slow_checksum(l4) == 0 ? 1 : 0);
            if (l4.size() < 8 + 28) return;
            text_ += "\n  quoted:";
            add_packet(Bytes(l4.begin() + 8, l4.end()), 20, false);
            return;
        }
        add_endpoint("source", ip, 12, header);
        add_endpoint("destination", ip, 16, header + 2);
        const std::size_t sum_at = ip[9] == kTcp ? 16 : 6;
        if (is_whole) {
            Bytes summed(ip.begin() + 12, ip.begin() + 20);
            summed.insert(summed.end(), {0, ip[9], static_cast<std::uint8_t>(l4.size() >> 8U),
                                         static_cast<std::uint8_t>(l4.size())});
            summed.insert(summed.end(), l4.begin(), l4.end());
            const bool none = ip[9] == kUdp && word(l4, sum_at) == 0;
            field("checksum", none ? 2 : slow_checksum(summed) == 0 ? 1 : 0);
        }
        text_ += "\n  rest";
        for (std::size_t at = 4; at < l4.size(); ++at)
            if (at != sum_at && at != sum_at + 1) text_ += fmt::format(" {:02x}", l4[at]);
    }

    std::optional<net::Endpoint> chosen_;
    std::uint8_t sent_protocol_;
    bool is_renumbered_;
    std::string text_;
};

/// A client of a service, and what it has been through.
struct Conversation {
    Service service;
    net::Endpoint client;
    std::uint32_t client_sequence, server_sequence;
    /// As whom the server sees the client, by NAT.
    std::array<std::optional<net::Endpoint>, kNats> seen_as{};
    /// What the server and the client got last, by NAT: for ICMP errors to quote.
    std::array<Bytes, kNats> last_to_server{}, last_to_client{};
    /// The server's ports that the client has reached.
    std::set<std::uint16_t> called{};
    /// A FIN or a RST has been sent.
    bool has_ended = false;
    /// What the kernel keeps: who has begun, whether there was an answer, and whether it has deleted all of
    /// it.
    std::optional<bool> client_has_begun{};
    bool kernel_has_seen_answer = false, kernel_has_deleted = false;
    /// Types of ICMP's questions.
    std::set<unsigned> kernel_has_asked{};
    /// fwd alone has taken the first packet.
    bool began_with_wrong_checksum = false;
};

/// A packet to be sent, by NAT, since what the server says depends on whom it sees.
struct Action {
    std::string what;
    std::string link;
    Conversation* conversation = nullptr;
    std::array<Packet, kNats> packets;
    bool is_for_fwds_session_alone = false;
};

/// Whether a segment may have these flags, whatever its connection's state.
bool is_sent_by_tcp(std::uint8_t flags) {
    constexpr unsigned kUrg = 0x20;
    switch (flags & (kFin | kSyn | kRst | kAck | kUrg)) {
        case kSyn:
        case kSyn | kUrg:
        case kSyn | kAck:
        case kRst:
        case kRst | kAck:
        case kAck:
        case kAck | kUrg:
        case kFin | kAck:
        case kFin | kAck | kUrg:
            return true;
        default:
            return false;
    }
}

bool is_opening(std::uint8_t flags) {
    return (flags & (kFin | kSyn | kRst | kAck)) == kSyn;
}

/// Of a description of an ICMP packet.
std::string sender_of(const std::string& text) {
    const std::size_t begin = text.find("\n  from ") + 8;
    return text.substr(begin, text.find(" to ", begin) - begin);
}

struct Outcome {
    std::array<std::vector<std::string>, kNats> out;  // described
    const Action* action = nullptr;
    Way way = Way::preserve;
    bool kernel_calls_it_invalid = false;
    bool is_to_server() const { return action->link == client_link(way); }
    /// By whole addresses the world begins, too.
    bool may_ask() const { return is_to_server() || way == Way::whole; }
    const Packet& sent() const { return action->packets[fwd_nat]; }
    /// Fragments of several senders that leave by one address must not be mixed up (RFC 6864, section 5.3):
    /// fwd chooses their identification. The kernel leaves it.
    bool is_renumbered() const { return !sent().pieces.empty() && (way != Way::preserve || !is_to_server()); }
    /// With the kernel silent, fwd sends what has been sent, translated as the session is.
    bool only_fwd_translates() const {
        const Conversation& c = *action->conversation;
        if (!out[kernel_nat].empty() || !c.seen_as[fwd_nat]) return false;
        const bool to_server = is_to_server();
        Packet expected = sent();
        --expected.ttl;
        expected.padding = 0;
        expected.pieces.clear();
        if (to_server) {
            expected.source = *c.seen_as[fwd_nat];
            if (!leads_out(way)) expected.destination = c.service.target;
        } else {
            if (!leads_out(way)) expected.source = c.service.external;
            expected.destination = c.client;
        }
        Description description{masquerades(way) ? c.seen_as[fwd_nat] : std::nullopt, expected.protocol,
                                is_renumbered()};
        return out[fwd_nat] ==
               std::vector{description.of(to_server ? server_link(way) : client_link(way),
                                          {expected.frame({}, mac_of(expected.destination.address))})};
    }
    bool is_of_its_session() const {
        const Conversation& c = *action->conversation;
        if (leads_out(way) && is_to_server()) return c.called.contains(sent().destination.port.host());
        if (way == Way::whole && sent().protocol == kTcp && !is_opening(sent().flags) &&
            !c.called.contains(sent().source.port.host()))
            return false;
        return c.seen_as[fwd_nat] &&
               sent().destination == (is_to_server() ? c.service.external : *c.seen_as[fwd_nat]);
    }
    bool only_fwd_sends() const { return out[kernel_nat].empty() && out[fwd_nat].size() == 1; }
    bool only_fwd_lets_expire() const {
        return sent().ttl <= 1 && only_fwd_sends() && action->conversation->seen_as[fwd_nat] &&
               out[fwd_nat][0].find("type 11") != std::string::npos;
    }
    bool both_let_expire() const {
        const auto expires = [](const std::vector<std::string>& sent) {
            return sent.size() == 1 && sent[0].find("type 11") != std::string::npos;
        };
        return sent().ttl <= 1 && expires(out[fwd_nat]) && expires(out[kernel_nat]);
    }
    bool differ_in_sender_alone() const {
        if (out[fwd_nat].size() != 1 || out[kernel_nat].size() != 1) return false;
        std::string text = out[fwd_nat][0];
        const std::size_t at = text.find("\n  from ");
        if (at == std::string::npos) return false;
        return text.replace(at + 8, sender_of(text).size(), sender_of(out[kernel_nat][0])) ==
               out[kernel_nat][0];
    }
    bool only_kernel_sends() const { return out[fwd_nat].empty() && out[kernel_nat].size() == 1; }
};

/// Where the two may differ: whatever is not described here must be equal. In the ways that are named, and
/// there each one comes up.
struct Difference {
    const char* name;
    const char* reason;
    std::vector<Way> ways;
    bool (*applies)(const Outcome&);
};
const std::vector kAllWays{Way::preserve, Way::full_nat, Way::outbound, Way::whole};
const std::vector kRules{Way::preserve, Way::full_nat, Way::whole};
const std::vector kOneBegins{Way::preserve, Way::full_nat, Way::outbound};
const std::vector kInside{Way::outbound, Way::whole};
const Difference kDifferences[] = {
    {"flags that no segment has pass",
     "what a segment means is left to the two hosts; the kernel calls invalid what TCP never sends", kAllWays,
     [](const Outcome& o) {
         return (o.only_fwd_translates() || o.only_fwd_lets_expire()) && o.kernel_calls_it_invalid &&
                o.sent().lie == Packet::Lie::none && !is_sent_by_tcp(o.sent().flags);
     }},
    {"segments that TCP's state does not foresee pass",
     "RFC 5382 and 7857 ask for timers by state alone; what a segment means is left to the two hosts, who "
     "know the windows. The kernel says of it that its table of states calls it invalid",
     kAllWays,
     [](const Outcome& o) {
         return (o.only_fwd_translates() || o.only_fwd_lets_expire()) && o.kernel_calls_it_invalid &&
                o.sent().lie == Packet::Lie::none && is_sent_by_tcp(o.sent().flags);
     }},
    {"a server's SYN passes in a session that has ended",
     "it lives on for a while (T11; RFC 7857, section 2.2), and who begins again is the hosts' business; the "
     "kernel has "
     "deleted it, and takes the SYN for a connection of the server's own",
     kOneBegins,
     [](const Outcome& o) {
         return (o.only_fwd_translates() || o.only_fwd_lets_expire()) && !o.is_to_server() &&
                o.sent().protocol == kTcp && o.sent().lie == Packet::Lie::none &&
                is_opening(o.sent().flags) && o.action->conversation->kernel_has_deleted;
     }},
    {"a wrong TCP or UDP checksum stays wrong",
     "the receiving host finds it and counts it; the kernel does not track such a packet", kAllWays,
     [](const Outcome& o) { return o.only_fwd_translates() && o.sent().lie == Packet::Lie::l4_checksum; }},
    {"a router outside keeps its address in its ICMP errors",
     "who is behind fwd sees who complains, as without full NAT (RFC 5508, section 4.2.1, translates what is "
     "quoted and the destination); the kernel's masquerade puts its own address there",
     {Way::full_nat},
     [](const Outcome& o) {
         return o.differ_in_sender_alone() && o.sent().protocol == kIcmp &&
                sender_of(o.out[fwd_nat][0]) == text_of(o.sent().source.address) &&
                sender_of(o.out[kernel_nat][0]) == "10.0.0.1";
     }},
    {"nobody is told that the TTL of what nothing explains has run out",
     "fwd answers for its rules and sessions alone: to everybody else there is nothing here. The kernel "
     "looks at the TTL of whatever it would route",
     kAllWays,
     [](const Outcome& o) {
         return o.only_kernel_sends() && o.sent().ttl <= 1 && !o.is_of_its_session() &&
                o.out[kernel_nat][0].find("type 11") != std::string::npos;
     }},
    {"errors of fwd's own come from its own address",
     "a TTL runs out at fwd, not at the address that has been called (I10); the kernel turns the sender of "
     "its own errors into that, as it does with the target's",
     kRules,
     [](const Outcome& o) {
         return o.differ_in_sender_alone() && o.sent().protocol != kIcmp && o.sent().ttl <= 1 &&
                o.out[fwd_nat][0].find("type 11") != std::string::npos &&
                sender_of(o.out[fwd_nat][0]) == (o.action->link == "wan" ? "192.0.2.1" : "10.0.0.1");
     }},
    {"errors about a TCP session that has ended arrive",
     "it lives on for a while (T11; RFC 7857, section 2.2); the kernel deletes what a RST meets before an "
     "answer, and what a SYN meets afterwards",
     kAllWays,
     [](const Outcome& o) {
         return o.only_fwd_sends() && o.sent().protocol == kIcmp &&
                o.action->conversation->service.protocol == kTcp &&
                o.action->conversation->kernel_has_deleted;
     }},
    {"a packet with a wrong checksum opens a session",
     "fwd does not sum what passes: the session is unanswered until the host behind it has taken a packet "
     "for good",
     kOneBegins,
     [](const Outcome& o) {
         const Conversation& c = *o.action->conversation;
         const bool has_begun_at_fwd_alone = o.action->is_for_fwds_session_alone || !c.seen_as[kernel_nat];
         return c.began_with_wrong_checksum && has_begun_at_fwd_alone &&
                (o.only_fwd_translates() || o.only_fwd_lets_expire() || o.both_let_expire()) &&
                o.sent().protocol != kIcmp;
     }},
    {"whom a host has sent to may send back from any port",
     "filtering is by address (RFC 4787, REQ-8; U8); the kernel's is by address and port",
     {Way::outbound},
     [](const Outcome& o) {
         const Conversation& c = *o.action->conversation;
         return (o.only_fwd_translates() || o.only_fwd_lets_expire()) && !o.is_to_server() &&
                o.sent().source.address == c.service.target.address && !c.called.empty() &&
                !c.called.contains(o.sent().source.port.host());
     }},
    {"of ICMP's questions only echo and timestamps are led out",
     "nobody asks for information and address masks any more (RFC 6918); the kernel tracks these, too",
     kInside,
     [](const Outcome& o) {
         const std::uint8_t type = o.sent().icmp_type;
         if (!o.only_kernel_sends() || o.sent().protocol != kIcmp) return false;
         if (o.may_ask() && (type == 15 || type == 17)) return true;
         return type > 15 && o.action->conversation->kernel_has_asked.contains(type - 1U);
     }},
};

class Differential : public ::testing::Test {
 protected:
    /// Enough for each of the intended differences to come up.
    static constexpr std::uint32_t kSequences = 700;
#if defined(FWD_ADDRESS_SANITIZER)
    static constexpr std::uint32_t kUsualSequences = 100;
#else
    static constexpr std::uint32_t kUsualSequences = kSequences;
#endif

    Differential() : seed_{number("FWD_SEED", 3022)}, sequences_{number("FWD_SEQUENCES", kUsualSequences)} {}

    static std::uint32_t number(const char* variable, std::uint32_t otherwise) {
        const char* text = std::getenv(variable);
        return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
    }

    void compare(Way way);

 private:
    void run_sequence(std::uint32_t seed, std::uint32_t index);
    Action choose(std::vector<Conversation>& conversations, std::vector<Action>& past);
    Action client_says(Conversation& c);
    Action server_says(Conversation& c);
    std::optional<Action> error(Conversation& c);
    Action nonsense(Conversation& c);
    void fill(Packet& packet, Conversation& c, bool from_client);
    void cut(Packet& packet);
    static void note_state(Conversation& c, const Outcome& outcome, bool kernel_has_translated);
    void perform(const Action& action, const std::string& where);
    std::uint32_t random(std::uint32_t below) {
        return static_cast<std::uint32_t>(random_()) % below;
    }

    std::uint32_t seed_, sequences_;
    std::mt19937 random_;
    Way way_ = Way::preserve;
    Box* box_ = nullptr;
    KernelNat* kernel_ = nullptr;
    std::map<std::string, unsigned> differences_;
    std::uint64_t packets_ = 0, forwarded_ = 0;
};

void Differential::fill(Packet& packet, Conversation& c, bool from_client) {
    packet.protocol = c.service.protocol;
    packet.id = static_cast<std::uint16_t>(random_());
    if (random(8) == 0) packet.tos = static_cast<std::uint8_t>(random(256));
    if (random(4) == 0) packet.fragment = 0x4000;
    if (random(6) == 0) packet.ttl = static_cast<std::uint8_t>(2 + random(254));
    packet.payload.resize(random(3) == 0 ? 0 : random(20) == 0 ? 1 + random(1400) : random(33));
    for (auto& byte : packet.payload) byte = static_cast<std::uint8_t>(random_());
    if (packet.payload.size() < 18 && random(2) == 0) packet.padding = 18 - packet.payload.size();
    if (packet.protocol != kTcp) {
        if (random(8) == 0) packet.lie = Packet::Lie::no_udp_checksum;
        if (random(4) == 0) cut(packet);
        return;
    }
    constexpr std::array<std::uint8_t, 10> kUsual{kSyn,        kSyn | kAck,       kAck,        kAck | kPsh,
                                                  kAck,        kAck | kPsh,       kFin | kAck, kRst,
                                                  kRst | kAck, kFin | kAck | kPsh};
    packet.flags = random(12) == 0 ? static_cast<std::uint8_t>(random_()) : kUsual[random(kUsual.size())];
    packet.options.resize(random(3) == 0 ? 4 * random(11) : 0, 1);
    auto& own = from_client ? c.client_sequence : c.server_sequence;
    packet.sequence = own;
    packet.acknowledged = from_client ? c.server_sequence : c.client_sequence;
    if (random(4) == 0) cut(packet);
    own += static_cast<std::uint32_t>(packet.payload.size()) + ((packet.flags & (kSyn | kFin)) != 0 ? 1 : 0);
}

/// Into fragments in any order. Linux takes none whose header does not lie in the first one; nor does fwd.
void Differential::cut(Packet& packet) {
    const std::size_t header = packet.protocol == kTcp ? (20 + packet.options.size() + 7) / 8 * 8 : 8;
    const std::size_t bytes = packet.l4().size();
    if (bytes <= header) return;
    packet.fragment = 0;
    packet.padding = 0;
    packet.tos = 0;
    packet.pieces = {0};
    for (std::size_t begin = header; begin < bytes; begin += 8 * (1 + random(40)))
        packet.pieces.push_back(begin);
    std::ranges::shuffle(packet.pieces, random_);
}

Action Differential::client_says(Conversation& c) {
    Packet packet;
    fill(packet, c, true);
    // Mostly a conversation as it should be; the rest in any order.
    if (packet.protocol == kTcp && !c.seen_as[fwd_nat] && random(4) != 0) packet.flags = kSyn;
    packet.source = c.client;
    packet.destination = c.service.external;
    return {"client", client_link(way_), &c, {packet, packet}};
}

Action Differential::server_says(Conversation& c) {
    Packet packet;
    fill(packet, c, false);
    packet.source = c.service.target;
    Action action{"server", server_link(way_), &c, {packet, packet}};
    for (std::size_t nat = 0; nat < kNats; ++nat)
        action.packets[nat].destination =
            c.seen_as[nat].value_or(way_ == Way::whole ? c.seen_as[fwd_nat].value_or(c.client) : c.client);
    action.is_for_fwds_session_alone = c.seen_as[fwd_nat] && !c.seen_as[kernel_nat];
    return action;
}

/// An ICMP error about what either side got last, from it or from a router on the way.
std::optional<Action> Differential::error(Conversation& c) {
    const bool from_server = random(2) == 0;
    const bool from_inside = from_server != leads_out(way_);
    const auto& quoted = from_server ? c.last_to_server : c.last_to_client;
    if (quoted[fwd_nat].empty() || quoted[kernel_nat].empty()) return {};
    Packet packet;
    packet.protocol = kIcmp;
    packet.id = static_cast<std::uint16_t>(random_());
    constexpr std::array<std::array<std::uint8_t, 2>, 6> kErrors{
        {{3, 0}, {3, 1}, {3, 3}, {3, 4}, {11, 0}, {12, 0}}};
    const auto& [type, code] = kErrors[random(kErrors.size())];
    packet.icmp_type = type;
    packet.icmp_code = code;
    packet.icmp_rest = type == 3 && code == 4 ? 1280 : 0;
    // A router before the server has an address there; fwd does not believe it from outside.
    packet.source.address = random(2) == 0 ? (from_server ? c.service.target : c.client).address
                            : from_inside  ? "10.0.0.77"_ip
                                           : "198.51.100.99"_ip;
    const std::size_t bytes = random(2) == 0 ? 28 : 28 + 2 * random(40);
    Action action{from_inside ? "error from inside" : "error from outside",
                  from_inside ? "lan" : "wan",
                  &c,
                  {packet, packet}};
    for (std::size_t nat = 0; nat < kNats; ++nat) {
        action.packets[nat].destination.address =
            from_server ? c.seen_as[nat].value_or(c.client).address : c.service.external.address;
        action.packets[nat].payload = first(quoted[nat], bytes);
    }
    return action;
}

/// What explains nothing, or is broken.
Action Differential::nonsense(Conversation& c) {
    Action action = random(3) == 0 ? server_says(c) : client_says(c);
    action.what += ", odd";
    // The server's other ports are of interest where only its address counts.
    const bool from_server = action.link == server_link(way_);
    const std::uint32_t kind = random(leads_out(way_) && from_server ? 10 : 9);
    // Hosts inside may be anybody's clients.
    const auto stranger = leads_out(way_) && !from_server ? "198.51.100.200"_ip : "10.0.0.9"_ip;
    const std::uint32_t any = static_cast<std::uint32_t>(random_());
    for (Packet& packet : action.packets) {
        packet.pieces.clear();
        switch (kind) {
            case 0:
                // Below those that Linux gives to sessions: what it remembers is not forgotten between
                // sequences.
                packet.destination.port = net::be16::from_host(static_cast<std::uint16_t>(600 + any % 400));
                break;
            case 1:
                packet.lie = Packet::Lie::l4_checksum;
                break;
            case 2:
                packet.lie = Packet::Lie::ip_checksum;
                break;
            case 3:
                packet.lie = Packet::Lie::l4_length;
                break;
            case 4:
                packet.lie = Packet::Lie::total_length;
                break;
            case 5:
                packet.lie = Packet::Lie::truncated;
                break;
            case 6:
                packet.ttl = static_cast<std::uint8_t>(any % 2);
                break;
            case 7:
                packet.source.address =
                    std::array{"127.0.0.1"_ip, "224.0.0.5"_ip, stranger,
                               "192.0.2.1"_ip, "0.0.0.0"_ip,   "255.255.255.255"_ip}[any % 6];
                break;
            case 9:
                packet.source.port = net::be16::from_host(static_cast<std::uint16_t>(600 + any % 400));
                break;
            default:
                packet.protocol = kIcmp;
                packet.icmp_type = static_cast<std::uint8_t>(any % 20);
                // Of an identifier of 0 fwd can't tell a question from the other side's answer.
                if (way_ == Way::whole) packet.icmp_rest = from_server ? 0x10000 : 0x20000;
                // An answer would have to name what each NAT has chosen.
                if (leads_out(way_) && from_server && (packet.icmp_type == 0 || packet.icmp_type == 14)) {
                    packet.icmp_type = 20;
                }
                break;
        }
    }
    return action;
}

Action Differential::choose(std::vector<Conversation>& conversations, std::vector<Action>& past) {
    Conversation& c = conversations[random(static_cast<std::uint32_t>(conversations.size()))];
    switch (random(10)) {
        case 0:
            if (!past.empty()) {
                Action again = past[random(static_cast<std::uint32_t>(past.size()))];
                again.what += ", again";
                return again;
            }
            [[fallthrough]];
        case 1:
            if (auto made = error(c)) return *made;
            [[fallthrough]];
        case 2:
            return nonsense(c);
        case 3:
        case 4:
        case 5:
            return server_says(c);
        default:
            return client_says(c);
    }
}

/// What the kernel deletes and fwd does not: what a RST meets before an answer, and what has ended and meets
/// a SYN.
void Differential::note_state(Conversation& c, const Outcome& outcome, bool kernel_has_translated) {
    const Packet& sent = outcome.sent();
    if (!c.seen_as[kernel_nat] && c.seen_as[fwd_nat] && sent.lie == Packet::Lie::l4_checksum)
        c.began_with_wrong_checksum = true;
    if (sent.protocol == kIcmp && outcome.may_ask() && !outcome.out[kernel_nat].empty())
        c.kernel_has_asked.insert(sent.icmp_type);
    if (sent.protocol != kTcp) return;
    if ((sent.flags & kRst) != 0 && !c.kernel_has_seen_answer) c.kernel_has_deleted = true;
    if (is_opening(sent.flags) && c.has_ended) c.kernel_has_deleted = true;
    // By whole addresses every other port begins a connection of its own.
    const auto is_in = [&](net::be16 client, net::be16 server) {
        return outcome.way != Way::whole || (client == c.client.port && server == c.service.target.port);
    };
    const bool client_speaks = outcome.is_to_server();
    if (kernel_has_translated && (client_speaks ? is_in(sent.source.port, sent.destination.port)
                                                : is_in(sent.destination.port, sent.source.port))) {
        if (c.client_has_begun.value_or(client_speaks) != client_speaks) c.kernel_has_seen_answer = true;
        if (!c.client_has_begun) c.client_has_begun = client_speaks;
    }
    if ((sent.flags & (kFin | kRst)) != 0) c.has_ended = true;
}

void Differential::perform(const Action& action, const std::string& where) {
    Conversation& c = *action.conversation;
    const net::MacAddress sender =
        mac_of((action.link == client_link(way_) ? c.client : c.service.target).address);
    Outcome outcome;
    outcome.action = &action;
    outcome.way = way_;
    std::array<Bytes, kNats> translated;
    ++packets_;
    const Packet& sent = action.packets[fwd_nat];
    // With another port, if the old one has not been given back yet.
    const auto kernel_begins_anew = [&](std::size_t nat) {
        return nat == kernel_nat && sent.protocol == kTcp && is_opening(sent.flags) &&
               (c.has_ended || c.kernel_has_deleted);
    };
    for (std::size_t nat = 0; nat < kNats; ++nat) {
        const Packet& packet = action.packets[nat];
        if (nat == fwd_nat) {
            for (const Bytes& frame : packet.frames(sender, box_->mac_of(action.link)))
                box_->put(action.link, frame);
            box_->settle();
        } else {
            for (const Bytes& frame : packet.frames(sender, kernel_->mac_of(action.link)))
                kernel_->put(action.link, frame);
        }
        for (const std::string link : {"wan", "lan"}) {
            for (const Frame& frame : made_whole(nat == fwd_nat ? box_->take(link) : kernel_->take(link))) {
                const Bytes ip(frame.bytes.begin() + 14, frame.bytes.end());
                if (nat == kernel_nat && link == action.link && ip.at(9) == kIcmp && ip.at(20) == 3 &&
                    ip.at(21) == 13) {
                    outcome.kernel_calls_it_invalid = true;
                    continue;
                }
                const bool is_translated = ip.at(9) != kIcmp && link != action.link;
                if (is_translated && link == server_link(way_) &&
                    (!c.seen_as[nat] || kernel_begins_anew(nat)))
                    c.seen_as[nat] = look_into(frame).source.v4();
                if (is_translated) translated[nat] = ip;
                outcome.out[nat].push_back(Description{masquerades(way_) ? c.seen_as[nat] : std::nullopt,
                                                       packet.protocol, outcome.is_renumbered()}
                                               .of(link, frame));
            }
        }
    }
    note_state(c, outcome, !translated[kernel_nat].empty());
    if (outcome.is_to_server() && !translated[kernel_nat].empty())
        c.called.insert(sent.destination.port.host());
    // The same for both to quote.
    if (!translated[fwd_nat].empty() && !translated[kernel_nat].empty())
        (outcome.is_to_server() ? c.last_to_server : c.last_to_client) = translated;
    forwarded_ += outcome.out[kernel_nat].size();
    if (outcome.out[fwd_nat] == outcome.out[kernel_nat]) return;
    for (const Difference& difference : kDifferences) {
        if (std::ranges::find(difference.ways, way_) == difference.ways.end()) continue;
        if (!difference.applies(outcome)) continue;
        ++differences_[difference.name];
        return;
    }
    const auto all = [](const std::vector<std::string>& frames) {
        std::string text;
        for (const std::string& frame : frames) text += frame + "\n";
        return text.empty() ? std::string{"nothing\n"} : text;
    };
    ADD_FAILURE() << where << ": " << action.what << "\nsent by " << action.link << ":\n"
                  << Frame{action.packets[kernel_nat].frame(sender, {})} << "\nthe kernel sends:\n"
                  << all(outcome.out[kernel_nat]) << "fwd sends:\n"
                  << all(outcome.out[fwd_nat]);
}

void Differential::run_sequence(std::uint32_t seed, std::uint32_t index) {
    random_.seed(seed);
    std::vector<Conversation> conversations;
    for (std::uint32_t i = 0; i < 1 + random(3); ++i) {
        const auto outside = net::Ipv4Address::from_host(0xc6120000U + index * 4 % 0x20000 + i);
        const auto port = static_cast<std::uint16_t>(1024 + random(60000));
        Service service = kServices[random(kServices.size())];
        net::Endpoint client = endpoint(outside, port);
        if (leads_out(way_)) {
            // Each on its own; the same inside endpoint may talk to several.
            service.target.address = service.external.address = outside;
            service.external.port = service.target.port;
            client = random(3) == 0 && i != 0
                         ? conversations[0].client
                         : endpoint(random(2) == 0 ? "10.0.0.4"_ip : "10.0.0.5"_ip, port);
        }
        conversations.push_back(
            {service, client, static_cast<std::uint32_t>(random_()), static_cast<std::uint32_t>(random_())});
    }
    std::vector<Action> past;
    const std::uint32_t steps = 4 + random(30);
    for (std::uint32_t step = 0; step < steps && !HasFailure(); ++step) {
        past.push_back(choose(conversations, past));
        perform(past.back(), fmt::format("FWD_SEED={} FWD_SEQUENCES=1, packet {}", seed, step));
    }
    box_->clear_sessions();
    box_->pass(std::chrono::seconds{2});
    box_->expect_every_packet_accounted_for();
}

void Differential::compare(Way way) {
    way_ = way;
    Box box{fwd_config(way)};
    KernelNat kernel{kernel_config(way)};
    box_ = &box;
    kernel_ = &kernel;
    std::cout << "seeds " << seed_ << " to " << seed_ + sequences_ - 1 << "\n";
    for (std::uint32_t index = 0; index < sequences_ && !HasFailure(); ++index)
        run_sequence(seed_ + index, index);
    std::cout << packets_ << " packets, of which the kernel forwards " << forwarded_
              << "; intended differences:\n";
    for (const Difference& difference : kDifferences) {
        if (std::ranges::find(difference.ways, way) == difference.ways.end()) continue;
        const unsigned count = differences_[difference.name];
        std::cout << fmt::format("{:6}  {}: {}\n", count, difference.name, difference.reason);
        if (sequences_ >= kSequences) {
            EXPECT_GT(count, 0U) << "is there no such difference any more? " << difference.name;
        }
    }
}

/// P1, P4, P5, I3, I4, I5, T9, T10: as Linux does it.
TEST_F(Differential, RulesThatKeepTheClientsAddressAreTheKernelsDnat) {
    compare(Way::preserve);
}

/// P1, P4, P5, I3, I4, I5, T9, T10, S3: as Linux does it.
TEST_F(Differential, RulesOfFullNatAreTheKernelsDnatWithMasquerade) {
    compare(Way::full_nat);
}

/// P1, P4, P5, I3, I4, I5, T9, T10, U1: as Linux does it.
TEST_F(Differential, MasqueradeIsTheKernels) {
    compare(Way::outbound);
}

/// P1, P4, P5, I3, I4, I5, T9, T10, L1: as Linux does it.
TEST_F(Differential, WholeAddressesAreTheKernelsSnatAndDnat) {
    compare(Way::whole);
}

}  // namespace
}  // namespace fwd::test
