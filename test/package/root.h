// SPDX-License-Identifier: BSD-3-Clause
// A system to install into: the machine's own files under an overlay that is gone with the test, in
// namespaces of its own for mounts, processes and the network. Nothing of the machine is changed.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "test/e2e/process.h"

namespace fwd::test {

class Root {
 public:
    /// `base`: what lies below the overlay. `shared` is seen as /mnt.
    Root(const std::filesystem::path& base, const std::filesystem::path& shared);
    ~Root();
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;

    /// Not where the machine's root is of a kind that can't lie below an overlay.
    bool is_there() const { return !pid_.empty(); }
    /// Runs a shell command in there, as root.
    Finished in(const std::string& command) const;
    /// The same for what goes on beside the test.
    Process start(const std::string& command) const;
    /// systemd as the first process of a namespace, which starts this unit and what that needs. No value
    /// where there are no cgroups of version 2 for it.
    std::optional<Process> boot(const std::string& unit);
    /// The command's output, without the newline at its end. What fails fails the test.
    std::string output_of(const std::string& command) const;

    void write(const std::string& file, const std::string& text) const;
    bool exists(const std::string& file) const { return in("test -e " + file).status == 0; }

 private:
    Command command(const std::string& text) const;
    std::filesystem::path path() const { return directory_ / "root"; }

    TemporaryDirectory directory_;  ///< the mounts are seen in the namespace alone
    std::unique_ptr<Process> holder_;
    std::string pid_;  ///< of what keeps the namespaces
    bool is_booted_ = false;
    std::filesystem::path cgroup_;  ///< of what boot() has started
};

}  // namespace fwd::test
