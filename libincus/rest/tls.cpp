// SPDX-License-Identifier: Apache-2.0
// The server's side of TLS.
#include "base/error.hpp"
#include "rest/server.hpp"

namespace incus {
inline namespace v0 {

std::shared_ptr<boost::asio::ssl::context> Server::Impl::tls_context() {
  std::lock_guard lock(mutex);
  if (tls) return tls;
  auto &dir = options.certificate_directory;
  if (dir.empty()) base::fail(ErrorCode::invalid_argument, "serving TLS needs a directory for the server's certificate");
  // The context takes over what it is given.
  auto c = std::make_shared<boost::asio::ssl::context>(rest::make_server_context(rest::server_key_pair(dir)));
  tls = c;
  return tls;
}

std::shared_ptr<const api::Caller> Server::Impl::identify(const std::string &certificate, const std::string &address) {
  return trust->identify(certificate, address);
}

} // namespace v0
} // namespace incus
