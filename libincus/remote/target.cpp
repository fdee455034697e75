// SPDX-License-Identifier: Apache-2.0
#include "remote/target.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>

#include "base/error.hpp"
#include "base/names.hpp"
#include "remote/tls.hpp"
#include "remote/tunnel.hpp"

namespace incus::remote {

namespace {

using Clock = std::chrono::steady_clock;

std::string environment(const char *name) {
  const char *v = std::getenv(name);
  return v ? v : "";
}

std::string default_socket() {
  if (auto s = environment("INCUS_SOCKET"); !s.empty()) return s;
  if (auto d = environment("INCUS_DIR"); !d.empty()) return d + "/unix.socket";
  struct stat st;
  return ::stat("/run/incus/unix.socket", &st) == 0 ? "/run/incus/unix.socket" : "/var/lib/incus/unix.socket";
}

int remaining(Clock::time_point end) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(std::min<long long>(left, 1 << 30));
}

/// 0, or the errno of the failure.
int connect_within(int fd, const sockaddr *address, socklen_t size, Clock::time_point end) {
  for (;;) {
    if (::connect(fd, address, size) == 0) return 0;
    if (errno == EINTR) continue;
    // A unix socket whose queue of connections is full.
    if (errno == EAGAIN) {
      if (remaining(end) == 0) return ETIMEDOUT;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    if (errno != EINPROGRESS) return errno;
    break;
  }
  for (;;) {
    pollfd p{fd, POLLOUT, 0};
    int n = ::poll(&p, 1, remaining(end));
    if (n == 0) return ETIMEDOUT;
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) break;
  }
  int err = 0;
  socklen_t len = sizeof err;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
  return err;
}

[[noreturn]] void unreachable(const Target &t, int err) {
  if (err == ETIMEDOUT) base::fail(ErrorCode::timeout, "cannot connect to {} within {} ms", base::quoted(t.name()), t.connect_timeout.count());
  auto what = fmt::format("cannot connect to {}", base::quoted(t.name()));
  if (err == EACCES || err == EPERM) base::fail_errno(err, what);
  base::fail(ErrorCode::unavailable, "{}: {}; is the server running?", what, base::errno_text(err));
}

base::Fd dial_unix(const Target &t, Clock::time_point end) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (t.socket.size() >= sizeof a.sun_path)
    base::fail(ErrorCode::invalid_argument, "invalid socket path {}: must be shorter than {} bytes", base::quoted(t.socket), sizeof a.sun_path);
  std::memcpy(a.sun_path, t.socket.data(), t.socket.size());
  base::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) base::fail_errno(errno, "cannot make a socket");
  if (int err = connect_within(fd.get(), reinterpret_cast<sockaddr *>(&a), sizeof a, end)) unreachable(t, err);
  return fd;
}

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo *)>;

Addresses look_up(const std::string &host, const std::string &port, const std::string &name) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  int e = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  // Loopback alone does not count as a configured address.
  if (e == EAI_ADDRFAMILY || e == EAI_NONAME || e == EAI_NODATA) {
    hints.ai_flags = 0;
    e = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  }
  if (e) base::fail(ErrorCode::unavailable, "cannot find the address of {}: {}", base::quoted(name), ::gai_strerror(e));
  return Addresses(found, ::freeaddrinfo);
}

bool is_private(const in_addr &a) {
  auto n = ntohl(a.s_addr);
  auto in = [n](std::uint32_t net, int bits) { return (n >> (32 - bits)) == (net >> (32 - bits)); };
  return in(0, 8) || in(0x0a000000, 8) || in(0x64400000, 10) || in(0x7f000000, 8) || in(0xa9fe0000, 16) || in(0xac100000, 12) || in(0xc0a80000, 16) ||
         in(0xe0000000, 3);
}

bool is_private(const sockaddr *a) {
  if (a->sa_family == AF_INET) return is_private(reinterpret_cast<const sockaddr_in *>(a)->sin_addr);
  if (a->sa_family != AF_INET6) return true;
  auto &six = reinterpret_cast<const sockaddr_in6 *>(a)->sin6_addr;
  auto *b = six.s6_addr;
  // IPv4 within IPv6, as the kernel or a translator of addresses takes it.
  bool nat64 = b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b;
  if (IN6_IS_ADDR_V4MAPPED(&six) || IN6_IS_ADDR_V4COMPAT(&six) || nat64) {
    in_addr four;
    std::memcpy(&four, b + 12, 4);
    return is_private(four);
  }
  return IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six) || IN6_IS_ADDR_LINKLOCAL(&six) || IN6_IS_ADDR_SITELOCAL(&six) || IN6_IS_ADDR_MULTICAST(&six) ||
         (b[0] & 0xfe) == 0xfc;
}

/// 0 and the socket, or the errno of the last address that was tried.
std::pair<int, base::Fd> connect_any(const std::string &host, const std::string &port, bool only_public, const std::string &name, Clock::time_point end) {
  auto found = look_up(host, port, name);
  int err = EADDRNOTAVAIL;
  for (auto *a = found.get(); a; a = a->ai_next) {
    // Asked of the address that is dialled, not of the name: it may have another one next time.
    if (only_public && is_private(a->ai_addr)) {
      err = EACCES;
      continue;
    }
    base::Fd fd(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
      err = errno;
      continue;
    }
    err = connect_within(fd.get(), a->ai_addr, a->ai_addrlen, end);
    if (err) continue;
    int on = 1, idle = 30, probes = 4;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // A server that vanished is noticed also by who only listens.
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    return {0, std::move(fd)};
  }
  return {err, base::Fd()};
}

base::Fd dial_tcp(const Target &t, Clock::time_point end) {
  auto proxy = t.tls ? base::proxy_for(t.proxies, "https", t.host) : std::nullopt;
  if (!proxy) {
    auto [err, fd] = connect_any(t.host, t.port, t.only_public, t.name(), end);
    if (err) unreachable(t, err);
    return std::move(fd);
  }
  if (t.only_public && remote::is_private(t.host, t.proxies)) unreachable(t, EACCES);
  auto name = "proxy " + proxy->name();
  auto [err, fd] = connect_any(proxy->host, proxy->port, false, name, end);
  if (err == ETIMEDOUT) base::fail(ErrorCode::timeout, "cannot connect to the {} within {} ms, on the way to {}", name, t.connect_timeout.count(), base::quoted(t.name()));
  if (err) base::fail(ErrorCode::unavailable, "cannot connect to the {}, on the way to {}: {}", name, base::quoted(t.name()), base::errno_text(err));
  connect_through(fd.get(), *proxy, t.host, t.port, end);
  return std::move(fd);
}

} // namespace

base::Fd dial(const Target &target) {
  auto end = Clock::now() + target.connect_timeout;
  return target.socket.empty() ? dial_tcp(target, end) : dial_unix(target, end);
}

bool is_private(const std::string &host, const base::Proxies &proxies) {
  Addresses found(nullptr, ::freeaddrinfo);
  try {
    found = look_up(host, "443", host);
  } catch (const Error &) {
    if (base::proxy_for(proxies, "https", host)) return false;
    throw;
  }
  for (auto *a = found.get(); a; a = a->ai_next)
    if (is_private(a->ai_addr)) return true;
  return false;
}

void parse_authority(const std::string &text, std::string &host, std::string &port) {
  auto bad = [&](const char *why) { base::fail(ErrorCode::invalid_argument, "invalid server address {}: {}", base::quoted(text), why); };
  port = "8443";
  std::string rest;
  if (text.starts_with('[')) {
    auto end = text.find(']');
    if (end == text.npos) bad("'[' without ']'");
    host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    auto colon = text.find(':');
    if (colon != text.npos && text.find(':', colon + 1) != text.npos) bad("an IPv6 address stands in brackets, as in [::1]:8443");
    host = text.substr(0, colon);
    rest = colon == text.npos ? "" : text.substr(colon);
  }
  if (!rest.empty()) {
    port = rest.substr(1);
    if (rest[0] != ':' || port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != port.npos || std::stoi(port) < 1 || std::stoi(port) > 65535)
      bad("the port must be a number from 1 to 65535");
  }
  if (host.empty()) bad("it names no host");
  for (unsigned char c : host)
    if (c <= ' ' || c == 127 || std::strchr("/?#@\\\"", c)) bad("the host has a character that is not allowed there");
}

Target parse_target(const std::string &uri, const OpenOptions &options) {
  Target t;
  if (options.connect_timeout.count() > 0) t.connect_timeout = options.connect_timeout;
  if (uri.find('\0') != uri.npos) base::fail(ErrorCode::invalid_argument, "invalid URI {}: it holds a NUL", base::quoted(uri));
  if (uri.starts_with("unix:")) {
    t.socket = uri.substr(5);
    if (t.socket.starts_with("//")) t.socket.erase(0, 2);
    if (t.socket.empty()) t.socket = default_socket();
    if (t.socket[0] != '/')
      base::fail(ErrorCode::invalid_argument, "invalid URI {}: unix:// takes an absolute path, as in unix:///var/lib/incus/unix.socket", base::quoted(uri));
    return t;
  }
  std::string rest = uri.substr(6);
  if (!rest.starts_with("//")) base::fail(ErrorCode::invalid_argument, "invalid URI {}: must be https://HOST or https://HOST:PORT", base::quoted(uri));
  rest.erase(0, 2);
  while (!rest.empty() && rest.back() == '/') rest.pop_back();
  if (rest.empty() && !options.trust_token.empty()) {
    auto token = read_trust_token(options.trust_token);
    // The first address that answers.
    for (auto &a : token.addresses) {
      try {
        parse_authority(a, t.host, t.port);
        dial(t);
        break;
      } catch (const Error &) {
        if (&a == &token.addresses.back()) throw;
      }
    }
  } else {
    parse_authority(rest, t.host, t.port);
  }
  t.tls = std::make_shared<const Tls>(options);
  return t;
}

} // namespace incus::remote
