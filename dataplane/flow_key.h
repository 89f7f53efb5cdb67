// SPDX-License-Identifier: BSD-3-Clause
// What a flow is looked up by, and the hash that picks its bucket.
//
// The key's bytes lie as they lie in an IPv4 packet without options, from the TTL on, so that a worker gets
// it with one load, one AND and one OR:
//
//     packet:  TTL   protocol  checksum  source  destination  source port  destination port
//     key:     link  protocol  0         source  destination  source port  destination port
#pragma once

#include <smmintrin.h>
#include <wmmintrin.h>

#include <cstdint>
#include <type_traits>

#include "dataplane/net/address.h"

namespace fwd::dataplane {

/// Index of a link, 0 to kMaxLinks - 1.
struct LinkId {
    std::uint8_t value = 0;
    friend constexpr auto operator<=>(LinkId, LinkId) noexcept = default;
};
inline constexpr std::size_t kMaxLinks = 32;

struct alignas(16) FlowKey {
    LinkId ingress;  ///< the link by which the flow's packets arrive: another link's look-alikes do not match
    net::Protocol protocol = net::Protocol::tcp;
    std::uint16_t zero = 0;
    net::Ipv4Address source;
    net::Ipv4Address destination;
    net::be16 source_port;
    net::be16 destination_port;

    /// From a parsed packet without IP options whose L4 header has its ports in front; `ip` is its IP header.
    static FlowKey from_packet(LinkId ingress, const std::uint8_t* ip) noexcept {
        const __m128i mask = _mm_set_epi32(-1, -1, -1, 0x0000ff00);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(ip + 8));
        FlowKey key;
        _mm_store_si128(reinterpret_cast<__m128i*>(&key),
                        _mm_or_si128(_mm_and_si128(bytes, mask), _mm_cvtsi32_si128(ingress.value)));
        return key;
    }
    net::Endpoint source_endpoint() const noexcept { return {source, source_port}; }
    net::Endpoint destination_endpoint() const noexcept { return {destination, destination_port}; }
    friend constexpr bool operator==(const FlowKey&, const FlowKey&) noexcept = default;
    /// The same as ==, in one comparison.
    bool same_bytes(const FlowKey& other) const noexcept {
        const __m128i difference = _mm_xor_si128(_mm_load_si128(reinterpret_cast<const __m128i*>(this)),
                                                 _mm_load_si128(reinterpret_cast<const __m128i*>(&other)));
        return _mm_testz_si128(difference, difference) != 0;
    }
};
static_assert(sizeof(FlowKey) == 16 && std::has_unique_object_representations_v<FlowKey>);

/// The same for flows of IPv6, and for whatever may have an address of either family.
struct alignas(16) WideKey {
    LinkId ingress;
    net::Protocol protocol = net::Protocol::tcp;
    net::be16 source_port;
    net::be16 destination_port;
    std::uint16_t zero = 0;
    std::uint64_t zeros = 0;
    net::IpAddress source;
    net::IpAddress destination;

    constexpr WideKey() noexcept = default;
    constexpr explicit WideKey(const FlowKey& key) noexcept
        : ingress{key.ingress},
          protocol{key.protocol},
          source_port{key.source_port},
          destination_port{key.destination_port},
          source{key.source},
          destination{key.destination} {}
    net::IpEndpoint source_endpoint() const noexcept { return {source, source_port}; }
    net::IpEndpoint destination_endpoint() const noexcept { return {destination, destination_port}; }
    /// Of a key of IPv4.
    constexpr FlowKey narrow() const noexcept {
        FlowKey key;
        key.ingress = ingress;
        key.protocol = protocol;
        key.source = source.v4();
        key.destination = destination.v4();
        key.source_port = source_port;
        key.destination_port = destination_port;
        return key;
    }
    /// Source and destination the other way round.
    constexpr WideKey turned() const noexcept {
        WideKey key{*this};
        key.source = destination;
        key.destination = source;
        key.source_port = destination_port;
        key.destination_port = source_port;
        return key;
    }
    friend constexpr bool operator==(const WideKey&, const WideKey&) noexcept = default;
};
static_assert(sizeof(WideKey) == 48 && std::has_unique_object_representations_v<WideKey>);

/// Keyed, non-linear hash of 16 bytes under a secret that is drawn at start, so a stranger can't choose
/// packets that share a bucket. Four AES rounds: after two, a 32-bit word of the result still depends on only
/// one byte of each column, and keys that differ in one diagonal of the block meet in 256 values; after four,
/// no difference in the key is likelier than 2^-113 to lead to a given one in the result (Keliher and Sui,
/// "Exact maximum expected differential and linear probability for two-round AES", 2007).
class FlowHash {
 public:
    struct Secret {
        alignas(16) std::uint8_t bytes[80];
    };
    explicit FlowHash(const Secret& secret) noexcept
        : k0_{load(secret.bytes)},
          k1_{load(secret.bytes + 16)},
          k2_{load(secret.bytes + 32)},
          k3_{load(secret.bytes + 48)},
          k4_{load(secret.bytes + 64)} {}

    std::uint32_t operator()(const FlowKey& key) const noexcept {
        return static_cast<std::uint32_t>(
            _mm_cvtsi128_si32(mix(_mm_load_si128(reinterpret_cast<const __m128i*>(&key)))));
    }
    /// The same of three blocks, chained (CBC-MAC, safe for keys that are all as long).
    std::uint32_t operator()(const WideKey& key) const noexcept {
        return static_cast<std::uint32_t>(_mm_cvtsi128_si32(chain(key)));
    }
    /// All of it as a key of 16 bytes that no packet has. That two keys ever get the same one is as good as
    /// impossible, and nobody without the secret can bring it about.
    FlowKey digest(const WideKey& key) const noexcept {
        FlowKey digest;
        _mm_store_si128(reinterpret_cast<__m128i*>(&digest), chain(key));
        digest.zero = 1;
        return digest;
    }
    /// As much of it as a number has, never 0: for sets of keys in which a stranger must not find himself.
    std::uint64_t tag(const WideKey& key) const noexcept {
        return static_cast<std::uint64_t>(_mm_cvtsi128_si64(chain(key))) | 1U;
    }
    /// What a client is counted as: its address; of IPv6, where a host has as many addresses as it likes, its
    /// network of 64 bits, drawn together to 32.
    net::Ipv4Address counted_as(const net::IpAddress& client) const noexcept {
        if (client.is_v4()) return client.v4();
        return counted_alone(net::IpAddress::from_number(client.number() >> 64U << 64U));
    }
    /// The same where each of its addresses counts for itself.
    net::Ipv4Address counted_alone(const net::IpAddress& host) const noexcept {
        if (host.is_v4()) return host.v4();
        WideKey key;
        key.source = host;
        return net::Ipv4Address::from_host((*this)(key));
    }
    /// 64 bits that nobody without the secret can foresee, for a counter that never repeats.
    std::uint64_t random(std::uint64_t counter) const noexcept {
        const __m128i block = mix(_mm_set_epi64x(0x66776472616e646f, static_cast<std::int64_t>(counter)));
        return static_cast<std::uint64_t>(
            _mm_cvtsi128_si64(_mm_aesenc_si128(_mm_aesenc_si128(block, k0_), k1_)));
    }

 private:
    static __m128i load(const std::uint8_t* bytes) noexcept {
        return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
    }
    __m128i mix(__m128i block) const noexcept {
        block = _mm_aesenc_si128(_mm_aesenc_si128(_mm_xor_si128(block, k0_), k1_), k2_);
        return _mm_aesenc_si128(_mm_aesenc_si128(block, k3_), k4_);
    }

    __m128i chain(const WideKey& key) const noexcept {
        const auto* blocks = reinterpret_cast<const __m128i*>(&key);
        __m128i state = mix(_mm_load_si128(blocks));
        state = mix(_mm_xor_si128(state, _mm_load_si128(blocks + 1)));
        return mix(_mm_xor_si128(state, _mm_load_si128(blocks + 2)));
    }

    __m128i k0_, k1_, k2_, k3_, k4_;
};

}  // namespace fwd::dataplane
