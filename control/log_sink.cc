// SPDX-License-Identifier: BSD-3-Clause
#include "control/log_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace fwd::control {
namespace {

std::size_t line_count(std::string_view lines) {
    return static_cast<std::size_t>(std::ranges::count(lines, '\n'));
}

std::string text_of(int code) {
    return std::generic_category().message(code);
}

class FileSink : public LogSink {
 public:
    explicit FileSink(const TranslationLogSettings& settings) : settings_{settings} {}

    Result<void> reopen() override {
        const std::string name = settings_.file.string();
        // O_NONBLOCK: whatever else bears the name must not hold fwdd up.
        constexpr int kFlags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
        if (auto ok = make_directory(settings_.file.parent_path(), 0750); !ok) return ok;
        FileDescriptor file{::open(name.c_str(), kFlags | O_CREAT | O_EXCL, 0640)};
        if (file.valid()) {
            if (::fchmod(file.get(), 0640) != 0) return system_error("cannot make " + name);
        } else if (errno == EEXIST) {
            file = FileDescriptor{::open(name.c_str(), kFlags)};
        }
        if (!file.valid()) return system_error("cannot open " + name);
        struct stat status {};
        if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
            return refused(name, "not a file: remove it, or choose another name");
        file_ = std::move(file);
        bytes_ = static_cast<std::uint64_t>(status.st_size);
        rotate_at_ = settings_.rotate_bytes;
        return {};
    }

    std::size_t write(std::string_view lines) override {
        if (bytes_ != 0 && bytes_ + lines.size() > rotate_at_) rotate();
        const ssize_t written = ::write(file_.get(), lines.data(), lines.size());
        const std::string_view there =
            lines.substr(0, static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
        bytes_ += there.size();
        if (there.size() == lines.size()) return 0;
        problem_ = text_of(written < 0 ? errno : ENOSPC);
        // No half lines: what follows would be glued to them.
        const std::size_t whole = there.rfind('\n') + 1;  // 0 when there is none
        const std::size_t half = there.size() - whole;
        const off_t end = ::lseek(file_.get(), 0, SEEK_END);
        if (half != 0 && ::ftruncate(file_.get(), end - static_cast<off_t>(half)) == 0) bytes_ -= half;
        return line_count(lines.substr(whole));
    }

 private:
    std::string numbered(unsigned number) const {
        return number == 0 ? settings_.file.string() : fmt::format("{}.{}", settings_.file.string(), number);
    }
    /// The file that is there goes on being written to if another can't be made.
    void rotate() {
        if (settings_.keep == 0) {
            ::unlink(numbered(0).c_str());
        } else {
            for (unsigned number = settings_.keep; number > 0; --number)
                ::rename(numbered(number - 1).c_str(), numbered(number).c_str());
        }
        if (const auto ok = reopen(); !ok) {
            problem_ = ok.error().text();
            rotate_at_ = bytes_ + settings_.rotate_bytes;
        }
    }

    TranslationLogSettings settings_;
    FileDescriptor file_;
    std::uint64_t bytes_ = 0, rotate_at_ = 0;
};

class SyslogSink : public LogSink {
 public:
    explicit SyslogSink(std::filesystem::path path) : path_{std::move(path)} {}

    Result<void> reopen() override {
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        path_.string().copy(address.sun_path, sizeof address.sun_path - 1);
        FileDescriptor socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (!socket.valid() ||
            ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            return system_error("cannot connect to " + path_.string());
        }
        socket_ = std::move(socket);
        return {};
    }

    std::size_t write(std::string_view lines) override {
        std::size_t lost = 0;
        bool tried = false;  // to connect anew
        while (!lines.empty()) {
            const std::string_view line = lines.substr(0, lines.find('\n'));
            lines.remove_prefix(std::min(line.size() + 1, lines.size()));
            constexpr int kDaemonInfo = 3 * 8 + 6;  // RFC 3164, section 4.1.1
            const std::string message = fmt::format("<{}>fwdd[{}]: {}", kDaemonInfo, ::getpid(), line);
            bool sent = send(message);
            if (!sent && errno != EAGAIN && !tried) {
                // Whoever listens may have started again.
                tried = true;
                sent = reopen().has_value() && send(message);
            }
            if (sent) continue;
            problem_ = text_of(errno);
            ++lost;
        }
        return lost;
    }

 private:
    bool send(const std::string& message) const {
        return ::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL) >= 0;
    }

    std::filesystem::path path_;
    FileDescriptor socket_;
};

}  // namespace

Result<std::unique_ptr<LogSink>> LogSink::open(const TranslationLogSettings& settings) {
    std::unique_ptr<LogSink> sink;
    if (settings.file.empty()) {
        sink = std::make_unique<SyslogSink>(settings.syslog);
    } else {
        sink = std::make_unique<FileSink>(settings);
    }
    return sink->reopen().map([&] { return std::move(sink); });
}

}  // namespace fwd::control
