// SPDX-License-Identifier: Apache-2.0
#include "helper/files/enter.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/unpack/common.hpp"
#include "helper/unpack/sandbox.hpp"
#include "helper/unpack/userns.hpp"

namespace incus::files {

namespace {

std::string failure(const std::string &what) { return what + ": " + std::strerror(errno); }

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
  return unpack::become_root();
}

std::string enter_directory(const std::string &path, const std::vector<std::string> &map) {
  int ns = -1;
  if (!map.empty() && (ns = unpack::user_namespace(map)) < 0) return failure("cannot make a user namespace of the guest's ids");
  int dir = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (dir < 0) return failure("cannot open " + path);
  if (auto e = make_root(dir); !e.empty()) return e;
  ::close(dir);
  if (ns < 0) return unpack::become_root();
  if (::setns(ns, CLONE_NEWUSER) < 0) return failure("cannot take the guest's ids");
  ::close(ns);
  return unpack::become_root();
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
  return unpack::become_root();
}

} // namespace incus::files
