// SPDX-License-Identifier: BSD-3-Clause
// What fwdd --check says of machines that are made up.
#include "control/doctor.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "control/rule_store.h"
#include "control/text.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

constexpr std::size_t kMb = std::size_t{1} << 20U;
const std::string kCard = "0000:01:00.0";

/// A machine as it should be: a card behind vfio-pci in an IOMMU group of its own, hugepages, one isolated
/// core.
class DoctorTest : public ::testing::Test {
 protected:
    void SetUp() override {
        write("proc/meminfo",
              "MemTotal: 8000000 kB\nHugePages_Total: 512\nHugePages_Free: 512\nHugepagesize: 2048 kB\n");
        write("proc/net/fib_trie", "Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n");
        write("etc/group", "root:x:0:\nfwd:x:" + std::to_string(::getgid()) + ":ann\n");
        add_card(kCard, "vfio-pci", "7");
        write("sys/bus/pci/devices/" + kCard + "/numa_node", "0\n");
        write("sys/devices/system/cpu/isolated", "1-2,5\n");
        write("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n");
        std::filesystem::create_directories(path("sys/devices/system/cpu/cpu2/node0"));
        LinkSettings lan;
        lan.name = "lan";
        lan.device = "01:00.0";
        lan.addresses.push_back(*parse_interface_address("10.0.0.2/24"));
        settings_.links.push_back(std::move(lan));
        settings_.socket = "/run/fwd.sock";
    }
    std::filesystem::path path(const std::string& name) const { return root_.path() / name; }
    void write(const std::string& name, const std::string& text) { root_.write(name, text); }
    void point(const std::string& name, const std::string& to) {
        std::filesystem::create_directories(path(name).parent_path());
        std::filesystem::remove(path(name));
        std::filesystem::create_symlink(to, path(name));
    }
    void add_card(const std::string& address, const std::string& driver, const std::string& group) {
        const std::string card = "sys/bus/pci/devices/" + address;
        std::filesystem::create_directories(path(card));
        if (!driver.empty()) point(card + "/driver", "../../drivers/" + driver);
        if (group.empty()) return;
        point(card + "/iommu_group", "../../../kernel/iommu_groups/" + group);
        std::filesystem::create_directories(path("sys/kernel/iommu_groups/" + group + "/devices/" + address));
    }
    void remove(const std::string& name) { std::filesystem::remove_all(path(name)); }

    std::vector<Finding> findings() const {
        return examine(settings_,
                       {.worker_cores = {2}, .memory_bytes = 100 * kMb, .hugepage_bytes = 200 * kMb},
                       Machine{root_.path()});
    }
    /// The one finding of a check.
    Finding finding(std::string_view check) const {
        const auto all = findings();
        EXPECT_EQ(std::ranges::count(all, check, &Finding::check), 1) << check;
        const auto found = std::ranges::find(all, check, &Finding::check);
        return found == all.end() ? Finding{} : *found;
    }
    /// ... is of this health, says this, and how to mend it.
    void expect(std::string_view check, Health health, const std::string& found,
                const std::string& remedy) const {
        const Finding one = finding(check);
        EXPECT_EQ(one.health, health) << one.found;
        EXPECT_NE(one.found.find(found), std::string::npos) << one.found;
        EXPECT_NE(one.remedy.find(remedy), std::string::npos) << one.remedy;
        EXPECT_EQ(one.remedy.empty(), health == Health::ok) << one.remedy;
    }

    Settings settings_;

 private:
    test::TemporaryDirectory root_;
};

TEST_F(DoctorTest, MachineAsItShouldBeIsOkInEveryRespect) {
    const auto all = findings();
    for (const Finding& one : all) {
        EXPECT_EQ(one.health, Health::ok) << one.check << one.found;
        EXPECT_EQ(one.remedy, "");
    }
    for (const char* check :
         {"hugepages", "driver", "iommu", "numa", "isolation", "governor", "socket", "addresses"})
        EXPECT_EQ(std::ranges::count(all, check, &Finding::check), 1) << check;
    EXPECT_FALSE(has_error(all));
}

TEST_F(DoctorTest, TooFewHugepagesAreAWarningWithTheNumberThatWouldDo) {
    write("proc/meminfo", "HugePages_Free: 99\nHugepagesize: 2048 kB\n");
    expect("hugepages", Health::warning, "198 MB are free, 200 MB wanted", "vm.nr_hugepages=101 ");
    settings_.hugepages = false;
    expect("hugepages", Health::warning, "wants none", "hugepages = true;");
}

TEST_F(DoctorTest, CardOfTheKernelIsAnErrorWithTheCommandThatBindsIt) {
    add_card(kCard, "e1000e", "7");
    expect("driver", Health::error, "e1000e: the kernel has this card",
           "fwdctl bind 0000:01:00.0; for every boot: systemctl enable fwd-bind@0000:01:00.0");
    remove("sys/bus/pci/devices/" + kCard + "/driver");
    expect("driver", Health::error, "none", "fwdctl bind");
    add_card(kCard, "uio_pci_generic", "7");
    expect("driver", Health::warning, "for root alone", "fwdctl bind");
    remove("sys/bus/pci/devices/" + kCard);
    expect("driver", Health::error, "no such card", "lspci -D");
}

TEST_F(DoctorTest, CardThatIsSharedWithTheKernelNeedsNoVfio) {
    add_card(kCard, "mlx5_core", "");
    EXPECT_EQ(finding("driver").health, Health::ok);
    const auto all = findings();
    EXPECT_EQ(std::ranges::count(all, "iommu", &Finding::check), 0);
}

TEST_F(DoctorTest, MissingIommuIsAnErrorUnlessVfioDoesWithout) {
    remove("sys/bus/pci/devices/" + kCard + "/iommu_group");
    expect("iommu", Health::error, "vfio-pci takes no card without", "intel_iommu=on");
    write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    expect("iommu", Health::warning, "the card can write to all memory", "intel_iommu=on");
}

TEST_F(DoctorTest, IommuGroupWithAnotherDriversDeviceIsAnError) {
    add_card("0000:00:1c.0", "pcieport", "7");  // the bridge above
    EXPECT_EQ(finding("iommu").health, Health::ok);
    add_card("0000:01:00.1", "ixgbe", "7");
    write("sys/bus/pci/devices/0000:01:00.1/class", "0x020000\n");
    expect("iommu", Health::error, "0000:01:00.1 is in with driver ixgbe", "fwdctl bind 0000:01:00.1");
    write("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n");  // sound
    EXPECT_EQ(finding("iommu").remedy, "another slot for the card");
}

TEST_F(DoctorTest, WorkersCoreIsToBeIsolatedAndFast) {
    write("sys/devices/system/cpu/isolated", "\n");
    expect("isolation", Health::warning, "other things", "isolcpus=2 ");
    write("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n");
    expect("governor", Health::warning, "powersave", "cpupower --cpu 2 ");
    remove("sys/devices/system/cpu/cpu2/cpufreq");
    EXPECT_EQ(finding("governor").health, Health::ok);
}

TEST_F(DoctorTest, WorkerOnAnotherNodeThanTheCardIsAWarning) {
    write("sys/bus/pci/devices/" + kCard + "/numa_node", "1\n");
    expect("numa", Health::warning, "node 1, and worker core(s) 2 are not", "node1/cpulist");
    write("sys/bus/pci/devices/" + kCard + "/numa_node", "-1\n");  // of a machine with one
    EXPECT_EQ(finding("numa").health, Health::ok);
}

TEST_F(DoctorTest, InterfaceOfAVirtualDeviceIsToBeThereAndUp) {
    settings_.links[0].device = "net_af_packet0,iface=eth1,qpairs=2";
    expect("driver", Health::error, "no interface eth1", "ip link");
    write("sys/class/net/eth1/flags", "0x1002\n");
    expect("driver", Health::warning, "eth1 is down", "ip link set eth1 up");
    write("sys/class/net/eth1/flags", "0x1003\n");
    EXPECT_EQ(finding("driver").health, Health::ok);
    settings_.links[0].device = "net_tap0,iface=tap7";  // made by DPDK
    EXPECT_EQ(finding("driver").health, Health::ok);
}

TEST_F(DoctorTest, SocketIsToBeOfTheGroup) {
    write("etc/group", "root:x:0:\n");
    expect("socket", Health::warning, "no group fwd", "groupadd --system fwd");
    write("etc/group", "fwd:x:" + std::to_string(::getgid()) + ":\n");
    write("run/fwd.sock", "");
    expect("socket", Health::error, "not a socket", "rm /run/fwd.sock");
    remove("run/fwd.sock");
    ASSERT_EQ(::mknod(path("run/fwd.sock").c_str(), S_IFSOCK | 0600U, 0), 0);
    ASSERT_EQ(::chmod(path("run/fwd.sock").c_str(), 0600), 0);
    expect("socket", Health::warning, "mode 0600", "chmod 660 /run/fwd.sock");
    ASSERT_EQ(::chmod(path("run/fwd.sock").c_str(), 0660), 0);
    EXPECT_EQ(finding("socket").health, Health::ok);
}

TEST_F(DoctorTest, AddressThatTheKernelHasTooIsAnError) {
    write("proc/net/fib_trie",
          "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.3\n"
          "        /32 link UNICAST\nLocal:\n     |-- 10.0.0.2\n        /32 host LOCAL\n     |-- 10.0.0.255\n"
          "        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n");
    expect("addresses", Health::error, "an own address of link lan, and the kernel's as well",
           "ip address delete 10.0.0.2");
    EXPECT_EQ(finding("addresses").subject, "10.0.0.2");
    settings_.links[0].addresses[0] = *parse_interface_address("10.0.0.3/24");
    EXPECT_EQ(finding("addresses").health, Health::ok);
}

TEST_F(DoctorTest, AddressOfARuleThatFwdctlHasAddedIsSeenWhetherFwddRunsOrNot) {
    write("proc/net/fib_trie", "Local:\n     |-- 10.0.0.3\n        /32 host LOCAL\n");
    const std::filesystem::path state = path("var/lib/fwd");
    EXPECT_EQ(finding("addresses").health, Health::ok);
    EXPECT_FALSE(std::filesystem::exists(state)) << "nothing is made";
    const auto expect_clash = [&] {
        expect("addresses", Health::error, "the external address of rule web, and the kernel's as well",
               "ip address delete 10.0.0.3");
    };
    {
        auto running = RuleStore::open(state);
        ASSERT_TRUE(running) << running.error().text();
        const auto rule = test::make_rule("tcp", "10.0.0.3:80", "10.0.0.4:8080", "web");
        const Rule* const added[] = {&rule};
        ASSERT_TRUE((*running)->change({}, added));
        expect_clash();  // in its log alone
    }
    expect_clash();
    write("var/lib/fwd/rules.db", "a letter");
    expect("addresses", Health::warning, "damaged", "as root");
    EXPECT_EQ(finding("addresses").subject, "/var/lib/fwd/rules.db");
}

TEST_F(DoctorTest, RuleThatFwdctlHasAddedAndTheConfigurationNoLongerAllowsIsSeen) {
    const std::filesystem::path state = path("var/lib/fwd");
    {
        auto store = RuleStore::open(state);
        ASSERT_TRUE(store) << store.error().text();
        const auto rule = test::make_rule("tcp", "10.0.0.3:80", "10.0.0.4:8080", "web");
        const Rule* const added[] = {&rule};
        ASSERT_TRUE((*store)->change({}, added));
    }
    for (const Finding& one : findings()) EXPECT_NE(one.check, "rules");
    settings_.links.front().addresses.push_back(*parse_interface_address("10.0.0.4/24"));
    expect(
        "rules", Health::error,
        "rule 'web': target: got 10.0.0.4:8080, fwd's own address on link lan; want the address of another "
        "host; change the configuration, or delete the rule: sqlite3 " +
            (state / "rules.db").string(),
        "before fwd starts");
}

TEST_F(DoctorTest, KernelsPartOfALinkNeedsTunAndPortsOfItsOwn) {
    LinkSettings& lan = settings_.links.front();
    lan.host.push_back({.from = {}});
    write("proc/net/fib_trie", "Local:\n     |-- 10.0.0.2\n        /32 host LOCAL\n");
    write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    expect("addresses", Health::ok, "none is the kernel's", "");
    expect("host-interface", Health::error, "missing", "modprobe tun");
    expect("host-ports", Health::warning,
           "the kernel opens connections from 32768 to 60999, masquerades from 32768 to 65535",
           "sysctl -w net.ipv4.ip_local_port_range='10240 32767'");
    write("dev/net/tun", "");
    write("proc/sys/net/ipv4/ip_local_port_range", "10240\t32767\n");
    expect("host-interface", Health::ok, "there", "");
    expect("host-ports", Health::ok, "from 10240 to 32767", "");
    lan.device = "net_af_packet0,iface=eth1";
    expect("host-device", Health::warning, "the kernel takes what comes for link lan there", "nft");
}

TEST_F(DoctorTest, FindingsAreTextAndJson) {
    const std::vector<Finding> two{{"hugepages", {}, Health::ok, "4 MB are free, 2 MB wanted", {}},
                                   {"driver", kCard, Health::error, "none", "bind it"}};
    EXPECT_EQ(to_text(two),
              "ok       hugepages: 4 MB are free, 2 MB wanted\n"
              "error    driver 0000:01:00.0: none\n"
              "           remedy: bind it\n");
    const auto json = to_json(two);
    EXPECT_EQ(json["error"], true);
    EXPECT_EQ(json["checks"][1]["status"], "error");
    EXPECT_EQ(json["checks"][1]["remedy"], "bind it");
}

TEST(Machine, KernelsIpv6AddressesAreRead) {
    const test::TemporaryDirectory root;
    root.write("proc/net/if_inet6", "20010db8000000000000000000000003 02 40 00 80     eth0\n");
    EXPECT_EQ(Machine{root.path()}.own_addresses(), std::vector<std::string>{"2001:db8::3"});
}

}  // namespace
}  // namespace fwd::control
