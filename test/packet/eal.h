// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace fwd::test {

/// Starts EAL without hugepages, NICs and files, so without root. Lcore 0 is the caller; lcores 1 and 2 float
/// over the same cores, so that one core is enough.
bool start_eal(const char* program);

}  // namespace fwd::test
