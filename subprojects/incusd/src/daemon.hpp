// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <incus/host.hpp>
#include <string>

namespace incusd {

struct Options {
  std::string group, logfile;
  bool syslog = false, debug = false, verbose = false, transient = false;
};

/// Runs the daemon until it is told to end; the exit code.
int run(const Options &options);

// log.cpp
/// Opens where log lines go; throws incus::Error.
std::function<void(incus::LogLevel, const std::string &)> open_log(const Options &options);

// notify.cpp
/// Tells systemd, when it asked to be told.
void notify(const std::string &state);
/// Listening sockets that systemd handed over, by number; empty when none. Clears the variables.
std::vector<int> inherited_sockets();

// client.cpp: what incusd asks a running one.
std::string directory();
std::string socket_path();
int wait_ready(int timeout);
int shut_down(bool force, int timeout);
int activate_if_needed(bool debug);

} // namespace incusd
