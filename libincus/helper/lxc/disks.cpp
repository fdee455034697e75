// SPDX-License-Identifier: Apache-2.0
// Changes the mounts of a guest that runs: sources are opened and mapped out here, then put in place from within the guest's mount namespace,
// where every path, whatever the guest made of it, leads to something of the guest.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "helper/lxc/worker.hpp"
#include "helper/unpack/userns.hpp"

namespace incus::helper::lxc {

namespace {

struct Come {
  std::string device, source, target;
  bool recursive, shift, read_only, is_file, optional;
  int tree = -1;
  struct stat st {};
};

struct Root {
  unsigned uid = 0, gid = 0;
};

int in_root(int root, const std::string &path, int flags) {
  struct open_how how {};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how));
}

/// The lines of a running guest's id maps; none when it has no map of its own.
std::vector<std::string> map_of(int pid) {
  std::vector<std::string> out;
  for (char kind : {'u', 'g'}) {
    char path[64], line[128];
    std::snprintf(path, sizeof path, "/proc/%d/%cid_map", pid, kind);
    FILE *f = std::fopen(path, "re");
    if (!f) return {};
    unsigned long guest = 0, host = 0, count = 0;
    while (std::fscanf(f, "%lu %lu %lu", &guest, &host, &count) == 3) {
      if (guest == 0 && host == 0 && count >= 4294967295UL) continue;
      std::snprintf(line, sizeof line, "%c %lu %lu %lu", kind, host, guest, count);
      out.emplace_back(line);
    }
    std::fclose(f);
  }
  return out;
}

std::pair<std::string, std::string> parent(const std::string &path) {
  auto at = path.rfind('/');
  return at == path.npos ? std::pair{std::string(), path} : std::pair{path.substr(0, at), path.substr(at + 1)};
}

/// Opens the place of a mount, made as the guest's root would where it is missing.
int place(int root, const Come &c, const Root &owner) {
  for (std::size_t at = c.target.find('/');; at = c.target.find('/', at + 1)) {
    bool last = at == c.target.npos;
    auto path = c.target.substr(0, at);
    int fd = in_root(root, path, O_PATH);
    if (fd < 0 && errno == ENOENT) {
      auto [above, name] = parent(path);
      int dir = in_root(root, above, O_PATH | O_DIRECTORY);
      if (dir < 0) return -1;
      ::setfsgid(owner.gid);
      ::setfsuid(owner.uid);
      int r = 0;
      if (last && c.is_file) {
        r = ::openat(dir, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (r >= 0) ::close(r);
      } else {
        r = ::mkdirat(dir, name.c_str(), 0755);
      }
      int e = errno;
      ::setfsuid(0);
      ::setfsgid(0);
      raise_capabilities();
      ::close(dir);
      errno = e;
      if (r < 0 && errno != EEXIST) return -1;
      fd = in_root(root, path, O_PATH);
    }
    if (fd < 0 || last) return fd;
    ::close(fd);
  }
}

bool same(int fd, const struct stat &st) {
  struct stat here;
  return ::fstat(fd, &here) == 0 && here.st_dev == st.st_dev && here.st_ino == st.st_ino;
}

bool is_mount_root(int fd) {
  struct statx sx;
  return ::statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) == 0 && (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/// Nothing is mounted there any more: success, too.
bool remove_mount(int root, const std::string &target) {
  auto [above, name] = parent(target);
  int dir = in_root(root, above, O_PATH | O_DIRECTORY);
  if (dir < 0) return errno == ENOENT || errno == ENOTDIR;
  bool ok = ::fchdir(dir) == 0 && (::umount2(name.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT);
  int e = errno;
  ::close(dir);
  errno = e;
  return ok;
}

/// In the child of locked(): a namespace of mounts that is copied for a user namespace of fewer rights locks their flags, and a copy out of it keeps that.
int copy_locked(int tree, bool is_file, bool recursive) {
  std::string at = std::string(staging) + "/locked";
  if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) < 0) return -1;
  if (::mkdir(staging, 0755) < 0 && errno != EEXIST) return -1;
  if (::mount("tmpfs", staging, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0) return -1;
  int made = is_file ? ::open(at.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644) : ::mkdir(at.c_str(), 0755);
  if (made < 0 || ::syscall(SYS_move_mount, tree, "", AT_FDCWD, at.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0) return -1;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return -1;
  return open_tree_clone(at.c_str(), recursive);
}

/// The same mounts so that who is root of a lesser user namespace cannot take back that they are read-only. -1 with errno when it fails.
int locked(int tree, bool is_file, bool recursive) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -1;
  pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    int fd = copy_locked(tree, is_file, recursive);
    Message m{0, {std::to_string(fd < 0 ? errno : 0)}, {}};
    if (fd >= 0) m.fds.push_back(fd);
    send_message(ends[1], m);
    _exit(0);
  }
  ::close(ends[1]);
  Message m;
  int e = pid < 0 ? errno : receive_message(ends[0], m);
  ::close(ends[0]);
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  if (!e && m.fds.size() == 1) return m.fds[0];
  errno = e > 0 ? e : m.args.empty() ? EIO : std::atoi(m.args[0].c_str());
  return -1;
}

void open_sources(int reply, std::vector<Come> &all, int pid) {
  auto map = map_of(pid);
  int userns = -1;
  for (auto &c : all) {
    char *real = ::realpath(c.source.c_str(), nullptr);
    if (!real) {
      if (c.optional) continue;
      refuse_errno(reply, errno, "cannot find source " + c.source + " of device " + c.device);
    }
    c.tree = open_tree_clone(real, c.recursive);
    std::free(real);
    if (c.tree < 0 || ::fstat(c.tree, &c.st) < 0) refuse_errno(reply, errno, "cannot open source " + c.source + " of device " + c.device);
    // Nothing that the guest mounts below it shows on the host.
    struct mount_attr apart {};
    apart.propagation = MS_PRIVATE;
    if (::syscall(SYS_mount_setattr, c.tree, "", AT_EMPTY_PATH | (c.recursive ? AT_RECURSIVE : 0), &apart, sizeof apart) < 0)
      refuse_errno(reply, errno, "cannot set source " + c.source + " of device " + c.device + " apart");
    bool shift = c.shift && !map.empty();
    if (shift && userns < 0 && (userns = unpack::user_namespace(map)) < 0) refuse_errno(reply, errno, "cannot make the instance's user namespace");
    if (set_idmap(c.tree, shift ? userns : -1, c.recursive, c.read_only) < 0) refuse_errno(reply, errno, "cannot map the owners of source " + c.source + " of device " + c.device);
    if (!c.read_only || map.empty()) continue;
    int fast = locked(c.tree, c.is_file, c.recursive);
    if (fast < 0) refuse_errno(reply, errno, "cannot make source " + c.source + " of device " + c.device + " read-only for good");
    ::close(c.tree);
    c.tree = fast;
  }
  if (userns >= 0) ::close(userns);
}

} // namespace

void do_disks(int reply, const std::vector<std::string> &args, const std::vector<int> &fds) {
  std::vector<std::string> gone;
  std::vector<Come> come;
  if (args.empty() || fds.size() != 1) refuse(reply, "malformed request");
  for (std::size_t i = 1; i < args.size();) {
    if (args[i] == "gone" && i + 1 < args.size()) {
      gone.push_back(args[i + 1]);
      i += 2;
    } else if (args[i] == "come" && i + 8 < args.size()) {
      auto on = [&](std::size_t n) { return args[i + n] == "1"; };
      come.push_back({args[i + 1], args[i + 2], args[i + 3], on(4), on(5), on(6), on(7), on(8)});
      i += 9;
    } else {
      refuse(reply, "malformed request");
    }
  }
  int pid = std::atoi(args[0].c_str());
  // Inside, the guest's root could otherwise look into the process.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  Root owner;
  if (auto map = map_of(pid); !map.empty() && (!mapped_root(map, 'u', owner.uid) || !mapped_root(map, 'g', owner.gid))) refuse(reply, "the id map has no root of the instance");
  open_sources(reply, come, pid);
  // The number was its own if it still runs now.
  if (::syscall(SYS_pidfd_send_signal, fds[0], 0, nullptr, 0) < 0) refuse(reply, "it is not running");
  if (::setns(fds[0], CLONE_NEWNS) < 0) refuse_errno(reply, errno, "cannot enter its mount namespace");
  int root = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) refuse_errno(reply, errno, "cannot open its root");
  ::umask(022);
  for (auto &target : gone)
    if (!remove_mount(root, target)) refuse_errno(reply, errno, "cannot unmount /" + target);
  std::vector<std::string> placed;
  for (auto &c : come) {
    if (c.tree < 0) continue;
    int at = place(root, c, owner);
    bool there = at >= 0 && is_mount_root(at) && same(at, c.st);
    if (at < 0 || (!there && ::syscall(SYS_move_mount, c.tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)) {
      int e = errno;
      for (auto p = placed.rbegin(); p != placed.rend(); ++p) remove_mount(root, *p);
      refuse_errno(reply, e, "cannot mount device " + c.device + " on /" + c.target);
    }
    if (!there) placed.push_back(c.target);
    ::close(at);
  }
  send_reply(reply, ok);
}

} // namespace incus::helper::lxc
