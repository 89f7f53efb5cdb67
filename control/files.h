// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <utility>

#include "control/error.h"

namespace fwd::control {

/// A file descriptor that is closed with its owner.
class FileDescriptor {
 public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_{fd} {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~FileDescriptor();

    int get() const { return fd_; }
    bool valid() const { return fd_ >= 0; }

 private:
    int fd_ = -1;
};

/// "cannot do this: No such file or directory", from an error number.
tl::unexpected<Error> system_error(const std::string& what, int code = errno);

/// Makes the directory with this mode, whatever the umask is, and the missing ones above it with 0755. One
/// that is there stays as it is.
Result<void> make_directory(const std::filesystem::path& directory, mode_t mode);

}  // namespace fwd::control
