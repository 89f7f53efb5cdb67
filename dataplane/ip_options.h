// SPDX-License-Identifier: BSD-3-Clause
// IPv4 options (requirement P3; RFC 791, section 3.1): they pass as they are, but for source routes, which
// would lead around whatever the network's rules are (RFC 7126, section 4.3).
#pragma once

#include <cstdint>

#include "dataplane/verdict.h"

namespace fwd::dataplane {

/// Checks the options of a header that is there as a whole: Verdict::forward, or why the packet is dropped.
Verdict check_ip_options(const std::uint8_t* ip) noexcept;

/// Takes the options away; where the header begins now.
std::uint8_t* remove_ip_options(std::uint8_t* ip) noexcept;

}  // namespace fwd::dataplane
