// SPDX-License-Identifier: BSD-3-Clause
#include "test/e2e/box.h"

#include <fmt/format.h>

#include <csignal>
#include <utility>

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

std::string lab_namespace(const std::string& host) {
    return fmt::format("{}-{}", lab_file("").parent_path().filename().string(), host);
}

}  // namespace

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

Box::Box(std::string host, std::string address)
    : host_{std::move(host)}, address_{std::move(address)}, namespace_{lab_namespace(host_)} {
    std::string config = replaced(read_file(lab_file("fwd.conf")), "10.0.0.2/24", address_ + "/24");
    const bool ipv6 = config.find("2001:db8::2/64") != std::string::npos;
    const std::string number = address_.substr(address_.rfind('.') + 1);
    config = replaced(config, "2001:db8::2/64", fmt::format("2001:db8::{}/64", number));
    // As tools/lab makes the lab's own.
    const Finished made = run({"sh", "-ec",
                               fmt::format(R"(
        kill -9 $(ip netns pids {0} 2>/dev/null) 2>/dev/null || true
        ip netns delete {0} 2>/dev/null || true
        ip netns add {0}
        ip netns exec {0} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6={3}
        ip -n {0} link set lo up
        ip -n {1} link add {2}-lan type veth peer name lan netns {0}
        ip -n {1} link set {2}-lan master lan up
        ip netns exec {0} sysctl -qw net.ipv6.conf.lan.disable_ipv6=1
        ip -n {0} link set lan up
        ip netns exec {0} nft 'add table netdev lan; add chain netdev lan hide {{
            type filter hook ingress device lan priority 0; policy drop; }}'
        )",
                                           namespace_, lab_namespace("switch"), host_, ipv6 ? 0 : 1)});
    EXPECT_EQ(made.status, 0) << made.output;
    config = replaced(config, lab_file("fwd.sock"), files_ / "fwd.sock");
    config = replaced(config, lab_file("state"), files_ / "state");
    write_file(files_ / "fwd.conf", config);
    start_fwdd();
}

Box::~Box() {
    fwdd_->stop(SIGKILL);
    run({"sh", "-c",
         fmt::format("kill -9 $(ip netns pids {0}) 2>/dev/null; ip netns delete {0}", namespace_)});
}

void Box::start_fwdd() {
    fwdd_ = std::make_unique<Process>(Command{"ip", "netns", "exec", namespace_, build_file("control/fwdd"),
                                              "--config", files_ / "fwd.conf"});
    EXPECT_TRUE(eventually([&] { return fwdctl_command("status").status == 0; })) << fwdd_->output();
}

Finished Box::fwdctl_command(const std::string& words) const {
    return run({"sh", "-c",
                fmt::format("exec {} --socket {} --json {}", build_file("tools/fwdctl/fwdctl").string(),
                            (files_ / "fwd.sock").string(), words)});
}

Json Box::fwdctl(const std::string& words) const {
    const Finished done = fwdctl_command(words);
    EXPECT_EQ(done.status, 0) << "fwdctl " << words << ": " << done.output;
    return Json::parse(done.output, nullptr, false);
}

Bird::Bird(const std::string& network_namespace, const std::string& config) {
    write_file(files_ / "bird.conf", config);
    bird_ = std::make_unique<Process>(Command{"ip", "netns", "exec", network_namespace, "bird", "-f", "-c",
                                              files_ / "bird.conf", "-s", files_ / "bird.sock"});
    // It opens its socket when it has read its configuration.
    EXPECT_TRUE(
        eventually([&] { return !bird_->is_running() || std::filesystem::exists(files_ / "bird.sock"); },
                   10s) &&
        bird_->is_running())
        << bird_->output();
}

Frr::Frr(const std::string& network_namespace, const std::string& config) {
    // What another FRR on this machine has is elsewhere.
    const std::string files = files_.path().string();
    EXPECT_EQ(run({"chown", "frr:frr", files}).status, 0);
    for (const std::string name : {"zebra", "bfdd", "bgpd"}) {
        daemons_.push_back(std::make_unique<Process>(
            Command{"ip", "netns", "exec", network_namespace, "sh", "-c",
                    fmt::format("exec /usr/lib/frr/{0} --config_file /dev/null --socket {1}/zserv.api "
                                "--vty_socket {1} --vty_port 0 --pid_file {1}/{0}.pid --log stdout {2}",
                                name, files, name == "bfdd" ? "--bfdctl " + files + "/bfdd.sock" : "")}));
        const auto is_ready = [&] { return std::filesystem::exists(files_ / (name + ".vty")); };
        EXPECT_TRUE(eventually([&] { return is_ready() || !daemons_.back()->is_running(); }, 10s) &&
                    is_ready())
            << daemons_.back()->output();
    }
    // One file for all three, as Debian's script has it.
    write_file(files_ / "frr.conf", config);
    const Finished read = run({"vtysh", "--vty_socket", files, "-f", files_ / "frr.conf"});
    EXPECT_TRUE(read.status == 0 && read.output.empty()) << read.output;
}

void Frr::stop() {
    // zebra goes last, and takes the routes along. By SIGKILL files stay in /var/tmp/frr.
    for (; !daemons_.empty(); daemons_.pop_back()) {
        Process& daemon = *daemons_.back();
        if (daemon.is_running()) kill(daemon.pid(), SIGTERM);
        EXPECT_TRUE(eventually([&] { return !daemon.is_running(); }, 10s)) << daemon.output();
    }
}

}  // namespace fwd::test
