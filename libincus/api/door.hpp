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

/// A descriptor that belongs to a request, by role: "stdin", "stdout", "stderr" (exec); "image", "metadata", "rootfs",
/// "directory" (import); "metadata", "rootfs" (export).
struct Stream {
  std::string role;
  base::Fd fd;
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
};

struct Reply {
  json::value metadata;
  Etag etag;
  std::shared_ptr<OperationBackend> operation; ///< asynchronous rows
  std::any record; ///< instead of metadata, when want_record was set and the door could
};

class ListenerBackend {
public:
  virtual ~ListenerBackend() = default;
  virtual std::optional<Event> next(std::chrono::milliseconds timeout) = 0;
  virtual bool overflowed() = 0;
  virtual void close() = 0;
};

/// A way to reach an engine. Implementations are thread-safe and throw incus::Error.
class Door {
public:
  virtual ~Door() = default;
  virtual Reply perform(const Row &row, Request request) = 0;
  virtual std::shared_ptr<ListenerBackend> listen(const std::vector<std::string> &types, std::size_t capacity) = 0;
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
