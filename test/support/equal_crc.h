// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <vector>

#include "dataplane/flow_key.h"

namespace fwd::test {

/// UDP keys of one link, from different clients to 10.0.0.3:80 and 10.0.0.3:81, all with the same CRC32: what
/// a stranger can send to fill one bucket of a table that trusts a CRC. About 110 000 at most.
std::vector<dataplane::FlowKey> keys_of_equal_crc(std::size_t count);

/// CRC32C of a key's bytes.
std::uint32_t crc(const dataplane::FlowKey& key);

}  // namespace fwd::test
