// SPDX-License-Identifier: BSD-3-Clause
// What the benchmarks forward for: a data plane between two links without a wire, with sessions opened by
// real first packets, and the frames of those sessions ready to be put into bursts.
//
//     clients 128.0.0.0/2 -- router -- wan [fwd] lan -- 16 servers 10.0.0.0/24
//                               external addresses and ports   targets
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"

namespace fwd::bench {

/// 64 bytes on the wire; its last four, the frame check sequence, never come to memory.
inline constexpr std::uint16_t kFrameBytes = 60;
using Frame = std::array<std::uint8_t, 64>;

struct Scenario {
    net::Protocol protocol = net::Protocol::udp;
    dataplane::SourceTranslation source = dataplane::SourceTranslation::preserve;
    std::uint32_t capacity = 1000;
    unsigned workers = 1;
    std::chrono::milliseconds timeout = std::chrono::hours{10};  ///< of every state
    std::uint32_t other_rules = 0;                               ///< besides those of the sessions
    std::uint32_t source_ranges = 0;  ///< that each rule allows, and that everybody is in; 0: it has none
    friend bool operator==(const Scenario&, const Scenario&) = default;
};

/// Packet buffers that come back: fwd may send them, but never owns the last reference.
class Burst {
 public:
    explicit Burst(dataplane::Dataplane& dataplane);
    ~Burst();
    Burst(const Burst&) = delete;
    Burst& operator=(const Burst&) = delete;

    /// Copies frames into the buffers, so their headers are in the cache as after a NIC's direct cache
    /// access.
    void fill(std::span<const Frame> frames) noexcept;
    std::span<rte_mbuf*> packets() noexcept { return {handed_.data(), count_}; }
    const std::uint8_t* frame(std::size_t i) const noexcept {
        return rte_pktmbuf_mtod(owned_[i], const std::uint8_t*);
    }

 private:
    std::array<rte_mbuf*, dataplane::kBurst> owned_{};
    std::array<rte_mbuf*, dataplane::kBurst> handed_{};
    std::size_t count_ = 0;
};

class Network {
 public:
    static constexpr dataplane::PortIndex kWan{0};
    static constexpr dataplane::PortIndex kLan{1};

    explicit Network(const Scenario& scenario);
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    const Scenario& scenario() const noexcept { return scenario_; }
    dataplane::Dataplane& dataplane() noexcept { return *dataplane_; }
    dataplane::Worker& worker(unsigned index = 0) noexcept { return *dataplane_->workers()[index]; }
    /// Sends what has been gathered, sweeps and reclaims; then the worker is quiescent.
    void housekeep(dataplane::Tsc now, unsigned index = 0) noexcept;

    /// A client's packet. Each number is another session.
    Frame request(std::uint64_t number, std::uint8_t tcp_flags) const noexcept;
    /// The target's packet after what fwd has sent it.
    Frame answer_to(const std::uint8_t* sent, std::uint8_t tcp_flags) const noexcept;

    /// Fills the table with established sessions. Checks afterwards what becomes of their packets, byte by
    /// byte.
    void establish(std::uint32_t sessions);
    /// Packets of the established sessions, one each, in random order.
    std::span<const Frame> requests() const noexcept { return requests_; }
    std::span<const Frame> answers() const noexcept { return answers_; }

    std::uint64_t sent_packets() const noexcept;

 private:
    void process(Burst& burst, std::span<const Frame> frames, dataplane::PortIndex port);
    void verify();
    /// Aborts with a text when a frame is not what it should have become.
    void check_translated(const Frame& in, const std::uint8_t* out, bool request) const;

    Scenario scenario_;
    std::array<std::string, 2> devices_;
    std::unique_ptr<dataplane::Dataplane> dataplane_;
    std::vector<Frame> requests_;
    std::vector<Frame> answers_;
};

/// The network of a scenario with its table full of established sessions; the one before goes away.
Network& established(const Scenario& scenario);
/// The same without sessions.
Network& empty(const Scenario& scenario);
/// Frees the network that is kept. Before EAL ends.
void forget_network();

}  // namespace fwd::bench
