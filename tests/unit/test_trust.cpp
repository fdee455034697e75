// SPDX-License-Identifier: Apache-2.0
// The trust store and its tokens on test://, certificates, and TLS over a socket pair.
#include <atomic>
#include <boost/json.hpp>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <incus/host.hpp>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "api/door.hpp"
#include "base/error.hpp"
#include "embed/certificates.hpp"
#include "rest/trust.hpp"

using namespace incus;
namespace json = boost::json;
using api::Caller;
using api::RowId;

namespace {

struct Client {
  rest::KeyPair pair = rest::make_key_pair("client@test", {});
  std::string print = rest::fingerprint(pair.certificate);
};

struct Server {
  Host host = Host::open("test://");
  rest::Trust trust{host.session(), ""};
  std::string last;

  api::Reply call(RowId row, std::vector<std::string> path, json::value body = nullptr, std::shared_ptr<const Caller> who = nullptr, int recursion = 0) {
    api::Request q;
    q.path = std::move(path);
    q.body = std::move(body);
    q.caller = std::move(who);
    if (recursion) q.query["recursion"] = std::to_string(recursion);
    return host.session()->perform(row, std::move(q));
  }
  ErrorCode error(RowId row, std::vector<std::string> path, json::value body = nullptr, std::shared_ptr<const Caller> who = nullptr) {
    try {
      call(row, std::move(path), std::move(body), std::move(who));
    } catch (const Error &e) {
      last = e.what();
      return e.code();
    }
    return ErrorCode{};
  }
  std::shared_ptr<const Caller> who(const Client &c) { return trust.identify(c.pair.certificate, "127.0.0.1:4711"); }
  void add(const Client &c, json::object more = {}) {
    more["certificate"] = c.pair.certificate;
    more.emplace("type", "client");
    call(RowId::certificates_post, {}, more);
  }
  void config(const char *key, const char *value) { call(RowId::server_patch, {}, {{"config", {{key, value}}}}); }
  /// The text that a client is given, and its operation.
  std::string token(json::object request = {}) {
    request["token"] = true;
    request.emplace("type", "client");
    request.emplace("name", "joe");
    auto reply = call(RowId::certificates_post, {}, request);
    REQUIRE(reply.operation);
    auto m = json::parse(reply.operation->info().metadata.text);
    operation = reply.operation->info().id;
    return embed::base64(json::serialize(json::object{{"client_name", "joe"}, {"fingerprint", ""}, {"addresses", m.at("addresses")}, {"secret", m.at("secret")}}));
  }
  std::string operation;
};

} // namespace

TEST_CASE("trust: certificates are added, listed, found by a beginning, changed and removed") {
  Server s;
  Client a, b;
  CHECK(s.who(a)->kind == Caller::Kind::unknown);
  CHECK(s.who(a)->certificate == a.pair.certificate);
  s.add(a, {{"name", "A"}});
  CHECK(s.who(a)->kind == Caller::Kind::trusted);
  CHECK(s.who(a)->name == a.print);
  CHECK(s.who(b)->kind == Caller::Kind::unknown);
  CHECK(s.error(RowId::certificates_post, {}, {{"type", "client"}, {"certificate", a.pair.certificate}}) == ErrorCode::already_exists);
  // Base64 of DER is what the official client sends.
  auto der = b.pair.certificate.substr(b.pair.certificate.find('\n') + 1);
  der = der.substr(0, der.find("-----END"));
  auto made = s.call(RowId::certificates_post, {}, {{"type", "metrics"}, {"certificate", der}});
  CHECK(made.status == 201);
  CHECK(made.location == "/1.0/certificates/" + b.print);
  CHECK(s.who(b)->kind == Caller::Kind::metrics);
  auto got = s.call(RowId::certificate_get, {b.print.substr(0, 12)}).metadata;
  CHECK(got.at("name") == "client@test");
  CHECK(got.at("type") == "metrics");
  CHECK(got.at("fingerprint") == json::value(b.print));
  CHECK(s.call(RowId::certificates_get, {}).metadata.as_array().size() == 2);
  CHECK(s.call(RowId::certificates_get, {}, nullptr, nullptr, 1).metadata.as_array().size() == 2);
  CHECK(s.error(RowId::certificate_get, {"zz"}) == ErrorCode::not_found);
  CHECK(s.error(RowId::certificate_get, {""}) == ErrorCode::not_found);
  s.call(RowId::certificate_patch, {b.print}, {{"name", "new"}, {"type", "client"}});
  CHECK(s.who(b)->kind == Caller::Kind::trusted);
  CHECK(s.call(RowId::certificate_get, {b.print}).metadata.at("name") == "new");
  CHECK(s.error(RowId::certificate_patch, {b.print}, {{"certificate", a.pair.certificate}}) == ErrorCode::already_exists);
  CHECK(s.error(RowId::certificate_patch, {b.print}, {{"certificate", "-----BEGIN CERTIFICATE-----\nrubbish"}}) == ErrorCode::invalid_argument);
  CHECK(s.error(RowId::certificate_patch, {b.print}, {{"type", "king"}}) == ErrorCode::invalid_argument);
  CHECK(s.error(RowId::certificate_patch, {b.print}, {{"projects", {"nix"}}}) == ErrorCode::not_found);
  s.call(RowId::certificate_delete, {b.print});
  CHECK(s.who(b)->kind == Caller::Kind::unknown);
  for (auto *bad : {"", "%%%", "aGVsbG8="}) CHECK(s.error(RowId::certificates_post, {}, {{"type", "client"}, {"certificate", bad}}) == ErrorCode::invalid_argument);
  CHECK(s.error(RowId::certificates_post, {}, {{"certificate", b.pair.certificate}}) == ErrorCode::invalid_argument);
}

TEST_CASE("trust: a restricted certificate may replace itself and nothing else") {
  Server s;
  s.call(RowId::projects_post, {}, {{"name", "p"}});
  Client a, b, c;
  s.add(a, {{"name", "A"}, {"restricted", true}, {"projects", {"p"}}});
  s.add(b, {{"name", "B"}});
  auto me = s.who(a);
  CHECK(me->restricted);
  CHECK(me->projects == std::vector<std::string>{"p"});
  CHECK(s.call(RowId::certificates_get, {}, nullptr, me).metadata == json::array{"/1.0/certificates/" + a.print});
  CHECK(s.call(RowId::projects_get, {}, nullptr, me).metadata == json::array{"/1.0/projects/p"});
  for (auto &patch : std::vector<json::value>{{{"restricted", false}}, {{"name", "x"}}, {{"projects", json::array{}}}, {{"projects", {"p", "default"}}}, {{"type", "metrics"}}, {{"description", "x"}}})
    CHECK(s.error(RowId::certificate_patch, {a.print}, patch, me) == ErrorCode::forbidden);
  auto info = s.call(RowId::certificate_get, {a.print}, nullptr, me).metadata.as_object();
  info["restricted"] = false;
  CHECK(s.error(RowId::certificate_put, {a.print}, info, me) == ErrorCode::forbidden);
  // Of others it learns nothing, there or not.
  for (auto &other : {b.print, c.print, std::string("")}) {
    CHECK(s.error(RowId::certificate_get, {other}, nullptr, me) == ErrorCode::forbidden);
    CHECK(s.error(RowId::certificate_patch, {other}, {{"certificate", c.pair.certificate}}, me) == ErrorCode::forbidden);
    CHECK(s.error(RowId::certificate_delete, {other}, nullptr, me) == ErrorCode::forbidden);
  }
  CHECK(s.error(RowId::certificates_post, {}, {{"type", "client"}, {"certificate", c.pair.certificate}}, me) == ErrorCode::forbidden);
  CHECK(s.error(RowId::certificates_post, {}, {{"type", "client"}, {"token", true}}, me) == ErrorCode::forbidden);
  s.call(RowId::certificate_patch, {a.print}, {{"certificate", c.pair.certificate}}, me);
  CHECK(s.who(a)->kind == Caller::Kind::unknown);
  auto now = s.who(c);
  CHECK(now->restricted);
  CHECK(now->projects == std::vector<std::string>{"p"});
  // A project that got another name, or went.
  auto op = s.call(RowId::project_post, {"p"}, {{"name", "q"}}).operation;
  op->wait({});
  CHECK(s.who(c)->projects == std::vector<std::string>{"q"});
  s.call(RowId::project_delete, {"q"});
  CHECK(s.who(c)->projects.empty());
  CHECK(s.who(c)->restricted);
  s.call(RowId::certificate_delete, {c.print}, nullptr, now);
  CHECK(s.who(c)->kind == Caller::Kind::unknown);
}

TEST_CASE("trust: a token is good once, for what it was made for, until it runs out") {
  Server s;
  s.call(RowId::projects_post, {}, {{"name", "p"}});
  CHECK(s.error(RowId::certificates_post, {}, {{"type", "client"}, {"token", true}}) == ErrorCode::invalid_argument); // nobody could come
  s.config("core.https_address", "127.0.0.1:8443");
  CHECK(s.error(RowId::certificates_post, {}, {{"type", "metrics"}, {"token", true}}) == ErrorCode::invalid_argument);
  CHECK(s.error(RowId::certificates_post, {}, {{"type", "client"}, {"token", true}, {"projects", {"nix"}}}) == ErrorCode::not_found);
  Client a, b, c;
  auto token = s.token({{"restricted", true}, {"projects", {"p"}}});
  auto op = s.call(RowId::operation_get, {s.operation}).metadata;
  CHECK(op.at("class") == "token");
  CHECK(op.at("status_code") == 103);
  CHECK(op.at("metadata").at("request").at("name") == "joe");
  CHECK(op.at("metadata").at("addresses") == json::array{"127.0.0.1:8443"});
  // The client may not choose what it gets.
  s.call(RowId::certificates_post, {}, {{"trust_token", token}, {"restricted", false}, {"projects", {"default"}}, {"name", "king"}, {"type", "client"}, {"certificate", b.pair.certificate}}, s.who(a));
  CHECK(s.who(a)->restricted);
  CHECK(s.who(a)->projects == std::vector<std::string>{"p"});
  CHECK(s.who(b)->kind == Caller::Kind::unknown);
  CHECK(s.call(RowId::certificate_get, {a.print}).metadata.at("name") == "joe");
  CHECK(s.call(RowId::operation_get, {s.operation}).metadata.at("status_code") == 401);
  CHECK(s.error(RowId::certificates_post, {}, {{"trust_token", token}}, s.who(b)) == ErrorCode::forbidden);
  for (auto *bad : {"", "badtoken", "e30=", "eyJzZWNyZXQiOjF9", "bnVsbA=="}) CHECK(s.error(RowId::certificates_post, {}, {{"trust_token", bad}}, s.who(b)) == ErrorCode::forbidden);
  // Revoked.
  token = s.token();
  s.call(RowId::operation_delete, {s.operation});
  CHECK(s.call(RowId::operation_get, {s.operation}).metadata.at("status_code") == 401);
  CHECK(s.error(RowId::certificates_post, {}, {{"trust_token", token}}, s.who(b)) == ErrorCode::forbidden);
  // Shown to administrators alone.
  token = s.token();
  CHECK(json::serialize(s.call(RowId::operations_get, {}, nullptr, s.who(a)).metadata).find(s.operation) == std::string::npos);
  CHECK(json::serialize(s.call(RowId::operations_get, {}).metadata).find(s.operation) != std::string::npos);
  CHECK(s.error(RowId::operation_get, {s.operation}, nullptr, s.who(a)) == ErrorCode::not_found);
  CHECK(s.error(RowId::operation_delete, {s.operation}, nullptr, s.who(a)) == ErrorCode::not_found);
  // Without a certificate it is not spent.
  CHECK(s.error(RowId::certificates_post, {}, {{"trust_token", token}}, s.trust.identify("", "127.0.0.1:1")) == ErrorCode::invalid_argument);
  s.call(RowId::certificates_post, {}, {{"trust_token", token}}, s.who(b));
  CHECK(s.who(b)->is_admin());
  // Past its time.
  s.config("core.remote_token_expiry", "0S");
  token = s.token();
  CHECK(s.error(RowId::certificates_post, {}, {{"trust_token", token}}, s.who(c)) == ErrorCode::forbidden);
  CHECK(s.who(c)->kind == Caller::Kind::unknown);
}

TEST_CASE("trust: one token, many clients at once, one of them is in") {
  Server s;
  s.config("core.https_address", "127.0.0.1:8443");
  auto token = s.token();
  std::vector<Client> clients(4);
  std::atomic<int> in{0};
  std::vector<std::thread> threads;
  for (auto &c : clients)
    threads.emplace_back([&, who = s.who(c)] {
      try {
        s.call(RowId::certificates_post, {}, {{"trust_token", token}}, who);
        in++;
      } catch (const Error &) {
      }
    });
  for (auto &t : threads) t.join();
  CHECK(in == 1);
  CHECK(s.call(RowId::certificates_get, {}).metadata.as_array().size() == 1);
}

TEST_CASE("trust: what an unknown and a restricted client see of the server") {
  Server s;
  s.call(RowId::projects_post, {}, {{"name", "p"}});
  s.config("user.ui.title", "T");
  s.config("user.x", "1");
  Client a, b;
  s.add(a, {{"restricted", true}, {"projects", {"p"}}});
  auto unknown = s.call(RowId::server_get, {}, nullptr, s.who(b)).metadata.as_object();
  CHECK(unknown.at("auth") == "untrusted");
  CHECK(unknown.at("config") == json::value({{"user.ui.title", "T"}}));
  CHECK_FALSE(unknown.contains("environment"));
  auto restricted = s.call(RowId::server_get, {}, nullptr, s.who(a)).metadata.as_object();
  CHECK(restricted.at("auth") == "trusted");
  CHECK(restricted.at("auth_user_name") == json::value(a.print));
  CHECK(restricted.at("auth_user_method") == "tls");
  CHECK(restricted.at("config") == json::value({{"user.ui.title", "T"}}));
  CHECK(restricted.contains("environment"));
  CHECK_FALSE(s.trust.open_metrics());
  s.config("core.metrics_authentication", "false");
  CHECK(s.trust.open_metrics());
  CHECK(s.call(RowId::project_access_get, {"p"}).metadata == json::value({{{"identifier", a.print}, {"role", "operator"}, {"provider", "tls"}}}));
  CHECK(s.error(RowId::project_access_get, {"p"}, nullptr, s.who(a)) == ErrorCode::forbidden);
}

namespace {
/// A client's certificate that OpenSSL makes as asked for.
std::string certificate(int rsa_bits, long from_days, long to_days) {
  EVP_PKEY *key = rsa_bits ? EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<std::size_t>(rsa_bits)) : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
  X509 *x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_time_adj_ex(X509_getm_notBefore(x), static_cast<int>(from_days), 0, nullptr);
  X509_time_adj_ex(X509_getm_notAfter(x), static_cast<int>(to_days), 0, nullptr);
  X509_set_pubkey(x, key);
  X509_sign(x, key, EVP_sha256());
  BIO *out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(out, x);
  char *data;
  auto n = BIO_get_mem_data(out, &data);
  std::string pem(data, static_cast<std::size_t>(n));
  BIO_free(out);
  X509_free(x);
  EVP_PKEY_free(key);
  return pem;
}
} // namespace

TEST_CASE("trust: expired, future and weak certificates are refused") {
  Server s;
  auto add = [&](const std::string &pem) { return s.error(RowId::certificates_post, {}, {{"type", "client"}, {"name", "n"}, {"certificate", pem}}); };
  CHECK(add(certificate(0, -10, -1)) == ErrorCode::invalid_argument);
  CHECK(s.last.find("expired") != std::string::npos);
  CHECK(add(certificate(0, 1, 10)) == ErrorCode::invalid_argument);
  CHECK(add(certificate(1024, -1, 10)) == ErrorCode::invalid_argument);
  CHECK(s.last.find("1024") != std::string::npos);
  CHECK(add(certificate(2048, -1, 10)) == ErrorCode{});
  // One that was trusted and has run out since: its days are changed behind the store's back.
  auto old = certificate(0, -10, -1);
  s.call(RowId::internal_sql_post, {}, {{"database", "global"}, {"query", "INSERT INTO certificates (fingerprint, type, name, certificate) VALUES ('" + rest::fingerprint(old) + "', 1, 'old', '')"}});
  s.config("user.x", "1"); // the store is read again
  CHECK(s.call(RowId::certificate_get, {rest::fingerprint(old)}).metadata.at("name") == "old");
  CHECK(s.trust.identify(old, "")->kind == Caller::Kind::unknown);
  CHECK(s.trust.identify("rubbish", "")->kind == Caller::Kind::unknown);
}

TEST_CASE("trust: the server's certificate is made once, and its key is private") {
  char dir[] = "/tmp/incus-trust-XXXXXX";
  REQUIRE(::mkdtemp(dir));
  std::string d = dir;
  auto pair = rest::server_key_pair(d);
  auto again = rest::server_key_pair(d);
  CHECK(pair.certificate == again.certificate);
  CHECK(pair.key == again.key);
  struct stat st;
  REQUIRE(::stat((d + "/server.key").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  auto x = embed::parse_certificate(pair.certificate);
  CHECK(x.rsa_bits == 0);
  CHECK_NOTHROW(embed::check_trustable(x));
  // A key alone is what a crash left; a certificate alone is somebody's mistake.
  std::filesystem::remove(d + "/server.crt");
  CHECK(rest::server_key_pair(d).certificate != pair.certificate);
  std::filesystem::remove(d + "/server.key");
  CHECK_THROWS_AS(rest::server_key_pair(d), Error);
  int files = 0;
  for (auto &f : std::filesystem::directory_iterator(d)) files += f.is_regular_file();
  CHECK(files == 1);
  std::filesystem::remove_all(d);
}

namespace {
/// A certificate authority for one test.
struct Authority {
  EVP_PKEY *key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
  X509 *own = make("ca", 1, key, true);
  ~Authority() {
    X509_free(own);
    EVP_PKEY_free(key);
  }
  X509 *make(const char *name, long serial, EVP_PKEY *of, bool ca) {
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char *>(name), -1, -1, 0);
    X509_set_issuer_name(x, ca ? X509_get_subject_name(x) : X509_get_subject_name(own));
    X509_set_pubkey(x, of);
    auto *e = X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(x, key, EVP_sha256());
    return x;
  }
  template <class F> static std::string text(F write) {
    BIO *out = BIO_new(BIO_s_mem());
    write(out);
    char *data;
    auto n = BIO_get_mem_data(out, &data);
    std::string pem(data, static_cast<std::size_t>(n));
    BIO_free(out);
    return pem;
  }
  std::string pem() {
    return text([&](BIO *b) { PEM_write_bio_X509(b, own); });
  }
  std::string client(long serial) {
    EVP_PKEY *k = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
    X509 *x = make("client", serial, k, false);
    auto pem = text([&](BIO *b) { PEM_write_bio_X509(b, x); });
    X509_free(x);
    EVP_PKEY_free(k);
    return pem;
  }
  std::string revocations(long serial) {
    X509_CRL *crl = X509_CRL_new();
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(own));
    ASN1_TIME *t = X509_gmtime_adj(nullptr, -30), *later = X509_gmtime_adj(nullptr, 3600);
    X509_CRL_set1_lastUpdate(crl, t);
    X509_CRL_set1_nextUpdate(crl, later);
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_INTEGER *n = ASN1_INTEGER_new();
    ASN1_INTEGER_set(n, serial);
    X509_REVOKED_set_serialNumber(r, n);
    X509_REVOKED_set_revocationDate(r, t);
    X509_CRL_add0_revoked(crl, r);
    X509_CRL_sort(crl);
    X509_CRL_sign(crl, key, EVP_sha256());
    auto pem = text([&](BIO *b) { PEM_write_bio_X509_CRL(b, crl); });
    ASN1_TIME_free(t);
    ASN1_TIME_free(later);
    ASN1_INTEGER_free(n);
    X509_CRL_free(crl);
    return pem;
  }
};
} // namespace

TEST_CASE("trust: with server.ca only what it signed and did not revoke is looked at") {
  char dir[] = "/tmp/incus-trust-XXXXXX";
  REQUIRE(::mkdtemp(dir));
  std::string d = dir;
  auto write = [&](const char *name, const std::string &text) { std::ofstream(d + "/" + name) << text; };
  Authority ours, other;
  auto good = ours.client(10), revoked = ours.client(11), foreign = other.client(12);
  write("server.ca", ours.pem());
  write("ca.crl", ours.revocations(11));
  Server s;
  rest::Trust pki(s.host.session(), d);
  auto kind = [&](const std::string &pem) { return pki.identify(pem, "")->kind; };
  auto add = [&](const std::string &pem) { s.call(RowId::certificates_post, {}, {{"type", "client"}, {"certificate", pem}}); };
  Client self_signed;
  for (auto &pem : {good, revoked, foreign, self_signed.pair.certificate}) CHECK(kind(pem) == Caller::Kind::unknown);
  s.config("core.trust_ca_certificates", "true");
  CHECK(kind(good) == Caller::Kind::trusted);
  for (auto &pem : {revoked, foreign, self_signed.pair.certificate}) CHECK(kind(pem) == Caller::Kind::unknown);
  s.config("core.trust_ca_certificates", "false");
  for (auto &pem : {good, revoked, foreign, self_signed.pair.certificate}) add(pem);
  CHECK(kind(good) == Caller::Kind::trusted);
  for (auto &pem : {revoked, foreign, self_signed.pair.certificate}) CHECK(kind(pem) == Caller::Kind::unknown);
  // Without the authority the trust store alone decides.
  rest::Trust plain(s.host.session(), "");
  CHECK(plain.identify(foreign, "")->kind == Caller::Kind::trusted);
  write("server.ca", "rubbish");
  CHECK_THROWS_AS(rest::Trust(s.host.session(), d), Error);
  std::filesystem::remove_all(d);
}

namespace {
/// A handshake over a socket pair; what the server saw of the client, or "refused".
std::string handshake(int client_max, const rest::KeyPair *client) {
  static const auto server_pair = rest::server_key_pair("");
  SSL_CTX *server = rest::make_server_context(server_pair), *ctx = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(ctx, client_max);
  if (client) {
    BIO *c = BIO_new_mem_buf(client->certificate.data(), -1), *k = BIO_new_mem_buf(client->key.data(), -1);
    X509 *x = PEM_read_bio_X509(c, nullptr, nullptr, nullptr);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(k, nullptr, nullptr, nullptr);
    SSL_CTX_use_certificate(ctx, x);
    SSL_CTX_use_PrivateKey(ctx, key);
    X509_free(x);
    EVP_PKEY_free(key);
    BIO_free(c);
    BIO_free(k);
  }
  int fds[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  std::thread other([&] {
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fds[1]);
    char byte;
    if (SSL_connect(ssl) == 1) (void)SSL_read(ssl, &byte, 1);
    SSL_free(ssl);
    ::close(fds[1]);
  });
  SSL *ssl = SSL_new(server);
  SSL_set_fd(ssl, fds[0]);
  std::string out = "refused";
  if (SSL_accept(ssl) == 1) {
    out = rest::peer_certificate(ssl);
    SSL_write(ssl, "x", 1);
  }
  SSL_free(ssl);
  ::close(fds[0]);
  other.join();
  SSL_CTX_free(server);
  SSL_CTX_free(ctx);
  ERR_clear_error();
  return out;
}
} // namespace

TEST_CASE("trust: TLS 1.3 alone; a client certificate is asked for, and any is taken") {
  auto client = rest::make_key_pair("c", {});
  CHECK(handshake(TLS1_3_VERSION, &client) == client.certificate);
  CHECK(handshake(TLS1_3_VERSION, nullptr) == "");
  CHECK(handshake(TLS1_2_VERSION, &client) == "refused");
}
