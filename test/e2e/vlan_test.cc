// SPDX-License-Identifier: BSD-3-Clause
// Two links on one device, told apart by the tags of their VLANs.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class VlanTest : public LabTest {
 protected:
    static constexpr const char* kLinks = R"(
workers = 2;
hugepages = false;
socket = "{0}";
state_directory = "{1}";
links = ( {{ name = "wan"; device = "net_af_packet0,iface=lan,qpairs=2"; vlan = 100; addresses = [ "192.0.2.1/24" ]; }},
          {{ name = "lan"; device = "net_af_packet0,iface=lan,qpairs=2"; vlan = 200; addresses = [ "10.0.0.1/24" ]; }} );
rules = ( {{ name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; }},
          {{ name = "echo"; protocol = "udp"; external = "192.0.2.3:7"; target = "10.0.0.4:7"; }} );
)";

    /// A host's only address is in a VLAN of its interface.
    void move_into_vlan(const std::string& host, unsigned vlan, const std::string& address,
                        const std::string& gateway) {
        taggers_.push_back(
            start(host, fmt::format("python3 {} eth0 {} vlan{}", source_file("test/e2e/vlan_tap.py").string(),
                                    vlan, vlan)));
        ASSERT_TRUE(taggers_.back().says("ready")) << taggers_.back().output();
        const Finished moved =
            exec(host, fmt::format("ip address flush dev eth0 && ip link set vlan{0} up && "
                                   "ip address add {1}/24 dev vlan{0} && "
                                   "ip route replace default via {2}",
                                   vlan, address, gateway));
        ASSERT_EQ(moved.status, 0) << moved.output;
    }

    void SetUp() override {
        LabTest::SetUp();
        if (IsSkipped()) return;
        ASSERT_NO_FATAL_FAILURE(up({.workers = 2}));
        ASSERT_NO_FATAL_FAILURE(move_into_vlan("client", 100, "192.0.2.10", "192.0.2.1"));
        ASSERT_NO_FATAL_FAILURE(move_into_vlan("server", 200, "10.0.0.4", "10.0.0.1"));
        restart_fwdd_with(fmt::format(kLinks, lab_file("fwd.sock").string(), lab_file("state").string()));
    }

    std::vector<Process> taggers_;
};

/// P6
TEST_F(VlanTest, TcpAndUdpPassFromOneVlanIntoAnother) {
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    start_echo_server(7);
    Process wire = start("server", "tcpdump -l --immediate-mode -n -e -i eth0 vlan 200 and tcp");
    EXPECT_TRUE(wire.says("listening on"));
    EXPECT_EQ(get("http://192.0.2.3/who").output, "192.0.2.10 asked 10.0.0.4:8080");
    EXPECT_TRUE(wire.says("192.0.2.10")) << wire.output();
    Socket question = udp("client");
    EXPECT_TRUE(question.connect({"192.0.2.3", 7}));
    EXPECT_TRUE(question.echoes(std::string(1472, 'x'))) << "a frame as long as the MTU, and its tag";

    // A file that does not fit into a few frames.
    exec("server", fmt::format("head -c 3000000 /dev/urandom > {0}/www/file", files().path().string()));
    EXPECT_EQ(get("http://192.0.2.3/file", "-o " + (files() / "got").string()).status, 0);
    EXPECT_EQ(exec("client", fmt::format("cmp {0}/www/file {0}/got", files().path().string())).status, 0);
    expect_every_packet_accounted_for();
}

/// P6
TEST_F(VlanTest, FramesOfNoVlanOrOfAnotherOneAreDropped) {
    const auto send = [&](const std::string& tag) {
        const std::string script =
            "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0)); "
            "s.send(bytes.fromhex('ffffffffffff02000000000a" +
            tag + "0806000108000604000102000000000ac000020a000000000000c0000203'))";
        EXPECT_EQ(exec("client", "python3 -c \"" + script + "\"").status, 0);
    };
    Process wire = start("client", "tcpdump -l --immediate-mode -n -e -i eth0");
    EXPECT_TRUE(wire.says("listening on"));
    send("");
    send("8100012c");
    EXPECT_TRUE(eventually([&] { return dropped("unknown-vlan") == 2; })) << fwdctl("stats")["drops"];
    send("81000064");
    EXPECT_TRUE(wire.says("Reply 192.0.2.3 is-at")) << "the same is answered in VLAN 100";
    const std::string seen = wire.output();
    EXPECT_EQ(seen.find("Reply"), seen.rfind("Reply")) << seen;
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
