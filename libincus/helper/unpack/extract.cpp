// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/extract.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace incus::unpack {

namespace {

[[noreturn]] void cannot(const std::string &path, const char *verb) { fail_errno(errno, std::string("cannot ") + verb + " " + quoted(path)); }

int open_beneath(int root, const char *path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root, path, &how, sizeof how));
}

/// Access time is that of the content: nobody keeps the archive's.
void times_of(archive_entry *entry, timespec (&t)[2]) {
  t[1].tv_sec = archive_entry_mtime(entry);
  t[1].tv_nsec = archive_entry_mtime_nsec(entry);
  if (t[1].tv_nsec < 0 || t[1].tv_nsec > 999'999'999) t[1].tv_nsec = 0;
  t[0] = t[1];
  if (!archive_entry_mtime_is_set(entry)) t[0].tv_nsec = t[1].tv_nsec = UTIME_NOW;
}

void set_attributes(int fd, const Attributes &attributes, const std::string &path) {
  for (auto &[name, value] : attributes)
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) < 0)
      fail_errno(errno, "cannot set the extended attribute " + quoted(name) + " of " + quoted(path));
}

void write_all(int fd, const char *data, std::size_t size, std::int64_t at, const std::string &path) {
  while (size) {
    ssize_t n = ::pwrite(fd, data, size, at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) cannot(path, "write");
    data += n;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

} // namespace

Writer::Writer(int root, std::string guest, IdShift shift) : root_(root), guest_(std::move(guest)), shift_(std::move(shift)) {}

uid_t Writer::user(archive_entry *entry) const { return shift_.user(static_cast<uid_t>(archive_entry_uid(entry))); }
gid_t Writer::group(archive_entry *entry) const { return shift_.group(static_cast<gid_t>(archive_entry_gid(entry))); }

Attributes Writer::attributes(archive_entry *entry, const std::string &path) {
  auto out = attributes_of(entry, path, named_);
  for (auto &[key, value] : out) shift_.attribute(key, value);
  return out;
}

Writer::~Writer() {
  if (parent_ >= 0) ::close(parent_);
}

/// Opens a directory below the root, making what is missing of it.
int Writer::open_directory(const std::string &path) {
  if (path.empty()) {
    int fd = ::fcntl(root_, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) cannot(".", "open");
    return fd;
  }
  int fd = open_beneath(root_, path.c_str(), O_PATH | O_DIRECTORY);
  if (fd >= 0) return fd;
  if (errno != ENOENT) cannot(path, "open directory");
  auto cut = path.rfind('/');
  int up = open_directory(cut == std::string::npos ? std::string() : path.substr(0, cut));
  std::string name = cut == std::string::npos ? path : path.substr(cut + 1);
  int err = ::mkdirat(up, name.c_str(), 0755) < 0 ? errno : 0;
  ::close(up);
  errno = err;
  if (err && err != EEXIST) cannot(path, "make directory");
  fd = open_beneath(root_, path.c_str(), O_PATH | O_DIRECTORY);
  if (fd < 0) cannot(path, "open directory");
  return fd;
}

int Writer::parent_of(const std::string &path, std::string &name) {
  auto cut = path.rfind('/');
  name = cut == std::string::npos ? path : path.substr(cut + 1);
  std::string up = cut == std::string::npos ? std::string() : path.substr(0, cut);
  if (parent_ >= 0 && up == parent_path_) return parent_;
  if (parent_ >= 0) ::close(parent_);
  parent_ = -1;
  parent_ = open_directory(up);
  parent_path_ = up;
  return parent_;
}

/// As tar does, a later entry of a name replaces the earlier one.
void Writer::make_way(int parent, const std::string &name, const std::string &path, bool for_directory) {
  if (!for_directory && ::unlinkat(parent, name.c_str(), 0) == 0) return;
  if (for_directory) {
    struct stat st;
    if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) return;
    if (::unlinkat(parent, name.c_str(), 0) == 0) return;
  } else if (errno == EISDIR && ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) {
    std::erase_if(directories_, [&](const Directory &d) { return d.path == path; });
    return;
  }
  cannot(path, "replace");
}

void Writer::write(const std::string &path, const std::string &link, archive_entry *entry, Reader &reader, bool plain,
                   const std::function<void()> &step) {
  std::string name;
  unsigned type = archive_entry_filetype(entry);
  if (path.empty()) { // the directory itself
    directory(root_, ".", path, entry, plain);
    return;
  }
  int parent = parent_of(path, name);
  if (struct stat there; keep_ && !plain && ::fstatat(parent, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0) return;
  if (!link.empty()) {
    std::string target;
    auto cut = link.rfind('/');
    int from = open_directory(cut == std::string::npos ? std::string() : link.substr(0, cut));
    target = cut == std::string::npos ? link : link.substr(cut + 1);
    int r = ::linkat(from, target.c_str(), parent, name.c_str(), 0);
    if (r < 0 && errno == EEXIST && link != path) {
      make_way(parent, name, path, false);
      r = ::linkat(from, target.c_str(), parent, name.c_str(), 0);
    }
    int err = errno;
    ::close(from);
    errno = err;
    if (r < 0 && link != path) cannot(path, "make hard link");
    return;
  }
  switch (type) {
  case AE_IFREG: return regular(parent, name, path, entry, reader, plain, step);
  case AE_IFDIR: return directory(parent, name, path, entry, plain);
  default: return special(parent, name, path, entry);
  }
}

void Writer::regular(int parent, const std::string &name, const std::string &path, archive_entry *entry, Reader &reader, bool plain,
                     const std::function<void()> &step) {
  mode_t mode = archive_entry_perm(entry) & (plain ? 0644 : 07777);
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int fd = ::openat(parent, name.c_str(), flags, mode & 0777);
  if (fd < 0 && errno == EEXIST) {
    make_way(parent, name, path, false);
    fd = ::openat(parent, name.c_str(), flags, mode & 0777);
  }
  if (fd < 0) cannot(path, "make file");
  struct Close {
    int fd;
    ~Close() { ::close(fd); }
  } closer{fd};
  std::int64_t size = archive_entry_size(entry), end = 0;
  const void *piece;
  std::size_t n;
  std::int64_t at;
  while (reader.data(&piece, &n, &at)) {
    if (at < 0 || at > size || static_cast<std::int64_t>(n) > size - at) refuse(quoted(path) + " has content outside its size");
    write_all(fd, static_cast<const char *>(piece), n, at, path);
    end = std::max(end, at + static_cast<std::int64_t>(n));
    if (step) step();
  }
  if (end != size) { // a hole at the end
    if (!archive_entry_sparse_count(entry)) refuse(quoted(path) + " has less content than its size");
    if (::ftruncate(fd, size) < 0) cannot(path, "set the size of");
  }
  // Order: a new owner drops set-id bits and capabilities, a mode drops nothing.
  auto uid = user(entry);
  auto gid = group(entry);
  if (!plain && (uid || gid || keep_) && ::fchown(fd, uid, gid) < 0) cannot(path, "set the owner of");
  if ((mode & 07000) && ::fchmod(fd, mode) < 0) cannot(path, "set the mode of");
  if (!plain) set_attributes(fd, attributes(entry, path), path);
  timespec times[2];
  times_of(entry, times);
  if (::futimens(fd, times) < 0) cannot(path, "set the time of");
}

void Writer::write_text(const std::string &path, const std::string &text, archive_entry *entry) {
  int fd = ::openat(root_, path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) cannot(path, "make file");
  struct Close {
    int fd;
    ~Close() { ::close(fd); }
  } closer{fd};
  write_all(fd, text.data(), text.size(), 0, path);
  timespec times[2];
  times_of(entry, times);
  if (::futimens(fd, times) < 0) cannot(path, "set the time of");
}

void Writer::special(int parent, const std::string &name, const std::string &path, archive_entry *entry) {
  mode_t perm = archive_entry_perm(entry) & 07777;
  unsigned type = archive_entry_filetype(entry);
  // A whiteout of overlayfs: an image has nothing below it to hide.
  if (type == AE_IFCHR && archive_entry_rdevmajor(entry) == 0 && archive_entry_rdevminor(entry) == 0) return;
  auto make = [&] {
    switch (type) {
    case AE_IFLNK: return ::symlinkat(archive_entry_symlink(entry), parent, name.c_str());
    case AE_IFIFO: return ::mkfifoat(parent, name.c_str(), perm & 0777);
    default: {
      mode_t kind = type == AE_IFBLK ? S_IFBLK : S_IFCHR;
      return ::mknodat(parent, name.c_str(), kind | (perm & 0777),
                       makedev(static_cast<unsigned>(archive_entry_rdevmajor(entry)), static_cast<unsigned>(archive_entry_rdevminor(entry))));
    }
    }
  };
  int r = make();
  if (r < 0 && errno == EEXIST) {
    make_way(parent, name, path, false);
    r = make();
  }
  if (r < 0) cannot(path, "make");
  auto uid = user(entry);
  auto gid = group(entry);
  if ((uid || gid || keep_) && ::fchownat(parent, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) < 0) cannot(path, "set the owner of");
  if (type != AE_IFLNK && (perm & 07000) && ::fchmodat(parent, name.c_str(), perm, 0) < 0) cannot(path, "set the mode of");
  Attributes own = attributes(entry, path);
  auto &attributes = own;
  if (!attributes.empty()) {
    // There is no *at form; this program's working directory is its own.
    if (::fchdir(parent) < 0) cannot(path, "reach");
    for (auto &[key, value] : attributes)
      if (::lsetxattr(name.c_str(), key.c_str(), value.data(), value.size(), 0) < 0)
        fail_errno(errno, "cannot set the extended attribute " + quoted(key) + " of " + quoted(path));
  }
  timespec times[2];
  times_of(entry, times);
  if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) < 0) cannot(path, "set the time of");
}

void Writer::directory(int parent, const std::string &name, const std::string &path, archive_entry *entry, bool plain) {
  if (!path.empty() && ::mkdirat(parent, name.c_str(), 0700) < 0) {
    if (errno != EEXIST) cannot(path, "make directory");
    make_way(parent, name, path, true);
    if (::mkdirat(parent, name.c_str(), 0700) < 0 && errno != EEXIST) cannot(path, "make directory");
  }
  Directory d{path, user(entry), group(entry),
              static_cast<mode_t>(archive_entry_perm(entry) & 07777), {}, {}};
  if (plain) {
    d.uid = d.gid = 0;
    d.mode = 0755;
  } else {
    d.attributes = attributes(entry, path);
  }
  times_of(entry, d.times);
  directories_.push_back(std::move(d));
}

std::string Writer::text_of(const std::string &path) {
  std::string out;
  int fd = open_beneath(root_, path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat st;
  if (fd >= 0 && ::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= 1 << 20) {
    out.resize(static_cast<std::size_t>(st.st_size));
    ssize_t n = ::read(fd, out.data(), out.size());
    out.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  }
  if (fd >= 0) ::close(fd);
  return out;
}

void Writer::named_acls() {
  if (named_.empty()) return;
  auto users = id_table(text_of(guest_ + "etc/passwd")), groups = id_table(text_of(guest_ + "etc/group"));
  std::map<std::string, Directory *> directories;
  for (auto &d : directories_) directories[d.path] = &d;
  for (auto &acl : named_) {
    std::string value = resolve(acl, users, groups);
    if (auto d = directories.find(acl.path); d != directories.end()) {
      d->second->attributes.emplace_back(acl.key, std::move(value));
      continue;
    }
    int fd = open_beneath(root_, acl.path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
      if (errno == ENOENT) continue; // replaced by a later entry
      cannot(acl.path, "open");
    }
    struct Close {
      int fd;
      ~Close() { ::close(fd); }
    } closer{fd};
    set_attributes(fd, {{acl.key, value}}, acl.path);
  }
  named_.clear();
}

void Writer::finish() {
  if (parent_ >= 0) ::close(parent_);
  parent_ = -1;
  named_acls();
  for (auto d = directories_.rbegin(); d != directories_.rend(); ++d) {
    int fd = open_beneath(root_, d->path.empty() ? "." : d->path.c_str(), O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) continue; // replaced by a later entry
      cannot(d->path, "open directory");
    }
    struct Close {
      int fd;
      ~Close() { ::close(fd); }
    } closer{fd};
    if (::fchown(fd, d->uid, d->gid) < 0) cannot(d->path, "set the owner of");
    if (::fchmod(fd, d->mode) < 0) cannot(d->path, "set the mode of");
    set_attributes(fd, d->attributes, d->path);
    if (::futimens(fd, d->times) < 0) cannot(d->path, "set the time of");
  }
  directories_.clear();
}

void extract(Blocks &from, Shape shape, const Limits &limits, int root, const std::function<void()> &step) {
  int below = -1;
  if (shape == Shape::rootfs) {
    if (::mkdirat(root, "rootfs", 0755) < 0) cannot("rootfs", "make directory");
    root = below = open_beneath(root, "rootfs", O_RDONLY | O_DIRECTORY);
    if (below < 0) cannot("rootfs", "open directory");
  }
  struct Close {
    int fd;
    ~Close() {
      if (fd >= 0) ::close(fd);
    }
  } closer{below};
  Reader reader(from);
  Rules rules(shape, limits);
  Writer writer(root, shape == Shape::rootfs ? "" : "rootfs/");
  writer.keep(shape == Shape::metadata);
  while (archive_entry *entry = reader.next()) {
    auto v = rules.judge(entry);
    if (rules.rootfs_image()) fail("not_supported", "the image is one of a virtual machine, which cannot be unpacked yet");
    switch (v.use) {
    case Rules::Use::skip: break;
    case Rules::Use::metadata: writer.write_text(v.path, reader.text(max_metadata), entry); break;
    case Rules::Use::templates: writer.write(v.path, {}, entry, reader, true, step); break;
    case Rules::Use::rootfs: writer.write(v.path, v.link, entry, reader, false, step); break;
    }
    if (step) step();
  }
  rules.finish();
  writer.finish();
}

} // namespace incus::unpack
