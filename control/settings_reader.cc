// SPDX-License-Identifier: BSD-3-Clause
#include "control/settings_reader.h"

#include <fmt/format.h>

namespace fwd::control {

using libconfig::Setting;

Value Value::element(std::size_t index) const {
    const Setting& child = (*setting_)[static_cast<int>(index)];
    const char* name = child.getName();
    if (name == nullptr) return {child, *source_, fmt::format("{}[{}]", key_, index)};
    return {child, *source_, key_.empty() ? name : fmt::format("{}.{}", key_, name)};
}

Value Value::member(std::string_view key) const {
    for (std::size_t i = 0; i < size(); ++i) {
        if (Value child = element(i); child.name() == key) return child;
    }
    return {*setting_, *source_, key_.empty() ? std::string{key} : fmt::format("{}.{}", key_, key)};
}

bool Value::has(std::string_view key) const {
    return setting_->exists(std::string{key});
}

Value Value::with_example(std::string_view example) const {
    Value value = *this;
    value.example_ = example;
    return value;
}

bool Value::is_integer() const {
    return setting_->getType() == Setting::TypeInt || setting_->getType() == Setting::TypeInt64;
}

Result<std::int64_t> Value::integer_between(std::int64_t minimum, std::int64_t maximum) const {
    if (!is_integer()) return wrong_type("an integer");
    const std::int64_t number = setting_->getType() == Setting::TypeInt ? static_cast<int>(*setting_)
                                                                        : static_cast<long long>(*setting_);
    if (number < minimum || number > maximum) {
        return bad(fmt::format("got {}, want {} to {}", number, minimum, maximum));
    }
    return number;
}

Result<bool> Value::boolean() const {
    if (setting_->getType() != Setting::TypeBoolean) return wrong_type("true or false");
    return static_cast<bool>(*setting_);
}

Result<std::string> Value::string() const {
    if (setting_->getType() != Setting::TypeString) return wrong_type("a string");
    return std::string{setting_->c_str()};
}

tl::unexpected<Error> Value::error(ErrorKind kind, std::string message) const {
    const std::string where = key_.empty() ? place() : fmt::format("{}: {}", place(), key_);
    return tl::unexpected(Error{kind, where, std::move(message)});
}

tl::unexpected<Error> Value::wrong_type(std::string_view wanted) const {
    const std::string example = example_.empty() ? "" : fmt::format(" such as {}", example_);
    return bad(fmt::format("got {}, want {}{}", describe(), wanted, example));
}

tl::unexpected<Error> Value::unknown_key(std::vector<std::string_view> known) const {
    const std::string_view near = nearest(name(), known.data(), known.data() + known.size());
    if (!near.empty()) return bad(fmt::format("unknown key, did you mean '{}'?", near));
    return bad(fmt::format("unknown key, want one of {}", fmt::join(known, ", ")));
}

tl::unexpected<Error> Value::missing_key(std::string_view key, std::string_view example) const {
    return member(key).bad(fmt::format("missing, want for example {} = {};", key, example));
}

std::string Value::describe() const {
    switch (setting_->getType()) {
        case Setting::TypeInt:
            return fmt::format("the integer {}", static_cast<int>(*setting_));
        case Setting::TypeInt64:
            return fmt::format("the integer {}", static_cast<long long>(*setting_));
        case Setting::TypeFloat:
            return fmt::format("the number {}", static_cast<double>(*setting_));
        case Setting::TypeString:
            return fmt::format("the string {}", in_quotes(setting_->c_str()));
        case Setting::TypeBoolean:
            return static_cast<bool>(*setting_) ? "true" : "false";
        case Setting::TypeGroup:
            return "a group";
        case Setting::TypeArray:
        case Setting::TypeList:
            return "a list";
        case Setting::TypeNone:
            break;
    }
    return "nothing";
}

}  // namespace fwd::control
