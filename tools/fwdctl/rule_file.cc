// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/rule_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string_view>
#include <system_error>

#include "control/masquerade_json.h"
#include "control/rule_json.h"
#include "control/settings.h"
#include "tools/fwdctl/arguments.h"

namespace fwd::fwdctl {
namespace {

using control::Error;
using control::Json;
using control::Result;

/// libconfig begins with a setting ("rules ="), an @include or a comment of C; a line of rules with a
/// protocol.
bool is_libconfig(std::string_view text) {
    const auto skip = [&text](std::size_t bytes) { text.remove_prefix(std::min(bytes, text.size())); };
    const auto skip_space = [&] { skip(text.find_first_not_of(" \t\r\n")); };
    for (skip_space(); text.starts_with('#'); skip_space()) skip(text.find('\n'));
    if (text.starts_with('@') || text.starts_with('/')) return true;
    skip(text.find_first_of(" \t\r\n=:"));
    skip_space();
    return text.starts_with('=') || text.starts_with(':');
}

/// The rule as parameters of add-rule.
Json params_of(const control::Rule& rule) {
    Json params = rule_to_json(rule);
    params.erase("origin");
    if (!rule.link) params.erase("link");
    return params;
}

Result<RuleFile> parse_libconfig(const std::string& text, const std::string& name) {
    const auto both = control::parse_rules_and_masquerades(text, name);
    if (!both) return tl::unexpected(both.error());
    RuleFile file;
    for (const control::Rule& rule : both->rules) {
        file.rules.push_back(params_of(rule));
        file.places.push_back(fmt::format("{}: rules[{}]", name, file.places.size()));
    }
    for (const control::Masquerade& masquerade : both->masquerades) {
        file.masquerades.push_back(masquerade_params(masquerade));
        file.masquerade_places.push_back(
            fmt::format("{}: masquerades[{}]", name, file.masquerade_places.size()));
    }
    return file;
}

/// A line as a shell would split it, as far as quotes go; # begins a comment.
Result<std::vector<std::string>> words_of(std::string_view line) {
    std::vector<std::string> words;
    char quote = 0;
    bool in_word = false;
    for (const char c : line) {
        if (quote == 0 && c == '#') break;
        const bool is_space = c == ' ' || c == '\t' || c == '\r';
        if (quote == 0 && is_space) {
            in_word = false;
            continue;
        }
        if (!in_word) words.emplace_back();
        in_word = true;
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = 0;
        } else {
            words.back() += c;
        }
    }
    if (quote != 0) return control::invalid("", fmt::format("want another {} at the end of the text", quote));
    return words;
}

/// One line after the other, with the arguments of add-rule.
class LineParser {
 public:
    LineParser() : arguments_{app_, rule_params()} { app_.set_help_flag(); }

    Result<Json> parse(std::vector<std::string> words) {
        // CLI11 takes words from the end of the list.
        std::ranges::reverse(words);
        try {
            app_.parse(words);
        } catch (const CLI::ParseError& error) {
            return control::invalid("", error.what());
        }
        Json params = arguments_.params();
        auto checked = check_params(*control::find_method("rule.add"), params).and_then([&] {
            return control::rule_from_json(params);
        });
        if (!checked) return tl::unexpected(checked.error());
        return params;
    }

 private:
    /// Those of add-rule but --runtime, which add-rules has for all of them.
    static std::span<const control::Param> rule_params() {
        const auto params = control::find_method("rule.add")->params;
        return params.first(params.size() - 1);
    }

    CLI::App app_;
    Arguments arguments_;
};

Result<RuleFile> parse_lines(const std::string& text, const std::string& name) {
    LineParser parser;
    RuleFile file;
    std::istringstream input{text};
    std::string line;
    for (std::size_t number = 1; std::getline(input, line); ++number) {
        auto words = words_of(line);
        if (words && words->empty()) continue;
        const std::string place = fmt::format("{}:{}", name, number);
        auto rule = std::move(words).and_then(
            [&](std::vector<std::string>&& split) { return parser.parse(std::move(split)); });
        if (!rule) {
            Error error = std::move(rule.error());
            error.field = error.field.empty() ? place : place + ": " + error.field;
            return tl::unexpected(std::move(error));
        }
        file.rules.push_back(std::move(*rule));
        file.places.push_back(place);
    }
    return file;
}

}  // namespace

Result<RuleFile> parse_rule_file(const std::string& text, const std::string& name) {
    auto file = is_libconfig(text) ? parse_libconfig(text, name) : parse_lines(text, name);
    if (file && file->rules.empty() && file->masquerades.empty())
        return control::invalid(name, "no rules in it");
    return file;
}

Result<RuleFile> read_rule_file(const std::string& name) {
    const bool is_stdin = name == "-";
    const std::string shown = is_stdin ? "standard input" : name;
    const auto failed = [&] {
        return control::invalid(shown, "cannot be read: " + std::generic_category().message(errno));
    };
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{
        is_stdin ? stdin : std::fopen(name.c_str(), "re"),
        [](std::FILE* open) { return open == stdin ? 0 : std::fclose(open); }};
    if (file == nullptr) return failed();
    std::string text;
    std::array<char, 65536> buffer;
    while (const std::size_t bytes = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
        text.append(buffer.data(), bytes);
    }
    if (std::ferror(file.get()) != 0) return failed();
    return parse_rule_file(text, shown);
}

Error at_place(Error error, const RuleFile& file) {
    const bool of_masquerade = error.field.starts_with("masquerades[");
    if (!of_masquerade && !error.field.starts_with("rules[")) return error;
    const std::vector<std::string>& places = of_masquerade ? file.masquerade_places : file.places;
    std::size_t index = 0;
    const char* end = error.field.data() + error.field.size();
    const auto number = std::from_chars(error.field.data() + error.field.find('[') + 1, end, index);
    if (number.ec != std::errc{} || number.ptr == end || *number.ptr != ']' || index >= places.size()) {
        return error;
    }
    std::string key{number.ptr + 1, end};
    if (key.starts_with('.')) key.erase(0, 1);
    error.field = key.empty() ? places[index] : places[index] + ": " + key;
    return error;
}

}  // namespace fwd::fwdctl
