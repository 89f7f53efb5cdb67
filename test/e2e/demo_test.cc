// SPDX-License-Identifier: BSD-3-Clause
// tools/demo: shows what it promises, and leaves nothing behind, however it ends.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

/// What the demo has made: namespaces, files, processes.
std::vector<std::string> remains() {
    std::vector<std::string> found;
    const auto look = [&](const std::filesystem::path& directory, const std::string& start) {
        if (!std::filesystem::exists(directory)) return;
        for (const auto& entry : std::filesystem::directory_iterator{directory}) {
            if (entry.path().filename().string().starts_with(start)) found.push_back(entry.path());
        }
    };
    look("/run/netns", "fwd-lab-demo-");
    look("/run", "fwd-lab-demo");
    look(std::filesystem::temp_directory_path(), "fwd-demo-");
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
        std::string command = read_file(entry.path() / "cmdline");
        std::ranges::replace(command, '\0', ' ');
        if (command.find("fwd-lab-demo") != std::string::npos ||
            command.find("fwd-demo-") != std::string::npos)
            found.push_back(command);
    }
    return found;
}

class DemoTest : public ::testing::Test {
 protected:
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces, which needs root";
        hugepages_before_ = reserved_hugepages();
    }
    void TearDown() override {
        if (IsSkipped()) return;
        EXPECT_TRUE(eventually([] { return remains().empty(); }, std::chrono::seconds{2}))
            << fmt::format("{}", fmt::join(remains(), "\n"));
        EXPECT_TRUE(
            eventually([&] { return reserved_hugepages() == hugepages_before_; }, std::chrono::seconds{2}))
            << reserved_hugepages() << " hugepages are reserved, " << hugepages_before_ << " were before";
    }
    static int reserved_hugepages() { return std::stoi(read_file("/proc/sys/vm/nr_hugepages")); }

    /// In a session of its own, as a terminal would have it.
    static Command demo(const Command& environment = {}) {
        Command command{"setsid", "env", "PYTHONUNBUFFERED=1"};
        command.insert(command.end(), environment.begin(), environment.end());
        command.insert(command.end(), {source_file("tools/demo"), "--built"});
        return command;
    }
    static void make_program(const std::filesystem::path& file, const std::string& script) {
        std::filesystem::create_directories(file.parent_path());
        write_file(file, "#!/bin/sh\n" + script + "\n");
        std::filesystem::permissions(file, std::filesystem::perms{0755});
    }

    TemporaryDirectory files_;
    int hugepages_before_ = 0;
};

TEST_F(DemoTest, ShowsTheRequestFromBothEnds) {
    const Finished done = run(demo());
    EXPECT_EQ(done.status, 0) << done.output;
    for (const char* text : {"on the client's wire", "on the server's wire", "> 10.0.0.3:80 SYN",
                             "> 10.0.0.4:8080 SYN", "$ fwdctl list-sessions", "Everything was right."})
        EXPECT_NE(done.output.find(text), std::string::npos) << text << " is not in: " << done.output;
    EXPECT_EQ(done.output.find("WRONG"), std::string::npos) << done.output;
}

TEST_F(DemoTest, InterruptedAnywhereItEndsAtOnceWithItsOwnStatus) {
    const std::function<bool(const Process&)> moments[] = {
        [](const Process&) {
            return eventually([] { return std::filesystem::exists("/run/fwd-lab-demo"); });
        },
        [](const Process&) {
            return eventually([] { return std::filesystem::exists("/run/fwd-lab-demo/fwdd.pid"); });
        },
        [](const Process& demo) { return demo.says("fwdctl add-rule"); },
        [](const Process& demo) { return demo.says("curl http://10.0.0.3/"); },
    };
    for (const auto& moment : moments) {
        Process process{demo()};
        EXPECT_TRUE(moment(process)) << process.output();
        process.signal_group(SIGINT);
        const Finished done = process.wait();
        EXPECT_EQ(done.status, 130) << done.output;
        EXPECT_EQ(done.output.find("Everything was right."), std::string::npos);
        EXPECT_EQ(remains(), std::vector<std::string>{}) << done.output;
    }
}

TEST_F(DemoTest, FwddThatDoesNotStartIsAFailureWithItsReason) {
    make_program(files_ / "control/fwdd", "echo no luck today; exit 1");
    make_program(files_ / "tools/fwdctl/fwdctl", "exit 3");
    const Finished done = run(demo({"FWD_BUILD=" + files_.path().string()}));
    EXPECT_EQ(done.status, 1);
    EXPECT_NE(done.output.find("no luck today"), std::string::npos) << done.output;
}

TEST_F(DemoTest, WebServerThatDoesNotStartIsAFailure) {
    make_program(files_ / "bin/nginx", "exit 1");
    const Finished done = run(demo({"PATH=" + (files_ / "bin").string() + ":" + std::getenv("PATH")}));
    EXPECT_EQ(done.status, 1);
    EXPECT_NE(done.output.find("nginx is not ready"), std::string::npos) << done.output;
}

TEST_F(DemoTest, AnotherPageThanTheRightOneIsAFailure) {
    make_program(files_ / "bin/nginx", R"(echo other > "$2/www/index.html"; exec /usr/sbin/nginx "$@")");
    const Finished done = run(demo({"PATH=" + (files_ / "bin").string() + ":" + std::getenv("PATH")}));
    EXPECT_EQ(done.status, 1);
    EXPECT_NE(done.output.find("WRONG  curl got nginx's page"), std::string::npos) << done.output;
    EXPECT_NE(done.output.find("Something went wrong."), std::string::npos) << done.output;
}

TEST_F(DemoTest, WhereHugepagesCannotBeReservedItRunsWithoutThemAndSaysSo) {
    // The kernel's knob, read-only.
    const std::string knob = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    const Finished done =
        run({"unshare", "--mount", "sh", "-c",
             fmt::format("mount --bind {0} {0} && mount -o remount,bind,ro {0} && {1} --built", knob,
                         source_file("tools/demo").string())});
    EXPECT_EQ(done.status, 0) << done.output;
    EXPECT_NE(done.output.find("can't be reserved: running without them"), std::string::npos) << done.output;
}

TEST_F(DemoTest, InterruptedWhileItInstallsItEndsQuietly) {
    std::filesystem::create_directories(files_ / "tools");
    for (const char* file : {"tools/demo", "tools/children.py", "tools/example.py"})
        std::filesystem::copy(source_file(file), files_ / file);
    make_program(files_ / "tools/setup",
                 "trap 'kill $! 2>/dev/null; sleep 1; echo cleaned up; exit 130' INT TERM; sleep 60 & echo "
                 "installing; wait");
    // From a terminal every process gets the signal, from `kill` the demo alone.
    for (const bool terminal : {true, false}) {
        Process process{{"setsid", files_ / "tools/demo"}};
        EXPECT_TRUE(process.says("installing")) << process.output();
        if (terminal) process.signal_group(SIGINT);
        const Finished done = terminal ? process.wait() : process.stop(SIGTERM);
        EXPECT_EQ(done.status, 130);
        EXPECT_EQ(done.output, "installing\ncleaned up\ntools/demo: interrupted\n");
    }
}

TEST_F(DemoTest, ScriptsThatNeedRootStartThemselvesAgainThroughSudo) {
    make_program(files_ / "bin/sudo", "echo sudo \"$@\"");
    const auto as_nobody = [&](const std::string& script, const std::string& arguments) {
        return run({"setpriv", "--reuid", "65534", "--clear-groups", "env", "-u", "FWD_BUILD",
                    "PATH=" + (files_ / "bin").string() + ":" + std::getenv("PATH"), "FWD_LAB=mine", "sh",
                    "-c", source_file(script).string() + " " + arguments});
    };
    const Finished lab = as_nobody("tools/lab", "up --topology two-arm");
    EXPECT_EQ(lab.output, fmt::format("sudo FWD_LAB=mine -- {} up --topology two-arm\n",
                                      source_file("tools/lab").string()));
    EXPECT_EQ(as_nobody("tools/demo", "--built").output,
              fmt::format("sudo -- {} --built\n", source_file("tools/demo").string()));
}

TEST_F(DemoTest, ScriptsInstallPythonWhereThereIsNone) {
    std::filesystem::create_directories(files_ / "bin");
    std::filesystem::create_symlink("/usr/bin/dirname", files_ / "bin/dirname");
    make_program(files_ / "tools/setup", "echo \"installing $*\"; exit 7");
    for (const std::string script :
         {"tools/demo", "tools/lab", "tools/test", "tools/vm", "bench/throughput", "bench/sessions"}) {
        std::filesystem::create_directories((files_ / script).parent_path());
        std::filesystem::copy(source_file(script), files_ / script);
        const Finished done =
            run({"/usr/bin/env", "PATH=" + (files_ / "bin").string(), files_ / script, "--help"});
        EXPECT_EQ(done.status, 7) << script << ": " << done.output;
        EXPECT_EQ(done.output, "installing lab\n") << script;
        EXPECT_EQ(run({source_file(script), "--help"}).status, 0) << script;
    }
}

}  // namespace
}  // namespace fwd::test
