// SPDX-License-Identifier: BSD-3-Clause
// fwd_bench: how many TSC cycles each stage of a packet's way takes, and the whole way. Google Benchmark's
// options, and --no-huge to leave hugepages alone.
#include <benchmark/benchmark.h>
#include <rte_eal.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "bench/network.h"

namespace {

constexpr const char* kHugepages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

long read_hugepages() {
    long pages = 0;
    std::ifstream{kHugepages} >> pages;
    return pages;
}

/// Reserves pages on top of those that are there, returns how many it got.
long add_hugepages(long pages) {
    const long before = read_hugepages();
    std::ofstream{kHugepages} << before + pages;
    return read_hugepages() - before;
}

std::string lcores(unsigned wanted) {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    std::vector<int> cores;
    // From the last core down: the first ones tend to serve interrupts.
    for (int core = CPU_SETSIZE - 1; core >= 0; --core) {
        if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
    std::string list;
    for (unsigned lcore = 0; lcore < wanted; ++lcore) {
        if (lcore != 0) list += ',';
        list.append(std::to_string(lcore)).append("@").append(std::to_string(cores[lcore % cores.size()]));
    }
    return list;
}

int run(int argc, char** argv, bool hugepages) {
    std::vector<std::string> arguments{argv[0],
                                       "--no-pci",
                                       "--no-telemetry",
                                       "--log-level",
                                       "error",
                                       "--lcores",
                                       lcores(2),
                                       "--main-lcore",
                                       "0",
                                       "--file-prefix",
                                       "fwd-bench-" + std::to_string(getpid())};
    if (hugepages) {
        arguments.emplace_back("--in-memory");
    } else {
        arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "-m", "1024"});
    }
    std::vector<char*> raw;
    raw.reserve(arguments.size());
    for (std::string& argument : arguments) raw.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(raw.size()), raw.data()) < 0) return EXIT_FAILURE;
    fwd::bench::register_stages();
    fwd::bench::register_pipeline();
    fwd::bench::register_sessions();
    benchmark::AddCustomContext("packet memory", hugepages
                                                     ? "hugepages of 2 MB"
                                                     : "ordinary pages: SLOWER THAN IN USE, not comparable");
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
    benchmark::RunSpecifiedBenchmarks();
    fwd::bench::forget_network();
    rte_eal_cleanup();
    return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
    const auto end =
        std::remove_if(argv + 1, argv + argc, [](const char* a) { return std::strcmp(a, "--no-huge") == 0; });
    const bool wanted = end == argv + argc;
    argc = static_cast<int>(end - argv);
    const long pages = static_cast<long>(fwd::bench::kMemoryBytes >> 21U);
    const long added = wanted ? add_hugepages(pages) : 0;
    // A child does the work, so that the pages go back however it ends.
    const pid_t child = fork();
    if (child == 0) std::_Exit(run(argc, argv, added == pages));
    if (wanted && added != pages)
        std::fprintf(
            stderr,
            "fwd_bench: no %ld hugepages to be had (not root?): without, figures are not comparable\n",
            pages);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    int status = EXIT_FAILURE;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (added > 0) add_hugepages(-added);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}
