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
    tcp_opening,      ///< and a SYN from the target
    tcp_established,  ///< and an ACK from the client
    tcp_closing,      ///< a FIN or RST was seen (RFC 5382: transitory)
    count_
};
inline constexpr std::size_t kSessionStateCount = static_cast<std::size_t>(SessionState::count_);
inline constexpr std::array<std::string_view, kSessionStateCount> kSessionStateNames{
    "unanswered", "answered", "assured", "unanswered", "opening", "established", "closing"};

/// Seen from the client that opened the session.
enum class Direction : std::uint8_t { forward, reverse };

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
        case SessionState::tcp_closing:
            return true;
        default:
            return false;
    }
}

constexpr SessionState first_state(net::Protocol protocol) noexcept {
    return protocol == net::Protocol::tcp ? SessionState::tcp_unanswered : SessionState::udp_unanswered;
}

/// The state after a packet; `flags` are ignored for UDP.
constexpr SessionState next_state(SessionState state, Direction direction, TcpFlags flags) noexcept {
    switch (state) {
        case SessionState::udp_unanswered:
            return direction == Direction::reverse ? SessionState::udp_answered : state;
        case SessionState::udp_answered:
            return direction == Direction::forward ? SessionState::udp_assured : state;
        case SessionState::udp_assured:
            return state;
        default:
            break;
    }
    if (flags.has(TcpFlags::kFin) || flags.has(TcpFlags::kRst)) return SessionState::tcp_closing;
    switch (state) {
        case SessionState::tcp_unanswered:
            return direction == Direction::reverse && flags.has(TcpFlags::kSyn) ? SessionState::tcp_opening
                                                                                : state;
        case SessionState::tcp_opening:
            return direction == Direction::forward && flags.has(TcpFlags::kAck)
                       ? SessionState::tcp_established
                       : state;
        case SessionState::tcp_closing:
            // A client may use its port again at once (requirement T12).
            return direction == Direction::forward && flags.opens() ? SessionState::tcp_unanswered : state;
        default:
            return state;
    }
}

}  // namespace fwd::dataplane
