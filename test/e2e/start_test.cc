// SPDX-License-Identifier: BSD-3-Clause
// fwdd's command line, and starts that have to fail: with which exit status, and what is said then.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class StartTest : public ::testing::Test {
 protected:
    Finished fwdd(const std::string& options) {
        return run(
            {"sh", "-c", fmt::format("exec timeout 20 {} {}", build_file("control/fwdd").string(), options)});
    }
    std::string file(const std::string& name) const { return directory_ / name; }
    /// A configuration that is good, and more.
    std::string config(const std::string& more = "", const std::string& device = "net_null0") const {
        return fmt::format(
            "socket = \"{}\";\nstate_directory = \"{}\";\nhugepages = false;\n"
            "links = ( {{ name = \"lan\"; device = \"{}\"; addresses = [ \"10.0.0.2/24\" ]; }} );\n{}",
            file("fwd.sock"), file("state"), device, more);
    }
    Finished start_with(const std::string& text) {
        write_file(file("fwd.conf"), text);
        return fwdd("--config " + file("fwd.conf"));
    }
    static void expect_refused(const Finished& done, const std::vector<std::string>& texts) {
        EXPECT_EQ(done.status, 1) << done.output;
        for (const std::string& text : texts) {
            EXPECT_NE(done.output.find(text), std::string::npos) << text << " is not in: " << done.output;
        }
    }

    /// Carries a statement of SQL out on the database of rules.
    void change_database(const std::string& statement) {
        const std::string program =
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); "
            "c.close()";
        const Finished done = run({"python3", "-c", program, file("state/rules.db"), statement});
        EXPECT_EQ(done.status, 0) << done.output;
    }

 private:
    TemporaryDirectory directory_;
};

TEST_F(StartTest, HelpAndVersionAreTold) {
    const Finished help = fwdd("--help");
    EXPECT_EQ(help.status, 0);
    for (const char* option : {"--config FILE", "--check-config FILE", "--version"})
        EXPECT_NE(help.output.find(option), std::string::npos) << help.output;
    const Finished version = fwdd("--version");
    EXPECT_EQ(version.status, 0);
    EXPECT_TRUE(version.output.starts_with("fwdd ")) << version.output;
    EXPECT_EQ(fwdd("").status, 2);
}

TEST_F(StartTest, CheckSaysWhatIsGoodAndStartsNothing) {
    write_file(file("fwd.conf"), config());
    const Finished done = fwdd("--check-config " + file("fwd.conf"));
    EXPECT_EQ(done.status, 0);
    EXPECT_NE(done.output.find("fwd.conf: good: 1 link(s)"), std::string::npos) << done.output;
    EXPECT_FALSE(std::filesystem::exists(file("state")));
}

TEST_F(StartTest, BadConfigurationIsRefusedWithFileLineAndKeyBeforeAnythingIsMade) {
    struct {
        std::string text;
        std::vector<std::string> said;
    } const bad_configurations[] = {
        {config("wrokers = 1;\n"), {"fwd.conf:5", "wrokers", "did you mean 'workers'?"}},
        {config("workers = \"many\";\n"), {"fwd.conf:5", "workers", "'many'"}},
        {config("workers = 1\nsessions = ;\n"), {"fwd.conf:6"}},
        {config("rules = ( { protocol = \"tcp\"; external = \"10.0.0.3\"; target = \"10.0.0.4:1\"; } );\n"),
         {"fwd.conf:5", "rules[0].external", "10.0.0.3"}},
    };
    for (const auto& bad : bad_configurations) {
        expect_refused(start_with(bad.text), bad.said);
        expect_refused(fwdd("--check-config " + file("fwd.conf")), bad.said);
        EXPECT_FALSE(std::filesystem::exists(file("state")));
    }
    expect_refused(fwdd("--config " + file("none.conf")), {"none.conf", "no such file"});
    expect_refused(fwdd("--check-config " + file("none.conf")), {"none.conf", "no such file"});
}

TEST_F(StartTest, DeviceThatIsNotThereIsRefusedWithItsLinkAndWhatWouldBeRight) {
    for (const std::string device : {"net_af_packet0,iface=nothing", "0000:99:00.0"}) {
        expect_refused(start_with(config("", device)),
                       {"links[0].device", device, "want the PCI address", "net_af_packet0,iface=eth1"});
    }
    expect_refused(start_with(config("", "net_mistyped0,iface=lo")), {"net_mistyped0,iface=lo"});
}

TEST_F(StartTest, DamagedDatabaseIsRefusedAndLeftAsItIs) {
    std::filesystem::create_directory(file("state"));
    const std::string damaged(5000, 'x');
    write_file(file("state/rules.db"), damaged);
    expect_refused(start_with(config()),
                   {file("state/rules.db"), "damaged", "not an SQLite database", "backup"});
    EXPECT_EQ(read_file(file("state/rules.db")), damaged);
}

TEST_F(StartTest, SecondFwddLeavesTheFirstOneAlone) {
    write_file(file("first.conf"), config());
    Process first{{build_file("control/fwdd"), "--config", file("first.conf")}};
    const std::string ask =
        fmt::format("{} --socket {} status", build_file("tools/fwdctl/fwdctl").string(), file("fwd.sock"));
    ASSERT_TRUE(eventually([&] { return run({"sh", "-c", ask}).status == 0; })) << first.output();

    expect_refused(start_with(config()), {file("state"), "in use by another fwdd"});
    std::string other_state = config();
    const std::string state = file("state");
    other_state.replace(other_state.find(state), state.size(), file("state-2"));
    expect_refused(start_with(other_state), {file("fwd.sock"), "another fwdd answers"});

    EXPECT_EQ(run({"sh", "-c", ask}).status, 0);
    EXPECT_EQ(first.stop().status, 0);
    EXPECT_FALSE(std::filesystem::exists(file("fwd.sock")));
}

TEST_F(StartTest, SystemdHearsOfReadinessLifeAndTheEnd) {
    write_file(file("fwd.conf"), config());
    const std::string path = file("notify");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const int notified = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(bind(notified, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const auto hear = [&] {
        pollfd waiting{notified, POLLIN, 0};
        char text[512];
        const ssize_t bytes = poll(&waiting, 1, 20'000) == 1 ? recv(notified, text, sizeof text, 0) : 0;
        return std::string{text, static_cast<std::size_t>(std::max<ssize_t>(bytes, 0))};
    };
    Process daemon{{"env", "NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=200000", build_file("control/fwdd"),
                    "--config", file("fwd.conf")}};
    const std::string status = "STATUS=0 rule(s), 0 masquerade(s) on 1 link(s)";
    EXPECT_EQ(hear(), "READY=1\n" + status) << daemon.output();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(hear(), "WATCHDOG=1\n" + status);
    EXPECT_EQ(daemon.stop().status, 0);
    std::string last = hear();
    while (last.starts_with("WATCHDOG")) last = hear();
    EXPECT_EQ(last, "STOPPING=1\nSTATUS=");
    close(notified);
}

TEST_F(StartTest, DatabaseOfSomethingElseIsRefusedAndLeftAlone) {
    std::filesystem::create_directories(file("state"));
    for (const std::string what : {"CREATE TABLE theirs (x)", "text"}) {
        std::filesystem::remove(file("state/rules.db"));
        if (what == "text") {
            write_file(file("state/rules.db"), "This is a letter to my aunt, and no database at all.\n");
        } else {
            change_database(what);
        }
        const std::string before = read_file(file("state/rules.db"));
        expect_refused(start_with(config()), {file("state/rules.db")});
        EXPECT_EQ(read_file(file("state/rules.db")), before);
    }
}

TEST_F(StartTest, DatabaseOfANewerVersionIsRefusedAndLeftAlone) {
    write_file(file("fwd.conf"), config());
    Process first{{build_file("control/fwdd"), "--config", file("fwd.conf")}};
    ASSERT_TRUE(first.says("ready")) << first.output();
    EXPECT_EQ(first.stop().status, 0);
    change_database("PRAGMA user_version = 1000");
    const std::string before = read_file(file("state/rules.db"));
    expect_refused(start_with(config()), {file("state/rules.db"), "newer", "1000"});
    EXPECT_EQ(read_file(file("state/rules.db")), before);
}

TEST_F(StartTest, DatabaseThatCannotBeWrittenIsRefused) {
    if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
    write_file(file("fwd.conf"), config());
    Process first{{build_file("control/fwdd"), "--config", file("fwd.conf")}};
    ASSERT_TRUE(first.says("ready")) << first.output();
    EXPECT_EQ(first.stop().status, 0);
    std::filesystem::permissions(file("state/rules.db"), std::filesystem::perms{0444});
    std::filesystem::permissions(file("state"), std::filesystem::perms{0555});
    expect_refused(start_with(config()), {file("state")});
    std::filesystem::permissions(file("state"), std::filesystem::perms{0755});
}

TEST_F(StartTest, ReloadThatIsAskedForDuringTheStartWaitsForItsEnd) {
    // With a sanitizer it takes ten times as long to read one.
    const bool is_sanitized = read_file(build_file("control/fwdd")).find("__asan_init") != std::string::npos;
    const int count = is_sanitized ? 6'000 : 60'000;
    std::string rules;
    for (int i = 0; i < count; ++i)
        rules +=
            fmt::format("{}{{ protocol = \"tcp\"; external = \"10.0.0.3:{}\"; target = \"10.0.0.4:1\"; }}",
                        i == 0 ? "" : ",\n", i + 1);
    write_file(file("fwd.conf"), config("rules = ( " + rules + " );\n"));
    Process fwdd{{"setsid", build_file("control/fwdd"), "--config", file("fwd.conf")}};
    // Before it catches SIGHUP, that ends it.
    ASSERT_TRUE(eventually([&] {
        std::istringstream status{read_file(fmt::format("/proc/{}/status", fwdd.pid()))};
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with("SigCgt:")) return (std::stoull(line.substr(7), nullptr, 16) & 1) != 0;
        }
        return false;
    }));
    ASSERT_EQ(fwdd.output().find("ready"), std::string::npos) << "it reads long enough";
    fwdd.signal_group(SIGHUP);
    EXPECT_TRUE(fwdd.says(
        fmt::format("reload: 0 rule(s) added, 0 removed, 0 enabled or disabled, {} unchanged", count),
        std::chrono::seconds{300}))
        << fwdd.output();
    EXPECT_EQ(fwdd.stop().status, 0);
}

TEST_F(StartTest, DeviceThatCannotBeSetUpIsNamedWithItsLink) {
    if (geteuid() != 0) GTEST_SKIP() << "makes an interface, which needs root";
    std::string text = config("", "net_tap0,iface=fwd-tap0");
    text.replace(text.find(" } );"), 5,
                 R"( }, { name = "wan"; device = "net_af_packet0,iface=lo"; mtu = 9000; )"
                 R"(addresses = [ "192.0.2.1/24" ]; } );)");
    write_file(file("fwd.conf"), text);
    const Finished done = run({"unshare", "--net", "sh", "-c",
                               fmt::format("ip link set lo up; exec timeout 20 {} --config {}",
                                           build_file("control/fwdd").string(), file("fwd.conf"))});
    expect_refused(done, {"fwdd: link wan on net_af_packet0,iface=lo: can't configure the device: "});
}

TEST_F(StartTest, LogLevelLeavesOutWhatIsBelowIt) {
    write_file(file("fwd.conf"), config("log_level = \"warning\";\n"));
    Process fwdd{{build_file("control/fwdd"), "--config", file("fwd.conf")}};
    const std::string ask =
        fmt::format("{} --socket {} status", build_file("tools/fwdctl/fwdctl").string(), file("fwd.sock"));
    ASSERT_TRUE(eventually([&] { return run({"sh", "-c", ask}).status == 0; })) << fwdd.output();
    EXPECT_EQ(fwdd.stop().output.find("info:"), std::string::npos);
}

TEST_F(StartTest, FullDiskIsRefusedWithItsPlace) {
    if (geteuid() != 0) GTEST_SKIP() << "mounts a small disk, which needs root";
    write_file(file("fwd.conf"), config());
    std::filesystem::create_directory(file("state"));
    const Finished done =
        run({"unshare", "--mount", "sh", "-c",
             fmt::format("mount -t tmpfs -o size=8k none {} && exec {} --config {}", file("state"),
                         build_file("control/fwdd").string(), file("fwd.conf"))});
    expect_refused(done, {file("state"), "the disk is full", "free space"});
}

TEST_F(StartTest, OnceAllIsSetUpNoThreadHasACapabilityThatNothingNeeds) {
    if (geteuid() != 0) GTEST_SKIP() << "who is not root has none";
    constexpr std::uint64_t kFilesAndMemory = 1U << 1U | 1U << 14U;  // cap_dac_override, cap_ipc_lock
    constexpr std::uint64_t kBpf = 1U << 12U | 1U << 21U;            // cap_net_admin, cap_sys_admin
    struct {
        std::string device;
        std::uint64_t kept;
        std::string names;
    } const rows[] = {
        {"net_null0", kFilesAndMemory, "cap_dac_override, cap_ipc_lock\n"},
        {"net_af_packet0,iface=veth0", kFilesAndMemory, "cap_dac_override, cap_ipc_lock\n"},
        {"net_tap0,iface=fwd-tap", kFilesAndMemory, "cap_dac_override, cap_ipc_lock\n"},
        {"net_af_xdp0,iface=veth0", kFilesAndMemory | kBpf,
         "cap_dac_override, cap_net_admin, cap_ipc_lock, cap_sys_admin\n"},
    };
    for (const auto& row : rows) {
        write_file(file("fwd.conf"), config("", row.device));
        Process fwdd{{"unshare", "--net", "sh", "-c",
                      fmt::format("ip link add veth0 type veth peer name veth1; ip link set veth0 up; "
                                  "ip link set veth1 up; exec {} --config {}",
                                  build_file("control/fwdd").string(), file("fwd.conf"))}};
        ASSERT_TRUE(fwdd.says("ready")) << fwdd.output();
        EXPECT_NE(fwdd.output().find("capabilities from now on: " + row.names), std::string::npos)
            << fwdd.output();
        unsigned threads = 0;
        for (const auto& thread :
             std::filesystem::directory_iterator{fmt::format("/proc/{}/task", fwdd.pid())}) {
            ++threads;
            std::istringstream status{read_file(thread.path() / "status")};
            std::string key;
            std::string value;
            while (status >> key && std::getline(status, value)) {
                if (key == "CapPrm:" || key == "CapEff:") {
                    EXPECT_EQ(std::stoull(value, nullptr, 16), row.kept) << row.device << ' ' << key;
                } else if (key == "NoNewPrivs:") {
                    EXPECT_EQ(std::stoi(value), 1);
                }
            }
        }
        EXPECT_GE(threads, 3U) << "control, a worker and one of EAL's";
        const Finished done = fwdd.stop();
        EXPECT_EQ(done.status, 0);
        // What drivers say when they can't give back what they have.
        for (const char* complaint : {"not permitted", "failed\n", "rror"}) {
            EXPECT_EQ(done.output.find(complaint, done.output.find("info: stopping")), std::string::npos)
                << done.output;
        }
    }
}

TEST_F(StartTest, LinesForTheJournalCarryTheirPriority) {
    write_file(file("fwd.conf"), config());
    const auto start = [&](const std::string& stream) {
        std::filesystem::remove(file("log"));
        write_file(file("log"), "");
        Process fwdd{{"sh", "-c",
                      fmt::format("exec 2>{0}; JOURNAL_STREAM={1} exec {2} --config {3}", file("log"), stream,
                                  build_file("control/fwdd").string(), file("fwd.conf"))}};
        eventually([&] { return read_file(file("log")).find("ready with") != std::string::npos; });
        fwdd.stop();
        return read_file(file("log"));
    };
    const std::string journal = start(fmt::format("$(stat -c %d:%i {})", file("log")));
    EXPECT_NE(journal.find("<6>info: ready with"), std::string::npos) << journal;
    const std::string other = start("1:2");
    EXPECT_EQ(other.find("<6>"), std::string::npos) << other;
    EXPECT_NE(other.find("info: ready with"), std::string::npos) << other;
}

}  // namespace
}  // namespace fwd::test
