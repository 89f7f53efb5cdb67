// SPDX-License-Identifier: BSD-3-Clause
#include "test/differential/kernel_nat.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace fwd::test {
namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error{what + ": " + std::strerror(errno)};
}

int make_tap(const std::string& name) {
    const int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ifreq request{};
    name.copy(request.ifr_name, sizeof request.ifr_name - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0) fail("no tap " + name);
    return tap;
}

void feed(const char* command, const std::string& text) {
    FILE* pipe = popen(command, "w");
    if (pipe == nullptr || std::fwrite(text.data(), 1, text.size(), pipe) != text.size() || pclose(pipe) != 0)
        fail(command);
}

void set(const std::string& key, const std::string& value) {
    FILE* file = std::fopen(("/proc/sys/net/" + key).c_str(), "w");
    if (file == nullptr || std::fputs(value.c_str(), file) < 0 || std::fclose(file) != 0) fail(key);
}

}  // namespace

KernelNat::KernelNat(const std::string& ruleset) {
    if (unshare(CLONE_NEWNET) != 0) fail("no network namespace");
    set("ipv6/conf/default/disable_ipv6", "1");
    for (const char* link : {"wan", "lan"}) taps_[link] = make_tap(link);
    feed("ip -batch -", R"(
        link set wan address 02:00:00:00:0a:01 up
        link set lan address 02:00:00:00:0a:02 up
        address add 192.0.2.1/24 dev wan
        address add 10.0.0.1/24 dev lan
        neighbour add 192.0.2.254 lladdr 02:00:00:00:00:fe dev wan
        neighbour add 10.0.0.4 lladdr 02:00:00:00:00:04 dev lan
        neighbour add 10.0.0.5 lladdr 02:00:00:00:00:05 dev lan
        neighbour add 10.0.0.9 lladdr 02:00:00:00:00:09 dev lan
        route add default via 192.0.2.254
    )");
    set("ipv4/ip_forward", "1");
    set("ipv4/conf/all/rp_filter", "1");
    set("ipv4/icmp_ratelimit", "0");
    // Older kernels have these for the whole machine alone.
    if (access("/proc/sys/net/ipv4/icmp_msgs_per_sec", F_OK) == 0) {
        set("ipv4/icmp_msgs_per_sec", "1000000");
        set("ipv4/icmp_msgs_burst", "100000");
    }
    feed("nft -f -", ruleset);
    // As fwd: no session begins in the middle, and whether a segment is in the window is the hosts' business.
    set("netfilter/nf_conntrack_tcp_loose", "0");
    set("netfilter/nf_conntrack_tcp_be_liberal", "1");
    set("netfilter/nf_conntrack_tcp_ignore_invalid_rst", "1");
    // Each sequence has clients of its own: nothing has to be flushed.
    for (const char* state :
         {"established", "syn_sent", "syn_recv", "fin_wait", "close_wait", "last_ack", "time_wait"})
        set(std::string{"netfilter/nf_conntrack_tcp_timeout_"} + state, "20");
}

KernelNat::~KernelNat() {
    for (const auto& [link, tap] : taps_) close(tap);
}

net::MacAddress KernelNat::mac_of(const std::string& link) const {
    return {{0x02, 0, 0, 0, 0x0a, static_cast<std::uint8_t>(link == "wan" ? 1 : 2)}};
}

void KernelNat::put(const std::string& link, const Bytes& frame) {
    // Too short for an Ethernet header is refused here already.
    if (write(taps_.at(link), frame.data(), frame.size()) < 0 && errno != EINVAL) fail("write to " + link);
}

std::vector<Frame> KernelNat::take(const std::string& link) {
    std::vector<Frame> frames;
    std::array<std::uint8_t, 65536> buffer;
    ssize_t bytes = 0;
    while ((bytes = read(taps_.at(link), buffer.data(), buffer.size())) > 0)
        frames.push_back({Bytes(buffer.begin(), buffer.begin() + bytes)});
    return frames;
}

}  // namespace fwd::test
