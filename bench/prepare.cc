// SPDX-License-Identifier: BSD-3-Clause
// Loaded into a forwarder (LD_PRELOAD) by bench/throughput, to bring it into the state that is measured. The
// forwarder itself stays as it is; when this library is done, its callbacks are gone and only a counter is
// read.
//
//     waiting ----> opening ----------------------> sampling ------------> measured
//      what net_pcap    real first packets, answers     the next frames that   nothing between source
//      replays is       and the clients' next, until    leave are written      and sink
//      kept back        every session has had them      to a capture
//
// While the file FWD_BENCH_HOLD is there the source's packets are thrown away, so that sessions come to their
// end; with that one of its callbacks stays.
//
// - rte_pktmbuf_pool_create, rte_mempool_create: net_pcap with infinite_rx needs a packet buffer for every
//   packet of its capture.
// - rte_eth_dev_start: callbacks for the two devices, whose names are given.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/capture.h"

namespace {

using namespace fwd::bench;

constexpr std::size_t kBatch = 32, kMostWaiting = 512;
constexpr std::size_t kSampleFrames = 8192;
constexpr auto kRetry = std::chrono::milliseconds{500};

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

template <typename Function>
Function* next_symbol(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// What bench/throughput reads.
struct Counter {
    std::atomic<std::uint64_t> sequence;
    std::uint64_t nanoseconds, sent_packets;
};

class Preparation {
 public:
    static Preparation& get() {
        static Preparation* const only = new Preparation;  // outlives every thread
        return *only;
    }

    void note_pool(rte_mempool* pool) { pool_ = pool; }
    void device_started(std::uint16_t port) {
        char name[RTE_ETH_NAME_MAX_LEN];
        if (rte_eth_dev_get_name_by_port(port, name) != 0) return;
        if (name == setting("FWD_BENCH_OUT")) out_ = port;
        for (const std::size_t side : {kWan, kLan}) {
            Device& device = devices_[side];
            if (name != device.name || device.ready) continue;
            rte_eth_dev_info info{};
            rte_eth_dev_info_get(port, &info);
            rte_eth_macaddr_get(port, &device.mac);
            device.port = port;
            device.ready = true;
            for (std::uint16_t q = 0; q < info.nb_rx_queues; ++q)
                device.rx.push_back(rte_eth_add_rx_callback(port, q, received, &device));
            for (std::uint16_t q = 0; q < info.nb_tx_queues; ++q)
                device.tx.push_back(rte_eth_add_tx_callback(port, q, transmitted, &device));
        }
        if (!thread_.joinable()) thread_ = std::thread{[this] { watch(); }};
    }

 private:
    static constexpr std::size_t kWan = 0, kLan = 1;  // of devices_
    enum class State { waiting, opening, sampling, sampled };
    struct Device {
        std::string name;
        std::uint16_t port = 0;
        bool ready = false;
        rte_ether_addr mac{};
        std::deque<Bytes> inbox;
        std::vector<const rte_eth_rxtx_callback*> rx, tx;
    };

    Preparation()
        : capture_{setting("FWD_BENCH_OPEN")},
          done_(capture_.size(), false),
          answered_(capture_.size(), false),
          order_(capture_.size()) {
        // Not the order of the replay: what a forwarder keeps of the sessions should not lie in that order
        // too.
        std::iota(order_.begin(), order_.end(), 0U);
        std::shuffle(order_.begin(), order_.end(), std::mt19937{1});
        devices_[kWan].name = setting("FWD_BENCH_WAN");
        devices_[kLan].name = setting("FWD_BENCH_LAN");
    }

    static std::uint16_t received(std::uint16_t, std::uint16_t, rte_mbuf** packets, std::uint16_t count,
                                  std::uint16_t room, void* device) {
        return get().inject(*static_cast<Device*>(device), packets, count, room);
    }
    static std::uint16_t transmitted(std::uint16_t, std::uint16_t, rte_mbuf** packets, std::uint16_t count,
                                     void* device) {
        get().look_at(*static_cast<Device*>(device), packets, count);
        return count;
    }

    std::uint16_t inject(Device& device, rte_mbuf** packets, std::uint16_t count, std::uint16_t room) {
        const State state = state_.load(std::memory_order_relaxed);
        if (held_.load(std::memory_order_relaxed)) {
            rte_pktmbuf_free_bulk(packets, count);
            return 0;
        }
        if (state != State::waiting && state != State::opening) return count;
        rte_pktmbuf_free_bulk(packets, count);
        if (state == State::waiting) return 0;
        const std::lock_guard lock{mutex_};
        if (&device == &devices_[kWan]) top_up();
        count = 0;
        while (count < room && !device.inbox.empty()) {
            rte_mbuf* packet = rte_pktmbuf_alloc(pool_);
            if (packet == nullptr) break;
            const Bytes& frame = device.inbox.front();
            std::memcpy(rte_pktmbuf_append(packet, static_cast<std::uint16_t>(frame.size())), frame.data(),
                        frame.size());
            std::memcpy(rte_pktmbuf_mtod(packet, void*), &device.mac, sizeof device.mac);
            packets[count++] = packet;
            device.inbox.pop_front();
        }
        return count;
    }

    /// More first packets, and those again that got lost.
    void top_up() {
        const auto now = std::chrono::steady_clock::now();
        if (next_ == capture_.size() && finished_ < capture_.size() && now - progress_ > kRetry) next_ = 0;
        while (next_ < capture_.size() && devices_[kWan].inbox.size() < kBatch &&
               devices_[kLan].inbox.size() < kMostWaiting) {
            const std::uint32_t number = order_[next_++];
            if (done_[number]) continue;
            Bytes frame = capture_[number];
            set_tcp_flags(frame, kSyn);
            devices_[kWan].inbox.push_back(std::move(frame));
            progress_ = now;
        }
    }

    void look_at(Device& device, rte_mbuf** packets, std::uint16_t count) {
        const State state = state_.load();
        if (state != State::opening && state != State::sampling) return;
        const std::lock_guard lock{mutex_};
        for (std::uint16_t i = 0; i < count; ++i) {
            const auto* frame = rte_pktmbuf_mtod(packets[i], const std::uint8_t*);
            if (packets[i]->data_len < 60 ||
                fwd::bench::get<std::uint16_t>(frame, 12) != rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4))
                continue;
            if (state == State::sampling) {
                if (device.port == out_ && sample_.size() < kSampleFrames)
                    sample_.emplace_back(frame, frame + packets[i]->data_len);
            } else {
                go_on(device, frame, packets[i]->data_len);
            }
        }
        if (state == State::sampling && sample_.size() >= kSampleFrames) state_ = State::sampled;
        if (state == State::opening && finished_ == capture_.size()) state_ = State::sampling;
    }

    void go_on(const Device& device, const std::uint8_t* frame, std::size_t bytes) {
        const std::uint32_t number = number_of(frame);
        if (number >= capture_.size() || done_[number]) return;
        const bool to_target = &device == &devices_[kLan];
        const bool syn = is_tcp(frame) && (frame[kL4 + 13] & kSyn) != 0;
        if (to_target && (syn || !answered_[number])) {
            devices_[kLan].inbox.push_back(answer_to(frame, bytes));
        } else if (!to_target) {
            answered_[number] = true;
            devices_[kWan].inbox.push_back(capture_[number]);
        } else {
            done_[number] = true;
            ++finished_;
            progress_ = std::chrono::steady_clock::now();
        }
    }

    void watch() {
        cpu_set_t core;
        CPU_ZERO(&core);
        CPU_SET(std::atoi(setting("FWD_BENCH_CONTROL_CORE").c_str()), &core);
        pthread_setaffinity_np(pthread_self(), sizeof core, &core);
        const int file = open(setting("FWD_BENCH_COUNTER").c_str(), O_RDWR | O_CLOEXEC);
        auto* counter = static_cast<Counter*>(
            mmap(nullptr, sizeof(Counter), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
        if (counter == MAP_FAILED) {
            std::perror("bench/prepare: FWD_BENCH_COUNTER");
            return;
        }
        for (;;) {
            held_ = !hold_.empty() && access(hold_.c_str(), F_OK) == 0;
            if (state_ == State::waiting && access(setting("FWD_BENCH_GO").c_str(), F_OK) == 0)
                state_ = capture_.size() == 0 ? State::sampling : State::opening;
            if (state_ == State::sampled && !devices_[kWan].rx.empty()) finish();
            rte_eth_stats stats{};
            if (out_ != RTE_MAX_ETHPORTS && rte_eth_stats_get(out_, &stats) == 0) {
                timespec now{};
                clock_gettime(CLOCK_MONOTONIC, &now);
                counter->sequence.fetch_add(1);
                counter->nanoseconds = static_cast<std::uint64_t>(now.tv_sec) * 1000000000U +
                                       static_cast<std::uint64_t>(now.tv_nsec);
                counter->sent_packets = stats.opackets;
                counter->sequence.fetch_add(1);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{5});
        }
    }

    void finish() {
        for (Device& device : devices_) {
            for (std::size_t q = 0; q < device.rx.size() && hold_.empty(); ++q)
                rte_eth_remove_rx_callback(device.port, static_cast<std::uint16_t>(q), device.rx[q]);
            for (std::size_t q = 0; q < device.tx.size(); ++q)
                rte_eth_remove_tx_callback(device.port, static_cast<std::uint16_t>(q), device.tx[q]);
            device.rx.clear();
            device.tx.clear();
        }
        const std::lock_guard lock{mutex_};
        write_capture(setting("FWD_BENCH_SAMPLE"), sample_);
    }

    const std::string hold_ = setting("FWD_BENCH_HOLD");
    std::atomic<bool> held_{false};
    std::array<Device, 2> devices_;
    std::atomic<State> state_{State::waiting};
    std::mutex mutex_;
    Capture capture_;
    std::vector<bool> done_, answered_;
    std::vector<std::uint32_t> order_;
    std::size_t next_ = 0, finished_ = 0;
    std::chrono::steady_clock::time_point progress_{};
    std::vector<Bytes> sample_;
    rte_mempool* pool_ = nullptr;
    std::uint16_t out_ = RTE_MAX_ETHPORTS;
    std::thread thread_;
};

}  // namespace

namespace {

unsigned buffers(unsigned asked) {
    const std::string count = setting("FWD_BENCH_BUFFERS");
    return count.empty() ? asked : static_cast<unsigned>(std::atol(count.c_str()));
}
std::uint16_t buffer_bytes(std::uint16_t asked) {
    const std::string bytes = setting("FWD_BENCH_BUFFER_BYTES");
    return bytes.empty() ? asked : static_cast<std::uint16_t>(std::atoi(bytes.c_str()));
}

}  // namespace

extern "C" {

rte_mempool* rte_pktmbuf_pool_create(const char* name, unsigned n, unsigned cache_size,
                                     std::uint16_t priv_size, std::uint16_t data_room_size, int socket_id) {
    const auto real = next_symbol<decltype(rte_pktmbuf_pool_create)>("rte_pktmbuf_pool_create");
    rte_mempool* pool =
        real(name, buffers(n), cache_size, priv_size, buffer_bytes(data_room_size), socket_id);
    Preparation::get().note_pool(pool);
    return pool;
}

/// Of pools of packet buffers alone.
rte_mempool* rte_mempool_create(const char* name, unsigned n, unsigned elt_size, unsigned cache_size,
                                unsigned private_data_size, rte_mempool_ctor_t* mp_init, void* mp_init_arg,
                                rte_mempool_obj_cb_t* obj_init, void* obj_init_arg, int socket_id,
                                unsigned flags) {
    const auto real = next_symbol<decltype(rte_mempool_create)>("rte_mempool_create");
    if (mp_init != rte_pktmbuf_pool_init || mp_init_arg == nullptr)
        return real(name, n, elt_size, cache_size, private_data_size, mp_init, mp_init_arg, obj_init,
                    obj_init_arg, socket_id, flags);
    auto sizes = *static_cast<const rte_pktmbuf_pool_private*>(mp_init_arg);
    const unsigned others = elt_size - sizes.mbuf_data_room_size;
    sizes.mbuf_data_room_size = buffer_bytes(sizes.mbuf_data_room_size);
    rte_mempool* pool = real(name, buffers(n), others + sizes.mbuf_data_room_size, cache_size,
                             private_data_size, mp_init, &sizes, obj_init, obj_init_arg, socket_id, flags);
    Preparation::get().note_pool(pool);
    return pool;
}

int rte_eth_dev_start(std::uint16_t port) {
    const auto real = next_symbol<decltype(rte_eth_dev_start)>("rte_eth_dev_start");
    const int result = real(port);
    if (result == 0) Preparation::get().device_started(port);
    return result;
}
}
