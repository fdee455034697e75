// SPDX-License-Identifier: Apache-2.0
#include "remote/tls.hpp"

#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/names.hpp"

namespace incus {
namespace remote {

namespace {

template <class T, void (*F)(T *)> struct Free {
  void operator()(T *p) const { F(p); }
};
using Bio = std::unique_ptr<BIO, Free<BIO, BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;

std::string ssl_error() {
  char text[256] = "unknown error";
  if (auto e = ERR_get_error()) ERR_error_string_n(e, text, sizeof text);
  ERR_clear_error();
  return text;
}

std::string hex(const unsigned char *p, unsigned n) {
  std::string out;
  for (unsigned i = 0; i < n; i++) out += fmt::format("{:02x}", p[i]);
  return out;
}

std::string fingerprint(X509 *x) {
  unsigned char md[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  if (!X509_digest(x, EVP_sha256(), md, &n)) base::fail(ErrorCode::internal, "cannot hash a certificate: {}", ssl_error());
  return hex(md, n);
}

bool is_pem(const std::string &text) { return text.find("-----BEGIN") != text.npos; }

std::string read_text(const std::string &path, const char *what) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) base::fail_errno(errno, fmt::format("cannot read the {} {}", what, base::quoted(path)));
  std::string out(1 << 20, '\0');
  auto n = ::read(fd.get(), out.data(), out.size());
  if (n < 0) base::fail_errno(errno, fmt::format("cannot read the {} {}", what, base::quoted(path)));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

/// PEM as it is, or from the file it names.
std::string pem_of(const std::string &text, const char *what) { return is_pem(text) ? text : read_text(text, what); }

Bio memory(const std::string &text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

Certificate read_certificate(const std::string &pem) {
  auto bio = memory(pem);
  Certificate x(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!x) base::fail(ErrorCode::invalid_argument, "invalid certificate: it is not a PEM text with a certificate in it ({})", ssl_error());
  return x;
}

std::string config_directory() {
  if (const char *d = std::getenv("INCUS_CONF"); d && *d) return d;
  if (const char *x = std::getenv("XDG_CONFIG_HOME"); x && *x) return std::string(x) + "/incus";
  const char *home = std::getenv("HOME");
  return std::string(home && *home ? home : "/root") + "/.config/incus";
}

bool is_fingerprint(const std::string &t) { return t.size() == 64 && t.find_first_not_of("0123456789abcdefABCDEF") == t.npos; }

std::string text_of(BIO *bio) {
  char *p = nullptr;
  auto n = BIO_get_mem_data(bio, &p);
  return std::string(p, static_cast<std::size_t>(n));
}

} // namespace

std::string pem_fingerprint(const std::string &pem) { return fingerprint(read_certificate(pem).get()); }

TrustToken read_trust_token(const std::string &text) {
  auto bad = [](const std::string &why) { base::fail(ErrorCode::invalid_argument, "invalid trust token: {}", why); };
  if (text.size() > 64 * 1024) bad("it is longer than 64 KiB");
  std::string in;
  for (char c : text)
    if (c != '\n' && c != '\r' && c != ' ') in += c;
  while (in.size() % 4) in += '=';
  std::string out(in.size(), '\0');
  int n = EVP_DecodeBlock(reinterpret_cast<unsigned char *>(out.data()), reinterpret_cast<const unsigned char *>(in.data()), static_cast<int>(in.size()));
  if (n <= 0) bad("it is not base64");
  out.resize(static_cast<std::size_t>(n));
  while (!out.empty() && out.back() == '\0') out.pop_back();
  boost::system::error_code ec;
  auto v = boost::json::parse(out, ec);
  if (ec || !v.is_object()) bad("it holds no JSON object");
  TrustToken t;
  auto &o = v.get_object();
  auto take = [&](const char *name, std::string &to) {
    if (auto *s = o.if_contains(name); s && s->is_string()) to = s->get_string().c_str();
  };
  take("client_name", t.client_name);
  take("fingerprint", t.fingerprint);
  take("secret", t.secret);
  if (auto *a = o.if_contains("addresses"); a && a->is_array())
    for (auto &one : a->get_array())
      if (one.is_string() && t.addresses.size() < 64) t.addresses.emplace_back(one.get_string().c_str());
  if (!is_fingerprint(t.fingerprint)) bad("it names no fingerprint of a server's certificate");
  if (t.secret.empty()) bad("it holds no secret");
  if (t.addresses.empty()) bad("it names no address of a server");
  return t;
}

Tls::Tls(const OpenOptions &options, bool anonymous) {
  context_ = SSL_CTX_new(TLS_client_method());
  if (!context_) base::fail(ErrorCode::internal, "cannot begin TLS: {}", ssl_error());
  try {
    SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION);
    SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS);
    if (!anonymous) load_client(options);
    load_pin(options);
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    if (pin_.empty()) SSL_CTX_set_default_verify_paths(context_);
    SSL_CTX_set_cert_verify_callback(
        context_, [](X509_STORE_CTX *store, void *self) { return verify(store, self); }, this);
  } catch (...) {
    SSL_CTX_free(context_);
    throw;
  }
}

Tls::~Tls() { SSL_CTX_free(context_); }

void Tls::load_client(const OpenOptions &options) {
  std::string certificate = options.client_certificate, key = options.client_key;
  if (certificate.empty() != key.empty())
    base::fail(ErrorCode::invalid_argument, "client_certificate and client_key belong together: give both or neither");
  if (certificate.empty()) {
    certificate = config_directory() + "/client.crt";
    key = config_directory() + "/client.key";
    // Without one the server shows what it shows to anybody.
    if (::access(certificate.c_str(), R_OK) != 0 || ::access(key.c_str(), R_OK) != 0) return;
  }
  certificate_ = pem_of(certificate, "client certificate");
  auto x = read_certificate(certificate_);
  auto bio = memory(key = pem_of(key, "client key"));
  // No passphrase is ever asked for on a terminal.
  Key k(PEM_read_bio_PrivateKey(bio.get(), nullptr, [](char *, int, int, void *) { return 0; }, nullptr));
  if (!k) base::fail(ErrorCode::invalid_argument, "invalid client key: must be an unencrypted private key in PEM ({})", ssl_error());
  if (SSL_CTX_use_certificate(context_, x.get()) != 1 || SSL_CTX_use_PrivateKey(context_, k.get()) != 1 || SSL_CTX_check_private_key(context_) != 1)
    base::fail(ErrorCode::invalid_argument, "the client key does not belong to the client certificate ({})", ssl_error());
}

void Tls::load_pin(const OpenOptions &options) {
  if (!options.server_certificate.empty()) {
    pin_ = is_fingerprint(options.server_certificate) ? options.server_certificate : pem_fingerprint(pem_of(options.server_certificate, "server certificate"));
  } else if (!options.trust_token.empty()) {
    pin_ = read_trust_token(options.trust_token).fingerprint;
  }
  for (auto &c : pin_) c = static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c);
}

int Tls::verify(void *store_context, void *self) {
  auto *store = static_cast<X509_STORE_CTX *>(store_context);
  auto *tls = static_cast<Tls *>(self);
  auto *leaf = X509_STORE_CTX_get0_cert(store);
  if (!leaf) return 0;
  try {
    auto seen = fingerprint(leaf);
    bool good = tls->pin_.empty() ? X509_verify_cert(store) == 1 : seen == tls->pin_;
    if (good) {
      X509_STORE_CTX_set_error(store, X509_V_OK);
      return 1;
    }
    if (X509_STORE_CTX_get_error(store) == X509_V_OK) X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    std::lock_guard lock(tls->mutex_);
    tls->refused_ = seen;
  } catch (...) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
  }
  return 0;
}

std::string Tls::refused() const {
  std::lock_guard lock(mutex_);
  return std::exchange(refused_, {});
}

} // namespace remote

inline namespace v0 {

ClientCertificate make_client_certificate(const std::string &name) {
  using namespace remote;
  auto check = [](bool ok) {
    if (!ok) base::fail(ErrorCode::internal, "cannot make a client certificate: {}", ssl_error());
  };
  if (name.empty() || name.size() > 64 || !base::is_one_line(name))
    base::fail(ErrorCode::invalid_argument, "invalid name of a client certificate {}: must be 1 to 64 bytes on one line", base::quoted(name));
  Key key(EVP_EC_gen("P-384"));
  Certificate x(X509_new());
  check(key && x);
  std::unique_ptr<BIGNUM, Free<BIGNUM, BN_free>> serial(BN_new());
  check(serial && BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) && BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(x.get())));
  X509_set_version(x.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(x.get()), -300);
  X509_gmtime_adj(X509_getm_notAfter(x.get()), 10L * 365 * 24 * 3600);
  auto *subject = X509_get_subject_name(x.get());
  auto add = [&](const char *field, const std::string &value) {
    check(X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char *>(value.data()), static_cast<int>(value.size()), -1, 0));
  };
  add("O", "libincus");
  add("CN", name);
  X509_set_issuer_name(x.get(), subject);
  X509_set_pubkey(x.get(), key.get());
  X509V3_CTX context;
  X509V3_set_ctx(&context, x.get(), x.get(), nullptr, nullptr, 0);
  auto extend = [&](int nid, const char *value) {
    std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION, X509_EXTENSION_free>> e(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
    check(e && X509_add_ext(x.get(), e.get(), -1));
  };
  extend(NID_basic_constraints, "critical,CA:FALSE");
  extend(NID_key_usage, "critical,digitalSignature");
  extend(NID_ext_key_usage, "clientAuth");
  check(X509_sign(x.get(), key.get(), EVP_sha384()) > 0);
  Bio out(BIO_new(BIO_s_mem())), secret(BIO_new(BIO_s_mem()));
  check(out && secret && PEM_write_bio_X509(out.get(), x.get()) && PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr));
  return {text_of(out.get()), text_of(secret.get()), fingerprint(x.get())};
}

} // namespace v0
} // namespace incus
