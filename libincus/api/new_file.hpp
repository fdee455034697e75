// SPDX-License-Identifier: Apache-2.0
// A file of the caller's that appears when it is whole, and never in the place of another.
#pragma once
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"

namespace incus::api {

inline void must_not_exist(const char *what, const std::string &path) {
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0)
    base::fail(ErrorCode::already_exists, "cannot write the {} to {}: the file exists; remove it or choose another name", what, base::quoted(path));
}

/// A file without a name, or where the filesystem has none of those one with a hidden random name.
struct NewFile {
  base::Fd fd;
  /// `what` is for errors: "image", "backup".
  NewFile(const char *what, const std::string &path) : what_(what) {
    auto cut = path.rfind('/');
    auto dir = cut == std::string::npos ? "." : cut == 0 ? "/" : path.substr(0, cut);
    fd.reset(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
      name_ = dir + "/.incus-export-" + base::random_hex(8);
      fd.reset(::open(name_.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600));
    }
    if (!fd) {
      int e = errno;
      name_.clear();
      base::fail_errno(e, fmt::format("cannot make a file in {}", base::quoted(dir)));
    }
  }
  ~NewFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  NewFile(const NewFile &) = delete;
  NewFile &operator=(const NewFile &) = delete;
  /// Gives it its final name; never replaces a file.
  void publish(const std::string &path) {
    auto from = name_.empty() ? fmt::format("/proc/self/fd/{}", fd.get()) : name_;
    if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, path.c_str(), name_.empty() ? AT_SYMLINK_FOLLOW : 0) < 0)
      base::fail_errno(errno, fmt::format("cannot write the {} to {}", what_, base::quoted(path)));
  }

private:
  const char *what_;
  std::string name_;
};

} // namespace incus::api
