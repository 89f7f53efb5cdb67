// SPDX-License-Identifier: BSD-3-Clause
// idle = "adaptive", which is the default: fwdd leaves its core to others while no packet comes, and still
// forwards the next one at once.

#include <algorithm>
#include <iostream>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

template <typename T>
T median(std::vector<T> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    return *middle;
}

class IdleTest : public LabTest {
 protected:
    struct Cycles {
        double busy = 0, all = 0;
    };
    Cycles cycles() {
        const Json worker = fwdctl("stats")["workers"][0];
        return {worker["busy_cycles"], worker["all_cycles"]};
    }
};

TEST_F(IdleTest, WithoutPacketsFwddTakesHardlyAnyOfItsCore) {
    ASSERT_NO_FATAL_FAILURE(up());
    const int pid = fwdctl("status")["pid"];
    std::this_thread::sleep_for(500ms);  // its start, and the ARP that goes with it

    double least = 1;
    double least_busy = 1;
    // What else the machine does makes waking dearer: a few windows, the best counts.
    for (int window = 0; window < 10 && least > 0.05; ++window) {
        const Cycles before = cycles();
        const auto cpu_before = cpu_time(pid);
        const auto start = Clock::now();
        std::this_thread::sleep_for(3s);
        const double share =
            (cpu_time(pid) - cpu_before) / std::chrono::duration<double>(Clock::now() - start);
        const Cycles after = cycles();
        std::cout << "CPU: " << 100 * share << " % of a core; busy cycles: "
                  << 100 * (after.busy - before.busy) / (after.all - before.all) << " %\n";
        least = std::min(least, share);
        EXPECT_GT(after.all, before.all) << "the worker is alive";
        least_busy = std::min(least_busy, (after.busy - before.busy) / (after.all - before.all));
    }
    EXPECT_LE(least, 0.05);
    EXPECT_LT(least_busy, 0.01);
    EXPECT_TRUE(eventually([&] { return fwdctl("stats")["workers"][0]["busy_percent"] < 1.0; }));
}

TEST_F(IdleTest, FirstPacketAfterIdlenessIsAsQuickAsTheOthers) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    add_rule("udp 192.0.2.3:7 10.0.0.4:7000");
    Socket client = udp("client");
    Socket server = udp("server");
    // The server sees the client's own address. Both ends are in this thread: no echo server's speed is in
    // the times.
    ASSERT_TRUE(client.connect({"192.0.2.3", 7}));
    ASSERT_TRUE(server.bind({"10.0.0.4", 7000}));
    ASSERT_TRUE(server.connect(client.local()));
    const auto round_trip = [&] {
        const auto start = Clock::now();
        EXPECT_TRUE(client.send("there") && server.receive() == "there");
        EXPECT_TRUE(server.send("back") && client.receive() == "back");
        return Microseconds{Clock::now() - start};
    };
    round_trip();  // opens the session

    const Cycles before = cycles();
    std::vector<Microseconds> cold;
    std::vector<Microseconds> warm;
    for (int i = 0; i < 10; ++i) {
        std::this_thread::sleep_for(2s);
        cold.push_back(round_trip());
        for (int n = 0; n < 20; ++n) warm.push_back(round_trip());
    }
    std::cout << "round trip, median: " << median(cold).count() << " us after 2 s without a packet, "
              << median(warm).count() << " us right after another\n";
    // How long it sleeps, and not how long the machine takes to run it: the quicker quarter counts.
    std::ranges::sort(cold);
    EXPECT_LE(cold[cold.size() / 4], median(warm) + std::max(Microseconds{1ms}, median(warm)));
    const Cycles after = cycles();
    EXPECT_GT(after.busy, before.busy);
    EXPECT_LT(after.busy, after.all);
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
