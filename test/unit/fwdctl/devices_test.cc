// SPDX-License-Identifier: BSD-3-Clause
// Network cards of a machine that is made up, with a kernel that does what is written to its files.
#include "tools/fwdctl/devices.h"

#include <gtest/gtest.h>

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
              "0000:02:00.0  8086:10fb  e1000e      eth1       down     -  default route of eth1\n"
              "0000:03:00.0  8086:10fb  virtio-pci  eth2       down     -  ssh session of eth2\n");
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
    EXPECT_EQ(all()[0].used_by, "default route of eth0");
}

TEST_F(DevicesTest, CardBelowABridgeIsUsedByIt) {
    write("proc/net/route",
          "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
          "br0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n");
    write("sys/class/net/br0/lower_bond0", "");
    write("sys/class/net/bond0/lower_eth0", "");
    EXPECT_EQ(all()[0].used_by, "default route, ssh session of eth0");
}

TEST_F(DevicesTest, SessionOfADualStackSshdIsAUse) {
    write("proc/net/tcp", "  sl  local_address rem_address   st\n");
    write("proc/net/tcp6",
          "  sl  local_address                         remote_address                        st\n"
          "   0: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF00000302010A:C001 01\n");
    EXPECT_EQ(all()[2].used_by, "ssh session of eth2");
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
    EXPECT_NE(refusal(kDefault).find("default route of eth1"), std::string::npos);
    EXPECT_NE(refusal(kSsh).find("ssh session of eth2"), std::string::npos);
    EXPECT_TRUE(try_bind(kDefault, InUse::take));
    EXPECT_EQ(all()[1].driver, "vfio-pci");
}

TEST_F(DevicesTest, CardThatDpdkSharesWithTheKernelNeedsNoBinding) {
    const std::string card = "0000:05:00.0";
    add_card(card, "mlx5_core", "9", "net/eth5");
    EXPECT_NE(refusal(card).find("DPDK works beside mlx5_core"), std::string::npos);
    EXPECT_TRUE(bind_card(Machine{path("")}, card, "vfio-pci", InUse::take, kernel()));
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

}  // namespace
}  // namespace fwd::fwdctl
