// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace fwd::test {

/// A directory of the test's own, gone with this object.
class TemporaryDirectory {
 public:
    TemporaryDirectory() {
        std::string name = std::filesystem::temp_directory_path() / "fwd-test-XXXXXX";
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error{"mkdtemp failed"};
        path_ = name;
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::filesystem::path& path() const { return path_; }

    std::filesystem::path write(const std::filesystem::path& name, const std::string& text) const {
        std::filesystem::path file = path_ / name;
        std::filesystem::create_directories(file.parent_path());
        std::filesystem::remove(
            file);  // ext4 writes a file that is truncated and filled again to the disk at once
        std::ofstream{file, std::ios::binary} << text;
        return file;
    }

    /// A message about files in this directory, as it would be if they were in the current one.
    std::string without_path(std::string message) const {
        const std::string prefix = path_.string() + "/";
        for (std::size_t at = 0; (at = message.find(prefix, at)) != std::string::npos;) {
            message.erase(at, prefix.size());
        }
        return message;
    }

 private:
    std::filesystem::path path_;
};

}  // namespace fwd::test
