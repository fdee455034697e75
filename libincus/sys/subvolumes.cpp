// SPDX-License-Identifier: Apache-2.0
#include "sys/subvolumes.hpp"

#include <btrfsutil.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <memory>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::sys {

using base::fail_errno;
using base::Fd;

namespace {

/// libbtrfsutil leaves errno as the failed call set it.
[[noreturn]] void failure(btrfs_util_error e, const std::string &what) {
  int err = errno;
  if (err == 0) base::fail(ErrorCode::internal, "{}: {}", what, btrfs_util_strerror(e));
  fail_errno(err, what);
}

constexpr int directory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

struct Place {
  Fd parent;
  std::string name;
};
/// The directory that holds the last component. Empty when the way there is gone.
Place place_of(int top, const std::string &path) {
  auto slash = path.rfind('/');
  if (slash == std::string::npos) return {open_beneath(top, ".", directory), path};
  return {try_open_beneath(top, path.substr(0, slash), directory), path.substr(slash + 1)};
}

/// A nested subvolume; empty when it is not there any more.
Fd open_nested(int top, const std::string &path) {
  Place at = place_of(top, path);
  Fd fd = at.parent ? try_open_beneath(at.parent.get(), at.name, directory) : Fd();
  if (!fd || !is_subvolume(fd.get())) return {};
  return fd;
}

void snapshot_one(int source, int parent, const std::string &name, int flags) {
  FaultScope fault("snapshot subvolume");
  errno = 0;
  if (auto e = btrfs_util_create_snapshot_fd2(source, parent, name.c_str(), flags, nullptr, nullptr)) failure(e, fmt::format("cannot make snapshot {}", base::quoted(name)));
}

void delete_one(int parent, const std::string &name) {
  FaultScope fault("delete subvolume");
  errno = 0;
  if (auto e = btrfs_util_delete_subvolume_fd(parent, name.c_str(), 0))
    if (errno != ENOENT) failure(e, fmt::format("cannot delete subvolume {}", base::quoted(name)));
}

} // namespace

bool is_btrfs(int fd) {
  struct statfs fs;
  if (::fstatfs(fd, &fs) != 0) fail_errno(errno, "cannot look at a file system");
  return fs.f_type == BTRFS_SUPER_MAGIC;
}

bool is_subvolume(int fd) { return btrfs_util_is_subvolume_fd(fd) == BTRFS_UTIL_OK; }

std::vector<std::string> nested_subvolumes(int fd) {
  errno = 0;
  btrfs_util_subvolume_iterator *raw = nullptr;
  if (auto e = btrfs_util_create_subvolume_iterator_fd(fd, 0, 0, &raw)) failure(e, "cannot look for subvolumes");
  std::unique_ptr<btrfs_util_subvolume_iterator, void (*)(btrfs_util_subvolume_iterator *)> it(raw, btrfs_util_destroy_subvolume_iterator);
  std::vector<std::string> out;
  for (;;) {
    char *path = nullptr;
    auto e = btrfs_util_subvolume_iterator_next(it.get(), &path, nullptr);
    if (e == BTRFS_UTIL_ERROR_STOP_ITERATION) return out;
    if (e) failure(e, "cannot look for subvolumes");
    out.emplace_back(path);
    std::free(path);
  }
}

void create_subvolume(int parent, const std::string &name) {
  FaultScope fault("make subvolume");
  errno = 0;
  if (auto e = btrfs_util_create_subvolume_fd(parent, name.c_str(), 0, nullptr, nullptr)) failure(e, fmt::format("cannot make subvolume {}", base::quoted(name)));
}

bool is_read_only(int fd) {
  bool on = false;
  errno = 0;
  if (auto e = btrfs_util_get_subvolume_read_only_fd(fd, &on)) failure(e, "cannot ask whether a subvolume is read-only");
  return on;
}

void set_read_only(int fd, bool on) {
  FaultScope fault("set read-only");
  errno = 0;
  if (auto e = btrfs_util_set_subvolume_read_only_fd(fd, on)) failure(e, "cannot make a subvolume read-only or writable");
}

void snapshot_subvolume(int source, int parent, const std::string &name, bool read_only) {
  auto nested = nested_subvolumes(source);
  if (nested.empty()) return snapshot_one(source, parent, name, read_only ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0);
  snapshot_one(source, parent, name, 0);
  Fd top = open_child(parent, name);
  std::vector<Fd> protect;
  for (auto &path : nested) {
    Fd from = open_nested(source, path);
    Place to = place_of(top.get(), path);
    if (!from || !to.parent) continue; // moved or removed meanwhile
    struct stat was {};
    if (::fstat(to.parent.get(), &was) != 0) fail_errno(errno, "cannot look at a directory");
    // In a snapshot a nested subvolume is an empty directory.
    if (::unlinkat(to.parent.get(), to.name.c_str(), AT_REMOVEDIR) != 0) {
      if (errno == ENOENT) continue;
      fail_errno(errno, fmt::format("cannot put subvolume {} into the snapshot", base::quoted(path)));
    }
    bool read_only_too = is_read_only(from.get());
    snapshot_one(from.get(), to.parent.get(), to.name, 0);
    timespec times[2] = {was.st_atim, was.st_mtim};
    if (::futimens(to.parent.get(), times) != 0) fail_errno(errno, "cannot set the times of a directory");
    if (read_only_too) protect.push_back(open_child(to.parent.get(), to.name));
  }
  for (auto &fd : protect) set_read_only(fd.get(), true);
  if (read_only) set_read_only(top.get(), true);
}

bool remove_subvolume(int parent, const std::string &name) {
  Fd top = try_open_beneath(parent, name, directory);
  if (!top || !is_subvolume(top.get())) return false;
  auto nested = nested_subvolumes(top.get());
  if (!nested.empty() && is_read_only(top.get())) set_read_only(top.get(), false);
  for (auto &path : nested)
    if (Fd fd = open_nested(top.get(), path); fd && is_read_only(fd.get())) set_read_only(fd.get(), false);
  for (auto it = nested.rbegin(); it != nested.rend(); ++it) {
    Place at = place_of(top.get(), *it);
    if (at.parent) delete_one(at.parent.get(), at.name);
  }
  delete_one(parent, name);
  return true;
}

void grow_btrfs(int fd) {
  btrfs_ioctl_vol_args args{};
  std::strcpy(args.name, "max");
  FaultScope fault("grow file system");
  if (::ioctl(fd, BTRFS_IOC_RESIZE, &args) != 0) fail_errno(errno, "cannot grow the file system");
}

} // namespace incus::sys
