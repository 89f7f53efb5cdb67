// SPDX-License-Identifier: BSD-3-Clause
// Rules that change while two workers forward: what sessions notice of it, and what is left of rules that are
// gone.
#include <gtest/gtest.h>
#include <rte_pause.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "test/packet/networks.h"
#include "test/packet/reports.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

#if defined(FWD_ADDRESS_SANITIZER) || defined(FWD_THREAD_SANITIZER)
constexpr bool kIsSanitized = true;
#else
constexpr bool kIsSanitized = false;
#endif

constexpr unsigned kWorkers = 2;
constexpr std::size_t kIdOffset = 18, kPortsOffset = 34, kUdpChecksumOffset = 40;

std::uint16_t read16(const std::uint8_t* frame, std::size_t offset) {
    return static_cast<std::uint16_t>(frame[offset] << 8U | frame[offset + 1]);
}
void write16(char* at, std::uint16_t value) {
    const net::be16 wire = net::be16::from_host(value);
    std::memcpy(at, &wire, sizeof wire);
}

const std::string kNetwork = R"(
    sessions = 200000;
    links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
    neighbours = ( { link = "lan"; address = "10.0.0.1"; mac = "02:00:00:00:00:01"; },
                   { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );)";

std::string udp_rule(unsigned external, unsigned target) {
    return "{ name = \"r" + std::to_string(external) +
           "\"; protocol = \"udp\"; external = \"10.0.0.3:" + std::to_string(external) +
           "\"; target = \"10.0.0.4:" + std::to_string(target) + "\"; }";
}

/// Clients' packets for both workers, made by the test: 32 at a time, with a pause in between for control.
class Traffic {
 public:
    /// What a packet is: the client's port, the external one, and an identification that comes out again.
    struct Packet {
        std::uint16_t client, external, identification;
    };
    using Make = std::function<Packet(unsigned worker, std::uint64_t number)>;

    Traffic(Box& box, Make make)
        : box_{box},
          make_{std::move(make)},
          frame_{box.to("lan").ipv4(kClient, kExternal).udp(1, 1).bytes()} {
        box_.feed_receive("lan", [this](std::uint16_t queue, rte_mbuf** packets, std::uint16_t room) {
            return fill(queue, packets, room);
        });
    }
    std::uint64_t sent() const { return numbers_[0].load() + numbers_[1].load(); }
    /// No worker gets more than this many from now on.
    void allow(std::uint64_t packets) { allowed_.store(packets); }

 private:
    std::uint16_t fill(std::uint16_t queue, rte_mbuf** packets, std::uint16_t room) {
        const std::uint64_t now = dataplane::Tsc::read().cycles;
        if (now < next_[queue] || room < 32 || numbers_[queue].load() >= allowed_.load()) return 0;
        next_[queue] = now + rte_get_tsc_hz() / 4000;
        const std::uint64_t first = numbers_[queue].fetch_add(32, std::memory_order_relaxed);
        for (std::uint16_t i = 0; i < 32; ++i) {
            const Packet wanted = make_(queue, first + i);
            rte_mbuf* packet = box_.dataplane().allocate();
            if (packet == nullptr) std::abort();
            char* data = rte_pktmbuf_append(packet, static_cast<std::uint16_t>(frame_.size()));
            std::memcpy(data, frame_.data(), frame_.size());
            // The IP header's checksum changes as much as the identification does.
            net::ChecksumDelta delta;
            delta.replace16(net::load16(frame_.data() + kIdOffset),
                            net::be16::from_host(wanted.identification).wire());
            net::store16(reinterpret_cast<std::uint8_t*>(data) + 24,
                         delta.apply(net::load16(frame_.data() + 24)));
            write16(data + kIdOffset, wanted.identification);
            write16(data + kPortsOffset, wanted.client);
            write16(data + kPortsOffset + 2, wanted.external);
            write16(data + kUdpChecksumOffset, 0);
            packets[i] = packet;
        }
        return 32;
    }

    Box& box_;
    Make make_;
    Bytes frame_;
    std::array<std::uint64_t, kWorkers> next_{};
    std::array<std::atomic<std::uint64_t>, kWorkers> numbers_{};
    std::atomic<std::uint64_t> allowed_ = UINT64_MAX;
};

/// What the server gets of a packet.
struct Forwarded {
    std::uint16_t identification, source_port, target_port;
};
class Received {
 public:
    explicit Received(Box& box) {
        box.watch_transmit("lan", [this](std::uint16_t queue, const std::uint8_t* frame) {
            if (frame[23] != 17) return;
            seen_[queue].push_back(
                {read16(frame, kIdOffset), read16(frame, kPortsOffset), read16(frame, kPortsOffset + 2)});
        });
    }
    const std::vector<Forwarded>& by(unsigned worker) const { return seen_[worker]; }

 private:
    std::array<std::vector<Forwarded>, kWorkers> seen_;
};

/// L6, R16, S3: 16 rules stay, 500 others (a hundred with a sanitizer) get another target at every reload. A
/// conversation keeps its source port and its target whatever happens to its rule, and no two conversations
/// ever share them.
TEST(Reload, UnderTrafficIsNotNoticedBySessionsAndGivesNoTupleTwice) {
    constexpr unsigned kStaying = 16, kChanging = kIsSanitized ? 100 : 500, kConversations = 4096;
    Box box{kNetwork, kWorkers, 16384};  // sessions keep the places of rules that are gone
    const auto rules = [](unsigned version) {
        std::string text = "rules = (";
        for (unsigned n = 0; n < kStaying + kChanging; ++n) {
            const bool stays = n < kStaying;
            text += (n == 0 ? "" : ",") + udp_rule(1000 + n, stays ? 2000 + n : 3000 + version % 7);
        }
        return text + ");";
    };
    box.set_rules(rules(0));
    // Conversation c: client port 5000 + c to the external port 1000 + c % 516; new ones come with every
    // reload.
    std::atomic<unsigned> reloads = 0;
    Traffic traffic{
        box, [&reloads](unsigned worker, std::uint64_t number) {
            const auto newest = std::min<std::uint64_t>(kConversations, 64 + 200 * reloads.load());
            const auto c = static_cast<std::uint16_t>((number * 7919 + worker) % newest);
            return Traffic::Packet{static_cast<std::uint16_t>(5000 + c),
                                   static_cast<std::uint16_t>(1000 + c % (kStaying + kChanging)), c};
        }};
    Received received{box};
    box.start();
    const auto end = std::chrono::steady_clock::now() + 2s;
    while (std::chrono::steady_clock::now() < end || reloads < 25) {
        box.set_rules(rules(reloads + 1));
        ++reloads;
        std::this_thread::sleep_for(1ms);
    }
    // Whoever of the workers runs: one of them comes by all conversations.
    for (const auto sent = traffic.sent(); traffic.sent() < sent + 4 * kConversations;)
        std::this_thread::sleep_for(1ms);
    box.stop();
    std::map<std::uint16_t, std::pair<std::uint16_t, std::uint16_t>> tuple_of;
    std::map<std::pair<std::uint16_t, std::uint16_t>, std::uint16_t> owner_of;
    std::size_t packets = 0;
    std::set<std::uint16_t> targets;
    for (unsigned worker = 0; worker < kWorkers; ++worker) {
        for (const Forwarded& seen : received.by(worker)) {
            const std::pair tuple{seen.source_port, seen.target_port};
            const auto [mine, first] = tuple_of.emplace(seen.identification, tuple);
            ASSERT_EQ(mine->second, tuple) << "a conversation moved";
            const auto [owner, is_first] = owner_of.emplace(tuple, seen.identification);
            ASSERT_EQ(owner->second, seen.identification) << "two conversations share a tuple";
            targets.insert(seen.target_port);
            ++packets;
        }
    }
    // Both workers may meet a conversation's first packets at once.
    EXPECT_EQ(packets + box.count(Verdict::drop_session_opening), traffic.sent())
        << "each packet came through";
    EXPECT_LT(box.count(Verdict::drop_session_opening), kConversations);
    EXPECT_EQ(tuple_of.size(), kConversations);
    EXPECT_EQ(box.sessions(), kConversations);
    EXPECT_GT(targets.size(), kStaying + 2) << "rules did change while sessions opened";
    RecordProperty("reloads", static_cast<int>(reloads));
    box.feed_receive("lan", {});
    box.clear_sessions();
    box.pass(5000ms);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// L6: two rules trade their targets at each reload. New sessions of one burst see one version or the other.
TEST(Reload, BurstSeesTheOldRulesOrTheNewOnes) {
    Box box{kNetwork, kWorkers, 65536};
    const auto rules = [](unsigned version) {
        return "rules = (" + udp_rule(1000, 2000 + version % 2) + "," + udp_rule(1001, 2001 - version % 2) +
               ");";
    };
    box.set_rules(rules(0));
    Traffic traffic{box, [](unsigned worker, std::uint64_t number) {
                        return Traffic::Packet{
                            static_cast<std::uint16_t>(1024 + worker * 30000 + number / 2 % 30000),
                            static_cast<std::uint16_t>(1000 + number % 2),
                            static_cast<std::uint16_t>(number % 32)};
                    }};
    Received received{box};
    // Some bursts for each version, however fast the workers are.
    traffic.allow(0);
    box.start();
    unsigned reloads = 0;
    while (traffic.sent() < 60'000) {
        box.set_rules(rules(++reloads));
        traffic.allow(256 * reloads);
        std::this_thread::sleep_for(200us);
    }
    box.stop();
    std::array<std::size_t, 2> bursts{};
    for (unsigned worker = 0; worker < kWorkers; ++worker) {
        const auto& seen = received.by(worker);
        // Each worker's first 30 000 packets open sessions.
        for (std::size_t i = 0; i + 32 <= std::min<std::size_t>(seen.size(), 30'000); i += 32) {
            const unsigned version = seen[i].target_port - 2000U;
            for (std::size_t k = 0; k < 32; ++k)
                ASSERT_EQ(seen[i + k].target_port, 2000 + (version + k) % 2)
                    << "worker " << worker << ", " << i + k;
            ++bursts[version];
        }
    }
    EXPECT_GT(bursts[0], 10U);
    EXPECT_GT(bursts[1], 10U);
}

/// L5: whatever a worker was just about to open.
TEST(Reload, SessionOpenedByTheOldRulesDoesNotSurviveAKill) {
    constexpr int kRounds = kIsSanitized ? 20 : 100;
    Box box{kNetwork, kWorkers};
    const std::string with = "rules = (" + udp_rule(1000, 2000) + "," + udp_rule(1001, 2001) + ");";
    const std::string without = "rules = (" + udp_rule(1001, 2001) + ");";
    Traffic traffic{box, [](unsigned worker, std::uint64_t number) {
                        return Traffic::Packet{
                            static_cast<std::uint16_t>(1024 + worker * 30000 + number % 30000), 1000, 0};
                    }};
    box.watch_transmit("lan", [](std::uint16_t, const std::uint8_t*) {});
    BoxReports reports{box};
    box.set_rules(with);
    box.start();
    std::size_t killed = 0;
    for (int round = 0; round < kRounds; ++round) {
        const dataplane::RuleId victim = reports.id_of("r1000");
        const std::uint64_t before = traffic.sent();
        while (traffic.sent() < before + 200) std::this_thread::yield();
        box.set_rules(without);  // returns when no worker uses the old ones
        killed += reports.kill(victim);
        const std::uint64_t later = traffic.sent();
        while (traffic.sent() < later + 100) std::this_thread::yield();
        ASSERT_EQ(reports.sessions_of(victim), 0U) << "round " << round;
        box.set_rules(with);
    }
    box.stop();
    EXPECT_GT(killed, kRounds);
    box.feed_receive("lan", {});
    box.clear_sessions();
    box.pass(5000ms);
    box.expect_no_record_lost();
}

/// A rule in a place where another has been begins anew: its turns, its rate, and what its clients may have.
TEST(Reload, RuleInAnotherOnesPlaceInheritsNothing) {
    Box box{kNetwork, 1, 2};
    const auto rule = [](const std::string& name, const std::string& more) {
        return "{ name = \"" + name +
               "\"; protocol = \"udp\"; external = \"10.0.0.3:53\"; target = "
               "\"10.0.0.4:1,10.0.0.4:2\"; " +
               more + " }";
    };
    const auto target_of_new = [&](std::uint16_t client_port) -> unsigned {
        const auto sent = box.exchange(
            "lan", box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(client_port, 53), "lan");
        return sent.size() == 1 ? look_into(sent[0]).destination.port.host() : 0U;
    };
    const std::string limits = "max_sessions_per_source = 1; rate = 1;";
    box.set_rules("rules = (" + rule("a", limits) + ");");
    box.settle();
    box.take("lan");  // announcements
    EXPECT_EQ(target_of_new(1000), 1U);
    EXPECT_EQ(target_of_new(1001), 0U);
    EXPECT_EQ(box.count(Verdict::drop_source_full), 1U);
    EXPECT_EQ(target_of_new(1001), 0U);
    EXPECT_EQ(box.count(Verdict::drop_rate_limited), 1U);

    // As long as its session lives its place is not given away.
    box.set_rules("rules = (" + rule("b", limits) + ");");
    EXPECT_EQ(target_of_new(1002), 1U);
    auto both = control::parse_rules("rules = (" + rule("c", limits) + ");", "rules");
    control::Policies::Rules next;
    next.emplace(1000, both->at(0));
    const auto refused = box.policies().prepare_rules(box.dataplane(), next);
    ASSERT_FALSE(refused);
    EXPECT_EQ(
        refused.error().text(),
        "rules: got 1, and 2 places are taken, if only by sessions of rules that are gone; want fewer, or "
        "clear-sessions first");

    box.clear_sessions();
    box.pass(3000ms);
    box.set_rules("rules = (" + rule("c", limits) + ");");
    EXPECT_EQ(target_of_new(1003), 1U) << "the first turn, in time, and the client's first session";
}

}  // namespace
}  // namespace fwd::test
