// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/counter_watch.h"
#include "control/device_watch.h"
#include "control/eal.h"
#include "control/kernel_follower.h"
#include "control/live_sessions.h"
#include "control/methods.h"
#include "control/neighbours.h"
#include "control/policies.h"
#include "control/punts.h"
#include "control/reports.h"
#include "control/rpc_server.h"
#include "control/rule_book.h"
#include "control/rule_totals.h"
#include "control/service_manager.h"
#include "control/settings.h"
#include "control/translation_log.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

/// fwdd: the data plane, the rules, the socket, and the thread that looks after all of them.
class Daemon : public Operations {
 public:
    /// Sets everything up: EAL has been started with these settings.
    static Result<std::unique_ptr<Daemon>> create(const std::filesystem::path& config_file, Settings settings,
                                                  Eal eal, std::unique_ptr<RuleStore> store);
    ~Daemon() override;

    /// Works until told to stop; reloads when `reload_wanted` is set, and clears it. False when it can't go
    /// on.
    bool run(const std::atomic<bool>& stop, std::atomic<bool>& reload_wanted);

    Result<Json> add_rule(const Json& params) override;
    Result<Json> add_rules(const Json& params) override;
    Result<Json> change_rule(const Json& params) override;
    Result<Json> delete_rule(const Json& params) override;
    Result<Json> enable_rule(const Json& params) override;
    Result<Json> disable_rule(const Json& params) override;
    Result<Json> add_masquerade(const Json& params) override;
    Result<Json> delete_masquerade(const Json& params) override;
    Result<Json> list_masquerades(const Json& params) override;
    Result<Json> export_rules(const Json& params) override;
    Result<Json> list_rules(const Json& params) override;
    Result<Json> list_sessions(const Json& params) override;
    Result<Json> list_links(const Json& params) override;
    Result<Json> list_neighbours(const Json& params) override;
    Result<Json> clear_sessions(const Json& params) override;
    Result<Json> stats(const Json& params) override;
    Result<Json> reload(const Json& params) override;
    Result<Json> status(const Json& params) override;
    Result<Json> version(const Json& params) override;
    Result<void> commit() override;
    void between_requests() override { serve_network(); }

 private:
    /// A rule that has been deleted or disabled, and whose sessions are not forgotten.
    struct Ended {
        Rule rule;  ///< of a masquerade: nothing, it is not listed
        dataplane::RuleId id;
        Existing existing;
    };

    /// What a reload changes beside rules.
    struct NewSettings {
        TimeoutSettings timeouts;
        bool tcp_window_check = false;
        TranslationLogSettings translation_log;
        std::unique_ptr<LogSink> log_sink;  ///< when it is another than before
    };

    Daemon(std::filesystem::path config_file, Settings settings, Eal eal, RuleBook book);
    Result<void> commit_rules();
    void apply(NewSettings settings);
    /// Once no new session can come by them.
    void end_sessions_of(std::vector<Ended> ended);
    void forget_drained();
    std::uint32_t session_count(dataplane::RuleId id) const;
    /// Notes what is to become of a rule's sessions at the next commit(), and says it.
    Json end_at_commit(const Rule& rule, std::optional<dataplane::RuleId> id, Existing existing);
    Result<void> create_dataplane();
    void add_static_neighbours();
    void log_links() const;
    /// All is set up.
    void drop_capabilities() const;
    void log_ready() const;
    std::string status_line() const;
    void tell_alive(Neighbours::Clock::time_point now);
    /// ARP and the like, which must not wait: packets for control, and what is due.
    void serve_network();
    /// Goes on without devices that have gone.
    /// @return false when it can't
    bool let_go_of_removed_devices();
    std::size_t removed_links() const;
    /// Takes over what the kernel has on its interfaces.
    void follow_kernel();
    Pause network_turns() {
        return Pause{[this] { serve_network(); }};
    }
    RuleTotals totals_of(RuleId id) const;
    /// @param mappings how many it has
    Json masquerade_row(const Masquerade& masquerade, const RuleTotals& totals, std::uint64_t mappings) const;
    /// Mappings by masquerade, those held back included.
    std::map<dataplane::RuleId, std::uint64_t> count_mappings();
    Json rule_row(const Rule& rule, const RuleTotals& totals) const;
    /// The data plane's id for the rule that a request names; nullopt when it names none.
    Result<std::optional<dataplane::RuleId>> rule_parameter(const Json& params) const;

    std::filesystem::path config_file_;
    Settings settings_;
    Topology topology_;
    Eal eal_;
    RuleBook book_;
    Policies policies_;
    std::unique_ptr<dataplane::Dataplane> dataplane_;
    std::unique_ptr<HostLinks> host_;  ///< nullptr: no link has any
    std::unique_ptr<Neighbours> neighbours_;
    std::unique_ptr<KernelFollower> follower_;  ///< nullptr as host_
    std::unique_ptr<Punts> punts_;
    std::unique_ptr<LiveSessions> live_sessions_;
    std::unique_ptr<RuleTotaller> rule_totals_;
    std::unique_ptr<Reports> reports_;
    std::unique_ptr<RpcServer> server_;
    Neighbours::Clock::time_point next_tick_{};
    Neighbours::Clock::time_point next_follow_{};  ///< the kernel, and devices
    std::unique_ptr<CounterWatch> watch_;
    std::unique_ptr<DeviceWatch> device_watch_;
    std::unique_ptr<TranslationLog> translation_log_;
    ServiceManager service_manager_;
    std::optional<NewSettings> new_settings_;   ///< of a reload that has not been committed
    std::vector<std::string> uncommitted_log_;  ///< what requests have changed

    std::vector<Ended> uncommitted_ended_;
    std::vector<Ended> draining_;  ///< also disabled ones, which are in the book as well
    std::uint64_t published_revision_ = 0;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace fwd::control
