// SPDX-License-Identifier: Apache-2.0
// A host served over TLS, and clients of it that send what they like: for tests of who may do what. As root.
#pragma once
#include <arpa/inet.h>
#include <boost/json.hpp>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <incus/host.hpp>
#include <incus/server.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/door.hpp"
#include "base/error.hpp"
#include "embed/certificates.hpp"
#include "rest/trust.hpp"
#include "tar.hpp"

namespace trust_room {

using namespace incus;
namespace json = boost::json;
namespace fs = std::filesystem;

struct Answer {
  int status = 0;
  json::value body;
  std::string text, head;
  bool closes = false; ///< the server ends the connection after it
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
    int at_once = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
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
    while (in.find("\r\n\r\n") == std::string::npos) more(in);
    auto head = in.find("\r\n\r\n") + 4;
    auto lower = in.substr(0, head);
    for (auto &c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    Answer a;
    a.status = std::atoi(in.c_str() + 9);
    a.head = in.substr(0, head);
    a.closes = lower.find("\r\nconnection: close") != std::string::npos;
    auto length = lower.find("\r\ncontent-length: ");
    REQUIRE(length != std::string::npos);
    auto size = method == "HEAD" ? 0 : std::strtoul(lower.c_str() + length + 18, nullptr, 10);
    while (in.size() < head + size) more(in);
    a.text = in.substr(head, size);
    boost::system::error_code ec;
    a.body = json::parse(a.text, ec);
    return a;
  }

  /// Turns the connection into a websocket; the status of the answer.
  int upgrade(const std::string &path) {
    auto request = "GET " + path +
                   " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    REQUIRE(SSL_write(ssl_, request.data(), static_cast<int>(request.size())) == static_cast<int>(request.size()));
    while (frames_.find("\r\n\r\n") == std::string::npos) more(frames_);
    int status = std::atoi(frames_.c_str() + 9);
    frames_.erase(0, frames_.find("\r\n\r\n") + 4);
    return status;
  }
  /// The next message of a websocket; control frames are left out.
  std::string message() {
    for (;;) {
      while (frames_.size() < 2) more(frames_);
      std::size_t head = 2, size = static_cast<unsigned char>(frames_[1]) & 127;
      std::size_t wide = size == 126 ? 2 : size == 127 ? 8 : 0;
      while (frames_.size() < head + wide) more(frames_);
      if (wide) size = 0;
      for (std::size_t i = 0; i < wide; i++) size = size << 8 | static_cast<unsigned char>(frames_[head + i]);
      head += wide;
      while (frames_.size() < head + size) more(frames_);
      auto text = frames_.substr(head, size);
      bool control = frames_[0] & 8;
      frames_.erase(0, head + size);
      if (!control) return text;
    }
  }

private:
  void more(std::string &in) {
    char buffer[16384];
    int n = SSL_read(ssl_, buffer, sizeof buffer);
    REQUIRE(n > 0);
    in.append(buffer, static_cast<std::size_t>(n));
  }
  std::string frames_;
  SSL_CTX *ctx_;
  SSL *ssl_ = nullptr;
  int fd_ = -1;
  bool connected_ = false;
};

inline int free_port() {
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

  explicit Served(const std::string &uri = {}) {
    host = std::make_unique<Host>(Host::open(uri.empty() ? "embed://" + dir + "/state" : uri));
    port = free_port();
    ask("PATCH", "/1.0", {{"config", {{"core.https_address", "127.0.0.1:" + std::to_string(port)}}}});
    ServerOptions options;
    if (!uri.empty()) options.certificate_directory = options.spool_directory = dir;
    server = std::make_unique<Server>(*host, options);
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
  /// A client that is let into one project.
  rest::KeyPair tenant(const std::string &name, const std::string &project) {
    auto pair = rest::make_key_pair(name, {});
    ask("POST", "/1.0/certificates", {{"type", "client"}, {"name", name}, {"certificate", pair.certificate}, {"restricted", true}, {"projects", {project}}});
    return pair;
  }
  /// The devices of an instance, on a pool that is made for it.
  json::value root() {
    ask("POST", "/1.0/storage-pools", {{"name", "pool"}, {"driver", "dir"}});
    return {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "pool"}}}};
  }
  /// Does it and waits for its end; the operation as it was begun.
  json::value done(const std::string &path, const json::value &body) {
    auto begun = ask("POST", path, body);
    auto end = ask("GET", "/1.0/operations/" + std::string(begun.at("id").as_string()) + "/wait?timeout=60");
    CHECK(end.at("status_code").as_int64() == 200);
    return begun;
  }
  /// An image that nobody else has, in a project.
  std::string image(const std::string &project, const std::string &mark, bool open) {
    auto path = dir + "/" + mark + ".tar";
    std::ofstream(path) << testing::Tar().file("metadata.yaml", "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  mark: " + mark + "\n").dir("rootfs/").str();
    api::Request q;
    q.query["project"] = project;
    q.body = {{"public", open}, {"aliases", json::array{json::object{{"name", mark}}}}};
    q.streams.push_back({"image", base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))});
    auto op = host->session()->perform(api::RowId::images_post, std::move(q)).operation;
    op->wait(std::chrono::seconds(60));
    op->rethrow();
    auto id = ask("GET", "/1.0/images/aliases/" + mark + "?project=" + project).at("target");
    return std::string(id.as_string());
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

/// The text of an answer without what the client itself had said.
inline std::string without(std::string text, const std::vector<std::string> &said) {
  for (auto &word : said)
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word)) text.replace(at, word.size(), "X");
  return text;
}

} // namespace trust_room
