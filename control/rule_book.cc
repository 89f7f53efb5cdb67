// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <unordered_map>
#include <utility>

#include "control/text.h"

namespace fwd::control {
namespace {

/// Whether packets would be treated the same if both rules were enabled.
bool is_same(const Rule& a, const Rule& b) {
    const auto members = [](const Rule& rule) {
        return std::tie(rule.name, rule.tcp, rule.udp, rule.all, rule.link, rule.external, rule.external_link,
                        rule.targets, rule.outbound, rule.balance, rule.source, rule.from, rule.not_from,
                        rule.max_sessions, rule.max_sessions_per_source, rule.rate, rule.origin);
    };
    return members(a) == members(b);
}

/// Whether the rest is the same too.
bool is_identical(const Rule& a, const Rule& b) {
    return a.disabled == b.disabled && a.comment == b.comment && a.origin_text == b.origin_text;
}

/// "fwd.conf:12: external".
std::string place_of(const Rule& rule, const std::string& field) {
    return rule.origin_text.empty() ? field : rule.origin_text + ": " + field;
}

/// A rule of the database that the configuration no longer allows has to be mended while fwdd is not running.
Error stored_error(const RuleStore& store, const char* what, const std::string& name, const Error& error) {
    return {error.kind, store.file().string(),
            fmt::format("{0} {1}: {2}; change the configuration, or delete the {0}: "
                        "sqlite3 {3} \"DELETE FROM {0} WHERE name = '{4}'\"",
                        what, in_quotes(name), error.text(), store.file().string(), name)};
}

}  // namespace

Result<RuleBook> RuleBook::open(Topology topology, std::unique_ptr<RuleStore> store,
                                std::vector<Rule> config_rules, std::vector<Masquerade> config_masquerades) {
    RuleBook book{std::move(topology), std::move(store)};
    if (auto ok = book.reload(std::move(config_rules), std::move(config_masquerades)); !ok)
        return tl::unexpected(std::move(ok.error()));

    auto stored = book.store_->load();
    if (!stored) return tl::unexpected(std::move(stored.error()));
    for (Rule& rule : *stored) {
        const std::string name = rule.name;
        if (auto ok = book.put_new(std::move(rule)); !ok) {
            return tl::unexpected(stored_error(*book.store_, "rule", name, ok.error()));
        }
    }
    auto masquerades = book.store_->load_masquerades();
    if (!masquerades) return tl::unexpected(std::move(masquerades.error()));
    for (Masquerade& masquerade : *masquerades) {
        const std::string name = masquerade.name;
        if (auto ok = book.put_new(std::move(masquerade)); !ok)
            return tl::unexpected(stored_error(*book.store_, "masquerade", name, ok.error()));
    }
    book.changes_.clear();  // all of it is where it belongs
    book.committed_masquerades_ = book.masquerades_;
    return book;
}

Result<RuleId> RuleBook::add(Rule rule) {
    if (auto ok = put_new(std::move(rule)); !ok) return tl::unexpected(std::move(ok.error()));
    return last_id_;
}

Result<std::vector<RuleId>> RuleBook::add(std::vector<Rule> rules, std::vector<Masquerade> masquerades,
                                          Pause pause) {
    const std::size_t before = changes_.size();
    const Masquerades masquerades_before = masquerades_;
    std::vector<RuleId> ids;
    const auto take_all = [&](auto& list, const char* name) -> Result<void> {
        for (std::size_t i = 0; i < list.size(); ++i) {
            if (auto ok = put_new(std::move(list[i])); !ok) {
                undo_to(before);
                restore_masquerades(masquerades_before);
                ok.error().field = fmt::format("{}[{}].{}", name, i, ok.error().field);
                return ok;
            }
            ids.push_back(last_id_);
            pause.step();
        }
        return {};
    };
    if (auto ok = take_all(rules, "rules"); !ok) return tl::unexpected(std::move(ok.error()));
    if (auto ok = take_all(masquerades, "masquerades"); !ok) return tl::unexpected(std::move(ok.error()));
    return ids;
}

Result<RuleId> RuleBook::find_own(std::string_view name, std::string_view how) const {
    const auto id = find(name);
    if (!id) {
        return not_found(
            "name", fmt::format("got {}, want the name of a rule: list-rules shows them", in_quotes(name)));
    }
    const Rule& rule = rules_.at(*id);
    if (rule.origin == RuleOrigin::config_file) {
        return refused("name", fmt::format("got {}, a rule of the configuration file: {} there ({}), then "
                                           "reload",
                                           in_quotes(name), how, rule.origin_text));
    }
    return *id;
}

Result<Rule> RuleBook::remove(std::string_view name) {
    return find_own(name, "delete it").map([this](RuleId id) {
        changes_.push_back({id, take(id)});
        return *changes_.back().before;
    });
}

Result<Rule> RuleBook::change(Rule rule) {
    return find_own(rule.name, "change it").and_then([&](RuleId id) -> Result<Rule> {
        const std::size_t before = changes_.size();
        Rule old = take(id);
        changes_.push_back({id, old});
        if (auto ok = put_new(std::move(rule)); !ok) {
            undo_to(before);
            return tl::unexpected(std::move(ok.error()));
        }
        return old;
    });
}

Result<RuleId> RuleBook::set_disabled(std::string_view name, bool disabled) {
    const auto id = find_own(name, fmt::format("write `disabled = {};`", disabled));
    if (!id || rules_.at(*id).disabled == disabled) return id;
    Rule rule = rules_.at(*id);
    rule.disabled = disabled;
    const std::size_t before = changes_.size();
    if (auto ok = replace(*id, std::move(rule)); !ok) {
        undo_to(before);
        return tl::unexpected(std::move(ok.error()));
    }
    return id;
}

Result<RuleBook::Reloaded> RuleBook::reload(std::vector<Rule> config_rules,
                                            std::vector<Masquerade> config_masquerades, Pause pause) {
    const std::size_t before = changes_.size();
    const Masquerades masquerades_before = masquerades_;

    std::unordered_map<std::string_view, const Rule*> wanted;
    for (const Rule& rule : config_rules) {
        if (!wanted.emplace(rule.name, &rule).second) {
            return refused(place_of(rule, "name"), fmt::format("got {} twice", in_quotes(rule.name)));
        }
    }
    // First out with the old ones: a new rule may have the address of one that goes, or its name.
    Reloaded result;
    std::vector<RuleId> gone;
    for (const auto& [id, rule] : rules_) {
        if (rule.origin != RuleOrigin::config_file) continue;
        const auto found = wanted.find(rule.name);
        if (found == wanted.end() || !is_same(*found->second, rule)) gone.push_back(id);
    }
    for (const RuleId id : gone) {
        changes_.push_back({id, take(id)});
        result.ended.emplace_back(id, *changes_.back().before);
        pause.step();
    }
    std::erase_if(masquerades_, [&](const auto& row) {
        const auto same = [&](const Masquerade& other) { return is_same(row.second, other); };
        const bool goes =
            row.second.origin == RuleOrigin::config_file && std::ranges::none_of(config_masquerades, same);
        if (goes) result.ended_masquerades.push_back(row.first);
        return goes;
    });
    result.removed = gone.size() + result.ended_masquerades.size();

    const auto refuse = [&](const Rule& rule, Error error) {
        undo_to(before);
        restore_masquerades(masquerades_before);
        error.field = place_of(rule, error.field);
        return tl::unexpected(std::move(error));
    };
    std::vector<std::pair<RuleId, const Rule*>> enabled;
    for (const Rule& rule : config_rules) {
        pause.step();
        const auto id = find(rule.name);
        if (!id || !is_same(rules_.at(*id), rule)) continue;
        const Rule& old = rules_.at(*id);
        const bool switched = old.disabled != rule.disabled;
        ++(switched ? result.switched : result.unchanged);
        if (switched && old.disabled) {
            enabled.emplace_back(*id, &rule);
        } else if (!is_identical(old, rule)) {
            if (switched) result.ended.emplace_back(*id, old);
            // It claims nothing that it has not claimed before.
            [[maybe_unused]] const auto fits = replace(*id, rule);
            assert(fits);
        }
    }
    for (const auto& [id, rule] : enabled) {
        if (auto ok = replace(id, *rule); !ok) return refuse(*rule, std::move(ok.error()));
    }
    for (const Rule& rule : config_rules) {
        pause.step();
        if (const auto id = find(rule.name); id && is_same(rules_.at(*id), rule)) continue;
        if (auto ok = put_new(rule); !ok) return refuse(rule, std::move(ok.error()));
        ++result.added;
    }
    if (auto ok = reload_masquerades(std::move(config_masquerades), result); !ok) {
        undo_to(before);
        restore_masquerades(masquerades_before);
        return tl::unexpected(std::move(ok.error()));
    }
    return result;
}

Result<void> RuleBook::commit() {
    // A rule may have come and gone in between: only what it was at first and what it is now count.
    std::map<RuleId, const std::optional<Rule>*> before;
    for (const Change& change : changes_) before.try_emplace(change.id, &change.before);
    std::vector<std::string> deleted;
    std::vector<const Rule*> added;
    std::vector<const Rule*> switched;
    for (const auto& [id, rule] : before) {
        const auto now = rules_.find(id);
        const bool was_there = rule->has_value();
        const bool is_there = now != rules_.end();
        if (was_there && !is_there && (*rule)->origin == RuleOrigin::database)
            deleted.push_back((*rule)->name);
        if (!was_there && is_there && now->second.origin == RuleOrigin::database)
            added.push_back(&now->second);
        if (was_there && is_there && now->second.origin == RuleOrigin::database &&
            (*rule)->disabled != now->second.disabled) {
            switched.push_back(&now->second);
        }
    }
    std::vector<const Masquerade*> masquerades;
    for (const auto& [id, masquerade] : masquerades_) {
        if (masquerade.origin == RuleOrigin::database) masquerades.push_back(&masquerade);
    }
    const bool masquerades_changed =
        !std::ranges::equal(masquerades_, committed_masquerades_, {}, &Masquerades::value_type::first,
                            &Masquerades::value_type::first);
    if (masquerades_changed) store_->stage_masquerades(masquerades);
    if (!deleted.empty() || !added.empty() || !switched.empty() || masquerades_changed) {
        if (auto ok = store_->change(deleted, added, switched); !ok) {
            roll_back();
            return ok;
        }
    }
    changes_.clear();
    committed_masquerades_ = masquerades_;
    return {};
}

void RuleBook::roll_back() {
    undo_to(0);
    restore_masquerades(committed_masquerades_);
}

std::optional<RuleId> RuleBook::find(std::string_view name) const {
    const auto found = names_.find(name);
    if (found == names_.end()) return {};
    return found->second;
}

/// Checks the rule and adds it under the next id. On failure nothing has changed.
Result<void> RuleBook::put_new(Rule rule) {
    if (rule.name.empty()) rule.name = free_name(rule);
    if (auto ok = check_rule(rule, topology_).and_then([&] { return check_beside_pools(rule); }); !ok)
        return ok;
    if (const auto id = find_masquerade(rule.name)) {
        return refused("name", fmt::format("got {}, the name of a masquerade; want a name of its own",
                                           in_quotes(rule.name)));
    }
    if (auto ok = put(last_id_ + 1, std::move(rule)); !ok) return ok;
    changes_.push_back({++last_id_, {}});
    return {};
}

Result<void> RuleBook::put(RuleId id, Rule rule) {
    if (auto ok = claims_.add(rule, topology_); !ok) return ok;
    names_.emplace(rule.name, id);
    rules_.emplace(id, std::move(rule));
    ++revision_;
    return {};
}

Result<void> RuleBook::replace(RuleId id, Rule rule) {
    changes_.push_back({id, take(id)});
    return put(id, std::move(rule));
}

Rule RuleBook::take(RuleId id) {
    Rule rule = std::move(rules_.extract(id).mapped());
    names_.erase(rule.name);
    claims_.remove(rule, topology_);
    ++revision_;
    return rule;
}

void RuleBook::undo_to(std::size_t count) {
    while (changes_.size() > count) {
        Change change = std::move(changes_.back());
        changes_.pop_back();
        if (rules_.contains(change.id)) take(change.id);
        if (!change.before) continue;
        [[maybe_unused]] const auto fits = put(change.id, std::move(*change.before));
        assert(fits);
    }
}

/// A name for a rule, or a masquerade, that was given none.
template <typename T>
std::string RuleBook::free_name(const T& named) const {
    constexpr std::size_t kRoomForNumber = 55;  // of 63 bytes
    std::string name = default_name(named);
    const auto is_free = [this](const std::string& n) { return !find(n) && !find_masquerade(n); };
    if (is_free(name)) return name;
    for (unsigned number = 2;; ++number) {
        std::string numbered = fmt::format("{}-{}", name.substr(0, kRoomForNumber), number);
        if (is_free(numbered)) return numbered;
    }
}

std::optional<RuleId> RuleBook::find_masquerade(std::string_view name) const {
    const auto found =
        std::ranges::find_if(masquerades_, [&](const auto& m) { return m.second.name == name; });
    if (found == masquerades_.end()) return {};
    return found->first;
}

std::string RuleBook::name_of(RuleId id) const {
    if (const auto rule = rules_.find(id); rule != rules_.end()) return rule->second.name;
    const auto masquerade = masquerades_.find(id);
    return masquerade != masquerades_.end() ? masquerade->second.name : std::string{};
}

Result<void> RuleBook::check_beside_pools(const Rule& rule) const {
    for (const auto& [id, masquerade] : masquerades_) {
        for (const Target& target : rule.targets) {
            if (std::ranges::find(masquerade.pool, target.endpoint.address) == masquerade.pool.end())
                continue;
            return refused("target",
                           fmt::format("got {}, in the pool of masquerade {}, for which fwd answers "
                                       "ARP itself; want another host's address",
                                       to_text(target.endpoint), in_quotes(masquerade.name)));
        }
        if (rule.all && std::ranges::find(masquerade.pool, rule.external.address) != masquerade.pool.end()) {
            return refused(
                "external",
                fmt::format("got {}, in the pool of masquerade {}; want another address for a rule "
                            "that forwards all of it",
                            to_text(rule.external.address), in_quotes(masquerade.name)));
        }
    }
    return {};
}

Result<void> RuleBook::check_beside_targets(const Masquerade& masquerade) const {
    if (masquerade.pool.empty()) return {};
    const PoolCheck pool{masquerade};
    for (const auto& [id, rule] : rules_) {
        if (auto ok = pool.beside(rule); !ok) return ok;
    }
    return {};
}

Result<void> RuleBook::put_new(Masquerade masquerade) {
    if (masquerade.name.empty()) masquerade.name = free_name(masquerade);
    if (masquerades_.size() >= Masquerade::kMost) {
        return refused("inside", fmt::format("got one more masquerade, want at most {}", Masquerade::kMost));
    }
    if (auto ok = check_masquerade(masquerade, topology_); !ok) return ok;
    for (const auto& [id, other] : masquerades_) {
        if (auto ok = check_pair(masquerade, other); !ok) return ok;
    }
    if (find(masquerade.name)) {
        return refused("name", fmt::format("got {}, the name of a rule; want a name of its own",
                                           in_quotes(masquerade.name)));
    }
    if (auto ok = check_beside_targets(masquerade); !ok) return ok;
    masquerades_.emplace(++last_id_, std::move(masquerade));
    ++revision_;
    return {};
}

Result<RuleId> RuleBook::add(Masquerade masquerade) {
    if (auto ok = put_new(std::move(masquerade)); !ok) return tl::unexpected(std::move(ok.error()));
    return last_id_;
}

Result<Masquerade> RuleBook::remove_masquerade(std::string_view name) {
    const auto id = find_masquerade(name);
    if (!id) {
        return not_found("name",
                         fmt::format("got {}, want the name of a masquerade: list-masquerades shows them",
                                     in_quotes(name)));
    }
    Masquerade masquerade = masquerades_.at(*id);
    if (masquerade.origin == RuleOrigin::config_file) {
        return refused("name",
                       fmt::format("got {}, a masquerade of the configuration file: delete it there ({}), "
                                   "then reload",
                                   in_quotes(name), masquerade.origin_text));
    }
    masquerades_.erase(*id);
    ++revision_;
    return masquerade;
}

Result<void> RuleBook::reload_masquerades(std::vector<Masquerade> wanted, Reloaded& result) {
    for (auto it = wanted.begin(); it != wanted.end(); ++it) {
        if (std::find_if(wanted.begin(), it, [&](const auto& m) { return m.name == it->name; }) == it)
            continue;
        const std::string place = it->origin_text.empty() ? "name" : it->origin_text + ": name";
        return refused(place, fmt::format("got {} twice", in_quotes(it->name)));
    }
    for (Masquerade& masquerade : wanted) {
        const auto known = find_masquerade(masquerade.name);
        if (known && is_same(masquerades_.at(*known), masquerade)) {
            masquerades_.at(*known).origin_text = masquerade.origin_text;
            ++result.unchanged;
            continue;
        }
        const std::string place = masquerade.origin_text;
        if (auto ok = put_new(std::move(masquerade)); !ok) {
            if (!place.empty()) ok.error().field = place + ": " + ok.error().field;
            return ok;
        }
        ++result.added;
    }
    ++revision_;
    return {};
}

void RuleBook::restore_masquerades(Masquerades before) {
    masquerades_ = std::move(before);
    ++revision_;
}

}  // namespace fwd::control
