// SPDX-License-Identifier: BSD-3-Clause
// A second fwdd beside the lab's, for what takes two.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "test/e2e/lab.h"

namespace fwd::test {

/// A host on the bridge "lan" of a one-arm lab that is up, with a fwdd that is configured as the lab's but
/// for its address. Gone with the object.
class Box {
 public:
    /// @param host what exec() and start() call it
    /// @param address without a length, as the lab's fwdd has 10.0.0.2; in a lab with IPv6 it has a second
    /// one, with the same last number
    Box(std::string host, std::string address);
    Box(const Box&) = delete;
    Box& operator=(const Box&) = delete;
    ~Box();

    void start_fwdd();
    void kill_fwdd() { fwdd_->stop(SIGKILL); }
    Json fwdctl(const std::string& words) const;
    const std::string& address() const { return address_; }

 private:
    Finished fwdctl_command(const std::string& words) const;

    TemporaryDirectory files_;
    std::string host_, address_, namespace_;
    std::unique_ptr<Process> fwdd_;
};

/// With `to` for each `from` in the text.
std::string replaced(std::string text, const std::string& from, const std::string& to);

/// What speaks BGP in a host of the lab, and BFD.
class RoutingDaemon {
 public:
    RoutingDaemon() = default;
    RoutingDaemon(const RoutingDaemon&) = delete;
    RoutingDaemon& operator=(const RoutingDaemon&) = delete;
    virtual ~RoutingDaemon() = default;
    /// Tells its peers that it goes.
    virtual void stop() = 0;
};

/// BIRD with this configuration.
class Bird : public RoutingDaemon {
 public:
    Bird(const std::string& network_namespace, const std::string& config);
    void stop() override { bird_->stop(); }

 private:
    TemporaryDirectory files_;
    std::unique_ptr<Process> bird_;
};

/// FRR's zebra, bgpd and bfdd with this configuration, as user frr.
class Frr : public RoutingDaemon {
 public:
    Frr(const std::string& network_namespace, const std::string& config);
    ~Frr() override { stop(); }
    void stop() override;

 private:
    TemporaryDirectory files_;
    std::vector<std::unique_ptr<Process>> daemons_;
};

/// What became of new connections, one after the other, for some time.
struct Outage {
    unsigned tried = 0;
    unsigned failed = 0;
    std::chrono::duration<double> longest{};  ///< from one that worked to the next one that did
};
template <typename Connects>
Outage outage_within(std::chrono::milliseconds time, Connects connects) {
    using Clock = std::chrono::steady_clock;
    Outage outage;
    const auto start = Clock::now();
    for (auto good = start; Clock::now() < start + time; ++outage.tried) {
        const auto begun = Clock::now();
        if (connects()) {
            good = begun;
        } else {
            ++outage.failed;
        }
        outage.longest = std::max<std::chrono::duration<double>>(outage.longest, Clock::now() - good);
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return outage;
}

}  // namespace fwd::test
