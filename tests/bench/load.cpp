// SPDX-License-Identifier: Apache-2.0
// The load that tests/bench/serve puts on a daemon's unix socket, so that the client costs little beside what it measures:
//   load get SOCKET PATH COUNT CONNECTIONS   latencies of COUNT requests, that many connections at a time
//   load listen SOCKET COUNT                 COUNT idle event listeners, until stdin ends
//   load exec SOCKET INSTANCE COUNT          `true` by websockets, COUNT times, one after another
// Plain sockets and epoll: what is compared is the server.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

int dial(const std::string &path) {
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (fd < 0 || path.size() >= sizeof a.sun_path) throw std::runtime_error("no socket");
  std::memcpy(a.sun_path, path.c_str(), path.size());
  // A full backlog on a unix socket is EAGAIN: the client waits, as Go's does.
  for (int i = 0; ::connect(fd, reinterpret_cast<sockaddr *>(&a), sizeof a) < 0; i++) {
    if (errno != EAGAIN || i > 20000) throw std::runtime_error("connect: " + std::string(std::strerror(errno)));
    ::usleep(500);
  }
  return fd;
}

void put(int fd, const std::string &s) {
  for (std::size_t n = 0; n < s.size();) {
    auto w = ::send(fd, s.data() + n, s.size() - n, MSG_NOSIGNAL);
    if (w <= 0) throw std::runtime_error("send: " + std::string(std::strerror(errno)));
    n += static_cast<std::size_t>(w);
  }
}

/// Length of a whole HTTP answer at the front of `in`; 0 when more is needed.
std::size_t whole(const std::string &in) {
  auto head = in.find("\r\n\r\n");
  if (head == std::string::npos) return 0;
  std::string h = in.substr(0, head);
  std::transform(h.begin(), h.end(), h.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  auto at = h.find("content-length:");
  if (at != std::string::npos) {
    auto size = head + 4 + std::strtoull(h.c_str() + at + 15, nullptr, 10);
    return in.size() >= size ? size : 0;
  }
  auto end = in.find("\r\n0\r\n\r\n", head);
  return end == std::string::npos ? 0 : end + 7;
}

std::string answer(int fd) {
  std::string in;
  char buf[65536];
  for (;;) {
    if (whole(in)) return in;
    auto n = ::recv(fd, buf, sizeof buf, 0);
    if (n <= 0) throw std::runtime_error("the server hung up");
    in.append(buf, static_cast<std::size_t>(n));
  }
}

int get(const std::string &socket, const std::string &path, int count, int connections) {
  struct Connection {
    int fd = -1;
    std::string in;
    Clock::time_point sent;
  };
  auto request = "GET " + path + " HTTP/1.1\r\nHost: incus\r\n\r\n";
  int poll = ::epoll_create1(EPOLL_CLOEXEC), errors = 0, begun = 0, done = 0;
  std::vector<Connection> all(static_cast<std::size_t>(connections));
  std::vector<double> took;
  auto start = Clock::now();
  auto next = [&](Connection &c) {
    if (begun >= count) return;
    begun++;
    c.in.clear();
    c.sent = Clock::now();
    put(c.fd, request);
  };
  for (std::size_t i = 0; i < all.size(); i++) {
    all[i].fd = dial(socket);
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u64 = i;
    ::epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &e);
    next(all[i]);
  }
  std::vector<epoll_event> events(256);
  while (done < begun) {
    int n = ::epoll_wait(poll, events.data(), 256, 60000);
    if (n <= 0) throw std::runtime_error("no answer within a minute");
    for (int k = 0; k < n; k++) {
      auto &c = all[events[static_cast<std::size_t>(k)].data.u64];
      char buf[65536];
      auto r = ::recv(c.fd, buf, sizeof buf, MSG_DONTWAIT);
      if (r < 0 && errno == EAGAIN) continue;
      if (r <= 0) {
        ::epoll_ctl(poll, EPOLL_CTL_DEL, c.fd, nullptr);
        errors++;
        done++;
        continue;
      }
      c.in.append(buf, static_cast<std::size_t>(r));
      if (!whole(c.in)) continue;
      took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - c.sent).count());
      if (c.in.compare(0, 12, "HTTP/1.1 200") != 0) errors++;
      done++;
      next(c);
    }
  }
  std::sort(took.begin(), took.end());
  auto at = [&](double q) { return took.empty() ? 0.0 : took[std::min(took.size() - 1, static_cast<std::size_t>(q * static_cast<double>(took.size())))]; };
  std::printf("{\"errors\":%d,\"p50\":%.3f,\"p99\":%.3f,\"total\":%.3f}\n", errors, at(0.5), at(0.99),
              std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  return 0;
}

int upgrade(const std::string &socket, const std::string &path) {
  int fd = dial(socket);
  put(fd, "GET " + path + " HTTP/1.1\r\nHost: incus\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  std::string head;
  char c;
  while (head.find("\r\n\r\n") == std::string::npos) {
    if (::recv(fd, &c, 1, 0) != 1) throw std::runtime_error("no websocket at " + path + ": " + head);
    head += c;
  }
  if (head.compare(0, 12, "HTTP/1.1 101") != 0) throw std::runtime_error(head.substr(0, head.find('\r')));
  return fd;
}

int listen(const std::string &socket, int count) {
  rlimit l{};
  ::getrlimit(RLIMIT_NOFILE, &l);
  l.rlim_cur = l.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &l);
  std::vector<int> fds;
  for (int i = 0; i < count; i++) fds.push_back(upgrade(socket, "/1.0/events"));
  std::printf("%zu\n", fds.size());
  std::fflush(stdout);
  char c;
  while (::read(0, &c, 1) > 0) {
  }
  return 0;
}

std::string between(const std::string &text, const std::string &from, const std::string &to) {
  auto a = text.find(from);
  if (a == std::string::npos) throw std::runtime_error("no " + from + " in " + text);
  a += from.size();
  return text.substr(a, text.find(to, a) - a);
}

void until_closed(int fd) {
  char buf[4096];
  for (;;) {
    auto n = ::recv(fd, buf, sizeof buf, 0);
    if (n <= 0) return;
    for (auto i = decltype(n)(0); i < n; i++)
      if ((static_cast<unsigned char>(buf[i]) & 0x8f) == 0x88) return; // a close frame; the command prints nothing
  }
}

int exec(const std::string &socket, const std::string &instance, int count) {
  std::vector<double> took;
  std::string body = R"({"command":["true"],"environment":{},"wait-for-websocket":true,"interactive":false})";
  for (int i = 0; i < count; i++) {
    auto start = Clock::now();
    int c = dial(socket);
    put(c, "POST /1.0/instances/" + instance + "/exec HTTP/1.1\r\nHost: incus\r\nContent-Type: application/json\r\nContent-Length: " +
               std::to_string(body.size()) + "\r\n\r\n" + body);
    auto reply = answer(c);
    auto id = between(reply, "\"operation\":\"", "\"");
    auto fds = between(reply, "\"fds\":{", "}");
    std::map<std::string, int> ws;
    for (auto *n : {"control", "0", "1", "2"})
      ws[n] = upgrade(socket, id + "/websocket?secret=" + between(fds, "\"" + std::string(n) + "\":\"", "\""));
    until_closed(ws["1"]);
    until_closed(ws["2"]);
    put(c, "GET " + id + "/wait HTTP/1.1\r\nHost: incus\r\n\r\n");
    auto end = answer(c);
    if (end.find("\"return\":0") == std::string::npos) throw std::runtime_error("the command did not succeed: " + end);
    took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    for (auto &[n, fd] : ws) ::close(fd);
    ::close(c);
  }
  std::sort(took.begin(), took.end());
  std::printf("{\"median\":%.3f}\n", took[took.size() / 2]);
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  std::vector<std::string> a(argv + 1, argv + argc);
  try {
    if (a.size() == 5 && a[0] == "get") return get(a[1], a[2], std::stoi(a[3]), std::stoi(a[4]));
    if (a.size() == 3 && a[0] == "listen") return listen(a[1], std::stoi(a[2]));
    if (a.size() == 4 && a[0] == "exec") return exec(a[1], a[2], std::stoi(a[3]));
  } catch (const std::exception &e) {
    std::fprintf(stderr, "load: %s\n", e.what());
    return 1;
  }
  std::fprintf(stderr, "usage: load get|listen|exec SOCKET ...\n");
  return 2;
}
