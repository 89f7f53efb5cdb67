// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace fwd::fwdctl {
namespace {

using control::ErrorKind;

tl::unexpected<CallError> unreachable(const std::string& path, std::string_view why) {
    return tl::unexpected(CallError{
        false, {ErrorKind::unavailable, "", fmt::format("cannot reach fwdd at {}: {}", path, why)}});
}

std::string connect_hint(int code) {
    std::string text = std::generic_category().message(code);
    switch (code) {
        case ENOENT:
        case ECONNREFUSED:
            return text + " (is it running? another place: --socket PATH or FWD_SOCKET)";
        case EACCES:
            return text + " (want root or a member of the socket's group)";
        default:
            return text;
    }
}

ErrorKind kind_of(const std::string& text) {
    if (text == "refused") return ErrorKind::refused;
    if (text == "not_found") return ErrorKind::not_found;
    if (text == "unavailable") return ErrorKind::unavailable;
    return ErrorKind::invalid;
}

/// An error as fwdd sends it; nothing is taken for granted.
CallError error_of(const Json& error) {
    const auto text = [](const Json& object, const char* key) {
        const auto found = object.is_object() ? object.find(key) : object.end();
        return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>()
                                                                                 : "";
    };
    const Json data = error.is_object() && error.contains("data") ? error["data"] : Json::object();
    std::string message = text(data, "message");
    if (message.empty()) message = text(error, "message");
    return {true, {kind_of(text(data, "kind")), text(data, "field"), std::move(message)}};
}

}  // namespace

CallResult<Client> Client::connect(const std::string& path, Waiting waiting) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return unreachable(path, fmt::format("want a path of 1 to {} bytes", sizeof address.sun_path - 1));
    path.copy(address.sun_path, path.size());

    control::FileDescriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    constexpr timeval wait{.tv_sec = 60, .tv_usec = 0};
    if (!socket.valid() || ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0 ||
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return unreachable(path, connect_hint(errno));
    }
    return Client{path, std::move(socket), std::move(waiting)};
}

CallResult<Json> Client::call(std::string_view method, const Json& params) {
    const Json request{{"jsonrpc", "2.0"}, {"id", ++last_id_}, {"method", method}, {"params", params}};
    const bool sent = send_line(request.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
    const int send_error = errno;

    auto line = receive_line();  // also when not all was sent: fwdd may have said why it did not want more
    if (!line) return sent ? tl::unexpected(line.error()) : unreachable(path_, connect_hint(send_error));
    Json answer = Json::parse(*line, nullptr, false);
    if (!answer.is_object()) return unreachable(path_, "what answers there is not fwdd");
    if (const auto error = answer.find("error"); error != answer.end())
        return tl::unexpected(error_of(*error));
    const auto result = answer.find("result");
    if (result == answer.end() || answer.value("id", Json{}) != last_id_) {
        return unreachable(path_, "what answers there is not fwdd");
    }
    return std::move(*result);
}

bool Client::send_line(std::string_view line) {
    while (!line.empty()) {
        const ssize_t bytes = ::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL);
        if (bytes < 0 && errno != EINTR) return false;
        if (bytes > 0) line.remove_prefix(static_cast<std::size_t>(bytes));
    }
    return true;
}

/// False when patience is at its end.
bool Client::wait_for_input() {
    pollfd wait{socket_.get(), POLLIN, 0};
    const auto begin = std::chrono::steady_clock::now();
    while (::poll(&wait, 1, 1000) <= 0) {
        const auto waited =
            std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin);
        if (waited >= waiting_.patience) return false;
        if (waiting_.each_second && waited.count() != 0) waiting_.each_second(waited);
    }
    if (waiting_.each_second) waiting_.each_second({});
    return true;
}

CallResult<std::string> Client::receive_line() {
    std::size_t scanned = 0;
    while (true) {
        if (const std::size_t end = input_.find('\n', scanned); end != std::string::npos) {
            std::string line = input_.substr(0, end);
            input_.erase(0, end + 1);
            return line;
        }
        scanned = input_.size();
        if (!wait_for_input()) {
            return unreachable(path_, fmt::format("no answer for {} s; what was asked for may still be done",
                                                  waiting_.patience.count()));
        }
        std::array<char, 65536> buffer;
        const ssize_t bytes = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0) return unreachable(path_, connect_hint(errno));
        if (bytes == 0) return unreachable(path_, "it has closed the connection");
        input_.append(buffer.data(), static_cast<std::size_t>(bytes));
    }
}

}  // namespace fwd::fwdctl
