// SPDX-License-Identifier: BSD-3-Clause
// The one table of what fwdd can be asked. The server checks requests against it, fwdctl makes its commands
// and its help from it, so a method exists in full once its row stands here.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "control/error.h"

namespace fwd::control {

using Json = nlohmann::json;

/// What the daemon does for its methods. The parameters have been checked against the table: no unknown ones,
/// the required ones there, each of the right type. A handler parses, checks everything, acts, answers.
class Operations {
 public:
    virtual ~Operations() = default;

    virtual Result<Json> add_rule(const Json& params) = 0;
    virtual Result<Json> add_rules(const Json& params) = 0;
    virtual Result<Json> change_rule(const Json& params) = 0;
    virtual Result<Json> delete_rule(const Json& params) = 0;
    virtual Result<Json> enable_rule(const Json& params) = 0;
    virtual Result<Json> disable_rule(const Json& params) = 0;
    virtual Result<Json> add_masquerade(const Json& params) = 0;
    virtual Result<Json> delete_masquerade(const Json& params) = 0;
    virtual Result<Json> list_masquerades(const Json& params) = 0;
    virtual Result<Json> export_rules(const Json& params) = 0;
    virtual Result<Json> list_rules(const Json& params) = 0;
    virtual Result<Json> list_sessions(const Json& params) = 0;
    virtual Result<Json> list_links(const Json& params) = 0;
    virtual Result<Json> list_neighbours(const Json& params) = 0;
    virtual Result<Json> clear_sessions(const Json& params) = 0;
    virtual Result<Json> stats(const Json& params) = 0;
    virtual Result<Json> reload(const Json& params) = 0;
    virtual Result<Json> status(const Json& params) = 0;
    virtual Result<Json> version(const Json& params) = 0;

    /// Makes every change since the last call durable and active: one transaction for requests that waited
    /// together. When it fails, all of those changes are undone. The server answers write methods only after
    /// it.
    virtual Result<void> commit() = 0;

    /// What can't wait until all clients have been served. The server calls it after each request; changes
    /// may be waiting for commit() then.
    virtual void between_requests() {}
};

enum class Access {
    read,   ///< changes no rule
    write,  ///< is answered once commit() has succeeded
};

enum class ParamType {
    string,
    integer,      ///< 0 to 2^53, within [minimum, maximum] of the parameter
    boolean,      ///< a flag on the command line
    string_list,  ///< an option that may be repeated
    rules,  ///< an array of objects, each with the parameters of add-rule; fwdctl reads them from a file
    masquerades,  ///< the same of add-masquerade; fwdctl has them from that file, not from an option
};

struct Param {
    std::string_view name{};
    ParamType type = ParamType::string;
    bool required = false;  ///< positional on the command line, in this order; the others are --options
    std::string_view help{};
    long minimum = 0;
    long maximum = 0;
};

struct Method {
    std::string_view name{};     ///< in JSON-RPC: "rule.add"
    std::string_view command{};  ///< of fwdctl: "add-rule"
    Access access = Access::read;
    std::span<const Param> params{};
    Result<Json> (Operations::*handler)(const Json& params) = nullptr;
    std::string_view help{};     ///< one sentence
    std::string_view example{};  ///< a command line that works with the README's example; may be empty
};

/// Sorted by name.
std::span<const Method> methods();
/// nullptr when there is none.
const Method* find_method(std::string_view name);

/// Checks a request's parameters against the method's row: type, range, required, unknown names (with the
/// nearest known name as a suggestion).
Result<void> check_params(const Method& method, const Json& params);

}  // namespace fwd::control
