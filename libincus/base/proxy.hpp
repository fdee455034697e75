// SPDX-License-Identifier: Apache-2.0
// Proxies for what goes out by HTTP: which one, and for whom none. The environment says it as for other programs: HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace incus::base {

/// What is set; an empty one is looked for in the environment.
struct Proxies {
  std::string http, https, ignore_hosts;
};

struct Proxy {
  enum class Kind { http, socks5 };
  Kind kind = Kind::http;
  std::string host, port;      ///< without brackets
  std::string user, password;
  /// For messages: without the password.
  std::string name() const { return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + port; }
};

/// "http://[USER[:PASSWORD]@]HOST[:PORT]", "socks5://...", or HOST[:PORT] for http. Throws invalid_argument, and not_supported for other schemes.
Proxy parse_proxy(const std::string &text);

/// Whether a host (name or address, without brackets) needs no proxy: this machine, and what the list names. The list is separated by commas:
/// "*"; a host, which stands for what is below it too; ".domain"; an address; a network as ADDRESS/BITS. Ports in it count nothing.
bool goes_direct(const std::string &host, std::string_view ignore_hosts);

/// The proxy for a request by `scheme` ("http" or "https") to a host; none: it goes straight there.
std::optional<Proxy> proxy_for(const Proxies &set, std::string_view scheme, const std::string &host);

} // namespace incus::base
