// SPDX-License-Identifier: BSD-3-Clause
#include "test/package/root.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "test/e2e/lab.h"

namespace fwd::test {

Root::Root(const std::filesystem::path& base, const std::filesystem::path& shared) {
    // The process that sets all this up keeps it, too. Its number is read before /proc is that of its
    // namespace.
    const std::string script = fmt::format(R"(set -e
        mount -t tmpfs fwd-test {0}
        mkdir {0}/upper {0}/work {0}/root
        mount -t overlay fwd-test -o lowerdir={1},upperdir={0}/upper,workdir={0}/work {0}/root || {{
            echo "no overlay."
            exit
        }}
        cd {0}/root
        mount -t proc proc proc
        mount -t tmpfs -o mode=755 fwd-test run
        mount -t tmpfs fwd-test tmp
        chmod 1777 tmp
        mount -t tmpfs -o mode=755 fwd-test dev
        mkdir dev/net dev/shm dev/pts
        while read -r name numbers; do mknod -m 666 dev/$name c $numbers; done <<<"null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200"
        ln -s /proc/self/fd dev/fd
        mount -t sysfs sysfs sys  # of this network
        mount --bind {2} mnt
        ip link set lo up
        echo "ready as $$."
        exec sleep infinity)",
                                           directory_.path().string(), base.string(), shared.string());
    holder_ =
        std::make_unique<Process>(Command{"unshare", "--mount", "--net", "--ipc", "bash", "-c", script});
    if (!holder_->says(".\n")) {
        ADD_FAILURE() << "no root: " << holder_->output();
        return;
    }
    const std::string output = holder_->output();
    if (output.find("no overlay.") != std::string::npos) return;
    const auto begin = output.find("ready as ") + 9;
    pid_ = output.substr(begin, output.find('.', begin) - begin);
}

Root::~Root() {
    // systemd leaves a tree of them, which is empty once its processes have gone.
    if (!cgroup_.empty())
        run({"sh", "-c",
             fmt::format(
                 "i=0; while [ $i -lt 50 ] && ! find {} -depth -type d -exec rmdir {{}} + 2>/dev/null; "
                 "do sleep 0.1; i=$((i + 1)); done",
                 cgroup_.string())});
}

std::optional<Process> Root::boot(const std::string& unit) {
    std::string hierarchy =
        run({"findmnt", "--types", "cgroup2", "--noheadings", "--output", "TARGET", "--first-only"}).output;
    hierarchy = hierarchy.substr(0, hierarchy.find('\n'));
    std::error_code code;
    cgroup_ = std::filesystem::path{hierarchy} / ("fwd-test-" + pid_);
    if (hierarchy.empty() || !std::filesystem::create_directory(cgroup_, code)) {
        cgroup_.clear();
        return {};
    }
    // What is the whole machine's, it may read alone.
    const std::string script = fmt::format(R"(set -e
        cd {0}
        mount -t proc proc proc
        mount --bind proc/sys proc/sys
        mount -o remount,bind,ro proc/sys
        mount -o remount,bind,ro sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=fwd-test /lib/systemd/systemd --system \
            --unit={1} --log-target=console --show-status=no)",
                                           path().string(), unit);
    Process systemd{
        {"sh", "-c",
         fmt::format("echo $$ >{}/cgroup.procs && exec nsenter --target {} --mount --net --ipc unshare "
                     "--mount --pid --uts --cgroup --fork --kill-child sh -c \"$0\"",
                     cgroup_.string(), pid_),
         script}};
    // From now on commands run beside it, by its number outside of its namespace.
    std::string first;
    if (!eventually([&] { return !(first = read_file(cgroup_ / "init.scope/cgroup.procs")).empty(); })) {
        ADD_FAILURE() << "systemd does not start: " << systemd.output();
        return {};
    }
    pid_ = first.substr(0, first.find('\n'));
    is_booted_ = true;
    return systemd;
}

Command Root::command(const std::string& text) const {
    Command command{"nsenter", "--target", pid_, "--mount", "--net", "--ipc"};
    if (is_booted_) command.emplace_back("--pid");
    const Command rest{"chroot",
                       path(),
                       "/usr/bin/env",
                       "-i",
                       "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                       "LC_ALL=C.UTF-8",
                       "DEBIAN_FRONTEND=noninteractive",
                       "MANPAGER=cat",
                       "SYSTEMD_IGNORE_CHROOT=1",
                       "sh",
                       "-c",
                       text};
    command.insert(command.end(), rest.begin(), rest.end());
    return command;
}

Finished Root::in(const std::string& text) const {
    return run(command(text));
}

Process Root::start(const std::string& text) const {
    return Process{command(text)};
}

std::string Root::output_of(const std::string& text) const {
    Finished done = in(text);
    EXPECT_EQ(done.status, 0) << text << ": " << done.output;
    if (done.output.ends_with('\n')) done.output.pop_back();
    return done.output;
}

void Root::write(const std::string& file, const std::string& text) const {
    const Finished done =
        in(fmt::format("mkdir -p $(dirname {0}) && cat >{0} <<'END-OF-FILE'\n{1}\nEND-OF-FILE", file, text));
    EXPECT_EQ(done.status, 0) << done.output;
}

}  // namespace fwd::test
