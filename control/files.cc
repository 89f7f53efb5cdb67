// SPDX-License-Identifier: BSD-3-Clause
#include "control/files.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <system_error>

namespace fwd::control {

FileDescriptor::~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
}

tl::unexpected<Error> system_error(const std::string& what, int code) {
    return unavailable(fmt::format("{}: {}", what, std::generic_category().message(code)));
}

Result<void> make_directory(const std::filesystem::path& directory, mode_t mode) {
    std::error_code code;
    if (directory.empty() || std::filesystem::is_directory(directory, code)) return {};
    if (auto ok = make_directory(directory.parent_path(), 0755); !ok) return ok;
    if (::mkdir(directory.c_str(), mode) != 0 || ::chmod(directory.c_str(), mode) != 0) {
        return system_error("cannot make the directory " + directory.string());
    }
    return {};
}

}  // namespace fwd::control
