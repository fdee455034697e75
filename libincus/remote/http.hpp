// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 to one server without showing Beast: connections used by one thread at a time, kept alive between calls.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "remote/target.hpp"

namespace incus::remote {

using Milliseconds = std::chrono::milliseconds;
/// How long the other side may be silent; none: for ever.
using Patience = std::optional<Milliseconds>;

/// Fills a buffer with bytes to send; 0 at their end.
using Source = std::function<std::size_t(char *, std::size_t)>;

struct Outgoing {
  std::string method, target;
  std::map<std::string, std::string> headers;
  std::string body;         ///< when there is no source
  Source source;
  std::int64_t size = -1;   ///< of the source; -1: not known, sent in chunks
  bool has_body() const { return source || !body.empty(); }
};

struct Head {
  int status = 0;
  std::map<std::string, std::string> headers; ///< lower-case names
  std::int64_t length = -1;                   ///< of the body, when the server said it
  std::string header(const std::string &name) const {
    auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
};

class Connection {
public:
  virtual ~Connection() = default;
  /// Connects, TLS included.
  virtual void open() = 0;
  /// Sends a request and reads the head of its answer.
  virtual Head exchange(const Outgoing &request, Patience patience) = 0;
  /// The next bytes of the answer; 0 at its end. Throws when the server left early.
  virtual std::size_t read(char *to, std::size_t size, Patience patience) = 0;
  /// After the end of an answer: another request may follow.
  virtual bool reusable() = 0;
  /// From any thread: what runs fails, and what is begun later.
  virtual void interrupt() = 0;
  /// After status 101: bytes both ways between the server and a stream socket, until both ends are over.
  virtual void tunnel(base::Fd socket) = 0;
};
/// Not open yet.
std::unique_ptr<Connection> make_connection(const Target &target);

/// Connections to one server. Thread-safe; concurrent calls never wait for each other.
class Pool {
public:
  explicit Pool(Target target) : target_(std::move(target)) {}
  ~Pool() { close(); }

  class Lease {
  public:
    Lease(Pool &pool, std::unique_ptr<Connection> c, bool fresh) : pool_(&pool), connection_(std::move(c)), fresh_(fresh) {}
    Lease(Lease &&) = default;
    Lease &operator=(Lease &&) = delete;
    ~Lease();
    Connection *operator->() const { return connection_.get(); }
    /// Not one that was idle and may have been closed by the server meanwhile.
    bool fresh() const { return fresh_; }

  private:
    Pool *pool_;
    std::unique_ptr<Connection> connection_;
    bool fresh_;
  };

  Lease take(bool fresh = false);
  /// Every call on a connection fails from now on.
  void close();
  bool closed();
  const Target &target() const { return target_; }

private:
  void give_back(std::unique_ptr<Connection> c);
  const Target target_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
  std::set<Connection *> busy_;
  bool closed_ = false;
};

} // namespace incus::remote
