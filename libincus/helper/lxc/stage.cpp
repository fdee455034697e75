// SPDX-License-Identifier: Apache-2.0
// Puts a root and mount sources together in a mount namespace that dies with the container. They stand on a private tmpfs over
// `staging`, so that the guest's root need not be let through the state directory's or a source's parents.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "helper/lxc/worker.hpp"
#include "helper/unpack/userns.hpp"

namespace incus::helper::lxc {

// By number, since the C library of Debian 12 has wrappers but older headers do not.
int open_tree_clone(const char *path, bool recursive) {
  return static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path,
                                    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW | (recursive ? AT_RECURSIVE : 0)));
}
int set_idmap(int tree, int userns, bool recursive, bool read_only) {
  struct mount_attr a {};
  if (userns >= 0) {
    a.attr_set |= MOUNT_ATTR_IDMAP;
    a.userns_fd = static_cast<std::uint64_t>(userns);
  }
  if (read_only) a.attr_set |= MOUNT_ATTR_RDONLY;
  if (!a.attr_set) return 0;
  return static_cast<int>(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &a, sizeof a));
}

namespace {

int attach_tree(int tree, const char *path) {
  return static_cast<int>(::syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

std::string failure(const std::string &what) { return what + ": " + std::strerror(errno); }

} // namespace

bool mapped_root(const std::vector<std::string> &map, char kind, unsigned &id) {
  for (auto &line : map) {
    unsigned long host = 0, guest = 0, count = 0;
    char k = 0;
    if (std::sscanf(line.c_str(), "%c %lu %lu %lu", &k, &host, &guest, &count) == 4 && k == kind && guest == 0) {
      id = static_cast<unsigned>(host);
      return true;
    }
  }
  return false;
}

bool raise_capabilities() {
  __user_cap_header_struct h{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct d[2];
  if (::syscall(SYS_capget, &h, d) < 0) return false;
  d[0].effective = d[0].permitted;
  d[1].effective = d[1].permitted;
  return ::syscall(SYS_capset, &h, d) == 0;
}

namespace {

std::string base(const char *sub) { return std::string(staging) + "/" + sub; }

std::pair<std::string, std::string> split_path(const std::string &path) {
  auto at = path.rfind('/');
  return {path.substr(0, at), path.substr(at + 1)};
}

std::string mount_overlay(const Stage &s, int userns) {
  auto [upper_dir, upper_name] = split_path(s.upper);
  auto [work_dir, work_name] = split_path(s.work);
  if (upper_dir != work_dir) return "the overlay's upper and work directories must lie in one directory";
  for (auto &n : {upper_name, work_name})
    if (n.empty() || n.find_first_of(",:\\") != n.npos) return "the name " + n + " cannot stand in overlay options";
  std::string low = base("lower"), up = base("upper"), root = base("root");
  ::mkdir(low.c_str(), 0755);
  ::mkdir(up.c_str(), 0755);
  ::mkdir(root.c_str(), 0755);
  struct Layer {
    const std::string &from, &to;
    bool read_only;
  };
  for (auto l : {Layer{s.lower, low, true}, Layer{upper_dir, up, false}}) {
    int tree = open_tree_clone(l.from.c_str(), false);
    if (tree < 0) return failure("cannot open the overlay layer " + l.from);
    if (set_idmap(tree, userns, false, l.read_only) < 0) return failure("cannot map the owners of the overlay layer " + l.from);
    if (attach_tree(tree, l.to.c_str()) < 0) return failure("cannot place the overlay layer " + l.from);
    ::close(tree);
  }
  std::string options = "lowerdir=" + low + ",upperdir=" + up + "/" + upper_name + ",workdir=" + up + "/" + work_name +
                        ",index=off,metacopy=off,redirect_dir=off";
  // The overlay works on its layers as who mounted it; through an id map host root is nobody, which shows as a
  // silently read-only root.
  unsigned uid = 0, gid = 0;
  if (userns >= 0) {
    if (!mapped_root(s.map, 'u', uid) || !mapped_root(s.map, 'g', gid)) return "the id map has no root of the guest";
    ::setfsgid(gid);
    ::setfsuid(uid);
    if (!raise_capabilities()) return failure("cannot keep capabilities");
  }
  int r = ::mount("overlay", root.c_str(), "overlay", 0, options.c_str());
  int e = errno;
  if (userns >= 0) {
    ::setfsuid(0);
    ::setfsgid(0);
    raise_capabilities();
  }
  errno = e;
  if (r < 0) return failure("cannot mount the overlay of " + s.lower + " and " + s.upper);
  // It holds its layers itself.
  ::umount2(low.c_str(), MNT_DETACH);
  ::umount2(up.c_str(), MNT_DETACH);
  return "";
}

std::string stage_mount(const Stage::Mount &m, int userns) {
  // Sources may be symbolic links; what they point to is mounted.
  char *real = ::realpath(m.source.c_str(), nullptr);
  if (!real) return m.optional ? "" : failure("cannot find the mount source " + m.source);
  std::string source = real;
  std::free(real);
  struct stat st;
  if (::stat(source.c_str(), &st) < 0) return m.optional ? "" : failure("cannot find the mount source " + m.source);
  int tree = open_tree_clone(source.c_str(), m.recursive);
  if (tree < 0) return failure("cannot open the mount source " + m.source);
  // Read-only from here on, so that it is locked so in the guest's namespace, and with what is mounted below: liblxc makes it so there, where the
  // guest's root may undo it.
  if (set_idmap(tree, m.shift ? userns : -1, m.recursive, m.read_only) < 0) return failure("cannot prepare the mount source " + m.source);
  std::string at = base(m.name.c_str());
  if (S_ISDIR(st.st_mode)) {
    ::mkdir(at.c_str(), 0755);
  } else {
    int fd = ::open(at.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd >= 0) ::close(fd);
  }
  int r = attach_tree(tree, at.c_str());
  int e = errno;
  ::close(tree);
  errno = e;
  return r < 0 ? failure("cannot place the mount source " + m.source) : "";
}

} // namespace

std::string put_together(const Stage &s) {
  if (::unshare(CLONE_NEWNS) < 0) return failure("cannot make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) < 0) return failure("cannot detach the mount namespace");
  if (::mkdir(staging, 0755) < 0 && errno != EEXIST) return failure(std::string("cannot make ") + staging);
  if (::mount("tmpfs", staging, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0)
    return failure(std::string("cannot mount a tmpfs on ") + staging);
  bool shift = s.idmapped;
  for (auto &m : s.mounts) shift = shift || m.shift;
  int userns = -1;
  if (shift && !s.map.empty() && (userns = unpack::user_namespace(s.map)) < 0) return failure("cannot make the container's user namespace");
  if (s.overlay)
    if (auto e = mount_overlay(s, s.idmapped ? userns : -1); !e.empty()) return e;
  if (!s.bind.empty())
    if (auto e = stage_mount({s.bind, "root", false, s.idmapped, false, false}, userns); !e.empty()) return e;
  for (auto &m : s.mounts)
    if (auto e = stage_mount(m, userns); !e.empty()) return e;
  if (userns >= 0) ::close(userns);
  return "";
}

} // namespace incus::helper::lxc
