// SPDX-License-Identifier: BSD-3-Clause
#include "test/package/root.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace fwd::test {

Root::Root(const std::filesystem::path& base, const std::filesystem::path& shared) {
    // The process that sets all this up keeps it, too. Its number is read before /proc is that of its
    // namespace.
    const std::string script = fmt::format(R"(set -e
        mount -t tmpfs fwd-test {0}
        mkdir {0}/upper {0}/work {0}/root
        mount -t overlay fwd-test -o lowerdir={1},upperdir={0}/upper,workdir={0}/work {0}/root
        cd {0}/root
        mount -t proc proc proc
        mount -t tmpfs -o mode=755 fwd-test run
        mount -t tmpfs fwd-test tmp
        chmod 1777 tmp
        mount --rbind /dev dev
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
    const auto begin = output.find("ready as ") + 9;
    pid_ = output.substr(begin, output.find('.', begin) - begin);
}

Command Root::command(const std::string& text) const {
    const std::string root = directory_.path() / "root";
    return {"nsenter",
            "--target",
            pid_,
            "--mount",
            "--net",
            "--ipc",
            "chroot",
            root,
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
            "MANPAGER=cat",
            "sh",
            "-c",
            text};
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
