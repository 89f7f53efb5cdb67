// SPDX-License-Identifier: BSD-3-Clause
#include "control/capabilities.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <set>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "control/files.h"

namespace fwd::control {
namespace {

using namespace std::chrono_literals;

constexpr int kSignal = SIGUSR2;

constexpr Capabilities bit(unsigned capability) {
    return Capabilities{1} << capability;
}

/// The kernel has them in two halves.
using Halves = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

// For a signal handler: no locks, no memory. glibc has no functions for these.
bool get_own(Halves& halves) noexcept {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    return ::syscall(SYS_capget, &header, halves.data()) == 0;
}

/// @return 0 or errno
int keep_own(Capabilities kept) noexcept {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    Halves halves{};
    if (!get_own(halves)) return errno;
    for (std::size_t i = 0; i < halves.size(); ++i) {
        const auto half = static_cast<std::uint32_t>(kept >> (32 * i));
        halves[i].effective &= half;
        halves[i].permitted &= half;
        halves[i].inheritable &= half;
    }
    // Otherwise root would have them all again in what it executes.
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
    return ::syscall(SYS_capset, &header, halves.data()) == 0 ? 0 : errno;
}

// A signal handler has no parameters.
std::atomic<Capabilities> wanted{0};
std::atomic<unsigned> answers{0};
std::atomic<int> failure{0};
static_assert(std::atomic<Capabilities>::is_always_lock_free);

void keep_in_this_thread(int /*signal*/) {
    const int before = errno;
    if (const int code = keep_own(wanted.load()); code != 0) failure.store(code);
    answers.fetch_add(1);
    errno = before;
}

std::vector<pid_t> threads() {
    std::vector<pid_t> found;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task", code}) {
        const std::string name = entry.path().filename();
        pid_t thread = 0;
        std::from_chars(name.data(), name.data() + name.size(), thread);
        found.push_back(thread);
    }
    return found;
}

/// Lets a thread do it. One that has ended meanwhile needs nothing.
Result<void> keep_in(pid_t thread, std::chrono::milliseconds patience) {
    const unsigned before = answers.load();
    const auto end = std::chrono::steady_clock::now() + patience;
    if (::syscall(SYS_tgkill, ::getpid(), thread, kSignal) != 0) {
        if (errno == ESRCH) return {};
        return system_error(fmt::format("cannot signal thread {}", thread));
    }
    while (answers.load() == before) {
        if (std::chrono::steady_clock::now() > end)
            return unavailable(fmt::format("thread {} takes no signal", thread));
        std::this_thread::sleep_for(50us);
    }
    return {};
}

}  // namespace

Capabilities needed_capabilities(std::span<const std::string> drivers, bool physical_addresses,
                                 bool kernel_interfaces) {
    // Files and VFIO's devices of user fwd, where root runs fwdd, and memory for devices beyond
    // RLIMIT_MEMLOCK: rules and routes of a reload may lie in new hugepages. The unit gives neither.
    Capabilities needed = bit(CAP_DAC_OVERRIDE) | bit(CAP_IPC_LOCK);
    // The kernel tells them of such memory to nobody else.
    if (physical_addresses) needed |= bit(CAP_SYS_ADMIN);
    if (kernel_interfaces) needed |= bit(CAP_NET_ADMIN);
    for (const std::string& driver : drivers) {
        // Otherwise its program stays on the interface when it is closed.
        if (driver == "net_af_xdp") needed |= bit(CAP_NET_ADMIN) | bit(CAP_SYS_ADMIN);
        // Beside the kernel's driver it has flows and addresses of its own there.
        if (driver.starts_with("mlx") || driver.starts_with("net_mlx"))
            needed |= bit(CAP_NET_ADMIN) | bit(CAP_NET_RAW);
    }
    return needed;
}

Result<void> keep_only(Capabilities kept, std::chrono::milliseconds patience) {
    wanted.store(kept);
    failure.store(0);
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = keep_in_this_thread;
    action.sa_flags = SA_RESTART;
    if (::sigaction(kSignal, &action, &before) != 0) return system_error("cannot take a signal");
    Result<void> done;
    if (const int code = keep_own(kept); code != 0) failure.store(code);
    // Until none is new: one that has not been asked yet may begin others.
    std::set<pid_t> asked{::gettid()};
    const auto note = [&](Result<void> one) {
        if (done) done = std::move(one);
    };
    for (bool any = true; any && failure.load() == 0;) {
        any = false;
        const std::vector<pid_t> all = threads();
        if (all.empty()) note(unavailable("/proc/self/task does not tell of threads"));
        for (const pid_t thread : all) {
            if (!asked.insert(thread).second) continue;
            any = true;
            note(keep_in(thread, patience));
        }
    }
    if (!done) return done;  // whose signal may still come
    ::sigaction(kSignal, &before, nullptr);
    if (failure.load() != 0) return system_error("the kernel refuses", failure.load());
    return {};
}

std::string own_capabilities_text() {
    // Those that needed_capabilities() knows.
    constexpr std::pair<unsigned, std::string_view> kNames[] = {{CAP_DAC_OVERRIDE, "cap_dac_override"},
                                                                {CAP_NET_ADMIN, "cap_net_admin"},
                                                                {CAP_NET_RAW, "cap_net_raw"},
                                                                {CAP_IPC_LOCK, "cap_ipc_lock"},
                                                                {CAP_SYS_ADMIN, "cap_sys_admin"}};
    Halves halves{};
    get_own(halves);
    const Capabilities own = halves[0].permitted | Capabilities{halves[1].permitted} << 32U;
    std::vector<std::string> names;
    for (unsigned capability = 0; capability < 64; ++capability) {
        if ((own & bit(capability)) == 0) continue;
        const auto* known =
            std::ranges::find(kNames, capability, &std::pair<unsigned, std::string_view>::first);
        names.push_back(known == std::end(kNames) ? fmt::format("capability {}", capability)
                                                  : std::string{known->second});
    }
    return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace fwd::control
