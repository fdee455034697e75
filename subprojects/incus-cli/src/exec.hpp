// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <csignal>

#include "app.hpp"

namespace cli {

/// Signals of this program on their way to a command. Make it before the host is opened; lives as long as the program does.
class SignalPump {
public:
  SignalPump();
  void start(incus::ExecSession &session, bool pty, bool pass_on);
  void stop() { over_ = true; }

private:
  sigset_t set_;
  std::atomic<bool> over_{false};
};

/// Ends the program at once when the session was with a server elsewhere.
void leave(Server &server, int code);

} // namespace cli
