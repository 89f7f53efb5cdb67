// SPDX-License-Identifier: BSD-3-Clause
// R17: what the log of translations says of sessions.
#include "control/translation_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "control/text.h"
#include "test/packet/ipv6_networks.h"
#include "test/packet/outbound.h"

namespace fwd::test {
namespace {

using nlohmann::json;
using ::testing::MatchesRegex;
using ::testing::SizeIs;
using namespace std::chrono_literals;

/// Keeps lines, or loses them.
class Sink : public control::LogSink {
 public:
    explicit Sink(std::vector<json>& lines) : lines_{lines} { problem_ = "no space"; }
    std::size_t write(std::string_view text) override {
        const auto count = static_cast<std::size_t>(std::ranges::count(text, '\n'));
        if (full) return count;
        while (!text.empty()) {
            lines_.push_back(json::parse(text.substr(0, text.find('\n'))));
            text.remove_prefix(text.find('\n') + 1);
        }
        return 0;
    }
    control::Result<void> reopen() override { return {}; }
    bool full = false;

 private:
    std::vector<json>& lines_;
};

class TranslationLog : public ::testing::Test {
 protected:
    explicit TranslationLog(const std::string& network = kOneArm) : box_{network} {}
    void turn_on() {
        auto sink = std::make_unique<Sink>(lines_);
        sink_ = sink.get();
        ASSERT_TRUE(log_.switch_to(std::move(sink)));
        log_.learn_names(box_.policies(), box_.rules(), box_.masquerades());
    }
    std::vector<json> take() {
        while (log_.drain()) {
        }
        return std::exchange(lines_, {});
    }
    bool answer(std::uint16_t port) {
        return box_.exchange("lan",
                             box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, port, kSyn | kAck),
                             "lan")
                   .size() == 1;
    }

    std::vector<json> lines_;
    Sink* sink_ = nullptr;
    Box box_;
    control::TranslationLog log_{box_.dataplane()};
};

/// R17
TEST_F(TranslationLog, SaysWhoHadAnAddressAndPortAndWhen) {
    turn_on();
    EXPECT_EQ(take().at(0)["event"], "log-start");
    const std::time_t before = std::time(nullptr);
    const std::uint16_t port = open_example(box_);
    ASSERT_NE(port, 0);
    auto lines = take();
    ASSERT_THAT(lines, SizeIs(1));
    const std::string time = lines[0]["time"];
    EXPECT_THAT(time, MatchesRegex("20..-..-..T..:..:..\\....Z"));
    std::tm parsed{};
    ASSERT_NE(strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &parsed), nullptr);
    EXPECT_NEAR(static_cast<double>(timegm(&parsed)), static_cast<double>(before), 5);
    lines[0].erase("time");
    json said{{"event", "start"},
              {"protocol", "tcp"},
              {"rule", "web"},
              {"client", "10.0.0.1:40000"},
              {"external", "10.0.0.3:80"},
              {"source", "10.0.0.2:" + std::to_string(port)},
              {"target", "10.0.0.4:8080"}};
    EXPECT_EQ(lines[0], said);

    ASSERT_TRUE(answer(port));
    box_.pass(245s);
    lines = take();
    ASSERT_THAT(lines, SizeIs(1));
    lines[0].erase("time");
    lines[0].erase("duration_s");  // the box's time is not the clock's
    said["event"] = "end";
    said["packets_in"] = said["packets_out"] = 1;
    said["bytes_in"] = said["bytes_out"] = 40;
    EXPECT_EQ(lines[0], said);
    EXPECT_EQ(log_.written(), 3U);
    EXPECT_EQ(log_.lost(), 0U);
}

TEST_F(TranslationLog, SessionThatOutlivesItsRuleStillNamesIt) {
    turn_on();
    ASSERT_NE(open_example(box_), 0);
    box_.set_rules("rules = ( );");
    log_.learn_names(box_.policies(), box_.rules());
    box_.clear_sessions();
    box_.pass(3s);
    const auto lines = take();
    ASSERT_THAT(lines, SizeIs(3));
    EXPECT_EQ(lines[2]["event"], "end");
    EXPECT_EQ(lines[2]["rule"], "web");
}

TEST_F(TranslationLog, SaysNothingUntilItIsOnNorAfterwards) {
    ASSERT_NE(open_example(box_, 1000), 0);
    turn_on();
    ASSERT_NE(open_example(box_, 1001), 0);
    EXPECT_THAT(take(), SizeIs(2));
    ASSERT_TRUE(log_.switch_to(nullptr));
    ASSERT_NE(open_example(box_, 1002), 0);
    EXPECT_THAT(take(), SizeIs(0));
    EXPECT_FALSE(log_.is_on());
}

/// What finds no room on its way to control is counted, and sessions do not notice.
TEST_F(TranslationLog, WorkersNeverWaitForControl) {
    turn_on();
    take();
    box_.set_rules(
        R"(rules = ( { name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:53"; });)");
    constexpr std::uint64_t kSessions = 40'000;  // two events each, and room for 65 535
    for (std::uint64_t i = 0; i < kSessions; ++i) {
        const auto port = static_cast<std::uint16_t>(1024 + i);
        box_.put_many("lan", box_.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(port, 53));
        box_.poll();
        if (i % 32 == 0) box_.take("lan");
    }
    const auto opened = box_.total(&dataplane::ThreadCounters::sessions_opened);
    const auto closed = box_.total(&dataplane::ThreadCounters::sessions_closed);
    EXPECT_GT(opened + closed, 65'535U);
    EXPECT_EQ(take().size() + log_.lost(), opened + closed);
    EXPECT_GT(log_.lost(), 0U);
}

class TranslationLogOfMasquerade : public TranslationLog,
                                   public ::testing::WithParamInterface<const Family*> {
 protected:
    TranslationLogOfMasquerade()
        : TranslationLog{masqueraded(
              R"({ name = "home"; inside = "lan"; filtering = "endpoint-independent"; })", "", *GetParam())} {
        box_.settle();
        box_.take("wan");
        turn_on();
        take();
    }
    /// The next line, and what it says of addresses and ports.
    void expect_start(const net::IpEndpoint& client, const net::IpEndpoint& external,
                      const net::IpEndpoint& source, const net::IpEndpoint& target) {
        const auto lines = take();
        ASSERT_THAT(lines, SizeIs(1));
        json said = lines[0];
        said.erase("time");
        EXPECT_EQ(said, (json{{"event", "start"},
                              {"protocol", "udp"},
                              {"rule", "home"},
                              {"client", control::to_text(client)},
                              {"external", control::to_text(external)},
                              {"source", control::to_text(source)},
                              {"target", control::to_text(target)}}));
    }
    const Family& in_ = *GetParam();
    Outbound out_{box_};
};
INSTANTIATE_TEST_SUITE_P(, TranslationLogOfMasquerade, ::testing::Values(&kIpv4, &kIpv6),
                         [](const auto& test) { return std::string{test.param->name}; });

/// R17: of a host inside, whoever begins, and after its masquerade is gone (RFC 6888, REQ-12).
TEST_P(TranslationLogOfMasquerade, SaysWhoHadAnExternalPort) {
    const auto host = endpoint(in_.host, 5000), peer = endpoint(in_.peer, 53),
               stranger = endpoint(in_.stranger, 99);
    const auto sent = out_.udp(host, peer);
    ASSERT_TRUE(sent);
    EXPECT_EQ(sent->source.address, in_.wan);
    expect_start(host, peer, sent->source, peer);
    ASSERT_TRUE(out_.udp_back(stranger, sent->source));
    expect_start(stranger, sent->source, stranger, host);
    ASSERT_TRUE(out_.udp_back(peer, sent->source));
    // Both are kept alive by the host alone (requirement U6), and the second one was not.
    box_.pass(100s);
    box_.take("wan");  // announcements
    ASSERT_TRUE(out_.udp(host, peer));
    box_.set_rules("masquerades = ( );");
    log_.learn_names(box_.policies(), box_.rules(), box_.masquerades());
    box_.clear_sessions();
    box_.pass(3s);
    const auto lines = take();
    std::set<std::string> clients;
    for (const json& line : lines) {
        EXPECT_EQ(line["event"], "end");
        EXPECT_EQ(line["rule"], "home");
        clients.insert(line["client"]);
    }
    EXPECT_EQ(clients, (std::set<std::string>{control::to_text(host), control::to_text(stranger)}));
}

class TranslationLogOfBothFamilies : public TranslationLog {
 protected:
    TranslationLogOfBothFamilies() : TranslationLog{kTwoArm6} {
        box_.set_rules(R"(rules = (
            { name = "six"; protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080"; },
            { name = "four-six"; protocol = "tcp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; } );)");
        box_.settle();
        turn_on();
        take();
    }
};

/// R17
TEST_F(TranslationLogOfBothFamilies, SaysWhoHadAnAddressOfEither) {
    ASSERT_THAT(
        box_.exchange("wan", box_.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).tcp(4000, 80, kSyn),
                      "lan"),
        SizeIs(1));
    auto lines = take();
    ASSERT_THAT(lines, SizeIs(1));
    EXPECT_EQ(lines[0]["client"], control::to_text(net::IpEndpoint{kFarClient6, net::be16::from_host(4000)}));
    EXPECT_EQ(lines[0]["external"], "[2001:db8:2::3]:80");
    EXPECT_EQ(lines[0]["source"], lines[0]["client"]);
    EXPECT_EQ(lines[0]["target"], "[fd00::4]:8080");
    const auto sent = box_.exchange(
        "wan", box_.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).tcp(4000, 80, kSyn), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    lines = take();
    ASSERT_THAT(lines, SizeIs(1));
    EXPECT_EQ(lines[0]["client"], "198.51.100.7:4000");
    EXPECT_EQ(lines[0]["external"], "192.0.2.3:80");
    EXPECT_EQ(lines[0]["source"], "[fd00::1]:" + std::to_string(look_into(sent[0]).source.port.host()));
    EXPECT_EQ(lines[0]["target"], "[fd00::4]:8080");
}

class TranslationLogOfPrefixes : public TranslationLog {
 protected:
    TranslationLogOfPrefixes()
        : TranslationLog{kTwoArm6 +
                         R"(prefixes = ( { inside = "fd00::/48"; external = "2001:db8:aa::/48"; } );)"} {}
};

/// R17: of a host that has a counterpart in another network.
TEST_F(TranslationLogOfPrefixes, SaysWhoHadAnAddress) {
    turn_on();
    take();
    box_.settle();
    box_.take("wan");
    const auto sent = box_.exchange(
        "lan", box_.to("lan").from(kServerMac).ipv6(kLanServer6, kFarClient6).udp(5000, 53), "wan");
    ASSERT_THAT(sent, SizeIs(1));
    const Seen seen = look_into(sent[0]);
    EXPECT_EQ(seen.source.address.v6().bytes[5], 0xaa);
    auto lines = take();
    ASSERT_THAT(lines, SizeIs(1));
    lines[0].erase("time");
    EXPECT_EQ(lines[0], (json{{"event", "start"},
                              {"protocol", "udp"},
                              {"rule", ""},
                              {"client", "[fd00::4]:5000"},
                              {"external", "[2001:db8:f::7]:53"},
                              {"source", control::to_text(seen.source)},
                              {"target", "[2001:db8:f::7]:53"}}));
}

TEST_F(TranslationLog, LostLinesAreToldNowAndThen) {
    turn_on();
    take();
    control::TranslationLog::Clock::time_point now{};
    now += 1h;
    EXPECT_EQ(log_.complaint(now), std::nullopt);
    sink_->full = true;
    for (const std::uint16_t port : {1000, 1001}) ASSERT_NE(open_example(box_, port), 0);
    take();
    EXPECT_EQ(log_.complaint(now), "log of translations: 2 line(s) lost: no space");
    ASSERT_NE(open_example(box_, 1002), 0);
    take();
    EXPECT_EQ(log_.complaint(now + 9s), std::nullopt);
    EXPECT_EQ(log_.complaint(now + 10s), "log of translations: 1 line(s) lost: no space");
    EXPECT_EQ(log_.lost(), 3U);
}

}  // namespace
}  // namespace fwd::test
