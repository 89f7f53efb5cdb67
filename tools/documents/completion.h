// SPDX-License-Identifier: BSD-3-Clause
// Completion of a program's words in shells: commands, options, names of files.
#pragma once

#include <string>

#include "tools/documents/description.h"

namespace fwd::documents {

std::string bash_completion(const Description& program);
std::string zsh_completion(const Description& program);
std::string fish_completion(const Description& program);

}  // namespace fwd::documents
