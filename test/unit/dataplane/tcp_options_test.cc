// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/tcp_options.h"

#include <gtest/gtest.h>

#include <random>

#include "dataplane/net/ipv4.h"
#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using test::Bytes;
using test::operator""_ip;

Bytes syn(const Bytes& options) {
    return test::packet()
        .ipv4("10.0.0.1"_ip, "10.0.0.2"_ip)
        .tcp(1, 2, test::kSyn)
        .tcp_options(options)
        .payload("x")
        .ip_bytes();
}

Bytes clamped(const Bytes& ip, std::uint16_t greatest) {
    const test::GuardedBytes packet{ip};
    clamp_tcp_mss(packet.data() + 20, greatest);
    return {packet.span().begin(), packet.span().end()};
}

TEST(ClampTcpMss, LowersAndNeverRaises) {
    const auto with = [](std::uint16_t mss) {
        return syn({2, 4, static_cast<std::uint8_t>(mss >> 8U), static_cast<std::uint8_t>(mss)});
    };
    EXPECT_EQ(clamped(with(1460), 1452), with(1452));
    EXPECT_EQ(clamped(with(1453), 1452), with(1452));
    EXPECT_EQ(clamped(with(65535), 88), with(88));
    EXPECT_EQ(clamped(with(1452), 1452), with(1452));
    EXPECT_EQ(clamped(with(536), 1452), with(536));
    EXPECT_EQ(clamped(with(0), 1452), with(0));
}

TEST(ClampTcpMss, FindsTheOptionWhereverItStands) {
    const Bytes before[] = {{1, 1, 1, 1}, {1},      {1, 1, 1}, {8, 10, 0, 0, 0, 0, 0, 0, 0, 0},
                            {3, 3, 7},    {4, 2, 1}};
    for (const Bytes& others : before) {
        Bytes options = others;
        options.insert(options.end(), {2, 4, 0x05, 0xb4});
        Bytes expected = others;
        expected.insert(expected.end(), {2, 4, 0x05, 0xac});
        options.resize((options.size() + 3) / 4 * 4);
        expected.resize(options.size());
        EXPECT_EQ(clamped(syn(options), 1452), syn(expected)) << others.size();
    }
}

TEST(ClampTcpMss, LeavesAloneWhatIsNoMss) {
    const Bytes wrong[] = {{},
                           {0, 2, 4, 0xff, 0xff, 0, 0, 0},        // behind the end
                           {2, 3, 0xff, 0, 0, 0, 0, 0},           // too short
                           {2, 6, 0xff, 0xff, 0xff, 0xff, 0, 0},  // too long
                           {2, 0, 0xff, 0xff},                    // of no length
                           {1, 1, 1, 2},                          // cut off
                           {1, 1, 2, 4},                          // its content, too
                           {8, 10, 2, 4, 0xff, 0xff, 1, 1},       // in an option that is cut off
                           {8, 8, 2, 4, 0xff, 0xff, 1, 1}};       // in another option
    for (const Bytes& options : wrong) EXPECT_EQ(clamped(syn(options), 88), syn(options));
}

TEST(TcpOptions, RandomOnesAreNeverReadBeyondTheHeader) {
    std::mt19937 random{4711};
    for (int round = 0; round < 20000; ++round) {
        Bytes ip = syn(Bytes(random() % 11 * 4));
        for (std::size_t at = 40; at < ip.size(); ++at) ip[at] = static_cast<std::uint8_t>(random() % 12);
        ip.resize(20 + (ip[32] >> 4U) * std::size_t{4});
        clamped(ip, 88);
        const test::GuardedBytes packet{ip};
        EXPECT_LE(tcp_window_shift(packet.data() + 20), 14U);
    }
}

TEST(TcpOptions, WindowScaleIsFourteenAtMost) {
    EXPECT_EQ(tcp_window_shift(syn({1, 3, 3, 7}).data() + 20), 7U);
    EXPECT_EQ(tcp_window_shift(syn({1, 3, 3, 255}).data() + 20), 14U);
    EXPECT_EQ(tcp_window_shift(syn({1, 1, 1, 1}).data() + 20), 0U);
}

}  // namespace
}  // namespace fwd::dataplane
