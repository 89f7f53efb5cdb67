// SPDX-License-Identifier: BSD-3-Clause
// `tcp_window_check`: TCP that its receiver can't be waiting for is dropped, and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/ipv6_networks.h"
#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::SizeIs;

constexpr std::uint8_t kShift = 3;
constexpr std::uint32_t kLeast = 1U << 16U;  // the least window that is reckoned with

/// A connection by a rule, each end's numbers starting where a test says.
class TcpWindow : public ::testing::Test {
 protected:
    explicit TcpWindow(const std::string& config = kTwoArm + "tcp_window_check = true;") : box_{config} {}

    /// Whether a segment of the client gets through.
    bool client(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                std::uint16_t window = 1000, const Bytes& options = {}) {
        return box_.exchange("wan",
                             box_.to("wan")
                                 .ipv4(kFarClient, kPublic)
                                 .tcp(5000, 80, flags)
                                 .sequence(sequence, acknowledged)
                                 .tcp_window(window)
                                 .tcp_options(options),
                             "lan")
                   .size() == 1;
    }
    bool target(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                std::uint16_t window = 1000, const Bytes& options = {}) {
        return box_.exchange("lan",
                             box_.to("lan")
                                 .ipv4(kLanServer, kFarClient)
                                 .tcp(8080, 5000, flags)
                                 .sequence(sequence, acknowledged)
                                 .tcp_window(window)
                                 .tcp_options(options),
                             "wan")
                   .size() == 1;
    }
    /// The first byte of either end's data is `client` and `target`.
    void establish(std::uint32_t client_data, std::uint32_t target_data, const Bytes& options = {}) {
        ASSERT_TRUE(client(kSyn, client_data - 1, 0, 1000, options));
        ASSERT_TRUE(target(kSyn | kAck, target_data - 1, client_data, 1000, options));
        ASSERT_TRUE(client(kAck, client_data, target_data));
    }
    std::uint64_t dropped() const { return box_.count(Verdict::drop_outside_window); }

    static inline const Bytes kScale{1, 3, 3, kShift};
    Box box_;
};

/// Both ends' data begins here: in the middle, and so that every limit is on the other side of 0.
class TcpWindowAt : public TcpWindow, public ::testing::WithParamInterface<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(, TcpWindowAt, ::testing::Values(0x40000000U, 100U, 0xffffff00U, 0x7fffff00U));

/// T11
TEST_P(TcpWindowAt, SegmentsOutsideTheReceiversWindowAreDropped) {
    const std::uint32_t c = GetParam();
    const std::uint32_t t = c + 5000;
    establish(c, t);
    EXPECT_TRUE(client(kAck, c + kLeast, t)) << "the window's end";
    EXPECT_FALSE(client(kAck, c + kLeast + 1, t));
    EXPECT_TRUE(client(kAck, c - 2 * kLeast, t)) << "sent again, very late";
    EXPECT_FALSE(client(kAck, c - 2 * kLeast - 1, t));
    EXPECT_FALSE(client(kAck, c + 0x80000000U, t));
    EXPECT_TRUE(target(kAck, t + kLeast, c));
    EXPECT_FALSE(target(kAck, t + kLeast + 1, c));
    EXPECT_TRUE(target(kAck, t - 2 * kLeast, c));
    EXPECT_FALSE(target(kAck, t - 2 * kLeast - 1, c));
    EXPECT_FALSE(target(kFin | kAck, t + kLeast + 1, c));
    EXPECT_FALSE(target(kRst, t + kLeast + 1));
    EXPECT_EQ(dropped(), 7);
    box_.expect_every_packet_accounted_for();
}

/// T11: what has not been sent yet can't be acknowledged, and nothing is learnt from who says so.
TEST_P(TcpWindowAt, AcknowledgementsOutsideTheirSendersWindowAreDropped) {
    const std::uint32_t c = GetParam();
    const std::uint32_t t = c + 5000;
    establish(c, t);
    EXPECT_FALSE(client(kAck, c, t + kLeast + 1));
    EXPECT_FALSE(client(kAck, c, t - 2 * kLeast - 1));
    EXPECT_TRUE(client(kAck, c, t + kLeast));
    EXPECT_TRUE(target(kAck, t + 2 * kLeast, c)) << "measured by what was acknowledged";
    EXPECT_FALSE(target(kAck, t + 2 * kLeast + 1, c));
    EXPECT_EQ(dropped(), 3);
}

/// T11
TEST_P(TcpWindowAt, WindowMovesOnWithWhatIsAcknowledgedAndNotBack) {
    const std::uint32_t t = 77;
    std::uint32_t c = GetParam();
    establish(c, t);
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(client(kAck, c + 60'000, t));
        c += 60'001;
        EXPECT_TRUE(target(kAck, t, c));
    }
    // Acknowledgements overtake each other.
    EXPECT_TRUE(target(kAck, t, c - 60'001));
    EXPECT_TRUE(client(kAck, c + kLeast, t));
    EXPECT_FALSE(client(kAck, c + kLeast + 1, t));
    EXPECT_FALSE(client(kAck, c - 100 * 60'001, t)) << "of long ago";
    EXPECT_EQ(dropped(), 2);
}

/// T11: both have announced that their windows are shifted (RFC 7323).
TEST_P(TcpWindowAt, WindowsAreScaled) {
    const std::uint32_t c = GetParam();
    const std::uint32_t t = c + 5000;
    establish(c, t, kScale);
    const std::uint32_t window = 0x8000U << kShift;
    EXPECT_FALSE(client(kAck, c + window, t)) << "nobody has announced as much";
    EXPECT_TRUE(target(kAck, t, c, 0x7001));
    EXPECT_TRUE(client(kAck, c + window, t)) << "rounded up to a power of two";
    EXPECT_FALSE(client(kAck, c + window + 1, t));
    EXPECT_TRUE(target(kAck, t, c, 10));
    EXPECT_TRUE(client(kAck, c + window, t)) << "a window that becomes small again leaves what is on its way";
    EXPECT_FALSE(target(kAck, t + kLeast + 1, c)) << "the client's own window is still small";
    EXPECT_EQ(dropped(), 3);
}

/// RFC 7323, 2.2: the window of a SYN itself is never shifted.
TEST_F(TcpWindow, OfASynIsNotScaled) {
    ASSERT_TRUE(client(kSyn, 999, 0, 0xffff, kScale));
    ASSERT_TRUE(target(kSyn | kAck, 4999, 1000, 0xffff, kScale));
    EXPECT_FALSE(client(kAck, 1000 + kLeast + 1, 5000));
    EXPECT_TRUE(client(kAck, 1000 + kLeast, 5000));
}

/// A correct peer's oddities.
TEST_F(TcpWindow, KeepalivesAndProbesPass) {
    const std::uint32_t c = 0xfffffffeU;
    const std::uint32_t t = 3;
    establish(c, t);
    EXPECT_TRUE(client(kAck, c - 1, t)) << "keepalive (RFC 9293, 3.8.4)";
    EXPECT_TRUE(target(kAck, t, c, 0)) << "window is full";
    EXPECT_TRUE(client(kAck, c, t)) << "a byte, to see whether it still is";
    EXPECT_TRUE(client(kAck | kPsh, c + 1, t));
    EXPECT_TRUE(target(kRst, t)) << "a RST acknowledges nothing, whatever stands there";
    EXPECT_TRUE(client(kRst | kAck, c, 0x40000000U));
    EXPECT_EQ(dropped(), 0);
}

/// RFC 7413: data in the SYN, and in its answer.
TEST_F(TcpWindow, SynWithDataPasses) {
    ASSERT_TRUE(client(kSyn, 999, 0));
    ASSERT_TRUE(target(kSyn | kAck, 4999, 1000 + 1400));
    EXPECT_TRUE(target(kAck, 5000 + 1400, 1000 + 1400)) << "goes on before the handshake is over";
    EXPECT_TRUE(client(kAck, 1000 + 1400, 5000 + 1400 + 1400));
    EXPECT_TRUE(client(kAck, 1000 + 1400 + kLeast, 5000 + 1400 + 1400));
    EXPECT_EQ(dropped(), 0);
}

/// T2
TEST_F(TcpWindow, SimultaneousOpenPasses) {
    EXPECT_TRUE(client(kSyn, 1));
    EXPECT_TRUE(target(kSyn, 0x80000000U));
    EXPECT_TRUE(client(kSyn | kAck, 1, 0x80000001U));
    EXPECT_TRUE(target(kSyn | kAck, 0x80000000U, 2));
    EXPECT_TRUE(client(kAck, 2, 0x80000001U));
    EXPECT_TRUE(target(kAck, 0x80000001U, 2));
    EXPECT_FALSE(target(kAck, 1, 2));
}

/// A SYN that is sent again without options, after the first one has been answered.
TEST_F(TcpWindow, ScaleOfAnySynOfTheHandshakeCounts) {
    ASSERT_TRUE(client(kSyn, 999, 0, 1000, kScale));
    ASSERT_TRUE(client(kSyn, 999));
    ASSERT_TRUE(target(kSyn | kAck, 4999, 1000, 1000, kScale));
    ASSERT_TRUE(client(kAck, 1000, 5000, 0xffff));
    EXPECT_TRUE(target(kAck, 5000 + (0xffffU << kShift), 1000));
}

/// T11: nothing that was dropped changes what is known.
TEST_F(TcpWindow, GuessedSegmentsTeachNothing) {
    establish(1000, 5000, kScale);
    for (std::uint32_t at = 0x10000000U; at < 0xf0000000U; at += 0x10000000U) {
        EXPECT_FALSE(client(kAck, at, at, 0xffff));
        EXPECT_FALSE(client(kAck, 1000, at, 0xffff));
        EXPECT_FALSE(client(kFin | kAck, at, 5000, 0xffff));
        EXPECT_FALSE(client(kRst, at));
    }
    EXPECT_FALSE(target(kAck, 5000 + kLeast + 1, 1000)) << "no window was believed";
    EXPECT_TRUE(target(kAck, 5000, 1000));
    EXPECT_TRUE(client(kAck, 1000, 5000));
    EXPECT_EQ(box_.sessions(), 1);
}

/// T11: a forged segment does not end the handshake with numbers of its own.
TEST_F(TcpWindow, GuessedSegmentInTheHandshakeIsDropped) {
    ASSERT_TRUE(client(kSyn, 999));
    ASSERT_TRUE(target(kSyn | kAck, 4999, 1000));
    EXPECT_FALSE(client(kAck, 0x70000000U, 0x70000000U));
    EXPECT_TRUE(client(kAck, 1000, 5000));
    EXPECT_TRUE(target(kAck, 5000, 1000));
}

/// RFC 9293, 3.5.1: the client has forgotten the connection, the server answers by the old numbers.
TEST_F(TcpWindow, ClientThatBeginsAnewIsToldByTheServerThatDidNot) {
    establish(1000, 5000);
    EXPECT_TRUE(client(kSyn, 0x70000000U));
    EXPECT_TRUE(target(kAck, 5000, 1000));
    EXPECT_TRUE(client(kRst, 1000));
    EXPECT_TRUE(client(kSyn, 0x70000000U));
    EXPECT_TRUE(target(kSyn | kAck, 0x30000000U, 0x70000001U));
    EXPECT_TRUE(client(kAck, 0x70000001U, 0x30000001U));
    EXPECT_FALSE(client(kAck, 1000, 5000)) << "the old numbers are no good any more";
}

/// Both have forgotten it: what follows has other numbers. They may as well have been made up by somebody who
/// sends in both names, so the old ones pass, too.
TEST_F(TcpWindow, EndsThatBothBeginAnewGoOn) {
    establish(1000, 5000);
    EXPECT_TRUE(client(kSyn, 0x70000000U, 0, 1000, kScale));
    EXPECT_TRUE(target(kSyn | kAck, 0x30000000U, 0x70000001U, 1000, kScale));
    EXPECT_TRUE(client(kAck, 0x70000001U, 0x30000001U, 0xffff));
    EXPECT_TRUE(target(kAck, 0x30000001U + (0xffffU << kShift), 0x70000001U));
    EXPECT_TRUE(client(kAck, 1000, 5000));
    EXPECT_TRUE(target(kAck, 5000, 1000));
    ASSERT_TRUE(client(kFin | kAck, 0x70000001U, 0x30000001U));
    ASSERT_TRUE(target(kFin | kAck, 0x30000001U, 0x70000002U));
    establish(1000, 5000);
    EXPECT_FALSE(client(kAck, 0x70000001U, 0x30000001U)) << "of the next connection everything is measured";
}

TEST_F(TcpWindow, ServerThatHasForgottenMayRefuse) {
    establish(1000, 0x30000000U);
    EXPECT_FALSE(target(kRst | kAck, 0, 0x70000001U)) << "nobody has asked";
    EXPECT_TRUE(client(kSyn, 0x70000000U));
    EXPECT_TRUE(target(kRst | kAck, 0, 0x70000001U));
}

/// T11: a SYN alone, which anybody can send, opens no door.
TEST_F(TcpWindow, ForgedSynChangesNothing) {
    establish(1000, 5000);
    EXPECT_TRUE(client(kSyn, 0x70000000U));
    EXPECT_FALSE(client(kAck, 0x70000001U, 5000));
    EXPECT_TRUE(target(kAck, 5000, 1000)) << "the server says so to the real client";
    EXPECT_TRUE(client(kAck, 1000, 5000)) << "who goes on";
    EXPECT_TRUE(target(kSyn | kAck, 0x30000000U, 0x70000001U)) << "passes, but is not believed";
    EXPECT_FALSE(client(kAck, 0x70000001U, 0x30000001U));
    EXPECT_TRUE(client(kAck, 1000, 5000));
}

/// T12: the next connection in the same session has windows of its own.
TEST_F(TcpWindow, NextConnectionBeginsAnew) {
    establish(1000, 5000, kScale);
    ASSERT_TRUE(target(kAck, 5000, 1000, 0xffff));
    ASSERT_TRUE(client(kFin | kAck, 1000, 5000));
    ASSERT_TRUE(target(kFin | kAck, 5000, 1001));
    ASSERT_TRUE(client(kAck, 1001, 5001));
    establish(0x70000000U, 0x30000000U);
    EXPECT_FALSE(client(kAck, 0x70000000U + kLeast + 1, 0x30000000U));
    EXPECT_TRUE(client(kAck, 0x70000000U + kLeast, 0x30000000U));
    EXPECT_EQ(box_.sessions(), 1);
}

/// T12: nor does a late packet of the one before spoil it.
TEST_F(TcpWindow, LatePacketOfTheConnectionBeforeIsForgotten) {
    establish(1000, 2000);
    EXPECT_TRUE(client(kFin | kAck, 1000, 2000));
    EXPECT_TRUE(target(kFin | kAck, 2000, 1001));
    EXPECT_TRUE(client(kSyn, 0x50000000U));
    EXPECT_TRUE(client(kAck, 1001, 2001));
    EXPECT_TRUE(target(kSyn | kAck, 0x60000000U, 0x50000001U));
    EXPECT_TRUE(client(kAck, 0x50000001U, 0x60000001U));
    EXPECT_TRUE(target(kAck, 0x60000001U, 0x50000001U));
    EXPECT_EQ(dropped(), 0);
}

/// T11: what is a SYN and something else as well is measured like that.
TEST_F(TcpWindow, SynThatEndsIsMeasured) {
    establish(1000, 2000);
    for (const std::uint8_t flags : {kSyn | kFin, kSyn | kFin | kAck, kSyn | kRst}) {
        EXPECT_FALSE(client(flags, 0x50000000U, 2000));
        EXPECT_FALSE(target(flags, 0x50000000U, 1000));
    }
    EXPECT_EQ(dropped(), 6);
}

/// T11: after a RST that was believed, too: it may not have been by its receiver.
TEST_F(TcpWindow, IsCheckedAfterARst) {
    establish(1000, 5000);
    ASSERT_TRUE(target(kRst, 5000));
    EXPECT_FALSE(client(kAck, 0x70000000U, 5000));
    EXPECT_TRUE(client(kAck, 1000, 5000));
    EXPECT_TRUE(target(kAck, 5000, 1000));
}

/// Packets that take a way of their own: IP options, fragments.
TEST_F(TcpWindow, IsCheckedOfUnusualPackets) {
    establish(1000, 5000);
    const auto segment = [&](std::uint32_t sequence) {
        return box_.to("wan").ipv4(kFarClient, kPublic).tcp(5000, 80, kAck).sequence(sequence, 5000);
    };
    EXPECT_THAT(box_.exchange("wan", segment(1000).ip_options({1, 1, 1, 0}), "lan"), SizeIs(1));
    EXPECT_THAT(box_.exchange("wan", segment(0x70000000U).ip_options({1, 1, 1, 0}), "lan"), SizeIs(0));
    const auto fragment = [&](std::uint32_t sequence) {
        return segment(sequence).payload_bytes(4).fragment(0x2000);
    };
    EXPECT_THAT(box_.exchange("wan", fragment(1000), "lan"), SizeIs(1));
    EXPECT_THAT(box_.exchange("wan", fragment(0x70000000U).identification(9), "lan"), SizeIs(0));
    EXPECT_EQ(dropped(), 2);
}

/// The same of IPv6.
TEST(TcpWindow6, SegmentsOutsideTheReceiversWindowAreDropped) {
    Box box{kTwoArm6 + "tcp_window_check = true;"};
    const auto client = [&](std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged,
                            bool fragment = false) {
        PacketBuilder segment =
            box.to("wan").ipv6(kFarClient6, kPublic6).tcp(5000, 80, flags).sequence(sequence, acknowledged);
        if (fragment) segment = segment.payload_bytes(4).extension(44, {0, 0, 1, 0, 0, 0, 9});
        return box.exchange("wan", segment, "lan").size();
    };
    const auto target = [&](std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged) {
        return box
            .exchange("lan",
                      box.to("lan")
                          .ipv6(kLanServer6, kFarClient6)
                          .tcp(8080, 5000, flags)
                          .sequence(sequence, acknowledged),
                      "wan")
            .size();
    };
    ASSERT_EQ(client(kSyn, 999, 0), 1);
    ASSERT_EQ(target(kSyn | kAck, 4999, 1000), 1);
    ASSERT_EQ(client(kAck, 1000, 5000), 1);
    EXPECT_EQ(client(kAck, 1000 + kLeast + 1, 5000), 0);
    EXPECT_EQ(target(kAck, 5000 + kLeast + 1, 1000), 0);
    EXPECT_EQ(client(kAck, 1000 + kLeast + 1, 5000, true), 0);
    EXPECT_EQ(client(kAck, 1000 + kLeast, 5000), 1);
    EXPECT_EQ(target(kAck, 5000 + kLeast, 1000), 1);
    EXPECT_EQ(box.count(Verdict::drop_outside_window), 3);
}

/// Off by default.
class TcpWindowOff : public TcpWindow {
 protected:
    TcpWindowOff() : TcpWindow{kTwoArm} {}
};

TEST_F(TcpWindowOff, EverythingPasses) {
    establish(1000, 5000);
    EXPECT_TRUE(client(kAck, 0x70000000U, 5000));
    EXPECT_TRUE(target(kAck, 0x70000000U, 0x30000000U));
    EXPECT_TRUE(client(kFin | kAck, 0x10000000U, 0x30000000U));
    EXPECT_TRUE(client(kRst, 0x20000000U));
    EXPECT_EQ(dropped(), 0);
}

/// L6: sessions of before know no windows.
TEST_F(TcpWindowOff, TurnedOnItConcernsNewSessionsAlone) {
    establish(1000, 5000);
    box_.set_window_check(true);
    EXPECT_TRUE(client(kAck, 0x70000000U, 5000));
    EXPECT_TRUE(client(kFin | kAck, 0x10000000U, 0x30000000U));
    box_.end_sessions();
    establish(1000, 5000);
    EXPECT_FALSE(client(kAck, 0x70000000U, 5000));
}

TEST_F(TcpWindow, TurnedOffAndOnAgainItIsUpToDate) {
    establish(1000, 5000);
    box_.set_window_check(false);
    EXPECT_TRUE(client(kAck, 0x70000000U, 5000));
    EXPECT_TRUE(target(kAck, 5000, 1000 + 60'000));
    box_.set_window_check(true);
    EXPECT_FALSE(client(kAck, 0x70000000U, 5000));
    EXPECT_TRUE(client(kAck, 1000 + 60'000 + kLeast, 5000));
}

/// Of UDP there is nothing to check.
TEST_F(TcpWindow, UdpPasses) {
    for (int i = 0; i < 3; ++i) {
        EXPECT_THAT(box_.exchange("wan", box_.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), "lan"),
                    SizeIs(1));
        EXPECT_THAT(box_.exchange("lan", box_.to("lan").ipv4("10.0.0.5"_ip, kFarClient).udp(27015, 1), "wan"),
                    SizeIs(1));
    }
}

}  // namespace
}  // namespace fwd::test
