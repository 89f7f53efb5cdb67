// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
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

/// A connection to fwdd; every call waits for its answer.
class Client {
 public:
    static CallResult<Client> connect(const std::string& path,
                                      std::chrono::seconds patience = std::chrono::seconds{60});

    CallResult<Json> call(std::string_view method, const Json& params);

 private:
    Client(std::string path, control::FileDescriptor socket)
        : path_{std::move(path)}, socket_{std::move(socket)} {}

    bool send_line(std::string_view line);
    CallResult<std::string> receive_line();

    std::string path_;
    control::FileDescriptor socket_;
    std::string input_;
    std::uint64_t last_id_ = 0;
};

}  // namespace fwd::fwdctl
