// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include "daemon.hpp"

namespace incusd {

void notify(const std::string &state) {
  const char *path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un a{};
  if (!path || (path[0] != '/' && path[0] != '@') || std::strlen(path) >= sizeof a.sun_path) return;
  int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path, std::strlen(path));
  if (path[0] == '@') a.sun_path[0] = '\0';
  ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr *>(&a),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path)));
  ::close(fd);
}

std::vector<int> inherited_sockets() {
  std::vector<int> out;
  const char *pid = std::getenv("LISTEN_PID"), *count = std::getenv("LISTEN_FDS");
  if (pid && count && std::atoi(pid) == ::getpid())
    for (int i = 0; i < std::atoi(count) && i < 64; i++) {
      ::fcntl(3 + i, F_SETFD, FD_CLOEXEC);
      out.push_back(3 + i);
    }
  for (auto *name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  return out;
}

} // namespace incusd
