// SPDX-License-Identifier: Apache-2.0
// What the subcommands ask a running daemon, over its socket.
#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <incus/server.hpp>

#include "daemon.hpp"

namespace incusd {

std::string directory() {
  const char *dir = std::getenv("INCUS_DIR");
  return dir && *dir ? dir : "/var/lib/incus";
}

std::string socket_path() { return directory() + "/unix.socket"; }

namespace {

struct Answer {
  int status = 0; ///< 0: nobody answered
  std::string body;
};

int connect_socket() {
  auto path = socket_path();
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.size() >= sizeof a.sun_path) return -1;
  std::memcpy(a.sun_path, path.data(), path.size());
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0) return fd;
  if (fd >= 0) ::close(fd);
  return -1;
}

Answer ask(const char *method, const std::string &path, int timeout) {
  Answer out;
  int fd = connect_socket();
  if (fd < 0) return out;
  if (timeout > 0) {
    timeval t{timeout, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  }
  auto head = fmt::format("{} {} HTTP/1.0\r\nHost: unix\r\nContent-Length: 0\r\n\r\n", method, path);
  std::string in;
  char piece[4096];
  if (::send(fd, head.data(), head.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(head.size()))
    for (ssize_t n; (n = ::recv(fd, piece, sizeof piece, 0)) > 0;) in.append(piece, static_cast<std::size_t>(n));
  ::close(fd);
  if (in.size() > 12 && in.starts_with("HTTP/1.")) out.status = std::atoi(in.c_str() + 9);
  if (auto cut = in.find("\r\n\r\n"); cut != std::string::npos) out.body = in.substr(cut + 4);
  return out;
}

std::string error_of(const Answer &a) {
  boost::system::error_code ec;
  auto v = boost::json::parse(a.body, ec);
  if (auto *o = ec ? nullptr : v.if_object())
    if (auto *e = o->if_contains("error"); e && e->is_string()) return std::string(e->get_string());
  return fmt::format("HTTP status {}", a.status);
}

} // namespace

int wait_ready(int timeout) {
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(timeout);
  for (;;) {
    auto a = ask("GET", "/internal/ready", timeout > 0 ? timeout : 0);
    if (a.status == 200) return 0;
    if (timeout > 0 && std::chrono::steady_clock::now() >= until) {
      fmt::print(stderr, "Error: the daemon on {} is not ready after {} seconds: {}\n", socket_path(), timeout, a.status ? error_of(a) : "nobody listens there");
      return 1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

int shut_down(bool force, int timeout) {
  auto a = ask("PUT", force ? "/internal/shutdown?force=true" : "/internal/shutdown", timeout);
  if (a.status == 0) {
    fmt::print(stderr, "Error: no daemon answers on {}\n", socket_path());
    return 1;
  }
  if (a.status == 200) return 0;
  fmt::print(stderr, "Error: {}\n", error_of(a));
  return 1;
}

/// At boot: a request on the socket makes systemd start the daemon, when something waits for it.
int activate_if_needed(bool debug) {
  auto say = [&](const char *what) {
    if (debug) fmt::print(stderr, "{}\n", what);
  };
  auto dir = directory();
  struct stat st;
  if (::stat((dir + "/database/global/db.bin").c_str(), &st) < 0) {
    say("No database, so no need to start the daemon now");
    return 0;
  }
  std::string why;
  try {
    why = incus::Server::wants_to_run(dir);
  } catch (const std::exception &e) {
    // A daemon that runs holds the store; then it needs no start.
    fmt::print(stderr, "Error: {}\n", e.what());
    return 1;
  }
  if (why.empty()) {
    say("No need to start the daemon now");
    return 0;
  }
  say(fmt::format("Daemon has {}, activating...", why).c_str());
  return ask("GET", "/1.0", 30).status ? 0 : 1;
}

} // namespace incusd
