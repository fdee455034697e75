// SPDX-License-Identifier: Apache-2.0
// Volumes that users make for themselves: rules, records and recovery over a driver.
#pragma once
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "db/volumes.hpp"
#include "storage/pools.hpp"

namespace incus::storage {

class CustomVolumes {
public:
  /// `state`: the state directory, where backups are; empty in memory.
  CustomVolumes(db::Connection &global, db::Journal &journal, Pools &pools, std::string state = {});

  /// Where a volume is called in a pool: always with its project.
  static std::string store_name(const std::string &project, const std::string &name) { return project + "_" + name; }

  /// Throws not_found.
  db::VolumeFull volume(const std::string &pool, const std::string &project, const std::string &name);
  void create(const std::string &pool, const std::string &project, const std::string &name, const std::string &description, const Config &config);
  void rename(const std::string &pool, const std::string &project, const std::string &name, const std::string &new_name);
  void remove(const std::string &pool, const std::string &project, const std::string &name);

  /// Throws not_found.
  db::VolumeSnapshotRow snapshot(const db::VolumeFull &volume, const std::string &name);
  /// The name it gets when `name` is empty, checked.
  std::string snapshot_name(const db::VolumeFull &volume, const std::string &name);
  void create_snapshot(const db::VolumeFull &volume, const std::string &name, const std::string &description, const std::string &expires_at);
  void rename_snapshot(const db::VolumeFull &volume, const std::string &name, const std::string &new_name);
  void remove_snapshot(const db::VolumeFull &volume, const std::string &name);

  // Backups (custom_backup.cpp).
  struct Place {
    std::string name;      ///< of the snapshot; empty: the volume
    std::string directory; ///< on this host
  };
  /// Where volume and snapshots are, snapshots first.
  void with_places(const db::VolumeFull &volume, bool snapshots, const std::function<void(const std::vector<Place> &)> &use);
  /// `volume` and its snapshots, filled by `fill` (storage/driver.hpp).
  void create_from_backup(const db::VolumeFull &volume, const std::vector<db::VolumeSnapshotRow> &snapshots, const std::function<void(int dirfd, int snapshots)> &fill);
  /// Rows for a volume that is on the pool already.
  void adopt(const db::VolumeFull &volume, const std::vector<db::VolumeSnapshotRow> &snapshots);

  /// What may stand in a volume's configuration; throws invalid_argument. `instance`: of an instance's root.
  static void validate(const std::string &name, const Config &config, bool instance);

private:
  SnapshotOps &snapshots(const std::string &pool);
  bool exists(const boost::json::object &data);
  void recover(const boost::json::object &data);
  void recover_rename(const boost::json::object &data);
  void recover_snapshot(const boost::json::object &data);
  void recover_snapshot_rename(const boost::json::object &data);

  db::Connection &global_;
  db::Journal &journal_;
  Pools &pools_;
  std::string state_;
  std::mutex mutex_; ///< one change at a time
  std::set<std::string> claimed_; ///< POOL/STORE_NAME of those that are being made outside of the lock
};

} // namespace incus::storage
