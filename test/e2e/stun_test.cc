// SPDX-License-Identifier: BSD-3-Clause
// What a STUN client finds out about masquerade: a server with two addresses asks it to come by another
// address or port, and answers from another address or port (RFC 5780, section 4; RFC 3489, section 10.1).
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

struct Masqueraded {
    const char* name;
    const char* filtering;
    const char* found;  ///< in the client's words
};

class StunTest : public LabTest, public ::testing::WithParamInterface<Masqueraded> {};

/// U1, U8: by its own words, "server" being the host inside.
TEST_P(StunTest, FindsMappingAndFilteringAsConfigured) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    fwdctl(fmt::format("add-masquerade lan --filtering {}", GetParam().filtering));
    exec("client", "ip address add 192.0.2.11/24 dev eth0");
    Process server = start("client", "stund -v -h 192.0.2.10 -a 192.0.2.11");
    ASSERT_TRUE(eventually([&] {
        return exec("client", "ss -Hlun").output.find("192.0.2.11:3479") != std::string::npos;
    })) << server.output();
    const std::string found = exec("server", "stun 192.0.2.10 -i 10.0.0.4 -p 5000").output;
    EXPECT_NE(found.find(GetParam().found), std::string::npos) << found;
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(, StunTest,
                         ::testing::Values(Masqueraded{"AddressDependentFiltering", "address-dependent",
                                                       "Independent Mapping, Address Dependent Filter"},
                                           Masqueraded{"EndpointIndependentFiltering", "endpoint-independent",
                                                       "Independent Mapping, Independent Filter"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace fwd::test
