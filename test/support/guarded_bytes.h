// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

namespace fwd::test {

/// Memory whose last byte lies in front of a page that can't be touched: reading on is a crash, not luck.
class GuardedMemory {
 public:
    explicit GuardedMemory(std::size_t least_bytes) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        bytes_ = (least_bytes + page - 1) / page * page;
        void* pages =
            mmap(nullptr, bytes_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) std::abort();
        begin_ = static_cast<std::uint8_t*>(pages);
        mapped_bytes_ = bytes_ + page;
        if (mprotect(begin_ + bytes_, page, PROT_NONE) != 0) std::abort();
    }
    ~GuardedMemory() { munmap(begin_, mapped_bytes_); }
    GuardedMemory(const GuardedMemory&) = delete;
    GuardedMemory& operator=(const GuardedMemory&) = delete;

    std::uint8_t* begin() const { return begin_; }
    std::size_t bytes() const { return bytes_; }

 private:
    std::uint8_t* begin_;
    std::size_t bytes_;
    std::size_t mapped_bytes_;
};

/// A copy of some bytes that ends where its memory ends.
class GuardedBytes {
 public:
    /// @param headroom that many bytes in front can be written, as in a packet buffer
    explicit GuardedBytes(std::span<const std::uint8_t> bytes, std::size_t headroom = 0)
        : memory_{headroom + bytes.size() + 1}, size_{bytes.size()} {
        std::ranges::copy(bytes, data());
    }
    std::uint8_t* data() const { return memory_.begin() + memory_.bytes() - size_; }
    std::size_t size() const { return size_; }
    /// Where the memory begins.
    std::uint8_t* buffer() const { return memory_.begin(); }
    std::size_t buffer_bytes() const { return memory_.bytes(); }
    std::span<const std::uint8_t> span() const { return {data(), size_}; }

 private:
    GuardedMemory memory_;
    std::size_t size_;
};

}  // namespace fwd::test
