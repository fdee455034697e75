// SPDX-License-Identifier: Apache-2.0
// Trees as entries of a tar.
#pragma once
#include <archive.h>
#include <archive_entry.h>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "helper/unpack/id_shift.hpp"

namespace incus::unpack {

class Packer {
public:
  /// Takes all bytes; throws Failure.
  using Sink = std::function<void(const void *data, std::size_t size)>;
  struct Options {
    bool live = false;       ///< the tree may be in use: what vanishes is left out, what grows or shrinks keeps the size it was found with
    bool acls_as_kept = false; ///< ACLs as the attributes that the kernel keeps them in, for readers that know no others
  };
  Packer(Sink sink, Options options);
  ~Packer() { archive_write_free(archive_); }
  Packer(const Packer &) = delete;
  Packer &operator=(const Packer &) = delete;

  void add(int parent, const std::string &name, const std::string &path);
  /// The directory itself, not what is in it; -1: one of root's with mode 0755.
  void add_directory(int fd, const std::string &path);
  /// The directory and all that is in it.
  void add_tree(int fd, const std::string &path) {
    add_directory(fd, path);
    children(fd, path);
  }
  void add_text(const std::string &path, const std::string &text, mode_t mode);
  /// Another tree begins: its hard links are its own, its owners are shifted by this.
  void begin(IdShift shift) {
    linked_.clear();
    shift_ = std::move(shift);
  }
  /// An open regular file, with root as its owner.
  void add_file(int fd, const std::string &path, mode_t mode);
  void finish();

private:
  [[noreturn]] void broken(const std::string &path);
  void fill(archive_entry *entry, const struct stat &st, const std::string &path);
  void attributes(archive_entry *entry, int parent, const std::string &name, const std::string &path, int fd);
  void holes(archive_entry *entry, int fd, std::int64_t size, const std::string &path);
  void content(int fd, std::int64_t size, const std::string &path);
  void children(int fd, const std::string &path);

  Sink sink_;
  Options options_;
  IdShift shift_;
  struct archive *archive_;
  std::vector<char> buffer_;
  std::exception_ptr write_error_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;
};

} // namespace incus::unpack
