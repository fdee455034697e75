// SPDX-License-Identifier: Apache-2.0
#include "sys/copy.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/tree.hpp"

namespace incus::sys {

using base::fail_errno;
using base::Fd;
using base::quoted;

namespace {

#ifndef XFS_SUPER_MAGIC
constexpr long XFS_SUPER_MAGIC = 0x58465342;
#endif

/// A failed system call on one name; the copy adds the path.
struct Failure {
  int err;
  const char *what;
};
[[noreturn]] void failure(const char *what) { throw Failure{errno, what}; }

/// This thread's buffer for contents.
constexpr std::size_t buffer_size = 256 * 1024;
char *buffer() {
  thread_local std::unique_ptr<char[]> b(new char[buffer_size]);
  return b.get();
}

timespec time_of(const statx_timestamp &t) { return {static_cast<time_t>(t.tv_sec), static_cast<long>(t.tv_nsec)}; }
dev_t device_of(const struct statx &st) { return makedev(st.stx_rdev_major, st.stx_rdev_minor); }

/// Of an open file (name empty), or of a name that may be a link. False when it is gone.
bool look(int dirfd, const char *name, struct statx &st) {
  if (::statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH), STATX_BASIC_STATS | STATX_BTIME, &st) == 0) return true;
  if (errno == ENOENT) return false;
  failure("look at");
}

Fd open_entry(int dirfd, const char *name, int flags) noexcept {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (;;) {
    long fd = ::syscall(SYS_openat2, dirfd, name, &how, sizeof how);
    if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return Fd(static_cast<int>(fd));
  }
}

/// Extended attributes by descriptor, or by a name that may be a link or a device (through /proc, as only that does not open it).
struct Xattrs {
  explicit Xattrs(int fd) : fd_(fd) {}
  Xattrs(int dirfd, const char *name) { path_ = fmt::format("/proc/self/fd/{}/{}", dirfd, name); }
  ssize_t list(char *to, std::size_t size) const { return fd_ >= 0 ? ::flistxattr(fd_, to, size) : ::llistxattr(path_.c_str(), to, size); }
  ssize_t get(const char *name, char *to, std::size_t size) const {
    return fd_ >= 0 ? ::fgetxattr(fd_, name, to, size) : ::lgetxattr(path_.c_str(), name, to, size);
  }
  int set(const char *name, const char *value, std::size_t size) const {
    return fd_ >= 0 ? ::fsetxattr(fd_, name, value, size, 0) : ::lsetxattr(path_.c_str(), name, value, size, 0);
  }

private:
  int fd_ = -1;
  std::string path_;
};

void copy_xattrs(const Xattrs &from, const Xattrs &to) {
  char small[1024];
  std::vector<char> large;
  char *names = small;
  ssize_t n = from.list(small, sizeof small);
  if (n == 0) return;
  if (n < 0 && errno == ERANGE) {
    large.resize(65536);
    names = large.data();
    n = from.list(names, large.size());
  }
  if (n < 0 && (errno == EOPNOTSUPP || errno == ENOENT)) return;
  if (n < 0) failure("list the extended attributes of");
  std::vector<char> value(4096);
  for (const char *name = names; name < names + n; name += std::strlen(name) + 1) {
    // The identity of one mounted overlay; a copy is another one.
    if (std::strcmp(name, "trusted.overlay.uuid") == 0) continue;
    ssize_t size = from.get(name, value.data(), value.size());
    if (size < 0 && errno == ERANGE) {
      value.resize(65536);
      size = from.get(name, value.data(), value.size());
    }
    if (size < 0 && (errno == ENODATA || errno == ENOENT)) continue;
    if (size < 0) failure("read an extended attribute of");
    if (to.set(name, value.data(), static_cast<std::size_t>(size)) != 0) failure("set an extended attribute of");
  }
}

/// Name and value of all; nothing when they cannot be told.
std::optional<std::map<std::string, std::string>> xattrs_of(const Xattrs &x) {
  std::map<std::string, std::string> out;
  thread_local std::vector<char> names(65536), value(65536); // of every file that a refresh looks at
  ssize_t n = x.list(names.data(), names.size());
  if (n < 0) return errno == EOPNOTSUPP ? std::optional(out) : std::nullopt;
  for (const char *name = names.data(); name < names.data() + n; name += std::strlen(name) + 1) {
    ssize_t size = x.get(name, value.data(), value.size());
    if (size < 0) return std::nullopt;
    out[name].assign(value.data(), static_cast<std::size_t>(size));
  }
  return out;
}

bool same_time(const statx_timestamp &a, const statx_timestamp &b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }
bool same_file(const struct statx &a, const struct statx &b) {
  return a.stx_mode == b.stx_mode && a.stx_size == b.stx_size && a.stx_uid == b.stx_uid && a.stx_gid == b.stx_gid && a.stx_nlink == 1 && b.stx_nlink == 1 &&
         same_time(a.stx_mtime, b.stx_mtime);
}

/// The order matters: a change of owner drops capabilities and set-uid bits, an ACL changes the mode.
void set_attributes(int from, int to, const struct statx &st) {
  if (::fchown(to, st.stx_uid, st.stx_gid) != 0) failure("set the owner of");
  copy_xattrs(Xattrs(from), Xattrs(to));
  if (::fchmod(to, st.stx_mode & 07777) != 0) failure("set the mode of");
  timespec times[2] = {time_of(st.stx_atime), time_of(st.stx_mtime)};
  if (::futimens(to, times) != 0) failure("set the times of");
}

/// The same file under two names; with the birth time, as an inode number may be given anew while a running system is copied.
struct LinkKey {
  std::uint64_t inode, device, born;
  bool operator==(const LinkKey &) const = default;
};
struct LinkHash {
  std::size_t operator()(const LinkKey &k) const noexcept { return std::hash<std::uint64_t>{}(k.inode * 0x9e3779b97f4a7c15u ^ k.device ^ k.born); }
};
struct LinkTarget {
  TreeNode *directory;
  std::string name;
};

class Copier {
public:
  Copier(int source, int target, const CopyOptions &options)
      : source_(source), target_(target), options_(options), reflink_(options.reflink), walk_(options.threads) {
    struct statfs fs;
    in_memory_ = ::fstatfs(target, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
  }

  CopyResult run() {
    walk_.run([this](TreeNode &node) { visit(node); });
    return {files_, bytes_, reflinked_};
  }

private:
  struct Dirs {
    TreeNode &node;
    int from, to, earlier;
  };

  void visit(TreeNode &node) {
    Fd from = open_node(source_, node);
    int err = errno;
    Fd to = open_node(target_, node);
    if (!to) fail_errno(errno, fmt::format("cannot open the copy of directory {}", base::quoted(tree_path(node))));
    if (!from) {
      if (err == EXDEV) { // a mount point: what it covers cannot be seen from here
        ::fchmod(to.get(), 0755);
        return;
      }
      if (err == ENOENT || err == ENOTDIR || err == ELOOP) return; // vanished
      fail_errno(err, fmt::format("cannot open directory {}", base::quoted(tree_path(node))));
    }
    struct Entry {
      std::uint64_t inode;
      unsigned char type;
      std::string name;
    };
    std::vector<Entry> entries;
    for_each_entry(from.get(), [&](const char *name, unsigned char type, std::uint64_t inode) {
      if (node.parent || !options_.only || options_.only(name)) entries.push_back({inode, type, name});
    });
    std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) { return a.inode < b.inode; }); // the order of the disk
    Fd earlier = options_.earlier >= 0 ? open_node(options_.earlier, node) : Fd();
    Dirs dirs{node, from.get(), to.get(), earlier ? earlier.get() : -1};
    for (auto &e : entries) {
      if (walk_.stopped()) return;
      try {
        copy_entry(dirs, e.name.c_str(), e.type);
      } catch (const Failure &f) {
        fail_errno(f.err, fmt::format("cannot {} {}", f.what, base::quoted(tree_path(node, e.name.c_str()))));
      }
      report(0, 1);
    }
    if (!node.parent) fault_point("copy tree");
    try {
      struct statx st;
      look(from.get(), "", st);
      set_attributes(from.get(), to.get(), st);
    } catch (const Failure &f) {
      fail_errno(f.err, fmt::format("cannot {} directory {}", f.what, base::quoted(tree_path(node))));
    }
  }

  void copy_entry(const Dirs &d, const char *name, unsigned char type) {
    struct statx st;
    if (type == DT_UNKNOWN) {
      if (!look(d.from, name, st)) return;
      type = IFTODT(st.stx_mode);
    }
    switch (type) {
    case DT_DIR:
      // A directory that changes while it is read may tell a name twice.
      if (::mkdirat(d.to, name, 0700) != 0) {
        if (errno == EEXIST) return;
        failure("make directory");
      }
      files_++;
      walk_.add(d.node, name);
      return;
    case DT_REG: return copy_regular(d, name);
    case DT_SOCK: return;
    default: return copy_special(d, name);
    }
  }

  /// Makes a name by `make`, or as a further name of a file copied already; true when it was made.
  template <class Make> bool make_or_link(const Dirs &d, const char *name, const struct statx &st, const Make &make) {
    if (st.stx_nlink < 2) {
      make();
      return true;
    }
    LinkKey key{st.stx_ino, makedev(st.stx_dev_major, st.stx_dev_minor),
                st.stx_mask & STATX_BTIME ? static_cast<std::uint64_t>(st.stx_btime.tv_sec) * 1000000000u + st.stx_btime.tv_nsec : 0};
    std::lock_guard lock(links_mutex_);
    auto it = links_.find(key);
    if (it != links_.end()) {
      Fd other;
      if (it->second.directory != &d.node) {
        other = open_node(target_, *it->second.directory);
        if (!other) failure("open the directory of a hard link of");
      }
      if (::linkat(other ? other.get() : d.to, it->second.name.c_str(), d.to, name, 0) == 0 || errno == EEXIST) return false;
      if (errno != EMLINK) failure("make hard link");
    }
    make();
    links_.insert_or_assign(key, LinkTarget{&d.node, name});
    return true;
  }

  void copy_regular(const Dirs &d, const char *name) {
    Fd from = open_entry(d.from, name, O_RDONLY | O_NOATIME);
    if (!from && errno == EPERM) from = open_entry(d.from, name, O_RDONLY);
    if (!from) {
      // Gone, replaced by a link or socket, or covered by a mount.
      if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR || errno == ENXIO || errno == EXDEV) return;
      failure("open file");
    }
    struct statx st;
    look(from.get(), "", st);
    if (!S_ISREG(st.stx_mode)) return; // replaced meanwhile
    if (d.earlier >= 0 && keep_earlier(d, name, from.get(), st)) return;
    Fd to;
    bool made = make_or_link(d, name, st, [&] {
      to = open_entry_new(d.to, name);
      if (!to && errno != EEXIST) failure("make file");
    });
    if (made && !to) return; // told twice
    files_++;
    if (!made) return;
    copy_data(from.get(), to.get(), st);
    set_attributes(from.get(), to.get(), st);
    if (st.stx_size && options_.write_out && !in_memory_) ::sync_file_range(to.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }

  /// True: the earlier copy's file is this one's too.
  bool keep_earlier(const Dirs &d, const char *name, int from, const struct statx &st) {
    Fd was = open_entry(d.earlier, name, O_RDONLY | O_NOATIME);
    struct statx then;
    if (!was || !look(was.get(), "", then) || !same_file(st, then)) return false;
    auto now = xattrs_of(Xattrs(from));
    if (!now || now != xattrs_of(Xattrs(was.get()))) return false;
    if (::linkat(d.earlier, name, d.to, name, 0) != 0) return false; // an immutable one, say: copied then
    files_++;
    return true;
  }

  static Fd open_entry_new(int dirfd, const char *name) noexcept {
    return Fd(::openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  }

  void copy_special(const Dirs &d, const char *name) {
    struct statx st;
    if (!look(d.from, name, st)) return;
    std::string link;
    if (S_ISLNK(st.stx_mode)) {
      char text[4096];
      ssize_t n = ::readlinkat(d.from, name, text, sizeof text);
      if (n < 0 && (errno == ENOENT || errno == EINVAL)) return;
      if (n < 0) failure("read link");
      link.assign(text, static_cast<std::size_t>(n));
    } else if (!S_ISCHR(st.stx_mode) && !S_ISBLK(st.stx_mode) && !S_ISFIFO(st.stx_mode)) {
      return; // replaced meanwhile
    }
    bool told_twice = false;
    bool made = make_or_link(d, name, st, [&] {
      int r = S_ISLNK(st.stx_mode) ? ::symlinkat(link.c_str(), d.to, name) : ::mknodat(d.to, name, (st.stx_mode & S_IFMT) | 0600, device_of(st));
      if (r == 0) return;
      if (errno != EEXIST) failure(S_ISLNK(st.stx_mode) ? "make link" : "make device node");
      told_twice = true;
    });
    if (told_twice) return;
    files_++;
    if (!made) return;
    if (::fchownat(d.to, name, st.stx_uid, st.stx_gid, AT_SYMLINK_NOFOLLOW) != 0) failure("set the owner of");
    copy_xattrs(Xattrs(d.from, name), Xattrs(d.to, name));
    if (!S_ISLNK(st.stx_mode) && ::fchmodat(d.to, name, st.stx_mode & 07777, 0) != 0) failure("set the mode of");
    timespec times[2] = {time_of(st.stx_atime), time_of(st.stx_mtime)};
    if (::utimensat(d.to, name, times, AT_SYMLINK_NOFOLLOW) != 0) failure("set the times of");
  }

  void copy_data(int from, int to, const struct statx &st) {
    if (st.stx_size == 0) return;
    if (reflink_) {
      if (::ioctl(to, FICLONE, from) == 0) {
        reflinked_ = true;
        return report(st.stx_size, 0);
      }
      if (errno == ENOSPC || errno == EDQUOT) failure("write");
      if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EXDEV || errno == ENOSYS) reflink_ = false;
    }
    off_t size = static_cast<off_t>(st.stx_size);
    if (static_cast<off_t>(st.stx_blocks) * 512 >= size) return copy_range(from, to, 0, size);
    off_t at = 0;
    while (at < size) {
      off_t data = ::lseek(from, at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) break; // a hole to the end
      if (data < 0) return copy_range(from, to, at, size - at);
      off_t hole = ::lseek(from, data, SEEK_HOLE);
      if (hole < 0) hole = size;
      copy_range(from, to, data, std::min(hole, size) - data);
      at = hole;
    }
    if (::ftruncate(to, size) != 0) failure("write");
  }

  void copy_range(int from, int to, off_t at, off_t length) {
    while (length > 0) {
      if (length > static_cast<off_t>(buffer_size) && kernel_copy_) {
        off_t in = at, out = at;
        ssize_t n = ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(std::min<off_t>(length, 8 << 20)), 0);
        if (n > 0) {
          at += n;
          length -= n;
          report(static_cast<std::uint64_t>(n), 0);
          continue;
        }
        if (n == 0) return; // cut short meanwhile
        if (errno == EINTR) continue;
        if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) failure("write");
        kernel_copy_ = false;
      }
      char *b = buffer();
      ssize_t n = ::pread(from, b, static_cast<std::size_t>(std::min<off_t>(length, buffer_size)), at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) failure("read");
      if (n == 0) return;
      for (ssize_t done = 0; done < n;) {
        ssize_t w = ::pwrite(to, b + done, static_cast<std::size_t>(n - done), at + done);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) failure("write");
        done += w;
      }
      at += n;
      length -= n;
      report(static_cast<std::uint64_t>(n), 0);
    }
  }

  void report(std::uint64_t bytes, unsigned entries) {
    bytes_ += bytes;
    std::uint64_t steps = step_ += bytes + entries * 32768u;
    if (!options_.progress || steps < (8 << 20)) return;
    std::unique_lock lock(progress_mutex_, std::try_to_lock);
    if (!lock) return;
    step_ = 0;
    options_.progress(bytes_);
  }

  int source_, target_;
  const CopyOptions &options_;
  bool in_memory_ = false;
  std::atomic<bool> reflink_, kernel_copy_{true}, reflinked_{false};
  std::atomic<std::uint64_t> files_{0}, bytes_{0}, step_{0};
  std::mutex links_mutex_, progress_mutex_;
  std::unordered_map<LinkKey, LinkTarget, LinkHash> links_;
  TreeWalk walk_; // last: its threads use the rest
};

} // namespace

CopyResult copy_tree(int source, int target, const CopyOptions &options) {
  auto result = Copier(source, target, options).run();
  if (options.progress) options.progress(result.bytes);
  return result;
}

void sync_tree(int dirfd) {
  struct statfs fs;
  if (::fstatfs(dirfd, &fs) != 0) fail_errno(errno, "cannot look at a file system");
  if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) return;
  if (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC) return sync_filesystem(dirfd);
  // First all is set off, then waited for.
  constexpr unsigned begin = SYNC_FILE_RANGE_WRITE, wait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  for (unsigned flags : {begin, wait}) {
    TreeWalk walk;
    walk.run([&](TreeNode &node) {
      Fd dir = open_node(dirfd, node);
      if (!dir) fail_errno(errno, fmt::format("cannot open directory {}", base::quoted(tree_path(node))));
      for_each_entry(dir.get(), [&](const char *name, unsigned char type, std::uint64_t) {
        if (type == DT_DIR) walk.add(node, name);
        if (type != DT_REG) return;
        Fd file = open_entry(dir.get(), name, O_RDONLY | O_NOATIME);
        if (!file || ::sync_file_range(file.get(), 0, 0, flags) != 0) fail_errno(errno, fmt::format("cannot write {}", base::quoted(tree_path(node, name))));
      });
    });
  }
}

void copy_content(int from, int to, const std::string &what) {
  if (::ioctl(to, FICLONE, from) == 0) return;
  auto failed = [&]() { base::fail_errno(errno, "cannot write " + what); };
  off_t at = 0;
  bool by_kernel = true; // not between all file systems
  std::vector<char> buffer;
  for (;;) {
    ssize_t n;
    if (by_kernel) {
      off_t in = at, out = at;
      n = ::copy_file_range(from, &in, to, &out, 1 << 30, 0);
      if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
        by_kernel = false;
        buffer.resize(1 << 20);
        continue;
      }
    } else {
      n = ::pread(from, buffer.data(), buffer.size(), at);
      for (ssize_t done = 0; n > 0 && done < n;) {
        ssize_t w = ::pwrite(to, buffer.data() + done, static_cast<std::size_t>(n - done), at + done);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) failed();
        done += w;
      }
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed();
    if (n == 0) return;
    at += n;
  }
}

void copy_attributes(int source, int target) try {
  struct statx st;
  look(source, "", st);
  set_attributes(source, target, st);
} catch (const Failure &f) {
  fail_errno(f.err, fmt::format("cannot {} a directory", f.what));
}

} // namespace incus::sys
