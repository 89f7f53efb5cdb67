// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/tcp_window.h"

#include "dataplane/net/ipv4.h"
#include "dataplane/tcp_options.h"

namespace fwd::dataplane {
namespace {

constexpr std::size_t kSequence = 4, kAcknowledgement = 8, kFlags = 13, kWindow = 14;
constexpr unsigned kGreatestShift = 14;
/// In place of a window's bits: whatever comes may be of the connection.
constexpr std::uint8_t kUnmeasured = 0xff;

bool is_measured(SessionState state) noexcept {
    return has_connection(state) || state == SessionState::tcp_opening || state == SessionState::tcp_reset;
}

/// A number measured by what `end` has acknowledged.
bool fits(const Flow& end, std::uint32_t number) noexcept {
    const std::uint32_t acknowledged = end.acknowledged.load(std::memory_order_relaxed);
    const std::uint8_t bits = end.window_bits.load(std::memory_order_relaxed);
    return acknowledged == 0 || bits == kUnmeasured ||
           is_in_window(number, net::be32::from_wire(acknowledged).host(), bits);
}

/// The highest of what several workers see counts: packets overtake each other.
void note_acknowledged(Flow& flow, std::uint32_t wire) noexcept {
    if (flow.window_bits.load(std::memory_order_relaxed) == kUnmeasured)
        return flow.acknowledged.store(wire, std::memory_order_relaxed);
    const std::uint32_t number = net::be32::from_wire(wire).host();
    std::uint32_t known = flow.acknowledged.load(std::memory_order_relaxed);
    while ((known == 0 || static_cast<std::int32_t>(number - net::be32::from_wire(known).host()) > 0) &&
           !flow.acknowledged.compare_exchange_weak(known, wire, std::memory_order_relaxed)) {
    }
}

void note_window(Flow& flow, std::uint8_t bits) noexcept {
    std::uint8_t known = flow.window_bits.load(std::memory_order_relaxed);
    while (bits > known && !flow.window_bits.compare_exchange_weak(known, bits, std::memory_order_relaxed)) {
    }
}

/// A SYN amid a connection. An end that has lost its memory begins anew by the same ports. If the other one
/// has not, it answers with an ACK of the old connection (RFC 5961, section 4), which a RST follows;
/// otherwise with a SYN of its own, or a RST, whose numbers are new. Somebody who can send in the names of
/// both could make that up, and must not get the real ones dropped: from then on nothing is measured, and the
/// ends tell for themselves what is theirs.
void note_restart(FlowTable& flows, Flow& flow, Flow& peer, const std::uint8_t* tcp,
                  TcpFlags flags) noexcept {
    if (flags.opens()) return flow.restarts.store(true, std::memory_order_relaxed);
    if (!flags.has(TcpFlags::kAck) || !peer.restarts.load(std::memory_order_relaxed)) return;
    for (Flow* end : {&flow, &peer}) {
        end->forget_numbers();
        end->window_bits.store(kUnmeasured, std::memory_order_relaxed);
    }
    flow.acknowledged.store(net::load32(tcp + kAcknowledgement), std::memory_order_relaxed);
    // The one that began was not believed when it told its shift.
    const auto shift = static_cast<std::uint8_t>(tcp_window_shift(tcp));
    const bool from_client = flow.direction == Direction::forward;
    flows.session(flow.session)
        .window_shifts.store(static_cast<std::uint8_t>(from_client ? shift | kGreatestShift << 4U
                                                                   : kGreatestShift | shift << 4U),
                             std::memory_order_relaxed);
}

}  // namespace

bool passes_window_check(FlowTable& flows, Flow& flow, const std::uint8_t* tcp) noexcept {
    const Session& session = flows.session(flow.session);
    const SessionState state = session.state.load(std::memory_order_relaxed);
    if (!is_measured(state)) return true;
    const bool from_client = flow.direction == Direction::forward;
    Flow& peer = flows.flow(from_client ? session.reverse : flow.session);
    const TcpFlags flags{tcp[kFlags]};
    const bool rst = flags.has(TcpFlags::kRst);
    if (flags.has(TcpFlags::kSyn) && !flags.has(TcpFlags::kFin) && !rst) {
        if (has_connection(state)) note_restart(flows, flow, peer, tcp, flags);
        return true;
    }
    if (rst && peer.restarts.load(std::memory_order_relaxed)) return true;
    if (!fits(peer, net::load_host32(tcp + kSequence))) return false;
    // What a RST says beside its sequence number means nothing.
    if (rst || !flags.has(TcpFlags::kAck)) return true;
    if (!fits(flow, net::load_host32(tcp + kAcknowledgement))) return false;
    if (flow.restarts.load(std::memory_order_relaxed)) flow.restarts.store(false, std::memory_order_relaxed);
    const unsigned shifts = session.window_shifts.load(std::memory_order_relaxed);
    // Before what it is added to: another worker may read in between.
    note_window(flow,
                window_bits(net::load_host16(tcp + kWindow), from_client ? shifts & 0xfU : shifts >> 4U));
    note_acknowledged(flow, net::load32(tcp + kAcknowledgement));
    return true;
}

}  // namespace fwd::dataplane
