// SPDX-License-Identifier: BSD-3-Clause
// What a STUN client finds out about masquerade: a server with two addresses asks it to come by another
// address or port, and answers from another address or port (RFC 5780, section 4; RFC 3489, section 10.1).
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

struct Masqueraded {
    const char* name;
    const char* topology;
    const char* filtering;
    const char* found;  ///< in the client's words
};

class StunTest : public LabTest, public ::testing::WithParamInterface<Masqueraded> {};

/// U1, U8: by its own words, "server" being the host inside.
TEST_P(StunTest, FindsMappingAndFilteringAsConfigured) {
    const bool one_arm = GetParam().topology == std::string{"one-arm"};
    const std::string world = one_arm ? "10.0.0.1" : "192.0.2.10",
                      also = one_arm ? "10.0.0.11" : "192.0.2.11";
    ASSERT_NO_FATAL_FAILURE(up({.topology = GetParam().topology}));
    for (const std::string& address : {world, also}) {
        if (one_arm) exec("server", "ip route add " + address + " via 10.0.0.2");
    }
    fwdctl(fmt::format("add-masquerade {} --filtering {}", one_arm ? "10.0.0.4/32" : "lan",
                       GetParam().filtering));
    exec("client", "ip address add " + also + "/24 dev eth0");
    Process server = start("client", fmt::format("stund -v -h {} -a {}", world, also));
    ASSERT_TRUE(eventually([&] {
        return exec("client", "ss -Hlun").output.find(also + ":3479") != std::string::npos;
    })) << server.output();
    const std::string found = exec("server", "stun " + world + " -i 10.0.0.4 -p 5000").output;
    EXPECT_NE(found.find(GetParam().found), std::string::npos) << found;
    expect_every_packet_accounted_for();
}

constexpr const char* kByAddress = "Independent Mapping, Address Dependent Filter";
constexpr const char* kNone = "Independent Mapping, Independent Filter";
INSTANTIATE_TEST_SUITE_P(
    , StunTest,
    ::testing::Values(
        Masqueraded{"AddressDependentFiltering", "two-arm", "address-dependent", kByAddress},
        Masqueraded{"EndpointIndependentFiltering", "two-arm", "endpoint-independent", kNone},
        Masqueraded{"AddressDependentFilteringOnOneSegment", "one-arm", "address-dependent", kByAddress},
        Masqueraded{"EndpointIndependentFilteringOnOneSegment", "one-arm", "endpoint-independent", kNone}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace fwd::test
