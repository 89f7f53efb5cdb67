// SPDX-License-Identifier: BSD-3-Clause
// The Debian package: what it leaves on a system when it comes, is upgraded and goes, and whether its unit
// gives fwdd what it needs. In most tests systemd does not run: that it is asked for the right things is what
// is tested. In one it does.
#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <sstream>
#include <string_view>

#include "test/e2e/lab.h"
#include "test/package/root.h"

namespace fwd::test {
namespace {

/// Made once, for all tests: two versions, and in a full run a Debian without anything else.
class Packages {
 public:
    Packages() {
        const std::string there = directory_.path().string();
        // The next version differs in nothing but its number.
        must({"sh", "-ec",
              fmt::format("DEB_BUILD_OPTIONS=noautodbgsym {} --output {}; cd {}; mv fwd_*_amd64.deb 1.deb; "
                          "dpkg-deb -R 1.deb next; sed -i '/^Version:/s/$/+next/' next/DEBIAN/control; "
                          "dpkg-deb --root-owner-group -Znone -b next 2.deb; rm -r next",
                          source_file("tools/package").string(), there, there)});
        if (!is_full_run()) return;
        // Debian's essential packages and what ours depends on, from the mirror that apt uses here.
        must({"sh", "-ec",
              fmt::format(
                  "cd {}; mmdebstrap --quiet --variant=apt --include=\"$(dpkg-deb -f 1.deb Depends | "
                  "sed 's/([^)]*)//g; s/|[^,]*//g; s/ //g')\",init-system-helpers,iproute2,man-db,procps "
                  "$(. /etc/os-release; echo $VERSION_CODENAME) base",
                  there)});
        base_ = directory_ / "base";
    }
    const std::filesystem::path& directory() const { return directory_.path(); }
    const std::filesystem::path& base() const { return base_; }

 private:
    static void must(const Command& command) {
        const Finished done = run(command);
        if (done.status != 0) throw std::runtime_error{done.output};
    }

    TemporaryDirectory directory_;
    std::filesystem::path base_ = "/";
};

std::size_t number_of(std::string_view text, std::string_view part) {
    std::size_t number = 0;
    for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
        ++number;
    return number;
}

class PackageTest : public ::testing::Test {
 protected:
    static void SetUpTestSuite() {
        if (geteuid() == 0) packages_ = std::make_unique<Packages>();
    }
    static void TearDownTestSuite() { packages_.reset(); }

    void SetUp() override {
        if (!packages_) GTEST_SKIP() << "needs root";
        root_ = std::make_unique<Root>(packages_->base(), packages_->directory());
        if (!root_->is_there()) GTEST_SKIP() << "this machine's root can't be the lower part of an overlay";
        // Asked before services are started and stopped; 101: they are not.
        root_->write("/usr/sbin/policy-rc.d", "#!/bin/sh\necho \"$@\" >>/run/asked\nexit 101");
        root_->output_of(
            "chmod +x /usr/sbin/policy-rc.d; mkdir -p /run/systemd/system; "
            "rm -f /var/lib/man-db/auto-update");  // which takes seconds
    }

    Root& root() { return *root_; }
    std::string output_of(const std::string& command) { return root_->output_of(command); }
    void dpkg(const std::string& words) { output_of("dpkg " + words); }
    void install() { dpkg("--install /mnt/1.deb"); }
    void upgrade() { dpkg("--install /mnt/2.deb"); }
    std::string owner_and_mode(const std::string& file) { return output_of("stat -c '%U:%G %a' " + file); }
    std::string in_unit(const std::string& key) {
        return output_of(fmt::format("sed -n 's/^{}=//p' /lib/systemd/system/fwd.service", key));
    }
    /// What systemd was asked to do since the last time.
    std::string asked() { return output_of("cat /run/asked; rm -f /run/asked"); }

    /// @param more settings of the link
    void configure(const std::string& device = "net_null0", const std::string& more = {}) {
        root_->write("/etc/fwd/fwd.conf",
                     fmt::format("hugepages = false;\nlinks = ( {{ name = \"lan\"; device = "
                                 "\"{}\"; addresses = [ \"10.0.0.2/24\" ]; {} }} );",
                                 device, more));
    }
    /// The unit's command as systemd runs it: with that user, those capabilities and no way to get more, and
    /// its limit of locked memory.
    Process start_service(const std::string& capabilities) {
        std::string set = "-all";
        std::istringstream names{capabilities};
        for (std::string name; names >> name;) {
            set += ",+";
            for (const char c : name.substr(4)) set += static_cast<char>(std::tolower(c));
        }
        return root_->start(
            fmt::format("mkdir -p /run/fwd && chown fwd:fwd /run/fwd && chmod {} /run/fwd && "
                        "exec setpriv --reuid={} --regid={} --init-groups --no-new-privs "
                        "--bounding-set={set} --inh-caps={set} --ambient-caps={set} {}",
                        in_unit("RuntimeDirectoryMode"), in_unit("User"), in_unit("Group"),
                        in_unit("ExecStart"), fmt::arg("set", set)));
    }

 private:
    static inline std::unique_ptr<Packages> packages_;
    std::unique_ptr<Root> root_;
};

TEST_F(PackageTest, InstallationMakesUserDirectoriesAndPages) {
    install();
    EXPECT_NE(output_of("getent passwd fwd").find(":/var/lib/fwd:/usr/sbin/nologin"), std::string::npos);
    EXPECT_EQ(output_of("id -gn fwd"), "fwd");
    for (const char* directory : {"/run/fwd", "/var/lib/fwd", "/var/log/fwd"})
        EXPECT_EQ(owner_and_mode(directory), "fwd:fwd 750") << directory;
    EXPECT_TRUE(output_of("fwdd --version").starts_with("fwdd "));
    EXPECT_NE(output_of("fwdctl --help").find("add-rule"), std::string::npos);
    for (const char* example : {"home-router.conf", "edge.conf", "one-segment.conf"})
        output_of(fmt::format("fwdd --check-config /usr/share/doc/fwd/examples/{}", example));
    for (const char* page : {"8 fwdd", "1 fwdctl", "5 fwd.conf"})
        output_of(fmt::format("man --warnings {}", page));
    EXPECT_EQ(output_of("dpkg --verify fwd"), "");
}

TEST_F(PackageTest, ServiceIsStartedNowAndAtEveryBoot) {
    install();
    EXPECT_EQ(asked(), "fwd.service start");
    EXPECT_TRUE(root().exists("/etc/systemd/system/multi-user.target.wants/fwd.service"));
}

TEST_F(PackageTest, CardIsBoundAtEveryBootBeforeTheServiceIfToldSo) {
    install();
    output_of("systemctl --root=/ enable fwd-bind@0000:01:00.0.service 2>&1");
    EXPECT_TRUE(root().exists("/etc/systemd/system/fwd.service.wants/fwd-bind@0000:01:00.0.service"));
    EXPECT_FALSE(root().exists("/etc/systemd/system/fwd.service.wants/fwd-bind@.service"));
}

TEST_F(PackageTest, NothingInItOpensALogin) {
    const std::string files = output_of("dpkg-deb --contents /mnt/1.deb");
    EXPECT_NE(files.find("/usr/sbin/fwdd"), std::string::npos) << files;
    for (const char* secret : {"ssh", "authorized_keys", ".key", ".pem", "id_rsa", "shadow", "passw"})
        EXPECT_EQ(files.find(secret), std::string::npos) << secret << " in " << files;
    install();
    EXPECT_TRUE(output_of("passwd --status fwd").starts_with("fwd L ")) << "locked";
}

/// Of the image's first boot.
TEST_F(PackageTest, PasswordThatIsNoHashOpensNoLogin) {
    root().write("/tmp/appliance", read_file(source_file("tools/appliance/files/usr/lib/fwd/appliance")));
    const auto hash_of_root = [&](const std::string& file) {
        root().write("/tmp/root-password", file);
        // As the image is made: nobody may log in.
        output_of("usermod --password '*' root");
        output_of("bash -c '. /tmp/appliance && set_root_password /tmp/root-password'");
        return output_of("getent shadow root | cut -d : -f 2");
    };
    // openssl passwd -6 -salt salt secret
    const std::string good =
        "$6$salt$egUxKNxDs8kPfh8iPMNcosMhb2eWah6d3R44JDm5Rj/j/XWR5E33QPd0YmHXoDHOIDR6kL5D3JcQcz0O8FHE00";
    EXPECT_EQ(hash_of_root(good), good);
    EXPECT_EQ(hash_of_root(good + "  \nsomething else"), good);
    for (const char* bad :
         {"", "   ", "\n\n", "secret", "$", "$6$", "$6$salt$hash:0:0:99999", "root::0:0:99999"}) {
        const std::string hash = hash_of_root(bad);
        // What begins so is no hash of any password.
        EXPECT_TRUE(hash.starts_with('!') || hash == "*") << '"' << bad << "\" became \"" << hash << '"';
    }
}

/// Of the image's boots.
TEST_F(PackageTest, CardsThatAreCommentedOutAreNotBound) {
    root().write("/tmp/appliance", read_file(source_file("tools/appliance/files/usr/lib/fwd/appliance")));
    root().write("/tmp/fwd.conf", R"(# device = "0000:01:00.0"
links = ( { name = "a \" // /* "; device = "0000:02:00.0"; }, // device = "0000:03:00.0";
          /* { name = "spare"; device = "0000:04:00.0"; },
             # */ { device: "05:00.0"; } );
)");
    root().write("/tmp/more.conf", "more = ( { device=\"0000:06:00.1\"; } );  # /*\n");
    EXPECT_EQ(output_of("bash -c '. /tmp/appliance && cards_of /tmp/fwd.conf /tmp/more.conf'"),
              "0000:02:00.0\n0000:06:00.1\n05:00.0");
}

TEST_F(PackageTest, UpgradeKeepsConfigurationAndRulesAndRestarts) {
    install();
    asked();
    configure();
    const std::string configuration = output_of("cat /etc/fwd/fwd.conf");
    Process first = start_service("");
    ASSERT_TRUE(first.says("ready")) << first.output();
    output_of("fwdctl add-rule tcp 10.0.0.3:80 10.0.0.4:8080 --name web");

    upgrade();
    EXPECT_EQ(asked(), "fwd.service restart");
    // It forwards until then.
    EXPECT_TRUE(first.is_running());
    EXPECT_NE(output_of("fwdctl list-rules").find("web"), std::string::npos);
    EXPECT_EQ(first.stop().status, 0);

    Process second = start_service("");
    ASSERT_TRUE(second.says("ready")) << second.output();
    EXPECT_NE(output_of("fwdctl list-rules").find("web"), std::string::npos);
    EXPECT_EQ(output_of("cat /etc/fwd/fwd.conf"), configuration);
    EXPECT_NE(output_of("dpkg-query -W fwd").find("+next"), std::string::npos);
}

TEST_F(PackageTest, OperatorsMayUseFwdctlAndOthersMayNot) {
    install();
    configure();
    Process daemon = start_service("");
    ASSERT_TRUE(daemon.says("ready")) << daemon.output();
    output_of("useradd operator-of-fwd --groups fwd; useradd somebody");
    EXPECT_EQ(owner_and_mode("/run/fwd/fwd.sock"), "fwd:fwd 660");
    output_of("setpriv --reuid=operator-of-fwd --regid=operator-of-fwd --init-groups fwdctl status");
    EXPECT_EQ(root().in("setpriv --reuid=somebody --regid=somebody --init-groups fwdctl status").status, 3);
}

TEST_F(PackageTest, RemovalStopsTheServiceAndKeepsWhatPurgeTakes) {
    install();
    configure();
    {
        Process daemon = start_service("");
        ASSERT_TRUE(daemon.says("ready")) << daemon.output();
    }
    asked();
    dpkg("--remove fwd");
    EXPECT_EQ(asked(), "fwd.service stop");
    EXPECT_FALSE(root().exists("/usr/sbin/fwdd"));
    EXPECT_TRUE(root().exists("/var/lib/fwd/rules.db"));

    dpkg("--purge fwd");
    for (const char* gone : {"/var/lib/fwd", "/var/log/fwd", "/run/fwd", "/lib/systemd/system/fwd.service",
                             "/etc/systemd/system/multi-user.target.wants/fwd.service"})
        EXPECT_FALSE(root().exists(gone)) << gone;
    // What the operator has written.
    EXPECT_TRUE(root().exists("/etc/fwd/fwd.conf"));
    EXPECT_EQ(output_of("dpkg-query -W fwd 2>&1 || true").find("+next"), std::string::npos);
}

TEST_F(PackageTest, RemovedAndInstalledAgainItHasItsRules) {
    install();
    configure();
    {
        Process daemon = start_service("");
        ASSERT_TRUE(daemon.says("ready")) << daemon.output();
        output_of("fwdctl add-rule tcp 10.0.0.3:80 10.0.0.4:8080 --name web");
        EXPECT_EQ(daemon.stop().status, 0);
    }
    dpkg("--remove fwd");
    install();
    Process daemon = start_service("");
    ASSERT_TRUE(daemon.says("ready")) << daemon.output();
    EXPECT_NE(output_of("fwdctl list-rules").find("web"), std::string::npos);
}

TEST_F(PackageTest, UnitIsFreeOfMistakesAndHardened) {
    install();
    for (const char* unit : {"fwd.service", "fwd-bind@card.service"}) {
        EXPECT_EQ(
            output_of(fmt::format("systemd-analyze verify --man=yes --recursive-errors=no {} 2>&1", unit)),
            "");
    }
    // In tenths; below 3 is what systemd calls OK.
    output_of("systemd-analyze security --offline=yes --threshold=20 /lib/systemd/system/fwd.service");
}

/// A device of each kind that shares an interface with the kernel, in the root's own network.
TEST_F(PackageTest, UnitGivesTheCapabilitiesThatItsDevicesNeedAndNoOther) {
    install();
    output_of("ip link add veth0 type veth peer name veth1; ip link set veth0 up; ip link set veth1 up");
    const std::string given = in_unit("AmbientCapabilities");
    EXPECT_EQ(in_unit("CapabilityBoundingSet"), given);
    EXPECT_EQ(given, "CAP_NET_ADMIN CAP_NET_RAW");
    const std::string with_kernel = R"(host = [ "ssh" ];)";
    struct {
        std::string device, capabilities;
        bool starts;
        std::string more{};
    } const rows[] = {
        {"net_af_packet0,iface=veth0", given, true},
        {"net_tap0,iface=fwd-tap", given, true},
        {"net_af_packet0,iface=veth0", "CAP_NET_ADMIN", false},
        {"net_tap0,iface=fwd-tap", "CAP_NET_RAW", false},
        // It would need CAP_SYS_ADMIN, which is nearly root (README.md).
        {"net_af_xdp0,iface=veth0", given, false},
        // As a card behind VFIO.
        {"net_null0", "", true},
        {"net_null0", "CAP_NET_ADMIN", true, with_kernel},
        {"net_null0", "CAP_NET_RAW", false, with_kernel},
    };
    for (const auto& row : rows) {
        configure(row.device, row.more);
        Process daemon = start_service(row.capabilities);
        ASSERT_TRUE(eventually(
            [&] { return daemon.says("ready", std::chrono::milliseconds{1}) || !daemon.is_running(); }));
        EXPECT_EQ(daemon.is_running(), row.starts) << row.device << row.capabilities << daemon.output();
        if (!row.starts) continue;
        EXPECT_NE(output_of("pgrep --exact --uid fwd fwdd"), "");
        EXPECT_EQ(daemon.stop().status, 0);
    }
}

/// A real one, in namespaces of its own, with all that the unit forbids.
TEST_F(PackageTest, SystemdStartsReloadsWatchesAndStopsIt) {
    install();
    output_of("ip link add veth0 type veth peer name veth1; ip link set veth0 up; ip link set veth1 up");
    configure("net_af_packet0,iface=veth0", R"(host = [ "ssh" ];)");
    root().write("/etc/systemd/system/fwd.service.d/test.conf",
                 "[Unit]\nDefaultDependencies=no\n[Service]\nWatchdogSec=5\nLimitCORE=0\nStandardError="
                 "append:/run/log-of-fwd");
    root().write("/etc/systemd/system/fwd-test.target", "[Unit]\nDefaultDependencies=no\nWants=fwd.service");
    auto systemd = root().boot("fwd-test.target");
    if (!systemd) GTEST_SKIP() << "no cgroups of version 2";
    const auto is_active = [&] { return root().in("systemctl is-active fwd").output == "active\n"; };
    ASSERT_TRUE(eventually(is_active, std::chrono::seconds{60}))
        << systemd->output() << output_of("cat /run/log-of-fwd");
    const auto property = [&](const char* name) {
        return output_of(fmt::format("systemctl show --value -p {} fwd", name));
    };
    EXPECT_EQ(property("StatusText"), "0 rule(s), 0 masquerade(s) on 1 link(s)");
    const std::string status = output_of("cat /proc/$(pgrep --exact --uid fwd fwdd)/status");
    EXPECT_NE(status.find("Seccomp:\t2"), std::string::npos) << status;
    EXPECT_NE(status.find("CapBnd:\t0000000000003000"), std::string::npos) << status;
    const std::string log = output_of("cat /run/log-of-fwd");
    EXPECT_NE(log.find("ready with"), std::string::npos) << log;
    EXPECT_EQ(log.find("warning"), std::string::npos) << log;

    // Set up, it needs nothing but its descriptors; and to give the kernel's part of the link its addresses
    // again.
    const std::string threads = output_of("cat /proc/$(pgrep --exact --uid fwd fwdd)/task/*/status");
    EXPECT_EQ(number_of(threads, "CapPrm:\t0000000000001000"), number_of(threads, "CapPrm:")) << threads;
    EXPECT_GE(number_of(threads, "CapPrm:"), 3U) << threads;
    EXPECT_NE(log.find("capabilities from now on: cap_net_admin\n"), std::string::npos) << log;
    EXPECT_NE(output_of("ip -brief address show dev fwd-lan").find("10.0.0.2/24"), std::string::npos)
        << "the kernel's part of the link";

    output_of("fwdctl add-rule tcp 10.0.0.3:80 10.0.0.4:8080 --name web; systemctl reload fwd");
    const std::string good = output_of("cat /etc/fwd/fwd.conf");
    root().write("/etc/fwd/fwd.conf", good + "rules = 1;");
    EXPECT_NE(root().in("systemctl reload fwd").status, 0) << "a reload that was refused is a failure";
    root().write("/etc/fwd/fwd.conf", good);
    EXPECT_TRUE(is_active());

    // It stands still, and has to be started again.
    const std::string first = output_of("pgrep --exact --uid fwd fwdd");
    output_of("kill -STOP " + first);
    EXPECT_TRUE(
        eventually([&] { return property("NRestarts") != "0" && is_active(); }, std::chrono::seconds{120}))
        << systemd->output();
    EXPECT_NE(output_of("pgrep --exact --uid fwd fwdd"), first);
    EXPECT_NE(output_of("fwdctl list-rules").find("web"), std::string::npos);

    // An upgrade brings another one, with its rules.
    output_of("rm /usr/sbin/policy-rc.d");
    const std::string before = property("MainPID");
    upgrade();
    EXPECT_TRUE(
        eventually([&] { return is_active() && property("MainPID") != before; }, std::chrono::seconds{60}))
        << systemd->output();
    EXPECT_NE(output_of("fwdctl list-rules").find("web"), std::string::npos);
    EXPECT_NE(output_of("dpkg-query -W fwd").find("+next"), std::string::npos);

    output_of("systemctl stop fwd");
    EXPECT_EQ(property("Result"), "success");
}

/// Before anybody gives it an address.
TEST_F(PackageTest, CardIsBoundBeforeTheNetworkAndByForce) {
    install();
    root().write("/etc/systemd/system/fwd-test.target", "[Unit]\nDefaultDependencies=no");
    auto systemd = root().boot("fwd-test.target");
    if (!systemd) GTEST_SKIP() << "no cgroups of version 2";
    ASSERT_TRUE(eventually([&] { return root().in("systemctl is-active fwd-test.target").status == 0; }))
        << systemd->output();
    const auto property = [&](const char* name) {
        return ' ' + output_of(fmt::format("systemctl show --value -p {} fwd-bind@0000:01:00.0", name)) + ' ';
    };
    for (const char* later : {" network-pre.target ", " fwd.service ", " shutdown.target "})
        EXPECT_NE(property("Before").find(later), std::string::npos) << later << property("Before");
    EXPECT_NE(property("Wants").find(" network-pre.target "), std::string::npos)
        << "it orders nothing by itself";
    for (const char* earlier : {" systemd-udev-trigger.service ", " local-fs.target "})
        EXPECT_NE(property("After").find(earlier), std::string::npos) << earlier << property("After");
    EXPECT_EQ(property("After").find(" basic.target "), std::string::npos) << "that may be after the network";
    EXPECT_NE(property("ExecStart").find("/usr/bin/fwdctl bind --force 0000:01:00.0 "), std::string::npos)
        << property("ExecStart");
}

TEST_F(PackageTest, CompletionsAreUnderstoodByTheirShells) {
    if (is_full_run()) GTEST_SKIP() << "a Debian without zsh and fish";
    install();
    EXPECT_EQ(output_of("fish -c 'complete -C \"fwdctl delete-r\"' | cut -f 1"), "delete-rule");
    output_of("zsh -n /usr/share/zsh/vendor-completions/_fwdctl /usr/share/zsh/vendor-completions/_fwdd");
    for (const char* program : {"fwdd", "fwdctl"})
        output_of(fmt::format("bash -uec '. /usr/share/bash-completion/completions/{0}; complete -p {0}'",
                              program));
}

}  // namespace
}  // namespace fwd::test
