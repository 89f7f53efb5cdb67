// SPDX-License-Identifier: BSD-3-Clause
// Network cards of this machine, and which driver has them: what fwdctl does without fwdd, before there is
// one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "control/error.h"
#include "control/machine.h"
#include "control/methods.h"

namespace fwd::fwdctl {

struct Card {
    std::string address{};                  ///< "0000:01:00.0"
    std::string id{};                       ///< vendor and device: "8086:1572"
    std::string driver{};                   ///< empty: none
    std::vector<std::string> interfaces{};  ///< the kernel's names of it
    std::string link{};                     ///< up or down; empty when no interface tells
    std::optional<int> node{};              ///< of NUMA
    std::string used_by{};                  ///< "default route, addresses", "fwdd"; empty: nothing
    std::string ends{};  ///< of that, what the machine can't be reached without; empty: nothing
};

/// Who has a card by VFIO, and which sessions are those of sshd, root learns alone.
std::vector<Card> cards(const control::Machine& machine);

std::string cards_text(const std::vector<Card>& cards);
control::Json cards_json(const std::vector<Card>& cards);

/// Writes to a file of the kernel's. Tests have a kernel of their own.
using WriteFile =
    std::function<control::Result<void>(const std::filesystem::path& file, const std::string& text)>;
control::Result<void> write_to_kernel(const std::filesystem::path& file, const std::string& text);

enum class InUse { refuse, take };

/// Gives a card to a driver. Nothing is changed unless all that is needed is there; the error says what is
/// not.
control::Result<void> bind_card(const control::Machine& machine, const std::string& address,
                                const std::string& driver, InUse in_use,
                                const WriteFile& write = write_to_kernel);
/// What fwdd still lacks for a card that vfio-pci has, and the remedy, a line each.
std::vector<std::string> lacking(const control::Machine& machine, const std::string& address);
/// Gives it back to the kernel's own driver.
control::Result<void> unbind_card(const control::Machine& machine, const std::string& address,
                                  const WriteFile& write = write_to_kernel);

}  // namespace fwd::fwdctl
