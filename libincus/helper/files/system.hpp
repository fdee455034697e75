// SPDX-License-Identifier: Apache-2.0
// The file system of this process' root, which is the guest's.
#pragma once
#include <atomic>

#include "helper/files/vfs.hpp"

namespace incus::files {

/// `self` is a descriptor of this process' /proc/self/fd, opened while the host's procfs was in reach: what was looked at is opened through it, so that
/// nobody can put a device, or another file, in its place between the look and the open.
class System final : public Vfs {
public:
  explicit System(int self) : self_(self) {}
  int stat(const std::string &path, bool follow, Stat &st) override;
  int open(const std::string &path, const OpenHow &how, std::unique_ptr<File> &file, bool &made) override;
  int open_directory(const std::string &path, std::unique_ptr<Directory> &directory) override;
  int change(const std::string &path, bool follow, const Change &c) override;
  int make_directory(const std::string &path, std::uint32_t permissions) override;
  int remove_file(const std::string &path) override;
  int remove_directory(const std::string &path) override;
  int rename(const std::string &from, const std::string &to, bool replace) override;
  int make_link(const std::string &target, const std::string &path) override;
  int make_hard_link(const std::string &from, const std::string &to) override;
  int read_link(const std::string &path, std::string &target) override;
  int space(const std::string &path, Space &s) override;

private:
  int find(const std::string &path, bool follow, int extra, struct ::stat &st) const;
  int reopen(int fd, int flags) const;
  int self_;
};

/// Notes how long the current system call of this thread takes: a guest can have file systems that never answer.
class Slow {
public:
  struct Slot {
    std::atomic<std::int64_t> since{0}; ///< seconds of the monotonic clock; 0: not in a call
  };
  Slow();
  ~Slow();
  static thread_local Slot *slot;
};

} // namespace incus::files
