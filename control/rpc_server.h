// SPDX-License-Identifier: BSD-3-Clause
// JSON-RPC 2.0 over a UNIX stream socket, one message a line.
//
// Each client goes round this circle, and nothing else is done for it meanwhile, so one that sends without
// reading only fills its own socket:
//
//     reading --a whole line is there--> ready --handled in the same or the next poll--> answering --all
//     written-.
//        ^-------------------------------------------------------------------------------------------------------'
//
// One poll handles at most one request of each client, writes before reads. All writes of a poll share one
// Operations::commit(), and none is answered before it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/error.h"
#include "control/files.h"
#include "control/methods.h"

namespace fwd::control {

/// How an answer calls the kind of an error.
std::string_view kind_text(ErrorKind kind);

struct RpcLimits {
    std::size_t clients = 1024;
    std::size_t root_clients = 16;            ///< beyond them, so that nobody keeps root out
    std::size_t own_bytes = 64UL << 10U;      ///< each client may hold so much in each direction
    std::size_t message_bytes = 32UL << 20U;  ///< of one request
    std::size_t shared_bytes = 64UL << 20U;   ///< what all clients together may hold beyond their own
    std::chrono::milliseconds patience{
        30'000};  ///< for a request to arrive or an answer to be read as a whole
};

class RpcServer {
 public:
    /// Opens the socket: mode 0660, group `fwd` if there is one. Replaces the file of a daemon that is gone;
    /// refuses when one still answers there.
    static Result<std::unique_ptr<RpcServer>> listen(const std::filesystem::path& path,
                                                     Operations& operations, const RpcLimits& limits = {});
    RpcServer(const RpcServer&) = delete;
    RpcServer& operator=(const RpcServer&) = delete;
    ~RpcServer();  ///< removes the socket's file

    /// Lets poll() wait no longer when this descriptor is readable; whoever owns it reads it.
    void wake_by(int descriptor);

    /// Waits up to `timeout` for something to do, then does what can be done without waiting.
    void poll(std::chrono::milliseconds timeout);

 private:
    using Clock = std::chrono::steady_clock;
    using ClientId = std::uint64_t;  ///< unlike a file descriptor never used twice

    enum class State { reading, ready, answering };

    struct Client {
        FileDescriptor socket;
        State state = State::reading;
        std::uint32_t watched = 0;     ///< what epoll reports
        std::string input;             ///< what has been read and not handled
        std::size_t scanned = 0;       ///< bytes of `input` before the end of line, or known to hold none
        std::string output;            ///< the answer that is being written
        std::size_t written = 0;       ///< bytes of `output`
        std::size_t shared_bytes = 0;  ///< taken from the pool
        bool dismissed = false;        ///< to be disconnected once its answer is written
        std::optional<Clock::time_point>
            deadline;  ///< of a request that has begun to arrive, or of an answer
    };

    struct Request {
        ClientId client = 0;
        std::optional<Json> id;  ///< none: a notification, which is not answered
        const Method* method = nullptr;
        Json params;
        Result<Json> outcome;
    };

    RpcServer(std::filesystem::path path, Operations& operations, const RpcLimits& limits)
        : path_{std::move(path)}, operations_{operations}, limits_{limits} {}

    Result<void> open();
    Result<void> bind_to_path();
    void watch_listener();
    void accept_clients();
    /// How many clients there may be for one more of this socket's user; 0: it is none that may ask.
    std::size_t most_clients_for(int socket) const;

    // Each of these may disconnect the client: it is not to be touched afterwards.
    void read_from(ClientId id, Client& client);
    void go_on_reading(ClientId id, Client& client);
    void send(ClientId id, Client& client, const Json& message);
    void write_to(ClientId id, Client& client);
    void finish_answer(ClientId id, Client& client);
    void dismiss(ClientId id, Client& client, const Error& error);
    void disconnect(ClientId id);
    void disconnect_late_clients();

    void handle_requests();
    std::optional<Request> take_request(ClientId id);
    void call(Request& request);
    void answer(Request& request);

    void watch(ClientId id, Client& client, std::uint32_t events);
    bool make_room(Client& client, std::size_t bytes);
    bool take_shared(Client& client, std::size_t bytes);

    std::filesystem::path path_;
    Operations& operations_;
    RpcLimits limits_;
    FileDescriptor epoll_;
    FileDescriptor listener_;
    bool accepting_ = false;
    gid_t socket_group_ = 0;
    std::optional<std::pair<dev_t, ino_t>> socket_file_;
    std::unordered_map<ClientId, Client> clients_;
    std::vector<ClientId> ready_;  ///< clients in that state, in the order in which they became it
    ClientId last_id_ = 0;
    std::size_t shared_bytes_ = 0;  ///< taken from the pool by all clients
    Clock::time_point next_deadline_check_;
    std::string scratch_;
};

}  // namespace fwd::control
