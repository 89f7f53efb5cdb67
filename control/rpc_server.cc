// SPDX-License-Identifier: BSD-3-Clause
#include "control/rpc_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "control/text.h"

namespace fwd::control {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kListenerId = 0, kWakerId = ~std::uint64_t{0};
constexpr const char* kGroup = "fwd";
constexpr std::size_t kReadBytes = 64 * 1024UL;  // of one client in one poll
constexpr int kAcceptsPerPoll = 64;
constexpr std::size_t kMaxIdBytes = 255;

// Writing an answer is recursive, and a value in memory is up to 50 times as large as in text ("[[],[],...").
constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxValues = 4'000'000;

// JSON-RPC 2.0, section 5.1; the last one is fwd's own, from the range that is left to servers.
enum Code : int {
    parse_error = -32700,
    invalid_request = -32600,
    method_not_found = -32601,
    invalid_params = -32602,
    not_done = -32000,
};

Json error_answer(const Json& id, Code code, const Error& error) {
    return {
        {"jsonrpc", "2.0"},
        {"id", id},
        {"error",
         {{"code", static_cast<int>(code)},
          {"message", error.text()},
          {"data", {{"kind", kind_text(error.kind)}, {"field", error.field}, {"message", error.message}}}}}};
}

Code code_of(const Error& error) {
    return error.kind == ErrorKind::invalid ? invalid_params : not_done;
}

std::string to_line(const Json& message) {
    return message.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

/// Looks for too much of what is cheap to send and dear to keep. (The parser's own callback could, but it
/// takes quadratic time for long lists.)
Result<void> check_size_in_memory(std::string_view text) {
    int depth = 0;
    std::size_t values = 1;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') ++i;
            if (c == '"') in_string = false;
            continue;
        }
        if (c == '"') in_string = true;
        if (c == '[' || c == '{') ++depth;
        if (c == ']' || c == '}') --depth;
        if (c == '[' || c == '{' || c == ',') ++values;
        if (depth > kMaxDepth)
            return invalid("request", fmt::format("nested deeper than {} levels", kMaxDepth));
        if (values > kMaxValues) return invalid("request", fmt::format("more than {} values", kMaxValues));
    }
    return {};
}

Result<Json> parse_json(std::string_view text) {
    if (auto ok = check_size_in_memory(text); !ok) return tl::unexpected(ok.error());
    try {
        return Json::parse(text);
    } catch (const Json::parse_error& error) {
        // what() quotes the text, which may be long
        return invalid("request", fmt::format("not JSON in UTF-8: wrong at byte {}", error.byte));
    } catch (const Json::exception&) {
        return invalid("request", "not JSON that fwdd can read: a number is too large");
    }
}

/// Keeps a second daemon from starting at the same place at the same moment, until it is closed.
Result<FileDescriptor> lock_directory(const std::filesystem::path& directory) {
    FileDescriptor lock{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!lock.valid()) return system_error("cannot open the directory " + directory.string());
    for (int attempt = 0; ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0; ++attempt) {
        if (errno != EWOULDBLOCK || attempt == 40) {
            return system_error("cannot lock the directory " + directory.string());
        }
        std::this_thread::sleep_for(milliseconds{50});
    }
    return lock;
}

/// Removes what an earlier daemon has left; an error when it is not that.
Result<void> remove_stale_socket(const std::string& path, const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        if (errno == ENOENT) return {};
        return system_error("cannot look at " + path);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return refused("socket", fmt::format("{} exists and is not a socket: remove it or choose another "
                                             "path",
                                             path));
    }
    const FileDescriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!probe.valid()) return system_error("cannot make a socket");
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno == EAGAIN) {
        return refused("socket", fmt::format("another fwdd answers at {}: stop it first, or choose another "
                                             "path",
                                             path));
    }
    if (errno != ECONNREFUSED) return system_error("cannot tell whether a fwdd answers at " + path);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove the old " + path);
    return {};
}

/// Every client is a file descriptor, and the usual limit of 1024 would be reached before fwd's own.
void allow_descriptors(std::size_t count) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count) return;
    limit.rlim_cur = std::min<rlim_t>(count, limit.rlim_max);
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::size_t beyond(std::size_t bytes, std::size_t own_bytes) {
    return bytes > own_bytes ? bytes - own_bytes : 0;
}

}  // namespace

std::string_view kind_text(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid:
            return "invalid";
        case ErrorKind::refused:
            return "refused";
        case ErrorKind::not_found:
            return "not_found";
        case ErrorKind::unavailable:
            return "unavailable";
    }
    return "";
}

Result<std::unique_ptr<RpcServer>> RpcServer::listen(const std::filesystem::path& path,
                                                     Operations& operations, const RpcLimits& limits) {
    std::unique_ptr<RpcServer> server{new RpcServer{path, operations, limits}};
    if (auto ok = server->open(); !ok) return tl::unexpected(ok.error());
    return server;
}

RpcServer::~RpcServer() {
    struct stat status {};
    if (socket_file_ && ::lstat(path_.c_str(), &status) == 0 &&
        std::pair{status.st_dev, status.st_ino} == *socket_file_) {
        ::unlink(path_.c_str());
    }
}

Result<void> RpcServer::open() {
    epoll_ = FileDescriptor{::epoll_create1(EPOLL_CLOEXEC)};
    listener_ = FileDescriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!epoll_.valid() || !listener_.valid()) return system_error("cannot make a socket");
    if (auto ok = bind_to_path(); !ok) return ok;

    allow_descriptors(limits_.clients + 1024);  // the rest is for everything else in the process
    scratch_.resize(kReadBytes);
    watch_listener();
    return {};
}

Result<void> RpcServer::bind_to_path() {
    const std::string path = path_.string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return invalid("socket", fmt::format("got {}, want a path of 1 to {} bytes", in_quotes(path),
                                             sizeof address.sun_path - 1));
    }
    path.copy(address.sun_path, path.size());

    const std::filesystem::path directory = path_.has_parent_path() ? path_.parent_path() : ".";
    if (auto ok = make_directory(directory, 0755); !ok) return ok;
    auto lock = lock_directory(directory);
    if (!lock) return tl::unexpected(lock.error());
    if (auto ok = remove_stale_socket(path, address); !ok) return ok;

    // Nobody gets in before the last line: a socket that doesn't listen refuses.
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return system_error("cannot make the socket " + path);
    }
    struct stat status {};
    const group* members = ::getgrnam(kGroup);
    // A unit that starts fwdd in that group may forbid this call.
    if (members != nullptr && ::lstat(path.c_str(), &status) == 0 && status.st_gid != members->gr_gid &&
        ::chown(path.c_str(), static_cast<uid_t>(-1), members->gr_gid) != 0) {
        spdlog::warn("{}: cannot give it to group {}: {}", path, kGroup, std::strerror(errno));
    }
    if (::chmod(path.c_str(), 0660) != 0 || ::lstat(path.c_str(), &status) != 0 ||
        ::listen(listener_.get(), SOMAXCONN) != 0) {
        return system_error("cannot open the socket " + path);
    }
    socket_group_ = status.st_gid;
    socket_file_ = {status.st_dev, status.st_ino};
    return {};
}

void RpcServer::watch_listener() {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = kListenerId}};
    accepting_ = ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener_.get(), &event) == 0;
}

void RpcServer::wake_by(int descriptor) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakerId}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event);
}

void RpcServer::poll(milliseconds timeout) {
    std::array<epoll_event, 256> events{};
    const int wait_ms = ready_.empty() ? static_cast<int>(std::clamp<long>(timeout.count(), 0, 60'000)) : 0;
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms);
    for (int i = 0; i < count; ++i) {
        const ClientId id = events[static_cast<std::size_t>(i)].data.u64;
        if (id == kListenerId) {
            accept_clients();
            continue;
        }
        const auto found = clients_.find(id);
        if (found == clients_.end()) continue;
        if (found->second.state == State::reading) {
            read_from(id, found->second);
        } else if (found->second.state == State::answering) {
            write_to(id, found->second);
        }
    }
    handle_requests();
    disconnect_late_clients();
}

void RpcServer::accept_clients() {
    for (int i = 0; i < kAcceptsPerPoll; ++i) {
        FileDescriptor socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!socket.valid()) {
            // Out of descriptors or memory: without a pause epoll would report the waiting client again and
            // again.
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
                ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
                accepting_ = false;
            }
            return;
        }
        const auto turn_away = [&](const Error& error) {
            const std::string line = to_line(error_answer(nullptr, not_done, error));
            ::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        };
        const std::size_t most = most_clients_for(socket.get());
        if (most == 0) {
            turn_away(
                {ErrorKind::refused, "", "want root, fwdd's own user or a member of the socket's group"});
            continue;
        }
        if (clients_.size() >= most) {
            turn_away({ErrorKind::unavailable, "",
                       fmt::format("{} clients are connected already: close some", clients_.size())});
            continue;
        }
        const ClientId id = ++last_id_;
        epoll_event event{.events = EPOLLIN, .data = {.u64 = id}};
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) continue;
        Client& client = clients_[id];
        client.socket = std::move(socket);
        client.watched = EPOLLIN;
    }
}

/// The kernel tells what the client was when it connected; nothing is looked up, which could take long.
std::size_t RpcServer::most_clients_for(int socket) const {
    ucred peer{};
    socklen_t bytes = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return 0;
    if (peer.uid == 0) return limits_.clients + limits_.root_clients;
    if (peer.uid == ::geteuid() || peer.gid == socket_group_) return limits_.clients;

    std::vector<gid_t> groups(65536);  // NGROUPS_MAX
    bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) != 0) return 0;
    groups.resize(bytes / sizeof(gid_t));
    return std::ranges::find(groups, socket_group_) != groups.end() ? limits_.clients : 0;
}

void RpcServer::read_from(ClientId id, Client& client) {
    const std::size_t room = limits_.message_bytes - client.input.size();
    const ssize_t bytes = ::recv(client.socket.get(), scratch_.data(), std::min(scratch_.size(), room), 0);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (bytes <= 0) {  // half a request at the end of a connection is none
        disconnect(id);
        return;
    }
    if (!make_room(client, static_cast<std::size_t>(bytes))) {
        dismiss(id, client,
                {ErrorKind::unavailable, "request", "too many large requests at once: try again"});
        return;
    }
    if (client.input.empty()) client.deadline = Clock::now() + limits_.patience;
    client.input.append(scratch_, 0, static_cast<std::size_t>(bytes));
    go_on_reading(id, client);
}

/// Grows the input for `bytes` more, if the pool has as much.
bool RpcServer::make_room(Client& client, std::size_t bytes) {
    const std::size_t needed = client.input.size() + bytes;
    if (needed <= client.input.capacity()) return true;
    std::size_t capacity = std::max(client.input.capacity(), limits_.own_bytes);
    while (capacity < needed) capacity *= 2;
    if (!take_shared(client, beyond(capacity, limits_.own_bytes))) return false;
    client.input.reserve(capacity);
    return true;
}

/// Sets what the client has of the pool; false, and nothing changed, when there is not as much.
bool RpcServer::take_shared(Client& client, std::size_t bytes) {
    const std::size_t others = shared_bytes_ - client.shared_bytes;
    if (bytes > client.shared_bytes && others + bytes > limits_.shared_bytes) return false;
    shared_bytes_ = others + bytes;
    client.shared_bytes = bytes;
    return true;
}

/// Looks for a whole request in the input.
void RpcServer::go_on_reading(ClientId id, Client& client) {
    const std::size_t end = client.input.find('\n', client.scanned);
    if (end != std::string::npos) {
        client.scanned = end;
        client.state = State::ready;
        client.deadline.reset();
        watch(id, client, 0);
        ready_.push_back(id);
        return;
    }
    client.scanned = client.input.size();
    if (client.scanned >= limits_.message_bytes) {
        dismiss(id, client,
                {ErrorKind::invalid, "request", fmt::format("longer than {} bytes", limits_.message_bytes)});
        return;
    }
    client.state = State::reading;
    watch(id, client, EPOLLIN);
}

void RpcServer::handle_requests() {
    std::vector<Request> writes;
    std::vector<Request> reads;
    for (const ClientId id : std::exchange(ready_, {})) {
        std::optional<Request> request = take_request(id);
        if (!request) continue;
        if (request->method->access == Access::write) {
            call(*request);
            writes.push_back(std::move(*request));
            operations_.between_requests();
        } else {
            reads.push_back(std::move(*request));
        }
    }
    const auto is_done = [](const Request& request) { return request.outcome.has_value(); };
    if (std::ranges::any_of(writes, is_done)) {
        if (auto committed = operations_.commit(); !committed) {
            for (Request& request : writes) {
                if (is_done(request)) request.outcome = tl::unexpected(committed.error());
            }
        }
    }
    for (Request& request : writes) answer(request);
    for (Request& request : reads) {
        call(request);
        answer(request);
        request = {};  // a long list is not kept while the others are made
        operations_.between_requests();
    }
}

/// Takes a line out of the input. When it is no request that can be called, it is answered here. What is left
/// of one that reads is small, as its parameters are, so those of all clients can wait.
std::optional<RpcServer::Request> RpcServer::take_request(ClientId id) {
    Client& client = clients_.find(id)->second;
    auto message = parse_json(std::string_view{client.input}.substr(0, client.scanned));
    client.input.erase(0, client.scanned + 1);
    client.scanned = 0;
    if (client.input.size() <= limits_.own_bytes) client.input.shrink_to_fit();
    take_shared(client, beyond(client.input.capacity(), limits_.own_bytes));

    const auto wrong = [&](const Json& answer_id, Code code, const Error& error) {
        send(id, client, error_answer(answer_id, code, error));
        return std::nullopt;
    };
    const auto not_a_request = [&](const char* field, const char* why) {
        return wrong(nullptr, invalid_request, {ErrorKind::invalid, field, why});
    };
    if (!message) return wrong(nullptr, parse_error, message.error());
    if (message->is_array()) return not_a_request("request", "got a batch, want one request a line");
    if (!message->is_object()) return not_a_request("request", "want an object");

    Request request;
    request.client = id;
    if (const auto member = message->find("id"); member != message->end()) {
        const auto* text = member->get_ptr<const std::string*>();
        if (!(text != nullptr ? text->size() <= kMaxIdBytes : member->is_number() || member->is_null())) {
            return not_a_request("id", "want a number, null or a text of at most 255 bytes");
        }
        request.id = std::move(*member);
    }
    const Json answer_id = request.id.value_or(nullptr);
    const auto version = message->find("jsonrpc");
    if (version == message->end() || *version != "2.0") {
        return wrong(answer_id, invalid_request, {ErrorKind::invalid, "jsonrpc", "want \"2.0\""});
    }
    const auto name = message->find("method");
    if (name == message->end() || !name->is_string()) {
        return wrong(answer_id, invalid_request, {ErrorKind::invalid, "method", "want a text"});
    }
    request.method = find_method(name->get_ref<const std::string&>());
    if (request.method == nullptr) {
        if (!request.id) {
            finish_answer(id, client);
            return std::nullopt;
        }
        return wrong(answer_id, method_not_found,
                     {ErrorKind::not_found, "method",
                      fmt::format("got {}, which fwdd does not know",
                                  in_quotes(name->get_ref<const std::string&>()))});
    }
    const auto params = message->find("params");
    request.params = params == message->end() ? Json::object() : std::move(*params);
    if (auto ok = check_params(*request.method, request.params); !ok) {
        // Not kept, nor what else came with it: it may be as large as a message can be, and from every
        // client.
        request.params = {};
        request.outcome = tl::unexpected(ok.error());
        answer(request);
        return std::nullopt;
    }
    return request;
}

void RpcServer::call(Request& request) {
    request.outcome = (operations_.*request.method->handler)(request.params);
    request.params = {};
}

void RpcServer::answer(Request& request) {
    Client& client = clients_.find(request.client)->second;
    if (!request.id) {
        finish_answer(request.client, client);
        return;
    }
    if (!request.outcome) {
        const Error& error = request.outcome.error();
        send(request.client, client, error_answer(*request.id, code_of(error), error));
        return;
    }
    Json message{{"jsonrpc", "2.0"}, {"id", std::move(*request.id)}};
    message["result"] = std::move(*request.outcome);
    send(request.client, client, message);
}

void RpcServer::send(ClientId id, Client& client, const Json& message) {
    client.output = to_line(message);
    client.output.shrink_to_fit();
    const std::size_t input_bytes = beyond(client.input.capacity(), limits_.own_bytes);
    if (!take_shared(client, input_bytes + beyond(client.output.capacity(), limits_.own_bytes))) {
        const bool alone = client.output.size() <= limits_.shared_bytes;
        const Error error{ErrorKind::unavailable, "",
                          alone ? "too many long answers are waiting to be read: try again"
                                : fmt::format("the answer has {} bytes, {} are the limit",
                                              client.output.size(), limits_.shared_bytes)};
        client.output = to_line(error_answer(message["id"], not_done, error));
    }
    client.written = 0;
    client.state = State::answering;
    client.deadline = Clock::now() + limits_.patience;
    write_to(id, client);
}

void RpcServer::write_to(ClientId id, Client& client) {
    const ssize_t bytes = ::send(client.socket.get(), client.output.data() + client.written,
                                 client.output.size() - client.written, MSG_NOSIGNAL);
    if (bytes < 0 && errno != EAGAIN && errno != EINTR) {
        disconnect(id);
        return;
    }
    if (bytes > 0) client.written += static_cast<std::size_t>(bytes);
    if (client.written == client.output.size()) {
        finish_answer(id, client);
    } else {
        watch(id, client, EPOLLOUT);
    }
}

/// The client's next request may come.
void RpcServer::finish_answer(ClientId id, Client& client) {
    if (client.dismissed) {
        disconnect(id);
        return;
    }
    client.output = {};
    client.written = 0;
    take_shared(client, beyond(client.input.capacity(), limits_.own_bytes));
    client.deadline.reset();
    if (!client.input.empty()) client.deadline = Clock::now() + limits_.patience;
    go_on_reading(id, client);
}

/// Tells the client why, as its last answer: what else it sends can't be told apart from the rest of the
/// request.
void RpcServer::dismiss(ClientId id, Client& client, const Error& error) {
    client.input = {};
    client.scanned = 0;
    client.dismissed = true;
    send(id, client,
         error_answer(nullptr, error.kind == ErrorKind::invalid ? invalid_request : not_done, error));
}

void RpcServer::watch(ClientId id, Client& client, std::uint32_t events) {
    if (client.watched == events) return;
    epoll_event event{.events = events, .data = {.u64 = id}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.socket.get(), &event);
    client.watched = events;
}

void RpcServer::disconnect(ClientId id) {
    const auto found = clients_.find(id);
    shared_bytes_ -= found->second.shared_bytes;
    clients_.erase(found);
}

void RpcServer::disconnect_late_clients() {
    const auto now = Clock::now();
    if (now < next_deadline_check_) return;
    next_deadline_check_ = now + limits_.patience / 16;
    for (auto it = clients_.begin(); it != clients_.end();) {
        const Client& client = it->second;
        const bool late = client.deadline && *client.deadline <= now;
        if (late) shared_bytes_ -= client.shared_bytes;
        it = late ? clients_.erase(it) : std::next(it);
    }
    if (!accepting_) watch_listener();
}

}  // namespace fwd::control
