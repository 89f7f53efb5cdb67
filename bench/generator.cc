// SPDX-License-Identifier: BSD-3-Clause
// The traffic generator of bench/latency. It stands at both sides of a forwarder, sends the clients' packets,
// and checks, counts and times what comes out at the other side.
//
//     bench/latency --- command ----> generator --- wan ---> [forwarder] --- lan ---> generator
//                   <-- JSON line ---           <--- answers, while sessions open ---
//
//     open          opens the capture's sessions: first packet and answer of each (RFC 9693, phase 1)
//     trial PPS S   offers PPS packets a second of these sessions for S seconds (RFC 9693, phase 2)
//
// One thread does everything, so one clock stamps a packet and reads the stamp. A packet of a trial:
//
//     | headers 42 | sent (TSC) 8 | sequence 4 | trial 2 | zeros, in large frames | session's number 4 |
//
// Every packet that comes back must be one that was sent in this trial, once, with the addresses and ports
// that its session had when it was opened. Those and a sample of each trial are left in captures, to be
// checked byte by byte: forward.pcap, answers.pcap, sample.pcap.
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bench/capture.h"
#include "bench/histogram.h"

namespace fwd::bench {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::uint16_t kTxBurst = 32, kRxBurst = 64;
// After a pause of the generator's own it sends no longer a burst than this to catch up: what is late beyond
// it is not offered at all, or the forwarder would have to answer for a burst that the rate does not have.
constexpr double kMostBehind = 128;
constexpr unsigned kBuffers = 32767, kBufferCache = 256;
constexpr std::uint16_t kDescriptors = 1024;
constexpr std::size_t kMostWaiting = 512;
constexpr auto kRetry = 500ms;
constexpr auto kLinkWait = 20s;
// RFC 2544, section 23, waits two seconds for the last frames; nothing that is compared holds one so long.
constexpr double kQuietSeconds = 0.2;
constexpr std::uint64_t kSampleFrames = 1024;

constexpr std::size_t kUdpChecksum = kL4 + 6, kHeaderBytes = kL4 + 8;
constexpr std::size_t kAddresses = kIp + 12, kAddressBytes = 12;  // both addresses and both ports

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "bench/generator: %s\n", what.c_str());
    std::exit(1);
}

struct [[gnu::packed]] Stamp {
    std::uint64_t sent;
    std::uint32_t sequence;
    std::uint16_t trial;
};
static_assert(kHeaderBytes + sizeof(Stamp) + sizeof(std::uint32_t) == 60, "fits into the smallest frame");

/// All that is needed to make a packet of a session and to know it again: one cache line.
struct alignas(64) Session {
    std::array<std::uint8_t, kHeaderBytes> headers;  ///< as its client sends them
    std::uint16_t frame_bytes;
    std::uint32_t sum;  ///< for the UDP checksum: of everything but the stamp
    std::array<std::uint8_t, kAddressBytes> translated;
};
static_assert(sizeof(Session) == 64);

Session session_of(const Bytes& frame) {
    Session session{};
    std::copy_n(frame.begin(), kHeaderBytes, session.headers.begin());
    session.frame_bytes = static_cast<std::uint16_t>(frame.size());
    session.sum = static_cast<std::uint16_t>(~get<std::uint16_t>(frame.data(), kUdpChecksum));
    return session;
}

std::uint16_t udp_checksum(const Session& session, const Stamp& stamp) {
    std::array<std::uint16_t, sizeof stamp / 2> words;
    std::memcpy(words.data(), &stamp, sizeof stamp);
    std::uint32_t sum = std::accumulate(words.begin(), words.end(), session.sum);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    const auto checksum = static_cast<std::uint16_t>(~sum);
    return checksum == 0 ? 0xffff : checksum;  // RFC 768
}

void write_packet(rte_mbuf& packet, const Session& session, std::uint32_t number, const Stamp& stamp) {
    auto* const frame = rte_pktmbuf_mtod(&packet, std::uint8_t*);
    packet.data_len = session.frame_bytes;
    packet.pkt_len = session.frame_bytes;
    std::memcpy(frame, session.headers.data(), kHeaderBytes);
    const std::uint16_t checksum = udp_checksum(session, stamp);
    std::memcpy(frame + kUdpChecksum, &checksum, sizeof checksum);
    std::memcpy(frame + kHeaderBytes, &stamp, sizeof stamp);
    const std::size_t end = kHeaderBytes + sizeof stamp, tail = session.frame_bytes - sizeof number;
    std::memset(frame + end, 0, tail - end);
    std::memcpy(frame + tail, &number, sizeof number);
}

std::uint32_t last_number(const rte_mbuf& packet) {
    return get<std::uint32_t>(rte_pktmbuf_mtod(&packet, const std::uint8_t*), packet.data_len - 4U);
}

/// A forwarder may have counted the TTL down, but the target sends packets of its own.
Bytes answer_with_fresh_ttl(const std::uint8_t* sent, std::size_t bytes) {
    constexpr std::size_t kTtl = kIp + 8, kIpChecksum = kIp + 10;
    Bytes answer = answer_to(sent, bytes);
    answer[kTtl] = 64;
    put(answer, kIpChecksum, std::uint16_t{0});
    put(answer, kIpChecksum, rte_ipv4_cksum(reinterpret_cast<const rte_ipv4_hdr*>(answer.data() + kIp)));
    return answer;
}

bool is_ipv4(const rte_mbuf& packet) {
    return packet.data_len >= 60 && get<std::uint16_t>(rte_pktmbuf_mtod(&packet, const std::uint8_t*), 12) ==
                                        rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
}

class Port {
 public:
    Port(const std::string& device, std::uint16_t rx_queues, rte_mempool* pool)
        : rx_queues_{rx_queues}, pool_{pool} {
        const rte_eth_conf conf{};
        bool ok = rte_eth_dev_get_port_by_name(device.c_str(), &id_) == 0 &&
                  rte_eth_dev_configure(id_, rx_queues, 1, &conf) == 0 &&
                  rte_eth_tx_queue_setup(id_, 0, kDescriptors, SOCKET_ID_ANY, nullptr) == 0;
        for (std::uint16_t q = 0; q < rx_queues; ++q)
            ok = ok && rte_eth_rx_queue_setup(id_, q, kDescriptors, SOCKET_ID_ANY, nullptr, pool) == 0;
        if (!ok || rte_eth_dev_start(id_) != 0) fail("can't start " + device);
    }

    bool is_up() const {
        rte_eth_link link{};
        return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
    }

    /// @return how many the forwarder's ring has taken; the others are freed
    unsigned send(std::span<rte_mbuf*> packets) {
        const auto count = static_cast<std::uint16_t>(packets.size());
        const std::uint16_t taken = rte_eth_tx_burst(id_, 0, packets.data(), count);
        if (taken < count) rte_pktmbuf_free_bulk(packets.data() + taken, count - taken);
        return taken;
    }
    void send(const Bytes& frame) {
        rte_mbuf* packet = rte_pktmbuf_alloc(pool_);
        if (packet == nullptr) return;
        std::memcpy(rte_pktmbuf_append(packet, static_cast<std::uint16_t>(frame.size())), frame.data(),
                    frame.size());
        send({&packet, 1});
    }

    /// Calls look(packets) for each burst that is there, and frees it afterwards.
    template <typename Look>
    void receive(Look look) {
        std::array<rte_mbuf*, kRxBurst> packets;
        for (std::uint16_t q = 0; q < rx_queues_; ++q) {
            const std::uint16_t count = rte_eth_rx_burst(id_, q, packets.data(), kRxBurst);
            if (count == 0) continue;
            look(std::span{packets}.first(count));
            rte_pktmbuf_free_bulk(packets.data(), count);
        }
    }

 private:
    std::uint16_t id_ = 0;
    std::uint16_t rx_queues_;
    rte_mempool* pool_;
};

/// When packets are due at a rate.
class Pace {
 public:
    Pace(double packets_per_cycle, std::uint64_t now)
        : packets_per_cycle_{packets_per_cycle}, start_{static_cast<double>(now)} {}

    std::uint16_t due(std::uint64_t now) {
        double due = (static_cast<double>(now) - start_) * packets_per_cycle_ - sent_;
        if (due > kMostBehind) {
            start_ += (due - kMostBehind) / packets_per_cycle_;
            due = kMostBehind;
        }
        return static_cast<std::uint16_t>(std::clamp(due, 0.0, double{kTxBurst}));
    }
    void sent(std::uint16_t count) { sent_ += count; }

 private:
    double packets_per_cycle_, start_, sent_ = 0;
};

struct Trial {
    std::uint64_t offered = 0;  ///< what was sent, or found the forwarder's ring full
    std::uint64_t refused = 0;  ///< of those, what found the ring full
    std::uint64_t received = 0;
    std::uint64_t wrong = 0;          ///< foreign, translated wrongly, or for a second time
    std::string first_wrong;          ///< in hex
    std::uint64_t longest_pause = 0;  ///< of the generator, in cycles: part of the longest round trips
    double seconds = 0;
    Histogram round_trips;  ///< in cycles
};

class Generator {
 public:
    Generator(Port wan, Port lan, const Capture& capture, std::string directory, rte_mempool* pool)
        : wan_{wan}, lan_{lan}, directory_{std::move(directory)}, pool_{pool} {
        for (std::size_t i = 0; i < capture.size(); ++i) {
            first_packets_.push_back(capture[i]);
            sessions_.push_back(session_of(first_packets_.back()));
        }
    }

    void wait_for_links() const {
        const auto end = Clock::now() + kLinkWait;
        while (!wan_.is_up() || !lan_.is_up()) {
            if (Clock::now() > end) fail("the links to the forwarder do not come up");
            std::this_thread::sleep_for(10ms);
        }
    }

    /// Returns when the last session has been answered.
    void open_sessions();

    Trial run_trial(double packets_per_second, double seconds);

 private:
    void send_due(std::uint16_t count, std::uint64_t now, Trial& trial);
    void look_at(std::span<rte_mbuf*> packets, std::uint64_t now, Trial& trial);
    bool is_right(const rte_mbuf& packet, const Stamp& stamp);

    Port wan_, lan_;
    std::string directory_;
    rte_mempool* pool_;
    std::vector<Session> sessions_;
    std::vector<Bytes> first_packets_;
    std::uint32_t next_session_ = 0;
    std::uint16_t trial_number_ = 0;
    std::vector<bool> returned_;  ///< by sequence
    std::uint64_t sample_every_ = 1;
    std::vector<Bytes> sample_;
};

void Generator::open_sessions() {
    // Not the order of the trials: what a forwarder keeps of the sessions should not lie in that order too.
    std::vector<std::uint32_t> order(sessions_.size());
    std::iota(order.begin(), order.end(), 0U);
    std::shuffle(order.begin(), order.end(), std::mt19937{1});
    std::vector<Bytes> forward(sessions_.size()), answers(sessions_.size());
    std::size_t next = 0, waiting = 0, established = 0;
    Clock::time_point progress = Clock::now();

    const auto answer = [&](std::span<rte_mbuf*> packets) {
        for (const rte_mbuf* packet : packets) {
            if (!is_ipv4(*packet)) continue;
            const std::uint32_t number = last_number(*packet);
            if (number >= sessions_.size()) continue;
            const auto* const frame = rte_pktmbuf_mtod(packet, const std::uint8_t*);
            std::memcpy(sessions_[number].translated.data(), frame + kAddresses, kAddressBytes);
            forward[number].assign(frame, frame + packet->data_len);
            lan_.send(answer_with_fresh_ttl(frame, packet->data_len));
        }
    };
    const auto note_answer = [&](std::span<rte_mbuf*> packets) {
        for (const rte_mbuf* packet : packets) {
            if (!is_ipv4(*packet)) continue;
            const std::uint32_t number = last_number(*packet);
            if (number >= sessions_.size() || !answers[number].empty()) continue;
            const auto* const frame = rte_pktmbuf_mtod(packet, const std::uint8_t*);
            answers[number].assign(frame, frame + packet->data_len);
            wan_.send(first_packets_[number]);  // a client that goes on
            ++established;
            waiting -= std::min<std::size_t>(waiting, 1);
            progress = Clock::now();
        }
    };
    while (established < sessions_.size()) {
        while (next < order.size() && waiting < kMostWaiting) {
            const std::uint32_t number = order[next++];
            if (!answers[number].empty()) continue;
            wan_.send(first_packets_[number]);
            ++waiting;
        }
        lan_.receive(answer);
        wan_.receive(note_answer);
        if (Clock::now() - progress > kRetry) {  // those again that got lost
            next = waiting = 0;
            progress = Clock::now();
        }
    }
    write_capture(directory_ + "/forward.pcap", forward);
    write_capture(directory_ + "/answers.pcap", answers);
}

void Generator::send_due(std::uint16_t count, std::uint64_t now, Trial& trial) {
    std::array<rte_mbuf*, kTxBurst> packets;
    if (rte_pktmbuf_alloc_bulk(pool_, packets.data(), count) != 0) fail("no packet buffers are left");
    for (std::uint16_t i = 0; i < count; ++i) {
        const Stamp stamp{
            .sent = now, .sequence = static_cast<std::uint32_t>(trial.offered + i), .trial = trial_number_};
        write_packet(*packets[i], sessions_[next_session_], next_session_, stamp);
        if (++next_session_ == sessions_.size()) next_session_ = 0;
    }
    trial.offered += count;
    trial.refused += count - wan_.send(std::span{packets}.first(count));
}

bool Generator::is_right(const rte_mbuf& packet, const Stamp& stamp) {
    const std::uint32_t number = last_number(packet);
    if (number >= sessions_.size()) return false;
    const Session& session = sessions_[number];
    const auto* const frame = rte_pktmbuf_mtod(&packet, const std::uint8_t*);
    if (packet.pkt_len != session.frame_bytes || packet.nb_segs != 1 ||
        std::memcmp(frame + kAddresses, session.translated.data(), kAddressBytes) != 0)
        return false;
    if (stamp.sequence >= returned_.size() || returned_[stamp.sequence]) return false;
    returned_[stamp.sequence] = true;
    return true;
}

void Generator::look_at(std::span<rte_mbuf*> packets, std::uint64_t now, Trial& trial) {
    for (const rte_mbuf* packet : packets) rte_prefetch0(rte_pktmbuf_mtod(packet, void*));
    for (const rte_mbuf* packet : packets) {
        const std::uint32_t number = packet->data_len >= 60 ? last_number(*packet) : 0;
        if (number < sessions_.size()) rte_prefetch0(&sessions_[number]);
    }
    for (const rte_mbuf* packet : packets) {
        if (!is_ipv4(*packet)) continue;  // ARP
        const auto* const frame = rte_pktmbuf_mtod(packet, const std::uint8_t*);
        const auto stamp = get<Stamp>(frame, kHeaderBytes);
        if (stamp.trial == static_cast<std::uint16_t>(trial_number_ - 1))
            continue;  // counted as lost already
        if (stamp.trial != trial_number_ || !is_right(*packet, stamp)) {
            if (trial.wrong++ == 0) {
                for (std::size_t i = 0; i < packet->data_len; ++i) {
                    std::array<char, 3> hex{};
                    std::snprintf(hex.data(), hex.size(), "%02x", frame[i]);
                    trial.first_wrong += hex.data();
                }
            }
            continue;
        }
        ++trial.received;
        trial.round_trips.add(now - stamp.sent);
        if (stamp.sequence % sample_every_ == 0) sample_.emplace_back(frame, frame + packet->data_len);
    }
}

Trial Generator::run_trial(double packets_per_second, double seconds) {
    const auto hz = static_cast<double>(rte_get_tsc_hz());
    const double most = packets_per_second * seconds + kMostBehind;
    returned_.assign(static_cast<std::size_t>(most) + kTxBurst, false);
    sample_.clear();
    sample_every_ = std::max<std::uint64_t>(static_cast<std::uint64_t>(most) / kSampleFrames, 1);
    ++trial_number_;

    Trial trial;
    const std::uint64_t start = rte_rdtsc();
    const auto end = start + static_cast<std::uint64_t>(seconds * hz);
    Pace pace{packets_per_second / hz, start};
    std::uint64_t last = start, last_packet = start;
    const auto receive = [&] {
        lan_.receive([&](std::span<rte_mbuf*> packets) {
            last_packet = rte_rdtsc();
            look_at(packets, last_packet, trial);
        });
        wan_.receive([](std::span<rte_mbuf*>) {});  // ARP
    };
    for (std::uint64_t now = start; now < end; now = rte_rdtsc()) {
        trial.longest_pause = std::max(trial.longest_pause, now - last);
        last = now;
        if (const std::uint16_t due = pace.due(now); due != 0) {
            send_due(due, now, trial);
            pace.sent(due);
        }
        receive();
    }
    trial.seconds = static_cast<double>(last - start) / hz;
    const auto quiet = static_cast<std::uint64_t>(kQuietSeconds * hz);
    last_packet = std::max(last_packet, last);
    while (trial.received + trial.wrong < trial.offered - trial.refused && rte_rdtsc() - last_packet < quiet)
        receive();
    write_capture(directory_ + "/sample.pcap", sample_);
    return trial;
}

void print(const Trial& trial) {
    const double microseconds = 1e6 / static_cast<double>(rte_get_tsc_hz());
    const auto us = [&](std::uint64_t cycles) { return static_cast<double>(cycles) * microseconds; };
    const Histogram& times = trial.round_trips;
    std::printf(
        "{\"offered\": %lu, \"refused\": %lu, \"received\": %lu, \"wrong\": %lu, \"first_wrong\": \"%s\", "
        "\"seconds\": %.6f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"p99.9_us\": %.3f, \"max_us\": %.3f, "
        "\"longest_pause_us\": %.3f}\n",
        trial.offered, trial.refused, trial.received, trial.wrong, trial.first_wrong.c_str(), trial.seconds,
        us(times.percentile(0.5)), us(times.percentile(0.99)), us(times.percentile(0.999)), us(times.max()),
        us(trial.longest_pause));
}

int run(std::span<char*> arguments) {
    if (arguments.size() != 5) fail("usage: generator EAL-ARGUMENTS -- WAN LAN RX-QUEUES CAPTURE DIRECTORY");
    const auto rx_queues = static_cast<std::uint16_t>(std::atoi(arguments[2]));
    rte_mempool* const pool = rte_pktmbuf_pool_create("generator", kBuffers, kBufferCache, 0,
                                                      RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool == nullptr) fail("no memory for packet buffers");
    Generator generator{Port{arguments[0], rx_queues, pool}, Port{arguments[1], rx_queues, pool},
                        Capture{arguments[3]}, arguments[4], pool};
    generator.wait_for_links();
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words{line};
        std::string command;
        double packets_per_second = 0, seconds = 0;
        words >> command >> packets_per_second >> seconds;
        if (command == "open") {
            generator.open_sessions();
            std::puts("{}");
        } else if (command == "trial" && packets_per_second > 0 && seconds > 0) {
            print(generator.run_trial(packets_per_second, seconds));
        } else {
            fail("got '" + line + "', want open or trial PPS SECONDS");
        }
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace
}  // namespace fwd::bench

int main(int argc, char** argv) {
    const int eal = rte_eal_init(argc, argv);
    if (eal < 0) fwd::bench::fail("DPDK does not start");
    return fwd::bench::run(
        std::span{argv, static_cast<std::size_t>(argc)}.subspan(static_cast<std::size_t>(eal) + 1));
}
