// SPDX-License-Identifier: Apache-2.0
// What a file server stands on: the guest's file system seen by the guest's root. Two of them: system calls inside the guest's root (system.cpp, in
// the helper) and a tree in memory (mock/files.cpp). Functions return 0 or an errno. Free of dependencies, because the helper links nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/stat.h>

namespace incus::files {

struct Stat {
  std::uint32_t mode = 0; ///< type and permissions, as st_mode
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t links = 1, size = 0;
  std::int64_t atime = 0, mtime = 0;
  bool is_directory() const { return S_ISDIR(mode); }
  bool is_link() const { return S_ISLNK(mode); }
  bool is_file() const { return S_ISREG(mode); }
};

/// What to change; absent: kept.
struct Change {
  std::optional<std::uint64_t> size;
  std::optional<std::uint32_t> uid, gid;
  std::optional<std::uint32_t> permissions; ///< the lowest twelve bits
  std::optional<std::int64_t> atime, mtime; ///< both or none
};

struct OpenHow {
  bool read = false, write = false, append = false, create = false, truncate = false, exclusive = false;
  std::uint32_t permissions = 0644;
};

/// An open regular file.
class File {
public:
  virtual ~File() = default;
  virtual int read(std::uint64_t offset, char *to, std::size_t size, std::size_t &done) = 0;
  virtual int write(std::uint64_t offset, const char *from, std::size_t size) = 0;
  virtual int stat(Stat &st) = 0;
  virtual int change(const Change &c) = 0;
  virtual int sync() = 0;
  /// -1: none.
  virtual int descriptor() const { return -1; }
};

class Directory {
public:
  virtual ~Directory() = default;
  /// False at the end. "." and ".." are left out.
  virtual bool next(std::string &name, Stat &st) = 0;
  virtual int stat(Stat &st) = 0;
  virtual int change(const Change &c) = 0;
};

struct Space {
  std::uint64_t block_size = 4096, fragment_size = 4096, blocks = 0, free = 0, available = 0, files = 0, files_free = 0, files_available = 0, id = 0;
  std::uint64_t name_max = 255;
  bool read_only = false;
};

/// Paths are absolute inside the guest. Links are resolved inside it.
class Vfs {
public:
  virtual ~Vfs() = default;
  virtual int stat(const std::string &path, bool follow, Stat &st) = 0;
  /// Only regular files; anything else is refused with EINVAL (a directory: EISDIR), without opening it. `made` tells whether it was not there.
  virtual int open(const std::string &path, const OpenHow &how, std::unique_ptr<File> &file, bool &made) = 0;
  virtual int open_directory(const std::string &path, std::unique_ptr<Directory> &directory) = 0;
  virtual int change(const std::string &path, bool follow, const Change &c) = 0;
  virtual int make_directory(const std::string &path, std::uint32_t permissions) = 0;
  virtual int remove_file(const std::string &path) = 0;
  virtual int remove_directory(const std::string &path) = 0;
  virtual int rename(const std::string &from, const std::string &to, bool replace) = 0;
  virtual int make_link(const std::string &target, const std::string &path) = 0; ///< symbolic
  virtual int make_hard_link(const std::string &from, const std::string &to) = 0;
  virtual int read_link(const std::string &path, std::string &target) = 0;
  virtual int space(const std::string &path, Space &s) = 0;
};

/// `path` made absolute, without ".", ".." and empty components; links are not looked at.
std::string clean_path(const std::string &path);

} // namespace incus::files
