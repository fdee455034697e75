// SPDX-License-Identifier: Apache-2.0
#include "sys/fs.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <mutex>
#include <set>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/tree.hpp"

namespace incus::sys {

using base::fail;
using base::fail_errno;
using base::Fd;
using base::quoted;

namespace {

Fd open2(int dirfd, const char *path, int flags, mode_t mode, std::uint64_t resolve) noexcept {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.mode = flags & (O_CREAT | O_TMPFILE) ? mode & 07777 : 0;
  how.resolve = resolve;
  for (;;) {
    long fd = ::syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return Fd(static_cast<int>(fd));
  }
}

void assert_component(const std::string &name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos || name.find('\0') != std::string::npos)
    fail(ErrorCode::internal, "{} is not a single path component", base::quoted(name));
}

void write_all(int fd, std::string_view data, const std::string &name) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(errno, fmt::format("cannot write file {}", base::quoted(name)));
    data.remove_prefix(static_cast<std::size_t>(n));
  }
}

} // namespace

Fd open_directory(const std::string &path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_errno(errno, fmt::format("cannot open directory {}", base::quoted(path)));
  return Fd(fd);
}

Fd try_open_beneath(int dirfd, const std::string &path, int flags, mode_t mode) noexcept {
  if (path.find('\0') != std::string::npos) {
    errno = EINVAL;
    return {};
  }
  return open2(dirfd, path.c_str(), flags, mode, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

Fd open_beneath(int dirfd, const std::string &path, int flags, mode_t mode) {
  Fd fd = try_open_beneath(dirfd, path, flags, mode);
  if (!fd && errno == EXDEV) fail(ErrorCode::permission_denied, "cannot open {}: a link in it points outside of its directory", base::quoted(path));
  if (!fd) fail_errno(errno, fmt::format("cannot open {}", base::quoted(path)));
  return fd;
}

Fd open_child(int dirfd, const std::string &name) {
  assert_component(name);
  Fd fd = open2(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  if (!fd && errno == EXDEV) fail(ErrorCode::conflict, "directory {} is a mount point; unmount it", base::quoted(name));
  if (!fd) fail_errno(errno, fmt::format("cannot open directory {}", base::quoted(name)));
  return fd;
}

bool exists_at(int dirfd, const std::string &name) {
  assert_component(name);
  struct stat st;
  if (::fstatat(dirfd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return true;
  if (errno == ENOENT) return false;
  fail_errno(errno, fmt::format("cannot look at {}", base::quoted(name)));
}

void for_each_entry(int dirfd, const std::function<void(const char *, unsigned char, std::uint64_t)> &fn) {
  alignas(8) char buf[32768];
  for (;;) {
    long n = ::syscall(SYS_getdents64, dirfd, buf, sizeof buf);
    if (n < 0 && errno == ENOENT) return; // removed while open
    if (n < 0) fail_errno(errno, "cannot read a directory");
    if (n == 0) return;
    for (long at = 0; at < n;) {
      auto *d = reinterpret_cast<struct dirent64 *>(buf + at);
      at += d->d_reclen;
      if (std::strcmp(d->d_name, ".") != 0 && std::strcmp(d->d_name, "..") != 0) fn(d->d_name, d->d_type, d->d_ino);
    }
  }
}

std::vector<std::string> list_directory(int dirfd) {
  Fd fd = open2(dirfd, ".", O_RDONLY | O_DIRECTORY, 0, 0);
  if (!fd) fail_errno(errno, "cannot read a directory");
  std::vector<std::string> names;
  for_each_entry(fd.get(), [&](const char *name, unsigned char, std::uint64_t) { names.emplace_back(name); });
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> read_file_if_exists(int dirfd, const std::string &name, std::size_t limit) {
  Fd fd = try_open_beneath(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) fail_errno(errno, fmt::format("cannot open file {}", base::quoted(name)));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) fail_errno(errno, fmt::format("cannot look at {}", base::quoted(name)));
  if (!S_ISREG(st.st_mode)) fail(ErrorCode::corrupt, "{} is not a regular file", base::quoted(name));
  std::string data;
  char buf[16384];
  for (;;) {
    ssize_t n = ::read(fd.get(), buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(errno, fmt::format("cannot read file {}", base::quoted(name)));
    if (n == 0) return data;
    data.append(buf, static_cast<std::size_t>(n));
    if (data.size() > limit) fail(ErrorCode::too_large, "file {} is larger than {} bytes", base::quoted(name), limit);
  }
}

std::string read_file(int dirfd, const std::string &name, std::size_t limit) {
  auto data = read_file_if_exists(dirfd, name, limit);
  if (!data) fail(ErrorCode::not_found, "file {} is not there", base::quoted(name));
  return std::move(*data);
}

void atomic_write(int dirfd, const std::string &name, std::string_view data, mode_t mode) {
  assert_component(name);
  std::string tmp = name + "~tmp";
  ::unlinkat(dirfd, tmp.c_str(), 0); // of a write that was cut off
  Fd fd = open2(dirfd, tmp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  if (!fd) fail_errno(errno, fmt::format("cannot make file {}", base::quoted(tmp)));
  try {
    write_all(fd.get(), data, name);
    if (::fchmod(fd.get(), mode) != 0) fail_errno(errno, fmt::format("cannot set the mode of file {}", base::quoted(name)));
    if (::fsync(fd.get()) != 0) fail_errno(errno, fmt::format("cannot write file {}", base::quoted(name)));
    if (::renameat(dirfd, tmp.c_str(), dirfd, name.c_str()) != 0) fail_errno(errno, fmt::format("cannot replace file {}", base::quoted(name)));
  } catch (...) {
    ::unlinkat(dirfd, tmp.c_str(), 0);
    throw;
  }
  sync_directory(dirfd);
}

Fd memory_file(const char *label, std::string_view data) {
  Fd fd(::memfd_create(label, MFD_CLOEXEC));
  if (!fd) fail_errno(errno, "cannot make a file in memory");
  write_all(fd.get(), data, label);
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

void write_new_file(int dirfd, const std::string &name, std::string_view data, mode_t mode) {
  assert_component(name);
  Fd fd = open2(dirfd, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  if (!fd) fail_errno(errno, fmt::format("cannot make file {}", base::quoted(name)));
  write_all(fd.get(), data, name);
  if (::fchmod(fd.get(), mode) != 0) fail_errno(errno, fmt::format("cannot set the mode of file {}", base::quoted(name)));
}

Fd make_directory(int dirfd, const std::string &name, mode_t mode) {
  assert_component(name);
  if (::mkdirat(dirfd, name.c_str(), mode & 0700) != 0 && errno != EEXIST) fail_errno(errno, fmt::format("cannot make directory {}", base::quoted(name)));
  Fd fd = open2(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  if (!fd) fail_errno(errno, fmt::format("cannot open directory {}", base::quoted(name)));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) fail_errno(errno, fmt::format("cannot look at directory {}", base::quoted(name)));
  if ((st.st_mode & 07777) != mode && ::fchmod(fd.get(), mode) != 0) fail_errno(errno, fmt::format("cannot set the mode of directory {}", base::quoted(name)));
  return fd;
}

Fd mkdir_p(int dirfd, const std::string &path, mode_t mode) {
  bool absolute = !path.empty() && path[0] == '/';
  if (absolute && dirfd != AT_FDCWD) fail(ErrorCode::internal, "{} is not relative", base::quoted(path));
  int resolve = absolute ? 0 : RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  Fd at = absolute ? open_directory("/") : open2(dirfd, ".", O_RDONLY | O_DIRECTORY, 0, 0);
  for (std::size_t begin = 0; begin < path.size();) {
    std::size_t end = std::min(path.find('/', begin), path.size());
    std::string part = path.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == ".." && !absolute) fail(ErrorCode::invalid_argument, "path {} may not hold \"..\"", base::quoted(path));
    Fd next = open2(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY, 0, static_cast<std::uint64_t>(resolve));
    if (!next && errno == ENOENT) next = make_directory(at.get(), part, mode);
    if (!next) fail_errno(errno, fmt::format("cannot make directory {}", base::quoted(path)));
    at = std::move(next);
  }
  return at;
}

void spread_children(int dirfd) noexcept {
  int flags = 0;
  if (::ioctl(dirfd, FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_TOPDIR_FL)) return;
  flags |= FS_TOPDIR_FL;
  ::ioctl(dirfd, FS_IOC_SETFLAGS, &flags); // only a matter of speed: file systems that know no such flag refuse it
}

void rename_at(int from_dir, const std::string &from, int to_dir, const std::string &to, bool replace) {
  assert_component(from);
  assert_component(to);
  if (::renameat2(from_dir, from.c_str(), to_dir, to.c_str(), replace ? 0 : RENAME_NOREPLACE) != 0)
    fail_errno(errno, fmt::format("cannot rename {} to {}", base::quoted(from), base::quoted(to)));
}

void sync_directory(int dirfd) {
  if (::fsync(dirfd) != 0 && errno != EINVAL) fail_errno(errno, "cannot sync a directory");
}

void sync_filesystem(int fd) {
  if (::syncfs(fd) != 0) fail_errno(errno, "cannot sync a file system");
}

namespace {

/// Clears the immutable and append-only flags, which make even root's unlink fail.
bool make_mutable(int dirfd, const char *name) noexcept {
  Fd fd(::openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  unsigned flags = 0;
  if (!fd || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return false;
  if (!(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) return false;
  flags &= ~static_cast<unsigned>(FS_IMMUTABLE_FL | FS_APPEND_FL);
  return ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0;
}

/// 0 or an errno; something that is gone already is no error.
int unlink_one(int dirfd, const char *name, int flags) noexcept {
  if (::unlinkat(dirfd, name, flags) == 0 || errno == ENOENT) return 0;
  if (errno != EPERM && errno != EACCES) return errno;
  int err = errno;
  bool changed = make_mutable(dirfd, ".");
  changed |= make_mutable(dirfd, name);
  if (!changed) return err;
  return ::unlinkat(dirfd, name, flags) == 0 || errno == ENOENT ? 0 : errno;
}

class Remover {
public:
  Remover(int root, std::string name) : root_(root), name_(std::move(name)) {}

  void run() {
    walk_.run([this](TreeNode &n) { visit(n); }, [this](TreeNode &n) { return leave(n); });
  }

private:
  std::string path(const TreeNode &n, const char *name) const { return base::quoted(name_ + "/" + tree_path(n, name)); }

  void visit(TreeNode &node) {
    Fd dir = open_node(root_, node);
    if (!dir) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return;
      if (errno == EXDEV) fail(ErrorCode::busy, "cannot remove {}: {} is a mount point; unmount it", base::quoted(name_), base::quoted(tree_path(node)));
      fail_errno(errno, fmt::format("cannot open directory {}", path(node, "")));
    }
    for_each_entry(dir.get(), [&](const char *name, unsigned char type, std::uint64_t) {
      if (walk_.stopped()) return;
      if (type == DT_DIR) {
        walk_.add(node, name);
        return;
      }
      int err = unlink_one(dir.get(), name, 0);
      if (err == EISDIR) walk_.add(node, name);
      else if (err) fail_errno(err, fmt::format("cannot remove {}", path(node, name)));
    });
  }

  bool leave(TreeNode &node) {
    if (!node.parent) return true;
    Fd parent = open_node(root_, *node.parent);
    if (!parent && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) return true;
    if (!parent) fail_errno(errno, fmt::format("cannot open directory {}", path(*node.parent, "")));
    int err = unlink_one(parent.get(), node.name.c_str(), AT_REMOVEDIR);
    // Something was made in it meanwhile, or a large directory was read short: once more, a few times.
    if ((err == ENOTEMPTY || err == EEXIST) && node.tries++ < 5) {
      walk_.again(node);
      return false;
    }
    if (err == ENOTDIR) err = unlink_one(parent.get(), node.name.c_str(), 0);
    if (err) fail_errno(err, fmt::format("cannot remove {}", path(node, "")));
    return true;
  }

  int root_;
  std::string name_;
  TreeWalk walk_;
};

} // namespace

bool remove_tree(int dirfd, const std::string &name) {
  assert_component(name);
  for (int tries = 0;; tries++) {
    Fd root = open2(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
    if (!root) {
      if (errno == ENOENT) return tries > 0;
      if (errno == EXDEV) fail(ErrorCode::busy, "cannot remove {}: it is a mount point; unmount it", base::quoted(name));
      if (errno != ENOTDIR && errno != ELOOP) fail_errno(errno, fmt::format("cannot open {}", base::quoted(name)));
      if (int err = unlink_one(dirfd, name.c_str(), 0)) fail_errno(err, fmt::format("cannot remove {}", base::quoted(name)));
      return true;
    }
    Remover(root.get(), name).run();
    int err = unlink_one(dirfd, name.c_str(), AT_REMOVEDIR);
    if (!err) return true;
    if (err != ENOTEMPTY || tries >= 5) fail_errno(err, fmt::format("cannot remove {}", base::quoted(name)));
  }
}

namespace {
/// The way to a directory is walked anew for each: a guest that nests without end must not keep who asks busy.
constexpr unsigned deepest_counted = 1000;
} // namespace

TreeUsage tree_usage(int dirfd, const std::string &name) {
  assert_component(name);
  struct stat st;
  if (::fstatat(dirfd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    fail_errno(errno, fmt::format("cannot look at {}", base::quoted(name)));
  }
  TreeUsage total{static_cast<std::uint64_t>(st.st_blocks) * 512, 1};
  if (!S_ISDIR(st.st_mode)) return total;
  Fd root = open2(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  if (!root) return total;
  std::mutex mutex;
  std::set<std::pair<dev_t, ino_t>> seen;
  TreeWalk walk;
  walk.run([&](TreeNode &node) {
    Fd dir = open_node(root.get(), node);
    if (!dir) return; // vanished, or a mount point
    TreeUsage sum;
    for_each_entry(dir.get(), [&](const char *entry, unsigned char, std::uint64_t) {
      struct stat s;
      if (::fstatat(dir.get(), entry, &s, AT_SYMLINK_NOFOLLOW) != 0) return;
      if (S_ISDIR(s.st_mode)) {
        if (node.depth < deepest_counted) walk.add(node, entry);
      } else if (s.st_nlink > 1) {
        std::lock_guard lock(mutex);
        if (!seen.emplace(s.st_dev, s.st_ino).second) return;
      }
      sum.bytes += static_cast<std::uint64_t>(s.st_blocks) * 512;
      sum.files++;
    });
    std::lock_guard lock(mutex);
    total.bytes += sum.bytes;
    total.files += sum.files;
  });
  return total;
}

} // namespace incus::sys
