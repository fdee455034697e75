// SPDX-License-Identifier: Apache-2.0
// Daemons for the suite: ours and the official one, each with a directory of its own.
#pragma once
#include <string>

#include <incus/host.hpp>

namespace suite {

enum class Daemon { ours, official };

/// A running daemon; stopped and reaped at the end.
class Server {
public:
  /// Starts it in `directory` and waits until it answers.
  Server(Daemon kind, const std::string &directory);
  ~Server();
  Server(const Server &) = delete;
  Server &operator=(const Server &) = delete;
  std::string unix_uri() const { return "unix://" + directory_ + "/unix.socket"; }
  /// Makes it listen on TCP, makes a client certificate and joins with a token; the URI, and what to open it with.
  std::string serve_https(incus::OpenOptions &options);

private:
  void wait_ready();
  void stop() noexcept;
  std::string directory_;
  int pid_ = -1;
};

} // namespace suite
