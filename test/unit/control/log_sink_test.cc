// SPDX-License-Identifier: BSD-3-Clause
// R17: where the log of translations goes.
#include "control/log_sink.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

class LogFile : public ::testing::Test {
 protected:
    std::unique_ptr<LogSink> open(std::uint64_t rotate_bytes = 1'000'000, unsigned keep = 2) {
        auto sink = LogSink::open({.file = file(), .syslog = {}, .rotate_bytes = rotate_bytes, .keep = keep});
        if (!sink) throw std::runtime_error{sink.error().text()};
        return std::move(*sink);
    }
    std::filesystem::path file(const std::string& suffix = "") const {
        return directory_.path() / ("log/t.log" + suffix);
    }
    std::string text(const std::string& suffix = "") const {
        std::ostringstream text;
        text << std::ifstream{file(suffix)}.rdbuf();
        return text.str();
    }
    test::TemporaryDirectory directory_;
};

TEST_F(LogFile, IsForItsOwnerAndGroupOnlyAndAppendedTo) {
    const mode_t before = ::umask(0);
    EXPECT_EQ(open()->write("a\n"), 0U);
    ::umask(before);
    EXPECT_EQ(open()->write("b\nc\n"), 0U);
    EXPECT_EQ(text(), "a\nb\nc\n");
    struct stat status {};
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0640U);
    ASSERT_EQ(::stat(file().parent_path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0750U);
}

TEST_F(LogFile, IsRotatedBySizeAndSoManyAreKept) {
    const auto sink = open(10, 2);
    for (const char* line : {"11111\n", "2222\n", "33\n", "4444444444444\n", "5\n"})
        EXPECT_EQ(sink->write(line), 0U);
    EXPECT_EQ(text(".2"), "2222\n33\n") << "11111 is gone";
    EXPECT_EQ(text(".1"), "4444444444444\n");
    EXPECT_EQ(text(), "5\n");
    EXPECT_FALSE(std::filesystem::exists(file(".3")));
    // The size goes on where another fwdd has left it.
    EXPECT_EQ(open(10, 0)->write("66666666\n"), 0U);
    EXPECT_EQ(text(), "66666666\n");
    EXPECT_EQ(text(".1"), "4444444444444\n") << "with none to keep, no other file is touched";
}

TEST_F(LogFile, IsOpenedAnewWhenSomebodyElseHasMovedIt) {
    const auto sink = open();
    EXPECT_EQ(sink->write("a\n"), 0U);
    std::filesystem::rename(file(), file(".old"));
    EXPECT_EQ(sink->write("b\n"), 0U);
    ASSERT_TRUE(sink->reopen());
    EXPECT_EQ(sink->write("c\n"), 0U);
    EXPECT_EQ(text(".old"), "a\nb\n");
    EXPECT_EQ(text(), "c\n");
}

/// A full disk loses lines, whole ones, and nothing else.
TEST_F(LogFile, FullDiskLosesWholeLinesUntilThereIsRoomAgain) {
    const auto sink = open();
    EXPECT_EQ(sink->write("before\n"), 0U);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    rlimit little = before;
    little.rlim_cur = 17;  // within a line
    ::setrlimit(RLIMIT_FSIZE, &little);
    EXPECT_EQ(sink->write("one\ntwo\nthree\n"), 1U);
    EXPECT_EQ(sink->write("four\n"), 1U);
    EXPECT_NE(sink->problem(), "");
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, old_handler);
    EXPECT_EQ(sink->write("after\n"), 0U);
    EXPECT_EQ(text(), "before\none\ntwo\nafter\n");
}

TEST_F(LogFile, WhatIsNoFileIsRefused) {
    const auto refused = [this] {
        const auto sink = LogSink::open({.file = file(), .syslog = {}});
        return sink ? std::string{"opened"} : directory_.without_path(sink.error().text());
    };
    std::filesystem::create_directories(file());
    EXPECT_EQ(refused(), "cannot open log/t.log: Is a directory");
    std::filesystem::remove(file());
    ASSERT_EQ(::mkfifo(file().c_str(), 0600), 0);
    EXPECT_EQ(refused(), "cannot open log/t.log: No such device or address") << "nobody reads it";
    std::filesystem::remove(file());
    std::filesystem::create_symlink(directory_.path() / "elsewhere", file());
    EXPECT_EQ(refused(), "cannot open log/t.log: Too many levels of symbolic links");
    std::filesystem::remove(file());
    std::ofstream{directory_.path() / "plain"} << "x";
    const auto below = LogSink::open({.file = directory_.path() / "plain/t.log", .syslog = {}});
    ASSERT_FALSE(below);
    EXPECT_NE(below.error().text().find("plain"), std::string::npos) << below.error().text();
}

class Syslog : public ::testing::Test {
 protected:
    FileDescriptor listen() {
        ::unlink(path().c_str());
        FileDescriptor socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)};
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        path().string().copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        return socket;
    }
    static std::string next(const FileDescriptor& socket) {
        char buffer[4096];
        const ssize_t bytes = ::recv(socket.get(), buffer, sizeof buffer, 0);
        return bytes < 0 ? "" : std::string{buffer, static_cast<std::size_t>(bytes)};
    }
    std::filesystem::path path() const { return directory_.path() / "log"; }
    test::TemporaryDirectory directory_;
};

TEST_F(Syslog, GetsALineAMessageAndIsConnectedToAnew) {
    EXPECT_FALSE(LogSink::open({.file = {}, .syslog = path()})) << "nobody listens";
    FileDescriptor socket = listen();
    const auto sink = LogSink::open({.file = {}, .syslog = path()});
    ASSERT_TRUE(sink) << sink.error().text();
    const std::string prefix = "<30>fwdd[" + std::to_string(::getpid()) + "]: ";
    EXPECT_EQ((*sink)->write("one\ntwo\n"), 0U);
    EXPECT_EQ(next(socket), prefix + "one");
    EXPECT_EQ(next(socket), prefix + "two");

    socket = FileDescriptor{};
    EXPECT_EQ((*sink)->write("three\n"), 1U);
    EXPECT_NE((*sink)->problem(), "");
    socket = listen();
    EXPECT_EQ((*sink)->write("four\n"), 0U);
    EXPECT_EQ(next(socket), prefix + "four");
}

TEST_F(Syslog, ThatDoesNotReadHoldsNobodyUp) {
    const FileDescriptor socket = listen();
    const auto sink = LogSink::open({.file = {}, .syslog = path()});
    ASSERT_TRUE(sink);
    std::size_t lost = 0;
    for (int i = 0; i < 10'000; ++i) lost += (*sink)->write("line\n");
    EXPECT_GT(lost, 0U);
    EXPECT_LT(lost, 10'000U);
}

}  // namespace
}  // namespace fwd::control
