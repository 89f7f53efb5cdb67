// SPDX-License-Identifier: BSD-3-Clause
// What happens to a packet that no flow explains: a rule matches and a session is opened, or it is dropped
// under a name. Each worker has its own opener.
//
// In two steps, for the memory's sake: plan() says what a session would be and writes nothing, so that the
// places of all its keys can be fetched for a whole burst before open() claims them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/counter.h"
#include "dataplane/eviction_queue.h"
#include "dataplane/masquerade.h"
#include "dataplane/shared_tables.h"

namespace fwd::dataplane {

class SessionOpener {
 public:
    SessionOpener(const SharedTables& shared, Reclaimer& reclaimer, MappingReclaimer& mapping_reclaimer,
                  ThreadCounters& counters, unsigned worker);

    /// A session that is not there yet.
    struct Plan {
        Verdict verdict = Verdict::forward;  ///< anything else: there will be no session
        bool full_nat = false;
        bool counted_alone = false;  ///< as SessionTraits says it
        bool crosses = false;        ///< it leaves as IPv6: planned as a whole by open()
        std::uint8_t ttl = 0;        ///< of the packet, if it crosses
        NextHop next_hop{};
        RuleId rule{};
        const ForwardingRule::Limits* limits = nullptr;
        Mapped mapped{};
        std::optional<Directions> hidden{};  ///< as SessionTraits says it, where `mapped` does not
        net::Endpoint target{};
        Translation forward{};
        FlowKey reverse{};  ///< of the answers; where fwd's own port is taken open() tries others
        std::uint32_t reverse_hash = 0;
    };
    /// @param ip a packet that has passed parse(), with this key; of ICMP only an echo request
    Plan plan(const Policy& policy, const FlowKey& key, const std::uint8_t* ip) noexcept;

    /// The same of IPv6.
    struct WidePlan {
        Verdict verdict = Verdict::forward;
        bool full_nat = false;
        bool counted_alone = false;  ///< as SessionTraits says it
        NextHop next_hop{};
        RuleId rule{};
        const ForwardingRule::Limits* limits = nullptr;
        Mapped mapped{};
        std::optional<Directions> hidden{};  ///< as SessionTraits says it, where `mapped` does not
        net::IpEndpoint target{};
        WideTranslation forward{};
        WideKey reverse{};
        std::uint32_t reverse_hash = 0;
    };
    WidePlan plan(const Policy& policy, const WideKey& key, TcpFlags flags, std::uint8_t hop_limit) noexcept;

    struct Result {
        Verdict verdict = Verdict::forward;
        Flow* flow = nullptr;  ///< when the verdict is forward
    };
    /// Opens the planned session of a key, or finds that another worker has. The policy is the plan's.
    Result open(const Policy& policy, const FlowKey& key, std::uint32_t hash, Plan& plan, Tick now) noexcept;

    Result open(const Policy& policy, const WideKey& key, std::uint32_t hash, WidePlan& plan,
                Tick now) noexcept;

    /// A session has come to a state in which it may be evicted, or to one in which it may not.
    void note_moved(FlowPosition id, StateWord word, SessionState state) noexcept {
        if (const auto kind = evictable_as(state)) queue(*kind).push({id, word});
    }

    /// A round's share of housekeeping: forgets a few sessions at the heads of the queues that have moved on,
    /// so that whoever needs room does not have to wade through them, and makes room for other workers.
    void tidy() noexcept;

 private:
    static constexpr int kPortProbes = 64;
    /// Or, with ICMP echo, an identifier in their place.
    static constexpr bool has_ports(net::Protocol protocol) noexcept {
        return protocol == net::Protocol::tcp || protocol == net::Protocol::udp ||
               protocol == net::Protocol::icmp || protocol == net::Protocol::icmpv6;
    }
    /// How many endpoints are tried for a new session: without ports only fwd's own address can differ.
    static constexpr int probes_of(net::Protocol protocol) noexcept {
        return has_ports(protocol) ? kPortProbes : 8;
    }
    EvictionQueue& queue(Evictable kind) noexcept { return queues_[static_cast<std::size_t>(kind)]; }
    bool is_still(Evictable kind, const EvictionQueue::Entry& entry) const noexcept;
    /// Which kind of sessions there are more of than clients in the middle of their handshake need;
    /// Evictable::closing when there is none.
    Evictable too_many() const noexcept;
    /// Ends the oldest session of a kind.
    bool evict_one(Evictable kind) noexcept;
    /// Ends one session, of the first kind if there is one, otherwise of another.
    bool evict(Evictable first) noexcept;
    /// When the oldest session of a kind was opened.
    std::optional<Tick> oldest(Evictable kind) noexcept;
    /// Under pressure unanswered and closing sessions make room (requirement R18).
    bool make_room() noexcept;
    /// Draws fwd's own address and a random port (RFC 6056) for a plan; false if that port is another's.
    bool draw_source(const Policy& policy, const FlowKey& key, Plan& plan) noexcept;
    bool draw_source(const Policy& policy, const WideKey& key, WidePlan& plan) noexcept;
    /// Whether answers to what has been drawn come to the plan alone.
    template <typename Endpoint, typename PlanOf>
    bool is_nobody_elses(const Policy& policy, net::Protocol protocol, const Endpoint& source,
                         const PlanOf& plan) const noexcept;
    void set_translation(const FlowKey& key, net::Endpoint source, Plan& plan) noexcept;
    void set_translation(const WideKey& key, const net::IpEndpoint& source, WidePlan& plan) noexcept;
    /// The host inside that a packet comes from, if it is one.
    struct Client {
        Verdict verdict = Verdict::forward;  ///< anything else: why it can't come from there
        MasqueradeSet::Host host{};
    };
    static Client find_client(const Policy& policy, LinkId ingress, const net::IpAddress& source) noexcept;
    /// What is neither inside nor an external address there, by a prefix or a masquerade, nor fwd's own.
    bool is_world(const Policy& policy, const net::IpAddress& destination) const noexcept;
    /// A client that is routed to where the target is, but comes by another link: whoever sends this hopes to
    /// be taken for a host inside (requirement P5). Between two ways into the world, either may be used.
    static bool is_from_elsewhere(const Policy& policy, LinkId ingress, const net::IpAddress& source,
                                  const NextHop& target) noexcept;
    Plan plan_by_rule(const Policy& policy, const FlowKey& key, const std::uint8_t* ip,
                      const ForwardingRule& rule, const MasqueradeSet::Host& client) noexcept;
    WidePlan plan_by_rule(const Policy& policy, const WideKey& key, TcpFlags flags, std::uint8_t hop_limit,
                          const ForwardingRule& rule, const MasqueradeSet::Host& client) noexcept;
    // In session_opening.h, for both families.
    /// The rule under whose whole address a client is seen behind a link: the one that the rule names, or by
    /// which its address is reached. nullptr when there is none.
    template <typename Key>
    static const ForwardingRule* find_outbound(const Policy& policy, const Key& key, LinkId egress) noexcept;
    /// Whether whoever answers to that address, or speaks to it, reaches this client.
    template <typename Key>
    static bool is_its_own(const Policy& policy, const Key& key, LinkId egress,
                           const ForwardingRule& rule) noexcept;
    /// Of such a client's session with the world. nullopt: it is none, or this does not go there.
    template <typename PlanOf, typename Key>
    std::optional<PlanOf> plan_outbound(const Policy& policy, const Key& key, TcpFlags flags,
                                        std::uint8_t hops) noexcept;
    /// Shows such a client under that address to a target inside. False: it is none.
    template <typename PlanOf, typename Key>
    bool plan_outbound_hairpin(const Policy& policy, const Key& key, PlanOf& plan) noexcept;
    template <typename PlanOf, typename Key>
    PlanOf plan_masquerade(const Policy& policy, const Key& key, TcpFlags flags, std::uint8_t hops,
                           const MasqueradeSet::Host& client) noexcept;
    static net::Ipv4Address client_of(const FlowKey& key, const Plan&) noexcept { return key.source; }
    net::Ipv4Address client_of(const WideKey& key, const WidePlan& plan) const noexcept {
        const FlowHash& hash = shared_.flows.hash();
        return plan.counted_alone ? hash.counted_alone(key.source) : hash.counted_as(key.source);
    }
    /// Counts a session against its rule's limits; Verdict::forward, or which one is reached.
    /// @param client what it is counted as
    template <typename PlanOf>
    Verdict take_limits(const PlanOf& plan, net::Ipv4Address client, Tick now, bool& counted) noexcept;
    template <typename PlanOf>
    void give_limits_back(const PlanOf& plan, net::Ipv4Address client, bool counted) noexcept;
    template <typename PlanOf, typename Key>
    Result open_planned(const Policy& policy, const Key& key, std::uint32_t hash, PlanOf& plan,
                        Tick now) noexcept;
    /// Of a session that no rule explains: see PrefixTranslation.
    WidePlan plan_by_prefix(const Policy& policy, const WideKey& key, TcpFlags flags,
                            std::uint8_t hop_limit) noexcept;
    /// Of a key of IPv4 whose rule leads to IPv6.
    Result open_crossing(const Policy& policy, const FlowKey& key, std::uint32_t hash, std::uint8_t ttl,
                         Tick now) noexcept;
    /// Claims the key of the answers.
    template <typename PlanOf, typename Key>
    FlowTable::Claim claim_reverse(const Policy& policy, const Key& key, PlanOf& plan) noexcept;

    const SharedTables& shared_;
    Reclaimer& reclaimer_;
    ThreadCounters& counters_;
    Masquerader masquerader_;
    std::array<EvictionQueue, kEvictableCount> queues_;
    unsigned worker_;
    struct Elsewhere {
        Evictable kind;
        std::optional<unsigned> worker;  ///< that has an older session of that kind
    };
    std::optional<Elsewhere> elsewhere_;  ///< looked up once a round
    std::uint64_t random_counter_;
};

}  // namespace fwd::dataplane
