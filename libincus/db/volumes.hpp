// SPDX-License-Identifier: Apache-2.0
// Storage volumes in full: configuration, description, and the snapshots of custom ones.
#pragma once
#include "db/records.hpp"

namespace incus::db {

struct VolumeFull : VolumeRow {
  std::int64_t id = 0;
  Config config;
};
std::optional<VolumeFull> volume(Connection &c, const std::string &pool, const std::string &project, int type, const std::string &name);
/// Of one pool; configuration is loaded with it.
std::vector<VolumeFull> volumes_full(Connection &c, const std::string &pool);
void insert_volume(Connection &c, const VolumeFull &v);
void update_volume(Connection &c, const VolumeFull &v); ///< description and configuration

/// Who has a disk device with this pool and source.
struct VolumeUser {
  std::string pool, source;
  std::string project, name;
  bool is_profile = false;
};
/// Instances, by their own devices and by those of their profiles, and profiles; `pool` empty: of all.
std::vector<VolumeUser> volume_users(Connection &c, const std::string &pool);

struct VolumeSnapshotRow {
  std::int64_t id = 0, volume_id = 0;
  std::string name, description;
  std::string expires_text; ///< RFC 3339 as it was given; empty: never
  Time created_at;
};
/// Of one volume, or of all when 0; oldest first.
std::vector<VolumeSnapshotRow> volume_snapshots(Connection &c, std::int64_t volume_id);
void insert_volume_snapshot(Connection &c, const VolumeSnapshotRow &s);
void update_volume_snapshot(Connection &c, const VolumeSnapshotRow &s); ///< name, description, expiry
void delete_volume_snapshot(Connection &c, std::int64_t id);

void set_snapshot_description(Connection &c, std::int64_t instance_snapshot_id, const std::string &description);

} // namespace incus::db
