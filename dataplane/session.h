// SPDX-License-Identifier: BSD-3-Clause
// What fwd remembers of a conversation, and how it moves from one state to the next. Pure: needs no EAL.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "dataplane/net/address.h"
#include "dataplane/packet.h"

namespace fwd::dataplane {

enum class SessionState : std::uint8_t {
    udp_unanswered,
    udp_answered,
    udp_assured,      ///< and the client has sent again
    tcp_unanswered,   ///< a SYN from the client
    tcp_opening,      ///< and a SYN from the target; or the target's alone, after a connection that has ended
    tcp_established,  ///< and an ACK from the client
    tcp_client_done,  ///< a FIN from the client alone: data may flow from the target for as long as it likes
    tcp_target_done,  ///< the other way round
    tcp_reset,  ///< a RST was seen; transitory, as long as nothing shows that its receiver did not believe it
    tcp_closing,  ///< both FINs were seen, or there was never more than a handshake (RFC 5382: transitory)
    count_
};
inline constexpr std::size_t kSessionStateCount = static_cast<std::size_t>(SessionState::count_);
inline constexpr std::array<std::string_view, kSessionStateCount> kSessionStateNames{
    "unanswered",  "answered",    "assured",     "unanswered", "opening",
    "established", "half-closed", "half-closed", "reset",      "closing"};

/// Seen from the client that opened the session.
enum class Direction : std::uint8_t { forward, reverse };

enum class Directions : std::uint8_t { none, forward, reverse, both };
constexpr bool has(Directions directions, Direction direction) noexcept {
    return (static_cast<unsigned>(directions) & (1U << static_cast<unsigned>(direction))) != 0;
}

/// What does not change in a session's life, in one byte.
struct SessionTraits {
    bool counted : 1 = false;        ///< among the sessions of its client, in SourceCounts
    bool counted_alone : 1 = false;  ///< by the client's own address, not by its network's
    Directions kept_alive_by : 2 = Directions::both;
    /// Whose ICMP errors hide that they come from behind fwd (requirement I5).
    Directions hidden : 2 = Directions::reverse;
    bool window_checked : 1 = false;  ///< see tcp_window.h: its packets all take the slow way
};
static_assert(sizeof(SessionTraits) == 1);

/// Nothing of a session that has ended in this state can still be on its way.
constexpr bool is_closed(SessionState state) noexcept {
    return state == SessionState::tcp_closing;
}

/// Sessions that go first when the table fills up (requirement R18).
enum class Evictable : std::uint8_t {
    unanswered,
    half_open,  ///< answered, but nothing shows that the client got it: servers answer spoofed packets as
                ///< well
    closing,
};
inline constexpr std::size_t kEvictableCount = 3;

constexpr std::optional<Evictable> evictable_as(SessionState state) noexcept {
    switch (state) {
        case SessionState::udp_unanswered:
        case SessionState::tcp_unanswered:
            return Evictable::unanswered;
        case SessionState::udp_answered:
        case SessionState::tcp_opening:
            return Evictable::half_open;
        case SessionState::tcp_reset:
        case SessionState::tcp_closing:
            return Evictable::closing;
        default:
            return std::nullopt;
    }
}
/// From here on a packet of that direction without SYN, FIN and RST changes nothing.
constexpr bool is_settled(SessionState state, Direction direction) noexcept {
    switch (state) {
        case SessionState::udp_unanswered:
            return direction == Direction::forward;
        case SessionState::udp_answered:
            return direction == Direction::reverse;
        case SessionState::udp_assured:
        case SessionState::tcp_established:
        case SessionState::tcp_client_done:
        case SessionState::tcp_target_done:
        case SessionState::tcp_closing:
            return true;
        default:
            return false;
    }
}

constexpr SessionState first_state(net::Protocol protocol) noexcept {
    return protocol == net::Protocol::tcp ? SessionState::tcp_unanswered : SessionState::udp_unanswered;
}

/// Whether there is a connection that a stranger could end by a forged RST.
constexpr bool has_connection(SessionState state) noexcept {
    return state == SessionState::tcp_established || state == SessionState::tcp_client_done ||
           state == SessionState::tcp_target_done;
}

/// After a SYN for a session whose connection has ended. When it is the target's, the client's answer is what
/// shows that both are there.
constexpr SessionState reopened_by(Direction direction) noexcept {
    return direction == Direction::forward ? SessionState::tcp_unanswered : SessionState::tcp_opening;
}

/// The state after a packet; `flags` are ignored for UDP. A RST is believed: see believes_rst().
constexpr SessionState next_state(SessionState state, Direction direction, TcpFlags flags) noexcept {
    const bool from_client = direction == Direction::forward;
    switch (state) {
        case SessionState::udp_unanswered:
            return from_client ? state : SessionState::udp_answered;
        case SessionState::udp_answered:
            return from_client ? SessionState::udp_assured : state;
        case SessionState::udp_assured:
            return state;
        default:
            break;
    }
    if (flags.has(TcpFlags::kRst)) {
        if (has_connection(state)) return SessionState::tcp_reset;
        return state == SessionState::tcp_reset ? state : SessionState::tcp_closing;
    }
    const bool fin = flags.has(TcpFlags::kFin);
    switch (state) {
        case SessionState::tcp_unanswered:
            return !from_client && flags.has(TcpFlags::kSyn) ? SessionState::tcp_opening : state;
        case SessionState::tcp_opening:
            if (!from_client) return fin ? SessionState::tcp_closing : state;
            if (!flags.has(TcpFlags::kAck)) return state;
            return fin ? SessionState::tcp_client_done : SessionState::tcp_established;
        case SessionState::tcp_established:
            if (!fin) return state;
            return from_client ? SessionState::tcp_client_done : SessionState::tcp_target_done;
        case SessionState::tcp_client_done:
            return fin && !from_client ? SessionState::tcp_closing : state;
        case SessionState::tcp_target_done:
            return fin && from_client ? SessionState::tcp_closing : state;
        case SessionState::tcp_reset:
            // Either side may use its port again at once (requirement T12).
            if (flags.opens()) return reopened_by(direction);
            // Whoever goes on has not taken the RST for real (RFC 6146, section 3.5.2.2; RFC 5961, section
            // 3.2); if it was, the next one follows.
            if (!flags.has(TcpFlags::kAck) || flags.has(TcpFlags::kSyn)) return state;
            if (!fin) return SessionState::tcp_established;
            return from_client ? SessionState::tcp_client_done : SessionState::tcp_target_done;
        case SessionState::tcp_closing:
            return flags.opens() ? reopened_by(direction) : state;
        default:
            return state;
    }
}

/// Whether the receiver of a RST can have taken it for real: its sequence number is the next one that the
/// receiver waits for, or lies in the window behind (RFC 5961, section 3.2). What fwd has seen last of the
/// receiver may be older than what it has sent, so the window counts as well.
/// @param acknowledged by the receiver, as far as fwd has seen
/// @param window_shift that the receiver has announced (RFC 7323), at most 14
constexpr bool believes_rst(std::uint32_t sequence, std::uint32_t acknowledged,
                            unsigned window_shift) noexcept {
    return sequence - acknowledged <= std::uint32_t{0xffff} << window_shift;
}

}  // namespace fwd::dataplane
