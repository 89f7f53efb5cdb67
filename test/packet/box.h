// SPDX-License-Identifier: BSD-3-Clause
// A whole fwd in a box: data plane, neighbours and punts as in the daemon, on memory-backed devices, with
// time and workers in the test's hand. Frames go in and come out by link.
#pragma once

#include <rte_ethdev.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/neighbours.h"
#include "control/policies.h"
#include "control/punts.h"
#include "dataplane/dataplane.h"
#include "test/support/packet_builder.h"

namespace fwd::test {

using dataplane::Verdict;

class Box {
 public:
    /// @param config as fwdd reads it; each link's device is called "net_null_" and something
    explicit Box(const std::string& config, unsigned workers = 1, std::uint32_t rule_slots = 1024);
    ~Box();
    Box(const Box&) = delete;
    Box& operator=(const Box&) = delete;

    /// A builder for a frame that is addressed to a link's MAC address.
    PacketBuilder to(const std::string& link) const;
    net::MacAddress mac_of(const std::string& link) const;
    std::optional<std::uint16_t> vlan_of(const std::string& link) const;

    /// Puts a frame into a device's queue: it lies in front of a page that can't be read.
    void put(const std::string& link, const Bytes& frame, unsigned worker = 0);
    void put(const std::string& link, const PacketBuilder& frame, unsigned worker = 0) {
        put(link, frame.bytes(), worker);
    }
    /// The same in a buffer of the pool, without that page: for very many frames.
    void put_many(const std::string& link, const PacketBuilder& frame);
    /// One round of a worker, at the box's time.
    void poll(unsigned worker = 0);
    /// All workers and control, until nobody has anything left to do.
    void settle();
    /// put() and settle(), and what came out at a link.
    std::vector<Frame> exchange(const std::string& in, const PacketBuilder& frame, const std::string& out,
                                unsigned worker = 0);

    /// Frames that have left by a link since the last call.
    std::vector<Frame> take(const std::string& link);
    /// Gives every frame that leaves to `watch` instead of keeping it, with the transmit queue's number.
    /// Workers call it at the same time, each for its own queue.
    using Watch = std::function<void(std::uint16_t queue, const std::uint8_t* frame)>;
    void watch_transmit(const std::string& link, Watch watch);
    /// Asks `feed` for packets instead of the queue that put() fills: it puts up to `room` of them there and
    /// says how many. Workers call it at the same time, each for its own queue.
    using Feed = std::function<std::uint16_t(std::uint16_t queue, rte_mbuf** packets, std::uint16_t room)>;
    void feed_receive(const std::string& link, Feed feed);
    /// How many of the next packets a device refuses to transmit.
    void refuse_transmit(const std::string& link, unsigned packets);

    /// Pulls a link's cable; and puts it back, as control notices at its next look.
    void unplug(const std::string& link);
    void plug(const std::string& link);
    /// Takes a link's device away for good.
    void remove_device(const std::string& link);

    /// Lets the workers run on lcores of their own, by the real clock; until stop() frames come and go by
    /// feed_receive() and watch_transmit() alone.
    void start();
    void stop();
    /// What control does several times a second.
    void run_control();

    /// Lets time go by: housekeeping happens as it would.
    void pass(std::chrono::milliseconds time, std::optional<unsigned> sleeping_worker = std::nullopt);

    /// Replaces rules and masquerades by those of this text, as `fwdctl export` prints them.
    void set_rules(const std::string& text);
    /// Of masquerades, those held back included.
    std::uint32_t mappings() const { return dataplane_->mappings().count(); }
    /// As a reload with these timeouts does.
    void set_timeouts(const control::TimeoutSettings& timeouts);
    /// The same with this `tcp_window_check`.
    void set_window_check(bool on) { policies_->publish_window_check(*dataplane_, on); }
    /// Ends all sessions, as clear-sessions does.
    void clear_sessions();
    /// The same, and lets time pass until they are gone: each round of a worker ends a few.
    void end_sessions();

    std::uint64_t count(Verdict verdict) const;
    std::uint64_t total(dataplane::Counter dataplane::ThreadCounters::*counter) const;
    std::uint32_t sessions() const { return dataplane_->flows().session_count(); }
    dataplane::Dataplane& dataplane() { return *dataplane_; }
    const std::vector<dataplane::Link>& links() const { return dataplane_->links(); }
    dataplane::Tsc now() const { return now_; }
    /// For a test that has driven workers by clocks of its own.
    void advance_to(dataplane::Tsc now) { now_ = now; }
    std::size_t neighbour_count() const { return neighbours_->rows(clock_).size(); }
    /// Control's time alone.
    void advance_control(std::chrono::milliseconds time) { clock_ += time; }
    control::Policies& policies() { return *policies_; }
    const control::Policies::Rules& rules() const { return rules_; }
    const control::Policies::Masquerades& masquerades() const { return masquerades_; }
    control::Neighbours& neighbours() { return *neighbours_; }
    const control::Settings& settings() const { return settings_; }

    /// received + originated = sent + punted + dropped + held, and no packet buffer has been lost.
    void expect_every_packet_accounted_for() const;
    /// Every flow record belongs to a live session or is free, and the counters agree.
    void expect_no_record_lost();

 private:
    struct Device {
        std::string name;
        std::uint16_t ethdev = 0;
        bool is_removed = false;
        std::vector<std::deque<rte_mbuf*>> rx;  // by queue
        struct Sent {
            std::uint16_t vlan;
            Frame frame;
        };
        std::deque<Sent> tx;
        unsigned refusing = 0;
        Watch watch;
        Feed feed;
        std::vector<const rte_eth_rxtx_callback*> rx_callbacks, tx_callbacks;
    };
    static void remove_callbacks(Device& device);
    static std::uint16_t receive(std::uint16_t ethdev, std::uint16_t queue, rte_mbuf** packets,
                                 std::uint16_t count, std::uint16_t room, void* device);
    static std::uint16_t transmit(std::uint16_t ethdev, std::uint16_t queue, rte_mbuf** packets,
                                  std::uint16_t count, void* device);
    std::size_t link_index(const std::string& link) const;
    Device& device_of(const std::string& link);
    void look_at_links();

    control::Settings settings_;
    std::vector<std::unique_ptr<Device>> devices_;
    std::vector<Device*> device_of_link_;
    std::optional<control::Policies> policies_;
    control::Policies::Rules rules_;
    control::Policies::Masquerades masquerades_;
    control::RuleId next_rule_ = 1;
    std::unique_ptr<dataplane::Dataplane> dataplane_;
    std::unique_ptr<control::Neighbours> neighbours_;
    std::unique_ptr<control::Punts> punts_;
    dataplane::Tsc now_ = dataplane::Tsc::read();
    control::Neighbours::Clock::time_point clock_ = control::Neighbours::Clock::now();
};

}  // namespace fwd::test
