// SPDX-License-Identifier: BSD-3-Clause
// Interfaces that fwd makes in the kernel, and what it hears of addresses and routes there. Each test has a
// network namespace of its own.
#include "control/kernel_interface.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "control/kernel_watch.h"
#include "control/text.h"
#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using control::KernelInterface;
using control::KernelWatch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr net::MacAddress kMac{{0x02, 0, 0, 0, 0, 0x0f}}, kPeerMac{{0x02, 0, 0, 0, 0, 0x0e}};
constexpr const char* kLinkLocal = "fe80::ff:fe00:f";

net::IpInterfaceAddress own(const char* text) {
    return control::parse_interface_address(text).value();
}

class KernelInterfaceTest : public ::testing::Test {
 protected:
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "needs root";
        // The programs that are run below have it too. It goes with the last of them.
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    }

    static std::unique_ptr<KernelInterface> make(const KernelInterface::Config& config) {
        auto made = KernelInterface::create(config);
        if (!made) throw std::runtime_error{made.error().text()};
        return std::move(*made);
    }
    static std::string why_not(const KernelInterface::Config& config) {
        const auto made = KernelInterface::create(config);
        return made ? "made" : made.error().text();
    }
    static std::string shell(const std::string& command) {
        const Finished done = run({"sh", "-ec", command});
        EXPECT_EQ(done.status, 0) << command << ": " << done.output;
        return done.output;
    }
    static std::string ip(const std::string& words) { return shell("ip " + words); }

    using Frame = std::vector<std::uint8_t>;
    /// The next one that the kernel sends within the time.
    static std::optional<Frame> next_frame(KernelInterface& interface, std::chrono::milliseconds time) {
        pollfd ready{.fd = interface.descriptor(), .events = POLLIN, .revents = 0};
        if (::poll(&ready, 1, static_cast<int>(time.count())) <= 0) return std::nullopt;
        Frame frame(2048);
        frame.resize(interface.read(frame));
        return frame;
    }
    static unsigned ether_type(const Frame& frame) { return frame.at(12) * 256U + frame.at(13); }
};

/// A host on the other side of the interface, which has every address: it answers ARP and
/// ICMP echo.
std::vector<std::uint8_t> answer(std::vector<std::uint8_t> frame) {
    constexpr std::size_t kIp = 14, kIcmp4 = kIp + 20;
    const auto swap = [&](std::size_t a, std::size_t b, std::size_t bytes) {
        std::swap_ranges(&frame[a], &frame[a] + bytes, &frame[b]);
    };
    const auto put = [&](std::size_t at, const auto& bytes) { std::ranges::copy(bytes, &frame[at]); };
    if (frame.size() >= 42 && frame[12] == 0x08 && frame[13] == 0x06 && frame[21] == 1) {
        frame[21] = 2;
        swap(22, 32, 10);
        put(22, kPeerMac.bytes);
    } else if (frame.size() >= kIcmp4 + 8 && frame[12] == 0x08 && frame[13] == 0x00 && frame[kIcmp4] == 8) {
        frame[kIcmp4] = 0;
        swap(kIp + 12, kIp + 16, 4);
        // RFC 1624: one word has become smaller by 0x0800.
        const unsigned sum = frame[kIcmp4 + 2] * 256U + frame[kIcmp4 + 3] + 0x0800U;
        const unsigned folded = (sum & 0xffffU) + (sum >> 16U);
        frame[kIcmp4 + 2] = static_cast<std::uint8_t>(folded >> 8U);
        frame[kIcmp4 + 3] = static_cast<std::uint8_t>(folded);
    } else {
        return {};
    }
    swap(0, 6, 6);
    put(6, kPeerMac.bytes);
    return frame;
}

TEST_F(KernelInterfaceTest, KernelPingsAHostOnTheOtherSide) {
    const auto interface = make({.name = "fwd-lan", .mac = kMac});
    ASSERT_TRUE(interface->add_address(own("10.9.0.1/24")));
    Process ping{{"ping", "-c", "2", "-i", "0.2", "-w", "20", "10.9.0.2"}};
    while (ping.is_running()) {
        const auto asked = next_frame(*interface, std::chrono::milliseconds{100});
        if (!asked) continue;
        EXPECT_TRUE(std::equal(kMac.bytes.begin(), kMac.bytes.end(), asked->begin() + 6));
        const Frame answered = answer(*asked);
        if (!answered.empty()) {
            EXPECT_TRUE(interface->write(answered));
        }
    }
    const Finished done = ping.wait();
    EXPECT_EQ(done.status, 0) << done.output;
    Frame room(2048);
    EXPECT_EQ(interface->read(room), 0U) << "nothing is left";
}

TEST_F(KernelInterfaceTest, ItHasTheNameMacAndMtuOfTheConfigurationAndIsUp) {
    const auto interface = make({.name = "fifteen-letters", .mac = kMac, .mtu = 2000});
    const std::string shown = ip("-o link show dev fifteen-letters");
    EXPECT_THAT(shown, HasSubstr("02:00:00:00:00:0f"));
    EXPECT_THAT(shown, HasSubstr("mtu 2000"));
    EXPECT_THAT(shown, HasSubstr(",UP,LOWER_UP"));
    EXPECT_THAT(shown, ::testing::StartsWith(std::to_string(interface->index()) + ":"));
    EXPECT_EQ(interface->name(), "fifteen-letters");
}

TEST_F(KernelInterfaceTest, ItKeepsItsMac) {
    const auto interface = make({.name = "fwd-lan", .mac = kMac});
    EXPECT_EQ(interface->keep_mac(), std::nullopt);
    ip("link set fwd-lan address 02:00:00:00:00:0e");
    EXPECT_EQ(interface->keep_mac(), kPeerMac);
    EXPECT_THAT(ip("-o link show dev fwd-lan"), HasSubstr("02:00:00:00:00:0f"));
    EXPECT_EQ(interface->keep_mac(), std::nullopt);
}

TEST_F(KernelInterfaceTest, ItGoesWithItsOwner) {
    make({.name = "fwd-lan", .mac = kMac}).reset();
    EXPECT_THAT(ip("link"), ::testing::Not(HasSubstr("fwd-lan")));
    make({.name = "fwd-lan", .mac = kMac});
}

TEST_F(KernelInterfaceTest, WithoutIpv6TheKernelSendsNothingByItself) {
    const auto interface = make({.name = "fwd-lan", .mac = kMac});
    EXPECT_EQ(next_frame(*interface, std::chrono::seconds{3}), std::nullopt);
    EXPECT_EQ(ip("-6 address show dev fwd-lan"), "");
    ASSERT_TRUE(interface->add_address(own("10.9.0.1/24")));
    EXPECT_EQ(next_frame(*interface, std::chrono::seconds{1}), std::nullopt);
}

TEST_F(KernelInterfaceTest, WithIpv6ItHasTheLinkLocalAddressOfItsMacAtOnce) {
    const auto interface = make({.name = "fwd-lan", .mac = kMac, .ipv6 = true});
    const std::string shown = ip("-6 -o address show dev fwd-lan");
    EXPECT_THAT(shown, HasSubstr(std::string{kLinkLocal} + "/64"));
    EXPECT_EQ(std::ranges::count(shown, '\n'), 1) << shown;
    EXPECT_THAT(shown, ::testing::Not(HasSubstr("tentative")));
    Process ping{{"ping", "-c", "1", "-w", "5", "fe80::1%fwd-lan"}};
    const auto sees_question = [&] {
        while (const auto frame = next_frame(*interface, std::chrono::seconds{3})) {
            if (ether_type(*frame) != 0x86dd || frame->size() < 78) continue;
            EXPECT_NE(frame->at(54) == 135 && frame->at(22) == 0, true) << "duplicate detection is fwd's";
            if (frame->at(54) == 135) return true;
        }
        return false;
    };
    EXPECT_TRUE(sees_question());
}

TEST_F(KernelInterfaceTest, AddressesMayBeUsedAtOnce) {
    const auto interface = make({.name = "fwd-lan", .mac = kMac, .ipv6 = true});
    ASSERT_TRUE(interface->add_address(own("10.9.0.1/24")));
    ASSERT_TRUE(interface->add_address(own("2001:db8:9::1/64")));
    ASSERT_TRUE(interface->add_address(own("2001:db8:9::1/64"))) << "once more changes nothing";
    const std::string shown = ip("-o address show dev fwd-lan");
    EXPECT_THAT(shown, HasSubstr("10.9.0.1/24"));
    EXPECT_THAT(shown, HasSubstr("2001:db8:9::1/64"));
    EXPECT_THAT(shown, ::testing::Not(HasSubstr("tentative")));
}

TEST_F(KernelInterfaceTest, RoutesAreMarkedAndComeAfterTheMachinesOwn) {
    const auto management = make({.name = "eth0", .mac = kPeerMac});
    ip("address add 10.8.0.1/24 dev eth0");
    ip("route add default via 10.8.0.254");
    const auto interface = make({.name = "fwd-lan", .mac = kMac, .ipv6 = true});
    ASSERT_TRUE(interface->add_address(own("10.9.0.1/24")));
    ASSERT_TRUE(interface->add_address(own("2001:db8:9::1/64")));
    for (const auto& [prefix, via] : {std::pair{"0.0.0.0/0", "10.9.0.254"},
                                      {"10.7.0.0/16", "10.9.0.253"},
                                      {"::/0", "fe80::fe"},
                                      {"2001:db8:7::/48", "2001:db8:9::fe"}}) {
        const auto added =
            interface->add_route(control::parse_prefix(prefix).value(), control::parse_address(via).value());
        EXPECT_TRUE(added) << added.error().text();
    }
    EXPECT_THAT(ip("route get 192.0.2.1"), HasSubstr("via 10.8.0.254 dev eth0"));
    EXPECT_THAT(ip("route get 10.7.0.1"), HasSubstr("via 10.9.0.253 dev fwd-lan"));
    EXPECT_THAT(ip("route show proto 102"), HasSubstr("default via 10.9.0.254 dev fwd-lan metric 4096"));
    EXPECT_THAT(ip("-6 route show proto 102"), HasSubstr("default via fe80::fe dev fwd-lan metric 4096"));
    EXPECT_THAT(ip("-6 route show proto 102"), HasSubstr("2001:db8:7::/48 via 2001:db8:9::fe"));

    const auto off_link = interface->add_route(control::parse_prefix("10.6.0.0/16").value(),
                                               control::parse_address("10.5.0.1").value());
    ASSERT_FALSE(off_link);
    EXPECT_EQ(off_link.error().text(),
              "cannot give the kernel the route to 10.6.0.0/16 via 10.5.0.1 by fwd-lan: the next hop is on "
              "none of the "
              "interface's networks");
}

TEST_F(KernelInterfaceTest, WhatIsMissingIsSaidWithTheRemedy) {
    EXPECT_EQ(why_not({.name = "sixteen-letters-", .mac = kMac}),
              "got 'sixteen-letters-', want an interface's name of 1 to 15 characters");
    EXPECT_THAT(why_not({.name = "", .mac = kMac}), HasSubstr("1 to 15 characters"));
    EXPECT_EQ(why_not({.name = "lo", .mac = kMac}),
              "the kernel has an interface lo already: choose another name, or remove that one (ip link "
              "delete lo)");
    ip("tuntap add dev left mode tap");
    EXPECT_THAT(why_not({.name = "left", .mac = kMac}), HasSubstr("has an interface left already"));
    const auto first = make({.name = "fwd-lan", .mac = kMac});
    EXPECT_THAT(why_not({.name = "fwd-lan", .mac = kMac}), HasSubstr("has an interface fwd-lan already"));
}

TEST_F(KernelInterfaceTest, WithoutCapNetAdminItSaysSo) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> all{};
    ASSERT_EQ(::syscall(SYS_capget, &header, all.data()), 0);
    const auto interface = make({.name = "fwd-wan", .mac = kPeerMac});
    auto fewer = all;
    fewer[0].effective &= ~(1U << CAP_NET_ADMIN);
    ASSERT_EQ(::syscall(SYS_capset, &header, fewer.data()), 0);
    EXPECT_EQ(why_not({.name = "fwd-lan", .mac = kMac}),
              "cannot make the kernel's interface fwd-lan: that takes CAP_NET_ADMIN, which root and fwd's "
              "unit have");
    const auto added = interface->add_address(own("10.9.0.1/24"));
    const auto watch = KernelWatch::create({interface->index()});
    ASSERT_EQ(::syscall(SYS_capset, &header, all.data()), 0);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().text(),
              "cannot give 10.9.0.1/24 to the kernel's interface fwd-wan: that takes "
              "CAP_NET_ADMIN, which root and fwd's unit have");
    EXPECT_TRUE(watch) << "looking on is everybody's";
}

TEST_F(KernelInterfaceTest, WithoutTheDeviceItNamesTheModule) {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(::mount("none", "/dev/net", "tmpfs", 0, nullptr), 0);
    EXPECT_EQ(why_not({.name = "fwd-lan", .mac = kMac}),
              "there is no /dev/net/tun: load the kernel's module (modprobe tun), or give the container the "
              "device");
    EXPECT_EQ(::umount("/dev/net"), 0);
}

/// Two interfaces that are watched, and one that is not.
class KernelWatchTest : public KernelInterfaceTest {
 protected:
    void SetUp() override {
        KernelInterfaceTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        lan_ = make({.name = "lan", .mac = kMac, .ipv6 = true});
        wan_ = make({.name = "wan", .mac = kPeerMac, .ipv6 = true});
        other_ = make({.name = "other", .mac = {{0x02, 0, 0, 0, 0, 0x0d}}, .ipv6 = true});
        ip("address add 10.1.0.1/24 dev lan");
        ip("address add 10.2.0.1/24 dev wan");
        ip("address add 10.3.0.1/24 dev other");
        ip("address add 2001:db8:1::1/64 dev lan nodad");
        auto watch = KernelWatch::create({lan_->index(), wan_->index()});
        ASSERT_TRUE(watch) << watch.error().text();
        watch_ = std::move(*watch);
    }

    /// Whether something has changed, once all that was told is taken in.
    bool has_changed() {
        bool changed = false;
        pollfd ready{.fd = watch_->descriptor(), .events = POLLIN, .revents = 0};
        while (::poll(&ready, 1, 20) > 0) changed = watch_->poll() || changed;
        return changed;
    }
    std::vector<std::string> addresses(const KernelInterface& interface) const {
        std::vector<std::string> texts;
        for (const auto& address : watch_->addresses(interface.index()))
            texts.push_back(control::to_text(address));
        return texts;
    }
    /// "10.0.0.0/8 10.1.0.2 lan"
    std::vector<std::string> routes() const { return routes_of(*watch_); }
    std::vector<std::string> routes_of(const KernelWatch& watch) const {
        std::vector<std::string> texts;
        for (const auto& route : watch.routes()) {
            texts.push_back(fmt::format("{} {} {}", control::to_text(route.prefix),
                                        route.via ? control::to_text(*route.via) : "direct",
                                        route.interface == lan_->index() ? "lan" : "wan"));
        }
        return texts;
    }
    /// "10.0.0.0/8 several"
    std::vector<std::string> unfollowed() const {
        using enum KernelWatch::Unfollowed::Why;
        std::vector<std::string> texts;
        for (const auto& [prefix, why] : watch_->unfollowed()) {
            texts.push_back(fmt::format("{} {}", control::to_text(prefix),
                                        why == nowhere   ? "nowhere"
                                        : why == several ? "several"
                                                         : "wrapped"));
        }
        return texts;
    }
    /// The events have led to what a fresh look finds.
    void expect_as_asked_afresh() const {
        const auto fresh = KernelWatch::create({lan_->index(), wan_->index()});
        ASSERT_TRUE(fresh);
        EXPECT_EQ(routes(), routes_of(**fresh));
        EXPECT_EQ(watch_->unfollowed(), (*fresh)->unfollowed());
        EXPECT_EQ(watch_->neighbours(), (*fresh)->neighbours());
        for (const auto* interface : {lan_.get(), wan_.get()}) {
            EXPECT_TRUE(std::ranges::is_permutation(watch_->addresses(interface->index()),
                                                    (*fresh)->addresses(interface->index())));
        }
    }

    std::unique_ptr<KernelInterface> lan_, wan_, other_;
    std::unique_ptr<KernelWatch> watch_;
};

TEST_F(KernelWatchTest, AddressesComeAndGo) {
    EXPECT_THAT(addresses(*lan_), UnorderedElementsAre("10.1.0.1/24", "2001:db8:1::1/64"));
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24"));
    EXPECT_THAT(addresses(*other_), IsEmpty());
    EXPECT_FALSE(watch_->poll());

    ip("address add 192.0.2.7/32 dev wan");
    ip("address add 2001:db8:2::7/128 dev wan nodad");
    ip("address add 192.0.2.8/32 dev other");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24", "192.0.2.7/32", "2001:db8:2::7/128"));
    EXPECT_THAT(addresses(*other_), IsEmpty());

    ip("address delete 192.0.2.7/32 dev wan");
    ip("address delete 2001:db8:2::7/128 dev wan");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24"));

    // One that VRRP takes away: no route goes with it.
    ip("address add 10.2.0.9/24 dev wan");
    EXPECT_TRUE(has_changed());
    ip("address delete 10.2.0.9/24 dev wan");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24"));

    // A DHCP client says it again, with another time to live.
    ip("address replace 10.2.0.1/24 dev wan valid_lft 100 preferred_lft 100");
    EXPECT_FALSE(has_changed());
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24"));
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, AddressCountsOnceItIsNobodyElses) {
    ip("address add 2001:db8:2::7/64 dev wan");
    EXPECT_FALSE(has_changed());
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24"));
    EXPECT_TRUE(eventually([&] { return has_changed(); }, std::chrono::seconds{10}));
    EXPECT_THAT(addresses(*wan_), ElementsAre("10.2.0.1/24", "2001:db8:2::7/64"));
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, RoutesOfOthersCountAndThoseOfFwdAndOfAddressesDoNot) {
    EXPECT_THAT(routes(), IsEmpty());
    ASSERT_TRUE(lan_->add_route(net::kAnyIpv4, control::parse_address("10.1.0.9").value()));
    EXPECT_FALSE(has_changed());

    ip("route add default via 10.2.0.254 proto dhcp metric 100");
    ip("route add 192.168.0.0/16 via 10.1.0.2 proto bird");
    ip("route add 172.16.0.0/12 dev lan");
    ip("-6 route add default via fe80::1 dev wan proto ra");
    ip("-6 route add 2001:db8:a::/48 via 2001:db8:1::2");
    // For others than everybody, by other interfaces, or to nowhere.
    ip("route add 192.0.2.0/24 via 10.1.0.2 table 7");
    ip("route add 192.0.2.0/24 via 10.1.0.2 tos 0x10");
    ip("route add 192.0.2.0/24 via 10.3.0.2");
    ip("route add blackhole 198.51.100.0/24");
    ip("-6 route add 2001:db8:b::/48 from 2001:db8:1::/64 via 2001:db8:1::2");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(),
                ElementsAre("::/0 fe80::1 wan", "0.0.0.0/0 10.2.0.254 wan", "172.16.0.0/12 direct lan",
                            "192.168.0.0/16 10.1.0.2 lan", "2001:db8:a::/48 2001:db8:1::2 lan"));
    expect_as_asked_afresh();

    ip("route delete 192.168.0.0/16");
    ip("-6 route delete 2001:db8:a::/48");
    ip("-6 route delete default");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("0.0.0.0/0 10.2.0.254 wan", "172.16.0.0/12 direct lan"));
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, OfSeveralRoutesThatOfLeastMetricCounts) {
    ip("route add default via 10.3.0.254");  // for the machine, by its own interface
    ip("route add default via 10.2.0.254 metric 200");
    ip("route add default via 10.1.0.254 metric 100");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("0.0.0.0/0 10.1.0.254 lan"));
    ip("route delete default via 10.1.0.254");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("0.0.0.0/0 10.2.0.254 wan"));

    // Of the same metric the kernel uses the first.
    ip("route append default via 10.2.0.253 metric 200");
    has_changed();
    EXPECT_THAT(routes(), ElementsAre("0.0.0.0/0 10.2.0.254 wan"));
    ip("route prepend default via 10.2.0.252 metric 200");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("0.0.0.0/0 10.2.0.252 wan"));
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, OfSeveralNextHopsTheFirstOneOnAWatchedInterfaceCounts) {
    ip("route add 192.168.0.0/16 nexthop via 10.3.0.2 nexthop via 10.2.0.2 nexthop via 10.1.0.2");
    ip("-6 route add 2001:db8:a::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:1::3");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("192.168.0.0/16 10.2.0.2 wan", "2001:db8:a::/48 2001:db8:1::2 lan"));
    expect_as_asked_afresh();
    ip("route replace 192.168.0.0/16 nexthop via 10.1.0.2 nexthop via 10.1.0.3");
    ip("-6 route delete 2001:db8:a::/48 via 2001:db8:1::2");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("192.168.0.0/16 10.1.0.2 lan", "2001:db8:a::/48 2001:db8:1::3 lan"));
    expect_as_asked_afresh();
    ip("-6 route append 2001:db8:a::/48 via 2001:db8:1::4");
    ip("-6 route replace 2001:db8:a::/48 via 2001:db8:1::5");
    EXPECT_TRUE(has_changed());
    expect_as_asked_afresh();
    ip("route delete 192.168.0.0/16");
    ip("-6 route delete 2001:db8:a::/48");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), IsEmpty());
}

TEST_F(KernelWatchTest, IPv4RouteMayHaveAnIPv6NextHop) {
    ip("route add 192.168.0.0/16 via inet6 fe80::2 dev lan");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("192.168.0.0/16 fe80::2 lan"));
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, ReplacedRouteIsGoneWhateverTookItsPlace) {
    ip("route add 192.168.0.0/16 via 10.1.0.2");
    ip("route add 172.16.0.0/12 via 10.1.0.2");
    ip("-6 route add 2001:db8:a::/48 via 2001:db8:1::2");
    EXPECT_TRUE(has_changed());
    ip("route replace 192.168.0.0/16 via 10.3.0.2");
    ip("route replace blackhole 172.16.0.0/12");
    ip("-6 route replace 2001:db8:a::/48 via 2001:db8:1::3");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("2001:db8:a::/48 2001:db8:1::3 lan"));
    ip("route replace 192.168.0.0/16 via 10.2.0.2");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("192.168.0.0/16 10.2.0.2 wan", "2001:db8:a::/48 2001:db8:1::3 lan"));
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, RoutesThatGoWithoutAWordAreNoticed) {
    // With the address that they are sent from.
    ip("address add 10.1.0.5/24 dev lan");
    ip("route add 192.168.0.0/16 via 10.1.0.2 src 10.1.0.5");
    ip("route add 172.16.0.0/12 via 10.2.0.2");
    EXPECT_TRUE(has_changed());
    EXPECT_EQ(routes().size(), 2U);
    ip("address delete 10.1.0.5/24 dev lan");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("172.16.0.0/12 10.2.0.2 wan"));
    // With the interface that goes down.
    ip("-6 route add 2001:db8:a::/48 via fe80::1 dev wan");
    ip("link set wan down");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), IsEmpty());
    // With a next hop that several share.
    ip("link set wan up");
    ip("nexthop add id 7 via 10.1.0.2 dev lan");
    ip("nexthop add id 8 via 10.2.0.2 dev wan");
    ip("nexthop add id 9 group 7/8");
    ip("route add 192.168.0.0/16 nhid 7");
    ip("route add 172.16.0.0/12 nhid 9");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("172.16.0.0/12 10.1.0.2 lan", "192.168.0.0/16 10.1.0.2 lan"));
    expect_as_asked_afresh();
    ip("nexthop replace id 7 via 10.1.0.3 dev lan");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("172.16.0.0/12 10.1.0.3 lan", "192.168.0.0/16 10.1.0.3 lan"));
    ip("nexthop delete id 7");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), ElementsAre("172.16.0.0/12 10.2.0.2 wan"));
    expect_as_asked_afresh();
    // With the whole interface.
    wan_.reset();
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), IsEmpty());
}

TEST_F(KernelWatchTest, RoutesThatAreNotFollowedAreNamed) {
    ip("route add blackhole 198.51.100.0/24");
    ip("route add prohibit 203.0.113.0/24 metric 7");
    ip("-6 route add unreachable 2001:db8:b::/48");
    ip("route add 192.168.0.0/16 nexthop via 10.2.0.2 nexthop via 10.1.0.2");
    ip("-6 route add 2001:db8:a::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:1::3");
    // Another metric, or another interface, takes nothing from what is followed.
    ip("route add 172.16.0.0/12 via 10.1.0.2");
    ip("route add 172.16.0.0/12 via 10.2.0.2 metric 9");
    ip("route add 100.64.0.0/10 nexthop via 10.3.0.2 nexthop via 10.1.0.2");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(unfollowed(),
                ElementsAre("192.168.0.0/16 several", "198.51.100.0/24 nowhere", "203.0.113.0/24 nowhere",
                            "2001:db8:a::/48 several", "2001:db8:b::/48 nowhere"));
    EXPECT_THAT(routes(), ElementsAre("100.64.0.0/10 10.1.0.2 lan", "172.16.0.0/12 10.1.0.2 lan",
                                      "192.168.0.0/16 10.2.0.2 wan", "2001:db8:a::/48 2001:db8:1::2 lan"));
    expect_as_asked_afresh();

    ip("route replace 198.51.100.0/24 via 10.1.0.2");
    ip("route delete prohibit 203.0.113.0/24 metric 7");
    ip("-6 route delete unreachable 2001:db8:b::/48");
    ip("route replace 192.168.0.0/16 via 10.2.0.2");
    ip("-6 route delete 2001:db8:a::/48 via 2001:db8:1::3");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(unfollowed(), IsEmpty());
    expect_as_asked_afresh();
}

TEST_F(KernelWatchTest, InterfaceThatWasDownMayHaveWhatItHadAgain) {
    ASSERT_TRUE(wan_->add_address(own("10.2.0.7/24")));
    ASSERT_TRUE(wan_->add_address(own("2001:db8:2::7/64")));
    ASSERT_TRUE(wan_->add_route(net::kAnyIpv4, control::parse_address("10.2.0.254").value()));
    ASSERT_TRUE(wan_->add_route(net::kAnyIpv6, control::parse_address("fe80::fe").value()));
    const auto shown = [] {
        return shell("(ip -o address show dev wan; ip route show dev wan; ip -6 route show dev wan) | sort");
    };
    const std::string before = shown();
    has_changed();
    EXPECT_THAT(watch_->take_restarted(), IsEmpty());

    ip("link set wan down");
    has_changed();
    EXPECT_THAT(watch_->take_restarted(), IsEmpty());
    ip("link set wan up");
    has_changed();
    EXPECT_THAT(watch_->take_restarted(), ElementsAre(wan_->index()));
    EXPECT_THAT(watch_->take_restarted(), IsEmpty());
    EXPECT_NE(shown(), before);
    for (const char* how : {"after that", "once more"}) {
        const auto added = wan_->add_again();
        EXPECT_TRUE(added) << how << ": " << added.error().text();
        EXPECT_EQ(shown(), before) << how;
    }
    // Too fast for anybody to look in between.
    shell("ip link set wan down; ip link set wan up");
    has_changed();
    EXPECT_THAT(watch_->take_restarted(), ElementsAre(wan_->index()));
}

TEST_F(KernelWatchTest, PermanentNeighboursCount) {
    ip("neighbour add 10.1.0.2 lladdr 02:00:00:00:01:02 dev lan nud permanent");
    ip("neighbour add 2001:db8:1::2 lladdr 02:00:00:00:01:03 dev lan nud permanent");
    ip("neighbour add 10.1.0.3 lladdr 02:00:00:00:01:04 dev lan nud reachable");
    ip("neighbour add 10.3.0.2 lladdr 02:00:00:00:01:05 dev other nud permanent");
    EXPECT_TRUE(has_changed());
    const auto texts = [&] {
        std::vector<std::string> all;
        for (const auto& neighbour : watch_->neighbours()) {
            EXPECT_EQ(neighbour.interface, lan_->index());
            all.push_back(control::to_text(neighbour.address) + " " + control::to_text(neighbour.mac));
        }
        return all;
    };
    EXPECT_THAT(texts(), ElementsAre("10.1.0.2 02:00:00:00:01:02", "2001:db8:1::2 02:00:00:00:01:03"));
    ip("neighbour change 10.1.0.2 lladdr 02:00:00:00:01:99 dev lan nud permanent");
    ip("neighbour change 2001:db8:1::2 lladdr 02:00:00:00:01:03 dev lan nud reachable");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(texts(), ElementsAre("10.1.0.2 02:00:00:00:01:99"));
    expect_as_asked_afresh();
    ip("neighbour delete 10.1.0.2 dev lan");
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(texts(), IsEmpty());
}

TEST_F(KernelWatchTest, MoreRoutesAtOnceThanTheKernelCanTellOfAreAllThere) {
    constexpr std::size_t kRoutes = 60'000;
    const TemporaryDirectory files;
    std::string add, remove;
    for (std::size_t i = 0; i < kRoutes; ++i) {
        const std::string prefix = fmt::format("100.{}.{}.{}/32", 64 + i / 65536, i / 256 % 256, i % 256);
        add += fmt::format("route add {} via 10.1.0.2\n", prefix);
        remove += fmt::format("route delete {}\n", prefix);
    }
    write_file(files / "add", add);
    write_file(files / "remove", remove);
    ip(fmt::format("-batch {}", (files / "add").string()));
    ip("address add 10.1.0.99/24 dev lan");
    EXPECT_TRUE(has_changed());
    EXPECT_EQ(watch_->routes().size(), kRoutes);
    EXPECT_THAT(addresses(*lan_), ::testing::Contains("10.1.0.99/24"));
    ip(fmt::format("-batch {}", (files / "remove").string()));
    EXPECT_TRUE(has_changed());
    EXPECT_THAT(routes(), IsEmpty());
    EXPECT_FALSE(has_changed());
}

}  // namespace
}  // namespace fwd::test
