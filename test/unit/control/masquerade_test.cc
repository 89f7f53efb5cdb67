// SPDX-License-Identifier: BSD-3-Clause
// Masquerades as they are written, checked, kept and given back.
#include "control/masquerade.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "control/rule_store.h"
#include "control/settings.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using namespace std::chrono_literals;

const std::string kLinks = R"(links = (
    { name = "wan"; device = "0000:01:00.0"; addresses = [ "192.0.2.1/24" ]; },
    { name = "lan"; device = "0000:02:00.0"; addresses = [ "10.0.0.1/24" ]; } );
routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:80"; } );
)";

Result<Settings> load(const std::string& text) {
    const test::TemporaryDirectory directory;
    directory.write("fwd.conf", text);
    return load_settings(directory.path() / "fwd.conf");
}

std::string error_of(const std::string& text) {
    const auto settings = load(kLinks + text);
    if (settings) return "no error";
    const std::string all = settings.error().text();
    return all.substr(all.find("fwd.conf"));
}

TEST(MasqueradeSettings, EveryKeyIsRead) {
    const auto settings = load(kLinks + R"(
        mappings = 4096;
        outbound_ports = "50000-60000";
        timeouts = { mapping = 120; port_quarantine = 0; };
        masquerades = (
            { inside = "lan"; },
            { name = "some"; inside = "10.0.0.64/26"; pool = [ "192.0.2.7", "203.0.113.1" ]; to = [ "198.51.100.0/24" ];
              filtering = "endpoint-independent"; max_ports_per_host = 100; max_sessions = 1000;
              max_sessions_per_source = 10; rate = 5; inbound_refresh = false; } );)");
    ASSERT_TRUE(settings) << settings.error().text();
    EXPECT_EQ(settings->mappings, 4096);
    EXPECT_EQ(settings->outbound_port_first, 50000);
    EXPECT_EQ(settings->outbound_port_last, 60000);
    EXPECT_EQ(settings->timeouts.mapping, 120s);
    EXPECT_EQ(settings->timeouts.port_quarantine, 0s);
    ASSERT_EQ(settings->masquerades.size(), 2U);
    const Masquerade& lan = settings->masquerades[0];
    EXPECT_EQ(lan.name, "masquerade-lan");
    EXPECT_EQ(inside_text(lan), "lan");
    EXPECT_TRUE(lan.pool.empty());
    EXPECT_EQ(lan.filtering, Filtering::address_dependent);
    EXPECT_TRUE(lan.inbound_refresh);
    // What is printed is read again as the same.
    const auto again = parse_rules_and_masquerades(format_masquerades(settings->masquerades), "text");
    ASSERT_TRUE(again) << again.error().text();
    for (std::size_t i = 0; i < 2; ++i) {
        Masquerade known = settings->masquerades[i];
        known.origin = RuleOrigin::runtime;
        EXPECT_TRUE(is_same(again->masquerades[i], known)) << i;
    }
}

TEST(MasqueradeSettings, DefaultsAreThoseOfTheRfcs) {
    const auto settings = load(kLinks);
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->timeouts.mapping, 300s);          // RFC 4787, REQ-5
    EXPECT_EQ(settings->timeouts.port_quarantine, 120s);  // RFC 6888, REQ-8
    EXPECT_EQ(settings->mappings, 16384);
    EXPECT_EQ(settings->outbound_port_first, 32768);
}

/// U5: what is wrong is refused with the place, what came and what would be right.
TEST(MasqueradeSettings, WrongOnesAreRefused) {
    const std::vector<std::pair<std::string, std::string>> cases{
        {"timeouts = { mapping = 119; };", "fwd.conf:6: timeouts.mapping: got 119, want 120 to 604800"},
        {"masquerades = ( { } );",
         "fwd.conf:6: masquerades[0].inside: missing, want for example inside = \"lan\";"},
        {"masquerades = ( { inside = \"lam\"; } );",
         "fwd.conf:6: masquerades[0].inside: got 'lam', which is no link; there is wan, lan"},
        {"masquerades = ( { inside = \"10.0.0.4\"; } );",
         "fwd.conf:6: masquerades[0].inside: got '10.0.0.4', want a link's name or a prefix such as "
         "10.0.0.4/32"},
        {"masquerades = ( { inside = \"10.0.0.4/24\"; } );",
         "fwd.conf:6: masquerades[0].inside: got '10.0.0.4/24', want no bits set behind the prefix length: "
         "10.0.0.0/24"},
        {"masquerades = ( { inside = \"wan\"; } );",
         "fwd.conf:6: masquerades[0].inside: got 'wan', the link of a default route, behind which the "
         "whole world "
         "is; want another link, or a prefix"},
        {"masquerades = ( { inside = \"0.0.0.0/0\"; } );",
         "fwd.conf:6: masquerades[0].inside: got 0.0.0.0/0, everybody; want a prefix of hosts, such as "
         "10.0.0.0/24"},
        {"masquerades = ( { inside = \"fd00::4\"; } );",
         "fwd.conf:6: masquerades[0].inside: got 'fd00::4', want a link's name or a prefix such as "
         "fd00::4/128"},
        {"masquerades = ( { inside = \"fd00::/64\"; } );",
         "fwd.conf:6: masquerades[0].inside: got fd00::/64, to which there is no route; want a prefix in a "
         "link's network, or a route to it in the configuration"},
        {"masquerades = ( { inside = \"lan\"; pool = [ \"192.0.2.7\", \"2001:db8::7\" ]; } );",
         "fwd.conf:6: masquerades[0].pool[1]: got 2001:db8::7, but no link has an IPv6 address; want an IPv4 "
         "address, or give a link an IPv6 one"},
        {"masquerades = ( { inside = \"10.0.0.0/24\"; pool = [ \"192.0.2.7\", \"2001:db8::7\" ]; } );",
         "fwd.conf:6: masquerades[0].pool[1]: got 2001:db8::7, IPv6, for hosts of 10.0.0.0/24; want IPv4"},
        {"masquerades = ( { inside = \"10.0.0.0/24\"; to = [ \"2001:db8::/32\" ]; } );",
         "fwd.conf:6: masquerades[0].to[0]: got 2001:db8::/32, IPv6, for hosts of 10.0.0.0/24; want IPv4"},
        {"masquerades = ( { inside = \"lan\"; to = [ \"10.0.0.0/8\", \"10.0.0.1/8\" ]; } );",
         "fwd.conf:6: masquerades[0].to[1]: got '10.0.0.1/8', want no bits set behind the prefix length: "
         "10.0.0.0/8"},
        {"masquerades = ( { inside = \"lan\"; pool = [ \"192.0.2.1\" ]; } );",
         "fwd.conf:6: masquerades[0].pool[0]: got 192.0.2.1, fwd's own address on link wan; want no pool to "
         "use own "
         "addresses, or an address that nobody has"},
        {"masquerades = ( { inside = \"lan\"; pool = [ \"192.0.2.254\" ]; } );",
         "fwd.conf:6: masquerades[0].pool[0]: got 192.0.2.254, the gateway of 0.0.0.0/0; want an address "
         "that no "
         "other host has"},
        {"masquerades = ( { inside = \"lan\"; pool = [ \"192.0.2.7\", \"192.0.2.7\" ]; } );",
         "fwd.conf:6: masquerades[0].pool[1]: got 192.0.2.7, twice; want each address once"},
        {"masquerades = ( { inside = \"lan\"; }, { name = \"b\"; inside = \"lan\"; } );",
         "fwd.conf:6: masquerades[1].inside: got lan for masquerade 'b', but masquerade 'masquerade-lan' "},
        {"masquerades = ( { name = \"a\"; inside = \"lan\"; to = [ \"198.51.100.0/24\" ]; }, "
         "{ name = \"b\"; inside = \"lan\"; to = [ \"198.51.100.7/32\" ]; } );",
         "fwd.conf:6: masquerades[1].to: got 198.51.100.7/32 for masquerade 'b', but masquerade 'a' "},
        {"masquerades = ( { inside = \"lan\"; filtering = \"none\"; } );",
         "fwd.conf:6: masquerades[0].filtering: got 'none', want 'address-dependent' or "
         "'endpoint-independent'"},
        {"masquerades = ( { inside = \"lan\"; poool = [ ]; } );",
         "fwd.conf:6: masquerades[0].poool: unknown key, did you mean 'pool'?"},
        {"masquerades = ( { inside = \"10.1.0.0/16\"; pool = [ \"192.0.2.7\", \"10.0.0.4\" ]; } );",
         "fwd.conf:6: masquerades[0].pool[1]: got 10.0.0.4, the host that rule 'web' ("},
        {"masquerades = ( { name = \"web\"; inside = \"lan\"; } );",
         "fwd.conf:6: masquerades[0].name: got 'web', the name of a rule; want a name of its own"},
        {"masquerade_ports = \"5-6\"; outbound_ports = \"5-6\";",
         "fwd.conf:6: outbound_ports: got 5-6, all of masquerade_ports; want other ports than rules use for "
         "full NAT"},
    };
    for (const auto& [text, message] : cases) {
        const std::string error = error_of(text);
        EXPECT_EQ(error.substr(0, message.size()), message) << error;
    }
}

class MasqueradeBookTest : public ::testing::Test {
 protected:
    RuleBook open() {
        auto store = RuleStore::open(directory_.path() / "state");
        EXPECT_TRUE(store) << store.error().text();
        auto book = RuleBook::open(test::example_topology(), std::move(*store), {});
        EXPECT_TRUE(book) << book.error().text();
        return std::move(*book);
    }
    static Masquerade make(const std::string& inside, const std::string& name = "") {
        Masquerade masquerade;
        masquerade.name = name;
        EXPECT_TRUE(parse_inside(inside, masquerade));
        masquerade.origin = RuleOrigin::database;
        return masquerade;
    }
    static std::vector<std::string> names(const RuleBook& book) {
        std::vector<std::string> names;
        for (const auto& [id, masquerade] : book.masquerades()) names.push_back(masquerade.name);
        return names;
    }
    using Names = std::vector<std::string>;
    test::TemporaryDirectory directory_;
};

TEST_F(MasqueradeBookTest, DurableOnesAreBackAsTheyWere) {
    Masquerade full = make("10.1.0.0/16", "full");
    full.pool = {*parse_address("192.0.2.7"), *parse_address("203.0.113.1")};
    full.to = {*parse_prefix("198.51.100.0/24")};
    full.filtering = Filtering::endpoint_independent;
    full.max_ports_per_host = 7;
    full.rate = 9;
    full.inbound_refresh = false;
    {
        RuleBook book = open();
        ASSERT_TRUE(book.add(full));
        ASSERT_TRUE(book.add(make("lan")));
        Masquerade gone = make("wan");
        gone.origin = RuleOrigin::runtime;
        ASSERT_TRUE(book.add(gone));
        ASSERT_TRUE(book.commit());
    }
    {
        RuleBook book = open();
        EXPECT_EQ(names(book), (Names{"full", "masquerade-lan"}));
        EXPECT_TRUE(is_same(book.masquerades().begin()->second, full));
        ASSERT_TRUE(book.remove_masquerade("full"));
        ASSERT_TRUE(book.commit());
    }
    EXPECT_EQ(names(open()), Names{"masquerade-lan"});
}

TEST_F(MasqueradeBookTest, WhatClashesIsRefusedAndChangesNothing) {
    RuleBook book = open();
    ASSERT_TRUE(book.add(test::make_rule("tcp", "192.0.2.9:80", "192.0.2.4:80", "web")));
    ASSERT_TRUE(book.add(make("lan", "home")));
    const auto refused = [&](Masquerade masquerade) {
        const auto added = book.add(std::move(masquerade));
        return added ? "added" : added.error().text();
    };
    EXPECT_EQ(refused(make("wan", "web")), "name: got 'web', the name of a rule; want a name of its own");
    EXPECT_EQ(refused(make("lan", "other")),
              "inside: got lan for masquerade 'other', but masquerade 'home' has the same hosts for any "
              "destination; "
              "want other hosts, or destinations of its own");
    Masquerade pool = make("10.1.0.0/16");
    pool.pool = {*parse_address("192.0.2.4")};
    EXPECT_EQ(refused(pool),
              "pool[0]: got 192.0.2.4, the host that rule 'web' forwards to; want an address that no other "
              "host has");
    Rule off = test::make_rule("tcp", "192.0.2.9:82", "192.0.2.6:80", "off");
    off.disabled = true;
    ASSERT_TRUE(book.add(off));
    pool.pool = {*parse_address("192.0.2.5"), *parse_address("192.0.2.6")};
    EXPECT_EQ(refused(pool),
              "pool[1]: got 192.0.2.6, the host that rule 'off' forwards to; want an address that no other "
              "host has");
    pool.pool = {*parse_address("192.0.2.5")};
    EXPECT_EQ(refused(pool), "added");
    const auto rule = book.add(test::make_rule("tcp", "192.0.2.9:81", "192.0.2.5:80", "mail"));
    ASSERT_FALSE(rule);
    EXPECT_EQ(rule.error().text(),
              "target: got 192.0.2.5:80, in the pool of masquerade 'masquerade-10.1.0.0-16', for which fwd "
              "answers ARP "
              "itself; want another host's address");
    const auto whole = [](const char* external, const char* target) {
        Rule all = *rule_from_json({{"protocol", "all"}, {"external", external}, {"target", target}});
        all.name = "whole";
        return all;
    };
    const auto in_pool = book.add(whole("192.0.2.5", "192.0.2.7"));
    ASSERT_FALSE(in_pool);
    EXPECT_EQ(
        in_pool.error().text(),
        "external: got 192.0.2.5, in the pool of masquerade 'masquerade-10.1.0.0-16'; want another address "
        "for a rule that forwards all of it");
    ASSERT_TRUE(book.add(whole("192.0.2.8", "192.0.2.7")));
    Masquerade over_it = make("10.2.0.0/16");
    over_it.pool = {*parse_address("192.0.2.8")};
    EXPECT_EQ(
        refused(over_it),
        "pool[0]: got 192.0.2.8, the whole of which rule 'whole' forwards; want an address that no other "
        "host has");
    EXPECT_EQ(names(book), (Names{"home", "masquerade-10.1.0.0-16"}));
    book.roll_back();
    EXPECT_TRUE(names(book).empty());
}

TEST_F(MasqueradeBookTest, DestinationsAreComparedHoweverManyThereAre) {
    RuleBook book = open();
    const auto with = [](std::uint32_t first, const char* name) {
        Masquerade masquerade = make("lan", name);
        for (std::uint32_t n = 0; n < 65'536; ++n)
            masquerade.to.push_back({net::Ipv4Address::from_host(first + n * 512), 24});
        return masquerade;
    };
    ASSERT_TRUE(book.add(with(11U << 24U, "even")));
    EXPECT_TRUE(book.add(with((11U << 24U) + 256, "odd")));
    Masquerade third = make("lan", "third");
    third.to = {*parse_prefix("8.8.8.8/32"), *parse_prefix("12.0.0.0/8"), *parse_prefix("9.0.0.0/8")};
    const auto refused = book.add(third);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().field, "to");
    third.to.erase(third.to.begin() + 1);
    EXPECT_TRUE(book.add(third));
}

/// L6: those of the file come and go with it; one that is the same keeps its id.
TEST_F(MasqueradeBookTest, ReloadIsAllOrNothing) {
    RuleBook book = open();
    const auto from_file = [](const std::string& inside) {
        Masquerade masquerade = make(inside, "m-" + inside.substr(0, 3));
        masquerade.origin = RuleOrigin::config_file;
        masquerade.origin_text = "fwd.conf:9";
        return masquerade;
    };
    ASSERT_TRUE(book.reload({}, {from_file("lan")}));
    ASSERT_TRUE(book.commit());
    const auto id = book.find_masquerade("m-lan");
    const auto clash = book.reload({}, {from_file("lan"), from_file("lan")});
    ASSERT_FALSE(clash);
    EXPECT_EQ(clash.error().field.substr(0, 10), "fwd.conf:9");
    EXPECT_EQ(book.find_masquerade("m-lan"), id);
    const auto reloaded = book.reload({}, {from_file("lan"), from_file("wan")});
    ASSERT_TRUE(reloaded);
    EXPECT_EQ(reloaded->added, 1U);
    EXPECT_EQ(reloaded->unchanged, 1U);
    EXPECT_EQ(book.find_masquerade("m-lan"), id);
    EXPECT_EQ(book.remove_masquerade("m-lan").error().text(),
              "name: got 'm-lan', a masquerade of the configuration file: delete it there (fwd.conf:9), then "
              "reload");
    ASSERT_TRUE(book.reload({}, {}));
    EXPECT_TRUE(names(book).empty());

    Masquerade pool = from_file("lan");
    pool.pool = {*parse_address("192.0.2.4")};
    ASSERT_TRUE(book.reload({}, {pool}));
    Rule rule = test::make_rule("tcp", "192.0.2.9:80", "192.0.2.4:80", "m-lan");
    rule.origin = RuleOrigin::config_file;
    ASSERT_FALSE(book.reload({rule}, {pool}));
    EXPECT_EQ(names(book), Names{"m-lan"});
    EXPECT_TRUE(book.reload({rule}, {})) << "name and address are free";
}

TEST_F(MasqueradeBookTest, OlderDatabaseGetsATableForThem) {
    { ASSERT_TRUE(RuleStore::open(directory_.path() / "state")); }
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open((directory_.path() / "state/rules.db").c_str(), &database), SQLITE_OK);
    ASSERT_EQ(
        sqlite3_exec(database,
                     "ALTER TABLE rule DROP COLUMN outbound; DROP TABLE masquerade; PRAGMA user_version = 3",
                     nullptr, nullptr, nullptr),
        SQLITE_OK);
    sqlite3_close(database);
    {
        RuleBook book = open();
        ASSERT_TRUE(book.add(make("lan")));
        ASSERT_TRUE(book.commit());
    }
    EXPECT_EQ(names(open()), Names{"masquerade-lan"});
}

TEST_F(MasqueradeBookTest, ExportedOnesAreAddedAgainAllOrNothing) {
    RuleBook book = open();
    test::PlainOperations operations{book};
    const Json params{
        {"rules",
         Json::array({{{"protocol", "tcp"}, {"external", "10.0.0.3:80"}, {"target", "10.0.0.4:80"}}})},
        {"masquerades", Json::array({{{"inside", "lan"}}, {{"inside", "nolink"}}})}};
    ASSERT_TRUE(check_params(*find_method("rules.add"), params));
    const auto added = operations.add_rules(params);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().field, "masquerades[1].inside");
    EXPECT_TRUE(book.rules().empty() && book.masquerades().empty());
    const auto unknown =
        check_params(*find_method("rules.add"),
                     {{"rules", Json::array()}, {"masquerades", Json::array({{{"insid", "lan"}}})}});
    EXPECT_EQ(unknown.error().text(), "masquerades[0]: unknown parameter 'insid', did you mean inside?");
}

}  // namespace
}  // namespace fwd::control
