// SPDX-License-Identifier: BSD-3-Clause
// A system to install into: the machine's own files under an overlay that is gone with the test, in
// namespaces of its own for mounts, processes and the network. Nothing of the machine is changed.
#pragma once

#include <memory>
#include <string>

#include "test/e2e/process.h"

namespace fwd::test {

class Root {
 public:
    /// `base`: what lies below the overlay. `shared` is seen as /mnt.
    Root(const std::filesystem::path& base, const std::filesystem::path& shared);

    /// Runs a shell command in there, as root.
    Finished in(const std::string& command) const;
    /// The same for what goes on beside the test.
    Process start(const std::string& command) const;
    /// The command's output, without the newline at its end. What fails fails the test.
    std::string output_of(const std::string& command) const;

    void write(const std::string& file, const std::string& text) const;
    bool exists(const std::string& file) const { return in("test -e " + file).status == 0; }

 private:
    Command command(const std::string& text) const;

    TemporaryDirectory directory_;  ///< the mounts are seen in the namespace alone
    std::unique_ptr<Process> holder_;
    std::string pid_;  ///< of what keeps the namespaces
};

}  // namespace fwd::test
