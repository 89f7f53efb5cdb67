// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace fwd::test {

using Command = std::vector<std::string>;

/// How a program ended, and all it said.
struct Finished {
    int status = 0;  ///< its exit status; 128 and the signal if one ended it
    std::string output;
};

/// A program that runs beside the test, and no longer than this object or the test lives.
class Process {
 public:
    explicit Process(const Command& command);
    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) = delete;
    ~Process();

    /// What it has said so far.
    std::string output() const;
    /// Waits for this text in what it says; false without it within the time.
    bool says(const std::string& text, std::chrono::milliseconds time = std::chrono::seconds{60}) const;
    bool is_running();
    pid_t pid() const { return pid_; }

    Finished wait();
    Finished stop(int signal = SIGTERM);
    /// To it and its children, as Ctrl-C does: for a program that leads a process group.
    void signal_group(int signal);

 private:
    pid_t pid_ = -1;
    int output_ = -1;  ///< an unnamed file
    int status_ = 0;
};

Finished run(const Command& command);

/// CPU time of all threads of a process, in user and in kernel mode.
std::chrono::duration<double> cpu_time(int pid);

std::string read_file(const std::filesystem::path& file);
void write_file(const std::filesystem::path& file, const std::string& text);

/// A directory that goes with the object. Everybody may read it.
class TemporaryDirectory {
 public:
    TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory();

    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
    const std::filesystem::path& path() const { return path_; }

 private:
    std::filesystem::path path_;
};

}  // namespace fwd::test
