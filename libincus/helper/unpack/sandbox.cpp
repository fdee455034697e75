// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/sandbox.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "helper/unpack/common.hpp"
#include "helper/unpack/userns.hpp"

// The C library's sys/mount.h of Debian 12 has these; they are called directly so that older headers do too.
namespace incus::unpack {

namespace {

[[noreturn]] void cannot(const char *what) {
  int err = errno;
  std::string text = std::string("cannot ") + what + " for unpacking";
  if (err == EPERM) text += " (this needs root with CAP_SYS_ADMIN)";
  fail_errno(err, text);
}

int sys_open_tree(int fd, const char *path, unsigned flags) { return static_cast<int>(::syscall(SYS_open_tree, fd, path, flags)); }

void restrict_tree(int tree, std::uint64_t set) {
  struct mount_attr a {};
  a.attr_set = set;
  if (::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof a) < 0) cannot("restrict a mount");
}

void attach(int tree, const char *to) {
  if (::syscall(SYS_move_mount, tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0) cannot("attach a mount");
}

int open_path(const std::string &path) {
  int fd = ::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) fail_errno(errno, "cannot open " + quoted(path));
  return fd;
}

/// A directory that is surely there to mount on; the mount hides it from nobody else.
const char *place() {
  for (const char *d : {"/tmp", "/run", "/proc", "/dev", "/mnt"}) {
    struct stat st;
    if (::stat(d, &st) == 0 && S_ISDIR(st.st_mode)) return d;
  }
  fail("internal", "none of /tmp, /run, /proc, /dev and /mnt is there");
}

void make_root_of(const char *mountpoint) {
  if (::chdir(mountpoint) < 0) cannot("enter the new root");
  if (::syscall(SYS_pivot_root, ".", ".") == 0) {
    if (::umount2(".", MNT_DETACH) < 0) cannot("leave the old root");
  } else {
    // The root of an initial ramdisk cannot be pivoted away from, only be covered.
    if (errno != EINVAL || ::mount(".", "/", nullptr, MS_MOVE, nullptr) < 0 || ::chroot(".") < 0) cannot("change the root");
  }
  if (::chdir("/") < 0) cannot("enter the new root");
}

void show_tools(const std::string &root) {
  for (const char *name : {"usr", "lib", "lib64", "lib32", "bin", "sbin"}) {
    std::string from = std::string("/") + name, to = root + from;
    struct stat st;
    if (::lstat(from.c_str(), &st) < 0) continue;
    if (S_ISLNK(st.st_mode)) {
      char target[256];
      ssize_t n = ::readlink(from.c_str(), target, sizeof target - 1);
      if (n > 0) {
        target[n] = 0;
        (void)!::symlink(target, to.c_str());
      }
      continue;
    }
    int tree = sys_open_tree(AT_FDCWD, from.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || ::mkdir(to.c_str(), 0755) < 0) cannot("show programs");
    restrict_tree(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    attach(tree, to.c_str());
    ::close(tree);
  }
}

} // namespace

void enter(int directory, bool readonly, bool tools) {
  int tree = -1;
  if (directory >= 0) {
    // Cloned before the namespace is left: a mount can only be cloned in its own.
    tree = sys_open_tree(directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0) cannot("clone the target's mount");
    // Device nodes made here cannot be opened here, programs not run.
    restrict_tree(tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (readonly ? MOUNT_ATTR_RDONLY : 0u));
  }
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0) {
    if (errno == EPERM && directory < 0) return; // nothing but reading is done then
    cannot("make namespaces");
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) cannot("make mounts private");
  std::string at = place();
  if (directory < 0 || tools) {
    if (::mount("none", at.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0) cannot("mount a tmpfs");
    if (tools) {
      show_tools(at);
      for (const char *d : {"/target", "/proc"})
        if (::mkdir((at + d).c_str(), 0755) < 0) cannot("prepare a root");
      attach(tree, (at + "/target").c_str());
    }
    // procfs is mounted later, by the process that has its own pids; the mount point must be there before this becomes read-only.
    if (::mount(nullptr, at.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) < 0) cannot("mount a tmpfs");
  } else {
    attach(tree, at.c_str());
  }
  if (tree >= 0) ::close(tree);
  make_root_of(at.c_str());
}

void enter(const Composition &c) {
  int ns = -1;
  if (!c.map.empty() && (ns = user_namespace(c.map)) < 0) cannot("make a user namespace");
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0) cannot("make namespaces");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) cannot("make mounts private");
  // Opened here: what stands for a layer must be of this namespace.
  bool layers = c.rootfs.empty();
  int low = layers ? open_path(c.lower) : -1, up = layers ? open_path(c.upper) : -1, dir = layers ? -1 : open_path(c.rootfs);
  int own = ::open((c.volume + "/templates").c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); // need not be there
  std::string at = place();
  if (::mount("none", at.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=4m") < 0) cannot("mount a tmpfs");
  uid_t uid = mapped_root(c.map, 'u');
  gid_t gid = mapped_root(c.map, 'g');
  auto rootfs = at + "/rootfs", metadata = at + "/metadata.yaml", templates = at + "/templates";
  int text = ::open(metadata.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (text < 0) cannot("write metadata.yaml");
  char piece[4096];
  off_t offset = 0;
  for (ssize_t n; (n = ::pread(c.metadata, piece, sizeof piece, offset)) > 0; offset += n)
    if (::write(text, piece, static_cast<std::size_t>(n)) != n) cannot("write metadata.yaml");
  if (::fchown(text, uid, gid) < 0) cannot("write metadata.yaml");
  ::close(text);
  if (::mkdir(rootfs.c_str(), 0755) < 0) cannot("prepare a root");
  if (own >= 0) {
    int tree = sys_open_tree(own, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0 || ::mkdir(templates.c_str(), 0755) < 0) cannot("show the templates");
    restrict_tree(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    attach(tree, templates.c_str());
    ::close(tree);
    ::close(own);
  }
  if (layers) {
    char options[128];
    std::snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d:/proc/self/fd/%d", up, low);
    if (::mount("overlay", rootfs.c_str(), "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0) cannot("put layers together");
    ::close(low);
    ::close(up);
  } else {
    int tree = sys_open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0) cannot("clone the root");
    restrict_tree(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    attach(tree, rootfs.c_str());
    ::close(tree);
    ::close(dir);
  }
  if (::mount(nullptr, at.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) cannot("mount a tmpfs");
  make_root_of(at.c_str());
  if (ns < 0) return;
  if (::setns(ns, CLONE_NEWUSER) < 0) cannot("take the guest's ids");
  ::close(ns);
  if (auto problem = become_root(); !problem.empty()) fail("internal", problem);
}

int open_below(int dir, const std::string &path, bool only_path) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(only_path ? O_PATH : O_RDONLY) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = (dir == AT_FDCWD ? 0 : RESOLVE_BENEATH) | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how));
}

namespace {
constexpr std::uint64_t guarded = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

void small_root(const std::string &at) {
  if (::mount("none", at.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=4m") < 0) cannot("mount a tmpfs");
}
void close_root(const std::string &at) {
  if (::mount(nullptr, at.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) cannot("mount a tmpfs");
  make_root_of(at.c_str());
}
void make_directory(const std::string &path) {
  if (::mkdir(path.c_str(), 0755) < 0) cannot("prepare a root");
}
} // namespace

void enter(const std::string &pool, const std::vector<Layers> &layers) {
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0) cannot("make namespaces");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) cannot("make mounts private");
  // Opened here: what stands for a layer must be of this namespace.
  int dir = ::open(pool.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) fail_errno(errno, "cannot open the storage pool's directory " + quoted(pool));
  std::string at = place();
  small_root(at);
  for (auto *d : {"/pool", "/layers"}) make_directory(at + d);
  for (std::size_t i = 0; i < layers.size(); i++) {
    if (layers[i].upper.empty()) continue;
    int low = open_below(dir, layers[i].lower, true), up = low < 0 ? -1 : open_below(dir, layers[i].upper, true);
    if (up < 0) fail_errno(errno, "cannot open a layer of " + quoted(layers[i].upper));
    char options[128];
    std::snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d:/proc/self/fd/%d", up, low);
    auto to = at + "/layers/" + std::to_string(i);
    make_directory(to);
    if (::mount("overlay", to.c_str(), "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0) cannot("put layers together");
    ::close(low);
    ::close(up);
  }
  int tree = sys_open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
  if (tree < 0) cannot("clone the pool's mount");
  restrict_tree(tree, guarded | MOUNT_ATTR_RDONLY);
  attach(tree, (at + "/pool").c_str());
  ::close(tree);
  ::close(dir);
  close_root(at);
}

void enter(int volume, int snapshots) {
  int trees[2] = {-1, -1};
  for (int i = 0; i < 2; i++) {
    int fd = i ? snapshots : volume;
    if (fd < 0) continue;
    trees[i] = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (trees[i] < 0) cannot("clone the target's mount");
    restrict_tree(trees[i], guarded);
  }
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0) cannot("make namespaces");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) cannot("make mounts private");
  std::string at = place();
  small_root(at);
  for (int i = 0; i < 2; i++) {
    auto to = at + (i ? "/snapshots" : "/volume");
    make_directory(to);
    if (trees[i] < 0) continue;
    attach(trees[i], to.c_str());
    ::close(trees[i]);
  }
  close_root(at);
}

void drop_privileges(Keep keep) {
  rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) cannot("give up privileges");
  std::uint64_t kept = 0;
  auto add = [&](int cap) { kept |= std::uint64_t(1) << cap; };
  if (keep != Keep::nothing) {
    add(CAP_DAC_OVERRIDE);
    add(CAP_DAC_READ_SEARCH);
    add(CAP_FOWNER);
  }
  if (keep == Keep::send) add(CAP_SYS_ADMIN);
  if (keep == Keep::write) {
    add(CAP_CHOWN);
    add(CAP_FSETID);
    add(CAP_MKNOD);
    add(CAP_SETFCAP);
  }
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &head, data) < 0) cannot("read capabilities");
  std::uint64_t have = data[0].permitted | std::uint64_t(data[1].permitted) << 32;
  if (have & (std::uint64_t(1) << CAP_SETPCAP))
    for (int cap = 0; cap < 64; cap++)
      if (!(kept >> cap & 1)) ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); // unknown ones fail, which is right
  have &= kept;
  for (int i = 0; i < 2; i++) {
    data[i].permitted = data[i].effective = static_cast<std::uint32_t>(have >> (32 * i));
    data[i].inheritable = 0;
  }
  if (::syscall(SYS_capset, &head, data) < 0) cannot("give up capabilities");
}

void die_with(int sock) {
  std::thread([sock] {
    for (;;) {
      pollfd p{sock, POLLRDHUP, 0};
      if (::poll(&p, 1, -1) > 0 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL))) ::_exit(1);
    }
  }).detach();
}

} // namespace incus::unpack
