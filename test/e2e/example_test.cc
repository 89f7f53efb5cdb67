// SPDX-License-Identifier: BSD-3-Clause
// The configurations of conf/, with the lab's devices for the NICs that they name.
#include <fmt/format.h>

#include <cerrno>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class ExampleTest : public LabTest {
 protected:
    using Replacements = std::vector<std::pair<std::string, std::string>>;

    /// Lets fwdd run with a file of conf/. Each of the texts must be there, and is replaced wherever it is.
    void restart_fwdd_with_example(const std::string& name, const Replacements& replacements) {
        std::string text = read_file(source_file("conf/" + name));
        for (const auto& [from, to] : replacements) {
            std::size_t at = text.find(from);
            ASSERT_NE(at, std::string::npos) << from << " is not in " << name;
            for (; at != std::string::npos; at = text.find(from, at + to.size()))
                text.replace(at, from.size(), to);
        }
        if (text.find("\nsocket =") == std::string::npos) text += own_files() + "hugepages = false;\n";
        restart_fwdd_with(text);
    }
    static std::string own_files() {
        return fmt::format("socket = \"{}\";\nstate_directory = \"{}\";\n", lab_file("fwd.sock").string(),
                           lab_file("state").string());
    }
};

TEST_F(ExampleTest, OneSegmentForwardsToItsWebServer) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(restart_fwdd_with_example("one-segment.conf", {{"iface=fwd0", "iface=lan"}}));
    EXPECT_EQ(get("http://10.0.0.3/who").output, "10.0.0.2 asked 10.0.0.4:8080");
    EXPECT_EQ(rule_names(), std::vector<std::string>{"web"});
    expect_every_packet_accounted_for();
}

TEST_F(ExampleTest, HomeRouterForwardsFromTheInternetToItsWebServer) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    exec("client",
         "ip address flush dev eth0; ip address add 203.0.113.1/24 dev eth0; "
         "ip address add 198.51.100.7/32 dev lo; ip address add 192.0.2.7/32 dev lo");
    exec("server",
         "ip address flush dev eth0; ip address add 192.168.1.10/24 dev eth0; "
         "ip route replace default via 192.168.1.1");
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(restart_fwdd_with_example(
        "home-router.conf",
        {{"0000:01:00.0", "net_af_packet0,iface=wan"}, {"0000:02:00.0", "net_af_packet1,iface=lan"}}));
    EXPECT_EQ(get("http://203.0.113.2/who").output, "203.0.113.1 asked 192.168.1.10:80");
    EXPECT_EQ(get("http://203.0.113.2/who", "--interface 192.0.2.7").output,
              "192.0.2.7 asked 192.168.1.10:80")
        << "by the default route";

    // Nobody listens for ssh: the office is refused by the server, all others by nobody.
    Socket office = tcp("client");
    EXPECT_TRUE(office.bind({"198.51.100.7", 0}));
    EXPECT_FALSE(office.connect({"203.0.113.2", 2222}));
    EXPECT_EQ(office.error(), ECONNREFUSED);
    EXPECT_FALSE(tcp("client").connect({"203.0.113.2", 2222}, std::chrono::milliseconds{300}));
    EXPECT_TRUE(eventually([&] { return dropped("source-denied") == 1; }));
    EXPECT_EQ(exec("server", "ping -c 1 -W 1 192.168.1.1").status, 0);
    expect_every_packet_accounted_for();
}

TEST_F(ExampleTest, EdgeStartsAndTagsWhatItSendsToItsVlans) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    exec("client",
         "ip address flush dev eth0; ip address add 198.51.100.4/29 dev eth0; "
         "ip route add default via 198.51.100.2");
    // Fewer cores, less memory and smaller frames than that machine has.
    ASSERT_NO_FATAL_FAILURE(
        restart_fwdd_with_example("edge.conf", {{"0000:3b:00.0", "net_af_packet0,iface=wan"},
                                                {"0000:3b:00.1", "net_af_packet1,iface=lan"},
                                                {"[ 2, 3, 4, 5 ]", "1"},
                                                {"4000000", "10000"},
                                                {"hugepages = true", "hugepages = false"},
                                                {"mtu = 9000; ", ""},
                                                {"/run/fwd/fwd.sock", lab_file("fwd.sock")},
                                                {"/var/lib/fwd", lab_file("state")},
                                                {"idle = \"poll\"", "idle = \"adaptive\""}}));
    EXPECT_EQ(fwdctl("status")["rules"], 9);
    Process wire = start("server", "tcpdump -l --immediate-mode -n -e -i eth0 arp or vlan");
    EXPECT_TRUE(wire.says("listening on"));

    EXPECT_FALSE(tcp("client").connect({"192.0.2.10", 443}, std::chrono::milliseconds{100}));
    Socket question = udp("client");
    EXPECT_TRUE(question.connect({"192.0.2.53", 53}) && question.send("who?"));

    for (const auto& [vlan, target] : {std::pair{"vlan 100", "who-has 10.100.1.10 tell 10.100.0.1"},
                                       std::pair{"vlan 200", "who-has 10.200.0.53 tell 10.200.0.1"}}) {
        EXPECT_TRUE(wire.says(target)) << wire.output();
        const std::string seen = wire.output();
        const std::string line = seen.substr(0, seen.find(target));
        EXPECT_NE(line.find(vlan, line.rfind('\n') + 1), std::string::npos) << seen;
    }
}

}  // namespace
}  // namespace fwd::test
