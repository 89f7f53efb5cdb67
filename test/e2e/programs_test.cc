// SPDX-License-Identifier: BSD-3-Clause
// Servers and clients that people use, as Debian has them, through both topologies.
#include <fmt/format.h>

#include <algorithm>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class ProgramsTest : public LabTest, public ::testing::WithParamInterface<const char*> {
 protected:
    void start_network(const std::string& config = "") {
        ASSERT_NO_FATAL_FAILURE(up({.topology = GetParam(), .config = config}));
    }
    /// Starts a server, which listens at a TCP port then.
    void serve(const std::string& command, unsigned port) {
        servers_.push_back(start("server", command));
        ASSERT_TRUE(eventually([&] {
            return exec("server", "ss -Htln").output.find(fmt::format(":{} ", port)) != std::string::npos;
        })) << servers_.back().output();
    }
    std::string file(const std::string& name) const { return (files() / name).string(); }
    /// A file of random bytes; gives its SHA-256.
    std::string random_file(const std::string& name, unsigned bytes) {
        return exec("server", fmt::format("head -c {} /dev/urandom | tee {} | sha256sum", bytes, file(name)))
            .output;
    }

 private:
    std::vector<Process> servers_;
};

INSTANTIATE_TEST_SUITE_P(, ProgramsTest, ::testing::Values("one-arm", "two-arm"), [](const auto& test) {
    return test.param == std::string{"one-arm"} ? "OneArm" : "TwoArm";
});

TEST_P(ProgramsTest, TlsWebServerServesHttp1AndHttp2) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    std::filesystem::create_directories(files() / "www");
    const std::string sum = random_file("www/file", 3'000'000);
    exec("server", fmt::format("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=fwd.test "
                               "-addext subjectAltName=DNS:fwd.test -keyout {} -out {}",
                               file("key.pem"), file("cert.pem")));
    write_file(files() / "tls.conf", fmt::format(R"(
        daemon off; worker_processes 1; pid {0}/tls.pid; error_log {0}/tls.log;
        user root;
        events {{ }}
        http {{ access_log off;
            server {{ listen 8443 ssl http2; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;
                      root {0}/www; }} }})",
                                                 files().path().string()));
    ASSERT_NO_FATAL_FAILURE(
        serve(fmt::format("nginx -p {0} -c {0}/tls.conf", files().path().string()), 8443));
    add_rule(fmt::format("tcp {}:443 10.0.0.4:8443", nobody()));
    for (const auto& [option, version] : {std::pair{"--http1.1", "1.1"}, {"--http2", "2"}}) {
        // Ten requests at once: over HTTP/2 they share one connection.
        const Finished done = exec(
            "client",
            fmt::format(
                "curl -sS --no-progress-meter --max-time 20 --parallel --cacert {} --resolve fwd.test:443:{} "
                "{} "
                "-w '%{{http_version}} %{{http_code}}\\n' 'https://fwd.test/file?[1-10]' -o '{}/copy-#1'",
                file("cert.pem"), nobody(), option, files().path().string()));
        std::string expected, sums;
        for (int i = 0; i < 10; ++i) {
            expected += fmt::format("{} 200\n", version);
            sums += sum;
        }
        EXPECT_EQ(done.output, expected);
        EXPECT_EQ(exec("client", fmt::format("for i in $(seq 10); do sha256sum < {}/copy-$i; done",
                                             files().path().string()))
                      .output,
                  sums);
    }
    expect_every_packet_accounted_for();
}

/// Without a helper: the ports of the data connections have a rule of their own, and the server is told by
/// which address it is reached. (EPSV, RFC 2428, names none.)
TEST_P(ProgramsTest, PassiveFtpCarriesFilesInBothDirections) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    for (const char* directory : {"ftp/in", "empty"})
        std::filesystem::create_directories(files() / directory);
    std::filesystem::permissions(files() / "ftp/in", std::filesystem::perms::others_write,
                                 std::filesystem::perm_options::add);
    const std::string sum = random_file("ftp/file", 3'000'000);
    write_file(files() / "vsftpd.conf",
               fmt::format("listen=YES\nlisten_port=2121\nbackground=NO\n"
                           "anonymous_enable=YES\nno_anon_password=YES\nanon_root={0}/ftp\n"
                           "secure_chroot_dir={0}/empty\nwrite_enable=YES\n"
                           "anon_upload_enable=YES\nanon_umask=022\nxferlog_enable=NO\n"
                           "pasv_min_port=50000\npasv_max_port=50099\npasv_address={1}\n",
                           files().path().string(), nobody()));
    ASSERT_NO_FATAL_FAILURE(serve("vsftpd " + file("vsftpd.conf"), 2121));
    add_rule(fmt::format("tcp {}:21 10.0.0.4:2121", nobody()));
    add_rule(fmt::format("tcp {}:50000-50099 10.0.0.4:50000-50099", nobody()));
    for (const std::string mode : {"", "--disable-epsv --no-ftp-skip-pasv-ip"}) {
        const std::string url = fmt::format("ftp://{}", nobody()),
                          copy = file(fmt::format("copy{}", mode.size()));
        EXPECT_EQ(get(url + "/file", fmt::format("{} -o {}", mode, copy)).output, "");
        EXPECT_EQ(exec("client", "sha256sum < " + copy).output, sum);
        const std::string back = fmt::format("in/back{}", mode.size());
        EXPECT_EQ(get(fmt::format("{}/{}", url, back), fmt::format("{} -T {}", mode, copy)).output, "");
        EXPECT_EQ(exec("server", "sha256sum < " + file("ftp/" + back)).output, sum);
    }
    expect_every_packet_accounted_for();
}

TEST_P(ProgramsTest, DnsAnswersByUdpAndLongOnesByTcp) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    std::string names;
    for (int i = 1; i < 200; ++i) names += fmt::format(" --host-record=many.test,198.51.{}.{}", i / 100, i);
    ASSERT_NO_FATAL_FAILURE(
        serve("dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null --user=root --pid-file= "
              "--port=5353 --host-record=www.test,198.51.100.80" +
                  names,
              5353));
    add_rule(fmt::format("tcp+udp {}:53 10.0.0.4:5353", nobody()));
    const auto dig = [&](const std::string& words) {
        return exec("client", fmt::format("dig +short +tries=1 +time=30 @{} {}", nobody(), words)).output;
    };
    EXPECT_EQ(dig("www.test"), "198.51.100.80\n");
    EXPECT_EQ(dig("+tcp www.test"), "198.51.100.80\n");
    // Too much for a datagram: dig asks again by TCP.
    EXPECT_EQ(std::ranges::count(dig("+bufsize=512 many.test"), '\n'), 199);
    expect_every_packet_accounted_for();
}

/// T5: nobody types for longer than a session lives, and the keepalives of ssh are what it lives by. An hour
/// of idleness at the scale of the timeout.
TEST_P(ProgramsTest, SshStaysConnectedWhileNobodyTypes) {
    ASSERT_NO_FATAL_FAILURE(start_network("timeouts = { tcp_established = 4; };\n"));
    exec("server", fmt::format("mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f {0}; ssh-keygen -q -t "
                               "ed25519 -N '' -f {1}",
                               file("host"), file("user")));
    ASSERT_NO_FATAL_FAILURE(
        serve(fmt::format("/usr/sbin/sshd -D -e -p 2200 -f /dev/null -h {} -o AuthorizedKeysFile={} -o "
                          "StrictModes=no -o UsePAM=no -o PidFile=none "
                          "-o PermitRootLogin=yes",
                          file("host"), file("user.pub")),
              2200));
    add_rule(fmt::format("tcp {}:22 10.0.0.4:2200", nobody()));
    const auto ssh = [&](int keepalive) {
        return fmt::format(
            "timeout 60 ssh -F none -i {} -o BatchMode=yes -o StrictHostKeyChecking=no "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ServerAliveCountMax=60 -o "
            "ServerAliveInterval={} root@{} "
            "'echo begin; sleep 10; echo end'",
            file("user"), keepalive, nobody());
    };
    // Without keepalives it does not: what the test shows is not a timeout that is too long.
    Process silent = start("client", ssh(0));
    EXPECT_EQ(exec("client", ssh(1)).output, "begin\nend\n");
    EXPECT_EQ(silent.stop().output, "begin\n");
}

}  // namespace
}  // namespace fwd::test
