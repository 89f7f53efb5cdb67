// SPDX-License-Identifier: BSD-3-Clause
#include "test/support/equal_crc.h"

#include <rte_hash_crc.h>

#include <array>
#include <bit>
#include <cstdint>

#include "test/support/packet_builder.h"

namespace fwd::test {
namespace {

/// Client address in the upper 32 bits, client port in the lower 16.
dataplane::FlowKey key_of(std::uint64_t client, std::uint16_t destination_port) {
    dataplane::FlowKey key;
    key.protocol = net::Protocol::udp;
    key.source = net::Ipv4Address::from_host(static_cast<std::uint32_t>(client >> 16U));
    key.source_port = net::be16::from_host(static_cast<std::uint16_t>(client));
    key.destination = "10.0.0.3"_ip;
    key.destination_port = net::be16::from_host(destination_port);
    return key;
}

/// CRC is linear: crc(a ^ b) = crc(a) ^ crc(b) ^ crc(0). So by Gaussian elimination over the 48 bits of the
/// client one finds what changes the CRC by a given value, and what does not change it at all.
struct LinearCrc {
    std::array<std::uint64_t, 32> client_for_bit{};  // 0: none
    std::array<std::uint32_t, 32> crc_for_bit{};
    std::vector<std::uint64_t> changes_nothing;

    LinearCrc() {
        const std::uint32_t zero = crc(key_of(0, 80));
        for (unsigned bit = 0; bit < 48; ++bit) {
            std::uint64_t client = std::uint64_t{1} << bit;
            std::uint32_t change = crc(key_of(client, 80)) ^ zero;
            if (reduce(change, client)) {
                const auto top = static_cast<unsigned>(std::bit_width(change)) - 1;
                client_for_bit[top] = client;
                crc_for_bit[top] = change;
            } else {
                changes_nothing.push_back(client);
            }
        }
    }
    /// Takes away what is known already; false when nothing is left.
    bool reduce(std::uint32_t& change, std::uint64_t& client) const {
        for (unsigned bit = 32; bit-- > 0;) {
            if ((change >> bit & 1U) != 0 && client_for_bit[bit] != 0) {
                change ^= crc_for_bit[bit];
                client ^= client_for_bit[bit];
            }
        }
        return change != 0;
    }
};

}  // namespace

std::uint32_t crc(const dataplane::FlowKey& key) {
    // rte_hash_crc() reads words, so words is what it has to get.
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(key);
    return rte_hash_crc(words.data(), sizeof words, 0);
}

std::vector<dataplane::FlowKey> keys_of_equal_crc(std::size_t count) {
    const LinearCrc linear;
    std::vector<dataplane::FlowKey> keys;
    for (const std::uint16_t port : {80, 81}) {
        std::uint64_t base = 0;
        std::uint32_t difference = crc(key_of(0, port)) ^ crc(key_of(0, 80));
        linear.reduce(difference, base);
        for (std::uint64_t pick = 0; pick < std::uint64_t{1} << linear.changes_nothing.size(); ++pick) {
            std::uint64_t client = base;
            for (std::size_t i = 0; i < linear.changes_nothing.size(); ++i) {
                if ((pick >> i & 1U) != 0) client ^= linear.changes_nothing[i];
            }
            const auto first_byte = client >> 40U;
            const bool usable = first_byte != 0 && first_byte != 10 && first_byte != 127 &&
                                first_byte < 224 && (client & 0xffffU) != 0;
            if (usable && keys.size() < count) keys.push_back(key_of(client, port));
        }
    }
    return keys;
}

}  // namespace fwd::test
