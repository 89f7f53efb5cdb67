// SPDX-License-Identifier: BSD-3-Clause
#include "test/e2e/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace fwd::test {
namespace {

sockaddr_in to_sockaddr(const Address& address) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(address.port);
    inet_pton(AF_INET, address.ip.c_str(), &result.sin_addr);
    return result;
}

}  // namespace

Socket::Socket(const std::string& network_namespace, int type) {
    // A socket stays in the namespace that its thread was in when it made it.
    const int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    const int there = open(("/run/netns/" + network_namespace).c_str(), O_RDONLY | O_CLOEXEC);
    if (setns(there, CLONE_NEWNET) == 0) descriptor_ = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    setns(home, CLONE_NEWNET);
    close(there);
    close(home);
}

Socket Socket::udp(const std::string& network_namespace) {
    return {network_namespace, SOCK_DGRAM};
}
Socket Socket::tcp(const std::string& network_namespace) {
    return {network_namespace, SOCK_STREAM};
}

Socket::Socket(Socket&& other) noexcept
    : descriptor_{std::exchange(other.descriptor_, -1)}, error_{other.error_} {}

Socket& Socket::operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(error_, other.error_);
    return *this;
}

Socket::~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
}

bool Socket::done(std::int64_t result) {
    error_ = result < 0 ? errno : 0;
    return result >= 0;
}

bool Socket::bind(const Address& local) {
    const int yes = 1;
    setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const sockaddr_in address = to_sockaddr(local);
    return done(::bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
}

bool Socket::connect(const Address& remote, std::chrono::milliseconds time) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    const timeval wait{seconds.count(), std::chrono::microseconds{time - seconds}.count()};
    setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    const sockaddr_in address = to_sockaddr(remote);
    return done(::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
}

Address Socket::local() const {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length);
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    return {text.data(), ntohs(address.sin_port)};
}

void Socket::discover_path_mtu() {
    const int always = IP_PMTUDISC_DO;
    setsockopt(descriptor_, IPPROTO_IP, IP_MTU_DISCOVER, &always, sizeof always);
}

int Socket::path_mtu() const {
    int mtu = 0;
    socklen_t length = sizeof mtu;
    getsockopt(descriptor_, IPPROTO_IP, IP_MTU, &mtu, &length);
    return mtu;
}

bool Socket::send(const std::string& text) {
    return done(::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL));
}

std::optional<std::string> Socket::receive(std::chrono::milliseconds time) {
    pollfd wait{descriptor_, POLLIN, 0};
    error_ = 0;
    if (poll(&wait, 1, static_cast<int>(time.count())) <= 0) return std::nullopt;
    std::string text(65536, '\0');
    const ssize_t bytes = recv(descriptor_, text.data(), text.size(), 0);
    if (!done(bytes)) return std::nullopt;
    text.resize(static_cast<std::size_t>(bytes));
    return text;
}

bool Socket::echoes(const std::string& text) {
    if (!send(text)) return false;
    std::string back;
    while (back.size() < text.size()) {
        const auto part = receive();
        if (!part || part->empty()) return false;
        back += *part;
    }
    return back == text;
}

}  // namespace fwd::test
