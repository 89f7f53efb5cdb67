// SPDX-License-Identifier: BSD-3-Clause
#include "control/config_source.h"

#include <gtest/gtest.h>

#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using namespace std::string_literals;

class ConfigSourceTest : public testing::Test {
 protected:
    test::TemporaryDirectory directory_;

    /// Every line of the source with its origin, or the error.
    std::string lines(const std::string& file) const {
        const Result<ConfigSource> source = ConfigSource::from_file(directory_.path() / file);
        if (!source) return directory_.without_path(source.error().text());
        std::string result;
        for (std::size_t begin = 0, line = 1; begin < source->text().size(); ++line) {
            const std::size_t end = source->text().find('\n', begin);
            result += source->where(line) + "|" + source->text().substr(begin, end - begin) + "\n";
            begin = end + 1;
        }
        return directory_.without_path(result);
    }
    std::string lines_of_text(const std::string& text) const {
        directory_.write("a.conf", text);
        return lines("a.conf");
    }
};

TEST_F(ConfigSourceTest, LinesKeepTheirPlace) {
    EXPECT_EQ(lines_of_text("x = 1;\n\ny = \"two\nlines\"; /* and\n more */ z = 2;"),
              "a.conf:1|x = 1;\n"
              "a.conf:2|\n"
              "a.conf:3|y = \"two\n"
              "a.conf:4|lines\"; /* and\n"
              "a.conf:5| more */ z = 2;\n");
}

TEST_F(ConfigSourceTest, IncludedFileStandsInPlaceOfItsLine) {
    directory_.write("b.conf", "b1\nb2\n");
    EXPECT_EQ(lines_of_text("a1\n  @include \"b.conf\"  # why\na3\n"),
              "a.conf:1|a1\n"
              "b.conf:1|b1\n"
              "b.conf:2|b2\n"
              "a.conf:3|a3\n");
}

TEST_F(ConfigSourceTest, IncludedFileNeedsNoNewlineAtItsEnd) {
    directory_.write("b.conf", "b1");
    directory_.write("empty.conf", "");
    EXPECT_EQ(lines_of_text("@include \"b.conf\"\n@include \"empty.conf\"\n@include \"b.conf\""),
              "b.conf:1|b1\n"
              "b.conf:1|b1\n");
}

TEST_F(ConfigSourceTest, IncludedNamesAreRelativeToTheIncludingFile) {
    directory_.write("rules/all.conf", "@include \"web.conf\"\n@include \"../top.conf\"\n");
    directory_.write("rules/web.conf", "web\n");
    directory_.write("top.conf", "top\n");
    EXPECT_EQ(lines_of_text("@include \"rules/all.conf\"\n"),
              "rules/web.conf:1|web\n"
              "rules/../top.conf:1|top\n");
}

TEST_F(ConfigSourceTest, IncludedNameMayBeAbsolute) {
    const std::filesystem::path file = directory_.write("deep/b.conf", "b1\n");
    EXPECT_EQ(lines_of_text("@include \"" + file.string() + "\"\n"), "deep/b.conf:1|b1\n");
}

TEST_F(ConfigSourceTest, IncludeInCommentsAndStringsIsText) {
    EXPECT_EQ(
        lines_of_text("/*\n@include \"none\"\n*/\n# @include \"none\"\nx = \"\n@include \\\"none\\\"\n\";\n"),
        "a.conf:1|/*\n"
        "a.conf:2|@include \"none\"\n"
        "a.conf:3|*/\n"
        "a.conf:4|# @include \"none\"\n"
        "a.conf:5|x = \"\n"
        "a.conf:6|@include \\\"none\\\"\n"
        "a.conf:7|\";\n");
}

TEST_F(ConfigSourceTest, NumbersBeyond32BitsAreMarked) {
    EXPECT_EQ(lines_of_text(
                  "2147483647 2147483648 -2147483648 -2147483649 +4294967297 4294967297L 0x7fffffff "
                  "0x80000000 1.99999999999 1e99 99999999999.5 a99999999999 \"99999999999\" #99999999999"),
              "a.conf:1|2147483647 2147483648L -2147483648 -2147483649L +4294967297L 4294967297L 0x7fffffff "
              "0x80000000L 1.99999999999 1e99 99999999999.5 a99999999999 \"99999999999\" #99999999999\n");
}

TEST_F(ConfigSourceTest, FilesThatAreNoneAreRefused) {
    EXPECT_EQ(lines("none.conf"), "none.conf: no such file; want a configuration file");
    directory_.write("folder/file", "");
    EXPECT_EQ(lines("folder"), "folder: not a regular file");
    EXPECT_EQ(lines_of_text("\n@include \"folder\"\n"), "a.conf:2: @include: folder: not a regular file");
    EXPECT_EQ(lines_of_text("@include \"none.conf\"\n"),
              "a.conf:1: @include: none.conf: no such file; want a configuration file");
    EXPECT_EQ(lines_of_text("@include \"/dev/zero\"\n"), "a.conf:1: @include: /dev/zero: not a regular file");
}

TEST_F(ConfigSourceTest, StrangeFileNamesAreWrittenHarmlessly) {
    EXPECT_EQ(lines_of_text("@include \"\x1b[2J\xff\"\n"),
              "a.conf:1: @include: \\x1b[2J\\xff: no such file; want a configuration file");
    directory_.write("b\x1b.conf", "b1\n");
    EXPECT_EQ(lines_of_text("@include \"b\x1b.conf\"\n"), "b\\x1b.conf:1|b1\n");
}

TEST_F(ConfigSourceTest, ErrorInIncludedFileNamesThatFile) {
    directory_.write("b.conf", "\n\n\"open\n");
    EXPECT_EQ(lines_of_text("@include \"b.conf\"\n"),
              "b.conf:3: this string is never closed, want another \"");
}

TEST_F(ConfigSourceTest, BadTextIsRefused) {
    EXPECT_EQ(lines_of_text("x\n/* no end\n\n"), "a.conf:2: this comment is never closed, want */");
    EXPECT_EQ(lines_of_text("x\n/*/"), "a.conf:2: this comment is never closed, want */");
    EXPECT_EQ(lines_of_text("x = \"no end;\ny\n"), "a.conf:1: this string is never closed, want another \"");
    EXPECT_EQ(lines_of_text("x = \"no end\\\""), "a.conf:1: this string is never closed, want another \"");
    EXPECT_EQ(lines_of_text("x\n\0"s), "a.conf:2: got a NUL byte, want text");
    EXPECT_EQ(lines_of_text("# \0\n"s), "a.conf:1: got a NUL byte, want text");
    EXPECT_EQ(lines_of_text(R"(x = "a\x00b";)"), "a.conf:1: got \\x00 in a string, want text without it");
    EXPECT_EQ(lines_of_text(R"(x = "a\\x00b";)"), "a.conf:1|x = \"a\\\\x00b\";\n");
    EXPECT_EQ(lines_of_text("x = 99999999999999999999;"),
              "a.conf:1: got '99999999999999999999', want a number of at most 64 bits");
    EXPECT_EQ(lines_of_text("x = 0x10000000000000001L;"),
              "a.conf:1: got '0x10000000000000001L', want a number of at most 64 bits");
}

TEST_F(ConfigSourceTest, BadIncludeIsRefused) {
    const std::string wanted = ", want @include \"FILE\"";
    EXPECT_EQ(lines_of_text("@include"), "a.conf:1: got '@include'" + wanted);
    EXPECT_EQ(lines_of_text("@include b.conf\n"), "a.conf:1: got '@include b.conf'" + wanted);
    EXPECT_EQ(lines_of_text("@include \"\"\n"), "a.conf:1: got '@include \"\"'" + wanted);
    EXPECT_EQ(lines_of_text("@include \"b.conf\n"), "a.conf:1: got '@include \"b.conf'" + wanted);
    EXPECT_EQ(lines_of_text("@include \"b.conf\";\n"),
              "a.conf:1: got ';' behind @include \"FILE\", want nothing");
    EXPECT_EQ(lines_of_text("@include \"b\0.conf\"\n"s),
              "a.conf:1: got 'b\\x00.conf', want the name of a file");
}

TEST_F(ConfigSourceTest, EndlessInclusionEnds) {
    EXPECT_EQ(lines_of_text("\n@include \"a.conf\"\n"),
              "a.conf:2: files include each other more than 10 deep");
    std::string ten_times;
    for (int i = 0; i < 10; ++i) ten_times += "@include \"next.conf\"\n";
    directory_.write("level0.conf", "");
    for (int level = 1; level <= 5; ++level) {
        std::string text = ten_times;
        for (std::size_t at = 0; (at = text.find("next", at)) != std::string::npos;) {
            text.replace(at, 4, "level" + std::to_string(level - 1));
        }
        directory_.write("level" + std::to_string(level) + ".conf", text);
    }
    EXPECT_NE(lines("level5.conf").find("too many included files, want at most 1000"), std::string::npos);
}

TEST_F(ConfigSourceTest, GiganticFileIsRefused) {
    const std::filesystem::path file = directory_.write("a.conf", "");
    std::filesystem::resize_file(file, (std::uintmax_t{64} << 20U) + 1);
    EXPECT_EQ(lines("a.conf"), "a.conf: too large, want at most 64 MiB in all");
}

TEST(ConfigSource, TextMayNotIncludeFiles) {
    const Result<ConfigSource> source =
        ConfigSource::from_text("x\n@include \"/etc/passwd\"\n", "standard input");
    ASSERT_FALSE(source);
    EXPECT_EQ(source.error().text(), "standard input:2: @include is not allowed here");
}

TEST(ConfigSource, EmptyTextHasAPlace) {
    const Result<ConfigSource> source = ConfigSource::from_text("", "standard input");
    ASSERT_TRUE(source);
    EXPECT_EQ(source->text(), "");
    EXPECT_EQ(source->where(0), "standard input");
    EXPECT_EQ(source->where(1), "standard input");
    EXPECT_EQ(source->line_text(1), "");
}

}  // namespace
}  // namespace fwd::control
