// SPDX-License-Identifier: BSD-3-Clause
// Bytes on the socket: each line is answered by a line of JSON-RPC 2.0 or was a notification, and another
// client is served as before.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "control/rpc_server.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

void check(bool holds) {
    if (!holds) std::abort();
}

class Server {
 public:
    Server()
        : book_{*RuleBook::open(test::example_topology(), *RuleStore::open(base_.path() / "state"), {})} {
        auto server = RpcServer::listen(path(), operations_, {.message_bytes = 1UL << 20U});
        check(server.has_value());
        server_ = std::move(*server);
    }

    /// What the server says to these bytes and the end behind them.
    std::string answer_to(std::string_view bytes) {
        const FileDescriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path().string().copy(address.sun_path, sizeof address.sun_path - 1);
        check(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        std::string answers;
        for (bool is_open = true; is_open;) {
            if (!bytes.empty()) {
                const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
                // It may have hung up on us already.
                bytes.remove_prefix(sent < 0 ? (errno == EAGAIN ? 0 : bytes.size())
                                             : static_cast<std::size_t>(sent));
                if (bytes.empty()) ::shutdown(socket.get(), SHUT_WR);
            }
            server_->poll(std::chrono::milliseconds{0});
            char buffer[65536];
            const ssize_t read = ::recv(socket.get(), buffer, sizeof buffer, 0);
            if (read > 0) answers.append(buffer, static_cast<std::size_t>(read));
            is_open = read > 0 || (read < 0 && errno == EAGAIN);
        }
        return answers;
    }

    /// The next input finds what this one has found.
    void reset() {
        while (!book_.rules().empty()) check(book_.remove(book_.rules().begin()->second.name).has_value());
        check(book_.commit().has_value());
        operations_.session_count = 31;
    }

 private:
    std::filesystem::path path() const { return base_.path() / "fwd.sock"; }

    test::TemporaryDirectory base_;
    RuleBook book_;
    test::PlainOperations operations_{book_};
    std::unique_ptr<RpcServer> server_;
};

void run(std::string input) {
    static Server server;
    input += '\n';
    const std::string answers = server.answer_to(input);
    std::size_t begin = 0;
    for (std::size_t end; (end = answers.find('\n', begin)) != std::string::npos; begin = end + 1) {
        const Json answer = Json::parse(answers.begin() + static_cast<std::ptrdiff_t>(begin),
                                        answers.begin() + static_cast<std::ptrdiff_t>(end));
        check(answer.at("jsonrpc") == "2.0" && answer.contains("id"));
        check(answer.contains("result") != answer.contains("error"));
        if (answer.contains("error")) check(!answer["error"].at("message").get<std::string>().empty());
    }
    check(begin == answers.size());
    check(server.answer_to("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n").find("0.1.0") !=
          std::string::npos);
    server.reset();
}

}  // namespace
}  // namespace fwd::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fwd::control::run({reinterpret_cast<const char*>(data), size});
    return 0;
}
