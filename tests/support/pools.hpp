// SPDX-License-Identifier: Apache-2.0
// Pools of every driver for tests: a driver whose pools lie on something gets a loop file, or on a file system that it likes a place there.
#pragma once
#include <linux/magic.h>
#include <string>
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

} // namespace incus::test
