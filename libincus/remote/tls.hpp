// SPDX-License-Identifier: Apache-2.0
// Certificates of both sides: who we are, how the server is known, tokens that join them.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <incus/host.hpp>

typedef struct ssl_ctx_st SSL_CTX;

namespace incus::remote {

/// What `incus config trust add` gives: base64 of a JSON document.
struct TrustToken {
  std::string client_name, fingerprint, secret;
  std::vector<std::string> addresses;
};
TrustToken read_trust_token(const std::string &text);

/// SHA-256 of the certificate in a PEM text, in lower-case hexadecimal.
std::string pem_fingerprint(const std::string &pem);

class Tls {
public:
  /// Reads the client certificate and the server's marks that the options name; throws invalid_argument.
  /// `anonymous`: we show no certificate, whatever there is.
  explicit Tls(const OpenOptions &options, bool anonymous = false);
  ~Tls();
  Tls(const Tls &) = delete;
  Tls &operator=(const Tls &) = delete;
  SSL_CTX *context() const { return context_; }
  const std::string &certificate() const { return certificate_; } ///< ours, PEM; empty: none
  const std::string &pin() const { return pin_; }
  /// What the server showed at the last handshake that failed; empty: it was not for that.
  std::string refused() const;

private:
  void load_client(const OpenOptions &options);
  void load_pin(const OpenOptions &options);
  static int verify(void *store_context, void *self);
  SSL_CTX *context_ = nullptr;
  std::string certificate_, pin_;
  mutable std::mutex mutex_;
  mutable std::string refused_;
};

} // namespace incus::remote
