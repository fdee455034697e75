// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/io_context.hpp>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "rest/websocket.hpp"

using namespace incus;
namespace asio = boost::asio;

namespace {
/// A websocket of a server, and the client's end as a bare descriptor.
struct Pair {
  asio::io_context io;
  base::Fd client;
  std::shared_ptr<rest::Socket> socket;
  Pair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    client.reset(fds[1]);
    rest::Stream::Socket s(io, asio::generic::stream_protocol(AF_UNIX, 0), fds[0]);
    s.non_blocking(true);
    socket = std::make_shared<rest::Socket>(rest::Stream(std::move(s)), nullptr);
  }
  static rest::Socket::Request request() {
    rest::Socket::Request r(boost::beast::http::verb::get, "/1.0/events", 11);
    r.set("Host", "h");
    r.set("Connection", "Upgrade");
    r.set("Upgrade", "websocket");
    r.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
    r.set("Sec-WebSocket-Version", "13");
    return r;
  }
  /// What the server sent so far.
  std::string seen() {
    char b[4096];
    auto n = ::recv(client.get(), b, sizeof b, MSG_DONTWAIT);
    return n > 0 ? std::string(b, static_cast<std::size_t>(n)) : std::string();
  }
  void run() {
    io.restart();
    while (io.poll_one()) {
    }
  }
};
const std::string close_1001("\x88\x02\x03\xe9", 4);
// Masked, with a mask of zeros.
const std::string answer_1001("\x88\x82\0\0\0\0\x03\xe9", 8);
} // namespace

TEST_CASE("a websocket: a close while it opens waits for the opening") {
  Pair p;
  int opened = 0, gone = 0;
  p.socket->accept(Pair::request(), [&](boost::system::error_code ec) {
    CHECK(!ec);
    opened++;
    p.socket->read([](std::string_view, bool) {}, [&] { gone++; });
  });
  p.socket->send("early", true);
  p.socket->close(1001);
  CHECK(p.socket->closed());
  p.run();
  CHECK(opened == 1);
  auto seen = p.seen();
  auto head = seen.find("\r\n\r\n");
  REQUIRE(head != std::string::npos);
  CHECK(seen.starts_with("HTTP/1.1 101 "));
  CHECK(seen.substr(head + 4) == std::string("\x81\x05""early") + close_1001);
  CHECK(gone == 0);
  REQUIRE(::send(p.client.get(), answer_1001.data(), answer_1001.size(), MSG_NOSIGNAL) == 8);
  p.run();
  CHECK(gone == 1);
  char b;
  CHECK(::recv(p.client.get(), &b, 1, MSG_DONTWAIT) == 0);
}

TEST_CASE("a websocket: what is dropped while it opens is told as an opening that failed") {
  Pair p;
  int told = 0;
  bool failed = false, then = false;
  p.socket->accept(Pair::request(), [&](boost::system::error_code ec) {
    told++;
    failed = bool(ec);
  });
  p.socket->send("never", true, [&] { then = true; });
  p.socket->drop();
  p.run();
  CHECK(told == 1);
  CHECK(failed);
  CHECK(then); // who waits finds out
  CHECK(p.socket.use_count() == 1);
}

TEST_CASE("a websocket: messages that wait go before the close, in order") {
  Pair p;
  int sent = 0;
  p.socket->accept(Pair::request(), [&](boost::system::error_code ec) { CHECK(!ec); });
  p.run();
  p.seen();
  for (const char *m : {"a", "b"}) p.socket->send(m, true, [&] { sent++; });
  p.socket->close();
  p.socket->send("c", true, [&] { sent++; });
  p.run();
  CHECK(sent == 3);
  CHECK(p.seen() == std::string("\x81\x01""a\x81\x01""b\x88\x02\x03\xe8"));
  p.client.reset();
  p.run();
  CHECK(p.socket.use_count() == 1);
}
