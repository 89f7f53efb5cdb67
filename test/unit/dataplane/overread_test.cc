// SPDX-License-Identifier: BSD-3-Clause
// The parser and pipeline tests put each frame against a page that can't be read. Here somebody reads on.
#include <gtest/gtest.h>

#include "dataplane/net/checksum.h"
#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::test {
namespace {

TEST(GuardedBytesDeathTest, OneByteReadBehindAFrameIsCaught) {
    const GuardedBytes frame{packet().ipv4("10.0.0.1"_ip, "10.0.0.3"_ip).udp(1, 53).bytes()};
    // Every byte of it can be read ...
    [[maybe_unused]] volatile std::uint16_t sum = net::checksum(frame.data(), frame.size());
    // ... and not one more.
    EXPECT_DEATH(sum = net::checksum(frame.data(), frame.size() + 1), "");
}

}  // namespace
}  // namespace fwd::test
