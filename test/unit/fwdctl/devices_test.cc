// SPDX-License-Identifier: BSD-3-Clause
// Network cards of a machine that is made up, with a kernel that does what is written to its files.
#include "tools/fwdctl/devices.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <utility>

#include "test/unit/control/temporary_directory.h"

namespace fwd::fwdctl {
namespace {

using control::Machine;
using control::Result;

const std::string kFree = "0000:01:00.0";     // ixgbe, nothing needs it
const std::string kDefault = "0000:02:00.0";  // e1000e, has the default route
const std::string kSsh = "0000:03:00.0";      // virtio, somebody is logged in by it

class DevicesTest : public ::testing::Test {
 protected:
    void SetUp() override {
        ::unsetenv("SSH_CONNECTION");
        add_card(kFree, "ixgbe", "7", "net/eth0");
        add_card(kDefault, "e1000e", "8", "net/eth1");
        add_card(kSsh, "virtio-pci", "", "virtio0/net/eth2");
        write("sys/bus/pci/devices/" + kFree + "/numa_node", "1\n");
        write("sys/class/net/eth0/carrier", "1\n");
        write("sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n");  // no card
        // 192.168.1.0/24 by eth1, with the default route; 10.0.0.0/8 by eth2.
        write("proc/net/route",
              "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
              "eth1 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n"
              "eth1 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
              "eth2 0000000A 00000000 0001 0 0 0 000000FF 0 0 0\n");
        // Of 10.1.2.3 to port 22 here; the other one is to port 80.
        write("proc/net/tcp",
              "  sl  local_address rem_address   st\n"
              "   0: 0100000A:0016 0302010A:C001 01 00000000:00000000\n"
              "   1: 0101A8C0:0050 0201A8C0:C002 01 00000000:00000000\n");
        std::filesystem::create_directories(path("sys/bus/pci/drivers/vfio-pci"));
    }
    void TearDown() override { ::unsetenv("SSH_CONNECTION"); }
    /// A program that has this open.
    void add_program(const std::string& number, const std::string& name, const std::string& open) {
        write("proc/" + number + "/comm", name + "\n");
        point("proc/" + number + "/fd/3", open);
    }
    void end_ssh_sessions() { write("proc/net/tcp", "  sl  local_address rem_address   st\n"); }
    std::filesystem::path path(const std::string& name) const { return root_.path() / name; }
    void write(const std::string& name, const std::string& text) { root_.write(name, text); }
    void point(const std::string& name, const std::string& to) {
        std::filesystem::remove(path(name));
        std::filesystem::create_directories(path(name).parent_path());
        std::filesystem::create_symlink(to, path(name));
    }
    void add_card(const std::string& address, const std::string& driver, const std::string& group,
                  const std::string& interface) {
        const std::string card = "sys/bus/pci/devices/" + address;
        write(card + "/class", "0x020000\n");
        write(card + "/vendor", "0x8086\n");
        write(card + "/device", "0x10fb\n");
        std::filesystem::create_directories(path(card + '/' + interface));
        point(card + "/driver", "../../drivers/" + driver);
        if (!group.empty()) point(card + "/iommu_group", "../../../kernel/iommu_groups/" + group);
    }
    /// The kernel: takes note, and binds as it was told when drivers are to probe.
    WriteFile kernel() {
        return [this](const std::filesystem::path& file, const std::string& text) -> Result<void> {
            const std::string name = file.lexically_relative(root_.path());
            written_ += name + " < " + text + (text.ends_with('\n') ? "" : "\n");
            const std::string card = "sys/bus/pci/devices/" + text;
            if (file.filename() == "driver_override") override_ = text.substr(0, text.size() - 1);
            if (file.filename() == "unbind") std::filesystem::remove(path(card + "/driver"));
            if (file.filename() == "drivers_probe" && probes_)
                point(card + "/driver", "../../drivers/" + (override_.empty() ? "ixgbe" : override_));
            return {};
        };
    }
    Result<void> try_bind(const std::string& address, InUse in_use = InUse::refuse) {
        return bind_card(Machine{root_.path()}, address, "vfio-pci", in_use, kernel());
    }
    std::string refusal(const std::string& address) {
        const auto done = try_bind(address);
        EXPECT_FALSE(done);
        EXPECT_EQ(written_, "") << "something was changed";
        return done ? "" : done.error().text();
    }
    std::vector<Card> all() const { return cards(Machine{root_.path()}); }
    void remove(const std::string& name) { std::filesystem::remove_all(path(name)); }

    std::string written_;
    bool probes_ = true;

 private:
    test::TemporaryDirectory root_;
    std::string override_;
};

TEST_F(DevicesTest, AreListedWithDriverInterfaceNodeAndUse) {
    EXPECT_EQ(cards_text(all()),
              "ADDRESS       ID         DRIVER      INTERFACE  LINK  NODE  USED FOR\n"
              "0000:01:00.0  8086:10fb  ixgbe       eth0       up       1  -\n"
              "0000:02:00.0  8086:10fb  e1000e      eth1       down     -  default route\n"
              "0000:03:00.0  8086:10fb  virtio-pci  eth2       down     -  ssh session\n");
    const auto json = cards_json(all());
    EXPECT_EQ(json["devices"].size(), 3U);
    EXPECT_EQ(json["devices"][0]["numa_node"], 1);
    EXPECT_TRUE(json["devices"][0]["used_for"].is_null());
}

TEST_F(DevicesTest, DefaultRouteOfIpv6IsAUseToo) {
    write("proc/net/ipv6_route",
          "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
          "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
          "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
          "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n");
    EXPECT_EQ(all()[0].used_by, "default route");
}

TEST_F(DevicesTest, CardBelowABridgeIsUsedByIt) {
    write("proc/net/route",
          "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
          "br0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n");
    write("sys/class/net/br0/lower_bond0", "");
    write("sys/class/net/bond0/lower_eth0", "");
    EXPECT_EQ(all()[0].used_by, "default route, ssh session");
    // ... which the card itself may have uses beside.
    write("proc/net/if_inet6", "20010db8000000000000000000000003 02 40 00 80     eth0\n");
    point("sys/class/net/eth0/master", "../../br0");
    EXPECT_EQ(all()[0].used_by, "default route, ssh session, addresses, member of br0");
}

TEST_F(DevicesTest, SessionOfADualStackSshdIsAUse) {
    end_ssh_sessions();
    write("proc/net/tcp6",
          "  sl  local_address                         remote_address                        st\n"
          "   0: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF00000302010A:C001 01\n");
    EXPECT_EQ(all()[2].used_by, "ssh session");
}

TEST_F(DevicesTest, SessionOfIpv6IsAUseOfItsRouteAndOfItsAddress) {
    end_ssh_sessions();
    // 2001:db8:9::/48 by eth0, and all the rest by eth1.
    write("proc/net/ipv6_route",
          "20010db8000900000000000000000000 30 00000000000000000000000000000000 00 "
          "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
          "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
          "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n");
    write("proc/net/if_inet6",
          "fe800000000000000000000000000001 02 40 20 80     eth0\n"
          "20010db8000000000000000000000001 02 40 00 80     eth2\n");
    EXPECT_EQ(all()[0].used_by, "") << "a link-local address is on every interface";
    EXPECT_EQ(all()[2].used_by, "addresses");
    // From 2001:db8:9::7 to port 22 of 2001:db8::1.
    write("proc/net/tcp6",
          "  sl  local_address                         remote_address                        st\n"
          "   0: B80D0120000000000000000001000000:0016 B80D0120000009000000000007000000:C001 01\n");
    EXPECT_EQ(all()[0].used_by, "ssh session");
    EXPECT_EQ(all()[1].used_by, "default route");
    EXPECT_EQ(all()[2].used_by, "ssh session, addresses");
    // From fe80::7 to fe80::1.
    write("proc/net/tcp6",
          "  sl  local_address                         remote_address                        st\n"
          "   0: 000080FE000000000000000001000000:0016 000080FE000000000000000007000000:C001 01\n");
    EXPECT_EQ(all()[0].used_by, "ssh session");
    EXPECT_EQ(all()[1].used_by, "default route");
}

TEST_F(DevicesTest, SessionOfSshdIsAUseWhateverItsPort) {
    // From 10.1.2.3 to port 8022.
    write("proc/net/tcp",
          "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
          "   0: 0100000A:1F56 0302010A:C001 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 "
          "0\n");
    add_program("77", "nginx", "socket:[4711]");
    EXPECT_EQ(all()[2].used_by, "");
    add_program("78", "sshd", "socket:[4712]");
    EXPECT_EQ(all()[2].used_by, "");
    for (const char* name : {"sshd", "sshd-session", "dropbear"}) {
        add_program("78", name, "socket:[4711]");
        EXPECT_EQ(all()[2].used_by, "ssh session") << name;
    }
}

TEST_F(DevicesTest, SessionWithinTheMachineIsNoUse) {
    write("proc/net/tcp",
          "  sl  local_address rem_address   st\n"
          "   0: 0100007F:0016 0100007F:C001 01\n");
    write("proc/net/tcp6",
          "  sl  local_address                         remote_address                        st\n"
          "   0: 00000000000000000000000001000000:0016 00000000000000000000000001000000:C001 01\n");
    write("proc/net/ipv6_route",
          "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
          "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n");
    EXPECT_EQ(all()[0].used_by, "default route");
    EXPECT_EQ(all()[1].used_by, "default route");
}

TEST_F(DevicesTest, SessionOfWhoeverAsksIsAUse) {
    end_ssh_sessions();
    ::setenv("SSH_CONNECTION", "10.1.2.3 49153 10.0.0.1 8022", 1);
    EXPECT_EQ(all()[2].used_by, "ssh session");
    write("proc/net/if_inet6", "fe800000000000000000000000000001 02 40 20 80     eth0\n");
    ::setenv("SSH_CONNECTION", "fe80::7%eth0 49153 fe80::1%eth0 22", 1);
    EXPECT_EQ(all()[0].used_by, "ssh session");
    EXPECT_EQ(all()[2].used_by, "");
    ::setenv("SSH_CONNECTION", "nonsense", 1);
    EXPECT_EQ(all()[0].used_by, "");
}

TEST_F(DevicesTest, AddressesAreAUseThatHoldsNobodyUp) {
    write("proc/net/route",
          "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
          "eth1 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n"
          "eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n");
    end_ssh_sessions();
    write(
        "proc/net/fib_trie",
        "Local:\n     |-- 192.168.1.9\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n");
    EXPECT_EQ(all()[0].used_by, "addresses");
    EXPECT_EQ(all()[1].used_by, "default route") << "127.0.0.1 is reached by no router";
    EXPECT_TRUE(try_bind(kFree));
}

TEST_F(DevicesTest, ProgramThatDrivesACardIsNamed) {
    add_program("80", "fwdd", "/dev/vfio/7");
    add_program("81", "qemu-system-x86", "/dev/vfio/8");
    EXPECT_EQ(all()[0].used_by, "fwdd");
    EXPECT_EQ(all()[1].used_by, "default route, qemu-system-x86");
    const std::string card = "0000:05:00.0";
    add_card(card, "mlx5_core", "9", "infiniband_verbs/uverbs0");
    add_program("82", "fwdd", "/dev/infiniband/uverbs0");
    EXPECT_EQ(all()[3].used_by, "fwdd");
}

TEST_F(DevicesTest, WhatFwddLacksForABoundCardIsSaid) {
    const auto lacks = [&] { return lacking(Machine{path("")}, "01:00.0"); };
    ASSERT_EQ(lacks().size(), 1U);
    EXPECT_NE(lacks()[0].find("sysctl vm.nr_hugepages="), std::string::npos) << lacks()[0];
    write("proc/meminfo", "HugePages_Total: 512\nHugePages_Free: 0\nHugepagesize: 2048 kB\n");
    EXPECT_TRUE(lacks().empty());
    const std::string sibling = "0000:01:00.1";
    add_card(sibling, "ixgbe", "7", "net/eth7");
    for (const std::string& member : {kFree, sibling})
        std::filesystem::create_directories(path("sys/kernel/iommu_groups/7/devices/" + member));
    ASSERT_EQ(lacks().size(), 1U);
    EXPECT_NE(lacks()[0].find("0000:01:00.1 is in the same IOMMU group with driver ixgbe"),
              std::string::npos);
    EXPECT_NE(lacks()[0].find("fwdctl bind 0000:01:00.1"), std::string::npos) << lacks()[0];
    point("sys/bus/pci/devices/" + sibling + "/driver", "../../drivers/vfio-pci");
    EXPECT_TRUE(lacks().empty());
}

TEST_F(DevicesTest, CardOfTheKernelsIsNotUnbound) {
    EXPECT_TRUE(unbind_card(Machine{path("")}, kDefault, kernel()));
    EXPECT_EQ(written_, "");
    ASSERT_TRUE(try_bind(kFree));
    probes_ = false;
    const auto done = unbind_card(Machine{path("")}, kFree, kernel());
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().text().find("no driver of the kernel has taken it"), std::string::npos);
}

TEST_F(DevicesTest, BindingTakesACardFromItsDriver) {
    ASSERT_TRUE(try_bind("01:00.0"));
    EXPECT_EQ(written_,
              "sys/bus/pci/devices/0000:01:00.0/driver_override < vfio-pci\n"
              "sys/bus/pci/drivers/ixgbe/unbind < 0000:01:00.0\n"
              "sys/bus/pci/drivers_probe < 0000:01:00.0\n");
    EXPECT_EQ(all()[0].driver, "vfio-pci");
    written_.clear();
    EXPECT_TRUE(try_bind(kFree));
    EXPECT_EQ(written_, "") << "it has it already";
    EXPECT_TRUE(unbind_card(Machine{path("")}, kFree, kernel()));
    EXPECT_EQ(all()[0].driver, "ixgbe");
}

TEST_F(DevicesTest, CardInUseIsTakenByForceAlone) {
    EXPECT_NE(refusal(kDefault).find("carries the default route,"), std::string::npos);
    EXPECT_NE(refusal(kSsh).find("carries the ssh session,"), std::string::npos);
    EXPECT_TRUE(try_bind(kDefault, InUse::take));
    EXPECT_EQ(all()[1].driver, "vfio-pci");
}

TEST_F(DevicesTest, CardThatDpdkSharesWithTheKernelNeedsNoBinding) {
    const std::string card = "0000:05:00.0";
    add_card(card, "mlx5_core", "9", "net/eth5");
    EXPECT_NE(refusal(card).find("DPDK works beside mlx5_core"), std::string::npos);
    // Not by force either, which is meant for uses: behind vfio-pci DPDK could not drive it.
    EXPECT_FALSE(bind_card(Machine{path("")}, card, "vfio-pci", InUse::take, kernel()));
    EXPECT_EQ(written_, "");
}

TEST_F(DevicesTest, WhatIsMissingIsSaidBeforeAnythingChanges) {
    EXPECT_NE(refusal("0000:09:00.0").find("fwdctl devices"), std::string::npos);
    EXPECT_NE(refusal("eth0").find("no network card eth0"), std::string::npos);
    EXPECT_NE(refusal("0000:00:1f.0").find("no network card"), std::string::npos) << "a bridge";
    remove("sys/bus/pci/devices/" + kFree + "/iommu_group");
    EXPECT_NE(refusal(kFree).find("no IOMMU group"), std::string::npos);
    remove("sys/bus/pci/drivers/vfio-pci");
    EXPECT_NE(refusal(kFree).find("modprobe vfio-pci"), std::string::npos);
}

TEST_F(DevicesTest, WithoutAnIommuAModuleMayBeToldToDoWithout) {
    remove("sys/bus/pci/devices/" + kFree + "/iommu_group");
    write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    EXPECT_TRUE(try_bind(kFree));
}

TEST_F(DevicesTest, DriverThatDoesNotTakeTheCardIsAFailure) {
    probes_ = false;
    const auto done = try_bind(kFree);
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().text().find("it has no driver now"), std::string::npos) << done.error().text();
}

TEST_F(DevicesTest, CardKeepsItsDriverWhereTheKernelRefusesHalfWay) {
    bool refuses = true;
    const auto refuse_once = [&, kernel = kernel()](const std::filesystem::path& file,
                                                    const std::string& text) -> Result<void> {
        if (file.filename() == "drivers_probe" && std::exchange(refuses, false))
            return control::unavailable("no such device");
        return kernel(file, text);
    };
    const auto done = bind_card(Machine{path("")}, "01:00.0", "vfio-pci", InUse::refuse, refuse_once);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().text(), "no such device");
    EXPECT_EQ(all()[0].driver, "ixgbe");
}

}  // namespace
}  // namespace fwd::fwdctl
