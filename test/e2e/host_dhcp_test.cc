// SPDX-License-Identifier: BSD-3-Clause
// A link whose address comes by DHCP, as from most providers: a client beside fwd asks for it, and fwd
// follows.
#include <fmt/format.h>

#include <csignal>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

/// What dhclient and others do, without the machine's /etc/resolv.conf.
constexpr const char* kScript = R"(#!/bin/sh
case "$1" in
    deconfig) ip -4 address flush dev "$interface" ;;
    bound|renew)
        ip -4 address show dev "$interface" | grep -q " $ip/" || ip -4 address flush dev "$interface"
        ip address replace "$ip/$mask" dev "$interface"
        [ -z "$router" ] || ip route replace default via "$router" dev "$interface" ;;
esac
)";

class HostDhcpTest : public LabTest {
 protected:
    std::string file(const std::string& name) const { return (files() / name).string(); }
    /// The client's segment has one: it is the provider's.
    void start_provider(const std::string& first, const std::string& last) {
        provider_.clear();
        provider_.push_back(
            start("client",
                  fmt::format(
                      "dnsmasq --no-daemon --port=0 --conf-file=/dev/null --no-ping --user=root --pid-file= "
                      "--interface=eth0 --bind-interfaces --dhcp-authoritative --dhcp-leasefile={} "
                      "--dhcp-range={},{},255.255.255.0,2m",
                      file("leases-" + first), first, last)));
        ASSERT_TRUE(provider_.back().says("DHCP, sockets bound")) << provider_.back().output();
    }
    void start_dhcp_client() {
        write_file(files() / "script", kScript);
        std::filesystem::permissions(files() / "script", std::filesystem::perms::owner_all);
        dhcp_client_.push_back(
            start("fwd", fmt::format("udhcpc -f -i fwd-wan -t 10 -T 1 -s {}", file("script"))));
    }
    Process& dhcp_client() { return dhcp_client_.back(); }
    bool fwd_has(const std::string& address) {
        return eventually(
            [&] { return fwdctl("list-links")["links"][0]["addresses"] == Json{address + "/24"}; }, 10s);
    }

 private:
    std::vector<Process> provider_, dhcp_client_;
};

TEST_F(HostDhcpTest, RulesAndMasqueradesFollowTheLease) {
    // No address and no route on wan, and rules from the start.
    ASSERT_NO_FATAL_FAILURE(
        up({.topology = "two-arm",
            .config = R"(
        rules = ( { name = "echo"; protocol = "tcp+udp"; external = "link:wan:7"; target = "10.0.0.4:7000"; } );
        masquerades = ( { name = "home"; inside = "lan"; } );
    )",
            .settings = {R"(wan.host=["dhcp-client", "ping"])", "wan.addresses=[]", "wan.ping=false"}}));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_provider("192.0.2.100", "192.0.2.100"));
    // The world beyond the provider's router.
    exec("client", "ip address add 198.51.100.7/32 dev lo");
    Process world = start("client", R"(socat TCP4-LISTEN:8000,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR')");
    const auto asked_by = [&] {
        return exec("server", "echo | timeout 5 socat - TCP4:198.51.100.7:8000").output;
    };
    EXPECT_NE(get("http://192.0.2.100:7/", "--max-time 1").status, 0) << "nobody has the address yet";

    start_dhcp_client();
    ASSERT_TRUE(fwd_has("192.0.2.100")) << dhcp_client().output();
    add_rule("tcp link:wan:80 10.0.0.4:8080 --name web");
    EXPECT_EQ(get("http://192.0.2.100/").output, kPage);
    Socket talk = tcp("client");
    ASSERT_TRUE(talk.connect({"192.0.2.100", 7}));
    EXPECT_TRUE(talk.echoes("to the first address"));
    Socket datagrams = udp("client");
    ASSERT_TRUE(datagrams.connect({"192.0.2.100", 7}));
    EXPECT_TRUE(datagrams.echoes("to the first address"));
    EXPECT_EQ(asked_by(), "192.0.2.100\n") << "by the default route that the lease has brought";
    EXPECT_EQ(exec("client", "ping -c 1 -W 5 192.0.2.100").status, 0);
    expect_every_packet_accounted_for();

    // The provider renumbers. Asked for more time, it refuses: the client begins again.
    ASSERT_NO_FATAL_FAILURE(start_provider("192.0.2.200", "192.0.2.200"));
    ASSERT_EQ(kill(dhcp_client().pid(), SIGUSR1), 0);
    ASSERT_TRUE(fwd_has("192.0.2.200")) << dhcp_client().output();
    for (const Json& session : sessions())
        EXPECT_EQ(session.dump().find("192.0.2.100"), std::string::npos) << session;
    EXPECT_TRUE(datagrams.send("to the first address"));
    EXPECT_FALSE(datagrams.receive(500ms));
    EXPECT_EQ(get("http://192.0.2.200/").output, kPage);
    Socket anew = tcp("client");
    ASSERT_TRUE(anew.connect({"192.0.2.200", 7}));
    EXPECT_TRUE(anew.echoes("to the second address"));
    EXPECT_EQ(asked_by(), "192.0.2.200\n");
    EXPECT_NE(get("http://192.0.2.100/", "--max-time 1").status, 0);

    // Given back, there is none.
    ASSERT_EQ(kill(dhcp_client().pid(), SIGUSR2), 0);
    EXPECT_TRUE(eventually([&] { return fwdctl("list-links")["links"][0]["addresses"].empty(); }, 10s));
    EXPECT_TRUE(sessions().empty()) << sessions();
    expect_every_packet_accounted_for();
}

/// And the other way: fwd's machine gives those inside their addresses, and is asked for names.
TEST_F(HostDhcpTest, HostsInsideGetAddressesAndNamesFromTheKernelBesideFwd) {
    ASSERT_NO_FATAL_FAILURE(
        up({.topology = "two-arm", .settings = {R"(lan.host=["dhcp-server", "dns"])", "lan.ping=false"}}));
    Process dnsmasq = start(
        "fwd", fmt::format("dnsmasq --no-daemon --no-resolv --no-hosts --host-record=www.test,198.51.100.80 "
                           "--conf-file=/dev/null --no-ping --user=root --pid-file= --interface=fwd-lan "
                           "--bind-interfaces --dhcp-authoritative --dhcp-leasefile={} "
                           "--dhcp-range=10.0.0.100,10.0.0.100,255.255.255.0,2m",
                           file("leases")));
    ASSERT_TRUE(dnsmasq.says("DHCP, sockets bound")) << dnsmasq.output();
    write_file(files() / "script", "#!/bin/sh\necho $1 $ip $router $dns\n");
    std::filesystem::permissions(files() / "script", std::filesystem::perms::owner_all);
    const Finished asked =
        exec("server", fmt::format("udhcpc -f -q -n -i eth0 -t 10 -T 1 -s {}", file("script")));
    EXPECT_NE(asked.output.find("bound 10.0.0.100 10.0.0.1 10.0.0.1"), std::string::npos)
        << asked.output << dnsmasq.output();
    EXPECT_EQ(exec("server", "dig +short +tries=1 +time=5 @10.0.0.1 www.test").output, "198.51.100.80\n");
    EXPECT_EQ(exec("server", "dig +tcp +short +tries=1 +time=5 @10.0.0.1 www.test").output,
              "198.51.100.80\n");
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
