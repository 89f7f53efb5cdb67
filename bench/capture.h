// SPDX-License-Identifier: BSD-3-Clause
// Captures of the comparisons' traffic (comparison/captures.py), and what answers to its packets look like.
#pragma once

#include <rte_byteorder.h>
#include <rte_ip.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace fwd::bench {

/// Where headers begin: frames are untagged, IPv4 headers without options.
inline constexpr std::size_t kIp = 14, kL4 = 34;
inline constexpr std::uint8_t kTcp = 6, kSyn = 0x02, kAck = 0x10;

using Bytes = std::vector<std::uint8_t>;

struct Pcap {
    struct Header {
        std::uint32_t magic = 0xa1b2c3d4;
        std::uint16_t major = 2, minor = 4;
        std::uint32_t zone = 0, accuracy = 0, longest = 65535, ethernet = 1;
    };
    struct Record {
        std::uint32_t seconds = 0, microseconds = 0, bytes = 0, original_bytes = 0;
    };
};

/// All frames of a capture in one piece.
class Capture {
 public:
    explicit Capture(const std::string& file) {
        std::ifstream in{file, std::ios::binary};
        bytes_.assign(std::istreambuf_iterator<char>{in}, {});
        for (std::size_t at = sizeof(Pcap::Header); at + sizeof(Pcap::Record) <= bytes_.size();) {
            Pcap::Record record;
            std::memcpy(&record, bytes_.data() + at, sizeof record);
            at += sizeof record;
            frames_.push_back({at, record.bytes});
            at += record.bytes;
        }
    }
    std::size_t size() const { return frames_.size(); }
    Bytes operator[](std::size_t i) const {
        const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(frames_[i].at);
        return {begin, begin + frames_[i].bytes};
    }

 private:
    struct Place {
        std::size_t at;
        std::uint32_t bytes;
    };
    Bytes bytes_;
    std::vector<Place> frames_;
};

/// Whoever waits for the file finds it complete.
inline void write_capture(const std::string& file, const std::vector<Bytes>& frames) {
    {
        std::ofstream out{file + ".part", std::ios::binary};
        const Pcap::Header header;
        out.write(reinterpret_cast<const char*>(&header), sizeof header);
        for (const Bytes& frame : frames) {
            const auto bytes = static_cast<std::uint32_t>(frame.size());
            const Pcap::Record record{.bytes = bytes, .original_bytes = bytes};
            out.write(reinterpret_cast<const char*>(&record), sizeof record);
            out.write(reinterpret_cast<const char*>(frame.data()), bytes);
        }
    }
    std::rename((file + ".part").c_str(), file.c_str());
}

template <typename T>
T get(const std::uint8_t* frame, std::size_t offset) {
    T value;
    std::memcpy(&value, frame + offset, sizeof value);
    return value;
}
template <typename T>
void put(Bytes& frame, std::size_t offset, T value) {
    std::memcpy(frame.data() + offset, &value, sizeof value);
}

inline bool is_tcp(const std::uint8_t* frame) {
    return frame[kIp + 9] == kTcp;
}
/// The captures' packets end with their session's number.
inline std::uint32_t number_of(const std::uint8_t* frame) {
    const std::size_t total = rte_be_to_cpu_16(get<std::uint16_t>(frame, kIp + 2));
    return get<std::uint32_t>(frame, kIp + total - 4);
}

inline void set_l4_checksum(Bytes& frame) {
    const std::size_t at = kL4 + (is_tcp(frame.data()) ? 16 : 6);
    put(frame, at, std::uint16_t{0});
    put(frame, at,
        rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(frame.data() + kIp), frame.data() + kL4));
}

inline void set_tcp_flags(Bytes& frame, std::uint8_t flags) {
    if (!is_tcp(frame.data())) return;
    frame[kL4 + 13] = flags;
    set_l4_checksum(frame);
}

/// What the target sends back: addresses and ports the other way round, which leaves the checksums as they
/// are.
inline Bytes answer_to(const std::uint8_t* sent, std::size_t bytes) {
    Bytes answer{sent, sent + bytes};
    std::swap_ranges(answer.begin(), answer.begin() + 6, answer.begin() + 6);
    put(answer, kIp + 12, get<std::uint32_t>(sent, kIp + 16));
    put(answer, kIp + 16, get<std::uint32_t>(sent, kIp + 12));
    put(answer, kL4, get<std::uint16_t>(sent, kL4 + 2));
    put(answer, kL4 + 2, get<std::uint16_t>(sent, kL4));
    set_tcp_flags(answer, kSyn | kAck);
    return answer;
}

}  // namespace fwd::bench
