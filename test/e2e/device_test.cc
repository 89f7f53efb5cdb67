// SPDX-License-Identifier: BSD-3-Clause
// The devices that fwdd drives here, with hosts that leave their checksums to hardware and hosts that don't.
#include <fmt/format.h>

#include <algorithm>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

/// Device, and whether the hosts leave checksums to their interfaces.
class DeviceTest : public LabTest, public ::testing::WithParamInterface<std::tuple<const char*, bool>> {
 protected:
    void expect_checksums_right(const std::vector<WirePacket>& packets, std::size_t at_least) {
        EXPECT_GE(packets.size(), at_least);
        for (const WirePacket& packet : packets) {
            ASSERT_TRUE(packet.checksums_right) << packet;
        }
    }
};

/// P8
TEST_P(DeviceTest, ChecksumsAreRightOnTheReceivingWire) {
    const auto& [device, offload] = GetParam();
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .device = device, .offload = offload}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080");
    add_rule("tcp 192.0.2.1:80 10.0.0.4:8080 --source masquerade --name masqueraded");
    add_rule("udp 192.0.2.3:7 10.0.0.4:7000");
    exec("server", fmt::format("head -c 1000000 /dev/urandom > {}", (files() / "www/random").string()));
    Capture client_wire = capture("client", "dst host 192.0.2.10");
    Capture left_undone = capture("client", "tcp and src host 192.0.2.10");
    Capture server_wire = capture("server", "dst host 10.0.0.4");

    for (const char* external : {"192.0.2.3", "192.0.2.1"}) {
        const std::string url = fmt::format("http://{}", external);
        const std::string copy = files() / "copy";
        EXPECT_EQ(get(url + "/random", "-o " + copy).output, "");
        EXPECT_EQ(exec("client", fmt::format("cmp {} {}", copy, (files() / "www/random").string())).output,
                  "");
        EXPECT_EQ(get(url + "/upload", "-H Expect: --data-binary @" + copy).output, "received\n");
    }
    Socket datagrams = udp("client");
    EXPECT_TRUE(datagrams.connect({"192.0.2.3", 7}));
    for (const std::size_t bytes : {1U, 2U, 17U, 18U, 19U, 511U, 1471U, 1472U})
        EXPECT_TRUE(datagrams.echoes(std::string(bytes, 'x'))) << bytes << " bytes";
    EXPECT_EQ(exec("client", "ping -c 3 -i 0.2 192.0.2.1").status, 0);

    // What the hosts leave undone shows before it leaves them.
    const Wire sent = left_undone.stop();
    EXPECT_GE(sent.packets.size(), 1370);
    EXPECT_EQ(std::ranges::all_of(sent.packets, &WirePacket::checksums_right), !offload);

    // 2 x 1 MB each way in segments of 1460 bytes at most.
    expect_checksums_right(client_wire.stop().packets, 1370);
    expect_checksums_right(server_wire.stop().packets, 1370);
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(
    , DeviceTest, ::testing::Combine(::testing::Values("af_packet", "af_xdp", "tap"), ::testing::Bool()),
    [](const auto& test) {
        return fmt::format("{}_offload_{}", std::get<0>(test.param), std::get<1>(test.param) ? "on" : "off");
    });

using OneArmTest = LabTest;

/// P8
TEST_F(OneArmTest, ChecksumsThatTheSenderLeavesUndoneAreCompletedBehindFwdsOwnAddressToo) {
    ASSERT_NO_FATAL_FAILURE(up({.workers = 2, .offload = true}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080");
    exec("server", fmt::format("head -c 1000000 /dev/urandom > {}", (files() / "www/random").string()));
    Capture client_wire = capture("client", "tcp and dst host 10.0.0.1");
    Capture server_wire = capture("server", "tcp and dst host 10.0.0.4");
    const std::string copy = files() / "copy";
    EXPECT_EQ(get("http://10.0.0.3/random", "-o " + copy).output, "");
    EXPECT_EQ(exec("client", fmt::format("cmp {} {}", copy, (files() / "www/random").string())).output, "");
    for (Capture* wire : {&client_wire, &server_wire}) {
        const Wire seen = wire->stop();
        EXPECT_GT(seen.packets.size(), 5);
        EXPECT_TRUE(std::ranges::all_of(seen.packets, &WirePacket::checksums_right));
    }
    expect_every_packet_accounted_for();
}

using FewQueuesTest = LabTest;

TEST_F(FewQueuesTest, TrafficFlowsAndTheLogSaysWhatTheOtherWorkersDo) {
    // DPDK 22.11 takes one queue of a veth for AF_XDP.
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .device = "af_xdp", .workers = 2}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.3/").output, kPage);
    EXPECT_NE(fwdd_log().find("1 rx and 1 tx queue(s): fewer than the 2 workers; the others"),
              std::string::npos)
        << fwdd_log();
    expect_every_packet_accounted_for();
}

using JumboTest = LabTest;

/// P7
TEST_F(JumboTest, FramesUpToTheLinksMtuPass) {
    // DPDK's af_packet and tap take no more than 1500, a veth with an XDP program no more than about 3500.
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .device = "af_xdp", .mtu = 3000}));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("udp 192.0.2.3:7 10.0.0.4:7000");
    Socket datagrams = udp("client");
    datagrams.discover_path_mtu();
    EXPECT_TRUE(datagrams.connect({"192.0.2.3", 7}));
    EXPECT_TRUE(datagrams.echoes(std::string(2972, 'x')));
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
