// SPDX-License-Identifier: BSD-3-Clause
// Starts EAL without hugepages, NICs and files for all tests of a program: no root needed.
#include <gtest/gtest.h>
#include <rte_eal.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace {

std::string allowed_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    std::string list;
    for (unsigned core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(core, &set)) list += (list.empty() ? "" : ",") + std::to_string(core);
    }
    return list;
}

}  // namespace

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    spdlog::set_level(spdlog::level::off);
    const std::string prefix = "fwd-test-" + std::to_string(getpid());
    // Lcore 0 is the test; the others float over the same cores, so that one core is enough.
    const std::string lcores = "(0-2)@(" + allowed_cores() + ")";
    const std::vector<std::string> arguments{
        argv[0],       "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m",  "1024",
        "--log-level", "error",     "--lcores", lcores,        "--file-prefix",  prefix};
    std::vector<char*> raw;
    raw.reserve(arguments.size());
    for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    if (rte_eal_init(static_cast<int>(raw.size()), raw.data()) < 0) return EXIT_FAILURE;
    const int result = RUN_ALL_TESTS();
    rte_eal_cleanup();
    return result;
}
