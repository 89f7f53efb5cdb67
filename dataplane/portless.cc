// SPDX-License-Identifier: BSD-3-Clause
// Packets whose ports do not stand where those of TCP and UDP do: one at a time, since bursts are for the
// others.
#include "dataplane/portless.h"

#include "dataplane/icmp_error.h"
#include "dataplane/worker.h"

namespace fwd::dataplane {

void Worker::forward_portless(const Parsed& parsed, const FlowKey& key, Verdict unexplained,
                              Tsc now) noexcept {
    const bool is_echo = key.protocol == net::Protocol::icmp;
    Verdict verdict = unexplained;
    if (!is_echo || shared_.flows.explains_echo(shared_.flows.lookup(key, shared_.flows.hash()(key)),
                                                parsed.ip[net::kIpv4Bytes] == kIcmpEchoRequest))
        verdict = forward_by_key(parsed, key, parsed.ip, now);
    if (verdict == Verdict::forward) return;
    if (verdict == Verdict::drop_no_rule) verdict = unexplained;
    if (is_drop(verdict)) return refuse(parsed, verdict, now);
    punt(parsed.packet, note_about(parsed, verdict, parsed.ingress), now);
}

}  // namespace fwd::dataplane
