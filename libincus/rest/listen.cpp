// SPDX-License-Identifier: Apache-2.0
// Listening sockets: unix, inherited, TLS; and following the configuration.
#include <arpa/inet.h>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "rest/connection.hpp"

namespace incus {

namespace asio = boost::asio;

namespace {

struct Accepting {
  Accepting(asio::io_context &io, int fd) : strand(asio::make_strand(io)), descriptor(strand, fd), timer(strand) {}
  asio::any_io_executor strand;
  asio::posix::basic_stream_descriptor<asio::any_io_executor> descriptor;
  asio::steady_timer timer;
};

std::string text_of(const sockaddr_storage &a) {
  char host[INET6_ADDRSTRLEN] = "";
  if (a.ss_family == AF_INET) {
    auto &v4 = reinterpret_cast<const sockaddr_in &>(a);
    ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
    return fmt::format("{}:{}", host, ntohs(v4.sin_port));
  }
  if (a.ss_family == AF_INET6) {
    auto &v6 = reinterpret_cast<const sockaddr_in6 &>(a);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(v6.sin6_port));
  }
  return "@";
}

/// "host:port", ":port", "[v6]:port", "v6", "host".
std::pair<std::string, std::string> host_and_port(const std::string &address, int default_port) {
  auto port = std::to_string(default_port);
  if (address.starts_with('[')) {
    auto end = address.find(']');
    if (end == std::string::npos) base::fail(ErrorCode::invalid_argument, "invalid address {}: a bracket is not closed", base::quoted(address));
    if (end + 1 < address.size() && address[end + 1] == ':') port = address.substr(end + 2);
    return {address.substr(1, end - 1), port};
  }
  auto colon = address.rfind(':');
  if (colon == std::string::npos || address.find(':') != colon) return {address, port};
  return {address.substr(0, colon), address.substr(colon + 1)};
}

} // namespace

inline namespace v0 {

void Server::Impl::add(std::shared_ptr<rest::Listener> l) {
  ::fcntl(l->fd.get(), F_SETFL, ::fcntl(l->fd.get(), F_GETFL) | O_NONBLOCK);
  {
    std::lock_guard lock(mutex);
    if (stopped) base::fail(ErrorCode::unavailable, "the server has stopped");
    listeners.push_back(l);
  }
  arm(l);
}

void Server::Impl::arm(const std::shared_ptr<rest::Listener> &l) {
  auto a = std::make_shared<Accepting>(workers->io(), l->fd.dup().release());
  l->cancel = [a, g = gate] {
    g->post(a->strand, [a] {
      boost::system::error_code ignored;
      a->descriptor.close(ignored);
      a->timer.cancel();
    });
  };
  auto loop = std::make_shared<std::function<void(boost::system::error_code)>>();
  *loop = [this, l, a, weak = std::weak_ptr(loop)](boost::system::error_code ec) {
    auto again = weak.lock();
    if (ec || !again || !a->descriptor.is_open()) return;
    accept(l);
    int e = errno;
    if (e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM) {
      log.error("cannot take connections: {}", base::errno_text(e));
      a->timer.expires_after(std::chrono::milliseconds(100));
      a->timer.async_wait([a, again](boost::system::error_code stopped_now) {
        if (!stopped_now) a->descriptor.async_wait(a->descriptor.wait_read, [again](boost::system::error_code w) { (*again)(w); });
      });
      return;
    }
    a->descriptor.async_wait(a->descriptor.wait_read, [again](boost::system::error_code w) { (*again)(w); });
  };
  asio::post(a->strand, [a, loop] { a->descriptor.async_wait(a->descriptor.wait_read, [loop](boost::system::error_code w) { (*loop)(w); }); });
}

/// Takes what waits; errno tells why it ended.
void Server::Impl::accept(const std::shared_ptr<rest::Listener> &l) {
  for (int i = 0; i < 64; i++) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    int fd = ::accept4(l->fd.get(), reinterpret_cast<sockaddr *>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return;
    }
    base::Fd socket(fd);
    try {
      std::shared_ptr<const api::Caller> caller;
      int family = from.ss_family == AF_UNIX || size <= sizeof(sa_family_t) ? AF_UNIX : from.ss_family;
      if (family == AF_UNIX) caller = unix_caller(fd);
      if (family != AF_UNIX) {
        int one = 1, user_timeout = 30000, idle_s = 10, interval = 3, count = 7;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
        ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
        ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
        ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
      }
      asio::any_io_executor strand = asio::make_strand(workers->io());
      rest::Stream::Socket s(strand, asio::generic::stream_protocol(family, 0), socket.get());
      (void)socket.release();
      std::shared_ptr<rest::Connection> c;
      if (family == AF_UNIX) {
        c = std::make_shared<rest::Connection>(*this, rest::Stream(std::move(s)), std::move(caller), "@", false);
      } else {
        auto context = tls_context();
        c = std::make_shared<rest::Connection>(*this, rest::Stream(std::move(s), *context), nullptr, text_of(from), l->metrics_only);
      }
      {
        std::lock_guard lock(mutex);
        if (stopped) return;
        connections.insert(c.get());
      }
      c->start();
    } catch (const std::exception &e) {
      log.error("a connection of {}: {}", text_of(from), e.what());
    }
  }
  errno = 0;
}

void Server::Impl::close(const std::shared_ptr<rest::Listener> &l) {
  if (!l->path.empty()) ::unlink(l->path.c_str());
  if (l->cancel) l->cancel();
  // Nobody is taken in any more, also before the accepting strand ran.
  if (!l->inherited) ::shutdown(l->fd.get(), SHUT_RDWR);
}

std::shared_ptr<const api::Caller> Server::Impl::unix_caller(int fd) {
  auto c = std::make_shared<api::Caller>();
  c->kind = api::Caller::Kind::local;
  c->address = "@";
  ucred cred{};
  socklen_t size = sizeof cred;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) base::fail_errno(errno, "cannot see who connected");
  c->uid = cred.uid;
  c->gid = cred.gid;
  c->pid = cred.pid;
  std::lock_guard lock(mutex);
  auto [it, fresh] = user_names.emplace(c->uid, "");
  if (fresh) {
    passwd entry{}, *found = nullptr;
    std::vector<char> buffer(16384);
    it->second = ::getpwuid_r(cred.uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found ? found->pw_name : "uid=" + std::to_string(cred.uid);
    if (user_names.size() > 1000) user_names.clear(), it = user_names.emplace(c->uid, std::to_string(cred.uid)).first;
  }
  c->name = it->second;
  return c;
}

std::shared_ptr<rest::Listener> Server::Impl::bind_tcp(const std::string &address, int default_port) {
  auto [host, port] = host_and_port(address, default_port);
  addrinfo hints{}, *all = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  if (int e = ::getaddrinfo(host.empty() || host == "*" ? nullptr : host.c_str(), port.c_str(), &hints, &all))
    base::fail(ErrorCode::invalid_argument, "cannot listen on {}: {}", base::quoted(address), ::gai_strerror(e));
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> free_all(all, &::freeaddrinfo);
  int why = EADDRNOTAVAIL;
  // One socket of IPv6 takes IPv4 too, when no address was named.
  for (int pass = 0; pass < 2; pass++)
    for (auto *a = all; a; a = a->ai_next) {
      if ((a->ai_family == AF_INET6) != (pass == 0)) continue;
      base::Fd fd(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (!fd) {
        why = errno;
        continue;
      }
      int one = 1, zero = 0;
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
      if (a->ai_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
      if (::bind(fd.get(), a->ai_addr, a->ai_addrlen) < 0 || ::listen(fd.get(), 4096) < 0) {
        why = errno;
        continue;
      }
      auto l = std::make_shared<rest::Listener>();
      l->fd = std::move(fd);
      l->tls = true;
      l->address = address;
      return l;
    }
  base::fail_errno(why, fmt::format("cannot listen on {}", base::quoted(address)));
}

/// The listener of a configured address goes to another one; the old one stays when that fails.
void Server::Impl::move_listener(const std::string &address, bool metrics_only) {
  auto &current = metrics_only ? metrics_address : https_address;
  if (current == address) return;
  std::shared_ptr<rest::Listener> fresh, old;
  {
    std::lock_guard lock(mutex);
    for (auto &l : listeners)
      if (l->tls && l->metrics_only == metrics_only && !current.empty() && l->address == current) old = l;
  }
  auto drop_old = [&] {
    if (!old) return;
    close(old);
    std::lock_guard lock(mutex);
    std::erase(listeners, old);
  };
  if (!address.empty()) {
    tls_context();
    try {
      fresh = bind_tcp(address, metrics_only ? 8444 : 8443);
    } catch (const std::exception &) {
      if (!old) throw;
      // The two may overlap (":8443" and "127.0.0.1:8443").
      auto before = current;
      drop_old();
      try {
        fresh = bind_tcp(address, metrics_only ? 8444 : 8443);
      } catch (const std::exception &) {
        auto back = bind_tcp(before, metrics_only ? 8444 : 8443);
        back->metrics_only = metrics_only;
        add(back);
        throw;
      }
      old = nullptr;
    }
    fresh->metrics_only = metrics_only;
    add(fresh);
  }
  drop_old();
  current = address;
}

void Server::Impl::follow(const std::map<std::string, std::string> &config, bool first) {
  std::lock_guard one(following);
  auto value = [&](const char *key) {
    auto it = config.find(key);
    return it == config.end() ? std::string() : it->second;
  };
  auto move = [&](const char *key, bool metrics_only) {
    try {
      move_listener(value(key), metrics_only);
    } catch (const std::exception &e) {
      // At the start the rest must go on; a change is refused.
      if (!first) throw;
      log.error("{}: {}", key, e.what());
    }
  };
  move("core.https_address", false);
  move("core.metrics_address", true);
  auto rules = std::make_shared<Headers>();
  rules->origin = value("core.https_allowed_origin");
  rules->methods = value("core.https_allowed_methods");
  rules->headers = value("core.https_allowed_headers");
  rules->credentials = value("core.https_allowed_credentials") == "true";
  std::lock_guard lock(mutex);
  cors = std::move(rules);
}

void Server::listen_unix(const std::string &path, const std::string &group, unsigned mode) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.empty() || path[0] != '/' || path.size() >= sizeof a.sun_path || path.find('\0') != std::string::npos)
    base::fail(ErrorCode::invalid_argument, "invalid socket path {}: must be an absolute path of at most {} characters", base::quoted(path), sizeof a.sun_path - 1);
  std::copy(path.begin(), path.end(), a.sun_path);
  gid_t gid = 0;
  if (!group.empty()) {
    struct ::group entry {
    }, *found = nullptr;
    std::vector<char> buffer(65536);
    if (::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
      base::fail(ErrorCode::invalid_argument, "unknown group {}", base::quoted(group));
    gid = found->gr_gid;
  }
  auto make = [] { return base::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); };
  if (auto probe = make(); probe && ::connect(probe.get(), reinterpret_cast<sockaddr *>(&a), sizeof a) == 0)
    base::fail(ErrorCode::unavailable, "cannot listen on {}: another process listens there", base::quoted(path));
  auto l = std::make_shared<rest::Listener>();
  l->fd = make();
  if (!l->fd) base::fail_errno(errno, "cannot make a socket");
  // What a dead server left; a file that is no socket is somebody's own.
  if (struct stat st; ::lstat(path.c_str(), &st) == 0 && !S_ISSOCK(st.st_mode))
    base::fail(ErrorCode::invalid_argument, "cannot listen on {}: there is a file of that name which is no socket; remove it or choose another path", base::quoted(path));
  ::unlink(path.c_str());
  // Nobody gets in between bind and chmod: what is connected before listen() is refused.
  if (::bind(l->fd.get(), reinterpret_cast<sockaddr *>(&a), sizeof a) < 0) base::fail_errno(errno, fmt::format("cannot listen on {}", base::quoted(path)));
  l->path = path;
  // Who is not root keeps what is his: a host in memory can be served by anybody.
  bool root = ::geteuid() == 0;
  auto owned = [&] { return (!root && group.empty()) || ::chown(path.c_str(), root ? 0 : static_cast<uid_t>(-1), gid) == 0; };
  if (::chmod(path.c_str(), mode & 0777) < 0 || !owned() || ::listen(l->fd.get(), 4096) < 0) {
    int e = errno;
    ::unlink(path.c_str());
    base::fail_errno(e, fmt::format("cannot listen on {}", base::quoted(path)));
  }
  impl_->add(std::move(l));
}

void Server::listen_fd(int fd) {
  sockaddr_storage a{};
  socklen_t size = sizeof a;
  int listening = 0;
  socklen_t length = sizeof listening;
  auto l = std::make_shared<rest::Listener>();
  if (::getsockname(fd, reinterpret_cast<sockaddr *>(&a), &size) < 0 || ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || !listening)
    base::fail(ErrorCode::invalid_argument, "invalid descriptor {}: must be a listening socket", fd);
  l->fd = base::Fd(fd);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  l->inherited = true;
  l->tls = a.ss_family != AF_UNIX;
  if (l->tls) l->address = text_of(a);
  if (l->tls) impl_->tls_context();
  impl_->add(std::move(l));
}

void Server::listen_https(const std::string &address) {
  impl_->tls_context();
  impl_->add(impl_->bind_tcp(address, 8443));
}

std::vector<std::string> Server::https_addresses() const {
  std::vector<std::string> out;
  std::lock_guard lock(impl_->mutex);
  for (auto &l : impl_->listeners) {
    sockaddr_storage a{};
    socklen_t size = sizeof a;
    if (l->tls && !l->metrics_only && ::getsockname(l->fd.get(), reinterpret_cast<sockaddr *>(&a), &size) == 0) out.push_back(text_of(a));
  }
  return out;
}

} // namespace v0
} // namespace incus
