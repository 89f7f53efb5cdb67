// SPDX-License-Identifier: BSD-3-Clause
#include "control/config_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <system_error>

#include "control/text.h"

namespace fwd::control {
namespace {

constexpr std::size_t kLargestBytes = std::size_t{64} << 20U;  // some 400 000 rules
constexpr std::size_t kMostFiles = 1000;                       // ends inclusions that multiply
constexpr unsigned kDeepestInclude = 10;                       // ends a file that includes itself

bool is_blank(char c) {
    return c == ' ' || c == '\t';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_name_char(char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '*';
}
bool is_number_char(char c) {
    return is_letter(c) || is_digit(c) || c == '.';
}

std::string_view without_blanks(std::string_view text) {
    const auto is_space = [](char c) { return is_blank(c) || c == '\r'; };
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

std::string_view up_to_newline(std::string_view text) {
    return text.substr(0, text.find('\n'));
}

struct Token {
    std::string_view text;
    bool is_closed = true;  ///< false: a comment or a string that goes on to the end of the file
};

/// The first token of a text in libconfig's syntax, as far as it matters here: a comment, a string, a name, a
/// number, or a single character.
Token first_token(std::string_view text) {
    if (text.front() == '#' || text.starts_with("//")) return {up_to_newline(text)};
    if (text.starts_with("/*")) {
        const std::size_t end = text.find("*/", 2);
        return end == std::string_view::npos ? Token{text, false} : Token{text.substr(0, end + 2)};
    }
    if (text.front() == '"') {
        for (std::size_t i = 1; i < text.size(); ++i) {
            if (text[i] == '"') return {text.substr(0, i + 1)};
            if (text[i] == '\\') ++i;
        }
        return {text, false};
    }
    const auto run = [&](std::size_t begin, auto is_part) {
        std::size_t end = begin;
        while (end < text.size() && is_part(text[end])) ++end;
        return Token{text.substr(0, end)};
    };
    if (is_letter(text.front()) || text.front() == '*') return run(1, is_name_char);
    if (is_digit(text.front()) || text.front() == '-' || text.front() == '+') return run(1, is_number_char);
    return {text.substr(0, 1)};
}

enum class NumberSize { not_an_integer, int32, int64, larger };

NumberSize number_size(std::string_view token) {
    if (token.starts_with('+')) token.remove_prefix(1);
    const bool is_hex = token.starts_with("0x") || token.starts_with("0X");
    if (is_hex) token.remove_prefix(2);
    std::int64_t value = 0;
    const char* last = token.data() + token.size();
    const auto [end, error] = std::from_chars(token.data(), last, value, is_hex ? 16 : 10);
    if (error == std::errc::invalid_argument) return NumberSize::not_an_integer;
    const std::string_view rest{end, static_cast<std::size_t>(last - end)};
    if (!rest.empty() && rest != "L" && rest != "LL") return NumberSize::not_an_integer;
    if (error == std::errc::result_out_of_range) return NumberSize::larger;
    const bool fits = value == static_cast<std::int32_t>(value);
    return fits || !rest.empty() ? NumberSize::int32 : NumberSize::int64;
}

/// "\x00" in a string ends it for libconfig, and what follows would be lost.
bool has_escaped_nul(std::string_view string) {
    for (std::size_t i = 0; i < string.size(); ++i) {
        if (string[i] != '\\') continue;
        if (string.substr(i).starts_with("\\x00")) return true;
        ++i;
    }
    return false;
}

Result<std::string> read_whole(const std::filesystem::path& file) {
    const std::string name = printable(file.string());
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(file, error);
    if (status.type() == std::filesystem::file_type::not_found) {
        return not_found(name, "no such file; want a configuration file");
    }
    if (error) return invalid(name, error.message());
    if (!std::filesystem::is_regular_file(status)) return invalid(name, "not a regular file");
    std::ifstream stream{file, std::ios::binary};
    if (!stream) return invalid(name, std::strerror(errno));
    std::string text;
    std::array<char, 65536> chunk;
    while (stream && text.size() <= kLargestBytes) {  // one chunk more is refused by its size
        stream.read(chunk.data(), chunk.size());
        text.append(chunk.data(), static_cast<std::size_t>(stream.gcount()));
    }
    if (stream.bad()) return invalid(name, "reading failed");
    return text;
}

}  // namespace

Result<ConfigSource> ConfigSource::from_file(const std::filesystem::path& file) {
    ConfigSource source;
    return source.add_file(file, 0).map([&] { return std::move(source); });
}

Result<ConfigSource> ConfigSource::from_text(std::string_view text, std::string name) {
    ConfigSource source;
    return source.add_text(text, std::move(name), nullptr).map([&] { return std::move(source); });
}

std::string ConfigSource::where(std::size_t line) const {
    if (lines_.empty() || line == 0) return files_.front();
    const Origin& origin = lines_[std::min(line, lines_.size()) - 1];
    return fmt::format("{}:{}", files_[origin.file], origin.line);
}

std::string_view ConfigSource::line_text(std::size_t line) const {
    std::string_view rest = text_;
    for (; line > 1 && !rest.empty(); --line) rest.remove_prefix(up_to_newline(rest).size() + 1);
    return without_blanks(up_to_newline(rest));
}

Result<void> ConfigSource::add_file(const std::filesystem::path& file, unsigned depth) {
    return read_whole(file).and_then([&](const std::string& text) {
        const Place place{file.parent_path(), depth};
        return add_text(text, printable(file.string()), &place);
    });
}

Result<void> ConfigSource::add_text(std::string_view text, std::string name, const Place* place) {
    if (text_.size() + text.size() > kLargestBytes) {
        return invalid(name, fmt::format("too large, want at most {} MiB in all", kLargestBytes >> 20U));
    }
    if (files_.size() == kMostFiles) {
        return invalid(name, fmt::format("too many included files, want at most {}", kMostFiles));
    }
    const std::size_t file = files_.size();
    files_.push_back(std::move(name));
    lines_.push_back({file, 1});
    bool line_begins = true;
    while (!text.empty()) {
        if (line_begins && without_blanks(up_to_newline(text)).starts_with("@include")) {
            const std::string_view directive = up_to_newline(text);
            text.remove_prefix(std::min(directive.size() + 1, text.size()));
            const std::size_t line = lines_.back().line;
            if (Result<void> added = add_included(without_blanks(directive), place); !added) return added;
            lines_.push_back({file, line + 1});
            continue;
        }
        const auto [token, is_closed] = first_token(text);
        if (Result<void> added = add_token(token, is_closed); !added) return added;
        for (const char c : token) {
            if (c == '\n') lines_.push_back({file, lines_.back().line + 1});
        }
        line_begins = token == "\n";
        text.remove_prefix(token.size());
    }
    if (line_begins) {
        lines_.pop_back();  // nothing stands on it: the line belongs to what comes next
    } else {
        text_ += '\n';
    }
    return {};
}

Result<void> ConfigSource::add_included(std::string_view directive, const Place* place) {
    if (place == nullptr) return bad_here("@include is not allowed here");
    constexpr std::string_view kKeyword = "@include";
    const std::string_view rest = without_blanks(directive.substr(kKeyword.size()));
    const std::size_t end = rest.find('"', 1);
    if (!rest.starts_with('"') || end == std::string_view::npos || end == 1) {
        return bad_here(fmt::format("got {}, want @include \"FILE\"", in_quotes(directive)));
    }
    const std::string_view behind = without_blanks(rest.substr(end + 1));
    if (!behind.empty() && !behind.starts_with('#') && !behind.starts_with("//")) {
        return bad_here(fmt::format("got {} behind @include \"FILE\", want nothing", in_quotes(behind)));
    }
    if (place->depth == kDeepestInclude) {
        return bad_here(fmt::format("files include each other more than {} deep", kDeepestInclude));
    }
    const std::string_view name = rest.substr(1, end - 1);
    if (name.find('\0') != std::string_view::npos) {
        return bad_here(fmt::format("got {}, want the name of a file", in_quotes(name)));
    }
    const std::string here = where(lines_.size());
    lines_.pop_back();  // the directive's line is not part of the text
    const std::size_t files_before = files_.size();
    Result<void> added = add_file(place->directory / name, place->depth + 1);
    if (!added && files_.size() == files_before) {  // the file itself is at fault, not something in it
        return tl::unexpected(Error{added.error().kind, here + ": @include", added.error().text()});
    }
    return added;
}

Result<void> ConfigSource::add_token(std::string_view token, bool is_closed) {
    if (token.find('\0') != std::string_view::npos) return bad_here("got a NUL byte, want text");
    if (!is_closed) {
        return bad_here(token.starts_with('"') ? "this string is never closed, want another \""
                                               : "this comment is never closed, want */");
    }
    if (token.starts_with('"') && has_escaped_nul(token)) {
        return bad_here("got \\x00 in a string, want text without it");
    }
    text_ += token;
    switch (number_size(token)) {
        case NumberSize::larger:
            return bad_here(fmt::format("got {}, want a number of at most 64 bits", in_quotes(token)));
        case NumberSize::int64:
            text_ += 'L';
            break;
        case NumberSize::int32:
        case NumberSize::not_an_integer:
            break;
    }
    return {};
}

tl::unexpected<Error> ConfigSource::bad_here(std::string message) const {
    return invalid(where(lines_.size()), std::move(message));
}

}  // namespace fwd::control
