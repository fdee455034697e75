// SPDX-License-Identifier: Apache-2.0
// The engine's end of incus-lxc.
#pragma once
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "helper/protocol.hpp"
#include "instance/lxc/runtime.hpp"
#include "sys/process.hpp"

namespace incus::instance::lxc {

struct Reply {
  std::uint32_t op = 0;
  std::vector<std::string> args;
  std::vector<base::Fd> fds;
};

/// Starts the helper at first need and again when it died. Thread-safe: every request has a reply socket of its own.
class Channel {
public:
  explicit Channel(const Options &options) : options_(options) {}
  ~Channel() { close(std::chrono::milliseconds(0)); }

  /// Starts the helper now.
  void start();
  /// Sends a request and returns when a helper has it; the reply comes on the returned socket. One that a helper was killed before it
  /// read goes to the next helper.
  base::Fd send(std::uint32_t op, std::vector<std::string> args, const std::vector<int> &fds = {});
  /// Sends a request for which nobody waits.
  void post(std::uint32_t op);
  /// Waits for one reply; nothing when `timeout` ran out. Throws unavailable when the worker died.
  static std::optional<Reply> receive(const base::Fd &socket, std::optional<std::chrono::milliseconds> timeout);
  /// send() and receive(); a failed reply is thrown as `code`.
  Reply call(std::uint32_t op, std::vector<std::string> args, std::chrono::milliseconds timeout, const char *what);
  /// Lets the helper end: it finishes its work, destroys what it was told to, and exits. After `wait` it is killed.
  void close(std::chrono::milliseconds wait) noexcept;

private:
  void start_locked();
  /// Puts a request into the socket of the running helper, or of a new one; `generation` is that helper's number.
  void put(const helper::Message &m, std::uint64_t &generation);

  const Options &options_;
  std::mutex mutex_;
  base::Fd socket_;
  std::uint64_t generation_ = 0; ///< of the helper at its other end
  sys::Child child_;
  bool closed_ = false;
  int pid_ = ::getpid(); ///< a forked child's copy must leave the helper alone
};

} // namespace incus::instance::lxc
