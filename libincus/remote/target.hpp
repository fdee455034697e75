// SPDX-License-Identifier: Apache-2.0
// Where a server is and how it is known: what a URI and the options of Host::open say.
#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <incus/host.hpp>

#include "base/fd.hpp"
#include "base/proxy.hpp"

namespace incus::remote {

class Tls;

struct Target {
  std::string socket;          ///< path of the unix socket; empty: TCP
  std::string host, port;      ///< without brackets
  std::shared_ptr<const Tls> tls;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(10);
  bool only_public = false;    ///< no address of this machine or of a private network
  base::Proxies proxies;       ///< what is set beside the environment; for TLS

  /// For messages.
  std::string name() const { return socket.empty() ? (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + port : socket; }
  /// The Host header.
  std::string authority() const { return socket.empty() ? name() : "localhost"; }
};

/// A target of a "unix:" or "https:" URI; throws invalid_argument.
Target parse_target(const std::string &uri, const OpenOptions &options);
/// "host:port", "[v6]:port" or "host"; 8443 when no port is given.
void parse_authority(const std::string &text, std::string &host, std::string &port);

/// Whether one of the host's addresses is of this machine or of a private network. Throws `unavailable` when it has none; a name that only the proxy can
/// look up is not private: what can be reached through the proxy is for the proxy to say.
bool is_private(const std::string &host, const base::Proxies &proxies = {});

/// A connected, non-blocking, close-on-exec socket; throws `unavailable` or `timeout`.
base::Fd dial(const Target &target);

} // namespace incus::remote
