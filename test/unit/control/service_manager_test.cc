// SPDX-License-Identifier: BSD-3-Clause
#include "control/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "control/files.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using namespace std::chrono_literals;

/// systemd's end: a datagram socket that the environment names.
class ServiceManagerTest : public ::testing::Test {
 protected:
    void SetUp() override {
        const std::string path = directory_.path() / "notify";
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
        ::setenv("WATCHDOG_USEC", "20000000", 1);
    }
    void TearDown() override {
        ::unsetenv("NOTIFY_SOCKET");
        ::unsetenv("WATCHDOG_USEC");
    }
    /// What systemd has been told; empty for nothing.
    std::string told() const {
        std::array<char, 512> text{};
        const ssize_t bytes = ::recv(socket_.get(), text.data(), text.size(), MSG_DONTWAIT);
        return bytes > 0 ? std::string{text.data(), static_cast<std::size_t>(bytes)} : std::string{};
    }
    const ServiceManager::Clock::time_point start_ = ServiceManager::Clock::time_point{} + 1h;

 private:
    test::TemporaryDirectory directory_;
    FileDescriptor socket_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

TEST_F(ServiceManagerTest, HearsOfReadinessAndTheEnd) {
    const ServiceManager manager;
    manager.tell_ready("3 rule(s)");
    EXPECT_EQ(told(), "READY=1\nSTATUS=3 rule(s)");
    manager.tell_stopping();
    EXPECT_EQ(told(), "STOPPING=1\nSTATUS=");
}

TEST_F(ServiceManagerTest, HearsASignOfLifeFourTimesInTheTimeThatItWaits) {
    ServiceManager manager;
    EXPECT_TRUE(manager.is_sign_of_life_due(start_));
    manager.tell_alive(start_, {1}, "");
    EXPECT_FALSE(manager.is_sign_of_life_due(start_ + 4999ms));
    EXPECT_TRUE(manager.is_sign_of_life_due(start_ + 5s));
}

TEST_F(ServiceManagerTest, HearsNothingWhileAWorkerStandsStill) {
    ServiceManager manager;
    manager.tell_alive(start_, {1, 1}, "a");
    EXPECT_EQ(told(), "WATCHDOG=1\nSTATUS=a");
    manager.tell_alive(start_ + 5s, {2, 1}, "b");
    EXPECT_EQ(told(), "");
    // It is looked at again soon, not when it would be too late.
    EXPECT_TRUE(manager.is_sign_of_life_due(start_ + 5500ms));
    manager.tell_alive(start_ + 5500ms, {2, 1}, "b");
    EXPECT_EQ(told(), "");
    manager.tell_alive(start_ + 6s, {2, 2}, "c");
    EXPECT_EQ(told(), "WATCHDOG=1\nSTATUS=c");
}

TEST_F(ServiceManagerTest, WantsNoSignsOfLifeUnlessItSaysSo) {
    ::unsetenv("WATCHDOG_USEC");
    EXPECT_FALSE(ServiceManager{}.is_sign_of_life_due(start_));
}

}  // namespace
}  // namespace fwd::control
