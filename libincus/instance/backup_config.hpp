// SPDX-License-Identifier: Apache-2.0
// What a backup says of itself: backup/index.yaml of an archive, and backup.yaml beside an instance. The fields are those of the API's records.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "db/volumes.hpp"

namespace incus::instance {

struct BackupInstance {
  db::InstanceRow row;
  Config expanded_config;
  Devices expanded_devices;
  std::string type = "container";
};

struct BackupConfig {
  std::optional<BackupInstance> instance;
  std::vector<db::SnapshotRow> snapshots;
  std::optional<db::PoolRow> pool;
  std::vector<db::ProfileRow> profiles;
  std::optional<db::VolumeFull> volume;
  std::string volume_content = "filesystem";
  std::vector<db::VolumeSnapshotRow> volume_snapshots;
};

struct BackupIndex {
  std::string name, backend, pool, type = "container";
  std::vector<std::string> snapshots;
  bool optimized = false, optimized_header = false;
  BackupConfig config;
};

/// `id`: also by which number the instance is known here, for those that run when they are recovered; 0: not.
std::string format_backup(const BackupConfig &c, std::int64_t id = 0);
std::string format_index(const BackupIndex &i);
/// Throws corrupt. What it says is not checked against anything: names, keys and values are still the sender's.
BackupConfig parse_backup(const std::string &yaml);
BackupIndex parse_index(const std::string &yaml);

/// For incus-unpack: the owners that the files of a part of a backup (a snapshot, or "" for what it is of) have, when that is not the guest's; `key` of the
/// configuration says so.
std::string backup_shifts(const std::string &part, const Config &config, const char *key);

} // namespace incus::instance
