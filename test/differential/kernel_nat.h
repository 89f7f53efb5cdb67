// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <map>
#include <string>
#include <vector>

#include "test/support/packet_builder.h"

namespace fwd::test {

/// Linux's own NAT between two taps, "wan" and "lan", in a network namespace that goes with the process. The
/// kernel handles a frame while it is written to a tap: what comes of it can be read at once.
class KernelNat {
 public:
    /// Takes the process into a new network namespace.
    /// @param ruleset for nft
    explicit KernelNat(const std::string& ruleset);
    ~KernelNat();
    KernelNat(const KernelNat&) = delete;
    KernelNat& operator=(const KernelNat&) = delete;

    net::MacAddress mac_of(const std::string& link) const;
    void put(const std::string& link, const Bytes& frame);
    std::vector<Frame> take(const std::string& link);

 private:
    std::map<std::string, int> taps_;
};

}  // namespace fwd::test
