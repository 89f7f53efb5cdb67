// SPDX-License-Identifier: BSD-3-Clause
#include "test/packet/eal.h"

#include <rte_eal.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace fwd::test {
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

bool start_eal(const char* program) {
    spdlog::set_level(spdlog::level::off);
    const std::string prefix = "fwd-test-" + std::to_string(getpid());
    const std::string lcores = "(0-2)@(" + allowed_cores() + ")";
    const std::vector<std::string> arguments{
        program,       "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m",  "1024",
        "--log-level", "error",     "--lcores", lcores,        "--file-prefix",  prefix};
    std::vector<char*> raw;
    raw.reserve(arguments.size());
    for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    return rte_eal_init(static_cast<int>(raw.size()), raw.data()) >= 0;
}

}  // namespace fwd::test
