// SPDX-License-Identifier: Apache-2.0
// Through a proxy to a server: what is said on a fresh connection to the proxy before the server can be spoken to.
#pragma once
#include <chrono>
#include <string>

#include "base/proxy.hpp"

namespace incus::remote {

/// `fd`: a connected, non-blocking socket to the proxy. From its return on what is sent reaches host:port. Throws unavailable, timeout or forbidden.
void connect_through(int fd, const base::Proxy &proxy, const std::string &host, const std::string &port, std::chrono::steady_clock::time_point end);

} // namespace incus::remote
