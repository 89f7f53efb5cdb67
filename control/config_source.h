// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "control/error.h"

namespace fwd::control {

/// The text of a configuration, `@include`d files put in place, and where each of its lines came from.
///
/// fwd reads the files itself because of what libconfig 1.5 does when it does: it ends the process when a
/// file is a directory, takes a comment that is never closed for a good end, cuts numbers to 32 bits without
/// a word, and looks for every included file beside the first one.
class ConfigSource {
 public:
    /// A file; included names are relative to the file that includes them.
    static Result<ConfigSource> from_file(const std::filesystem::path& file);
    /// A text, in which `@include` is refused. `name` stands for it in messages.
    static Result<ConfigSource> from_text(std::string_view text, std::string name);

    /// For libconfig: ends with a newline, numbers beyond 32 bits are marked with an L.
    const std::string& text() const { return text_; }
    /// Where a line of text() came from: "fwd.conf:12". Lines count from 1.
    std::string where(std::size_t line) const;
    /// A line of text(), without blanks around it.
    std::string_view line_text(std::size_t line) const;

 private:
    struct Origin {
        std::size_t file;  ///< in files_
        std::size_t line;
    };
    /// Where included names are looked for, and how deep the inclusion is.
    struct Place {
        std::filesystem::path directory;
        unsigned depth;
    };

    Result<void> add_file(const std::filesystem::path& file, unsigned depth);
    Result<void> add_text(std::string_view text, std::string name, const Place* place);
    Result<void> add_included(std::string_view directive, const Place* place);
    Result<void> add_token(std::string_view token, bool is_closed);
    tl::unexpected<Error> bad_here(std::string message) const;

    std::string text_;
    std::vector<std::string> files_;  ///< as they are named in messages
    std::vector<Origin> lines_;
};

}  // namespace fwd::control
