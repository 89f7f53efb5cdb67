// SPDX-License-Identifier: BSD-3-Clause
#include "test/e2e/process.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>
#include <utility>

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

int exit_status(int wait_status) {
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace

Process::Process(const Command& command) : output_{memfd_create("output", MFD_CLOEXEC)} {
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // O_APPEND: two writers of one file don't overwrite each other.
    const int append = open(("/proc/self/fd/" + std::to_string(output_)).c_str(), O_WRONLY | O_APPEND);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(append, STDOUT_FILENO);
    dup2(append, STDERR_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
}

Process::Process(Process&& other) noexcept
    : pid_{std::exchange(other.pid_, -1)},
      output_{std::exchange(other.output_, -1)},
      status_{other.status_} {}

Process::~Process() {
    if (pid_ > 0) stop(SIGKILL);
    if (output_ >= 0) close(output_);
}

std::string Process::output() const {
    struct stat info {};
    fstat(output_, &info);
    std::string text(static_cast<std::size_t>(info.st_size), '\0');
    const ssize_t bytes = pread(output_, text.data(), text.size(), 0);
    text.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
    return text;
}

bool Process::says(const std::string& text, std::chrono::milliseconds time) const {
    for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end;) {
        if (output().find(text) != std::string::npos) return true;
        std::this_thread::sleep_for(10ms);
    }
    return false;
}

bool Process::is_running() {
    int wait_status = 0;
    if (pid_ < 0 || waitpid(pid_, &wait_status, WNOHANG) == 0) return pid_ > 0;
    pid_ = -1;
    status_ = exit_status(wait_status);
    return false;
}

Finished Process::wait() {
    if (pid_ > 0) {
        int wait_status = 0;
        waitpid(pid_, &wait_status, 0);
        pid_ = -1;
        status_ = exit_status(wait_status);
    }
    return {status_, output()};
}

Finished Process::stop(int signal) {
    if (pid_ > 0) kill(pid_, signal);
    return wait();
}

void Process::signal_group(int signal) {
    if (pid_ > 0) kill(-pid_, signal);
}

Finished run(const Command& command) {
    return Process{command}.wait();
}

std::chrono::duration<double> cpu_time(int pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    // The second field, a name in parentheses, may contain spaces; utime and stime are the 14th and the 15th.
    std::istringstream fields{stat.substr(stat.rfind(')') + 1)};
    std::vector<std::string> values{std::istream_iterator<std::string>{fields}, {}};
    const double ticks = std::stod(values.at(11)) + std::stod(values.at(12));
    return std::chrono::duration<double>{ticks / static_cast<double>(sysconf(_SC_CLK_TCK))};
}

std::string read_file(const std::filesystem::path& file) {
    std::ifstream in{file, std::ios::binary};
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

void write_file(const std::filesystem::path& file, const std::string& text) {
    std::ofstream{file, std::ios::binary} << text;
}

TemporaryDirectory::TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "fwd-e2e-XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::filesystem::permissions(path_, std::filesystem::perms{0755});
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace fwd::test
