// SPDX-License-Identifier: BSD-3-Clause
#include "control/punts.h"

#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/icmp_error.h"
#include "dataplane/icmpv6_error.h"
#include "dataplane/neighbour_discovery.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"

namespace fwd::control {
namespace {

using dataplane::Verdict;

constexpr unsigned kAtOnce = 256;
constexpr std::uint8_t kPortUnreachable = 3, kProhibited = 13;         // codes of kIcmpUnreachable
constexpr std::uint8_t kIpv6Prohibited = 1, kIpv6PortUnreachable = 4;  // and of kIcmpv6Unreachable
constexpr std::uint8_t kTtl = 64;
constexpr std::size_t kErrorBytes = 576;  ///< of a whole ICMP error at most, RFC 1812 section 4.3.2.3
constexpr std::size_t kErrorHeaderBytes = sizeof(rte_ipv4_hdr) + sizeof(rte_icmp_hdr);

bool is_ipv6(rte_mbuf* packet) {
    const std::uint16_t l3 = dataplane::punt_note(*packet).l3_offset;
    return *rte_pktmbuf_mtod_offset(packet, const std::uint8_t*, l3) >> 4U == 6;
}

/// Questions are for fwd to answer.
bool is_arp_answer(rte_mbuf& packet) {
    const auto* arp =
        rte_pktmbuf_mtod_offset(&packet, const std::uint8_t*, dataplane::punt_note(packet).l3_offset);
    return !dataplane::is_arp_request(arp);
}

bool is_advertisement(rte_mbuf& packet) {
    const dataplane::PuntNote& note = dataplane::punt_note(packet);
    return *rte_pktmbuf_mtod_offset(&packet, const std::uint8_t*, note.l3_offset + note.l4_offset) ==
           dataplane::kNeighbourAdvertisement;
}

net::MacAddress source_mac(const rte_mbuf* packet) {
    net::MacAddress mac;
    std::memcpy(mac.bytes.data(), rte_pktmbuf_mtod_offset(packet, const std::uint8_t*, 6), 6);
    return mac;
}

void set_checksum(std::uint8_t* field, const std::uint8_t* data, std::size_t bytes) {
    std::memset(field, 0, 2);
    const std::uint16_t sum = net::checksum(data, bytes);
    std::memcpy(field, &sum, sizeof sum);
}

}  // namespace

unsigned Punts::poll(Neighbours::Clock::time_point now) {
    std::array<rte_mbuf*, kAtOnce> packets{};
    const unsigned count = dataplane_.take_punts(packets);
    const auto mtu_of = [this](const dataplane::PuntNote& note) {
        return note.mtu != 0 ? note.mtu : dataplane_.links()[note.egress.value].mtu;
    };
    for (rte_mbuf* packet : std::span{packets}.first(count)) {
        const dataplane::PuntNote& note = dataplane::punt_note(*packet);
        switch (note.why) {
            case Verdict::punt_host:
                if (host_ != nullptr) {
                    host_->deliver(packet);
                } else {
                    rte_pktmbuf_free(packet);
                }
                break;
            case Verdict::punt_arp:
                if (host_ != nullptr && is_arp_answer(*packet)) host_->show(*packet);
                neighbours_.handle_arp(packet, now);
                break;
            case Verdict::punt_nd:
                if (host_ != nullptr && is_advertisement(*packet)) host_->show(*packet);
                neighbours_.handle_nd(packet, now);
                break;
            case Verdict::hold_neighbour:
                neighbours_.hold(packet, now);
                break;
            case Verdict::punt_echo:
                is_ipv6(packet) ? answer_ipv6_echo(packet) : answer_echo(packet);
                break;
            case Verdict::punt_ttl_expired:
                if (is_ipv6(packet)) {
                    send_ipv6_error(packet, dataplane::kIcmpv6TimeExceeded, 0, 0);
                    break;
                }
                send_error(packet, dataplane::kIcmpTimeExceeded, 0, 0);
                break;
            case Verdict::punt_too_big:
                if (is_ipv6(packet)) {
                    send_ipv6_error(packet, dataplane::kIcmpv6PacketTooBig, 0, mtu_of(note));
                    break;
                }
                send_error(packet, dataplane::kIcmpUnreachable, dataplane::kIcmpFragmentationNeeded,
                           mtu_of(note));
                break;
            case Verdict::punt_refused:
                if (is_ipv6(packet)) {
                    send_ipv6_error(packet, dataplane::kIcmpv6Unreachable, kIpv6Prohibited, 0);
                    break;
                }
                send_error(packet, dataplane::kIcmpUnreachable, kProhibited, 0);
                break;
            case Verdict::punt_syn_refused:
                keep_syn(packet, now);
                break;
            default:
                rte_pktmbuf_free(packet);
                break;
        }
    }
    answer_syns(now);
    return count;
}

void Punts::keep_syn(rte_mbuf* packet, Neighbours::Clock::time_point now) {
    const dataplane::PuntNote note = dataplane::punt_note(*packet);
    constexpr unsigned kPortBytes = 4;
    if (note.l4_offset + kPortBytes > note.l3_bytes) {  // behind more extension headers than are quoted
        rte_pktmbuf_free(packet);
        return;
    }
    RefusedSyns::Syn syn{.ingress = note.ingress, .sender = source_mac(packet)};
    const auto* ip = rte_pktmbuf_mtod_offset(packet, const std::uint8_t*, note.l3_offset);
    const bool v6 = is_ipv6(packet);
    const auto most = v6 ? static_cast<std::uint16_t>(syn.ip.size()) : RefusedSyns::kMostIpv4Bytes;
    syn.ip_bytes = std::min(note.l3_bytes, most);
    std::memcpy(syn.ip.data(), ip, syn.ip_bytes);
    if (v6) {
        const dataplane::Ipv6Packet headers{.protocol = net::Protocol::tcp, .l4_offset = note.l4_offset};
        syn.key = dataplane::wide_key_of(note.ingress, ip, headers);
    } else {
        // Without options.
        std::array<std::uint8_t, 24> plain{};
        std::memcpy(plain.data(), ip, net::kIpv4Bytes);
        std::memcpy(plain.data() + net::kIpv4Bytes, ip + net::header_bytes(ip), 4);
        syn.key = dataplane::WideKey{dataplane::FlowKey::from_packet(note.ingress, plain.data())};
    }
    rte_pktmbuf_free(packet);
    syns_.add(syn, now);
}

void Punts::answer_syns(Neighbours::Clock::time_point now) {
    while (const std::optional<RefusedSyns::Syn> syn = syns_.take(now)) {
        {
            const dataplane::Dataplane::ReadSection section{dataplane_};
            dataplane::FlowTable& flows = dataplane_.flows();
            if (flows.lookup(syn->key, flows.hash_of(syn->key)) >= 0) continue;
        }
        const About about{syn->ingress, syn->sender, syn->ip.data(), syn->ip_bytes};
        if (syn->key.destination.is_v4()) {
            send_error(about, dataplane::kIcmpUnreachable, kPortUnreachable, 0);
        } else {
            send_ipv6_error(about, dataplane::kIcmpv6Unreachable, kIpv6PortUnreachable, 0);
        }
    }
}

void Punts::answer_echo(rte_mbuf* packet) {
    const dataplane::PuntNote note = dataplane::punt_note(*packet);
    const net::MacAddress to = source_mac(packet);
    if (to.is_multicast()) {  // nobody's
        rte_pktmbuf_free(packet);
        return;
    }
    auto* bytes = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, note.l3_offset);
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(bytes);
    const rte_be32_t pinged = ip->dst_addr;
    ip->dst_addr = ip->src_addr;
    ip->src_addr = pinged;
    ip->time_to_live = kTtl;
    set_checksum(bytes + offsetof(rte_ipv4_hdr, hdr_checksum), bytes, sizeof *ip);
    std::uint8_t* icmp = bytes + sizeof *ip;
    std::uint8_t* checksum = icmp + offsetof(rte_icmp_hdr, icmp_cksum);
    if (!net::is_fragment(bytes)) {
        icmp[0] = RTE_IP_ICMP_ECHO_REPLY;
        set_checksum(checksum, icmp, note.l3_bytes - sizeof *ip);
    } else if (!net::is_later_fragment(bytes)) {
        // The rest of what the checksum covers comes in other packets, and goes back as it is.
        net::ChecksumDelta type;
        type.replace16(RTE_IP_ICMP_ECHO_REQUEST, RTE_IP_ICMP_ECHO_REPLY);  // little endian, code 0
        icmp[0] = RTE_IP_ICMP_ECHO_REPLY;
        net::store16(checksum, type.apply(net::load16(checksum)));
    }
    // Back to where it came from: a ping needs no route of its own.
    const dataplane::Link& link = dataplane_.links()[note.ingress.value];
    if (!dataplane::write_l2(*packet, bytes, note.l3_bytes, link, to, RTE_ETHER_TYPE_IPV4)) {
        rte_pktmbuf_free(packet);
        return;
    }
    dataplane_.control_counters().originated.add(1);
    if (!dataplane_.send(packet, note.ingress)) dataplane_.control_counters().count(Verdict::drop_tx_full);
}

void Punts::send_error(rte_mbuf* about, std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    const dataplane::PuntNote note = dataplane::punt_note(*about);
    send_error(About{note.ingress, source_mac(about),
                     rte_pktmbuf_mtod_offset(about, const std::uint8_t*, note.l3_offset), note.l3_bytes},
               type, code, rest);
    rte_pktmbuf_free(about);
}

void Punts::send_error(const About& about, std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    const dataplane::Link& link = dataplane_.links()[about.ingress.value];
    const std::uint8_t* original = about.ip;
    const net::MacAddress to_mac = about.sender;
    const bool has_sender = !link.addresses.empty() && !to_mac.is_multicast();
    rte_mbuf* packet = has_sender ? dataplane_.allocate() : nullptr;
    if (packet == nullptr) return;
    net::Ipv4Address to;
    std::memcpy(&to, original + offsetof(rte_ipv4_hdr, src_addr), sizeof to);
    const auto near =
        std::ranges::find_if(link.addresses, [to](const auto& a) { return a.prefix().contains(to); });
    const net::Ipv4Address from = (near != link.addresses.end() ? near : link.addresses.begin())->address;

    const std::size_t quoted = std::min<std::size_t>(about.ip_bytes, kErrorBytes - kErrorHeaderBytes);
    const auto total = static_cast<std::uint16_t>(kErrorHeaderBytes + quoted);
    auto* bytes = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, RTE_ETHER_HDR_LEN);
    rte_ipv4_hdr ip{};
    ip.version_ihl = RTE_IPV4_VHL_DEF;
    ip.total_length = net::be16::from_host(total).wire();
    // One that must not be fragmented needs no identification (RFC 6864).
    ip.fragment_offset = net::be16::from_host(RTE_IPV4_HDR_DF_FLAG).wire();
    ip.time_to_live = kTtl;
    ip.next_proto_id = IPPROTO_ICMP;
    ip.src_addr = from.value.wire();
    ip.dst_addr = to.value.wire();
    std::memcpy(bytes, &ip, sizeof ip);
    set_checksum(bytes + offsetof(rte_ipv4_hdr, hdr_checksum), bytes, sizeof ip);
    std::uint8_t* icmp = bytes + sizeof ip;
    const std::uint32_t rest_wire = net::be32::from_host(rest).wire();
    icmp[0] = type;
    icmp[1] = code;
    std::memcpy(icmp + 4, &rest_wire, sizeof rest_wire);
    std::memcpy(icmp + sizeof(rte_icmp_hdr), original, quoted);
    set_checksum(icmp + offsetof(rte_icmp_hdr, icmp_cksum), icmp, total - sizeof ip);

    dataplane::write_l2(*packet, bytes, total, link, to_mac, RTE_ETHER_TYPE_IPV4);
    dataplane_.control_counters().originated.add(1);
    if (!dataplane_.send(packet, about.ingress)) dataplane_.control_counters().count(Verdict::drop_tx_full);
}

void Punts::answer_ipv6_echo(rte_mbuf* packet) {
    const dataplane::PuntNote note = dataplane::punt_note(*packet);
    const net::MacAddress to = source_mac(packet);
    if (to.is_multicast()) {  // nobody's
        rte_pktmbuf_free(packet);
        return;
    }
    auto* ip = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, note.l3_offset);
    const net::Ipv6Address pinged = net::load_ipv6(ip + net::kIpv6DestinationOffset);
    net::store_ipv6(ip + net::kIpv6DestinationOffset, net::load_ipv6(ip + net::kIpv6SourceOffset));
    net::store_ipv6(ip + net::kIpv6SourceOffset, pinged);
    ip[net::kHopLimitOffset] = kTtl;
    const dataplane::Ipv6Packet headers = dataplane::parse_ipv6(ip, note.l3_bytes);
    std::uint8_t* icmp = ip + headers.l4_offset;
    if (!headers.is_fragment()) {
        icmp[0] = dataplane::kIcmpv6EchoReply;
        dataplane::set_icmpv6_checksum(ip, headers.l4_offset, note.l3_bytes);
    } else if (!headers.is_later_fragment) {
        // As answer_echo() does it: addresses that change places are the same sum.
        net::ChecksumDelta type;
        type.replace16(dataplane::kIcmpv6EchoRequest, dataplane::kIcmpv6EchoReply);
        icmp[0] = dataplane::kIcmpv6EchoReply;
        std::uint8_t* checksum = icmp + offsetof(rte_icmp_hdr, icmp_cksum);
        net::store16(checksum, type.apply(net::load16(checksum)));
    }
    const dataplane::Link& link = dataplane_.links()[note.ingress.value];
    if (!dataplane::write_l2(*packet, ip, note.l3_bytes, link, to, RTE_ETHER_TYPE_IPV6)) {
        rte_pktmbuf_free(packet);
        return;
    }
    dataplane_.control_counters().originated.add(1);
    if (!dataplane_.send(packet, note.ingress)) dataplane_.control_counters().count(Verdict::drop_tx_full);
}

void Punts::send_ipv6_error(rte_mbuf* about, std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    const dataplane::PuntNote note = dataplane::punt_note(*about);
    send_ipv6_error(About{note.ingress, source_mac(about),
                          rte_pktmbuf_mtod_offset(about, const std::uint8_t*, note.l3_offset), note.l3_bytes},
                    type, code, rest);
    rte_pktmbuf_free(about);
}

void Punts::send_ipv6_error(const About& about, std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    constexpr std::size_t kHeaderBytes = net::kIpv6Bytes + sizeof(rte_icmp_hdr);
    const dataplane::Link& link = dataplane_.links()[about.ingress.value];
    const std::uint8_t* original = about.ip;
    const bool has_sender = link.has_ipv6() && !about.sender.is_multicast();
    rte_mbuf* packet = has_sender ? dataplane_.allocate() : nullptr;
    if (packet == nullptr) return;
    const net::Ipv6Address to = net::load_ipv6(original + net::kIpv6SourceOffset);
    const auto& own = link.ipv6_addresses;
    const auto near = std::ranges::find_if(own, [&](const auto& a) { return a.prefix().contains(to); });
    const net::Ipv6Address& from = (near != own.end() ? near : own.begin())->address.v6();

    // As much of the packet as an error may have that fits everywhere (RFC 4443, section 2.4).
    const std::size_t quoted = std::min<std::size_t>(about.ip_bytes, net::kIpv6LeastMtu - kHeaderBytes);
    const auto total = static_cast<std::uint16_t>(kHeaderBytes + quoted);
    auto* ip = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, RTE_ETHER_HDR_LEN);
    std::memset(ip, 0, kHeaderBytes);
    ip[0] = 0x60;
    net::store16(ip + net::kPayloadLengthOffset,
                 net::be16::from_host(static_cast<std::uint16_t>(total - net::kIpv6Bytes)).wire());
    ip[net::kNextHeaderOffset] = static_cast<std::uint8_t>(net::Protocol::icmpv6);
    ip[net::kHopLimitOffset] = kTtl;
    net::store_ipv6(ip + net::kIpv6SourceOffset, from);
    net::store_ipv6(ip + net::kIpv6DestinationOffset, to);
    std::uint8_t* icmp = ip + net::kIpv6Bytes;
    const std::uint32_t rest_wire = net::be32::from_host(rest).wire();
    icmp[0] = type;
    icmp[1] = code;
    std::memcpy(icmp + 4, &rest_wire, sizeof rest_wire);
    std::memcpy(icmp + sizeof(rte_icmp_hdr), original, quoted);
    dataplane::set_icmpv6_checksum(ip, net::kIpv6Bytes, total);

    dataplane::write_l2(*packet, ip, total, link, about.sender, RTE_ETHER_TYPE_IPV6);
    dataplane_.control_counters().originated.add(1);
    if (!dataplane_.send(packet, about.ingress)) dataplane_.control_counters().count(Verdict::drop_tx_full);
}

}  // namespace fwd::control
