// SPDX-License-Identifier: BSD-3-Clause
// Turns what libconfig++ has parsed into structs, by tables of fields: a key, how to read it, an example for
// messages.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <libconfig.h++>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/config_source.h"
#include "control/error.h"
#include "control/text.h"

namespace fwd::control {

/// One value of a configuration, and where it stands. Never outlives the libconfig::Config and the source.
class Value {
 public:
    Value(const libconfig::Setting& setting, const ConfigSource& source, std::string key = {})
        : setting_{&setting}, source_{&source}, key_{std::move(key)} {}

    /// Of a member of a group.
    std::string_view name() const { return setting_->getName(); }
    std::size_t size() const { return static_cast<std::size_t>(setting_->getLength()); }
    Value element(std::size_t index) const;
    /// Of a group. An absent member stands for the group under the member's key, which is what a message
    /// needs.
    Value member(std::string_view key) const;
    bool has(std::string_view key) const;
    /// The same value with an example of a right one.
    Value with_example(std::string_view example) const;

    bool is_group() const { return setting_->isGroup(); }
    bool is_list() const { return setting_->isList() || setting_->isArray(); }
    bool is_integer() const;

    template <typename T>
    Result<T> integer(T minimum, T maximum) const {
        return integer_between(minimum, maximum).map([](std::int64_t number) {
            return static_cast<T>(number);
        });
    }
    Result<bool> boolean() const;
    Result<std::string> string() const;

    /// "links[0].mtu"
    const std::string& key() const { return key_; }
    /// "fwd.conf:12"
    std::string place() const { return source_->where(setting_->getSourceLine()); }
    /// An error about this value: "fwd.conf:12: links[0].mtu: ...".
    tl::unexpected<Error> error(ErrorKind kind, std::string message) const;
    tl::unexpected<Error> bad(std::string message) const {
        return error(ErrorKind::invalid, std::move(message));
    }
    tl::unexpected<Error> wrong_type(std::string_view wanted) const;
    tl::unexpected<Error> unknown_key(std::vector<std::string_view> known) const;
    tl::unexpected<Error> missing_key(std::string_view key, std::string_view example) const;

 private:
    Result<std::int64_t> integer_between(std::int64_t minimum, std::int64_t maximum) const;
    std::string describe() const;

    const libconfig::Setting* setting_;
    const ConfigSource* source_;
    std::string key_;
    std::string_view example_;
};

enum class Presence { optional, required };

template <typename T>
struct Field {
    std::string_view key;
    std::string_view example;  ///< a right value, as it would be written
    std::string_view help;     ///< what it means, for the manual page
    Result<void> (*read)(const Value& value, T& out) = nullptr;
    Presence presence = Presence::optional;
};

template <typename T, std::size_t kCount>
Result<void> read_group(const Value& group, const Field<T> (&fields)[kCount], T& out) {
    if (!group.is_group()) return group.wrong_type("a group { ... }");
    for (std::size_t i = 0; i < group.size(); ++i) {
        const Value member = group.element(i);
        const Field<T>* field = std::ranges::find(fields, member.name(), &Field<T>::key);
        if (field == std::end(fields)) {
            std::vector<std::string_view> known(kCount);
            std::ranges::transform(fields, known.begin(), &Field<T>::key);
            return member.unknown_key(std::move(known));
        }
        if (Result<void> read = field->read(member.with_example(field->example), out); !read) return read;
    }
    for (const Field<T>& field : fields) {
        if (field.presence == Presence::required && !group.has(field.key)) {
            return group.missing_key(field.key, field.example);
        }
    }
    return {};
}

/// How long a list may be, and what its elements are called.
struct Most {
    std::size_t count;
    std::string_view what;
};

/// Reads a list of at most `most`, each element by `read_element(value)`, which returns a Result<T>.
template <typename T, typename ReadElement>
Result<void> read_list(const Value& list, Most most, ReadElement read_element, std::vector<T>& out) {
    if (!list.is_list()) return list.wrong_type("a list");
    if (list.size() > most.count) {
        return list.bad("got " + std::to_string(list.size()) + ' ' + std::string{most.what} +
                        ", want at most " + std::to_string(most.count));
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
        Result<T> element = read_element(list.element(i));
        if (!element) return tl::unexpected(std::move(element.error()));
        out.push_back(std::move(*element));
    }
    return {};
}

/// Reads a string with one of text.h's parse functions, or one like them: a Result<T>.
template <typename Parse>
auto read_text(const Value& value, Parse parse) -> decltype(parse(std::string_view{})) {
    const Result<std::string> text = value.string();
    if (!text) return tl::unexpected(text.error());
    auto parsed = parse(*text);
    if (!parsed) return value.error(parsed.error().kind, parsed.error().message);
    return parsed;
}

/// Reads one of several words.
template <typename T, std::size_t kCount>
Result<T> read_choice(const Value& value, const std::pair<std::string_view, T> (&choices)[kCount]) {
    return read_text(value, [&](std::string_view text) -> Result<T> {
        std::string wanted;
        for (const auto& [word, meaning] : choices) {
            if (text == word) return meaning;
            wanted += (wanted.empty() ? "" : " or ") + in_quotes(word);
        }
        return invalid({}, "got " + in_quotes(text) + ", want " + wanted);
    });
}

/// Puts a value that was read where it belongs.
template <typename T, typename Out>
Result<void> assign(Result<T> value, Out& out) {
    return std::move(value).map([&](T&& good) { out = std::move(good); });
}

}  // namespace fwd::control
