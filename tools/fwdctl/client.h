// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "control/files.h"
#include "control/methods.h"

namespace fwd::fwdctl {

using control::Json;

/// Why a call has no result.
struct CallError {
    bool answered = false;  ///< fwdd refused; otherwise it could not be reached
    control::Error error;
};

template <typename T>
using CallResult = tl::expected<T, CallError>;

/// What happens while fwdd has not answered.
struct Waiting {
    std::chrono::seconds patience{60};
    std::function<void(std::chrono::seconds)> each_second;  ///< may be empty; 0 s: it is over
};

/// A connection to fwdd; every call waits for its answer.
class Client {
 public:
    static CallResult<Client> connect(const std::string& path, Waiting waiting = {});

    CallResult<Json> call(std::string_view method, const Json& params);

 private:
    Client(std::string path, control::FileDescriptor socket, Waiting waiting)
        : path_{std::move(path)}, socket_{std::move(socket)}, waiting_{std::move(waiting)} {}

    bool send_line(std::string_view line);
    CallResult<std::string> receive_line();
    bool wait_for_input();

    std::string path_;
    control::FileDescriptor socket_;
    Waiting waiting_;
    std::string input_;
    std::uint64_t last_id_ = 0;
};

}  // namespace fwd::fwdctl
