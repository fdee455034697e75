// SPDX-License-Identifier: Apache-2.0
// The remote door against a server that says exactly what the test wants, also what no honest server says.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <functional>
#include <mutex>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <incus/incus.hpp>

#include "api/call.hpp"
#include "base/fd.hpp"
#include "remote/multipart.hpp"
#include "remote/target.hpp"
#include "remote/tls.hpp"

using namespace incus;
using namespace std::chrono_literals;

namespace {

/// Answers each request with the bytes that the script gives for it; "" closes the connection.
class FakeServer {
public:
  using Script = std::function<std::string(const std::string &method, const std::string &target, const std::string &body)>;
  explicit FakeServer(Script script) : script_(std::move(script)) {
    std::string dir = (std::filesystem::temp_directory_path() / "incus-fake.XXXXXX").string();
    REQUIRE(::mkdtemp(dir.data()));
    dir_ = dir;
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::strncpy(a.sun_path, path().c_str(), sizeof a.sun_path - 1);
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr *>(&a), sizeof a) == 0);
    REQUIRE(::listen(listener_.get(), 16) == 0);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~FakeServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard lock(mutex_);
      for (int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (auto &t : threads_) t.join();
    std::filesystem::remove_all(dir_);
  }
  std::string path() const { return dir_ + "/s"; }
  std::string uri() const { return "unix://" + path(); }
  int connections() const { return connections_; }

private:
  void accept_all() {
    for (;;) {
      base::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) return;
      connections_++;
      std::lock_guard lock(mutex_);
      open_.push_back(fd.get());
      threads_.emplace_back([this, fd = std::move(fd)]() mutable { serve(std::move(fd)); });
    }
  }
  void serve(base::Fd fd) {
    std::string in;
    auto more = [&] {
      char buf[4096];
      auto n = ::recv(fd.get(), buf, sizeof buf, 0);
      if (n > 0) in.append(buf, static_cast<std::size_t>(n));
      return n > 0;
    };
    for (;;) {
      std::size_t end;
      while ((end = in.find("\r\n\r\n")) == in.npos)
        if (!more()) return close(std::move(fd));
      auto head = in.substr(0, end);
      in.erase(0, end + 4);
      std::size_t length = 0;
      if (auto at = head.find("Content-Length: "); at != head.npos) length = std::strtoul(head.c_str() + at + 16, nullptr, 10);
      std::string body;
      if (head.find("chunked") != head.npos) {
        while (in.find("0\r\n\r\n") == in.npos)
          if (!more()) return close(std::move(fd));
        body = std::exchange(in, {});
      } else {
        while (in.size() < length)
          if (!more()) return close(std::move(fd));
        body = in.substr(0, length);
        in.erase(0, length);
      }
      auto space = head.find(' '), second = head.find(' ', space + 1);
      auto out = script_(head.substr(0, space), head.substr(space + 1, second - space - 1), body);
      bool over = out.empty() || out.find("Connection: close") != out.npos;
      for (std::size_t done = 0; done < out.size();) {
        auto n = ::send(fd.get(), out.data() + done, out.size() - done, MSG_NOSIGNAL);
        if (n <= 0) break;
        done += static_cast<std::size_t>(n);
      }
      if (over) return close(std::move(fd));
    }
  }
  void close(base::Fd fd) {
    std::lock_guard lock(mutex_);
    std::erase(open_, fd.get());
  }

  Script script_;
  std::string dir_;
  base::Fd listener_;
  std::thread acceptor_;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::atomic<int> connections_{0};
};

std::string http(int status, const std::string &body, const std::string &headers = "Content-Type: application/json\r\n") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
std::string sync(const std::string &metadata) {
  return http(200, R"({"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":)" + metadata + "}");
}
std::string error(int code, const std::string &text) {
  return http(code, R"({"type":"error","status":"","status_code":0,"operation":"","error_code":)" + std::to_string(code) + R"(,"error":")" + text + R"(","metadata":null})");
}
const std::string server = R"({"api_status":"stable","api_version":"1.0","auth":"trusted","config":{},"api_extensions":[]})";

std::string operation(const std::string &id, int code, const std::string &more = R"("metadata":null)") {
  return R"({"id":")" + id + R"(","class":"task","description":"Doing","status":"X","status_code":)" + std::to_string(code) + R"(,"err":"","may_cancel":false,)" + more + "}";
}
std::string async_answer(const std::string &op) {
  return http(202, R"({"type":"async","status":"Operation created","status_code":100,"operation":"/1.0/operations/x","metadata":)" + op + "}");
}
const std::string id = "6916c8a6-9b7d-4abd-90b3-aedfec7ec7da";

/// GET /1.0 is answered; the rest is the test's.
FakeServer::Script besides(FakeServer::Script script) {
  return [script = std::move(script)](auto &method, auto &target, auto &body) {
    if (method == "GET" && target == "/1.0") return sync(server);
    if (target.starts_with("/1.0/events")) return error(404, "no events here");
    return script(method, target, body);
  };
}

ErrorCode code_of(const std::function<void()> &f, std::string *text = nullptr) {
  try {
    f();
  } catch (const Error &e) {
    if (text) *text = e.what();
    return e.code();
  }
  return ErrorCode{};
}

} // namespace

TEST_CASE("remote: URIs") {
  CHECK(code_of([] { Host::open("unix:relative"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("https:host"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("https://"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("https://host:0"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("https://host:99999"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("https://a b"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("https://::1:8443"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("unix:///" + std::string(200, 'x')); }) == ErrorCode::invalid_argument);
  CHECK(code_of([] { Host::open("unix:///nonexistent/incus.socket"); }) == ErrorCode::unavailable);
  OpenOptions o;
  o.auto_destroy = true;
  CHECK(code_of([&] { Host::open("unix:///nonexistent/incus.socket", o); }) == ErrorCode::invalid_argument);
  std::string host, port;
  remote::parse_authority("[fe80::1]:1234", host, port);
  CHECK(host == "fe80::1");
  CHECK(port == "1234");
  remote::parse_authority("name", host, port);
  CHECK(host == "name");
  CHECK(port == "8443");
}

TEST_CASE("remote: a call's path, query, body, etag and errors") {
  std::string seen, sent;
  FakeServer fake(besides([&](auto &method, auto &target, auto &body) {
    seen = method + " " + target;
    sent = body;
    if (target.find("images/aliases") != std::string::npos) return sync(R"({"name":"a/b","target":"x"})");
    if (target.starts_with("/1.0/profiles/p")) return http(200, R"({"type":"sync","metadata":{"name":"p"}})", "Content-Type: application/json\r\nETag: \"abc\"\r\n");
    if (target.starts_with("/1.0/profiles/named")) return http(400, R"({"type":"error","error":"no","error_code":400})", "Content-Type: application/json\r\nX-Libincus-Error: conflict\r\n");
    return error(404, "Not there");
  }));
  auto host = Host::open(fake.uri());
  host.image_alias("a/b c?&");
  CHECK(seen == "GET /1.0/images/aliases/a%2Fb%20c%3F%26");
  Etag etag;
  CHECK(host.profile("p").info(&etag).name == "p");
  CHECK(etag == "\"abc\"");
  host.request("GET", "/1.0/profiles/p?project=x%26y");
  CHECK(seen == "GET /1.0/profiles/p?project=x%26y");
  host.request("PUT", "/1.0/profiles/p", R"({"description":"d"})");
  CHECK(sent == R"({"description":"d"})");
  std::string text;
  CHECK(code_of([&] { host.profile("q").info(); }, &text) == ErrorCode::not_found);
  CHECK(text == "Not there");
  CHECK(code_of([&] { host.profile("named").info(); }) == ErrorCode::conflict);
  // What would become another path never leaves.
  seen.clear();
  CHECK(code_of([&] { host.profile("..").info(); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { host.profile("").info(); }) == ErrorCode::invalid_argument);
  CHECK(seen.empty());
}

TEST_CASE("remote: connections are kept, and made anew when the server closed one") {
  std::atomic<int> calls{0};
  FakeServer fake(besides([&](auto &, auto &, auto &) {
    // Closes after each second answer without having said so.
    return ++calls % 2 ? sync("[]") : std::string("HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"type\":\"sync\",\"metadata\":[]}");
  }));
  auto host = Host::open(fake.uri());
  for (int i = 0; i < 10; i++) CHECK(host.profiles().empty());
  CHECK(fake.connections() <= 6);
}

TEST_CASE("remote: answers of no honest server") {
  std::mutex mutex; // a call may have failed before its connection's thread is done with the answer
  std::string text;
  auto answer = [&](const std::string &now) {
    std::lock_guard lock(mutex);
    text = now;
  };
  FakeServer fake(besides([&](auto &, auto &, auto &) {
    std::lock_guard lock(mutex);
    return text;
  }));
  auto host = Host::open(fake.uri());
  auto refused = [&](const std::string &bytes) {
    answer(bytes);
    return code_of([&] { host.profiles(); });
  };
  SUBCASE("no answer") { CHECK(refused("") == ErrorCode::unavailable); }
  SUBCASE("not HTTP") { CHECK(refused("SSH-2.0-x\r\n\r\nConnection: close\r\n\r\n") == ErrorCode::unavailable); }
  SUBCASE("early end of a body") {
    CHECK(refused("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{") == ErrorCode::unavailable);
  }
  SUBCASE("bad chunk") {
    CHECK(refused("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n") == ErrorCode::unavailable);
  }
  SUBCASE("a chunk that ends early") {
    CHECK(refused("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}\r\n") == ErrorCode::unavailable);
  }
  SUBCASE("a head without an end") {
    CHECK(refused("HTTP/1.1 200 OK\r\nConnection: close\r\nX: " + std::string(200000, 'x') + "\r\n\r\n") == ErrorCode::unavailable);
  }
  SUBCASE("more than can be taken") {
    CHECK(refused("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{") == ErrorCode::too_large);
  }
  SUBCASE("no JSON") { CHECK(refused(http(200, "<html>")) == ErrorCode::internal); }
  SUBCASE("JSON of another shape") {
    CHECK(refused(http(200, "[]")) == ErrorCode::internal);
    CHECK(refused(http(200, "{}")) == ErrorCode::internal);
    CHECK(refused(http(200, R"({"type":"other"})")) == ErrorCode::internal);
    CHECK(refused(sync(R"({"name":1})")) == ErrorCode::invalid_argument);
  }
  SUBCASE("too deep") { CHECK(refused(sync(std::string(5000, '[') + std::string(5000, ']'))) == ErrorCode::internal); }
  SUBCASE("an error that is no document") { CHECK(refused(http(503, "busy", "Content-Type: text/plain\r\n")) == ErrorCode::unavailable); }
  SUBCASE("a redirection is not followed") { CHECK(refused(http(302, "", "Location: http://example.com/\r\n")) == ErrorCode::internal); }
  // And the next call works.
  answer(sync("[]"));
  CHECK(host.profiles().empty());
}

TEST_CASE("remote: operations") {
  std::atomic<int> asked{0};
  std::string begun = async_answer(operation(id, 103)), end = sync(operation(id, 200));
  FakeServer fake(besides([&](auto &method, auto &target, auto &) {
    if (target == "/1.0/operations/" + id + "/wait" || target.starts_with("/1.0/operations/" + id + "/wait?")) {
      asked++;
      return end;
    }
    if (target == "/1.0/operations/" + id) return method == "DELETE" ? error(400, "Only running operations can be cancelled") : sync(operation(id, 103));
    return begun;
  }));
  auto host = Host::open(fake.uri());
  SUBCASE("success") {
    auto op = host.instance("c").start();
    CHECK(op.info().status_code == 103);
    CHECK(op.wait().status_code == 200);
    CHECK(op.wait().id == id);
    CHECK(asked == 1); // the end is kept
  }
  SUBCASE("failure with the name of its code") {
    end = sync(operation(id, 400, R"("metadata":null,"error_code":400,"error_name":"conflict","err":"it runs")"));
    std::string text;
    CHECK(code_of([&] { host.instance("c").start().wait(); }, &text) == ErrorCode::conflict);
    CHECK(text == "it runs");
  }
  SUBCASE("failure of a server that says no code") {
    end = sync(operation(id, 400, R"("metadata":null,"err":"The instance is already running")"));
    CHECK(code_of([&] { host.instance("c").start().wait(); }) == ErrorCode::conflict);
  }
  SUBCASE("cancel") { CHECK(code_of([&] { host.instance("c").start().cancel(); }) == ErrorCode::not_supported); }
  SUBCASE("an id that would be a path") {
    begun = async_answer(operation("../../x", 103));
    CHECK(code_of([&] { host.instance("c").start(); }) == ErrorCode::internal);
  }
  SUBCASE("an operation of another shape") {
    begun = async_answer(R"({"id":7})");
    CHECK(code_of([&] { host.instance("c").start(); }) == ErrorCode::internal);
    begun = async_answer("null");
    CHECK(code_of([&] { host.instance("c").start(); }) == ErrorCode::internal);
  }
  SUBCASE("a synchronous answer to an asynchronous row") {
    begun = sync("null");
    CHECK(host.instance("c").start().wait().status_code == 200);
  }
  SUBCASE("an operation as the answer to a synchronous row") {
    CHECK_NOTHROW(host.instance("c").patch({{"user.x", "1"}}));
    end = sync(operation(id, 400, R"("metadata":null,"err":"no")"));
    CHECK(code_of([&] { host.instance("c").patch({{"user.x", "1"}}); }) == ErrorCode::internal);
  }
}

TEST_CASE("remote: closing the host ends a call that waits") {
  std::atomic<bool> waiting{false}, go{false};
  FakeServer fake(besides([&](auto &, auto &target, auto &) {
    if (target.find("/wait") != std::string::npos) {
      waiting = true;
      while (!go) std::this_thread::sleep_for(1ms);
      return std::string();
    }
    return async_answer(operation(id, 103));
  }));
  auto host = Host::open(fake.uri());
  auto op = host.instance("c").start();
  ErrorCode code{};
  std::thread waiter([&] { code = code_of([&] { op.wait(); }); });
  while (!waiting) std::this_thread::sleep_for(1ms);
  host.close();
  waiter.join();
  go = true;
  CHECK(code == ErrorCode::unavailable);
  CHECK(code_of([&] { host.profiles(); }) == ErrorCode::unavailable);
}

TEST_CASE("remote: bytes of a stream row") {
  std::string answer;
  FakeServer fake(besides([&](auto &, auto &, auto &) { return answer; }));
  auto host = Host::open(fake.uri());
  auto fetch = [&](std::string *error_text = nullptr) {
    std::string all;
    auto reply = api::perform(host.session(), api::RowId::instance_log_get, api::at({"c", "lxc.log"}));
    REQUIRE(reply.bodies.size() == 1);
    char buf[65536];
    for (;;) {
      auto n = ::read(reply.bodies[0].fd.get(), buf, sizeof buf);
      if (n < 0 && error_text) *error_text = std::strerror(errno);
      if (n <= 0) break;
      all.append(buf, static_cast<std::size_t>(n));
    }
    return all;
  };
  SUBCASE("short") {
    answer = http(200, "text", "Content-Type: application/octet-stream\r\n");
    CHECK(fetch() == "text");
  }
  SUBCASE("long") {
    answer = http(200, std::string(3000000, 'x'), "Content-Type: application/octet-stream\r\n");
    std::string text;
    CHECK(fetch(&text).size() == 3000000);
    CHECK(text.empty());
  }
  SUBCASE("long and cut off: the reader is told") {
    answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n" + std::string(1000000, 'x');
    std::string text;
    CHECK(fetch(&text).size() <= 1000000);
    CHECK(text == std::strerror(ECONNRESET));
  }
  SUBCASE("a name from the server is no path") {
    answer = http(200, "x", "Content-Type: application/octet-stream\r\nContent-Disposition: inline;filename=\"../../etc/passwd\"\r\n");
    auto reply = api::perform(host.session(), api::RowId::instance_log_get, api::at({"c", "lxc.log"}));
    CHECK(reply.bodies.at(0).name == "passwd");
  }
}

TEST_CASE("remote: multipart") {
  auto parse = [](const std::string &text, std::size_t step) {
    std::size_t at = 0;
    remote::Multipart m(
        [&](char *to, std::size_t size) {
          auto n = text.copy(to, std::min(size, step), at);
          at += n;
          return n;
        },
        "b1");
    std::string out;
    while (m.next()) {
      out += "[" + m.name() + "," + m.file_name() + ":";
      char buf[7];
      while (auto n = m.read(buf, sizeof buf)) out.append(buf, n);
      out += "]";
    }
    return out;
  };
  std::string good = "--b1\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"m.tar\"\r\nX: y\r\n\r\none\r\n--b\r\n-two\r\n--b1\r\n"
                     "content-disposition: form-data; name=rootfs\r\n\r\n\r\n--b1--\r\n";
  for (std::size_t step : {1, 2, 3, 5, 100000}) CHECK(parse(good, step) == "[metadata,m.tar:one\r\n--b\r\n-two][rootfs,:]");
  for (std::size_t cut = 0; cut + 4 < good.size(); cut++) CHECK(code_of([&] { parse(good.substr(0, cut), 7); }) == ErrorCode::corrupt);
  CHECK(code_of([&] { parse("--b1\r\n" + std::string(100000, 'x'), 1000); }) == ErrorCode::corrupt);
  CHECK(remote::multipart_boundary("multipart/form-data; boundary=\"x y\"") == "x y");
  CHECK(remote::multipart_boundary("application/json") == "");
  CHECK(remote::harmless_name("a/../b\n") == "b");
  CHECK(remote::harmless_name("..") == "");
}

TEST_CASE("remote: certificates and tokens") {
  auto c = make_client_certificate("tester");
  CHECK(c.fingerprint.size() == 64);
  CHECK(remote::pem_fingerprint(c.certificate) == c.fingerprint);
  CHECK(code_of([] { make_client_certificate("two\nlines"); }) == ErrorCode::invalid_argument);
  OpenOptions o;
  o.client_certificate = c.certificate;
  CHECK(code_of([&] { remote::Tls t(o); }) == ErrorCode::invalid_argument);
  o.client_key = make_client_certificate("other").key;
  CHECK(code_of([&] { remote::Tls t(o); }) == ErrorCode::invalid_argument);
  o.client_key = c.key;
  o.server_certificate = c.certificate;
  CHECK(remote::Tls(o).pin() == c.fingerprint);
  o.server_certificate = "/nonexistent/server.crt";
  CHECK(code_of([&] { remote::Tls t(o); }) == ErrorCode::not_found);
  for (auto *bad : {"", "!!!!", "e30=", "bnVsbA=="}) CHECK(code_of([&] { remote::read_trust_token(bad); }) == ErrorCode::invalid_argument);
}
