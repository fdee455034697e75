// SPDX-License-Identifier: Apache-2.0
// Messages between the engine and its helpers over SOCK_SEQPACKET. Header-only and free of dependencies, because the helper links
// nothing but liblxc. A message is: u32 version, u32 opcode, u32 count, then count strings as u32 length and bytes; descriptors travel as
// SCM_RIGHTS. Both ends come from one build; a version that differs is refused.
#pragma once
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace incus::helper {

inline constexpr std::uint32_t protocol_version = 2;
inline constexpr std::size_t max_message = 200 * 1024;
inline constexpr int max_fds = 16;

struct Message {
  std::uint32_t op = 0;
  std::vector<std::string> args;
  std::vector<int> fds; ///< received ones belong to the receiver
};

/// Returns 0 or an errno.
inline int send_message(int sock, const Message &m) {
  std::string b;
  auto u32 = [&](std::uint32_t v) { b.append(reinterpret_cast<const char *>(&v), 4); };
  u32(protocol_version);
  u32(m.op);
  u32(static_cast<std::uint32_t>(m.args.size()));
  for (auto &a : m.args) {
    u32(static_cast<std::uint32_t>(a.size()));
    b += a;
  }
  if (b.size() > max_message || m.fds.size() > max_fds) return EMSGSIZE;
  iovec io{b.data(), b.size()};
  msghdr h{};
  h.msg_iov = &io;
  h.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * max_fds)];
  if (!m.fds.empty()) {
    std::memset(control, 0, sizeof control);
    h.msg_control = control;
    h.msg_controllen = CMSG_SPACE(sizeof(int) * m.fds.size());
    cmsghdr *c = CMSG_FIRSTHDR(&h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * m.fds.size());
    std::memcpy(CMSG_DATA(c), m.fds.data(), sizeof(int) * m.fds.size());
  }
  for (;;) {
    if (::sendmsg(sock, &h, MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

/// Returns 0, an errno, or -1 at end of file.
inline int receive_message(int sock, Message &m) {
  std::string b(max_message, '\0');
  iovec io{b.data(), b.size()};
  msghdr h{};
  h.msg_iov = &io;
  h.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * max_fds)];
  h.msg_control = control;
  h.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return errno;
  m = {};
  for (cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      m.fds.resize(count);
      std::memcpy(m.fds.data(), CMSG_DATA(c), count * sizeof(int));
    }
  if (n == 0) return -1;
  std::size_t at = 0, size = static_cast<std::size_t>(n);
  bool ok = true;
  auto u32 = [&]() -> std::uint32_t {
    std::uint32_t v = 0;
    if (size - at < 4) {
      ok = false;
      return 0;
    }
    std::memcpy(&v, b.data() + at, 4);
    at += 4;
    return v;
  };
  if (u32() != protocol_version) ok = false;
  m.op = u32();
  std::uint32_t count = u32();
  for (std::uint32_t i = 0; ok && i < count; i++) {
    std::uint32_t len = u32();
    if (!ok || size - at < len) {
      ok = false;
      break;
    }
    m.args.emplace_back(b.data() + at, len);
    at += len;
  }
  if (ok && !(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) return 0;
  for (int fd : m.fds) ::close(fd);
  m = {};
  return EPROTO;
}

} // namespace incus::helper
