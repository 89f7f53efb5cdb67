// SPDX-License-Identifier: BSD-3-Clause
#include "control/rpc_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <random>

#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using test::make_rule;

sockaddr_un address_of(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

/// A client that never waits: the test polls the server in between.
class TestClient {
 public:
    explicit TestClient(const std::filesystem::path& path)
        : socket_{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)} {
        const sockaddr_un address = address_of(path);
        EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
            << std::strerror(errno);
    }
    /// How much was taken.
    std::size_t send(std::string_view bytes) {
        const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        return sent < 0 ? 0 : static_cast<std::size_t>(sent);
    }
    void end_sending() { ::shutdown(socket_.get(), SHUT_WR); }
    /// A line if a whole one has come.
    std::optional<std::string> receive() {
        char buffer[65536];
        ssize_t bytes = 0;
        while ((bytes = ::recv(socket_.get(), buffer, sizeof buffer, 0)) > 0) {
            input_.append(buffer, static_cast<std::size_t>(bytes));
        }
        const bool would_block = bytes < 0 && errno == EAGAIN;
        closed_ = closed_ || !would_block;
        const std::size_t end = input_.find('\n');
        if (end == std::string::npos) return {};
        std::string line = input_.substr(0, end);
        input_.erase(0, end + 1);
        return line;
    }
    /// Whether the server has hung up; noticed by receive().
    bool closed() const { return closed_; }

 private:
    FileDescriptor socket_;
    std::string input_;
    bool closed_ = false;
};

std::string request(const Json& id, std::string_view method, const Json& params = Json::object()) {
    return Json{{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}}.dump() + '\n';
}
Json rule_params(int number) {
    return {{"protocol", "tcp"},
            {"external", fmt::format("10.1.{}.{}:80", number / 250, 1 + number % 250)},
            {"target", "10.0.0.4:80"},
            {"name", fmt::format("r{}", number)}};
}

class RpcServerTest : public ::testing::Test {
 protected:
    RpcServerTest()
        : book_{*RuleBook::open(test::example_topology(), *RuleStore::open(base_.path() / "state"), {})},
          operations_{book_} {}

    void listen(const RpcLimits& limits = {}) {
        auto server = RpcServer::listen(path(), operations_, limits);
        ASSERT_TRUE(server) << server.error().text();
        server_ = std::move(*server);
    }
    std::filesystem::path path() const { return base_.path() / "fwd.sock"; }

    template <typename Done>
    bool poll_until(Done done, std::chrono::milliseconds patience = 20s) {
        for (const auto end = Clock::now() + patience; Clock::now() < end;) {
            server_->poll(1ms);
            if (done()) return true;
        }
        return false;
    }
    Json receive(TestClient& client) {
        std::optional<std::string> line;
        poll_until([&] { return (line = client.receive()).has_value() || client.closed(); });
        return line ? Json::parse(*line) : Json("no answer");
    }
    Json ask(TestClient& client, std::string_view bytes) {
        std::size_t sent = 0;
        poll_until([&] { return (sent += client.send(bytes.substr(sent))) == bytes.size(); });
        return receive(client);
    }
    bool is_dismissed(TestClient& client, std::chrono::milliseconds patience = 20s) {
        return poll_until([&] { return client.receive(), client.closed(); }, patience);
    }
    static int code(const Json& answer) {
        return answer.contains("error") ? answer["error"]["code"].get<int>() : 0;
    }

    test::TemporaryDirectory base_;
    RuleBook book_;
    test::PlainOperations operations_;
    std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcServerTest, AnswerHasTheIdOfTheRequest) {
    listen();
    TestClient client{path()};
    for (const Json& id :
         {Json(1), Json(-7), Json(1.5), Json("text \xc3\xa4"), Json(nullptr), Json(std::string(255, 'x'))}) {
        const Json answer = ask(client, request(id, "version"));
        EXPECT_EQ(answer, (Json{{"jsonrpc", "2.0"},
                                {"id", id},
                                {"result", {{"version", "0.1.0"}, {"dpdk", "DPDK 22.11"}}}}));
    }
}

TEST_F(RpcServerTest, NotificationIsCarriedOutWithoutAnAnswer) {
    listen();
    TestClient client{path()};
    client.send(R"({"jsonrpc":"2.0","method":"rule.add","params":)" + rule_params(1).dump() + "}\n");
    client.send(R"({"jsonrpc":"2.0","method":"rule.add","params":)" + rule_params(1).dump() + "}\n");
    client.send(R"({"jsonrpc":"2.0","method":"no.such"})"
                "\n");
    EXPECT_EQ(ask(client, request(9, "version"))["id"], 9);
    EXPECT_TRUE(book_.find("r1"));
}

TEST_F(RpcServerTest, ErrorTellsKindFieldAndMessage) {
    listen();
    TestClient client{path()};
    const Json unknown = ask(client, request(1, "rule.delete", {{"name", "web"}}));
    EXPECT_EQ(code(unknown), -32000);
    EXPECT_EQ(unknown["error"]["data"]["kind"], "not_found");
    EXPECT_EQ(unknown["error"]["data"]["field"], "name");
    EXPECT_EQ(unknown["error"]["message"], "name: " + unknown["error"]["data"]["message"].get<std::string>());

    Json params = rule_params(1);
    params["external"] = "10.0.0.3:70000";
    const Json wrong = ask(client, request(2, "rule.add", params));
    EXPECT_EQ(code(wrong), -32602);
    EXPECT_EQ(wrong["error"]["data"]["kind"], "invalid");
    EXPECT_EQ(wrong["error"]["data"]["field"], "external");
}

TEST_F(RpcServerTest, WhatIsNoRequestGetsAnErrorAndTheNextOneAnAnswer) {
    listen();
    TestClient client{path()};
    const std::vector<std::pair<std::string, int>> rows{
        {"", -32700},
        {" ", -32700},
        {"{", -32700},
        {"hello", -32700},
        {"GET / HTTP/1.1\r", -32700},
        {std::string("\0\0", 2), -32700},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\",}", -32700},
        {"\"\xff\xfe\"", -32700},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xc3\"}", -32700},
        {"{\"id\":\"\\ud800\"}", -32700},
        {R"({"jsonrpc":"2.0","id":1e999,"method":"version"})", -32700},
        {std::string(33, '[') + std::string(33, ']'), -32700},
        {std::string(1'000'000, '['), -32700},
        {std::string(500'000, '{'), -32700},
        {"1", -32600},
        {"null", -32600},
        {"\"text\"", -32600},
        {"[]", -32600},
        {"[" + request(1, "version").substr(0, request(1, "version").size() - 1) + "]", -32600},
        {std::string(32, '[') + std::string(32, ']'), -32600},
        {"{}", -32600},
        {R"({"jsonrpc":"1.0","id":1,"method":"version"})", -32600},
        {R"({"jsonrpc":2.0,"id":1,"method":"version"})", -32600},
        {R"({"id":1,"method":"version"})", -32600},
        {R"({"jsonrpc":"2.0","id":1})", -32600},
        {R"({"jsonrpc":"2.0","id":1,"method":1})", -32600},
        {R"({"jsonrpc":"2.0","id":[],"method":"version"})", -32600},
        {R"({"jsonrpc":"2.0","id":true,"method":"version"})", -32600},
        {R"({"jsonrpc":"2.0","id":")" + std::string(256, 'x') + R"(","method":"version"})", -32600},
        {R"({"jsonrpc":"2.0","id":1,"method":"versio"})", -32601},
        {R"({"jsonrpc":"2.0","id":1,"method":""})", -32601},
        {R"({"jsonrpc":"2.0","id":1,"method":")" + std::string(100'000, 'x') + R"("})", -32601},
        {R"({"jsonrpc":"2.0","id":1,"method":"version","params":[]})", -32602},
        {R"({"jsonrpc":"2.0","id":1,"method":"version","params":null})", -32602},
        {R"({"jsonrpc":"2.0","id":1,"method":"version","params":{"x":1}})", -32602},
    };
    for (const auto& [line, wanted] : rows) {
        const Json answer = ask(client, line + "\n");
        EXPECT_EQ(code(answer), wanted) << line.substr(0, 100) << " " << answer;
        EXPECT_LT(answer.dump().size(), 1000U);
        EXPECT_TRUE(answer.contains("id"));
        EXPECT_EQ(ask(client, request(5, "version"))["id"], 5) << line.substr(0, 100);
    }
    EXPECT_TRUE(book_.rules().empty());
}

TEST_F(RpcServerTest, ManySmallValuesAreRefusedBeforeTheyFillTheMemory) {
    listen();
    TestClient client{path()};
    std::string list = "[";
    for (int i = 0; i < 4'100'000; ++i) list += "0,";
    const Json answer = ask(client, list + "0]\n");
    EXPECT_EQ(code(answer), -32700);
    EXPECT_EQ(answer["error"]["data"]["message"], "more than 4000000 values");
    EXPECT_EQ(ask(client, request(5, "version"))["id"], 5);
}

TEST_F(RpcServerTest, JunkForEveryMethodIsAnsweredAndHarmless) {
    listen();
    TestClient client{path()};
    const std::vector<Json> junk{nullptr,
                                 true,
                                 -1,
                                 1.5,
                                 "",
                                 "x",
                                 "\xc3\xa4",
                                 std::string(300, 'x'),
                                 Json::array(),
                                 Json::array({"x"}),
                                 Json::object(),
                                 Json::array({Json::object()})};
    int id = 0;
    for (const Method& method : methods()) {
        for (const Param& param : method.params) {
            for (const Json& value : junk) {
                Json params = Json::object();
                for (const Param& other : method.params) {
                    if (other.required) params[std::string{other.name}] = "x";
                }
                params[std::string{param.name}] = value;
                const Json answer = ask(client, request(++id, method.name, params));
                ASSERT_EQ(answer.value("id", 0), id) << method.name << " " << params;
                ASSERT_NE(answer.contains("error"), answer.contains("result")) << answer;
            }
        }
    }
    EXPECT_TRUE(book_.rules().empty());
}

TEST_F(RpcServerTest, RandomBytesNeverStopIt) {
    constexpr unsigned kSeed = 11;
    std::mt19937 random{kSeed};
    listen();
    const std::string good = request(1, "rule.add", rule_params(1));
    for (int round = 0; round < 300; ++round) {
        TestClient client{path()};
        std::string bytes;
        while (bytes.size() < 2000) {
            std::string line = good;
            for (unsigned i = random() % 4; i > 0; --i)
                line[random() % line.size()] = static_cast<char>(random());
            bytes += line.substr(0, random() % 3 == 0 ? random() % line.size() : line.size());
        }
        client.send(bytes);
        server_->poll(0ms);
        server_->poll(0ms);
    }
    TestClient client{path()};
    EXPECT_EQ(ask(client, request(5, "version"))["id"], 5) << "seed " << kSeed;
}

TEST_F(RpcServerTest, RequestMayComeByteByByte) {
    listen();
    TestClient client{path()};
    for (const char c : request("slow", "version")) {
        client.send({&c, 1});
        server_->poll(0ms);
    }
    EXPECT_EQ(receive(client)["id"], "slow");
}

TEST_F(RpcServerTest, RequestsOfOneClientAreAnsweredInOrder) {
    listen();
    TestClient client{path()};
    std::string all;
    for (int i = 0; i < 300; ++i)
        all +=
            request(i, i % 2 == 0 ? "rule.add" : "rule.list", i % 2 == 0 ? rule_params(i) : Json::object());
    std::size_t sent = 0;
    int received = 0;
    EXPECT_TRUE(poll_until([&] {
        sent += client.send(std::string_view{all}.substr(sent));
        while (const auto line = client.receive()) {
            const Json answer = Json::parse(*line);
            EXPECT_EQ(answer["id"], received);
            if (received % 2 == 1) {
                EXPECT_EQ(answer["result"]["rules"].size(), received / 2 + 1U);
            }
            ++received;
        }
        return received == 300;
    }));
}

TEST_F(RpcServerTest, ClientThatSendsNoMoreStillGetsItsAnswer) {
    listen();
    TestClient client{path()};
    client.send(request(1, "version"));
    client.end_sending();
    EXPECT_EQ(receive(client)["id"], 1);
    EXPECT_TRUE(is_dismissed(client));
}

TEST_F(RpcServerTest, RequestWithoutItsEndIsNotCarriedOut) {
    listen();
    {
        TestClient client{path()};
        const std::string line = request(1, "rule.add", rule_params(1));
        client.send(line.substr(0, line.size() - 1));
        client.end_sending();
        EXPECT_TRUE(is_dismissed(client));
    }
    EXPECT_TRUE(book_.rules().empty());
}

TEST_F(RpcServerTest, RuleThatNoConfigurationFileCouldHoldIsRefused) {
    listen();
    TestClient client{path()};
    Json params = rule_params(1);
    params["from"] = Json::array();
    for (std::size_t i = 0; i <= Rule::kMostPrefixes; ++i) params["from"].push_back("10.0.0.0/8");
    const Json refused = ask(client, request(1, "rule.add", params));
    EXPECT_EQ(refused["error"]["message"], "from: got 65537 prefixes, want at most 65536");
    EXPECT_TRUE(book_.rules().empty());
}

TEST_F(RpcServerTest, WrongValuesAreRefusedByTheirField) {
    listen();
    TestClient client{path()};
    const auto refused = [&](const char* method, Json params) {
        return ask(client, request(1, method, params))["error"]["message"].get<std::string>();
    };
    const auto rule = [&](const char* key, const Json& value) {
        Json params = rule_params(1);
        params[key] = value;
        return refused("rule.add", params);
    };
    const std::string weight = ", want a weight of 1 to 100 behind the star";
    EXPECT_EQ(rule("target", "10.0.0.4:80*0"), "target: got '10.0.0.4:80*0'" + weight);
    EXPECT_EQ(rule("target", "10.0.0.5:80,10.0.0.4:80*101"), "target: got '10.0.0.4:80*101'" + weight);
    const std::string bits = "got '10.0.0.1/8', want no bits set behind the prefix length: 10.0.0.0/8";
    EXPECT_EQ(rule("from", {"10.0.0.1/8"}), "from[0]: " + bits);
    EXPECT_EQ(rule("not_from", {"11.0.0.0/8", "10.0.0.1/8"}), "not_from[1]: " + bits);
    const auto masquerade = [&](const char* key, const Json& value) {
        return refused("masquerade.add", {{"inside", "lan"}, {key, value}});
    };
    EXPECT_EQ(masquerade("to", {"10.0.0.1/8"}), "to[0]: " + bits);
    EXPECT_EQ(
        masquerade("pool", {"192.0.2.9", "192.0.2.1"}),
        "pool[1]: got 192.0.2.1, fwd's own address on link wan; want no pool to use own addresses, or an "
        "address that nobody has");
    EXPECT_TRUE(book_.rules().empty());
    EXPECT_TRUE(book_.masquerades().empty());
}

TEST_F(RpcServerTest, WritesThatWaitTogetherShareOneCommit) {
    listen();
    std::deque<TestClient> clients;
    for (int i = 0; i < 50; ++i) clients.emplace_back(path());
    EXPECT_EQ(ask(clients.back(), request(0, "version"))["id"], 0);  // all are accepted
    for (int i = 0; i < 50; ++i)
        clients[static_cast<std::size_t>(i)].send(request(i, "rule.add", rule_params(i)));
    server_->poll(1s);
    EXPECT_EQ(operations_.commits, 1);
    for (int i = 0; i < 50; ++i) {
        const auto line = clients[static_cast<std::size_t>(i)].receive();
        ASSERT_TRUE(line) << i;
        EXPECT_TRUE(Json::parse(*line).contains("result"));
    }
}

TEST_F(RpcServerTest, FailedCommitIsAnErrorForExactlyTheWritesThatSharedIt) {
    listen();
    std::deque<TestClient> clients;
    for (int i = 0; i < 5; ++i) clients.emplace_back(path());
    EXPECT_TRUE(ask(clients[0], request(0, "rule.add", rule_params(0))).contains("result"));
    ask(clients[4], request(0, "version"));

    operations_.commit_error = Error{ErrorKind::unavailable, "rules.db", "the disk is full"};
    clients[0].send(request(1, "rule.add", rule_params(1)));
    clients[1].send(request(2, "rule.add", rule_params(0)));  // refused in itself
    clients[2].send(request(3, "rule.delete", {{"name", "r0"}}));
    clients[3].send(request(4, "session.clear"));  // does at once what it does
    server_->poll(1s);
    const Json added = receive(clients[0]);
    EXPECT_EQ(code(added), -32000);
    EXPECT_EQ(added["error"]["data"]["kind"], "unavailable");
    EXPECT_EQ(added["error"]["message"], "rules.db: the disk is full");
    EXPECT_EQ(receive(clients[1])["error"]["data"]["kind"], "refused");
    EXPECT_EQ(receive(clients[2])["error"]["data"]["kind"], "unavailable");
    EXPECT_TRUE(receive(clients[3]).contains("result"));

    operations_.commit_error.reset();
    const auto commits = operations_.commits;
    EXPECT_TRUE(ask(clients[0], request(6, "version")).contains("result"));
    EXPECT_EQ(operations_.commits, commits) << "nothing to commit";
    EXPECT_TRUE(ask(clients[0], request(7, "rule.add", rule_params(9))).contains("result"));
}

TEST_F(RpcServerTest, ReadsSeeOnlyWhatIsDurable) {
    listen();
    TestClient reader{path()};
    TestClient writer{path()};
    ask(reader, request(0, "version"));
    ask(writer, request(0, "version"));
    reader.send(request(1, "rule.list"));  // comes first
    writer.send(request(2, "rule.add", rule_params(1)));
    server_->poll(1s);
    EXPECT_EQ(receive(reader)["result"]["rules"].size(), 1U) << "committed before it was read";
    EXPECT_EQ(operations_.commits, 1);
}

TEST_F(RpcServerTest, OtherWorkGoesOnBetweenTheRequestsOfOnePoll) {
    listen();
    std::deque<TestClient> clients;
    for (int i = 0; i < 8; ++i) clients.emplace_back(path());
    server_->poll(1ms);  // they are connected, none has asked
    for (int i = 0; i < 8; ++i)
        clients[static_cast<std::size_t>(i)].send(i % 2 == 0 ? request(i, "stats")
                                                             : request(i, "rule.add", rule_params(i)));
    int pauses = 0;
    operations_.pause = [&] { ++pauses; };
    server_->poll(1ms);
    EXPECT_EQ(pauses, 8);
}

TEST_F(RpcServerTest, RequestsThatWaitTogetherAreNotAllKeptAsValues) {
    listen();
    constexpr std::size_t kClients = 10;
    // Each takes two bytes as text, 16 in memory.
#if defined(FWD_ADDRESS_SANITIZER)
    constexpr std::size_t kValues = 50'000;  // its allocator does not say what is in use
#else
    constexpr std::size_t kValues = 500'000;
#endif
    const auto bytes_in_use = [] {
        const auto usage = ::mallinfo2();
        return usage.uordblks + usage.hblkhd;
    };
    const std::string large = request(1, "stats", Json::array({Json(std::vector<int>(kValues))}));
    std::deque<TestClient> clients;
    for (std::size_t i = 0; i < kClients; ++i) clients.emplace_back(path());
    for (TestClient& client : clients) {
        std::size_t sent = 0;
        const std::string_view all_but_its_end{large.data(), large.size() - 1};
        ASSERT_TRUE(poll_until(
            [&] { return (sent += client.send(all_but_its_end.substr(sent))) == all_but_its_end.size(); }));
    }
    for (int i = 0; i < 2 * static_cast<int>(kClients * large.size() / 65536); ++i) server_->poll(0ms);
    // The last one is small, and so is carried out after all others have been read.
    clients.emplace_back(path());
    server_->poll(1ms);
    for (std::size_t i = 0; i < kClients; ++i) clients[i].send("\n");
    clients.back().send(request(1, "status"));
    const std::size_t before = bytes_in_use();
    std::size_t most = before;
    operations_.pause = [&] { most = std::max(most, bytes_in_use()); };
    server_->poll(1ms);
    EXPECT_LT(most, before + std::size_t{2} * 16 * kValues);
    for (TestClient& client : clients) EXPECT_NE(receive(client), "no answer");
}

TEST_F(RpcServerTest, AThousandClientsAtOnceAreAllServed) {
    listen();
    constexpr int kClients = 1000;
    std::deque<TestClient> clients;
    for (int i = 0; i < kClients; ++i) {
        clients.emplace_back(path());
        server_->poll(0ms);
    }
    for (int i = 0; i < kClients; ++i)
        clients[static_cast<std::size_t>(i)].send(request(i, "rule.add", rule_params(i)));
    std::vector<bool> served(kClients);
    EXPECT_TRUE(poll_until([&] {
        for (int i = 0; i < kClients; ++i) {
            const auto index = static_cast<std::size_t>(i);
            const auto line = clients[index].receive();
            if (!line) continue;
            const Json answer = Json::parse(*line);
            EXPECT_EQ(answer["id"], i);
            EXPECT_TRUE(answer.contains("result"));
            served[index] = true;
        }
        return std::ranges::count(served, false) == 0;
    }));
    EXPECT_EQ(book_.rules().size(), std::size_t{kClients});
    EXPECT_LT(operations_.commits, 100);
}

TEST_F(RpcServerTest, OneClientMoreThanTheLimitIsTurnedAwayUntilAnotherLeaves) {
    listen({.clients = 3, .root_clients = 0});
    std::deque<TestClient> clients;
    for (int i = 0; i < 3; ++i) {
        clients.emplace_back(path());
        ask(clients.back(), request(i, "version"));
    }
    {
        TestClient fourth{path()};
        EXPECT_EQ(receive(fourth)["error"]["data"]["kind"], "unavailable");
        EXPECT_TRUE(is_dismissed(fourth));
    }
    EXPECT_EQ(ask(clients[0], request(7, "version"))["id"], 7);
    clients.pop_front();
    server_->poll(10ms);
    TestClient fifth{path()};
    EXPECT_EQ(ask(fifth, request(8, "version"))["id"], 8);
}

TEST_F(RpcServerTest, HalfARequestIsNotWaitedForForEver) {
    listen({.patience = 200ms});
    TestClient idle{path()};
    TestClient half{path()};
    TestClient dripping{path()};
    ask(idle, request(1, "version"));
    half.send(R"({"jsonrpc":)");
    const auto start = Clock::now();
    EXPECT_TRUE(poll_until(
        [&] {
            dripping.send(" ");
            return dripping.receive(), dripping.closed();
        },
        5s));
    EXPECT_GE(Clock::now() - start, 190ms);
    EXPECT_TRUE(is_dismissed(half, 5s));
    EXPECT_FALSE(is_dismissed(idle, 500ms)) << "a client may be silent as long as it likes";
    EXPECT_EQ(ask(idle, request(2, "version"))["id"], 2);
}

TEST_F(RpcServerTest, ClientThatNeverReadsIsDisconnectedAndDelaysNobody) {
    listen({.patience = 2s});
    operations_.state = Json{{"long", std::string(1'000'000, 'x')}};
    std::deque<TestClient> deaf;
    for (int i = 0; i < 20; ++i) {
        deaf.emplace_back(path());
        for (int j = 0; j < 10; ++j) deaf.back().send(request(j, "status"));
    }
    TestClient client{path()};
    ASSERT_EQ(ask(client, request(7, "version"))["id"], 7);
    for (int i = 0; i < 50; ++i) {
        client.send(request(i, "version"));
        server_->poll(0ms);
        const auto line = client.receive();
        ASSERT_TRUE(line) << "answered in the poll that reads the request";
        EXPECT_EQ(Json::parse(*line)["id"], i);
    }
    for (const auto end = Clock::now() + 2500ms; Clock::now() < end;) server_->poll(10ms);
    for (TestClient& each : deaf) EXPECT_TRUE(is_dismissed(each, 1s));
    EXPECT_EQ(ask(client, request(8, "status"))["result"]["long"].get<std::string>().size(), 1'000'000U);
}

TEST_F(RpcServerTest, LongAnswersThatWaitAreBoundedTogether) {
    listen({.shared_bytes = 10'000'000});
    operations_.state = Json{{"long", std::string(4'000'000, 'x')}};
    std::deque<TestClient> clients;
    for (int i = 0; i < 5; ++i) clients.emplace_back(path());
    for (TestClient& client : clients) client.send(request(1, "status"));
    for (int i = 0; i < 10; ++i) server_->poll(10ms);
    int long_answers = 0;
    for (TestClient& client : clients) {
        const Json answer = receive(client);
        if (answer.contains("result")) {
            ++long_answers;
        } else {
            EXPECT_EQ(answer["error"]["data"]["kind"], "unavailable");
            EXPECT_EQ(answer["id"], 1);
        }
        EXPECT_EQ(ask(client, request(2, "version"))["id"], 2) << "still connected";
    }
    EXPECT_GE(long_answers, 1);
    EXPECT_LE(long_answers, 2);
    EXPECT_TRUE(ask(clients[4], request(3, "status")).contains("result")) << "the pool is free again";
}

TEST_F(RpcServerTest, GiganticRequestIsCarriedOutUpToTheLimit) {
    listen();
    TestClient client{path()};
    const std::string line = request(1, "version");
    const std::string padding((32UL << 20U) - line.size(), ' ');
    EXPECT_EQ(ask(client, padding + line)["id"], 1);

    const Json refused = ask(client, padding + " " + line);
    EXPECT_EQ(code(refused), -32600);
    EXPECT_EQ(refused["error"]["data"]["message"], "longer than 33554432 bytes");
    EXPECT_TRUE(is_dismissed(client));
}

TEST_F(RpcServerTest, EndlessRequestIsCutOffWhileOthersAreServed) {
    listen({.message_bytes = 1'000'000});
    TestClient endless{path()};
    TestClient client{path()};
    const std::string bytes(50'000, 'x');
    std::size_t sent = 0;
    std::optional<std::string> last;
    EXPECT_TRUE(poll_until([&] {
        sent += endless.send(bytes);
        EXPECT_EQ(ask(client, request(1, "version"))["id"], 1);
        if (auto line = endless.receive()) last = line;
        return endless.closed();
    }));
    ASSERT_TRUE(last);
    EXPECT_EQ(code(Json::parse(*last)), -32600);
    EXPECT_LT(sent, 3'000'000U);
}

TEST_F(RpcServerTest, LargeRequestsShareABoundedPool) {
    listen({.message_bytes = 4U << 20U, .shared_bytes = 5U << 20U});
    TestClient small{path()};
    TestClient first{path()};
    TestClient second{path()};
    const std::string half(3U << 20U, ' ');
    const auto send_all = [&](TestClient& client) {
        std::size_t sent = 0;
        poll_until(
            [&] {
                sent += client.send(std::string_view{half}.substr(sent));
                return sent == half.size() || (client.receive(), client.closed());
            },
            5s);
        return sent == half.size();
    };
    EXPECT_TRUE(send_all(first));
    std::optional<std::string> line;
    std::size_t sent = 0;
    EXPECT_TRUE(poll_until([&] {
        sent += second.send(std::string_view{half}.substr(sent));
        if (auto received = second.receive()) line = received;
        return second.closed();
    }));
    ASSERT_TRUE(line);
    EXPECT_EQ(Json::parse(*line)["error"]["data"]["message"], "too many large requests at once: try again");
    EXPECT_EQ(ask(small, request(1, "version"))["id"], 1);
    EXPECT_EQ(ask(first, request(2, "version"))["id"], 2);
    TestClient third{path()};
    EXPECT_TRUE(send_all(third)) << "the pool is free again";
    EXPECT_EQ(ask(third, request(3, "version"))["id"], 3);
}

TEST_F(RpcServerTest, SocketIsForItsOwnerAndGroupOnly) {
    const auto below = base_.path() / "run" / "fwd";
    auto server = RpcServer::listen(below / "fwd.sock", operations_);
    ASSERT_TRUE(server);
    struct stat status {};
    ASSERT_EQ(::stat((below / "fwd.sock").c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 07777, 0660U);
    if (const group* members = ::getgrnam("fwd"); members != nullptr && ::geteuid() == 0) {
        EXPECT_EQ(status.st_gid, members->gr_gid);
    }
    ASSERT_EQ(::stat(below.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0755U);
    server->reset();
    EXPECT_FALSE(std::filesystem::exists(below / "fwd.sock")) << "it takes its file away";
}

TEST_F(RpcServerTest, SocketOfADeadDaemonIsReplacedAndOfALiveOneNot) {
    {
        const FileDescriptor dead{::socket(AF_UNIX, SOCK_STREAM, 0)};
        const sockaddr_un address = address_of(path());
        ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(dead.get(), 1), 0);
    }
    ASSERT_TRUE(std::filesystem::exists(path()));
    listen();
    TestClient client{path()};
    EXPECT_EQ(ask(client, request(1, "version"))["id"], 1);

    const auto second = RpcServer::listen(path(), operations_);
    ASSERT_FALSE(second);
    EXPECT_EQ(base_.without_path(second.error().text()),
              "socket: another fwdd answers at fwd.sock: stop it first, or choose another path");
    EXPECT_EQ(ask(client, request(2, "version"))["id"], 2);
    EXPECT_EQ(ask(*std::make_unique<TestClient>(path()), request(3, "version"))["id"], 3);
}

TEST_F(RpcServerTest, PlaceThatCannotBeUsedIsRefused) {
    const auto error = [&](const std::filesystem::path& place) {
        const auto server = RpcServer::listen(place, operations_);
        return server ? "" : base_.without_path(server.error().text());
    };
    base_.write("file", "precious");
    EXPECT_EQ(error(base_.path() / "file"),
              "socket: file exists and is not a socket: remove it or choose another path");
    EXPECT_TRUE(std::filesystem::is_regular_file(base_.path() / "file"));
    EXPECT_EQ(error(base_.path() / "file" / "fwd.sock"), "cannot make the directory file: File exists");
    EXPECT_NE(error(base_.path() / std::string(108, 'x')).find("want a path of 1 to 107 bytes"),
              std::string::npos);
    EXPECT_NE(error(""), "");
}

/// Root's part in tests about others.
class RpcServerOfAGroupTest : public RpcServerTest {
 protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root to be somebody else";
    }

    /// A socket that its group may use, and this user gets at.
    void listen_for_a_group(const RpcLimits& limits = {}) {
        ASSERT_EQ(::setegid(kGroup), 0);
        listen(limits);
        ASSERT_EQ(::setegid(0), 0);
        struct stat status {};
        ASSERT_EQ(::stat(path().c_str(), &status), 0);
        socket_group_ = status.st_gid;
        ASSERT_EQ(::chmod(path().c_str(), 0777), 0);
        ASSERT_EQ(::chmod(base_.path().c_str(), 0755), 0);
    }

    static constexpr gid_t kGroup = 4242;
    static constexpr uid_t kUser = 65534;
    gid_t socket_group_ = 0;  ///< kGroup, unless there is a group fwd
};

TEST_F(RpcServerOfAGroupTest, MembersThatHoldAllConnectionsDoNotKeepRootOut) {
    ASSERT_NO_FATAL_FAILURE(listen_for_a_group({.clients = 2, .root_clients = 1}));
    std::deque<TestClient> clients;
    const auto connect_member = [&] {
        EXPECT_EQ(::setegid(socket_group_), 0);
        EXPECT_EQ(::seteuid(kUser), 0);
        clients.emplace_back(path());
        EXPECT_EQ(::seteuid(0), 0);
        EXPECT_EQ(::setegid(0), 0);
    };
    for (int i = 0; i < 2; ++i) {
        connect_member();
        EXPECT_EQ(ask(clients.back(), request(i, "version"))["id"], i);
    }
    connect_member();
    EXPECT_EQ(receive(clients.back())["error"]["message"], "2 clients are connected already: close some");
    TestClient root{path()};
    EXPECT_EQ(ask(root, request(7, "version"))["id"], 7);
    TestClient another{path()};
    EXPECT_EQ(receive(another)["error"]["data"]["kind"], "unavailable");
}

TEST_F(RpcServerOfAGroupTest, StrangersAreTurnedAwayAndMembersAreNot) {
    ASSERT_NO_FATAL_FAILURE(listen_for_a_group());
    const auto answer_to = [&](gid_t primary, const std::vector<gid_t>& others) -> Json {
        int pipe[2];
        EXPECT_EQ(::pipe(pipe), 0);
        const pid_t child = ::fork();
        if (child == 0) {
            if (::setgroups(others.size(), others.data()) != 0 || ::setgid(primary) != 0 ||
                ::setuid(kUser) != 0) {
                ::_exit(1);
            }
            const FileDescriptor socket{::socket(AF_UNIX, SOCK_STREAM, 0)};
            const sockaddr_un address = address_of(path());
            if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
                ::_exit(2);
            const std::string line = request(1, "version");
            ::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL);
            char buffer[4096];
            const ssize_t bytes = ::recv(socket.get(), buffer, sizeof buffer, 0);
            if (bytes > 0 && ::write(pipe[1], buffer, static_cast<std::size_t>(bytes)) != bytes) ::_exit(3);
            ::_exit(0);
        }
        int exit_status = -1;
        EXPECT_TRUE(poll_until([&] { return ::waitpid(child, &exit_status, WNOHANG) == child; }));
        EXPECT_EQ(exit_status, 0);
        char buffer[4096];
        ::close(pipe[1]);
        const ssize_t bytes = ::read(pipe[0], buffer, sizeof buffer);
        ::close(pipe[0]);
        return Json::parse(buffer, buffer + std::max<ssize_t>(bytes, 0), nullptr, false);
    };
    EXPECT_EQ(answer_to(kUser, {})["error"]["message"],
              "want root, fwdd's own user or a member of the socket's group");
    EXPECT_EQ(answer_to(kUser, {1, 2, 3})["error"]["data"]["kind"], "refused");
    EXPECT_TRUE(answer_to(kUser, {1, socket_group_, 3}).contains("result"));
    EXPECT_TRUE(answer_to(socket_group_, {}).contains("result"));
}

}  // namespace
}  // namespace fwd::control
