// SPDX-License-Identifier: BSD-3-Clause
#include "control/text.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace fwd::control {
namespace {

using namespace std::string_literals;

/// What a parse function makes of a text: written out again, or the error.
template <typename T>
std::string outcome(const Result<T>& result) {
    if (!result) {
        EXPECT_EQ(result.error().field, "");
        return result.error().message;
    }
    if constexpr (std::is_same_v<T, std::string>) {
        return *result;
    } else if constexpr (std::is_same_v<T, std::uint16_t>) {
        return std::to_string(*result);
    } else {
        return to_text(*result);
    }
}

struct Row {
    std::string text;
    std::string outcome;
};

template <typename Parse>
void expect_outcomes(Parse parse, const std::vector<Row>& rows) {
    for (const Row& row : rows) EXPECT_EQ(outcome(parse(row.text)), row.outcome) << "for " << row.text;
}

TEST(Text, AddressIsFourDecimalNumbers) {
    expect_outcomes(
        parse_address,
        {
            {"10.0.0.3", "10.0.0.3"},
            {"0.0.0.0", "0.0.0.0"},
            {"255.255.255.255", "255.255.255.255"},
            {"", "got '', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"10.0.0", "got '10.0.0', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"10.0.0.3.1", "got '10.0.0.3.1', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"10.0.0.256", "got '10.0.0.256', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"10.0.0.03", "got '10.0.0.03', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"0x0a.0.0.3", "got '0x0a.0.0.3', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"167772163", "got '167772163', want an address such as 10.0.0.3 or 2001:db8::3"},
            {" 10.0.0.3", "got ' 10.0.0.3', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"10.0.0.3 ", "got '10.0.0.3 ', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"10.0.0.3\0junk"s, "got '10.0.0.3\\x00junk', want an address such as 10.0.0.3 or 2001:db8::3"},
            {"example.org", "got 'example.org', want an address such as 10.0.0.3 or 2001:db8::3"},
        });
}

/// RFC 5952: the shortest form, in lower case.
TEST(Text, Ipv6AddressesAreWrittenInOneWay) {
    const std::string wanted = "want an address such as 10.0.0.3 or 2001:db8::3";
    expect_outcomes(parse_address, {
                                       {"2001:db8::3", "2001:db8::3"},
                                       {"2001:0DB8:0:0:1:0:0:0", "2001:db8:0:0:1::"},
                                       {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
                                       {"::", "::"},
                                       {"::1", "::1"},
                                       {"fe80::1%eth0", "got 'fe80::1%eth0', " + wanted},
                                       {"2001:db8::1::2", "got '2001:db8::1::2', " + wanted},
                                       {"[2001:db8::3]", "got '[2001:db8::3]', " + wanted},
                                       {"::ffff:10.0.0.3", "got '::ffff:10.0.0.3', " + wanted},
                                   });
    expect_outcomes(
        parse_endpoint,
        {
            {"[2001:db8::3]:80", "[2001:db8::3]:80"},
            {"2001:db8::3", "got '2001:db8::3', want brackets and a port as well, such as [2001:db8::3]:80"},
            {"[2001:db8::3]:0", "got '[2001:db8::3]:0', want a port of 1 to 65535 behind the colon"},
            {"[10.0.0.3]:80",
             "got '[10.0.0.3]:80', want an address before the port, such as 10.0.0.3:80 or "
             "[2001:db8::3]:80"},
        });
    expect_outcomes(parse_endpoint_range, {{"[2001:db8::3]:8000-8100", "[2001:db8::3]:8000-8100"}});
    expect_outcomes(parse_targets, {{"[fd00::4]:80*3,[fd00::5]:80", "[fd00::4]:80*3,[fd00::5]:80"}});
    expect_outcomes(parse_prefix, {{"2001:db8::/32", "2001:db8::/32"},
                                   {"2001:db8::1/32",
                                    "got '2001:db8::1/32', want no bits set behind the prefix length: "
                                    "2001:db8::/32"},
                                   {"::/0", "::/0"}});
    expect_outcomes(parse_interface_address, {{"2001:db8::2/64", "2001:db8::2/64"}});
}

TEST(Text, AddressIsKeptInWireOrder) {
    EXPECT_EQ(parse_address("10.0.0.3")->v4().value.host(), 0x0a000003U);
    EXPECT_EQ(parse_endpoint("10.0.0.3:80")->port.host(), 80);
}

/// L1
TEST(Text, EndpointMayBeARangeOfPorts) {
    const std::string wanted =
        "want an address and two ports, the lower one first, such as 10.0.0.3:8000-8100";
    expect_outcomes(parse_endpoint_range,
                    {
                        {"10.0.0.3:80", "10.0.0.3:80"},
                        {"10.0.0.3:80-80", "10.0.0.3:80"},
                        {"10.0.0.3:8000-8100", "10.0.0.3:8000-8100"},
                        {"10.0.0.3:1-65535", "10.0.0.3:1-65535"},
                        {"10.0.0.3", "got '10.0.0.3', want a port as well, such as 10.0.0.3:80"},
                        {"10.0.0.3:81-80", "got '10.0.0.3:81-80', " + wanted},
                        {"10.0.0.3:0-80", "got '10.0.0.3:0-80', " + wanted},
                        {"10.0.0.3:80-65536", "got '10.0.0.3:80-65536', " + wanted},
                        {"10.0.0.3:80-", "got '10.0.0.3:80-', " + wanted},
                        {"10.0.0.3:-80", "got '10.0.0.3:-80', " + wanted},
                        {"10.0.0.3:1-2-3", "got '10.0.0.3:1-2-3', " + wanted},
                        {"10.0.0.3-10.0.0.4:80", "got '10.0.0.3-10.0.0.4:80', " + wanted},
                    });
}

TEST(Text, ExternalMayBeALinksAddress) {
    const auto outcome = [](std::string_view text, std::optional<std::string> link = {}) {
        Rule rule;
        rule.link = std::move(link);
        const auto parsed = parse_external(text, rule);
        return parsed ? external_text(rule) + " on " + rule.link.value_or("any") : parsed.error().text();
    };
    const std::string wanted = "want a link and a port or ports, such as link:wan:80";
    EXPECT_EQ(outcome("link:wan:80"), "link:wan:80 on wan");
    EXPECT_EQ(outcome("link:wan:8000-8100"), "link:wan:8000-8100 on wan");
    EXPECT_EQ(outcome("link:wan"), "link:wan on wan");
    EXPECT_EQ(outcome("link:wan:80", "lan"), "link:wan:80 on lan") << "check_rule() refuses that";
    EXPECT_EQ(outcome("10.0.0.3:80"), "10.0.0.3:80 on any");
    for (const std::string text : {"link:", "link::80", "link:wan:", "link:wan:0", "link:wan:80-79",
                                   "link:w n:80", "link:wan:65536", "link:wan:80:90"})
        EXPECT_EQ(outcome(text), fmt::format("got '{}', {}", text, wanted)) << text;
    EXPECT_EQ(outcome("LINK:wan:80").substr(0, 17), "got 'LINK:wan:80'");
}

/// L2
TEST(Text, TargetsMayBeSeveralWithWeights) {
    expect_outcomes(
        parse_targets,
        {
            {"10.0.0.4:80", "10.0.0.4:80"},
            {"10.0.0.4:80*1", "10.0.0.4:80"},
            {"10.0.0.4:80*3,10.0.0.5:80", "10.0.0.4:80*3,10.0.0.5:80"},
            {"10.0.0.4:1-9*100,10.0.0.5:1-9", "10.0.0.4:1-9*100,10.0.0.5:1-9"},
            {"10.0.0.4:80*0", "got '10.0.0.4:80*0', want a weight of 1 to 100 behind the star"},
            {"10.0.0.4:80*101", "got '10.0.0.4:80*101', want a weight of 1 to 100 behind the star"},
            {"10.0.0.4:80*", "got '10.0.0.4:80*', want a weight of 1 to 100 behind the star"},
            {"10.0.0.4:80,", "got '', want an address and a port such as 10.0.0.3:80 or [2001:db8::3]:80"},
            {",10.0.0.4:80", "got '', want an address and a port such as 10.0.0.3:80 or [2001:db8::3]:80"},
        });
    std::string many = "10.0.0.4:1";
    for (unsigned i = 1; i < Rule::kMostTargets; ++i) many += ",10.0.0.4:1";
    EXPECT_TRUE(parse_targets(many));
    EXPECT_FALSE(parse_targets(many + ",10.0.0.4:1"));
}

/// L1
TEST(Text, EndpointNeedsAddressAndPort) {
    expect_outcomes(
        parse_endpoint,
        {
            {"10.0.0.3:80", "10.0.0.3:80"},
            {"10.0.0.3:1", "10.0.0.3:1"},
            {"10.0.0.3:65535", "10.0.0.3:65535"},
            {"10.0.0.3", "got '10.0.0.3', want a port as well, such as 10.0.0.3:80"},
            {"80", "got '80', want an address and a port such as 10.0.0.3:80 or [2001:db8::3]:80"},
            {"", "got '', want an address and a port such as 10.0.0.3:80 or [2001:db8::3]:80"},
            {"10.0.0.3:", "got '10.0.0.3:', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:0", "got '10.0.0.3:0', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:65536", "got '10.0.0.3:65536', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:080", "got '10.0.0.3:080', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:-80", "got '10.0.0.3:-80', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:+80", "got '10.0.0.3:+80', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:http", "got '10.0.0.3:http', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:80-90", "got '10.0.0.3:80-90', want a port of 1 to 65535 behind the colon"},
            {"10.0.0.3:99999999999",
             "got '10.0.0.3:99999999999', want a port of 1 to 65535 behind the colon"},
            {":80", "got ':80', want an address before the port, such as 10.0.0.3:80 or [2001:db8::3]:80"},
            {"10.0.0:80",
             "got '10.0.0:80', want an address before the port, such as 10.0.0.3:80 or [2001:db8::3]:80"},
            {"10.0.0.3:80:80",
             "got '10.0.0.3:80:80', want an address before the port, such as 10.0.0.3:80 or "
             "[2001:db8::3]:80"},
        });
}

TEST(Text, PortIs1To65535) {
    expect_outcomes(parse_port, {
                                    {"1", "1"},
                                    {"65535", "65535"},
                                    {"0", "got '0', want a port of 1 to 65535"},
                                    {"65536", "got '65536', want a port of 1 to 65535"},
                                    {"", "got '', want a port of 1 to 65535"},
                                });
}

TEST(Text, PrefixHasNoHostBits) {
    expect_outcomes(
        parse_prefix,
        {
            {"10.0.0.0/24", "10.0.0.0/24"},
            {"0.0.0.0/0", "0.0.0.0/0"},
            {"10.0.0.3/32", "10.0.0.3/32"},
            {"10.0.0.3/24", "got '10.0.0.3/24', want no bits set behind the prefix length: 10.0.0.0/24"},
            {"10.0.0.0/0", "got '10.0.0.0/0', want no bits set behind the prefix length: 0.0.0.0/0"},
            {"10.0.0.0", "got '10.0.0.0', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
            {"10.0.0.0/", "got '10.0.0.0/', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
            {"10.0.0.0/33", "got '10.0.0.0/33', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
            {"10.0.0.0/024", "got '10.0.0.0/024', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
            {"10.0.0.0/255.255.255.0",
             "got '10.0.0.0/255.255.255.0', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
            {"/24", "got '/24', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
            {"", "got '', want a prefix such as 10.0.0.0/24 or 2001:db8::/32"},
        });
}

TEST(Text, InterfaceAddressKeepsItsHostBits) {
    const std::string wanted = "want an address with its prefix length such as 10.0.0.2/24 or 2001:db8::2/64";
    expect_outcomes(parse_interface_address, {
                                                 {"10.0.0.2/24", "10.0.0.2/24"},
                                                 {"10.0.0.2/32", "10.0.0.2/32"},
                                                 {"10.0.0.2/0", "got '10.0.0.2/0', " + wanted},
                                                 {"10.0.0.2", "got '10.0.0.2', " + wanted},
                                                 {"10.0.0.2/33", "got '10.0.0.2/33', " + wanted},
                                             });
}

TEST(Text, MacAddressIsSixHexadecimalPairs) {
    const std::string wanted = "want a MAC address such as 02:00:00:00:00:01";
    expect_outcomes(parse_mac, {
                                   {"02:00:00:00:00:01", "02:00:00:00:00:01"},
                                   {"AB:cd:EF:01:23:45", "ab:cd:ef:01:23:45"},
                                   {"", "got '', " + wanted},
                                   {"02:00:00:00:00", "got '02:00:00:00:00', " + wanted},
                                   {"02:00:00:00:00:01:02", "got '02:00:00:00:00:01:02', " + wanted},
                                   {"02:00:00:00:00:0g", "got '02:00:00:00:00:0g', " + wanted},
                                   {"02-00-00-00-00-01", "got '02-00-00-00-00-01', " + wanted},
                                   {"2:0:0:0:0:1", "got '2:0:0:0:0:1', " + wanted},
                                   {"02:00:00:00:00: 1", "got '02:00:00:00:00: 1', " + wanted},
                                   {"02:00:00:00:0:001", "got '02:00:00:00:0:001', " + wanted},
                               });
}

TEST(Text, NamesAreShortAndPlain) {
    const std::string wanted = "letters, digits, dots, dashes or underscores";
    const std::string long63(63, 'x');
    expect_outcomes(parse_name, {
                                    {"web", "web"},
                                    {"Web_1.example-org", "Web_1.example-org"},
                                    {long63, long63},
                                    {long63 + "x", "got '" + long63 + "x', want 1 to 63 " + wanted},
                                    {"", "got '', want 1 to 63 " + wanted},
                                    {"a b", "got 'a b', want 1 to 63 " + wanted},
                                    {"a\"b", "got 'a\"b', want 1 to 63 " + wanted},
                                    {"stra\xc3\x9f"s, "got 'stra\\xc3\\x9f', want 1 to 63 " + wanted},
                                });
    const std::string long31(31, 'x');
    expect_outcomes(parse_link_name, {
                                         {"lan", "lan"},
                                         {long31, long31},
                                         {long31 + "x", "got '" + long31 + "x', want 1 to 31 " + wanted},
                                         {"", "got '', want 1 to 31 " + wanted},
                                     });
}

TEST(Text, CommentIsOneLineThatATerminalCanShow) {
    const std::string wanted = "', want one line of UTF-8 text without control characters";
    const std::string long255(255, 'x');
    expect_outcomes(parse_comment, {
                                       {"", ""},
                                       {R"(the "shop" \ it's)", R"(the "shop" \ it's)"},
                                       {"Bücher – 本 😀", "Bücher – 本 😀"},
                                       {long255, long255},
                                       {long255 + "x", "got 256 bytes, want at most 255"},
                                       {"two\nlines", "got 'two\\x0alines" + wanted},
                                       {"red \x1b[31m", "got 'red \\x1b[31m" + wanted},
                                       {"\x7f", "got '\\x7f" + wanted},
                                       {"\xc2\x9b"
                                        "31m",
                                        "got '\\xc2\\x9b31m" + wanted},
                                       {"\xe2\x80\xae", "got '\\xe2\\x80\\xae" + wanted},
                                       {"\xc3", "got '\\xc3" + wanted},
                                       {"\xc0\xaf", "got '\\xc0\\xaf" + wanted},
                                       {"\xe0\x80\xaf", "got '\\xe0\\x80\\xaf" + wanted},
                                       {"\xed\xa0\x80", "got '\\xed\\xa0\\x80" + wanted},
                                       {"\xf4\x90\x80\x80", "got '\\xf4\\x90\\x80\\x80" + wanted},
                                       {"\xff", "got '\\xff" + wanted},
                                   });
}

TEST(Text, SourceModeIsOneOfThreeWords) {
    expect_outcomes(parse_source_mode, {
                                           {"auto", "auto"},
                                           {"masquerade", "masquerade"},
                                           {"preserve", "preserve"},
                                           {"nat", "got 'nat', want 'auto', 'masquerade' or 'preserve'"},
                                           {"Auto", "got 'Auto', want 'auto', 'masquerade' or 'preserve'"},
                                       });
}

TEST(Text, ProtocolsAreTcpUdpBothOrAll) {
    for (const std::string text : {"tcp", "udp", "tcp+udp", "all"}) {
        Rule rule;
        ASSERT_TRUE(parse_protocols(text, rule));
        EXPECT_EQ(protocols_text(rule), text);
        EXPECT_EQ(rule.tcp, text == "tcp" || text == "tcp+udp");
        EXPECT_EQ(rule.udp, text == "udp" || text == "tcp+udp");
        EXPECT_EQ(rule.all, text == "all");
    }
    for (const std::string text : {"", "TCP", "icmp", "udp+tcp", "tcp,udp", "tcp "}) {
        Rule rule;
        const Result<void> parsed = parse_protocols(text, rule);
        ASSERT_FALSE(parsed);
        EXPECT_EQ(parsed.error().message, "got '" + text + "', want 'tcp', 'udp', 'tcp+udp' or 'all'");
        EXPECT_FALSE(rule.tcp || rule.udp || rule.all);
    }
}

/// L1: a whole address is forwarded in so many words only, and a port is never "all ports".
TEST(Text, WholeAddressesBelongToProtocolAllAndToNothingElse) {
    const auto said = [](std::string_view protocol, std::string_view external, std::string_view target) {
        Rule rule;
        EXPECT_TRUE(parse_protocols(protocol, rule));
        rule.external = *parse_rule_endpoint(external);
        rule.targets = *parse_targets(target);
        const Result<void> checked = check_ports(rule);
        return checked ? "good" : checked.error().text();
    };
    EXPECT_EQ(said("all", "203.0.113.5", "10.0.0.5"), "good");
    EXPECT_EQ(said("tcp", "203.0.113.5:80", "10.0.0.5:80"), "good");
    EXPECT_EQ(said("tcp", "203.0.113.5", "10.0.0.5:80"),
              "external: got '203.0.113.5', want a port as well, such as 203.0.113.5:80");
    EXPECT_EQ(said("all", "2001:db8::5", "fd00::5"), "good");
    EXPECT_EQ(said("tcp", "2001:db8::5", "[fd00::5]:80"),
              "external: got '2001:db8::5', want brackets and a port as well, such as [2001:db8::5]:80");
    EXPECT_EQ(said("all", "[2001:db8::5]:80", "fd00::5"),
              "external: got '[2001:db8::5]:80', want an address alone, such as 2001:db8::5: protocol 'all' "
              "means every port of it");
    EXPECT_EQ(said("tcp+udp", "203.0.113.5:80", "10.0.0.5"),
              "target: got '10.0.0.5', want a port as well, such as 10.0.0.5:80");
    EXPECT_EQ(
        said("all", "203.0.113.5:80", "10.0.0.5"),
        "external: got '203.0.113.5:80', want an address alone, such as 203.0.113.5: protocol 'all' means "
        "every port of it");
    EXPECT_EQ(said("all", "203.0.113.5", "10.0.0.5:1-65535"),
              "target: got '10.0.0.5:1-65535', want an address alone, such as 10.0.0.5: protocol 'all' means "
              "every port of it");
    EXPECT_EQ(said("all", "203.0.113.5", "10.0.0.5,10.0.0.6"),
              "target: got 2 targets, want one: protocol 'all' is 1:1");
    Rule rule;
    rule.tcp = rule.outbound = true;
    rule.external = *parse_rule_endpoint("203.0.113.5:80");
    rule.targets = *parse_targets("10.0.0.5:80");
    EXPECT_EQ(
        check_ports(rule).error().text(),
        "outbound: got true for tcp of 203.0.113.5:80, want false (--outbound=false), or protocol 'all': "
        "under single ports nobody reaches the world");
    rule = {};
    rule.all = true;
    rule.external = *parse_rule_endpoint("203.0.113.5");
    EXPECT_EQ(default_name(rule), "all-203.0.113.5");
    rule.external = *parse_rule_endpoint("2001:db8::5");
    EXPECT_EQ(default_name(rule), "all-2001.db8..5");
}

TEST(Text, OriginsHaveNames) {
    EXPECT_EQ(to_text(RuleOrigin::config_file), "config");
    EXPECT_EQ(to_text(RuleOrigin::database), "database");
    EXPECT_EQ(to_text(RuleOrigin::runtime), "runtime");
}

TEST(Text, UnknownTextIsQuotedHarmlessly) {
    EXPECT_EQ(in_quotes(""), "''");
    EXPECT_EQ(in_quotes("plain text ~"), "'plain text ~'");
    EXPECT_EQ(in_quotes("\x1b[31m\n\0\x7f\xff"s), "'\\x1b[31m\\x0a\\x00\\x7f\\xff'");
    EXPECT_EQ(in_quotes(std::string(64, 'x')), "'" + std::string(64, 'x') + "'");
    EXPECT_EQ(in_quotes(std::string(1'000'000, 'x')), "'" + std::string(64, 'x') + "...'");
}

TEST(Text, RuleWithoutNameGetsOneThatIsAName) {
    Rule rule;
    rule.external = *parse_endpoint("255.255.255.255:65535");
    rule.tcp = true;
    EXPECT_EQ(default_name(rule), "tcp-255.255.255.255-65535");
    rule.udp = true;
    EXPECT_EQ(default_name(rule), "tcp-udp-255.255.255.255-65535");
    rule.tcp = false;
    EXPECT_EQ(default_name(rule), "udp-255.255.255.255-65535");
    rule.tcp = true;
    rule.link = std::string(31, 'x');
    EXPECT_TRUE(parse_name(default_name(rule))) << default_name(rule);
    rule.external = *parse_endpoint_range("255.255.255.255:10000-65535");
    EXPECT_TRUE(parse_name(default_name(rule))) << default_name(rule);
    rule.link.reset();
    EXPECT_EQ(default_name(rule), "tcp-udp-255.255.255.255-10000-65535");
}

TEST(Text, NearestWordIsFoundForSmallMistakesOnly) {
    constexpr std::array<std::string_view, 5> kWords{"name", "addresses", "mtu", "vlan", "rx_checksum"};
    const auto near = [&](std::string_view word) {
        return nearest(word, kWords.data(), kWords.data() + kWords.size());
    };
    EXPECT_EQ(near("name"), "name");
    EXPECT_EQ(near("nmae"), "name");
    EXPECT_EQ(near("names"), "name");
    EXPECT_EQ(near("adresses"), "addresses");
    EXPECT_EQ(near("address"), "addresses");
    EXPECT_EQ(near("mut"), "mtu");
    EXPECT_EQ(near("rx_checksums"), "rx_checksum");
    EXPECT_EQ(near("rxchecksum"), "rx_checksum");
    EXPECT_EQ(near("colour"), "");
    EXPECT_EQ(near(""), "");
    EXPECT_EQ(near(std::string(1'000'000, 'n')), "");
    EXPECT_EQ(nearest("name", nullptr, nullptr), "");
}

}  // namespace
}  // namespace fwd::control
