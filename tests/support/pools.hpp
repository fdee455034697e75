// SPDX-License-Identifier: Apache-2.0
// Pools of every driver for tests: a driver whose pools lie on something gets a loop file, or on a file system that it likes a place there.
#pragma once
#include <linux/magic.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "storage/driver.hpp"

namespace incus::test {

inline storage::DriverContext pool_context(const storage::DriverInfo &row, const std::string &name, const std::string &path, const base::Log *log) {
  storage::DriverContext c{name, path, {}, log, path + ".disks"};
  if (!row.mounts) return c;
  struct statfs fs {};
  ::statfs(path.substr(0, path.rfind('/')).c_str(), &fs);
  if (fs.f_type == BTRFS_SUPER_MAGIC)
    c.config = {{"source", path}};
  else
    c.config = {{"source", c.disks + "/" + name + ".img"}, {"size", "256MiB"}};
  return c;
}

/// What the program mounts from now on is its own.
inline void own_mounts() {
  static bool done = false;
  if (done) return;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) throw std::runtime_error("cannot make a mount namespace");
  done = true;
}

} // namespace incus::test
