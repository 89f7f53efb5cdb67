// SPDX-License-Identifier: BSD-3-Clause
// Packets whose ports do not stand where those of TCP and UDP do: one at a time, since bursts are for the
// others.
#include "dataplane/portless.h"

#include <algorithm>

#include "dataplane/address_check.h"
#include "dataplane/icmp_query.h"
#include "dataplane/worker.h"

namespace fwd::dataplane {

void Worker::forward_portless(const Parsed& parsed, Tsc now) noexcept {
    const Verdict verdict = forward_by_key(parsed, portless_key(parsed.ingress, parsed.ip), parsed.ip, now);
    refuse_or_punt(parsed, verdict == Verdict::drop_no_rule ? Verdict::drop_unsupported_protocol : verdict,
                   now);
}

Verdict Worker::forward_icmp_query(const Parsed& parsed, const FlowKey& key, Tsc now,
                                   Datagram* datagram) noexcept {
    if (const Verdict refused =
            check_addresses(shared_.links.now(), parsed.ingress, key.source, key.destination);
        refused != Verdict::forward) {
        return refused;
    }
    const std::uint8_t type = parsed.ip[net::kIpv4Bytes];
    const Link& link = shared_.links[parsed.ingress.value];
    if (type == kIcmpEchoRequest && link.ping &&
        std::ranges::any_of(link.addresses, [&](const auto& a) { return a.address == key.destination; })) {
        return Verdict::punt_echo;
    }
    if (!shared_.flows.explains_query(shared_.flows.lookup(key, shared_.flows.hash()(key)),
                                      is_icmp_request(type)))
        return Verdict::drop_icmp_ignored;
    const Verdict verdict = forward_by_key(parsed, key, parsed.ip, now, datagram);
    return verdict == Verdict::drop_no_rule ? Verdict::drop_icmp_ignored : verdict;
}

}  // namespace fwd::dataplane
