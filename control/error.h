// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace fwd::control {

enum class ErrorKind {
    invalid,      ///< the request is wrong in itself: a field has a bad value
    refused,      ///< well formed, but it clashes with what is there (a name taken, a rule from the file)
    not_found,    ///< what it names is not there
    unavailable,  ///< fwd could not do it now: disk full, too many clients, a device that failed
};

/// What went wrong, for the person who can mend it. `text()` says where, what came and what was wanted.
struct Error {
    ErrorKind kind = ErrorKind::invalid;
    std::string field;    ///< where: "rules[3].external" or "fwd.conf:12: links[0].mtu"; may be empty
    std::string message;  ///< "got 70000, want 1 to 65535"

    std::string text() const { return field.empty() ? message : field + ": " + message; }
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> invalid(std::string field, std::string message) {
    return tl::unexpected(Error{ErrorKind::invalid, std::move(field), std::move(message)});
}
inline tl::unexpected<Error> refused(std::string field, std::string message) {
    return tl::unexpected(Error{ErrorKind::refused, std::move(field), std::move(message)});
}
inline tl::unexpected<Error> not_found(std::string field, std::string message) {
    return tl::unexpected(Error{ErrorKind::not_found, std::move(field), std::move(message)});
}
inline tl::unexpected<Error> unavailable(std::string message) {
    return tl::unexpected(Error{ErrorKind::unavailable, {}, std::move(message)});
}

}  // namespace fwd::control
