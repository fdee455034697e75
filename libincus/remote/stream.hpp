// SPDX-License-Identifier: Apache-2.0
// The two kinds of streams that Beast works on here. Expensive: included by http.cpp and websocket.cpp alone.
#pragma once
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "remote/target.hpp"
#include "remote/tls.hpp"

namespace incus::remote {

namespace net = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

using Plain = beast::basic_stream<net::generic::stream_protocol, net::io_context::executor_type>;
using Secure = beast::ssl_stream<Plain>;

/// An SSL_CTX of ours as Asio wants it, for as long as the Tls lives.
inline net::ssl::context borrowed_context(const Tls &tls) {
  SSL_CTX_up_ref(tls.context());
  return net::ssl::context(tls.context());
}

inline void adopt(Plain &stream, base::Fd fd) {
  int family = 0;
  socklen_t len = sizeof family;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_DOMAIN, &family, &len);
  error_code ec;
  stream.socket().assign(net::generic::stream_protocol(family, 0), fd.get(), ec);
  if (ec) base::fail(ErrorCode::internal, "cannot use a socket: {}", ec.message());
  fd.release();
}

/// Name of the server inside the handshake, and what its certificate must be for when authorities vouch for it.
inline void prepare_handshake(Secure &stream, const Target &target) {
  auto *ssl = stream.native_handle();
  bool numeric = target.host.find(':') != target.host.npos || target.host.find_first_not_of("0123456789.") == target.host.npos;
  if (!numeric) SSL_set_tlsext_host_name(ssl, target.host.c_str());
  if (target.tls->pin().empty()) {
    auto *param = SSL_get0_param(ssl);
    if (numeric)
      X509_VERIFY_PARAM_set1_ip_asc(param, target.host.c_str());
    else
      X509_VERIFY_PARAM_set1_host(param, target.host.c_str(), 0);
  }
}

inline Error handshake_error(const Target &target, const error_code &ec) {
  if (auto seen = target.tls->refused(); !seen.empty()) {
    if (target.tls->pin().empty())
      return Error(ErrorCode::forbidden, fmt::format("cannot trust the server {}: no authority that this machine trusts vouches for its certificate with "
                                                     "fingerprint {}; compare that with the server's and give it as server_certificate, or use a trust token",
                                                     base::quoted(target.name()), seen));
    return Error(ErrorCode::forbidden, fmt::format("cannot trust the server {}: its certificate has the fingerprint {}, expected {}", base::quoted(target.name()),
                                                   seen, target.tls->pin()));
  }
  return Error(ec == beast::error::timeout ? ErrorCode::timeout : ErrorCode::unavailable,
               fmt::format("cannot begin TLS with {}: {}", base::quoted(target.name()), ec.message()));
}

} // namespace incus::remote
