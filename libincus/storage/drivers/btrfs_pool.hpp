// SPDX-License-Identifier: Apache-2.0
// What a pool of the btrfs driver lies on: a loop file, a disk, or a directory of a Btrfs file system; and how it comes to storage-pools/NAME.
#pragma once
#include <mutex>

#include "storage/driver.hpp"

namespace incus::storage {

/// The path of mkfs.btrfs; empty when it is not installed.
std::string btrfs_maker();

class BtrfsPool {
public:
  explicit BtrfsPool(const DriverContext &context) : context_(context) {}

  /// Refuses what cannot be made; see DriverInfo.
  static Config prepare(const DriverContext &context);
  /// Makes the file system (or takes the directory) and mounts it.
  void create();
  /// False: it was there.
  bool open();
  void close(bool unused);
  bool is_open() const;
  /// After close(): the loop file; `abandoned`: also a subvolume that create() made for a source that was not there.
  void remove_storage(bool abandoned);
  /// Of what is to be stored.
  Config config() const {
    std::lock_guard lock(mutex_);
    return context_.config;
  }
  void update(const Config &wanted);

private:
  enum class Kind { loop, disk, directory, here };
  Kind kind() const;
  std::string source() const;
  std::string disk() const;
  void mount();
  void format(const std::string &target, bool force);

  DriverContext context_;
  mutable std::recursive_mutex mutex_;
  bool removed_ = false, made_ = false;
};

} // namespace incus::storage
