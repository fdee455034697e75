// SPDX-License-Identifier: Apache-2.0
#include "helper/files/enter.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper/unpack/common.hpp"
#include "helper/unpack/sandbox.hpp"

namespace incus::files {

namespace {

std::string failure(const std::string &what) { return what + ": " + std::strerror(errno); }

std::string become_root() {
  if (::setgroups(0, nullptr) < 0 && errno != EPERM) return failure("cannot drop groups");
  if (::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0) return failure("cannot become the guest's root");
  return "";
}

bool write_file(const char *path, const std::string &text) {
  int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return ok;
}

/// A user namespace with the guest's map, in which owners on disk show as the guest's.
int user_namespace(const std::vector<std::string> &map) {
  std::string uids, gids;
  for (auto &line : map) {
    unsigned long host = 0, guest = 0, count = 0;
    char kind = 0;
    if (std::sscanf(line.c_str(), "%c %lu %lu %lu", &kind, &host, &guest, &count) != 4) continue;
    (kind == 'u' ? uids : gids) += std::to_string(guest) + " " + std::to_string(host) + " " + std::to_string(count) + "\n";
  }
  int sync[2];
  if (::pipe2(sync, O_CLOEXEC) < 0) return -1;
  pid_t pid = ::fork();
  if (pid == 0) {
    char c = ::unshare(CLONE_NEWUSER) == 0 ? 0 : static_cast<char>(errno);
    (void)!::write(sync[1], &c, 1);
    for (;;) ::pause();
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

std::string make_root(int dirfd) {
  try {
    unpack::enter(dirfd, false);
  } catch (const unpack::Failure &f) {
    return f.text;
  }
  return "";
}

} // namespace

std::string enter_guest(int pidfd) {
  // A privileged guest shares this process' user namespace, which cannot be entered again.
  if (::setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS) < 0) {
    if (errno != EINVAL || ::setns(pidfd, CLONE_NEWNS) < 0) return failure("cannot enter the guest's namespaces");
  }
  if (::chdir("/") < 0) return failure("cannot enter the guest's root");
  return become_root();
}

std::string enter_directory(const std::string &path, const std::vector<std::string> &map) {
  int ns = -1;
  if (!map.empty() && (ns = user_namespace(map)) < 0) return failure("cannot make a user namespace of the guest's ids");
  int dir = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (dir < 0) return failure("cannot open " + path);
  if (auto e = make_root(dir); !e.empty()) return e;
  ::close(dir);
  if (ns < 0) return become_root();
  if (::setns(ns, CLONE_NEWUSER) < 0) return failure("cannot take the guest's ids");
  ::close(ns);
  return become_root();
}

std::string enter_overlay(const std::string &lower, const std::string &upper, const std::string &work) {
  if (::unshare(CLONE_NEWNS) < 0) return failure("cannot make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) return failure("cannot detach the mount namespace");
  // By descriptor, so that no character of a path is one of the option's own.
  int low = ::open(lower.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), up = ::open(upper.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
      tmp = ::open(work.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (low < 0 || up < 0 || tmp < 0) return failure("cannot open the layers of " + upper);
  char options[200];
  std::snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d,index=off,metacopy=off,redirect_dir=off", low, up, tmp);
  if (::mount("overlay", "/tmp", "overlay", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0) return failure("cannot put the layers of " + upper + " together");
  int dir = ::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return failure("cannot open the root");
  if (auto e = make_root(dir); !e.empty()) return e;
  for (int fd : {low, up, tmp, dir}) ::close(fd);
  return become_root();
}

} // namespace incus::files
