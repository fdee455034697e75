// SPDX-License-Identifier: Apache-2.0
#include "helper/files/system.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace incus::files {

thread_local Slow::Slot *Slow::slot = nullptr;

Slow::Slow() {
  if (!slot) return;
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  slot->since = t.tv_sec + 1;
}
Slow::~Slow() {
  if (slot) slot->since = 0;
}

namespace {

int result(int r) { return r < 0 ? errno : 0; }

struct Fd {
  int n = -1;
  explicit Fd(int fd) : n(fd) {}
  ~Fd() {
    if (n >= 0) ::close(n);
  }
  Fd(const Fd &) = delete;
  Fd &operator=(const Fd &) = delete;
  int release() {
    int out = n;
    n = -1;
    return out;
  }
};

void fill(Stat &to, const struct ::stat &from) {
  to.mode = from.st_mode;
  to.uid = from.st_uid;
  to.gid = from.st_gid;
  to.links = from.st_nlink;
  to.size = static_cast<std::uint64_t>(from.st_size);
  to.atime = from.st_atim.tv_sec;
  to.mtime = from.st_mtim.tv_sec;
}

constexpr auto no_id = static_cast<uid_t>(-1);

/// Owner before mode: a change of owner drops set-uid bits.
template <class Chown, class Chmod, class Times> int apply(const Change &c, Chown chown, Chmod chmod, Times times) {
  if (c.uid || c.gid)
    if (chown(c.uid.value_or(no_id), c.gid.value_or(no_id)) < 0) return errno;
  if (c.permissions)
    if (chmod(static_cast<mode_t>(*c.permissions)) < 0) return errno;
  if (c.mtime) {
    timespec t[2] = {{c.atime.value_or(*c.mtime), 0}, {*c.mtime, 0}};
    if (times(t) < 0) return errno;
  }
  return 0;
}

class SystemFile final : public File {
public:
  explicit SystemFile(int fd) : fd_(fd) {}
  int read(std::uint64_t offset, char *to, std::size_t size, std::size_t &done) override {
    Slow slow;
    done = 0;
    if (offset > INT64_MAX) return EINVAL;
    while (done < size) {
      auto n = ::pread(fd_.n, to + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return done ? 0 : errno;
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return 0;
  }
  int write(std::uint64_t offset, const char *from, std::size_t size) override {
    Slow slow;
    if (offset > INT64_MAX) return EINVAL;
    for (std::size_t done = 0; done < size;) {
      auto n = ::pwrite(fd_.n, from + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return n < 0 ? errno : EIO;
      done += static_cast<std::size_t>(n);
    }
    return 0;
  }
  int stat(Stat &st) override {
    Slow slow;
    struct ::stat s;
    if (::fstat(fd_.n, &s) < 0) return errno;
    fill(st, s);
    return 0;
  }
  int change(const Change &c) override {
    Slow slow;
    if (c.size && ::ftruncate(fd_.n, static_cast<off_t>(*c.size)) < 0) return errno;
    return apply(c, [&](uid_t u, gid_t g) { return ::fchown(fd_.n, u, g); }, [&](mode_t m) { return ::fchmod(fd_.n, m); },
                 [&](const timespec *t) { return ::futimens(fd_.n, t); });
  }
  int sync() override {
    Slow slow;
    return result(::fsync(fd_.n));
  }
  int descriptor() const override { return fd_.n; }

private:
  Fd fd_;
};

class SystemDirectory final : public Directory {
public:
  explicit SystemDirectory(DIR *d) : dir_(d) {}
  ~SystemDirectory() override { ::closedir(dir_); }
  bool next(std::string &name, Stat &st) override {
    Slow slow;
    for (;;) {
      auto *e = ::readdir(dir_);
      if (!e) return false;
      if (std::strcmp(e->d_name, ".") == 0 || std::strcmp(e->d_name, "..") == 0) continue;
      struct ::stat s;
      if (::fstatat(::dirfd(dir_), e->d_name, &s, AT_SYMLINK_NOFOLLOW) < 0) continue; // gone meanwhile
      name = e->d_name;
      fill(st, s);
      return true;
    }
  }

  int stat(Stat &st) override {
    Slow slow;
    struct ::stat s;
    if (::fstat(::dirfd(dir_), &s) < 0) return errno;
    fill(st, s);
    return 0;
  }
  int change(const Change &c) override {
    Slow slow;
    if (c.size) return EISDIR;
    int fd = ::dirfd(dir_);
    return apply(c, [&](uid_t u, gid_t g) { return ::fchown(fd, u, g); }, [&](mode_t m) { return ::fchmod(fd, m); },
                 [&](const timespec *t) { return ::futimens(fd, t); });
  }

private:
  DIR *dir_;
};

/// Where a link at `path` leads, as a path.
std::string resolved(const std::string &path, const std::string &target) {
  if (target.starts_with('/')) return target;
  return path.substr(0, path.rfind('/') + 1) + target;
}

} // namespace

/// A descriptor that only names what is there; nothing is opened by it.
int System::find(const std::string &path, bool follow, int extra, struct ::stat &st) const {
  int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW) | extra);
  if (fd < 0) return -1;
  if (::fstat(fd, &st) == 0) return fd;
  int e = errno;
  ::close(fd);
  errno = e;
  return -1;
}

int System::reopen(int fd, int flags) const {
  char name[16];
  std::snprintf(name, sizeof name, "%d", fd);
  return ::openat(self_, name, flags | O_CLOEXEC | O_NOCTTY);
}

int System::stat(const std::string &path, bool follow, Stat &st) {
  Slow slow;
  struct ::stat s;
  if (::fstatat(AT_FDCWD, path.c_str(), &s, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) return errno;
  fill(st, s);
  return 0;
}

int System::open(const std::string &wanted, const OpenHow &how, std::unique_ptr<File> &file, bool &made) {
  Slow slow;
  int mode = how.read && how.write ? O_RDWR : how.write ? O_WRONLY : O_RDONLY;
  std::string path = wanted;
  struct ::stat st;
  made = false;
  for (int round = 0; round < 40; round++) {
    Fd there(find(path, true, 0, st));
    if (there.n >= 0) {
      if (how.create && how.exclusive) return EEXIST;
      if (S_ISDIR(st.st_mode)) return EISDIR;
      if (!S_ISREG(st.st_mode)) return EINVAL;
      int fd = reopen(there.n, mode | (how.truncate ? O_TRUNC : 0));
      if (fd < 0) return errno;
      file = std::make_unique<SystemFile>(fd);
      return 0;
    }
    if (errno != ENOENT || !how.create) return errno;
    int fd = ::open(path.c_str(), mode | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, static_cast<mode_t>(how.permissions & 07777));
    if (fd >= 0) {
      made = true;
      file = std::make_unique<SystemFile>(fd);
      return 0;
    }
    if (errno != EEXIST) return errno;
    if (how.exclusive) return EEXIST;
    // A link that leads nowhere: the file is made where it points to. Or somebody made the file just now.
    std::string target;
    if (read_link(path, target) == 0) path = resolved(path, target);
  }
  return ELOOP;
}

int System::open_directory(const std::string &path, std::unique_ptr<Directory> &directory) {
  Slow slow;
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); // of a device only the kind is looked at
  if (fd.n < 0) return errno;
  DIR *d = ::fdopendir(fd.n);
  if (!d) return errno;
  fd.release();
  directory = std::make_unique<SystemDirectory>(d);
  return 0;
}

int System::change(const std::string &path, bool follow, const Change &c) {
  Slow slow;
  if (c.size) {
    std::unique_ptr<File> file;
    bool made = false;
    OpenHow how;
    how.write = true;
    if (int e = open(path, how, file, made)) return e;
    Change size;
    size.size = c.size;
    if (int e = file->change(size)) return e;
  }
  struct ::stat st;
  Fd fd(find(path, follow, 0, st));
  if (fd.n < 0) return errno;
  char name[16];
  std::snprintf(name, sizeof name, "%d", fd.n);
  return apply(
      c, [&](uid_t u, gid_t g) { return ::fchownat(fd.n, "", u, g, AT_EMPTY_PATH); },
      [&](mode_t m) {
        if (S_ISLNK(st.st_mode)) return 0; // has none
        return ::fchmodat(self_, name, m, 0);
      },
      [&](const timespec *t) { return ::utimensat(fd.n, "", t, AT_EMPTY_PATH); });
}

int System::make_directory(const std::string &path, std::uint32_t permissions) {
  Slow slow;
  return result(::mkdir(path.c_str(), static_cast<mode_t>(permissions & 07777)));
}

int System::remove_file(const std::string &path) {
  Slow slow;
  return result(::unlink(path.c_str()));
}

int System::remove_directory(const std::string &path) {
  Slow slow;
  return result(::rmdir(path.c_str()));
}

int System::rename(const std::string &from, const std::string &to, bool replace) {
  Slow slow;
  if (replace) return result(::rename(from.c_str(), to.c_str()));
  int e = result(static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE)));
  if (e != EINVAL && e != ENOSYS) return e;
  struct ::stat st; // not every file system has it
  if (::lstat(to.c_str(), &st) == 0) return EEXIST;
  return result(::rename(from.c_str(), to.c_str()));
}

int System::make_link(const std::string &target, const std::string &path) {
  Slow slow;
  return result(::symlink(target.c_str(), path.c_str()));
}

int System::make_hard_link(const std::string &from, const std::string &to) {
  Slow slow;
  return result(::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0));
}

int System::read_link(const std::string &path, std::string &target) {
  Slow slow;
  char buffer[4096];
  auto n = ::readlink(path.c_str(), buffer, sizeof buffer);
  if (n < 0) return errno;
  target.assign(buffer, static_cast<std::size_t>(n));
  return 0;
}

int System::space(const std::string &path, Space &s) {
  Slow slow;
  struct ::statvfs v;
  if (::statvfs(path.c_str(), &v) < 0) return errno;
  s = {v.f_bsize, v.f_frsize, v.f_blocks, v.f_bfree, v.f_bavail, v.f_files, v.f_ffree, v.f_favail, v.f_fsid, v.f_namemax, (v.f_flag & ST_RDONLY) != 0};
  return 0;
}

} // namespace incus::files
