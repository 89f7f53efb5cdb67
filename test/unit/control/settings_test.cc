// SPDX-License-Identifier: BSD-3-Clause
#include "control/settings.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/text.h"
#include "test/unit/control/temporary_directory.h"

// libconfig 1.5 forgets a string that stands where its parser stops at a syntax error.
// NOLINTNEXTLINE(readability-identifier-naming): LeakSanitizer looks for this name
extern "C" const char* __lsan_default_suppressions() {
    return "leak:libconfig++.so";
}

namespace fwd::control {
namespace {

using namespace std::chrono_literals;

/// One good link on line 1; what a row adds begins on line 2.
const std::string kLan =
    R"(links = ( { name = "lan"; device = "net_tap0"; addresses = [ "10.0.0.2/24" ]; } );)"
    "\n";
const std::string kTwoLinks =
    R"(links = ( { name = "lan"; device = "net_tap0"; addresses = [ "10.0.0.2/24" ]; },)"
    R"( { name = "wan"; device = "net_tap1"; addresses = [ "203.0.113.2/24" ]; } );)"
    "\n";

Result<Settings> load(const test::TemporaryDirectory& directory, const std::string& text) {
    return load_settings(directory.write("fwd.conf", text));
}

Settings load_good(const std::string& text) {
    const test::TemporaryDirectory directory;
    Result<Settings> settings = load(directory, text);
    if (!settings) {
        ADD_FAILURE() << settings.error().text();
        return {};
    }
    return std::move(*settings);
}

struct BadConfig {
    std::string text;
    std::string message;
};

void expect_messages(const std::vector<BadConfig>& rows) {
    const test::TemporaryDirectory directory;
    for (const BadConfig& row : rows) {
        const Result<Settings> settings = load(directory, row.text);
        ASSERT_FALSE(settings) << "accepted: " << row.text;
        EXPECT_EQ(directory.without_path(settings.error().text()), row.message) << "for " << row.text;
    }
}

/// A link with one more key, on line 2.
std::string lan_with(const std::string& key_and_value) {
    return "links = ( { name = \"lan\"; device = \"net_tap0\"; addresses = [ \"10.0.0.2/24\" ];\n" +
           key_and_value + " } );\n";
}

/// A rule with its keys but the given one changed.
std::string rule_with(const std::string& key, const std::string& value) {
    std::string text = kLan + "rules = ( {\n";
    const std::vector<std::pair<std::string, std::string>> keys = {
        {"protocol", R"("tcp")"}, {"external", R"("10.0.0.3:80")"}, {"target", R"("10.0.0.4:8080")"}};
    for (const auto& [usual_key, usual_value] : keys) {
        if (usual_key != key) text += fmt::format("{} = {};\n", usual_key, usual_value);
    }
    if (!value.empty()) text += fmt::format("{} = {};\n", key, value);
    return text + "} );\n";
}

TEST(Settings, LinksAreEnough) {
    const Settings settings = load_good(kLan);
    const Settings defaults;
    EXPECT_EQ(std::get<unsigned>(settings.workers), 1U);
    EXPECT_EQ(settings.sessions, defaults.sessions);
    EXPECT_EQ(settings.idle, IdleMode::adaptive);
    EXPECT_EQ(settings.socket, "/run/fwd/fwd.sock");
    EXPECT_EQ(settings.timeouts.tcp_established, 7440s);
    ASSERT_EQ(settings.links.size(), 1U);
    EXPECT_EQ(settings.links[0].name, "lan");
    EXPECT_EQ(settings.links[0].device, "net_tap0");
    EXPECT_EQ(to_text(settings.links[0].addresses.at(0)), "10.0.0.2/24");
    EXPECT_EQ(settings.links[0].mtu, 1500);
    EXPECT_FALSE(settings.links[0].vlan);
    EXPECT_TRUE(settings.rules.empty());
}

TEST(Settings, EveryKeyIsRead) {
    const Settings settings = load_good(R"(
        workers = ( 2, 3 );
        sessions = 0x100000;
        idle = "poll";
        ttl = "hide";
        tcp_window_check = true;
        hugepages = false;
        socket = "/tmp/s";
        state_directory = "/tmp/state";
        log_level = "debug";
        masquerade_ports = "2000-3000";
        timeouts = { tcp_opening = 1; tcp_established = 2; tcp_closing = 3; udp_unanswered = 4; udp = 604800; };
        links = (
            { name = "wan"; device = "0000:01:00.0"; addresses = ( "203.0.113.2/24", "203.0.113.3/24" ); vlan = 7;
              mtu = 9000; queues = 4; rx_checksum = "partial"; ping = true;
              mss_clamp = "mtu"; refuse = "icmp"; },
            { name = "lan"; device = "0000:01:00.0"; addresses = [ "10.0.0.2/24" ]; rx_checksum = "trusted";
              mss_clamp = 1452; lowest_ipv6_mtu = 1400; }
        );
        routes = ( { prefix = "0.0.0.0/0"; via = "203.0.113.1"; },
                   { prefix = "172.16.0.0/12"; via = "10.0.0.9"; link = "lan"; } );
        neighbours = ( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
        rules = (
            { name = "web"; protocol = "tcp"; external = "203.0.113.9:80"; target = "10.0.0.4:8080";
              source = "preserve"; link = "wan"; from = [ "198.51.100.0/24", "0.0.0.0/1" ]; },
            { protocol = "tcp+udp"; external = "203.0.113.9:53"; target = "172.16.0.53:53"; }
        );
    )");
    EXPECT_EQ(std::get<std::vector<unsigned>>(settings.workers), (std::vector<unsigned>{2, 3}));
    EXPECT_EQ(settings.sessions, 0x100000U);
    EXPECT_EQ(settings.idle, IdleMode::poll);
    EXPECT_TRUE(settings.hide_hop);
    EXPECT_TRUE(settings.tcp_window_check);
    EXPECT_FALSE(settings.hugepages);
    EXPECT_EQ(settings.socket, "/tmp/s");
    EXPECT_EQ(settings.state_directory, "/tmp/state");
    EXPECT_EQ(settings.log_level, "debug");
    EXPECT_EQ(settings.masquerade_port_first, 2000);
    EXPECT_EQ(settings.masquerade_port_last, 3000);
    EXPECT_EQ(settings.timeouts.tcp_opening, 1s);
    EXPECT_EQ(settings.timeouts.tcp_established, 2s);
    EXPECT_EQ(settings.timeouts.tcp_closing, 3s);
    EXPECT_EQ(settings.timeouts.udp_unanswered, 4s);
    EXPECT_EQ(settings.timeouts.udp, 604800s);

    ASSERT_EQ(settings.links.size(), 2U);
    const LinkSettings& wan = settings.links[0];
    EXPECT_EQ(wan.vlan, 7);
    EXPECT_EQ(wan.mtu, 9000);
    EXPECT_EQ(wan.queues, 4);
    EXPECT_EQ(wan.rx_checksum, RxChecksum::partial);
    EXPECT_TRUE(wan.ping);
    EXPECT_EQ(wan.greatest_mss(), 8960);
    EXPECT_EQ(wan.refuse, Refusal::icmp);
    EXPECT_EQ(settings.links[1].greatest_mss(), 1452);
    EXPECT_EQ(wan.lowest_ipv6_mtu, 1280);
    EXPECT_EQ(settings.links[1].lowest_ipv6_mtu, 1400);
    ASSERT_EQ(wan.addresses.size(), 2U);
    EXPECT_EQ(to_text(wan.addresses[1]), "203.0.113.3/24");

    ASSERT_EQ(settings.routes.size(), 2U);
    EXPECT_EQ(to_text(settings.routes[0].prefix), "0.0.0.0/0");
    EXPECT_EQ(to_text(settings.routes[0].via), "203.0.113.1");
    EXPECT_EQ(settings.routes[0].link, "wan") << "found from via";
    EXPECT_EQ(settings.routes[1].link, "lan");

    ASSERT_EQ(settings.neighbours.size(), 1U);
    EXPECT_EQ(settings.neighbours[0].link, "lan");
    EXPECT_EQ(to_text(settings.neighbours[0].address), "10.0.0.4");
    EXPECT_EQ(to_text(settings.neighbours[0].mac), "02:00:00:00:00:04");

    ASSERT_EQ(settings.rules.size(), 2U);
    const Rule& web = settings.rules[0];
    EXPECT_EQ(web.name, "web");
    EXPECT_TRUE(web.tcp);
    EXPECT_FALSE(web.udp);
    EXPECT_EQ(web.link, "wan");
    EXPECT_EQ(to_text(web.external), "203.0.113.9:80");
    EXPECT_EQ(to_text(web.targets), "10.0.0.4:8080");
    EXPECT_EQ(web.source, SourceMode::preserve);
    ASSERT_EQ(web.from.size(), 2U);
    EXPECT_EQ(to_text(web.from[1]), "0.0.0.0/1");
    EXPECT_EQ(settings.rules[1].name, "tcp-udp-203.0.113.9-53");
    EXPECT_EQ(settings.rules[1].source, SourceMode::automatic);
}

const std::string kIpv6Links = R"(links = (
    { name = "lan"; device = "net_tap0"; addresses = [ "fd00:1::1/48" ]; },
    { name = "wan"; device = "net_tap1"; addresses = [ "2001:db8:2::1/64" ]; } );
routes = ( { prefix = "::/0"; via = "2001:db8:2::fe"; } );
)";

/// The manual page shows them.
TEST(Settings, ExampleOfEveryKeyIsAccepted) {
    const std::map<std::string_view, std::string> beside{
        {"links", R"(links = ( { name = "lan"; device = "net_tap0"; addresses = [ "10.0.0.2/24" ]; @ } );)"},
        {"routes", kLan + R"(routes = ( { prefix = "0.0.0.0/0"; via = "10.0.0.254"; @ } );)"},
        {"rules",
         kLan + R"(rules = ( { protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:80"; @ } );)"},
        {"masquerades", kTwoLinks + R"(masquerades = ( { inside = "lan"; @ } );)"},
        {"timeouts", kLan + "timeouts = { @ };"},
        {"translation_log", kLan + R"(translation_log = { file = "/f"; @ };)"},
        {"prefixes",
         kIpv6Links + R"(prefixes = ( { inside = "fd00:1::/48"; external = "2001:db8:1::/48"; @ } );)"},
        {"", kTwoLinks + "@"},
    };
    for (const SettingGroup& group : setting_groups()) {
        for (const SettingKey& key : group.keys) {
            // Required ones stand there already; either a file or syslog.
            if (key.required || group.name == "neighbours" || key.key == "file" || key.key == "syslog")
                continue;
            const std::string_view example = key.example.substr(0, key.example.find(" or "));
            std::string text = key.key == "prefixes" ? kIpv6Links + "@" : beside.at(group.name);
            // These two are about what the kernel has.
            if (key.key == "host_interface" || key.key == "floating")
                text.insert(text.find('@'), "host = [ \"vrrp\" ]; ");
            text.replace(text.find('@'), 1, fmt::format("{} = {};", key.key, example));
            const test::TemporaryDirectory directory;
            const Result<Settings> settings = load(directory, text);
            EXPECT_TRUE(settings) << settings.error().text() << " in " << text;
        }
    }
}

TEST(Settings, RulesKnowTheirFileAndLine) {
    const test::TemporaryDirectory directory;
    directory.write(
        "rules.conf",
        "\nrules = (\n { protocol = \"udp\"; external = \"10.0.0.3:1\"; target = \"10.0.0.4:1\"; },\n"
        " { protocol = \"tcp\"; external = \"10.0.0.3:1\"; target = \"10.0.0.4:1\"; } );\n");
    const Result<Settings> settings = load(directory, "@include \"rules.conf\"\n" + kLan);
    ASSERT_TRUE(settings) << settings.error().text();
    ASSERT_EQ(settings->rules.size(), 2U);
    EXPECT_EQ(settings->rules[0].origin, RuleOrigin::config_file);
    EXPECT_EQ(directory.without_path(settings->rules[0].origin_text), "rules.conf:3");
    EXPECT_EQ(directory.without_path(settings->rules[1].origin_text), "rules.conf:4");
}

TEST(Settings, ErrorInIncludedFileNamesThatFileAndLine) {
    const test::TemporaryDirectory directory;
    directory.write("more/rules.conf", "\n\nrules = (\n { protocol = \"sctp\"; } );\n");
    const Result<Settings> settings = load(directory, kLan + "@include \"more/rules.conf\"\n");
    ASSERT_FALSE(settings);
    EXPECT_EQ(directory.without_path(settings.error().text()),
              "more/rules.conf:4: rules[0].protocol: got 'sctp', want 'tcp', 'udp', 'tcp+udp' or 'all'");
}

TEST(Settings, FileThatCannotBeReadIsNamed) {
    const test::TemporaryDirectory directory;
    const Result<Settings> missing = load_settings(directory.path() / "none.conf");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().kind, ErrorKind::not_found);
    EXPECT_EQ(directory.without_path(missing.error().text()),
              "none.conf: no such file; want a configuration file");
    const Result<Settings> folder = load_settings(directory.path());
    ASSERT_FALSE(folder);
    EXPECT_EQ(folder.error().text(), directory.path().string() + ": not a regular file");
}

TEST(Settings, SyntaxErrorsNameTheLineAndQuoteIt) {
    expect_messages({
        {kLan + "workers 2;\n", "fwd.conf:2: syntax error at or just before 'workers 2;'"},
        {kLan + "workers = ;\n", "fwd.conf:2: syntax error at or just before 'workers = ;'"},
        {kLan + "rules = (\n{\n", "fwd.conf:3: syntax error at or just before the end of the text"},
        {kLan + "workers = 1;\nworkers = 2;\n",
         "fwd.conf:3: duplicate setting name at or just before 'workers = 2;'"},
        {kLan + "rules = ( {\nlink = \"lan\";\nlink = \"wan\"; } );\n",
         "fwd.conf:4: duplicate setting name at or just before 'link = \"wan\"; } );'"},
        {kLan + "workers = [ 1, \"a\" ];\n",
         "fwd.conf:2: mismatched element type in array at or just before 'workers = [ 1, \"a\" ];'"},
        {"\xff\xfe", "fwd.conf:1: syntax error at or just before '\\xff\\xfe'"},
        {kLan + "x = " + std::string(100'000, '('),
         "fwd.conf:2: memory exhausted at or just before 'x = " + std::string(60, '(') + "...'"},
        {kLan + "/* rules = ( );\n", "fwd.conf:2: this comment is never closed, want */"},
    });
}

TEST(Settings, UnknownKeysGetTheNearestKnownOne) {
    expect_messages({
        {kLan + "worker = 2;\n", "fwd.conf:2: worker: unknown key, did you mean 'workers'?"},
        {kLan + "state_dir = \"/x\";\n",
         "fwd.conf:2: state_dir: unknown key, want one of workers, sessions, mappings, idle, hugepages, "
         "socket, state_directory, log_level, masquerade_ports, outbound_ports, ttl, tcp_window_check, "
         "timeouts, translation_log, links, routes, neighbours, prefixes, rules, masquerades"},
        {kLan + "timeouts = {\nudp_unaswered = 1; };\n",
         "fwd.conf:3: timeouts.udp_unaswered: unknown key, did you mean 'udp_unanswered'?"},
        {lan_with("mut = 9000;"), "fwd.conf:2: links[0].mut: unknown key, did you mean 'mtu'?"},
        {lan_with("colour = \"red\";"),
         "fwd.conf:2: links[0].colour: unknown key, want one of name, device, addresses, vlan, mtu, queues, "
         "rx_checksum, ping, mss_clamp, lowest_ipv6_mtu, host, host_interface, floating, refuse"},
        {kLan + "routes = ( { prefx = \"0.0.0.0/0\"; } );\n",
         "fwd.conf:2: routes[0].prefx: unknown key, did you mean 'prefix'?"},
        {kLan + "neighbours = ( { adress = \"10.0.0.4\"; } );\n",
         "fwd.conf:2: neighbours[0].adress: unknown key, did you mean 'address'?"},
        {rule_with("tagret", R"("10.0.0.4:8080")"),
         "fwd.conf:6: rules[0].tagret: unknown key, did you mean 'target'?"},
    });
}

TEST(Settings, MissingKeysAreNamedWithAnExample) {
    expect_messages({
        {"",
         "fwd.conf: links: missing, want for example links = ( { name = \"lan\"; device = \"0000:01:00.0\"; "
         "addresses = [ \"10.0.0.2/24\" ]; } );"},
        {"links = (\n{ device = \"net_tap0\"; addresses = [ \"10.0.0.2/24\" ]; } );",
         "fwd.conf:2: links[0].name: missing, want for example name = \"lan\";"},
        {"links = ( { name = \"lan\"; addresses = [ \"10.0.0.2/24\" ]; } );",
         "fwd.conf:1: links[0].device: missing, want for example device = \"0000:01:00.0\";"},
        {"links = ( { name = \"lan\"; device = \"net_tap0\"; } );",
         "fwd.conf:1: links[0].addresses: missing, want for example addresses = [ \"10.0.0.2/24\" ];"},
        {kLan + "routes = ( { via = \"10.0.0.254\"; } );",
         "fwd.conf:2: routes[0].prefix: missing, want for example prefix = \"0.0.0.0/0\";"},
        {kLan + "routes = ( { prefix = \"0.0.0.0/0\"; } );",
         "fwd.conf:2: routes[0].via: missing, want for example via = \"10.0.0.254\";"},
        {kLan + "neighbours = ( { } );",
         "fwd.conf:2: neighbours[0].link: missing, want for example link = \"lan\";"},
        {rule_with("protocol", ""),
         "fwd.conf:2: rules[0].protocol: missing, want for example protocol = \"tcp\";"},
        {rule_with("external", ""),
         "fwd.conf:2: rules[0].external: missing, want for example external = \"10.0.0.3:80\";"},
        {rule_with("target", ""),
         "fwd.conf:2: rules[0].target: missing, want for example target = \"10.0.0.4:8080\";"},
    });
}

TEST(Settings, ListsLongerThanTheDataPlaneCanHoldAreRefused) {
    const auto links = [](std::size_t count) {
        std::vector<std::string> rows;
        for (std::size_t i = 0; i < count; ++i) {
            rows.push_back(fmt::format(
                R"({{ name = "l{0}"; device = "net_tap{0}"; addresses = [ "10.0.{0}.1/24" ]; }})", i));
        }
        return fmt::format("links = ( {} );\n", fmt::join(rows, ", "));
    };
    const auto neighbours = [](std::size_t count) {
        std::vector<std::string> rows;
        for (std::size_t i = 0; i < count; ++i) {
            rows.push_back(
                fmt::format(R"({{ link = "big"; address = "10.1.{}.{}"; mac = "02:00:00:00:00:01"; }})",
                            i / 250, 2 + i % 250));
        }
        return R"(links = ( { name = "big"; device = "net_tap0"; addresses = [ "10.1.0.1/16" ]; } );)"
               "\n" +
               fmt::format("neighbours = ( {} );\n", fmt::join(rows, ", "));
    };
    EXPECT_EQ(load_good(links(32)).links.size(), 32U);
    EXPECT_EQ(load_good(neighbours(2048)).neighbours.size(), 2048U);
    expect_messages({
        {links(33), "fwd.conf:1: links: got 33 links, want at most 32"},
        {neighbours(2049), "fwd.conf:2: neighbours: got 2049 neighbours, want at most 2048"},
    });
}

TEST(Settings, WrongTypesAreToldApart) {
    expect_messages({
        {kLan + "workers = \"two\";",
         "fwd.conf:2: workers: got the string 'two', want how many or a list of cores "
         "such as 2 or [ 2, 3 ]"},
        {kLan + "workers = ( 1, \"two\" );", "fwd.conf:2: workers[1]: got the string 'two', want an integer"},
        {kLan + "sessions = 1.5;", "fwd.conf:2: sessions: got the number 1.5, want an integer such as 65536"},
        {kLan + "sessions = true;", "fwd.conf:2: sessions: got true, want an integer such as 65536"},
        {kLan + "idle = 1;", "fwd.conf:2: idle: got the integer 1, want a string such as \"adaptive\""},
        {kLan + "hugepages = \"yes\";",
         "fwd.conf:2: hugepages: got the string 'yes', want true or false such as true"},
        {kLan + "socket = [ \"/a\" ];",
         "fwd.conf:2: socket: got a list, want a string such as \"/run/fwd/fwd.sock\""},
        {kLan + "timeouts = 5;",
         "fwd.conf:2: timeouts: got the integer 5, want a group { ... } such as { udp = 300; }"},
        {kLan + "timeouts = { udp = \"5m\"; };",
         "fwd.conf:2: timeouts.udp: got the string '5m', want an integer such as 300"},
        {"links = { };",
         "fwd.conf:1: links: got a group, want a list such as ( { name = \"lan\"; device = "
         "\"0000:01:00.0\"; addresses = [ \"10.0.0.2/24\" ]; } )"},
        {"links = [ 1, 2 ];", "fwd.conf:1: links[0]: got the integer 1, want a group { ... }"},
        {"links = ( ( ) );", "fwd.conf:1: links[0]: got a list, want a group { ... }"},
        {"links = ( { name = \"lan\"; device = \"net_tap0\"; addresses = \"10.0.0.2/24\"; } );",
         "fwd.conf:1: links[0].addresses: got the string '10.0.0.2/24', want a list such as [ "
         "\"10.0.0.2/24\" ]"},
        {"links = ( { name = \"lan\"; device = \"net_tap0\"; addresses = [ 10 ]; } );",
         "fwd.conf:1: links[0].addresses[0]: got the integer 10, want a string"},
        {lan_with("ping = 1;"),
         "fwd.conf:2: links[0].ping: got the integer 1, want true or false such as true"},
        {lan_with("vlan = \"7\";"),
         "fwd.conf:2: links[0].vlan: got the string '7', want an integer such as 100"},
        {kLan + "rules = \"none\";",
         "fwd.conf:2: rules: got the string 'none', want a list such as ( { protocol = \"tcp\"; external = "
         "\"10.0.0.3:80\"; target = \"10.0.0.4:8080\"; } )"},
        {rule_with("external", "80"),
         "fwd.conf:5: rules[0].external: got the integer 80, want a string such as "
         "\"10.0.0.3:80\""},
        {rule_with("from", "\"10.0.0.0/24\""),
         "fwd.conf:6: rules[0].from: got the string '10.0.0.0/24', want a list such as [ \"10.0.0.0/24\" ]"},
    });
}

TEST(Settings, NumbersOutOfRangeAreRefused) {
    expect_messages({
        {kLan + "workers = 0;", "fwd.conf:2: workers: got 0, want 1 to 127"},
        {kLan + "workers = -1;", "fwd.conf:2: workers: got -1, want 1 to 127"},
        {kLan + "workers = 4294967297;", "fwd.conf:2: workers: got 4294967297, want 1 to 127"},
        {kLan + "workers = 0x100000001;", "fwd.conf:2: workers: got 4294967297, want 1 to 127"},
        {kLan + "workers = 99999999999999999999;",
         "fwd.conf:2: got '99999999999999999999', want a number of at most 64 bits"},
        {kLan + "workers = [ 2, 1024 ];", "fwd.conf:2: workers[1]: got 1024, want 0 to 1023"},
        {kLan + "sessions = 15;", "fwd.conf:2: sessions: got 15, want 16 to 100000000"},
        {kLan + "sessions = 100000001;", "fwd.conf:2: sessions: got 100000001, want 16 to 100000000"},
        {kLan + "timeouts = { udp = 0; };", "fwd.conf:2: timeouts.udp: got 0, want 1 to 604800"},
        {kLan + "timeouts = { tcp_closing = 604801; };",
         "fwd.conf:2: timeouts.tcp_closing: got 604801, want 1 to 604800"},
        {lan_with("vlan = 0;"), "fwd.conf:2: links[0].vlan: got 0, want 1 to 4094"},
        {lan_with("vlan = 4095;"), "fwd.conf:2: links[0].vlan: got 4095, want 1 to 4094"},
        {lan_with("mtu = 67;"), "fwd.conf:2: links[0].mtu: got 67, want 68 to 9600"},
        {lan_with("mtu = 65536;"), "fwd.conf:2: links[0].mtu: got 65536, want 68 to 9600"},
        {lan_with("queues = 1025;"), "fwd.conf:2: links[0].queues: got 1025, want 0 to 1024"},
        {rule_with("external", "\"10.0.0.3:65536\""),
         "fwd.conf:5: rules[0].external: got '10.0.0.3:65536', want a port of 1 to 65535 behind the colon"},
    });
}

TEST(Settings, BadTextsAreRefused) {
    const std::string device = "want a PCI address such as 0000:01:00.0 or a DPDK device such as net_tap0";
    const std::string ports = ", want a range of ports such as 1024-65535";
    expect_messages({
        {kLan + "workers = ( );", "fwd.conf:2: workers: got an empty list, want at least one core"},
        {kLan + "workers = [ 2, 3, 2 ];", "fwd.conf:2: workers[2]: got 2 twice, want each core once"},
        {kLan + "idle = \"never\";", "fwd.conf:2: idle: got 'never', want 'adaptive' or 'poll'"},
        {kLan + "log_level = \"loud\";",
         "fwd.conf:2: log_level: got 'loud', want 'error' or 'warning' or 'info' or 'debug'"},
        {kLan + "socket = \"fwd.sock\";", "fwd.conf:2: socket: got 'fwd.sock', want an absolute path"},
        {kLan + "socket = \"/" + std::string(107, 'x') + "\";",
         "fwd.conf:2: socket: got a path of 108 bytes, want at most 107"},
        {kLan + "state_directory = \"\";", "fwd.conf:2: state_directory: got '', want an absolute path"},
        {kLan + "socket = \"/a/fwd.sock\"; state_directory = \"/a/\";",
         "fwd.conf:2: socket: got '/a/fwd.sock', in the state directory, which is fwdd's alone; want another "
         "directory, such as /run/fwd"},
        {kLan + "masquerade_ports = \"1024\";", "fwd.conf:2: masquerade_ports: got '1024'" + ports},
        {kLan + "masquerade_ports = \"0-1024\";", "fwd.conf:2: masquerade_ports: got '0-1024'" + ports},
        {kLan + "masquerade_ports = \"5-4\";", "fwd.conf:2: masquerade_ports: got '5-4'" + ports},
        {kLan + "masquerade_ports = \"1-65536\";", "fwd.conf:2: masquerade_ports: got '1-65536'" + ports},
        {kLan + "masquerade_ports = \"1-2-3\";", "fwd.conf:2: masquerade_ports: got '1-2-3'" + ports},
        {kLan + "masquerade_ports = \"-\";", "fwd.conf:2: masquerade_ports: got '-'" + ports},
        {"links = ( );", "fwd.conf:1: links: got an empty list, want at least one link"},
        {"links = ( { name = \"l n\"; } );",
         "fwd.conf:1: links[0].name: got 'l n', want 1 to 31 letters, digits, dots, dashes or underscores"},
        {"links = ( { device = \"eth0\"; } );",
         "fwd.conf:1: links[0].device: got 'eth0', the kernel's name of a NIC; " + device},
        {"links = ( { device = \"\"; } );", "fwd.conf:1: links[0].device: got '', " + device},
        {"links = ( { device = \"net_tap0 iface=x\"; } );",
         "fwd.conf:1: links[0].device: got 'net_tap0 iface=x', " + device},
        {"links = ( { name = \"lan\"; device = \"net_tap0\"; addresses = [ ]; } );",
         "fwd.conf:1: links[0].addresses: got an empty list, want at least one address, or \"dhcp-client\" "
         "in `host`"},
        {"links = ( { addresses = [ \"10.0.0.2\" ]; } );",
         "fwd.conf:1: links[0].addresses[0]: got '10.0.0.2', want an address with its prefix length such "
         "as 10.0.0.2/24 or 2001:db8::2/64"},
        {kLan + "ttl = \"keep\";", "fwd.conf:2: ttl: got 'keep', want 'decrement' or 'hide'"},
        {lan_with("host = [ ];"),
         "fwd.conf:2: links[0].host: got an empty list, want at least one service, or no such key"},
        {lan_with("host = [ \"shh\" ];"),
         "fwd.conf:2: links[0].host[0]: got 'shh', want ping, ssh, dhcp-client, dhcp-server, dns, bgp, bfd, "
         "ospf, "
         "vrrp, snmp, or a group with protocol and port"},
        {lan_with("host = ( { service = \"ssh\"; port = \"23\"; } );"),
         "fwd.conf:2: links[0].host[0].service: got a protocol or port as well, want either of them"},
        {lan_with("host = ( { port = \"23\"; } );"),
         "fwd.conf:2: links[0].host[0].service: missing, want for example service = \"ssh\";"},
        {lan_with("host = ( { protocol = \"tcp\"; } );"),
         "fwd.conf:2: links[0].host[0].port: missing, want for example port = \"9100\" or \"9100-9110\";"},
        {lan_with("host = ( { protocol = \"icmp\"; port = \"1\"; } );"),
         "fwd.conf:2: links[0].host[0].protocol: got 'icmp', want 'tcp' or 'udp'"},
        {lan_with("host = ( { service = \"ssh\"; from = [ \"10.0.0.1/8\" ]; } );"),
         "fwd.conf:2: links[0].host[0].from[0]: got '10.0.0.1/8', want no bits set behind the prefix length: "
         "10.0.0.0/8"},
        {lan_with("host_interface = \"x\";"),
         "fwd.conf:2: links[0].host_interface: got one without `host`; want `host` as well"},
        {lan_with("host = [ \"ssh\" ]; host_interface = \"longer-than-fifteen\";"),
         "fwd.conf:2: links[0].host_interface: got 'longer-than-fifteen', want the name of an interface: 1 "
         "to 15 of "
         "letters, digits, '-', '_' and '.'"},
        {lan_with("floating = [ \"10.0.0.9\" ];"),
         "fwd.conf:2: links[0].floating: got one without `host`; want `host` as well"},
        {lan_with("host = [ \"vrrp\" ]; floating = [ \"10.0.0.2\" ];"),
         "fwd.conf:2: links[0].floating[0]: got 10.0.0.2, an address that fwd always has; want another"},
        {lan_with("host = [ \"vrrp\" ]; floating = [ \"10.9.0.2\" ];"),
         "fwd.conf:2: links[0].floating[0]: got 10.9.0.2, which is in none of the link's networks; want one "
         "that is"},
        {lan_with("refuse = \"tell\";"), "fwd.conf:2: links[0].refuse: got 'tell', want 'silent' or 'icmp'"},
        {lan_with("mss_clamp = 87;"), "fwd.conf:2: links[0].mss_clamp: got 87, want 88 to 9560"},
        {lan_with("lowest_ipv6_mtu = 1279;"),
         "fwd.conf:2: links[0].lowest_ipv6_mtu: got 1279, want 1280 to 9600"},
        {lan_with("mss_clamp = \"mut\";"), "fwd.conf:2: links[0].mss_clamp: got 'mut', want bytes or 'mtu'"},
        {lan_with("mss_clamp = true;"),
         "fwd.conf:2: links[0].mss_clamp: got true, want bytes or a word such as 1452 or \"mtu\""},
        {lan_with("rx_checksum = \"maybe\";"),
         "fwd.conf:2: links[0].rx_checksum: got 'maybe', want 'trusted' or 'partial'"},
        {rule_with("name", "\"\""),
         "fwd.conf:6: rules[0].name: got '', want 1 to 63 letters, digits, dots, dashes or underscores"},
        {rule_with("protocol", "\"icmp\""),
         "fwd.conf:5: rules[0].protocol: got 'icmp', want 'tcp', 'udp', 'tcp+udp' or 'all'"},
        {rule_with("external", "\"10.0.0.3\""),
         "fwd.conf:5: rules[0].external: got '10.0.0.3', want a port as well, such as 10.0.0.3:80"},
        {rule_with("source", "\"nat\""),
         "fwd.conf:6: rules[0].source: got 'nat', want 'auto', 'masquerade' or 'preserve'"},
        {rule_with("from", "[ \"10.0.0.1/24\" ]"),
         "fwd.conf:6: rules[0].from[0]: got '10.0.0.1/24', want no bits set behind the prefix length: "
         "10.0.0.0/24"},
        {rule_with("not_from", "[ \"10.0.0.0/24\", \"10.0.0.1/24\" ]"),
         "fwd.conf:6: rules[0].not_from[1]: got '10.0.0.1/24', want no bits set behind the prefix length: "
         "10.0.0.0/24"},
        {rule_with("target", "\"10.0.0.4:80*0\""),
         "fwd.conf:5: rules[0].target: got '10.0.0.4:80*0', want a weight of 1 to 100 behind the star"},
        {rule_with("target", "\"10.0.0.5:80,10.0.0.4:80*101\""),
         "fwd.conf:5: rules[0].target: got '10.0.0.4:80*101', want a weight of 1 to 100 behind the star"},
        {rule_with("from", "[ ]"),
         "fwd.conf:6: rules[0].from: got an empty list, want at least one prefix, or no "
         "such key to allow every source"},
    });
}

std::string two_links(const std::string& first, const std::string& second) {
    return "links = (\n{ " + first + " },\n{ " + second + " } );\n";
}

TEST(Settings, LinksMustNotClash) {
    const std::string lan = R"(name = "lan"; device = "net_tap0"; addresses = [ "10.0.0.2/24" ];)";
    expect_messages({
        {two_links(lan, R"(name = "lan"; device = "net_tap1"; addresses = [ "10.1.0.2/24" ];)"),
         "fwd.conf:3: links[1].name: got 'lan', the name of links[0] (fwd.conf:2) too; want a name of its "
         "own"},
        {two_links(lan, R"(name = "wan"; device = "net_tap0"; addresses = [ "10.1.0.2/24" ];)"),
         "fwd.conf:3: links[1].device: got no VLAN on 'net_tap0', as links[0] (fwd.conf:2) has; want another "
         "VLAN "
         "or another device"},
        {two_links(lan + " vlan = 5;",
                   R"(name = "wan"; device = "net_tap0"; vlan = 5; addresses = [ "10.1.0.2/24" ];)"),
         "fwd.conf:3: links[1].vlan: got VLAN 5 on 'net_tap0', as links[0] (fwd.conf:2) has; want another "
         "VLAN or "
         "another device"},
        {two_links(R"(name = "lan"; device = "0000:01:00.0"; addresses = [ "10.0.0.2/24" ];)",
                   R"(name = "wan"; device = "01:00.0"; addresses = [ "10.1.0.2/24" ];)"),
         "fwd.conf:3: links[1].device: got no VLAN on '01:00.0', as links[0] (fwd.conf:2) has; want another "
         "VLAN or "
         "another device"},
        {two_links(
             lan + " queues = 2;",
             R"(name = "wan"; device = "net_tap0"; vlan = 5; queues = 4; addresses = [ "10.1.0.2/24" ];)"),
         "fwd.conf:3: links[1].queues: got 4, but links[0] (fwd.conf:2) on the same device has 2; want one "
         "number"},
        {two_links(lan, R"(name = "wan"; device = "net_tap1"; addresses = [ "10.0.0.2/32" ];)"),
         "fwd.conf:3: links[1].addresses[0]: got 10.0.0.2/32, as links[0].addresses[0] (fwd.conf:2) has; "
         "want each "
         "address once"},
        {two_links(lan, R"(name = "wan"; device = "net_tap1"; addresses = [ "10.0.0.3/24" ];)"),
         "fwd.conf:3: links[1].addresses[0]: got 10.0.0.3/24, in the network of links[0].addresses[0] "
         "(fwd.conf:2); "
         "want each network on one link"},
        {"links = ( { name = \"lan\"; device = \"net_tap0\"; addresses = [ \"10.0.0.2/24\",\n\"10.0.0.2/24\" "
         "]; } );",
         "fwd.conf:2: links[0].addresses[1]: got 10.0.0.2/24, as links[0].addresses[0] (fwd.conf:1) has; "
         "want each "
         "address once"},
    });
}

TEST(Settings, OwnAddressesMustBeHosts) {
    const auto with_address = [](const std::string& address) {
        return "links = ( { name = \"lan\"; device = \"net_tap0\"; addresses = [ \"" + address + "\" ]; } );";
    };
    const std::string where = "fwd.conf:1: links[0].addresses[0]: got ";
    const std::string wanted = "; want an address for fwd itself";
    expect_messages({
        {with_address("0.0.0.0/8"), where + "0.0.0.0/8, the unspecified address" + wanted},
        {with_address("127.0.0.1/8"), where + "127.0.0.1/8, a loopback address" + wanted},
        {with_address("224.0.0.1/24"), where + "224.0.0.1/24, a multicast address" + wanted},
        {with_address("10.0.0.0/24"), where + "10.0.0.0/24, the network address of 10.0.0.0/24" + wanted},
        {with_address("10.0.0.255/24"),
         where + "10.0.0.255/24, the broadcast address of 10.0.0.0/24" + wanted},
    });
    EXPECT_EQ(load_good(with_address("10.0.0.0/31")).links.size(), 1U);
}

TEST(Settings, Ipv6HasItsOwnConditions) {
    const auto with = [](const std::string& link, const std::string& rest = {}) {
        return "links = ( { name = \"lan\"; device = \"net_tap0\"; " + link + " } );\n" + rest;
    };
    const std::string both = R"(addresses = [ "10.0.0.2/24", "2001:db8::2/64" ];)";
    const auto route = [](const std::string& prefix, const std::string& via, const std::string& more = {}) {
        return "routes = ( { prefix = \"" + prefix + "\"; via = \"" + via + "\"; " + more + " } );";
    };
    const std::string where = "fwd.conf:1: links[0].addresses[0]: got ";
    expect_messages({
        {with(R"(addresses = [ "2001:db8::2/64" ]; mtu = 1279;)"),
         where + "2001:db8::2/64 on a link with mtu 1279; want an mtu of at least 1280 for IPv6"},
        {with(R"(addresses = [ "2001:db8::/64" ];)"),
         where + "2001:db8::/64, the subnet-router anycast address of 2001:db8::/64; want an address for fwd "
                 "itself"},
        {with(R"(addresses = [ "fe80::2/64" ];)"),
         where +
             "fe80::2/64, a link-local address, which means nothing beyond its link; want an address for fwd "
             "itself"},
        {with(both, route("::/0", "10.0.0.1")),
         "fwd.conf:2: routes[0].via: got 10.0.0.1, of another family than ::/0; want a router's address of "
         "the same"},
        {with(both, route("::/0", "fe80::1")),
         "fwd.conf:2: routes[0].via: got fe80::1, a link-local address; want `link` as well, to say on "
         "which"},
        {with(R"(addresses = [ "10.0.0.2/24" ];)", route("::/0", "fe80::1", R"(link = "lan";)")),
         "fwd.conf:2: routes[0].link: got 'lan', which has no IPv6 address; want a link that has one"},
    });
    const Settings settings = load_good(with(both, route("::/0", "fe80::1", R"(link = "lan";)")));
    EXPECT_EQ(to_text(settings.links[0].addresses[1]), "2001:db8::2/64");
    EXPECT_EQ(to_text(settings.routes[0].via), "fe80::1");
}

TEST(Settings, PrefixesHaveToBeNetworksOfIpv6ThatDoNotOverlap) {
    const auto with = [](const std::string& pairs) {
        return R"(links = ( { name = "lan"; device = "net_tap0"; addresses = [ "fd00::1/64", "2001:db8::2/64" ]; } );
prefixes = ( )" +
               pairs + ");";
    };
    const std::string where = "fwd.conf:2: prefixes[0].";
    expect_messages({
        {with(R"({ inside = "fd00::/48"; })"),
         where + "external: missing, want for example external = \"2001:db8:1::/48\";"},
        {with(R"({ inside = "10.0.0.0/24"; external = "2001:db8:1::/48"; })"),
         where + "inside: got 10.0.0.0/24, want a network of IPv6 hosts of at most 64 bits, such as "
                 "2001:db8:1::/48"},
        {with(R"({ inside = "fd00::/48"; external = "2001:db8:1::/112"; })"),
         where + "external: got 2001:db8:1::/112, want a network of IPv6 hosts of at most 64 bits, such as "
                 "2001:db8:1::/48"},
        {with(R"({ inside = "fd00::/48"; external = "2001:db8:1::/56"; })"),
         where + "external: got 2001:db8:1::/56 for fd00::/48; want two prefixes of the same length"},
        {with(R"({ inside = "fd00::1/48"; external = "2001:db8:1::/48"; })"),
         where + "inside: got 'fd00::1/48', want no bits set behind the prefix length: fd00::/48"},
        {with(R"({ inside = "fd00::/48"; external = "2001:db8:1:1::/48"; })"),
         where + "external: got '2001:db8:1:1::/48', want no bits set behind the prefix length: "
                 "2001:db8:1::/48"},
        {with(R"({ inside = "fd01::/48"; external = "2001:db8:1::/48"; })"),
         where +
             "inside: got fd01::/48, to which there is no route; want a link's network, or a route to it"},
        {with(R"({ inside = "fd00::/48"; external = "2001:db8::/48"; })"),
         where + "external: got 2001:db8::/48, in which link lan has 2001:db8::2/64: nobody asks fwd for the "
                 "others there; want a network that routers lead to fwd"},
        {with(R"({ inside = "fd00::/48"; external = "2001:db8:1::/48"; },
                 { inside = "fd00::/52"; external = "2001:db8:2::/52"; })"),
         "fwd.conf:3: prefixes[1].inside: got fd00::/52, which overlaps with prefixes[0] (fwd.conf:2); want "
         "networks of their own"},
    });
    const Settings settings =
        load_good(with(R"({ inside = "fd00::/48"; external = "2001:db8:1::/48"; inbound = true; })"));
    ASSERT_EQ(settings.prefixes.size(), 1U);
    EXPECT_TRUE(settings.prefixes[0].inbound);
}

TEST(Settings, PoolHasNoAddressOfFwdsOwnInEitherFamily) {
    const auto with_pool = [](const std::string& address) {
        return kIpv6Links + R"(masquerades = ( { inside = "lan"; pool = [ "2001:db8:2::9", ")" + address +
               R"(" ]; } );)";
    };
    const std::string where = "fwd.conf:5: masquerades[0].pool[1]: ";
    expect_messages({
        {with_pool("2001:db8:2::1"), where +
                                         "got 2001:db8:2::1, fwd's own address on link wan; want no pool to "
                                         "use own addresses, or an address that nobody has"},
        {with_pool("fd00:1::1"), where +
                                     "got fd00:1::1, fwd's own address on link lan; want no pool to use own "
                                     "addresses, or an address that nobody has"},
        {with_pool("2001:db8:2::fe"),
         where + "got 2001:db8:2::fe, the gateway of ::/0; want an address that no other host has"},
    });
}

TEST(Settings, LinksMayShareADeviceByVlanAndNestNetworks) {
    const Settings settings = load_good(R"(links = (
        { name = "a"; device = "01:00.0"; addresses = [ "10.0.0.2/8", "10.0.0.3/8" ]; },
        { name = "b"; device = "01:00.0"; vlan = 1; queues = 2; addresses = [ "10.1.0.2/16" ]; },
        { name = "c"; device = "01:00.0"; vlan = 2; addresses = [ "10.2.0.2/16" ]; } );)");
    EXPECT_EQ(settings.links.size(), 3U);
}

TEST(Settings, RoutesMustLeadSomewhere) {
    const auto with_route = [](const std::string& prefix, const std::string& via,
                               const std::string& more = {}) {
        return kTwoLinks + "routes = ( { prefix = \"" + prefix + "\"; via = \"" + via + "\"; " + more +
               " } );\n";
    };
    expect_messages({
        {with_route("0.0.0.0/0", "8.8.8.8"),
         "fwd.conf:2: routes[0].via: got 8.8.8.8, which is in no link's network; want a router next to fwd"},
        {with_route("0.0.0.0/0", "10.0.0.2"),
         "fwd.conf:2: routes[0].via: got 10.0.0.2, fwd's own address on link lan; want another router's"},
        {with_route("0.0.0.0/0", "10.0.0.255"),
         "fwd.conf:2: routes[0].via: got 10.0.0.255, the broadcast address of 10.0.0.0/24; want a router's "
         "address"},
        {with_route("0.0.0.0/0", "10.0.0.1", "link = \"wan\";"),
         "fwd.conf:2: routes[0].via: got 10.0.0.1, which is reached by link lan; want an address in a "
         "network of "
         "link wan"},
        {with_route("0.0.0.0/0", "10.0.0.1", "link = \"wna\";"),
         "fwd.conf:2: routes[0].link: got 'wna', which is no link; there is lan, wan"},
        {with_route("203.0.113.0/24", "10.0.0.1"),
         "fwd.conf:2: routes[0].prefix: got 203.0.113.0/24, which link wan reaches without a route"},
        {with_route("224.0.0.0/4", "10.0.0.1"),
         "fwd.conf:2: routes[0].prefix: got 224.0.0.0/4, a multicast address; want a network of hosts"},
        {with_route("10.9.0.1/16", "10.0.0.1"),
         "fwd.conf:2: routes[0].prefix: got '10.9.0.1/16', want no bits set behind the prefix length: "
         "10.9.0.0/16"},
        {kTwoLinks + "routes = ( { prefix = \"10.9.0.0/16\"; via = \"10.0.0.1\"; },\n"
                     "{ prefix = \"10.9.0.0/16\"; via = \"10.0.0.9\"; } );",
         "fwd.conf:3: routes[1].prefix: got 10.9.0.0/16, as routes[0] (fwd.conf:2) has; want one route to a "
         "network"},
    });
}

TEST(Settings, NeighboursMustBeNextToFwd) {
    const auto with_neighbour = [](const std::string& link, const std::string& address,
                                   const std::string& mac) {
        return kTwoLinks + "neighbours = ( { link = \"" + link + "\"; address = \"" + address +
               "\"; mac = \"" + mac + "\"; } );\n";
    };
    const std::string mac = "02:00:00:00:00:04";
    expect_messages({
        {with_neighbour("dmz", "10.0.0.4", mac),
         "fwd.conf:2: neighbours[0].link: got 'dmz', which is no link; there is lan, wan"},
        {with_neighbour("wan", "10.0.0.4", mac),
         "fwd.conf:2: neighbours[0].address: got 10.0.0.4, want an address in a network of link wan"},
        {with_neighbour("lan", "8.8.8.8", mac),
         "fwd.conf:2: neighbours[0].address: got 8.8.8.8, want an address in a network of link lan"},
        {with_neighbour("lan", "10.0.0.2", mac),
         "fwd.conf:2: neighbours[0].address: got 10.0.0.2, fwd's own address on link lan; want another "
         "host's"},
        {with_neighbour("lan", "10.0.0.0", mac),
         "fwd.conf:2: neighbours[0].address: got 10.0.0.0, the network address of 10.0.0.0/24; want a host's "
         "address"},
        {with_neighbour("lan", "10.0.0.4", "ff:ff:ff:ff:ff:ff"),
         "fwd.conf:2: neighbours[0].mac: got ff:ff:ff:ff:ff:ff, want the MAC address of a single host"},
        {with_neighbour("lan", "10.0.0.4", "00:00:00:00:00:00"),
         "fwd.conf:2: neighbours[0].mac: got 00:00:00:00:00:00, want the MAC address of a single host"},
        {with_neighbour("lan", "10.0.0.4", "2:4"),
         "fwd.conf:2: neighbours[0].mac: got '2:4', want a MAC address such as 02:00:00:00:00:01"},
        {kLan + "neighbours = ( { link = \"lan\"; address = \"10.0.0.4\"; mac = \"" + mac +
             "\"; },\n{ link = \"lan\"; address = \"10.0.0.4\"; mac = \"" + mac + "\"; } );\n",
         "fwd.conf:3: neighbours[1].address: got 10.0.0.4, as neighbours[0] (fwd.conf:2) has; want each "
         "neighbour "
         "once"},
    });
}

TEST(Settings, RulesMustBePossible) {
    const std::string web =
        R"({ name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:80"; })";
    expect_messages({
        {rule_with("link", "\"wan\""),
         "fwd.conf:6: rules[0].link: got 'wan', which is no link; there is lan"},
        {rule_with("target", "\"8.8.8.8:80\""),
         "fwd.conf:5: rules[0].target: got 8.8.8.8:80, to which there is no route; want an address in a "
         "link's "
         "network, or a route to it in the configuration"},
        {rule_with("target", "\"10.0.0.2:80\""),
         "fwd.conf:5: rules[0].target: got 10.0.0.2:80, fwd's own address on link lan; want the address of "
         "another "
         "host"},
        {rule_with("external", "\"255.255.255.255:80\""),
         "fwd.conf:5: rules[0].external: got 255.255.255.255:80, the broadcast address; want an address that "
         "clients can connect to"},
        {kLan + "rules = (\n" + web +
             ",\n{ name = \"shop\";\nprotocol = \"tcp+udp\";\nexternal = \"10.0.0.3:80\";\n"
             "target = \"10.0.0.5:80\"; } );",
         "fwd.conf:6: rules[1].external: got tcp 10.0.0.3:80 on any link for rule 'shop', but rule 'web' "
         "(fwd.conf:3) has it; want another address, port, protocol or link"},
        {kLan + "rules = (\n" + web + ",\n" + web + " );",
         "fwd.conf:4: rules[1].name: got 'web', the name of another rule (fwd.conf:3); want a name of its "
         "own"},
    });
}

TEST(Settings, RuleIsReachedThroughARoute) {
    const Settings settings = load_good(kLan + R"(routes = ( { prefix = "0.0.0.0/0"; via = "10.0.0.1"; } );
        rules = ( { protocol = "tcp"; external = "10.0.0.3:80"; target = "8.8.8.8:80"; } );)");
    EXPECT_EQ(settings.rules.size(), 1U);
}

TEST(Settings, ManyRulesLoad) {
#if defined(FWD_ADDRESS_SANITIZER)
    constexpr unsigned kCount = 10'000;
#else
    constexpr unsigned kCount = 100'000;
#endif
    std::string text = kLan + "rules = (\n";
    for (unsigned i = 0; i < kCount; ++i) {
        const net::Endpoint external{net::Ipv4Address::from_host(0xc0000000U + i / 60000),
                                     net::be16::from_host(static_cast<std::uint16_t>(1 + i % 60000))};
        text += R"({ protocol = "tcp"; external = ")" + to_text(external) + R"("; target = "10.0.0.4:80"; })";
        text += i + 1 < kCount ? ",\n" : ");\n";
    }
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(load_good(text).rules.size(), kCount);
    const auto took = std::chrono::steady_clock::now() - begin;
    RecordProperty("milliseconds", static_cast<int>(took / 1ms));
    EXPECT_LT(took, 60s) << "some 1 s on a quiet machine; a rule that looks at all others takes minutes";
}

class ExampleConfig : public testing::TestWithParam<const char*> {
 protected:
    const std::filesystem::path file_ = std::filesystem::path{FWD_CONF_DIRECTORY} / GetParam();
};

TEST_P(ExampleConfig, IsGood) {
    const Result<Settings> settings = load_settings(file_);
    ASSERT_TRUE(settings) << settings.error().text();
    EXPECT_FALSE(settings->rules.empty());
}

TEST_P(ExampleConfig, CutShortOrChangedIsGoodOrRefusedWithItsName) {
    std::ifstream stream{file_};
    const std::string text{std::istreambuf_iterator<char>{stream}, {}};
    ASSERT_FALSE(text.empty());
    const test::TemporaryDirectory directory;
    const auto try_text = [&](const std::string& changed) {
        const Result<Settings> settings = load(directory, changed);
        if (!settings) {
            EXPECT_EQ(directory.without_path(settings.error().text()).rfind("fwd.conf", 0), 0U)
                << settings.error().text();
        }
    };
    for (std::size_t size = 0; size < text.size(); size += 7) try_text(text.substr(0, size));
    constexpr char kBytes[] = {'\0', '\n', '"', '\\', '(', '}', '/',   '*',
                               '#',  '@',  '9', 'L',  '-', ';', '\x80'};
    unsigned random = 12345;
    for (int i = 0; i < 3000; ++i) {
        std::string changed = text;
        for (int changes = 0; changes < 1 + i % 3; ++changes) {
            random = random * 1664525U + 1013904223U;
            changed[(random >> 8U) % changed.size()] = kBytes[(random >> 4U) % sizeof kBytes];
        }
        try_text(changed);
    }
}

INSTANTIATE_TEST_SUITE_P(All, ExampleConfig,
                         testing::Values("one-segment.conf", "home-router.conf", "edge.conf"));

TEST(Settings, LogOfTranslationsIsAFileOrSyslog) {
    EXPECT_FALSE(load_good(kLan).translation_log.is_on());
    const auto of = [](const std::string& text) {
        return load_good(kLan + "translation_log = { " + text + " };").translation_log;
    };
    EXPECT_EQ(of(R"(file = "/var/log/fwd/t.log"; rotate_bytes = 1000000; keep = 3;)"),
              (TranslationLogSettings{
                  .file = "/var/log/fwd/t.log", .syslog = {}, .rotate_bytes = 1000000, .keep = 3}));
    EXPECT_EQ(of(R"(syslog = "/dev/log";)").syslog, "/dev/log");
    expect_messages({
        {kLan + "translation_log = { };",
         "fwd.conf:2: translation_log.file: missing, want for example file = "
         "\"/var/log/fwd/translations.log\";"},
        {kLan + "translation_log = { file = \"t.log\"; };",
         "fwd.conf:2: translation_log.file: got 't.log', want an absolute path"},
        {kLan + "translation_log = { file = \"/t\"; rotate_bytes = 0; };",
         "fwd.conf:2: translation_log.rotate_bytes: got 0, want 10000 to 1099511627776"},
        {kLan + "translation_log = { file = \"/t\"; keep = 1001; };",
         "fwd.conf:2: translation_log.keep: got 1001, want 0 to 1000"},
        {kLan + "translation_log = { file = \"/t\"; syslog = \"/dev/log\"; };",
         "fwd.conf:2: translation_log.syslog: got a file as well, want either of them"},
        {kLan + "translation_log = { fiel = \"/t\"; };",
         "fwd.conf:2: translation_log.fiel: unknown key, did you mean 'file'?"},
    });
}

TEST(Rules, WrittenAndReadAgainAreTheSame) {
    const std::string text = R"(rules = (
    { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
    { name = "dns"; protocol = "tcp+udp"; external = "10.0.0.3:53"; target = "10.0.0.4:53"; source = "masquerade"; },
    { name = "g.1_a-b"; protocol = "udp"; external = "1.2.3.4:65535"; target = "5.6.7.8:1"; source = "preserve"; link = "wan"; from = [ "10.0.0.0/24", "0.0.0.0/0" ]; },
    { name = "all"; protocol = "tcp"; external = "1.2.3.4:5-9"; target = "5.6.7.8:15-19*3,5.6.7.9:5-9"; balance = "source-hash"; not_from = [ "10.0.0.0/24" ]; max_sessions = 1000; max_sessions_per_source = 10; rate = 50; },
    { name = "off"; protocol = "tcp"; external = "1.2.3.4:1"; target = "5.6.7.8:1"; comment = "the \"shop\" \\x00 # it's"; disabled = true; },
    { name = "host"; protocol = "all"; external = "1.2.3.5"; target = "5.6.7.9"; outbound = true; }
);
)";
    const Result<std::vector<Rule>> rules = parse_rules(text, "text");
    ASSERT_TRUE(rules) << rules.error().text();
    ASSERT_EQ(rules->size(), 6U);
    EXPECT_EQ(rules->at(4).comment, R"(the "shop" \x00 # it's)");
    EXPECT_TRUE(rules->at(4).disabled);
    EXPECT_EQ(rules->at(0).origin, RuleOrigin::runtime);
    EXPECT_EQ(rules->at(0).origin_text, "");
    EXPECT_EQ(rules->at(2).link, "wan");
    EXPECT_EQ(rules->at(2).from.size(), 2U);
    EXPECT_EQ(format_rules(*rules), text);
}

TEST(Rules, NoRulesAreWrittenAndReadAgain) {
    EXPECT_EQ(format_rules({}), "rules = ( );\n");
    const Result<std::vector<Rule>> rules = parse_rules(format_rules({}), "text");
    ASSERT_TRUE(rules) << rules.error().text();
    EXPECT_TRUE(rules->empty());
}

TEST(Rules, TextWithAnythingElseIsRefused) {
    const std::vector<BadConfig> rows = {
        {"",
         "-: rules: missing, want for example rules = ( { protocol = \"tcp\"; external = \"10.0.0.3:80\"; "
         "target = "
         "\"10.0.0.4:8080\"; } );"},
        {"rules = ( );\nworkers = 1;\n", "-:2: workers: unknown key, want one of rules"},
        {"rule = ( );", "-:1: rule: unknown key, did you mean 'rules'?"},
        {"@include \"/etc/passwd\"\n", "-:1: @include is not allowed here"},
        {"rules = (\n{ protocol = \"tcp\"; external = \"10.0.0.3\"; target = \"10.0.0.4:1\"; } );",
         "-:2: rules[0].external: got '10.0.0.3', want a port as well, such as 10.0.0.3:80"},
        {"rules = (", "-:1: syntax error at or just before the end of the text"},
        {"tcp 10.0.0.3:80 10.0.0.4:8080\n",
         "-:1: syntax error at or just before 'tcp 10.0.0.3:80 10.0.0.4:8080'"},
    };
    for (const BadConfig& row : rows) {
        const Result<std::vector<Rule>> rules = parse_rules(row.text, "-");
        ASSERT_FALSE(rules) << "accepted: " << row.text;
        EXPECT_EQ(rules.error().text(), row.message);
    }
}

}  // namespace
}  // namespace fwd::control
