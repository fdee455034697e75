// SPDX-License-Identifier: Apache-2.0
// Whether idmapped mounts work: by making one that is attached nowhere.
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <pthread.h>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "storage/driver.hpp"

namespace incus::storage {

using base::Fd;

namespace {

bool write_map(const std::string &path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  constexpr char map[] = "0 1000000 65536\n";
  return fd && ::write(fd.get(), map, sizeof map - 1) == static_cast<ssize_t>(sizeof map - 1);
}

/// A user namespace is had only from a process in it. The child reports no signal when it ends, so no wait() of the caller's sees it; it
/// runs nothing but two system calls with every signal blocked.
Fd user_namespace() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  Fd in(ends[0]), out(ends[1]), ns;
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_NEWUSER | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = 0;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    ::close(ends[1]);
    char c;
    // Ends with the pipe: also when this process is killed.
    while (::read(ends[0], &c, 1) < 0 && errno == EINTR) {
    }
    ::_exit(0);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return {};
  Fd child(pidfd);
  std::string proc = "/proc/" + std::to_string(pid);
  if (write_map(proc + "/uid_map") && write_map(proc + "/gid_map")) ns = Fd(::open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  out.reset();
  // Another process that was forked meanwhile may hold the pipe's end, too, and for long.
  ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  siginfo_t info;
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | __WCLONE) != 0 && errno == EINTR) {
  }
  return ns;
}

} // namespace

bool idmapped_mounts_work(int dirfd) noexcept try {
  Fd tree(static_cast<int>(::syscall(SYS_open_tree, dirfd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree) return false;
  Fd ns = user_namespace();
  if (!ns) return false;
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(ns.get());
  return ::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) == 0;
} catch (...) {
  return false;
}

} // namespace incus::storage
