// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel_follower.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "control/text.h"

namespace fwd::control {

bool KernelFollower::is_taken(dataplane::LinkId link, const net::IpInterfaceAddress& learnt,
                              const std::vector<std::vector<net::IpInterfaceAddress>>& before) {
    const auto overlaps = [&](const net::IpInterfaceAddress& other) {
        return other.prefix().contains(learnt.address) || learnt.prefix().contains(other.address);
    };
    for (std::size_t i = 0; i < settings_.links.size(); ++i) {
        if (i == link.value) continue;
        const auto& others = i < before.size() ? before[i] : settings_.links[i].addresses;
        if (std::ranges::none_of(others, overlaps)) continue;
        const std::string warning =
            fmt::format("the kernel has {} on link {}, in the network of link {}: fwd does not follow it",
                        to_text(learnt), settings_.links[link.value].name, settings_.links[i].name);
        if (warned_.insert(warning).second) spdlog::warn(warning);
        return true;
    }
    return false;
}

KernelFollower::Addresses KernelFollower::follow() {
    Addresses all;
    for (std::size_t i = 0; i < settings_.links.size(); ++i) {
        const dataplane::LinkId link{static_cast<std::uint8_t>(i)};
        const dataplane::Link& before = dataplane_.links()[i];
        std::vector<net::IpInterfaceAddress> now = host_.addresses(link);
        std::erase_if(now, [&](const auto& own) {
            return std::ranges::find(settings_.links[i].addresses, own) ==
                       settings_.links[i].addresses.end() &&
                   is_taken(link, own, all.by_link);
        });
        std::vector<net::IpInterfaceAddress> had = before.ipv6_addresses;
        had.insert(had.end(), before.addresses.begin(), before.addresses.end());
        bool changed = false;
        for (const net::IpInterfaceAddress& own : now) {
            if (std::ranges::find(had, own) != had.end()) continue;
            spdlog::info("link {} has the address {} by the kernel", settings_.links[i].name, to_text(own));
            changed = true;
        }
        for (const net::IpInterfaceAddress& own : had) {
            if (std::ranges::find(now, own) != now.end()) continue;
            spdlog::info("link {} no longer has the address {}", settings_.links[i].name, to_text(own));
            changed = true;
            // It may have another network now.
            if (std::ranges::find(now, own.address, &net::IpInterfaceAddress::address) == now.end())
                all.lost.push_back(own.address);
        }
        if (changed) dataplane_.set_addresses(link, now);
        all.by_link.push_back(std::move(now));
        all.have_changed = all.have_changed || changed;
    }
    follow_neighbours();
    return all;
}

void KernelFollower::follow_neighbours() {
    const std::vector<HostLinks::Neighbour> before = std::exchange(known_neighbours_, host_.neighbours());
    const auto is_configured = [this](const HostLinks::Neighbour& neighbour) {
        return std::ranges::any_of(settings_.neighbours, [&](const NeighbourSettings& one) {
            return one.address == neighbour.address && one.link == settings_.links[neighbour.link.value].name;
        });
    };
    std::erase_if(known_neighbours_, is_configured);
    for (const HostLinks::Neighbour& gone : before) {
        if (std::ranges::find(known_neighbours_, gone) == known_neighbours_.end())
            neighbours_.remove_static(gone.link, gone.address);
    }
    for (const HostLinks::Neighbour& added : known_neighbours_) {
        if (std::ranges::find(before, added) == before.end() &&
            !neighbours_.add_static(added.link, added.address, added.mac))
            spdlog::error("neighbours: no room for {}", to_text(added.address));
    }
}

}  // namespace fwd::control
