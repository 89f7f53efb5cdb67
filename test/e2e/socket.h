// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace fwd::test {

struct Address {
    std::string ip;
    std::uint16_t port = 0;
    friend bool operator==(const Address&, const Address&) = default;
};

/// A UDP or TCP socket in a network namespace, used from the test itself.
class Socket {
 public:
    static Socket udp(const std::string& network_namespace);
    static Socket tcp(const std::string& network_namespace);
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    ~Socket();

    bool bind(const Address& local);
    bool connect(const Address& remote, std::chrono::milliseconds time = std::chrono::seconds{5});
    Address local() const;

    /// Sets the DF bit and lets the kernel lower the path's MTU by what ICMP says.
    void discover_path_mtu();
    int path_mtu() const;

    bool send(const std::string& text);
    /// What comes next within the time; an empty text is a TCP connection's end.
    std::optional<std::string> receive(std::chrono::milliseconds time = std::chrono::seconds{5});
    /// Sends, and expects the same back.
    bool echoes(const std::string& text);
    /// errno of the last call that failed; 0 when it only took too long.
    int error() const { return error_; }

 private:
    Socket(const std::string& network_namespace, int type);
    bool done(std::int64_t result);

    int descriptor_ = -1;
    int error_ = 0;
};

}  // namespace fwd::test
