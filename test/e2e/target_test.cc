// SPDX-License-Identifier: BSD-3-Clause
// Targets that stop, refuse, vanish and come back while clients ask for them.
#include <fmt/format.h>

#include <cerrno>

#include "test/e2e/conversation.h"
#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kRequest = "GET /who HTTP/1.1\r\nHost: example\r\n\r\n";

using TargetTest = LabTest;

TEST_F(TargetTest, RestartedServerServesNewClientsAndResetsOldOnes) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080");
    const std::string whole = files() / "www/file";
    const std::string part = files() / "part";
    exec("server", fmt::format("head -c 20000000 /dev/urandom > {}", whole));
    Socket idle = tcp("client");
    EXPECT_TRUE(idle.connect({"10.0.0.3", 80}) && idle.send(kRequest));
    EXPECT_NE(idle.receive().value_or("").find("10.0.0.2 asked"), std::string::npos);
    Process download =
        start("client", fmt::format("curl -sS --limit-rate 2M -o {} http://10.0.0.3/file", part));
    EXPECT_TRUE(eventually(
        [&] { return std::filesystem::exists(part) && std::filesystem::file_size(part) > 1000000; }));

    stop_web_server();

    const Finished broken = download.wait();
    EXPECT_TRUE(broken.status == 18 || broken.status == 56) << broken.status << ": " << broken.output;
    const auto bytes = std::filesystem::file_size(part);
    EXPECT_LT(bytes, 20000000U);
    EXPECT_EQ(exec("client", fmt::format("cmp -n {} {} {}", bytes, part, whole)).output, "");
    EXPECT_EQ(idle.receive(), "");  // the server closed it
    EXPECT_TRUE(eventually([&] { return !idle.send(kRequest); })) << "no reset came back";
    EXPECT_EQ(idle.error(), EPIPE);
    EXPECT_EQ(get("http://10.0.0.3/file").status, 7) << "connection refused";

    ASSERT_NO_FATAL_FAILURE(start_web_server());
    EXPECT_EQ(get("http://10.0.0.3/file", "-o " + part).output, "");
    EXPECT_EQ(exec("client", fmt::format("cmp {} {}", part, whole)).output, "");
    expect_every_packet_accounted_for();
}

class ClosedPortTest : public LabTest, public ::testing::WithParamInterface<const char*> {};

/// I5, T9
TEST_P(ClosedPortTest, IsRefusedAtOnceInTheExternalAddressesName) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = GetParam()}));
    add_rule(fmt::format("tcp+udp {}:7 10.0.0.4:7000", nobody()));
    Capture wire = capture("client", "dst port 7 or src port 7 or icmp");

    Socket stream = tcp("client");
    EXPECT_FALSE(stream.connect({nobody(), 7}));
    EXPECT_EQ(stream.error(), ECONNREFUSED);
    Socket datagrams = udp("client");
    EXPECT_TRUE(datagrams.connect({nobody(), 7}) && datagrams.send("hello"));
    EXPECT_EQ(datagrams.receive(), std::nullopt);
    EXPECT_EQ(datagrams.error(), ECONNREFUSED);
    const Wire seen = wire.stop();
    EXPECT_EQ(seen.packets.size(), 4U);
    EXPECT_EQ(seen.from(nobody()).size(), 2U) << "a reset and an ICMP error";
    for (const WirePacket& packet : seen.packets) EXPECT_TRUE(packet.checksums_right) << packet;
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(, ClosedPortTest, ::testing::Values("one-arm", "two-arm"), [](const auto& test) {
    return test.param == std::string{"one-arm"} ? "OneArm" : "TwoArm";
});

TEST_F(TargetTest, ThatDoesNotExistDisturbsNoOther) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("tcp+udp 10.0.0.3:7 10.0.0.4:7000");
    add_rule("tcp+udp 10.0.0.3:8 10.0.0.77:7000");
    Conversation other{connected(tcp("client"))};

    Socket datagrams = udp("client");
    EXPECT_TRUE(datagrams.connect({"10.0.0.3", 8}));
    for (int i = 0; i < 20; ++i) datagrams.send("hello");
    EXPECT_TRUE(eventually([&] { return dropped("hold-limited") == 4; })) << fwdctl("stats");
    EXPECT_TRUE(eventually([&] { return dropped("hold-expired") == 16; })) << fwdctl("stats");
    // For a moment after that it is known not to answer.
    EXPECT_TRUE(eventually([&] {
        tcp("client").connect({"10.0.0.3", 8}, 200ms);
        return dropped("neighbour-failed") >= 1;
    }));
    EXPECT_TRUE(eventually([&] { return fwdctl("stats")["packets"]["held"] == 0; }));

    connected(tcp("client"));
    EXPECT_TRUE(other.was_right());

    // It is there at last: fwd asks for it again.
    exec("server", "ip address add 10.0.0.77/24 dev eth0");
    EXPECT_TRUE(eventually([&] { return tcp("client").connect({"10.0.0.3", 8}, 200ms); }));
    expect_every_packet_accounted_for();
}

TEST_F(TargetTest, WhoseCableIsOutForAWhileGoesOnWithItsSessions) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("tcp+udp 10.0.0.3:7 10.0.0.4:7000");
    Socket stream = connected(tcp("client"));

    exec("server", "ip link set eth0 down");
    EXPECT_FALSE(tcp("client").connect({"10.0.0.3", 7}, 300ms));
    EXPECT_TRUE(stream.send("patience"));
    EXPECT_EQ(stream.receive(300ms), std::nullopt);
    EXPECT_EQ(stream.error(), 0);
    exec("server", "ip link set eth0 up");

    std::string back;
    while (back.size() < 8) {
        const auto more = stream.receive(10s);
        if (!more || more->empty()) break;
        back += *more;
    }
    EXPECT_EQ(back, "patience");
    EXPECT_TRUE(eventually([&] { return tcp("client").connect({"10.0.0.3", 7}, 500ms); }));
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
