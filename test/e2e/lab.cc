// SPDX-License-Identifier: BSD-3-Clause
#include "test/e2e/lab.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <utility>
#include <vector>

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

std::string environment(const char* name, const std::string& otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : otherwise;
}

/// For the tests and for tools/lab; whoever sets it has another build tested.
[[maybe_unused]] const int kBuildIsNamed = setenv("FWD_BUILD", FWD_BUILD_DIRECTORY, 0);

/// Of its own, so that a lab that someone plays with stays.
const std::string& lab_name() {
    static const std::string name = [] {
        setenv("FWD_LAB", "e2e", 0);
        return environment("FWD_LAB", "");
    }();
    return name;
}

constexpr const char* kNginxConfig = R"(
daemon off;
pid {0}/nginx.pid;
error_log {0}/error.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log {0}/access.log;
    client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
    sendfile on;
    client_max_body_size 0;
    server {{
        listen 80;
        listen 8080;
        root {0}/www;
        location /who {{ return 200 "$remote_addr asked $server_addr:$server_port"; }}
        location /upload {{ return 200 "received\n"; }}
    }}
}}
)";

/// Its first and last lines, so that what had failed is still in sight above it.
std::string shortened(const std::string& text) {
    constexpr std::size_t kEnd = 12;
    std::vector<std::string> lines;
    std::istringstream input{text};
    for (std::string line; std::getline(input, line);) lines.push_back(line + '\n');
    if (lines.size() > 2 * kEnd) {
        const std::string gap = fmt::format("... {} more lines\n", lines.size() - 2 * kEnd);
        lines.erase(lines.begin() + kEnd, lines.end() - kEnd);
        lines.insert(lines.begin() + kEnd, gap);
    }
    return fmt::format("{}", fmt::join(lines, ""));
}

}  // namespace

Wire Capture::stop() {
    // Until nothing more comes: tcpdump has a buffer.
    std::uintmax_t before = ~std::uintmax_t{0};
    for (int same = 0; same < 4; std::this_thread::sleep_for(150ms)) {
        const std::uintmax_t now = std::filesystem::file_size(file_);
        same = now == before ? same + 1 : 0;
        before = now;
    }
    tcpdump_.stop(SIGINT);
    return read_capture(file_);
}

void LabTest::SetUp() {
    lab_name();  // tools/lab takes it from the environment
    if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces, which needs root";
}

void LabTest::TearDown() {
    if (!is_up_) return;
    const bool was_alive = lab({"status"}).status == 0;
    EXPECT_TRUE(was_alive) << "fwdd was not alive at the end";
    if (HasFailure()) {
        std::cerr << "--- fwdd's log\n"
                  << shortened(fwdd_log()) << "--- its counters\n"
                  << shortened(lab({"fwdctl", "stats"}).output) << "--- its sessions\n"
                  << shortened(lab({"fwdctl", "list-sessions"}).output) << "---\n";
    }
    // What an instrumented fwdd has to say it also says at its end.
    lab({"stop"});
    EXPECT_EQ(fwdd_log().find("Sanitizer"), std::string::npos) << fwdd_log();
    const Finished down = lab({"down"});
    EXPECT_EQ(down.status, 0) << down.output;
}

void LabTest::up(const LabOptions& options) {
    lab({"down"});
    Command command{"up",
                    "--topology",
                    options.topology,
                    "--device",
                    options.device,
                    "--workers",
                    std::to_string(options.workers),
                    "--offload",
                    options.offload ? "on" : "off",
                    "--mtu",
                    std::to_string(options.mtu)};
    if (options.ipv6) command.emplace_back("--ipv6");
    for (const std::string& setting : options.settings) command.insert(command.end(), {"--set", setting});
    if (!options.config.empty()) {
        write_file(files_ / "lab.conf", options.config);
        command.insert(command.end(), {"--config", files_ / "lab.conf"});
    }
    const Finished done = lab(command);
    ASSERT_EQ(done.status, 0) << done.output;
    is_up_ = true;
    is_two_arm_ = options.topology == "two-arm";
}

void LabTest::start_fwdd() {
    const Finished done = lab({"start"});
    EXPECT_EQ(done.status, 0) << done.output;
}

void LabTest::restart_fwdd_with(const std::string& config) {
    stop_fwdd();
    write_file(lab_file("fwd.conf"), config);
    start_fwdd();
}

void LabTest::restart_fwdd_with(const std::string& text, const std::string& replacement) {
    std::string changed = config();
    const std::size_t at = changed.find(text);
    ASSERT_NE(at, std::string::npos) << text << " is not in " << changed;
    restart_fwdd_with(changed.replace(at, text.size(), replacement));
}

std::string LabTest::fwdd_log() const {
    return read_file(lab_file("fwdd.log"));
}

Finished LabTest::lab(Command arguments) {
    arguments.insert(arguments.begin(), source_file("tools/lab"));
    return run(arguments);
}

std::string LabTest::namespace_of(const std::string& host) {
    return fmt::format("fwd-lab-{}-{}", lab_name(), host);
}

Command LabTest::host_command(const std::string& host, const std::string& command) const {
    return {"ip", "netns", "exec", namespace_of(host), "sh", "-c", command};
}

Finished LabTest::exec(const std::string& host, const std::string& command) {
    return run(host_command(host, command));
}

Process LabTest::start(const std::string& host, const std::string& command) {
    return Process{host_command(host, "exec " + command)};
}

Socket LabTest::connected(Socket socket, std::uint16_t port) {
    EXPECT_TRUE(socket.connect({nobody(), port}));
    EXPECT_TRUE(socket.echoes("first"));
    return socket;
}

Capture LabTest::capture(const std::string& host, const std::string& filter) {
    const std::filesystem::path file = files_ / fmt::format("{}-{}.pcap", host, ++captures_);
    Process tcpdump =
        start(host, fmt::format("tcpdump -Z root -U --immediate-mode -B 65536 -i eth0 -w {} '{}'",
                                file.string(), filter));
    EXPECT_TRUE(tcpdump.says("listening on")) << tcpdump.output();
    return {std::move(tcpdump), file};
}

Finished LabTest::try_fwdctl(const std::string& words) {
    return run({"sh", "-c",
                fmt::format("exec {} --socket {} {}", build_file("tools/fwdctl/fwdctl").string(),
                            lab_file("fwd.sock").string(), words)});
}

Json LabTest::fwdctl(const std::string& words) {
    const Finished done = try_fwdctl("--json " + words);
    EXPECT_EQ(done.status, 0) << "fwdctl " << words << ": " << done.output;
    return done.status == 0 ? Json::parse(done.output, nullptr, false) : Json{};
}

std::vector<std::string> LabTest::rule_names() {
    std::vector<std::string> names;
    const Json rules = fwdctl("list-rules");
    for (const Json& rule : rules["rules"]) names.push_back(rule["name"]);
    return names;
}

void LabTest::start_web_server() {
    std::filesystem::create_directories(files_ / "www");
    write_file(files_ / "www/index.html", kPage);
    write_file(files_ / "nginx.conf", fmt::format(kNginxConfig, files_.path().string()));
    web_server_.clear();
    web_server_.push_back(start(
        "server", fmt::format("nginx -p {0} -e {0}/error.log -c {0}/nginx.conf", files_.path().string())));
    ASSERT_TRUE(eventually([&] {
        return exec("server", "ss -Htln").output.find(":8080") != std::string::npos;
    })) << web_server_.front().output();
}

void LabTest::stop_web_server() {
    // Not by SIGKILL, which would leave its workers.
    for (Process& nginx : web_server_) nginx.stop();
    web_server_.clear();
}

void LabTest::start_echo_server(std::uint16_t port) {
    echo_servers_.push_back(start("server", fmt::format("socat TCP4-LISTEN:{},fork,reuseaddr PIPE", port)));
    // socat's child of a datagram now and then takes the next one too, and is gone before it answers.
    const char* udp_echo =
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('', {}))\n"
        "while True: s.sendto(*s.recvfrom(65535))\n";
    write_file(files_ / fmt::format("udp-echo-{}.py", port), fmt::format(fmt::runtime(udp_echo), port));
    echo_servers_.push_back(
        start("server", fmt::format("python3 {}", (files_ / fmt::format("udp-echo-{}.py", port)).string())));
    ASSERT_TRUE(eventually([&] {
        const std::string listening = exec("server", "ss -Htuln").output;
        const std::string where = fmt::format(":{} ", port);
        return listening.find(where) != listening.rfind(where);
    }));
}

Finished LabTest::get(const std::string& url, const std::string& options) {
    return exec("client", fmt::format("curl -sS --no-progress-meter --max-time 20 {} {}", options, url));
}

std::uint64_t LabTest::dropped(const std::string& reason) {
    const Json stats = fwdctl("stats");
    for (const Json& row : stats["drops"]) {
        if (row["reason"] == reason) return row["packets"];
    }
    return 0;
}

void LabTest::expect_every_packet_accounted_for() {
    Json packets;
    const auto sum = [&](std::initializer_list<const char*> names) {
        std::uint64_t total = 0;
        for (const char* name : names) total += packets.value(name, std::uint64_t{0});
        return total;
    };
    // A packet may be under way while its counters are read.
    EXPECT_TRUE(eventually([&] {
        packets = fwdctl("stats")["packets"];
        return sum({"received"}) > 0 &&
               sum({"received", "originated"}) == sum({"sent", "punted", "dropped", "held"});
    })) << packets;
}

std::filesystem::path lab_file(const std::string& name) {
    return fmt::format("/run/fwd-lab-{}/{}", lab_name(), name);
}

bool is_full_run() {
    return !environment("FWD_TEST_FULL", "").empty();
}

std::filesystem::path source_file(const std::string& name) {
    return std::filesystem::path{FWD_SOURCE_DIRECTORY} / name;
}

std::filesystem::path build_file(const std::string& name) {
    return std::filesystem::path{environment("FWD_BUILD", FWD_BUILD_DIRECTORY)} / name;
}

}  // namespace fwd::test
