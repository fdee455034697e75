// SPDX-License-Identifier: Apache-2.0
// The server's side of TLS.
#include "base/error.hpp"
#include "base/names.hpp"
#include "rest/server.hpp"

namespace incus {
inline namespace v0 {

std::shared_ptr<boost::asio::ssl::context> Server::Impl::tls_context() {
  std::lock_guard lock(mutex);
  if (tls) return tls;
  auto &dir = options.certificate_directory;
  if (dir.empty()) base::fail(ErrorCode::invalid_argument, "serving TLS needs a directory for the server's certificate");
  auto c = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(c->native_handle(), TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(c->native_handle(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(c->native_handle(), 0);
  // Every client may show a certificate; who it is, is looked up later.
  SSL_CTX_set_verify(c->native_handle(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX *) { return 1; });
  boost::system::error_code ec;
  c->use_certificate_chain_file(dir + "/server.crt", ec);
  if (!ec) c->use_private_key_file(dir + "/server.key", boost::asio::ssl::context::pem, ec);
  if (ec) base::fail(ErrorCode::unavailable, "cannot use the server's certificate in {}: {}", base::quoted(dir), ec.message());
  tls = c;
  return tls;
}

std::shared_ptr<const api::Caller> Server::Impl::identify(const std::string &certificate, const std::string &address) {
  auto c = std::make_shared<api::Caller>();
  c->certificate = certificate;
  c->address = address;
  return c;
}

} // namespace v0
} // namespace incus
