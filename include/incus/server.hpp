// SPDX-License-Identifier: Apache-2.0
/// \file
/// Serving a Host over the REST API (version 1.0): what `incusd` does, for any program that has opened a host.
#pragma once
#include <chrono>
#include <functional>
#include <incus/host.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace incus {
inline namespace v0 {

/// How to serve.
struct ServerOptions {
  /// Where the server's certificate and key are (server.crt, server.key; made when they are missing). Empty: the state directory of an
  /// embed: host.
  std::string certificate_directory;
  /// Where uploads wait until they are complete, on a file system with room for an image. Empty: the state directory of an embed: host, else
  /// /var/tmp.
  std::string spool_directory;
  /// Follow the host's configuration: listen on core.https_address and core.metrics_address, and where they move to.
  bool follow_config = true;
  /// Receives log lines; called from any thread, must not call back into the Server. Empty: logs are dropped.
  std::function<void(LogLevel, const std::string &)> log;
};

/// Serves a Host to clients of the REST API, on any number of sockets. Thread-safe; has threads of its own, which take no signals of the program.
/// The Host must be closed after the Server has stopped; destroying the Server stops it.
class INCUS_EXPORT Server {
public:
  /// Errors: invalid_argument (options), unavailable (no threads, host closed).
  explicit Server(const Host &host, const ServerOptions &options = {});
  ~Server();
  Server(const Server &) = delete;
  Server &operator=(const Server &) = delete;

  /// Listens on a unix socket at `path`, owned by `group` (empty: root's). Whoever may connect may do everything. A socket file that nobody listens
  /// on is replaced. Errors: invalid_argument (path, unknown group), unavailable (somebody listens there).
  void listen_unix(const std::string &path, const std::string &group = {}, unsigned mode = 0660);
  /// Serves a listening unix socket or TCP socket (then with TLS) that another process made, as systemd's socket activation does; takes it over.
  void listen_fd(int fd);
  /// Listens with TLS on "host:port", ":port", "[v6]:port" or "host" (port 8443). Clients show certificates, which the host's trust store knows.
  void listen_https(const std::string &address);
  /// Addresses it listens on with TLS now.
  std::vector<std::string> https_addresses() const;

  /// GET /internal/ready succeeds from now on.
  void ready();
  /// Starts what is to run when a daemon has come up (boot.autostart and what ran when the machine went down); returns when all were tried.
  void start_instances();
  /// Stops all running instances within their boot.host_shutdown_timeout, or within `limit`.
  void stop_instances(std::optional<std::chrono::milliseconds> limit = std::nullopt);
  /// What PUT /internal/shutdown does, in a thread that may block; the client gets its answer (or the error thrown) when it returns, and only
  /// then `stopped` is called. A second request meanwhile is refused. Without a handler the row is refused.
  void on_shutdown(std::function<void(bool force)> handler, std::function<void()> stopped);
  /// From now on only reading, operations, events and /internal are served: the host goes down.
  void going_down();

  /// Connections open now (listening sockets not counted).
  std::size_t connections() const;
  /// Waits for running operations (not those of exec and console) until `limit`; true when none is left.
  bool drain(std::chrono::milliseconds limit);
  /// Stops: listening sockets go first (and the files of unix sockets that listen_unix made), then connections once their requests have been answered, at
  /// the latest after `patience`. Idempotent.
  void stop(std::chrono::milliseconds patience = std::chrono::seconds(5));

  /// What in a state directory that nobody holds waits for a daemon ("core.https_address set", "auto-started instances", ...); empty: nothing.
  static std::string wants_to_run(const std::string &directory);

  /// For the library itself.
  struct
#if defined(__GNUC__)
      __attribute__((visibility("hidden")))
#endif
      Impl;

private:
  std::shared_ptr<Impl> impl_;
};

} // namespace v0
} // namespace incus
