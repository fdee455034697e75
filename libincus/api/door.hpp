// SPDX-License-Identifier: Apache-2.0
// The one thing a door implements: perform(row, request). Typed handles, the C ABI and REST all go through it.
#pragma once
#include <any>
#include <atomic>
#include <boost/json/value.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <incus/event.hpp>
#include <incus/host.hpp>
#include <incus/operation.hpp>

#include "api/rows.hpp"
#include "base/fd.hpp"

namespace incus::api {

namespace json = boost::json;

/// A descriptor that belongs to a request, by role: "stdin", "stdout", "stderr" (exec, console: stdin and stdout); "image", "metadata",
/// "rootfs", "directory" (import); "metadata", "rootfs" (export to the program's own files); "body" (bytes of a stream row: a file, a
/// template; a pipe or socket read to its end); "sftp" (a stream socket).
struct Stream {
  std::string role;
  base::Fd fd;
};

/// Who calls, when the call came through a socket. Immutable once made.
struct Caller {
  enum class Kind {
    local,    ///< the unix socket: everything
    trusted,  ///< a client certificate of the trust store
    metrics,  ///< a certificate of type metrics
    unknown,  ///< nobody in particular: the untrusted view
  };
  Kind kind = Kind::unknown;
  std::string name;          ///< fingerprint of the certificate, or the user name behind the unix socket
  bool restricted = false;   ///< to `projects`
  std::vector<std::string> projects;
  std::string certificate;   ///< what the peer showed, PEM; also when unknown (a token may add it)
  std::string address;       ///< of the peer; "@" on a unix socket
  std::int64_t uid = -1, gid = -1, pid = -1; ///< unix socket: of the peer

  bool is_trusted() const { return kind == Kind::local || kind == Kind::trusted; }
  bool is_admin() const { return kind == Kind::local || (kind == Kind::trusted && !restricted); }
  bool may_use(const std::string &project) const {
    if (is_admin()) return true;
    if (kind != Kind::trusted) return false;
    for (auto &p : projects)
      if (p == project) return true;
    return false;
  }
};

/// Streams that come later: a client of REST opens its websockets after it got the operation's answer.
class Rendezvous {
public:
  virtual ~Rendezvous() = default;
  /// The streams, when all have been connected. Throws `timeout` when the client did not come, `cancelled` after cancel().
  virtual std::vector<Stream> wait() = 0;
  /// Ends a wait from another thread.
  virtual void cancel() = 0;
  /// Takes what the control stream says (as OperationBackend::control) from the time the command runs; called by the engine. An empty
  /// function: no more.
  virtual void on_control(std::function<void(const json::value &)> handler) = 0;
  /// Ran when the client's control stream has gone: the command is ended.
  virtual void on_gone(std::function<void()> handler) = 0;
};

/// One call of a row.
struct Request {
  std::vector<std::string> path;            ///< values of the row's {placeholders}, in order, decoded
  std::map<std::string, std::string> query; ///< "project", "recursion", "force", ...
  json::value body;                         ///< null when there is none
  Etag if_match;
  std::vector<Stream> streams;
  /// The caller takes the record itself: a door in this process may answer with Reply::record and leave the JSON out.
  bool want_record = false;
  /// The caller takes the operation that some synchronous rows answer with; else a door elsewhere waits for it before it returns.
  bool want_operation = false;
  /// Null: the program that opened the host itself, which may do everything.
  std::shared_ptr<const Caller> caller;
  /// Headers of the wire that are part of a row's meaning, lower case ("x-incus-uid", "content-type").
  std::map<std::string, std::string> headers;
  /// exec and console: the streams are connected later.
  std::shared_ptr<Rendezvous> rendezvous;

  bool from_admin() const { return !caller || caller->is_admin(); }
  bool from_trusted() const { return !caller || caller->is_trusted(); }
  bool may_use(const std::string &project) const { return !caller || caller->may_use(project); }
  std::string header(const std::string &name) const {
    auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
  bool flag(const std::string &name) const {
    auto it = query.find(name);
    return it != query.end() && (it->second == "1" || it->second == "true" || it->second == "yes" || it->second == "on");
  }

  /// The project asked for, "default" when none was.
  std::string project() const {
    auto it = query.find("project");
    return it == query.end() || it->second.empty() ? "default" : it->second;
  }
  int recursion() const {
    auto it = query.find("recursion");
    return it == query.end() ? 0 : it->second == "2" ? 2 : it->second == "1" ? 1 : 0;
  }
  int stream(std::string_view role) const {
    for (auto &s : streams)
      if (s.role == role) return s.fd.get();
    return -1;
  }
};

/// An operation as a door sees it; the public Operation is a handle to one. Thread-safe.
class OperationBackend {
public:
  virtual ~OperationBackend() = default;
  virtual OperationInfo info() = 0;
  /// Waits for the end; false when `timeout` ran out. Empty timeout: for ever.
  virtual bool wait(std::optional<std::chrono::milliseconds> timeout) = 0;
  /// After the end: throws the operation's failure; before: does nothing.
  virtual void rethrow() = 0;
  virtual void cancel() = 0;
  /// A control message of an exec session, in the form of the REST control websocket:
  /// {"command":"signal","signal":15}, {"command":"window-resize","args":{"width":"80","height":"24"}}.
  virtual void control(const json::value &message) = 0;
  /// Calls `told` once, when it has ended (at once when it already has), from any thread; it must return soon. False: this door cannot tell, wait
  /// in a thread instead.
  virtual bool on_end(std::function<void()> told) {
    (void)told;
    return false;
  }
};

struct Reply {
  json::value metadata;
  Etag etag;
  std::shared_ptr<OperationBackend> operation; ///< asynchronous rows
  std::any record; ///< instead of metadata, when want_record was set and the door could
  /// Rows of kind stream that answer bytes: read to the end and sent, `size` bytes when that is not -1. Two streams (a split image) become a
  /// multipart answer. A handler that answers JSON instead leaves this empty.
  struct Body {
    std::string name;          ///< of the part ("metadata", "rootfs") and of the file
    base::Fd fd;
    std::int64_t size = -1;
    std::string content_type = "application/octet-stream";
    std::string filename;      ///< where it is not the name of the part
  };
  std::vector<Body> bodies;
  std::map<std::string, std::string> headers; ///< of the answer ("X-Incus-type", ...)
  int status = 0;                             ///< HTTP status when it is not 200 or 202 (201)
  std::string location;                       ///< of what was created
};

class ListenerBackend {
public:
  virtual ~ListenerBackend() = default;
  virtual std::optional<Event> next(std::chrono::milliseconds timeout) = 0;
  virtual bool overflowed() = 0;
  virtual void close() = 0;
  /// Calls `told` when an event comes to an empty queue and when the listener is closed, from any thread, so that thousands can listen without a
  /// thread each; it must return soon. An empty function: no more. False: this door cannot tell, call next() in a thread instead.
  virtual bool on_ready(std::function<void()> told) {
    (void)told;
    return false;
  }
};

/// A way to reach an engine. Implementations are thread-safe and throw incus::Error.
class Door {
public:
  virtual ~Door() = default;
  virtual Reply perform(const Row &row, Request request) = 0;
  virtual std::shared_ptr<ListenerBackend> listen(const std::vector<std::string> &types, std::size_t capacity) = 0;
  /// Calls `hook` with the server's configuration before and after a change, before it is committed; what it throws refuses the change. For who
  /// serves the host (listeners follow core.https_address). Doors without a configuration of their own never call it.
  using ConfigHook = std::function<void(const std::map<std::string, std::string> &before, const std::map<std::string, std::string> &after)>;
  virtual void on_server_config(ConfigHook hook);
  /// Starts what is to run when a daemon has come up (boot.autostart with its order and delays, what ran when the machine went down); returns when all
  /// were tried. Only a daemon calls it. Doors without instances of their own do nothing.
  virtual void start_instances() {}
  /// Stops all that run, remembering which they were: each within its boot.host_shutdown_timeout, and within `limit` when one is given (zero: kills
  /// at once). Returns when all have stopped.
  virtual void stop_instances(std::optional<std::chrono::milliseconds> limit) { (void)limit; }
  /// Changes with the trust store and what depends on it (project names, server configuration); 0: this door cannot tell, keep nothing.
  virtual std::uint64_t trust_generation();
  /// test:// only.
  virtual void on_exec(const std::string &instance, TestExecHandler handler);
  /// Ends the door: waits for writers, then every call fails with `unavailable`. Idempotent.
  virtual void close() = 0;
};

/// What handles share: the door, the pid it was opened in (a forked child may not use it), whether it is closed.
class Session {
public:
  Session(std::string uri, std::unique_ptr<Door> door);
  ~Session();
  /// The Host over a session: for tests; Host::open makes its own.
  static Host host(std::shared_ptr<Session> session) { return Host(std::move(session)); }
  const std::string &uri() const { return uri_; }
  Reply perform(RowId row, Request request);
  Door &door();
  /// Waits for writers and ends the door; idempotent; does nothing in a forked child.
  void close();
  /// Throws `unavailable` in a forked child and after close().
  void check() const;
  /// Throws `unavailable` in a forked child.
  void check_process() const;
  bool same_process() const noexcept;

private:
  std::string uri_;
  std::unique_ptr<Door> door_;
  int pid_;
  std::atomic<bool> closed_{false};
};

} // namespace incus::api
