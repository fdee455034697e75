// SPDX-License-Identifier: Apache-2.0
// The server's certificate, TLS as we speak it, and who stands behind a client's certificate.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <openssl/ssl.h>

#include "api/door.hpp"

namespace incus::rest {

struct KeyPair {
  std::string certificate, key; ///< PEM
};
/// server.crt and server.key of a state directory; made (ECDSA P-384, self-signed, ten years) when there are none. An empty directory gives a pair
/// that is kept nowhere.
KeyPair server_key_pair(const std::string &directory);
/// A new self-signed pair. `names`: DNS names and IP addresses it is good for; none: a client's.
KeyPair make_key_pair(const std::string &common_name, const std::vector<std::string> &names);

/// TLS 1.3 alone; asks for a client certificate but takes any and none: who it is says Trust afterwards. The caller owns it.
SSL_CTX *make_server_context(const KeyPair &pair);
/// PEM of what the peer showed and proved to hold the key of; empty for none.
std::string peer_certificate(SSL *ssl);
/// SHA-256 of a certificate, hexadecimal; throws invalid_argument.
std::string fingerprint(const std::string &pem);

/// Finds the caller behind a certificate, by the trust store of a door. Thread-safe.
class Trust {
public:
  /// `directory`: where server.ca and ca.crl may lie (PKI mode); empty for none.
  Trust(std::shared_ptr<api::Session> session, std::string directory);
  ~Trust();
  /// For a TLS connection from `address`; an empty certificate, one that is not known, expired or revoked gives an unknown caller.
  std::shared_ptr<const api::Caller> identify(const std::string &certificate, const std::string &address);
  /// core.metrics_authentication is off.
  bool open_metrics();

private:
  struct Store;
  struct Ca;
  std::shared_ptr<const Store> store();
  std::shared_ptr<api::Session> session_;
  std::unique_ptr<Ca> ca_;
  std::mutex mutex_;
  std::shared_ptr<const Store> store_;
};

} // namespace incus::rest
