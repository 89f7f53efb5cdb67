// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "test/e2e/socket.h"

namespace fwd::test {

/// Asks and gets answers, one after the other, until it is told to stop; then every one was right.
class Conversation {
 public:
    /// @param pause after each answer, for those who need the cores for something else
    explicit Conversation(Socket socket, std::chrono::microseconds pause = {})
        : socket_{std::move(socket)}, pause_{pause}, thread_{[this] { run(); }} {}
    Conversation(const Conversation&) = delete;
    Conversation& operator=(const Conversation&) = delete;
    ~Conversation() { finish(); }

    unsigned answers() const { return answers_; }
    bool was_right() {
        finish();
        return is_right_ && answers_ > 0;
    }

 private:
    void run() {
        while (!stop_ && is_right_) {
            is_right_ = socket_.echoes(fmt::format("question {}", answers_.load()));
            ++answers_;
            if (pause_.count() != 0) std::this_thread::sleep_for(pause_);
        }
    }
    void finish() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }

    Socket socket_;
    const std::chrono::microseconds pause_;
    std::atomic<bool> stop_ = false, is_right_ = true;
    std::atomic<unsigned> answers_ = 0;
    std::thread thread_;
};

}  // namespace fwd::test
