// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <rte_eal.h>

#include <cstdlib>

#include "test/packet/eal.h"

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (!fwd::test::start_eal(argv[0])) return EXIT_FAILURE;
    const int result = RUN_ALL_TESTS();
    rte_eal_cleanup();
    return result;
}
