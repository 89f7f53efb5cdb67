// SPDX-License-Identifier: BSD-3-Clause
// What holds whatever the input: RapidCheck chooses it, and makes one that fails as small as it can.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <tuple>
#include <utility>
#include <vector>

#include "dataplane/session.h"
#include "dataplane/translation.h"
#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using test::Bytes;
using test::PacketBuilder;
using Word = std::uint16_t;

/// Words of all zeros and all ones are what RFC 1624 is about.
rc::Gen<Word> word() {
    return rc::gen::weightedOneOf<Word>(
        {{3, rc::gen::arbitrary<Word>()},
         {1, rc::gen::elementOf(std::vector<Word>{0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff})}});
}
rc::Gen<net::Endpoint> any_endpoint() {
    return rc::gen::map(rc::gen::tuple(word(), word(), word()), [](const auto& words) {
        const auto& [high, low, port] = words;
        return net::Endpoint{net::Ipv4Address::from_host(std::uint32_t{high} << 16U | low),
                             net::be16::from_host(port)};
    });
}

Bytes bytes_of(const std::vector<Word>& words) {
    Bytes bytes;
    for (const Word w : words) {
        bytes.push_back(static_cast<std::uint8_t>(w >> 8U));
        bytes.push_back(static_cast<std::uint8_t>(w));
    }
    return bytes;
}
Word in_memory(Word host) {
    return net::be16::from_host(host).wire();
}

/// P1
TEST(Property, IncrementalChecksumEqualsRecomputation) {
    EXPECT_TRUE(rc::check([] {
        auto words = *rc::gen::container<std::vector<Word>>(word()).as("words");
        words.insert(words.begin(), 0x4500);  // data of all zeros is a case of its own
        const Word before = in_memory(test::slow_checksum(bytes_of(words)));
        net::ChecksumDelta delta;
        const auto changes = *rc::gen::container<std::vector<std::pair<std::size_t, Word>>>(
                                  rc::gen::pair(rc::gen::inRange<std::size_t>(0, 64), word()))
                                  .as("changes");
        for (const auto& [at, to] : changes) {
            if (words.size() == 1) break;
            Word& changed = words[1 + at % (words.size() - 1)];
            delta.replace16(in_memory(changed), in_memory(to));
            changed = to;
        }
        RC_ASSERT(delta.apply(before) == in_memory(test::slow_checksum(bytes_of(words))));
    }));
}

PacketBuilder built(net::Protocol protocol, net::Endpoint from, net::Endpoint to, std::uint8_t ttl,
                    const Bytes& payload) {
    PacketBuilder builder;
    builder.ipv4(from.address, to.address).ttl(ttl).payload(payload);
    return protocol == net::Protocol::udp ? builder.udp(from.port.host(), to.port.host())
                                          : builder.tcp(from.port.host(), to.port.host(), test::kAck);
}

/// P1, P2: what a session's packet becomes, its answer leads back from.
TEST(Property, TranslatedThereAndBackAPacketIsItself) {
    EXPECT_TRUE(rc::check([] {
        const auto protocol = *rc::gen::element(net::Protocol::udp, net::Protocol::tcp);
        const net::Endpoint client = *any_endpoint(), external = *any_endpoint(), own = *any_endpoint(),
                            target = *any_endpoint();
        const Bytes payload = *rc::gen::arbitrary<Bytes>();
        const auto rewritten = [](const PacketBuilder& packet, const Translation& translation) {
            const test::GuardedBytes guarded{packet.ip_bytes()};
            rewrite(guarded.data(), translation);
            return Bytes(guarded.span().begin(), guarded.span().end());
        };
        FlowKey requests;
        requests.protocol = protocol;
        requests.source = client.address;
        requests.source_port = client.port;
        requests.destination = external.address;
        requests.destination_port = external.port;
        const Translation forth = Translation::between(requests, own, target);
        RC_ASSERT(rewritten(built(protocol, client, external, 64, payload), forth) ==
                  built(protocol, own, target, 63, payload).ip_bytes());
        const FlowKey answers = forth.reverse_key(LinkId{1}, protocol);
        const Translation back = Translation::between(answers, external, client);
        RC_ASSERT(rewritten(built(protocol, target, own, 9, payload), back) ==
                  built(protocol, external, client, 8, payload).ip_bytes());
        RC_ASSERT(back.reverse_key(requests.ingress, protocol) == requests);
    }));
}

/// T2, T12: whatever has been sent, who ends and begins anew gets an established session, on either side.
TEST(Property, NoHistoryKeepsASessionFromOpeningAgain) {
    EXPECT_TRUE(rc::check([] {
        SessionState state = first_state(net::Protocol::tcp);
        const auto history =
            *rc::gen::container<std::vector<std::pair<bool, std::uint8_t>>>(
                 rc::gen::pair(rc::gen::arbitrary<bool>(), rc::gen::arbitrary<std::uint8_t>()))
                 .as("who sent which flags");
        const auto send = [&](Direction direction, std::uint8_t flags) {
            state = next_state(state, direction, TcpFlags{flags});
        };
        for (const auto& [is_clients, flags] : history)
            send(is_clients ? Direction::forward : Direction::reverse, flags);
        const bool client_opens = *rc::gen::arbitrary<bool>().as("the client opens");
        const Direction opener = client_opens ? Direction::forward : Direction::reverse;
        const Direction other = client_opens ? Direction::reverse : Direction::forward;
        send(Direction::forward, test::kFin | test::kAck);
        send(Direction::reverse, test::kFin | test::kAck);
        send(opener, test::kSyn);
        send(other, test::kSyn | test::kAck);
        send(opener, test::kAck);
        RC_ASSERT(state == SessionState::tcp_established);
    }));
}

}  // namespace
}  // namespace fwd::dataplane
