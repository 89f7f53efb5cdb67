// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"

namespace fwd::control {

/// SYNs that nobody explains and whose senders are told so 6 s later (RFC 5382, REQ-4): until then the other
/// side may open the same connection. So many are kept; a flood's others stay without an answer.
class RefusedSyns {
 public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds kWait{6};
    static constexpr std::size_t kMost = 256;
    static constexpr std::uint16_t kMostIpv4Bytes = 64;

    struct Syn {
        Clock::time_point due{};
        dataplane::LinkId ingress{};
        net::MacAddress sender{};
        std::array<std::uint8_t, 104> ip{};  ///< as much of the packet as an error quotes
        std::uint16_t ip_bytes = 0;          ///< of IPv4 at most kMostIpv4Bytes
        dataplane::WideKey key{};
    };

    void add(Syn syn, Clock::time_point now) {
        if (syns_.size() >= kMost) return;
        syn.due = now + kWait;
        syns_.push_back(syn);
    }
    /// The next one whose time has come.
    std::optional<Syn> take(Clock::time_point now) {
        if (syns_.empty() || syns_.front().due > now) return std::nullopt;
        const Syn syn = syns_.front();
        syns_.pop_front();
        return syn;
    }

 private:
    std::deque<Syn> syns_;
};

}  // namespace fwd::control
