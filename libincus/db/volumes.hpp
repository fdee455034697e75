// SPDX-License-Identifier: Apache-2.0
// Storage volumes in full: configuration, description, and the snapshots of custom ones.
#pragma once
#include <optional>
#include <set>
#include <string_view>

#include "db/records.hpp"

namespace incus::db {

/// What a volume is to who uses it: a tree of files, a disk, or a medium that is only read.
enum class VolumeContent { filesystem, block, iso };
const char *content_name(VolumeContent content) noexcept;
std::optional<VolumeContent> content_of(std::string_view name) noexcept;

struct VolumeFull : VolumeRow {
  std::int64_t id = 0;
  VolumeContent content = VolumeContent::filesystem;
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

/// Disk devices of instances and profiles that name the volume name it by another pool and name from now on.
void move_volume_users(Connection &c, const VolumeFull &volume, const std::string &pool, const std::string &name);

struct VolumeSnapshotRow {
  std::int64_t id = 0, volume_id = 0;
  std::string name, description;
  std::string expires_text; ///< RFC 3339 as it was given; empty: never
  Time created_at;
  Config config;            ///< the volume's at that time
};
/// Of one volume, or of all when 0; oldest first.
std::vector<VolumeSnapshotRow> volume_snapshots(Connection &c, std::int64_t volume_id);
void insert_volume_snapshot(Connection &c, const VolumeSnapshotRow &s);
/// A volume with its snapshots, whose volume_id it sets.
void insert_volume(Connection &c, const VolumeFull &v, std::vector<VolumeSnapshotRow> snapshots);
void update_volume_snapshot(Connection &c, const VolumeSnapshotRow &s); ///< name, description, expiry
void delete_volume_snapshot(Connection &c, std::int64_t id);
/// Of any volume; empty: of all. Names only.
std::set<std::string> volume_snapshot_names(Connection &c, std::int64_t volume_id);

/// An instance's snapshots are snapshots of its volume too: with each, db::insert_snapshot() makes one that has the volume's description and configuration.
/// Gives the one of that name those of another.
void set_snapshot_volume(Connection &c, std::int64_t instance_id, const std::string &name, const VolumeSnapshotRow &like);
/// Of the volume of an instance, as `snapshots` has them.
std::vector<VolumeSnapshotRow> instance_volume_snapshots(Connection &c, std::int64_t instance_id);
/// Whether both sides have the same.
bool snapshot_rows_agree(Connection &c, std::int64_t instance_id);
/// Makes them the same, by what instances have.
void repair_snapshot_rows(Connection &c);

} // namespace incus::db
