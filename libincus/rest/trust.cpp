// SPDX-License-Identifier: Apache-2.0
#include "rest/trust.hpp"

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "schema/schema.hpp"
#include "sys/fault.hpp"

namespace incus::rest {

namespace json = boost::json;

namespace {

template <auto F> struct Free {
  template <class T> void operator()(T *p) const { F(p); }
};
using X509Ptr = std::unique_ptr<X509, Free<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Free<BIO_free_all>>;
using CrlPtr = std::unique_ptr<X509_CRL, Free<X509_CRL_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Free<X509_STORE_free>>;

/// What OpenSSL says of the last failure of this thread.
[[noreturn]] void fail_tls(const char *what) {
  char text[256] = "unknown reason";
  if (auto e = ERR_get_error()) ERR_error_string_n(e, text, sizeof text);
  ERR_clear_error();
  base::fail(ErrorCode::internal, "cannot {}: {}", what, text);
}

std::string text_of(BIO *bio) {
  char *data = nullptr;
  auto n = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(n)};
}

X509Ptr parse(const std::string &pem) {
  BioPtr in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  X509Ptr x(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  return x;
}

std::string digest(X509 *x) {
  unsigned char d[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  X509_digest(x, EVP_sha256(), d, &n);
  std::string out;
  for (unsigned i = 0; i < n; i++) out += fmt::format("{:02x}", d[i]);
  return out;
}

void add_extension(X509 *x, int nid, const std::string &value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>> e(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!e || X509_add_ext(x, e.get(), -1) != 1) fail_tls("make a certificate");
}

std::string read_file(const std::string &path, bool *missing = nullptr) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT && missing) {
      *missing = true;
      return {};
    }
    base::fail_errno(errno, "cannot open " + path);
  }
  if (missing) *missing = false;
  std::string out;
  char buffer[8192];
  for (;;) {
    auto n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot read " + path);
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (out.size() > 1 << 20) base::fail(ErrorCode::too_large, "{} is larger than 1 MiB: it is no certificate or key", path);
  }
}

/// Whole or not at all, on the disk before it gets its name.
void write_file(const std::string &directory, const std::string &name, const std::string &text, mode_t mode) {
  sys::FaultScope fault("write server certificate");
  auto path = directory + "/" + name, part = directory + "/." + name + "." + base::random_hex(8);
  base::Fd fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) base::fail_errno(errno, "cannot make " + part);
  auto undo = [&](int err) {
    ::unlink(part.c_str());
    base::fail_errno(err, "cannot write " + path);
  };
  for (std::size_t done = 0; done < text.size();) {
    auto n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) undo(n < 0 ? errno : EIO);
    done += static_cast<std::size_t>(n);
  }
  if (::fsync(fd.get()) != 0 || ::rename(part.c_str(), path.c_str()) != 0) undo(errno);
  base::Fd dir(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir) (void)::fsync(dir.get());
}

} // namespace

KeyPair make_key_pair(const std::string &common_name, const std::vector<std::string> &names) {
  KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-384"));
  X509Ptr x(X509_new());
  if (!key || !x) fail_tls("make a key");
  X509_set_version(x.get(), X509_VERSION_3);
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof serial) != 1) fail_tls("make a serial number");
  serial[0] &= 0x7f;
  std::unique_ptr<BIGNUM, Free<BN_free>> number(BN_bin2bn(serial, sizeof serial, nullptr));
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x.get()));
  // Clocks differ a little.
  X509_gmtime_adj(X509_getm_notBefore(x.get()), -3600);
  X509_time_adj_ex(X509_getm_notAfter(x.get()), 3650, 0, nullptr);
  auto *name = X509_get_subject_name(x.get());
  auto set = [&](const char *field, const std::string &value) {
    // Longer ones are refused by X.509.
    auto cut = value.substr(0, 64);
    X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char *>(cut.data()), static_cast<int>(cut.size()), -1, 0);
  };
  set("O", "libincus");
  set("CN", common_name);
  X509_set_issuer_name(x.get(), name);
  if (X509_set_pubkey(x.get(), key.get()) != 1) fail_tls("make a certificate");
  add_extension(x.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(x.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment");
  add_extension(x.get(), NID_ext_key_usage, names.empty() ? "clientAuth" : "serverAuth");
  std::string alternatives;
  for (auto &n : names) {
    bool ip = n.find(':') != std::string::npos || n.find_first_not_of("0123456789.") == std::string::npos;
    alternatives += (alternatives.empty() ? "" : ",") + std::string(ip ? "IP:" : "DNS:") + n;
  }
  if (!alternatives.empty()) add_extension(x.get(), NID_subject_alt_name, alternatives);
  if (X509_sign(x.get(), key.get(), EVP_sha384()) == 0) fail_tls("sign a certificate");
  BioPtr certificate(BIO_new(BIO_s_mem())), secret(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate.get(), x.get()) != 1 || PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    fail_tls("write a certificate");
  return {text_of(certificate.get()), text_of(secret.get())};
}

KeyPair server_key_pair(const std::string &directory) {
  auto make = [] {
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    // A host name goes into a list of names separated by commas.
    std::string name = host;
    if (name.empty() || name.find_first_of(",:/ ") != std::string::npos) name = "localhost";
    return make_key_pair("root@" + name, {name, "127.0.0.1", "::1"});
  };
  if (directory.empty()) return make();
  bool no_certificate = false, no_key = false;
  KeyPair pair{read_file(directory + "/server.crt", &no_certificate), read_file(directory + "/server.key", &no_key)};
  if (!no_certificate && !no_key) return pair;
  // The key is written first: one alone was never used.
  if (!no_certificate)
    base::fail(ErrorCode::corrupt, "{}/server.crt has no server.key beside it: put the key back, or remove server.crt to have both made anew (clients must then trust the new one)", directory);
  pair = make();
  write_file(directory, "server.key", pair.key, 0600);
  write_file(directory, "server.crt", pair.certificate, 0644);
  return pair;
}

SSL_CTX *make_server_context(const KeyPair &pair) {
  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> ctx(SSL_CTX_new(TLS_server_method()));
  auto x = parse(pair.certificate);
  BioPtr in(BIO_new_mem_buf(pair.key.data(), static_cast<int>(pair.key.size())));
  KeyPtr key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  if (!ctx || !x || !key) fail_tls("read the server's certificate and key");
  if (SSL_CTX_set_min_proto_version(ctx.get(), TLS1_3_VERSION) != 1 || SSL_CTX_use_certificate(ctx.get(), x.get()) != 1 ||
      SSL_CTX_use_PrivateKey(ctx.get(), key.get()) != 1 || SSL_CTX_check_private_key(ctx.get()) != 1)
    fail_tls("use the server's certificate and key");
  // Chains are not looked at: certificates are known by their fingerprints. That the peer holds the key is proved by the handshake itself.
  SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(ctx.get(), [](X509_STORE_CTX *, void *) { return 1; }, nullptr);
  // A resumed session would not show the certificate again.
  SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ctx.get(), 0);
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_alpn_select_cb(
      ctx.get(),
      [](SSL *, const unsigned char **out, unsigned char *size, const unsigned char *offered, unsigned n, void *) {
        static const unsigned char ours[] = "\x08http/1.1";
        unsigned char *chosen = nullptr;
        if (SSL_select_next_proto(&chosen, size, ours, sizeof ours - 1, offered, n) != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
        *out = chosen;
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  return ctx.release();
}

std::string peer_certificate(SSL *ssl) {
  X509Ptr x(SSL_get1_peer_certificate(ssl));
  if (!x) return {};
  BioPtr out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), x.get());
  return text_of(out.get());
}

std::string fingerprint(const std::string &pem) {
  auto x = parse(pem);
  if (!x) base::fail(ErrorCode::invalid_argument, "invalid certificate: the PEM text holds no X.509 certificate");
  return digest(x.get());
}

/// PKI mode: only certificates that server.ca signed and ca.crl does not revoke are looked at at all.
struct Trust::Ca {
  StorePtr store;
  bool accepts(X509 *x) const {
    std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>> ctx(X509_STORE_CTX_new());
    if (!ctx || X509_STORE_CTX_init(ctx.get(), store.get(), x, nullptr) != 1) return false;
    X509_STORE_CTX_set_purpose(ctx.get(), X509_PURPOSE_SSL_CLIENT);
    bool ok = X509_verify_cert(ctx.get()) == 1;
    ERR_clear_error();
    return ok;
  }
};

struct Trust::Store {
  std::uint64_t generation = 0;
  bool open_metrics = false, trust_ca = false;
  struct Entry {
    bool metrics = false, restricted = false;
    std::vector<std::string> projects;
  };
  std::map<std::string, Entry> certificates;
};

Trust::Trust(std::shared_ptr<api::Session> session, std::string directory) : session_(std::move(session)) {
  if (directory.empty()) return;
  bool missing = false;
  auto pem = read_file(directory + "/server.ca", &missing);
  if (missing) return;
  auto ca = parse(pem);
  if (!ca) base::fail(ErrorCode::corrupt, "{}/server.ca holds no certificate", directory);
  ca_ = std::make_unique<Ca>();
  ca_->store.reset(X509_STORE_new());
  X509_STORE_add_cert(ca_->store.get(), ca.get());
  auto crl_text = read_file(directory + "/ca.crl", &missing);
  if (missing) return;
  BioPtr in(BIO_new_mem_buf(crl_text.data(), static_cast<int>(crl_text.size())));
  CrlPtr crl(PEM_read_bio_X509_CRL(in.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!crl) base::fail(ErrorCode::corrupt, "{}/ca.crl holds no revocation list in PEM form", directory);
  X509_STORE_add_crl(ca_->store.get(), crl.get());
  X509_STORE_set_flags(ca_->store.get(), X509_V_FLAG_CRL_CHECK);
}

Trust::~Trust() = default;

std::shared_ptr<const Trust::Store> Trust::store() {
  auto generation = session_->door().trust_generation();
  {
    std::lock_guard lock(mutex_);
    if (store_ && generation != 0 && store_->generation == generation) return store_;
  }
  auto fresh = std::make_shared<Store>();
  fresh->generation = generation;
  auto config = session_->perform(api::RowId::server_get, {}).metadata;
  auto flag = [&](const char *key, bool fallback) {
    auto *c = config.as_object().if_contains("config");
    auto *v = c && c->is_object() ? c->get_object().if_contains(key) : nullptr;
    return v && v->is_string() ? schema::truthy(std::string_view(v->get_string())) : fallback;
  };
  fresh->open_metrics = !flag("core.metrics_authentication", true);
  fresh->trust_ca = flag("core.trust_ca_certificates", false);
  api::Request q;
  q.query["recursion"] = "1";
  auto list = session_->perform(api::RowId::certificates_get, std::move(q)).metadata;
  for (auto &v : list.as_array()) {
    auto &o = v.as_object();
    auto &type = o.at("type").as_string();
    if (type != "client" && type != "metrics") continue;
    Store::Entry e;
    e.metrics = type == "metrics";
    e.restricted = o.at("restricted").as_bool();
    if (auto *projects = o.at("projects").if_array())
      for (auto &p : *projects) e.projects.emplace_back(p.as_string());
    fresh->certificates.emplace(o.at("fingerprint").as_string(), std::move(e));
  }
  std::lock_guard lock(mutex_);
  // Another thread may have read a newer one meanwhile.
  if (!store_ || store_->generation <= generation) store_ = fresh;
  return fresh;
}

bool Trust::open_metrics() { return store()->open_metrics; }

std::shared_ptr<const api::Caller> Trust::identify(const std::string &certificate, const std::string &address) {
  auto caller = std::make_shared<api::Caller>();
  caller->address = address;
  caller->certificate = certificate;
  if (certificate.empty()) return caller;
  auto x = parse(certificate);
  if (!x) return caller;
  if (X509_cmp_current_time(X509_get0_notAfter(x.get())) <= 0 || X509_cmp_current_time(X509_get0_notBefore(x.get())) >= 0) return caller;
  if (ca_ && !ca_->accepts(x.get())) return caller;
  auto known = store();
  auto print = digest(x.get());
  auto it = known->certificates.find(print);
  using Kind = api::Caller::Kind;
  if (it != known->certificates.end()) {
    caller->kind = it->second.metrics ? Kind::metrics : Kind::trusted;
    caller->restricted = it->second.restricted;
    caller->projects = it->second.projects;
    caller->name = print;
  } else if (ca_ && known->trust_ca) {
    caller->kind = Kind::trusted;
    caller->name = print;
  }
  return caller;
}

} // namespace incus::rest
