// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/pack.hpp"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <ctime>
#include <unistd.h>

#include "helper/unpack/attributes.hpp"
#include "helper/unpack/encoders.hpp"
#include "helper/unpack/packer.hpp"

namespace incus::unpack {

namespace {

[[noreturn]] void cannot(const std::string &path, const char *verb) { fail_errno(errno, std::string("cannot ") + verb + " " + quoted(path)); }

struct OwnFd {
  int fd;
  ~OwnFd() {
    if (fd >= 0) ::close(fd);
  }
};

} // namespace

Packer::Packer(Sink sink, Options options) : sink_(std::move(sink)), options_(std::move(options)), archive_(archive_write_new()), buffer_(256 * 1024) {
  archive_write_set_format_pax(archive_);
  archive_write_set_options(archive_, "xattrheader=SCHILY");
  archive_write_set_bytes_per_block(archive_, 64 * 1024);
  archive_write_set_bytes_in_last_block(archive_, 512);
  auto write = [](archive *a, void *self, const void *data, std::size_t n) -> la_ssize_t {
    auto *p = static_cast<Packer *>(self);
    try {
      p->sink_(data, n);
    } catch (...) {
      p->write_error_ = std::current_exception(); // no exception may cross the C library
      archive_set_error(a, EIO, "output");
      return -1;
    }
    return static_cast<la_ssize_t>(n);
  };
  if (archive_write_open(archive_, this, nullptr, write, nullptr) != ARCHIVE_OK) broken(""); // the process ends then
}

void Packer::finish() {
  if (archive_write_close(archive_) != ARCHIVE_OK) broken("");
}

void Packer::broken(const std::string &path) {
  if (write_error_) std::rethrow_exception(write_error_);
  const char *text = archive_error_string(archive_);
  fail("internal", "cannot pack " + quoted(path) + ": " + (text ? text : "unknown error"));
}

void Packer::attributes(archive_entry *entry, int parent, const std::string &name, const std::string &path, int fd) {
  std::vector<char> names(64 * 1024), value(64 * 1024);
  if (fd < 0 && ::fchdir(parent) < 0) cannot(path, "reach"); // links and devices are reached by name; the working directory is this program's own
  ssize_t n = fd >= 0 ? ::flistxattr(fd, names.data(), names.size()) : ::llistxattr(name.c_str(), names.data(), names.size());
  if (n < 0 && errno == ENOTSUP) return;
  if (n < 0) cannot(path, "list the extended attributes of");
  std::vector<std::string> sorted;
  for (ssize_t at = 0; at < n; at += static_cast<ssize_t>(std::strlen(names.data() + at)) + 1) sorted.emplace_back(names.data() + at);
  std::sort(sorted.begin(), sorted.end());
  for (auto &key : sorted) {
    if (!kept_attribute(key)) continue;
    ssize_t size = fd >= 0 ? ::fgetxattr(fd, key.c_str(), value.data(), value.size()) : ::lgetxattr(name.c_str(), key.c_str(), value.data(), value.size());
    if (size < 0) cannot(path, "read an extended attribute of");
    std::string kept(value.data(), static_cast<std::size_t>(size));
    shift_.attribute(key, kept);
    std::string_view text = kept;
    if (key.starts_with("system.posix_acl_") && !options_.acls_as_kept) {
      if (!add_acl(entry, text, key.ends_with("default"))) fail("not_supported", "the ACL of " + quoted(path) + " has an unknown form");
    } else {
      archive_entry_xattr_add_entry(entry, key.c_str(), text.data(), text.size());
    }
  }
}

/// Tells the archive where data is, so that holes stay holes.
void Packer::holes(archive_entry *entry, int fd, std::int64_t size, const std::string &path) {
  for (off_t at = 0; at < size;) {
    off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0) {
      if (errno != ENXIO) return; // a file system without the question
      archive_entry_sparse_add_entry(entry, size, 0);
      break;
    }
    off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) cannot(path, "read");
    if (data == 0 && hole >= size) return;
    archive_entry_sparse_add_entry(entry, data, std::min<off_t>(hole, size) - data);
    at = hole;
  }
}

void Packer::content(int fd, std::int64_t size, const std::string &path) {
  for (std::int64_t at = 0; at < size;) {
    ssize_t n = ::pread(fd, buffer_.data(), static_cast<std::size_t>(std::min<std::int64_t>(size - at, static_cast<std::int64_t>(buffer_.size()))), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) cannot(path, "read");
    if (n == 0 && options_.live) return; // the rest is zeros
    if (n == 0) fail("conflict", quoted(path) + " became shorter while it was read");
    if (archive_write_data(archive_, buffer_.data(), static_cast<std::size_t>(n)) < 0) broken(path);
    at += n;
  }
}

void Packer::children(int fd, const std::string &path) {
  std::vector<std::string> names;
  {
    int again = ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? nullptr : ::fdopendir(again);
    if (!d) cannot(path, "list");
    errno = 0;
    while (dirent *e = ::readdir(d)) {
      std::string n = e->d_name;
      if (n != "." && n != "..") names.push_back(std::move(n));
    }
    int err = errno;
    ::closedir(d);
    errno = err;
    if (err) cannot(path, "list");
  }
  std::sort(names.begin(), names.end());
  for (auto &n : names) add(fd, n, path + "/" + n);
}

void Packer::fill(archive_entry *entry, const struct stat &st, const std::string &path) {
  archive_entry_set_pathname(entry, path.c_str());
  archive_entry_set_mode(entry, st.st_mode);
  archive_entry_set_uid(entry, shift_.user(st.st_uid));
  archive_entry_set_gid(entry, shift_.group(st.st_gid));
  archive_entry_set_mtime(entry, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  archive_entry_set_size(entry, S_ISREG(st.st_mode) ? st.st_size : 0);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    archive_entry_set_rdevmajor(entry, ::major(st.st_rdev));
    archive_entry_set_rdevminor(entry, ::minor(st.st_rdev));
  }
}

void Packer::add(int parent, const std::string &name, const std::string &path) {
  struct stat st;
  auto vanished = [&] { return options_.live && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR); };
  if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) {
    if (vanished()) return;
    cannot(path, "read");
  }
  if (S_ISSOCK(st.st_mode)) return; // a tar cannot hold one; its server makes it again
  OwnFd file{-1};
  if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
    int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (S_ISDIR(st.st_mode) ? O_DIRECTORY : 0);
    file.fd = ::openat(parent, name.c_str(), flags | O_NOATIME);
    if (file.fd < 0 && errno == EPERM) file.fd = ::openat(parent, name.c_str(), flags);
    mode_t type = st.st_mode & S_IFMT;
    if (file.fd < 0 && vanished()) return;
    if (file.fd < 0 || ::fstat(file.fd, &st) < 0) cannot(path, "open");
    if ((st.st_mode & S_IFMT) != type) {
      if (options_.live) return;
      fail("conflict", quoted(path) + " changed while it was read");
    }
  }
  std::unique_ptr<archive_entry, void (*)(archive_entry *)> owner(archive_entry_new(), archive_entry_free);
  archive_entry *entry = owner.get();
  fill(entry, st, path);
  bool link = false;
  if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
    auto [at, fresh] = linked_.try_emplace({st.st_dev, st.st_ino}, path);
    if (!fresh) {
      archive_entry_set_hardlink(entry, at->second.c_str());
      archive_entry_set_size(entry, 0);
      link = true;
    }
  }
  if (!link && S_ISLNK(st.st_mode)) {
    std::string target(4096, '\0');
    ssize_t n = ::readlinkat(parent, name.c_str(), target.data(), target.size());
    if (n < 0 && vanished()) return;
    if (n < 0) cannot(path, "read");
    target.resize(static_cast<std::size_t>(n));
    archive_entry_set_symlink(entry, target.c_str());
  }
  if (!link) attributes(entry, parent, name, path, file.fd);
  if (!link && S_ISREG(st.st_mode) && st.st_blocks * 512 < st.st_size) holes(entry, file.fd, st.st_size, path);
  if (archive_write_header(archive_, entry) < ARCHIVE_WARN) broken(path);
  if (!link && S_ISREG(st.st_mode)) content(file.fd, st.st_size, path);
  if (archive_write_finish_entry(archive_) < ARCHIVE_WARN) broken(path);
  if (S_ISDIR(st.st_mode)) children(file.fd, path);
}

void Packer::add_directory(int fd, const std::string &path) {
  struct stat st {};
  st.st_mode = S_IFDIR | 0755;
  if (fd >= 0 && ::fstat(fd, &st) < 0) cannot(path, "read");
  std::unique_ptr<archive_entry, void (*)(archive_entry *)> entry(archive_entry_new(), archive_entry_free);
  fill(entry.get(), st, path);
  if (fd >= 0) attributes(entry.get(), -1, "", path, fd);
  if (archive_write_header(archive_, entry.get()) < ARCHIVE_WARN || archive_write_finish_entry(archive_) < ARCHIVE_WARN) broken(path);
}

void Packer::add_file(int fd, const std::string &path, mode_t mode) {
  struct stat st {};
  if (::fstat(fd, &st) < 0) cannot(path, "read");
  std::unique_ptr<archive_entry, void (*)(archive_entry *)> entry(archive_entry_new(), archive_entry_free);
  struct stat as {};
  as.st_mode = S_IFREG | mode;
  as.st_size = st.st_size;
  as.st_mtim = st.st_mtim;
  fill(entry.get(), as, path);
  if (archive_write_header(archive_, entry.get()) < ARCHIVE_WARN) broken(path);
  content(fd, st.st_size, path);
  if (archive_write_finish_entry(archive_) < ARCHIVE_WARN) broken(path);
}

void Packer::add_text(const std::string &path, const std::string &text, mode_t mode) {
  std::unique_ptr<archive_entry, void (*)(archive_entry *)> entry(archive_entry_new(), archive_entry_free);
  struct stat st {};
  st.st_mode = S_IFREG | mode;
  st.st_size = static_cast<off_t>(text.size());
  st.st_mtim.tv_sec = ::time(nullptr);
  fill(entry.get(), st, path);
  if (archive_write_header(archive_, entry.get()) < ARCHIVE_WARN) broken(path);
  if (!text.empty() && archive_write_data(archive_, text.data(), text.size()) < 0) broken(path);
  if (archive_write_finish_entry(archive_) < ARCHIVE_WARN) broken(path);
}

void write_all(int fd, const void *data, std::size_t size) {
  auto *at = static_cast<const char *>(data);
  while (size) {
    ssize_t n = ::write(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(errno, "cannot write the archive");
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

void pack(int directory, int out, const std::function<void(std::uint64_t)> &written, const std::string &compression,
          unsigned threads) {
  struct stat st;
  auto look = [&](const char *name) { return ::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mode & S_IFMT : 0; };
  if (look("metadata.yaml") != S_IFREG) fail("invalid_argument", "the image directory holds no regular file metadata.yaml");
  if (look("rootfs") != S_IFDIR) fail("invalid_argument", "the image directory holds no directory rootfs");
  mode_t templates = look("templates");
  if (templates && templates != S_IFDIR) fail("invalid_argument", "\"templates\" in the image directory is not a directory");
  std::uint64_t total = 0;
  auto encode = encoder(compression, [&](const void *data, std::size_t n) {
    write_all(out, data, n);
    total += n;
    if (written) written(total);
  }, threads);
  WriteBehind behind(*encode);
  Packer packer([&](const void *data, std::size_t n) { behind.write(data, n); }, {});
  packer.add(directory, "metadata.yaml", "metadata.yaml");
  packer.add(directory, "rootfs", "rootfs");
  if (templates) packer.add(directory, "templates", "templates");
  packer.finish();
  behind.finish();
}

} // namespace incus::unpack
