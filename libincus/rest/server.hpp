// SPDX-License-Identifier: Apache-2.0
// What the parts of a server share.
#pragma once
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/strand.hpp>
#include <incus/server.hpp>
#include <map>
#include <set>

#include "api/door.hpp"
#include "base/log.hpp"
#include "rest/trust.hpp"
#include "rest/workers.hpp"

namespace incus::rest {

class Connection;
class LateStreams;
class Waiters;

/// The way into the io_context for callbacks from outside, which may come when it has gone.
class Gate {
public:
  explicit Gate(boost::asio::io_context &io) : io_(&io) {}
  template <class Executor> void post(const Executor &executor, std::function<void()> work) {
    std::lock_guard lock(mutex_);
    if (io_) boost::asio::post(executor, std::move(work));
  }
  /// Runs what must not be run, nor hold anything of the io_context, when that has gone. It must be short.
  template <class F> void run(F f) {
    std::lock_guard lock(mutex_);
    if (io_) f();
  }
  void close() {
    std::lock_guard lock(mutex_);
    io_ = nullptr;
  }
  bool open() {
    std::lock_guard lock(mutex_);
    return io_ != nullptr;
  }

private:
  std::mutex mutex_;
  boost::asio::io_context *io_;
};

/// Whose share of the threads a caller's work takes: a certificate, a user of the socket, an address.
std::string share_of(const api::Caller *caller);

/// A socket that is listened on.
struct Listener {
  base::Fd fd;
  std::string path;     ///< of a unix socket that we made
  std::string address;  ///< with TLS: what was asked for
  bool tls = false;
  bool metrics_only = false;
  bool inherited = false; ///< another process listens on it too
  std::function<void()> cancel;
};

} // namespace incus::rest

namespace incus {
inline namespace v0 {

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
  Impl(const Host &host, ServerOptions options);
  ~Impl();

  void add(std::shared_ptr<rest::Listener> listener);
  void accept(const std::shared_ptr<rest::Listener> &listener);
  void arm(const std::shared_ptr<rest::Listener> &listener);
  void close(const std::shared_ptr<rest::Listener> &listener);
  std::shared_ptr<rest::Listener> bind_tcp(const std::string &address, int default_port);
  void follow(const std::map<std::string, std::string> &config, bool first);
  void move_listener(const std::string &address, bool metrics_only);
  std::shared_ptr<boost::asio::ssl::context> tls_context();
  std::shared_ptr<const api::Caller> unix_caller(int fd);
  std::shared_ptr<const api::Caller> identify(const std::string &certificate, const std::string &address);
  void stop(std::chrono::milliseconds patience);
  void connection_ended(rest::Connection *c);
  /// An unnamed file for what a client uploads.
  base::Fd spool();

  std::shared_ptr<api::Session> session;
  ServerOptions options;
  base::Log log;
  std::string directory; ///< of an embed: host
  bool foreign = false;  ///< the host is a daemon that we are a client of

  mutable std::mutex mutex;
  std::vector<std::shared_ptr<rest::Listener>> listeners;
  std::set<rest::Connection *> connections;
  std::condition_variable idle;
  std::map<std::string, std::shared_ptr<rest::LateStreams>> late; ///< by operation
  std::map<std::string, std::shared_ptr<rest::Waiters>> waiters;  ///< by operation
  std::unique_ptr<rest::Trust> trust;
  std::shared_ptr<boost::asio::ssl::context> tls;
  std::mutex following; ///< guards the two
  std::string https_address, metrics_address;
  std::map<std::int64_t, std::string> user_names;
  std::function<void(bool)> shutdown_handler;
  std::function<void()> shutdown_done;
  bool shutting_down = false, stopped = false;
  std::atomic<bool> is_ready{false}, is_going_down{false};
  struct Headers {
    std::string origin, methods, headers;
    bool credentials = false;
  };
  std::shared_ptr<const Headers> cors; ///< core.https_allowed_*; guarded by mutex

  std::shared_ptr<rest::Gate> gate;
  // Last, so that it goes first: what waits in it refers to the rest.
  std::unique_ptr<rest::Workers> workers;
};

} // namespace v0
} // namespace incus
