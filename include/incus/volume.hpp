// SPDX-License-Identifier: Apache-2.0
/// \file
/// Storage volumes, above all custom ones (REST: /1.0/storage-pools/{pool}/volumes).
#pragma once
#include <incus/backup.hpp>

namespace incus {
inline namespace v0 {

/// POST /1.0/storage-pools/{pool}/volumes/custom: an empty one.
struct StorageVolumeCreate {
  std::string name;
  std::string description;
  Config config;            ///< `size`, `snapshots.*`, `security.shifted`, `initial.*`, `user.*`; the pool's `volume.*` stand for the rest
  std::string content_type; ///< "filesystem" (default) or "block"
};

/// PUT /1.0/storage-pools/{pool}/volumes/custom/{volume}: what is absent here is removed from it.
struct StorageVolumeUpdate {
  Config config;
  std::string description;
};

/// A volume as the REST API shows it (GET /1.0/storage-pools/{pool}/volumes).
struct StorageVolumeInfo {
  Config config;
  std::string description;
  std::string name;         ///< of a snapshot in a list: VOLUME/SNAPSHOT
  std::string type;         ///< "container", "virtual-machine", "image" or "custom"
  std::vector<std::string> used_by;
  std::string location;
  std::string content_type; ///< "filesystem", "block" or "iso"
  std::string project;
  Time created_at;
};

/// GET .../state.
struct StorageVolumeState {
  struct Usage {
    std::int64_t used = 0;  ///< bytes
    std::int64_t total = 0; ///< bytes; 0: no limit
  };
  Usage usage;
};

/// How to copy a volume (JSON `source` of POST .../volumes/custom).
struct StorageVolumeCopy {
  std::string pool;                   ///< where to; empty: the same
  std::string project;                ///< where to; empty: the same
  std::string snapshot;               ///< copies this snapshot of it instead of its present state
  bool volume_only = false;           ///< without snapshots
  bool refresh = false;               ///< brings a copy that is there up to date: only what changed; snapshots that are gone go
  bool refresh_exclude_older = false; ///< with refresh: without snapshots from before the newest that both have
  std::optional<Config> config;       ///< of the copy; absent: the source's
  std::string description;            ///< of the copy; empty: the source's
};

/// Where to move a volume (POST .../volumes/custom/{volume}); what is empty stays.
struct StorageVolumeMove {
  std::string name, pool, project;
};

/// POST .../snapshots.
struct StorageVolumeSnapshotCreate {
  std::string name;               ///< empty: by `snapshots.pattern`, "snap%d" by default
  std::string description;        ///< empty: the volume's
  std::optional<Time> expires_at; ///< absent: by `snapshots.expiry`; epoch: never
};

/// PUT .../snapshots/{snapshot}.
struct StorageVolumeSnapshotUpdate {
  std::string description;
  Time expires_at; ///< epoch: never
};

/// A volume's snapshot as the REST API shows it.
struct StorageVolumeSnapshotInfo {
  Config config; ///< the volume's at that time
  std::string description;
  std::string name;
  std::string content_type;
  Time created_at;
  Time expires_at; ///< epoch: never
};

/// A point in time of a custom volume. A handle: cheap to copy, thread-safe.
class INCUS_EXPORT StorageVolumeSnapshot {
public:
  StorageVolumeSnapshot(std::shared_ptr<api::Session> session, std::string project, std::string pool, std::string volume, std::string name);
  const std::string &name() const { return name_; }
  StorageVolumeSnapshotInfo info(Etag *etag = nullptr) const;
  /// PUT: description and expiry; nothing else of a snapshot can change.
  void update(const StorageVolumeSnapshotUpdate &to, const Etag &if_match = {});
  /// PATCH; epoch: never.
  void set_expiry(Time expires_at, const Etag &if_match = {});
  /// POST .../snapshots/{snapshot}: the handle follows the new name.
  Operation rename(const std::string &new_name);
  Operation remove();

private:
  std::shared_ptr<api::Session> session_;
  std::string project_, pool_, volume_, name_;
};

/// A custom volume. A handle: cheap to copy, thread-safe, valid while its Host is open; it does not prove that the volume exists.
class INCUS_EXPORT StorageVolume {
public:
  StorageVolume(std::shared_ptr<api::Session> session, std::string project, std::string pool, std::string name);
  const std::string &name() const { return name_; }
  const std::string &pool() const { return pool_; }
  const std::string &project() const { return project_; }

  StorageVolumeInfo info(Etag *etag = nullptr) const;
  /// GET .../state.
  StorageVolumeState state() const;
  /// PUT. A block volume grows with `size`; `initial.*` cannot change.
  void update(const StorageVolumeUpdate &to, const Etag &if_match = {});
  /// Merges: only keys given change; an empty value unsets a key (PATCH).
  void patch(const Config &config, const Etag &if_match = {});
  /// POST .../volumes/custom/{volume}: the handle follows the new name. Instances and profiles that use it must be stopped; they follow too.
  void rename(const std::string &new_name);
  /// To another pool or project, with its snapshots; the handle follows. Errors: conflict (used by a running instance; used at all, to another
  /// project), already_exists.
  Operation move(const StorageVolumeMove &to);
  /// POST .../volumes/custom of the target. Errors: already_exists (without `refresh`), conflict (`refresh` below a running instance).
  Operation copy(const std::string &new_name, const StorageVolumeCopy &how = {}) const;
  /// DELETE, with its snapshots and backups; refused while something uses it.
  void remove();

  Operation create_snapshot(const StorageVolumeSnapshotCreate &request = {});
  /// Oldest first, by their own names.
  std::vector<StorageVolumeSnapshotInfo> snapshots() const;
  StorageVolumeSnapshot snapshot(const std::string &snapshot_name) const;
  /// Puts its content back to a snapshot, and keeps its configuration (PUT with `restore`). Refused while a running instance uses it.
  void restore(const std::string &snapshot_name);

  /// POST .../backups, of volumes of every content. The operation's resources name the backup, also when its name was left empty.
  Operation create_backup(const BackupCreate &request = {});
  std::vector<BackupInfo> backups() const;
  Backup backup(const std::string &backup_name) const;

private:
  std::shared_ptr<api::Session> session_;
  std::string project_, pool_, name_;
};

} // namespace v0
} // namespace incus
