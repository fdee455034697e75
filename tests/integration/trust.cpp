// SPDX-License-Identifier: Apache-2.0
// A host served over TLS: who gets in, by what, and what it may do. Clients are OpenSSL's and the official `incus` command.
#include <arpa/inet.h>
#include <boost/json.hpp>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <incus/host.hpp>
#include <incus/server.hpp>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"
#include "embed/certificates.hpp"
#include "rest/trust.hpp"

using namespace incus;
namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

struct Answer {
  int status = 0;
  json::value body;
  std::string text;
};

/// One TLS connection; closed when a request fails.
class Connection {
public:
  Connection(int port, const rest::KeyPair *pair, int most = TLS1_3_VERSION) : ctx_(SSL_CTX_new(TLS_client_method())) {
    ::signal(SIGPIPE, SIG_IGN);
    SSL_CTX_set_max_proto_version(ctx_, most);
    if (pair) {
      BIO *c = BIO_new_mem_buf(pair->certificate.data(), -1), *k = BIO_new_mem_buf(pair->key.data(), -1);
      X509 *x = PEM_read_bio_X509(c, nullptr, nullptr, nullptr);
      EVP_PKEY *key = PEM_read_bio_PrivateKey(k, nullptr, nullptr, nullptr);
      SSL_CTX_use_certificate(ctx_, x);
      SSL_CTX_use_PrivateKey(ctx_, key);
      X509_free(x);
      EVP_PKEY_free(key);
      BIO_free(c);
      BIO_free(k);
    }
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<sockaddr *>(&to), sizeof to) != 0) base::fail_errno(errno, "connect");
    ssl_ = SSL_new(ctx_);
    SSL_set_fd(ssl_, fd_);
    connected_ = SSL_connect(ssl_) == 1;
    ERR_clear_error();
  }
  ~Connection() {
    SSL_free(ssl_);
    SSL_CTX_free(ctx_);
    ::close(fd_);
  }
  bool connected() const { return connected_; }
  Answer ask(const std::string &method, const std::string &path, const json::value &body = nullptr) {
    auto text = body.is_null() ? std::string() : json::serialize(body);
    auto request = method + " " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
    REQUIRE(SSL_write(ssl_, request.data(), static_cast<int>(request.size())) == static_cast<int>(request.size()));
    std::string in;
    auto more = [&] {
      char buffer[16384];
      int n = SSL_read(ssl_, buffer, sizeof buffer);
      REQUIRE(n > 0);
      in.append(buffer, static_cast<std::size_t>(n));
    };
    while (in.find("\r\n\r\n") == std::string::npos) more();
    auto head = in.find("\r\n\r\n") + 4;
    auto lower = in.substr(0, head);
    for (auto &c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    Answer a;
    a.status = std::atoi(in.c_str() + 9);
    auto length = lower.find("\r\ncontent-length: ");
    REQUIRE(length != std::string::npos);
    auto size = std::strtoul(lower.c_str() + length + 18, nullptr, 10);
    while (in.size() < head + size) more();
    a.text = in.substr(head, size);
    boost::system::error_code ec;
    a.body = json::parse(a.text, ec);
    return a;
  }

private:
  SSL_CTX *ctx_;
  SSL *ssl_ = nullptr;
  int fd_ = -1;
  bool connected_ = false;
};

int free_port() {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr *>(&at), sizeof at) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr *>(&at), &size) == 0);
  ::close(fd);
  return ntohs(at.sin_port);
}

struct Served {
  std::string dir = [] {
    char t[] = "/tmp/incus-trust-XXXXXX";
    REQUIRE(::mkdtemp(t));
    return std::string(t);
  }();
  std::unique_ptr<Host> host;
  std::unique_ptr<Server> server;
  int port = 0;

  Served() {
    host = std::make_unique<Host>(Host::open("embed://" + dir + "/state"));
    port = free_port();
    ask("PATCH", "/1.0", {{"config", {{"core.https_address", "127.0.0.1:" + std::to_string(port)}}}});
    server = std::make_unique<Server>(*host);
    server->ready();
  }
  ~Served() {
    server.reset();
    host.reset();
    fs::remove_all(dir);
  }
  json::value ask(const std::string &method, const std::string &path, const json::value &body = nullptr) {
    auto t = host->request(method, path, body.is_null() ? "" : json::serialize(body));
    return t.empty() ? json::value(nullptr) : json::parse(t);
  }
  std::string token(json::object request = {}) {
    request["token"] = true;
    request["type"] = "client";
    request["name"] = "joe";
    auto m = ask("POST", "/1.0/certificates", request).at("metadata");
    return embed::base64(json::serialize(
        json::object{{"client_name", "joe"}, {"fingerprint", m.at("fingerprint")}, {"addresses", m.at("addresses")}, {"secret", m.at("secret")}, {"expires_at", "0001-01-01T00:00:00Z"}}));
  }
  Answer once(const rest::KeyPair *pair, const std::string &method, const std::string &path, const json::value &body = nullptr) {
    Connection c(port, pair);
    REQUIRE(c.connected());
    return c.ask(method, path, body);
  }
};

} // namespace

TEST_CASE("trust over TLS: unknown, by token, restricted, shut out") {
  Served s;
  CHECK_FALSE(Connection(s.port, nullptr, TLS1_2_VERSION).connected());
  auto me = rest::make_key_pair("me", {}), other = rest::make_key_pair("other", {});
  for (auto *pair : {static_cast<const rest::KeyPair *>(nullptr), static_cast<const rest::KeyPair *>(&me)}) {
    auto a = s.once(pair, "GET", "/1.0");
    CHECK(a.status == 200);
    CHECK(a.body.at("metadata").at("auth") == "untrusted");
    CHECK_FALSE(a.body.at("metadata").as_object().contains("environment"));
    a = s.once(pair, "GET", "/1.0/instances");
    CHECK(a.status == 403);
    CHECK(a.text.find("\"error_code\":403") != std::string::npos);
    for (auto *path : {"/1.0/certificates", "/1.0/projects", "/1.0/operations", "/1.0/metrics", "/internal/ready", "/internal/sql?database=global"}) CHECK(s.once(pair, "GET", path).status == 403);
    CHECK(s.once(pair, "PATCH", "/1.0", {{"config", {{"user.x", "1"}}}}).status == 403);
  }
  s.ask("POST", "/1.0/projects", {{"name", "p"}});
  auto token = s.token({{"restricted", true}, {"projects", {"p"}}});
  CHECK(s.once(&me, "POST", "/1.0/certificates", {{"type", "client"}, {"trust_token", "badtoken"}}).status == 403);
  Connection mine(s.port, &me);
  REQUIRE(mine.connected());
  CHECK(mine.ask("POST", "/1.0/certificates", {{"type", "client"}, {"trust_token", token}}).status == 201);
  // The connection that brought the token is known at once.
  auto a = mine.ask("GET", "/1.0");
  CHECK(a.body.at("metadata").at("auth") == "trusted");
  CHECK(a.body.at("metadata").at("auth_user_name") == json::value(rest::fingerprint(me.certificate)));
  CHECK(s.once(&other, "POST", "/1.0/certificates", {{"type", "client"}, {"trust_token", token}}).status == 403);
  CHECK(mine.ask("GET", "/1.0/instances?project=p").status == 200);
  CHECK(mine.ask("GET", "/1.0/instances").status == 403);
  CHECK(mine.ask("GET", "/1.0/instances?project=nix").status == 403);
  CHECK(mine.ask("GET", "/1.0/projects").body.at("metadata") == json::array{"/1.0/projects/p"});
  // What is refused before its body was read ends the connection.
  CHECK(s.once(&me, "POST", "/1.0/projects", {{"name", "x"}}).status == 403);
  auto own = "/1.0/certificates/" + rest::fingerprint(me.certificate);
  CHECK(s.once(&me, "PATCH", own, {{"restricted", false}}).status == 403);
  CHECK(s.once(&me, "PATCH", own, {{"certificate", other.certificate}}).status == 200);
  CHECK(mine.ask("GET", "/1.0/instances?project=p").status == 403);
  CHECK(s.once(&other, "GET", "/1.0/instances?project=p").status == 200);
  // Shut out: also on a connection that is open.
  Connection open(s.port, &other);
  REQUIRE(open.connected());
  CHECK(open.ask("GET", "/1.0/instances?project=p").status == 200);
  s.ask("DELETE", "/1.0/certificates/" + rest::fingerprint(other.certificate));
  CHECK(open.ask("GET", "/1.0/instances?project=p").status == 403);
}

TEST_CASE("trust over TLS: a certificate for metrics") {
  Served s;
  auto pair = rest::make_key_pair("metrics", {});
  CHECK(s.once(&pair, "GET", "/1.0/metrics").status == 403);
  s.ask("POST", "/1.0/certificates", {{"type", "metrics"}, {"name", "m"}, {"certificate", pair.certificate}});
  CHECK(s.once(&pair, "GET", "/1.0/metrics").status == 200);
  CHECK(s.once(&pair, "GET", "/1.0/certificates").status == 403);
  CHECK(s.once(&pair, "GET", "/1.0").body.at("metadata").at("auth") == "untrusted");
  s.ask("PATCH", "/1.0", {{"config", {{"core.metrics_authentication", "false"}}}});
  CHECK(s.once(nullptr, "GET", "/1.0/metrics").status == 200);
  CHECK(s.once(nullptr, "GET", "/1.0/instances").status == 403);
}

TEST_CASE("trust over TLS: the official client adds the server by token") {
  Served s;
  REQUIRE(std::system("command -v incus >/dev/null") == 0);
  auto conf = s.dir + "/conf";
  fs::create_directory(conf);
  auto run = [&](const std::string &arguments) {
    auto rc = std::system(("INCUS_CONF=" + conf + " timeout 60 incus " + arguments + " </dev/null >" + s.dir + "/out 2>&1").c_str());
    std::ifstream out(s.dir + "/out");
    std::string text{std::istreambuf_iterator<char>(out), {}};
    MESSAGE(arguments.substr(0, 40) << ": " << text);
    return WEXITSTATUS(rc);
  };
  auto address = "https://127.0.0.1:" + std::to_string(s.port);
  CHECK(run("remote add bad " + address + " --accept-certificate --token badtoken") != 0);
  CHECK(run("remote add srv " + s.token()) == 0);
  CHECK(run("project create srv:blah") == 0);
  CHECK(run("list srv:") == 0);
  CHECK(s.ask("GET", "/1.0/certificates").as_array().size() == 1);
  CHECK(run("config trust list srv:") == 0);
  CHECK(run("config set srv: user.x=1") == 0);
  CHECK(s.ask("GET", "/1.0").at("config").at("user.x") == "1");
}
