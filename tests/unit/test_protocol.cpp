// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "helper/protocol.hpp"
#include "sys/process.hpp"

using namespace incus;
using helper::Message;

TEST_CASE("messages arrive as they were sent, descriptors included") {
  auto [a, b] = sys::seqpacket_pair();
  int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  Message m{7, {"", "text", std::string("\0\n", 2), std::string(100000, 'x')}, {null, null}};
  REQUIRE(helper::send_message(a.get(), m) == 0);
  Message r;
  REQUIRE(helper::receive_message(b.get(), r) == 0);
  CHECK(r.op == 7);
  CHECK(r.args == m.args);
  REQUIRE(r.fds.size() == 2);
  struct stat x, y;
  CHECK(::fstat(null, &x) == 0);
  CHECK(::fstat(r.fds[1], &y) == 0);
  CHECK(x.st_rdev == y.st_rdev);
  CHECK((::fcntl(r.fds[0], F_GETFD) & FD_CLOEXEC) != 0);
  for (int fd : r.fds) ::close(fd);
  ::close(null);
  a.reset();
  CHECK(helper::receive_message(b.get(), r) == -1);
}

TEST_CASE("what is too large or damaged is refused") {
  auto [a, b] = sys::seqpacket_pair();
  CHECK(helper::send_message(a.get(), {1, {std::string(helper::max_message, 'x')}, {}}) == EMSGSIZE);
  CHECK(helper::send_message(a.get(), {1, {}, std::vector<int>(helper::max_fds + 1, 0)}) == EMSGSIZE);
  Message good{1, {"ab"}, {}}, r;
  REQUIRE(helper::send_message(a.get(), good) == 0);
  char bytes[256];
  auto n = ::recv(b.get(), bytes, sizeof bytes, 0);
  REQUIRE(n == 4 * 4 + 2);
  for (ssize_t cut = 1; cut < n; cut++) {
    REQUIRE(::send(a.get(), bytes, static_cast<std::size_t>(cut), 0) == cut);
    CHECK(helper::receive_message(b.get(), r) == EPROTO);
  }
  bytes[0]++; // another version
  REQUIRE(::send(a.get(), bytes, static_cast<std::size_t>(n), 0) == n);
  CHECK(helper::receive_message(b.get(), r) == EPROTO);
  bytes[0]--;
  std::memset(bytes + 12, 0xff, 4); // a string longer than the message
  REQUIRE(::send(a.get(), bytes, static_cast<std::size_t>(n), 0) == n);
  CHECK(helper::receive_message(b.get(), r) == EPROTO);
}
