// SPDX-License-Identifier: Apache-2.0
// HTTP as bytes over a unix socket, for tests of what well-behaved clients never send.
#pragma once
#include <cstring>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.hpp"

namespace incus::testing {

struct Client {
  explicit Client(const std::string &path) : fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, path.data(), path.size());
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr *>(&a), sizeof a) == 0);
    timeval t{20, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  }
  Client &send(std::string_view text) {
    while (!text.empty()) {
      auto n = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) break; // the server closed: the answer tells why
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return *this;
  }
  /// Everything until the server closes.
  std::string rest() {
    char piece[4096];
    for (ssize_t n; (n = ::recv(fd.get(), piece, sizeof piece, 0)) > 0;) in.append(piece, static_cast<std::size_t>(n));
    return in;
  }
  /// One answer; its body.
  std::string answer(int *status = nullptr) {
    char piece[4096];
    for (;;) {
      auto head = in.find("\r\n\r\n");
      if (head != std::string::npos) {
        std::size_t length = 0;
        if (auto at = in.find("Content-Length: "); at != std::string::npos && at < head) length = std::stoul(in.substr(at + 16));
        if (in.size() >= head + 4 + length) {
          if (status) *status = std::stoi(in.substr(9, 3));
          last_head = in.substr(0, head);
          auto body = in.substr(head + 4, length);
          in.erase(0, head + 4 + length);
          return body;
        }
      }
      auto n = ::recv(fd.get(), piece, sizeof piece, 0);
      if (n <= 0) {
        if (status) *status = 0;
        return in;
      }
      in.append(piece, static_cast<std::size_t>(n));
    }
  }
  base::Fd fd;
  std::string in, last_head;
};

inline std::string request(const std::string &method, const std::string &target, const std::string &body = {}, const std::string &headers = {}) {
  return fmt::format("{} {} HTTP/1.1\r\nHost: x\r\n{}Content-Length: {}\r\n\r\n{}", method, target, headers, body.size(), body);
}

inline const char *websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

} // namespace incus::testing
