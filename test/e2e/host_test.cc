// SPDX-License-Identifier: BSD-3-Clause
// The kernel beside fwd: what a link's `host` lets it have, and nothing else.
#include <fmt/format.h>

#include <cerrno>
#include <set>
#include <sstream>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class HostTest : public LabTest, public ::testing::WithParamInterface<const char*> {
 protected:
    void start_network(const std::string& services) {
        topology_ = GetParam();
        ASSERT_NO_FATAL_FAILURE(up({.topology = topology_,
                                    .ipv6 = true,
                                    .settings = {fmt::format("{}.host=({})", link(), services),
                                                 fmt::format("{}.ping=false", link())}}));
    }
    bool is_one_arm() const { return topology_ == "one-arm"; }
    std::string link() const { return is_one_arm() ? "lan" : "wan"; }
    /// fwd's own address where the client is.
    std::string own() const { return is_one_arm() ? "10.0.0.2" : "192.0.2.1"; }
    std::string client_address() const { return is_one_arm() ? "10.0.0.1" : "192.0.2.10"; }
    std::string file(const std::string& name) const { return (files() / name).string(); }

    void start_sshd() {
        exec("fwd", fmt::format("mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f {}; ssh-keygen -q -t "
                                "ed25519 -N '' -f {}",
                                file("host"), file("user")));
        sshd_.push_back(start(
            "fwd", fmt::format("/usr/sbin/sshd -D -e -p 22 -f /dev/null -h {} -o AuthorizedKeysFile={} -o "
                               "StrictModes=no -o UsePAM=no -o PidFile=none -o PermitRootLogin=yes "
                               "-o UseDNS=no",
                               file("host"), file("user.pub"))));
        ASSERT_TRUE(sshd_.back().says("listening on 0.0.0.0")) << sshd_.back().output();
    }
    std::string ssh(const std::string& command) const {
        return fmt::format(
            "timeout 60 ssh -F none -i {} -o BatchMode=yes -o StrictHostKeyChecking=no -o "
            "UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10 root@{} '{}'",
            file("user"), own(), command);
    }
    std::string sum(const std::string& name) {
        return exec("client", fmt::format("sha256sum < {}", file(name))).output;
    }

 private:
    std::string topology_;
    std::vector<Process> sshd_;
};

INSTANTIATE_TEST_SUITE_P(, HostTest, ::testing::Values("one-arm", "two-arm"), [](const auto& test) {
    return test.param == std::string{"one-arm"} ? "OneArm" : "TwoArm";
});

/// By the link that forwards, and by an address whose other ports have a rule.
TEST_P(HostTest, SshCarriesBulkDataWhileARuleForwardsAnotherPort) {
    ASSERT_NO_FATAL_FAILURE(start_network(R"("ssh", "ping")"));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_sshd());
    add_rule(fmt::format("tcp link:{}:80 10.0.0.4:8080", link()));
    exec("client", fmt::format("head -c 4000000 /dev/urandom > {}", file("there")));
    std::filesystem::create_directories(files() / "www");
    exec("server", fmt::format("head -c 20000000 /dev/urandom > {}", file("www/big")));
    Process download =
        start("client", fmt::format("curl -sS --max-time 60 -o {} http://{}/big", file("big"), own()));
    EXPECT_EQ(exec("client", fmt::format("{} < {}", ssh("cat > " + file("up")), file("there"))).output, "");
    EXPECT_EQ(exec("client", fmt::format("{} > {}", ssh("cat " + file("up")), file("down"))).output, "");
    EXPECT_EQ(sum("up"), sum("there"));
    EXPECT_EQ(sum("down"), sum("there"));
    EXPECT_EQ(download.wait().output, "");
    EXPECT_EQ(sum("big"), sum("www/big"));
    EXPECT_EQ(exec("client", "ping -c 3 -i 0.1 -W 5 " + own()).status, 0);
    // And the kernel asks by the same address.
    EXPECT_EQ(exec("fwd", "ping -c 1 -W 5 " + client_address()).status, 0);
    Process listener = start("client", "socat -u TCP4-LISTEN:4000,reuseaddr STDOUT");
    ASSERT_TRUE(
        eventually([&] { return exec("client", "ss -Htln").output.find(":4000 ") != std::string::npos; }));
    EXPECT_EQ(exec("fwd", fmt::format("echo hello | socat -u STDIN TCP4:{}:4000", client_address())).output,
              "");
    EXPECT_EQ(listener.wait().output, "hello\n");
    expect_every_packet_accounted_for();
}

TEST_P(HostTest, ServiceIsThereForTheSourcesThatItsFromNames) {
    ASSERT_NO_FATAL_FAILURE(
        start_network(fmt::format(R"("ping", {{ service = "ssh"; from = [ "{}/32" ]; }})",
                                  GetParam() == std::string{"one-arm"} ? "10.0.0.1" : "192.0.2.10")));
    ASSERT_NO_FATAL_FAILURE(start_sshd());
    exec("client", fmt::format("ip address add {}/24 dev eth0", is_one_arm() ? "10.0.0.77" : "192.0.2.77"));
    Socket other = tcp("client");
    ASSERT_TRUE(other.bind({is_one_arm() ? "10.0.0.77" : "192.0.2.77", 0}));
    EXPECT_FALSE(other.connect({own(), 22}, 1500ms));
    EXPECT_EQ(other.error(), EINPROGRESS) << "nobody says anything";
    EXPECT_EQ(exec("client", ssh("echo in")).output, "in\n");
    EXPECT_GT(dropped("no-rule"), 0);
    expect_every_packet_accounted_for();
}

/// The kernel's end of a link, in the hands of whoever administers the machine.
class InterfaceTest : public LabTest {
 protected:
    void start_network() {
        ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm",
                                    .ipv6 = true,
                                    .config = R"(routes = ( { prefix = "198.18.0.0/15"; via = "192.0.2.10"; },
                                        { prefix = "2001:db8:18::/48"; via = "2001:db8:2::1"; } );)",
                                    .settings = {R"(wan.host=["ping"])", "wan.ping=false"}}));
    }
    std::size_t times_logged(const std::string& text) const {
        const std::string log = fwdd_log();
        std::size_t times = 0;
        for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++times;
        return times;
    }
};

TEST_F(InterfaceTest, HasItsAddressesAndRoutesAgainWhenItWasDown) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    const auto shown = [&] {
        return exec("fwd", "(ip -o address show dev fwd-wan; ip route; ip -6 route) | sort").output;
    };
    const std::string before = shown();
    ASSERT_NE(before.find("198.18.0.0/15 via 192.0.2.10 dev fwd-wan"), std::string::npos) << before;
    ASSERT_NE(before.find("2001:db8:18::/48 via 2001:db8:2::1 dev fwd-wan"), std::string::npos) << before;
    exec("fwd", "ip link set fwd-wan down; ip link set fwd-wan up");
    EXPECT_TRUE(eventually([&] { return shown() == before; }, 10s)) << before << "and now\n" << shown();
    EXPECT_EQ(exec("client", "ping -c 1 -W 5 192.0.2.1").status, 0);
    EXPECT_EQ(exec("client", "ping -c 1 -W 5 2001:db8:2::2").status, 0);
    EXPECT_EQ(times_logged("fwd-wan has fwd's addresses and routes again"), 1);
    expect_every_packet_accounted_for();
}

/// As udev does with what is new.
TEST_F(InterfaceTest, HasItsMacAgainWhenSomebodyGaveItAnother) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    const auto shown = [&] { return exec("fwd", "cat /sys/class/net/fwd-wan/address").output; };
    const std::string before = shown();
    exec("fwd", "ip link set fwd-wan address 4e:57:eb:97:e3:cf");
    EXPECT_TRUE(eventually([&] { return shown() == before; }, 10s)) << before << "and now\n" << shown();
    EXPECT_EQ(exec("client", "ping -c 1 -W 5 192.0.2.1").status, 0);
    EXPECT_EQ(exec("client", "ping -c 1 -W 5 2001:db8:2::2").status, 0);
    EXPECT_EQ(times_logged("fwd-wan the MAC address 4e:57:eb:97:e3:cf"), 1);
    expect_every_packet_accounted_for();
}

TEST_F(InterfaceTest, RoutesThatAreNotFollowedAreNamedOnce) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    const std::vector<std::pair<std::string, std::string>> routes{
        {"blackhole 203.0.113.0/24",
         "route to 203.0.113.0/24: it drops or refuses packets, and fwd does not follow it"},
        {"198.51.100.0/24 via inet6 fe80::1 dev fwd-wan",
         "route to 198.51.100.0/24: its next hop fe80::1 is of the other family, and fwd does not follow it"},
        {"100.64.0.0/10 nexthop via 192.0.2.10 nexthop via 192.0.2.11",
         "route to 100.64.0.0/10: fwd uses the first of its next hops alone"}};
    for (const auto& [route, line] : routes) {
        EXPECT_EQ(exec("fwd", "ip route add " + route).output, "");
        EXPECT_TRUE(eventually([&] { return times_logged(line) == 1; }, 10s)) << route << '\n' << fwdd_log();
        exec("fwd", fmt::format("ip route delete {0}; sleep 0.3; ip route add {0}", route));
    }
    exec("fwd", "ip route add 198.51.101.0/24 via 192.0.2.10");
    exec("fwd", "for i in $(seq 100); do ip route add blackhole 203.0.112.$i; done");
    EXPECT_TRUE(eventually([&] { return times_logged("no more of them are named") == 1; }, 10s));
    EXPECT_EQ(times_logged("the kernel's route to "), 50);
    for (const auto& [route, line] : routes) EXPECT_EQ(times_logged(line), 1) << line;
}

class ScanTest : public HostTest {
 protected:
    /// Nobody listens at 9100: the kernel says so, for it is listed. At 3000 somebody does, and it is not.
    void start_what_is_scanned() {
        ASSERT_NO_FATAL_FAILURE(start_network(R"("ssh", { protocol = "tcp"; port = "9100"; })"));
        ASSERT_NO_FATAL_FAILURE(start_sshd());
        ASSERT_NO_FATAL_FAILURE(start_web_server());
        add_rule("tcp 192.0.2.1:80 10.0.0.4:8080");
        add_rule("tcp '[2001:db8:2::2]:80' 10.0.0.4:8080");
        hidden_.push_back(start("fwd", "socat TCP6-LISTEN:3000,ipv6only=0,fork,reuseaddr PIPE"));
        hidden_.push_back(start("fwd", "socat UDP6-RECVFROM:161,ipv6only=0,fork PIPE"));
        ASSERT_TRUE(eventually([&] {
            const std::string sockets = exec("fwd", "ss -Htuln").output;
            return sockets.find(":3000 ") != std::string::npos && sockets.find(":161 ") != std::string::npos;
        }));
    }
    using States = std::set<std::string>;
    States scan(const std::string& words) {
        // Greppable output: "22/open/tcp//ssh///", and of the many filtered ones their number.
        const Finished done = exec("client", fmt::format("nmap -n -Pn -T5 --max-retries 1 --max-rtt-timeout "
                                                         "200ms --min-rate 2000 -oG - {}",
                                                         words));
        EXPECT_EQ(done.status, 0) << done.output;
        States states;
        for (const char* state : {"open", "closed", "unfiltered"}) {
            for (std::size_t at = 0;
                 (at = done.output.find(fmt::format("/{}/", state), at)) != std::string::npos; ++at) {
                const std::size_t begin = done.output.find_last_of(" \t", at) + 1;
                states.insert(done.output.substr(begin, at - begin) + ' ' + state);
            }
        }
        return states;
    }

 private:
    std::vector<Process> hidden_;
};
INSTANTIATE_TEST_SUITE_P(, ScanTest, ::testing::Values("two-arm"), [](const auto&) { return "TwoArm"; });

constexpr const char* kPorts = "-p 1-100,170-190,3000,4000,8080,9090-9110,32768-32800";

/// T4: whatever is not listed looks as if nobody were there.
TEST_P(ScanTest, ShowsWhatIsListedAlone) {
    ASSERT_NO_FATAL_FAILURE(start_what_is_scanned());
    Capture seen = capture("client", "src host 192.0.2.1");
    const auto scan = [&](const std::string& how) { return ScanTest::scan(how + " 192.0.2.1"); };
    const std::string ports = kPorts;
    EXPECT_EQ(scan("-sS " + ports), (States{"22 open", "80 open", "9100 closed"}));
    EXPECT_EQ(scan("-sS -g 22 " + ports), (States{"22 open", "80 open", "9100 closed"}));
    EXPECT_EQ(scan("-sS -g 179 -p 23,179,3000"), States{});
    // The rule's port is silent: no session explains an ACK.
    EXPECT_EQ(scan("-sA " + ports), (States{"22 unfiltered", "9100 unfiltered"}));
    EXPECT_EQ(scan("-sF -p 21,23,3000"), States{});
    EXPECT_EQ(scan("-sU -p 53,67,68,123,161,500,546,3784,33434"), States{});
    EXPECT_NE(exec("client", "ping -c 1 -W 1 192.0.2.1").status, 0);
    // Each of the others once. All of them arrive, unless the machine has more to do than this.
    const std::uint64_t before = dropped("no-rule");
    scan("-sS -p- --min-rate 10000 --max-rate 20000 --max-retries 0");
    EXPECT_GT(dropped("no-rule") - before, 20000);

    std::set<std::string> speakers;
    for (const WirePacket& packet : seen.stop().packets)
        speakers.insert(fmt::format("{}/{}", packet.protocol, packet.source_port));
    EXPECT_EQ(speakers, (std::set<std::string>{"6/22", "6/80", "6/9100"})) << "nothing else has left fwd";
    expect_every_packet_accounted_for();
}

/// T4: by IPv6 nothing more, but for neighbour discovery.
TEST_P(ScanTest, ShowsWhatIsListedAloneByIpv6) {
    ASSERT_NO_FATAL_FAILURE(start_what_is_scanned());
    // Until it is sure that its address is free, fwd does not answer for it.
    ASSERT_TRUE(eventually([&] {
        return exec("client", "socat -u /dev/null TCP6:[2001:db8:2::2]:22,connect-timeout=1").status == 0;
    }));
    const std::string mac = fwdctl("list-links")["links"][0]["mac"];
    Process seen =
        start("client", fmt::format("tcpdump -Z root -n -q -l --immediate-mode -i eth0 'ip6 and ether "
                                    "src {} and ip6[6] != 0 and not (ip6[6] == 58 and ip6[40] > 132)'",
                                    mac));
    ASSERT_TRUE(seen.says("listening on")) << seen.output();
    const auto scan = [&](const std::string& how) { return ScanTest::scan("-6 " + how + " 2001:db8:2::2"); };
    const std::string ports = kPorts;
    EXPECT_EQ(scan("-sS " + ports), (States{"22 open", "80 open", "9100 closed"}));
    EXPECT_EQ(scan("-sA " + ports), (States{"22 unfiltered", "9100 unfiltered"}));
    EXPECT_EQ(scan("-sF -p 21,23,3000"), States{});
    EXPECT_EQ(scan("-sU -p 53,123,161,500,547,3784,33434"), States{});
    EXPECT_NE(exec("client", "ping -c 1 -W 1 2001:db8:2::2").status, 0);
    const std::string link_local =
        exec("fwd", "ip -6 -o address show dev fwd-wan scope link | grep -o 'fe80[^/]*' | tr -d '\\n'")
            .output;
    const std::string near = fmt::format("-6 -sS -p 22,80,3000 {}%eth0", link_local);
    EXPECT_TRUE(eventually([&] { return ScanTest::scan(near) == States{"22 open"}; }, 20s));

    std::set<std::string> speakers;
    std::istringstream lines{seen.stop(SIGINT).output};
    for (std::string line; std::getline(lines, line);) {
        // "12:00:00.000000 IP6 2001:db8:2::2.22 > 2001:db8:2::1.40000: tcp 0"
        if (const std::size_t at = line.find(" IP6 "); at != std::string::npos)
            speakers.insert(line.substr(at + 5, line.find(" > ") - at - 5));
    }
    EXPECT_EQ(speakers, (std::set<std::string>{"2001:db8:2::2.22", "2001:db8:2::2.80", "2001:db8:2::2.9100",
                                               link_local + ".22"}));
    expect_every_packet_accounted_for();
}

/// P5
TEST_P(ScanTest, FloodAtAServiceIsLimitedAndForwardedTrafficGoesOn) {
    ASSERT_NO_FATAL_FAILURE(start_network(R"("ssh")"));
    ASSERT_NO_FATAL_FAILURE(start_sshd());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.1:80 10.0.0.4:8080");
    exec("server", fmt::format("head -c 10000000 /dev/urandom > {}", file("www/big")));
    // So that the kernel has somewhere to answer to.
    exec("fwd", "ip route add 172.16.0.0/12 via 192.0.2.10 dev fwd-wan");
    const std::string mac = fwdctl("list-links")["links"][0]["mac"];
    Process flood = start("client", fmt::format("python3 {} eth0 {} tcp 192.0.2.1 22 60 30000",
                                                source_file("test/e2e/flood.py").string(), mac));
    ASSERT_TRUE(flood.says("flooding")) << flood.output();
    ASSERT_TRUE(eventually([&] { return dropped("punt-limited") > 1000; })) << fwdctl("stats");
    EXPECT_EQ(get("http://192.0.2.1/big", "-o " + file("big")).output, "");
    EXPECT_EQ(sum("big"), sum("www/big"));
    // What the kernel begins itself does not share the flood's limit.
    EXPECT_EQ(exec("fwd", "ping -c 3 -i 0.2 -W 5 192.0.2.10").status, 0);
    EXPECT_TRUE(flood.is_running()) << "it was to last as long as that";
    flood.stop();
    EXPECT_EQ(exec("client", ssh("echo in")).output, "in\n");
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
