// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/userns.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace incus::unpack {

namespace {

struct Line {
  char kind = 0;
  unsigned long host = 0, guest = 0, count = 0;
  explicit Line(const std::string &text) {
    if (std::sscanf(text.c_str(), "%c %lu %lu %lu", &kind, &host, &guest, &count) != 4) kind = 0;
  }
};

bool write_file(const char *path, const std::string &text) {
  int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  int e = errno;
  ::close(fd);
  errno = e;
  return ok;
}

} // namespace

int user_namespace(const std::vector<std::string> &map) {
  std::string uids, gids;
  for (auto &text : map) {
    Line l(text);
    if (l.kind) (l.kind == 'u' ? uids : gids) += std::to_string(l.guest) + " " + std::to_string(l.host) + " " + std::to_string(l.count) + "\n";
  }
  int sync[2];
  if (::pipe2(sync, O_CLOEXEC) < 0) return -1;
  pid_t pid = ::fork();
  if (pid == 0) {
    // It goes with its parent, whenever that is killed: before the write for want of a reader.
    ::close(sync[0]);
    char c = ::unshare(CLONE_NEWUSER) == 0 ? 0 : static_cast<char>(errno);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::write(sync[1], &c, 1) == 1)
      for (;;) ::pause();
    ::_exit(1);
  }
  char c = EAGAIN;
  int fd = -1;
  if (pid > 0 && ::read(sync[0], &c, 1) == 1 && c == 0) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    bool ok = write_file(path, uids);
    std::snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    ok = ok && write_file(path, gids);
    std::snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    if (ok) fd = ::open(path, O_RDONLY | O_CLOEXEC);
  }
  int e = c ? c : errno;
  ::close(sync[0]);
  ::close(sync[1]);
  if (pid > 0) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  errno = e;
  return fd;
}

std::string become_root() {
  if (::setgroups(0, nullptr) < 0 && errno != EPERM) return std::string("cannot drop groups: ") + std::strerror(errno);
  if (::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0) return std::string("cannot become the guest's root: ") + std::strerror(errno);
  return "";
}

unsigned mapped_root(const std::vector<std::string> &map, char kind) {
  for (auto &text : map) {
    Line l(text);
    if (l.kind == kind && l.guest == 0) return static_cast<unsigned>(l.host);
  }
  return 0;
}

} // namespace incus::unpack
