// SPDX-License-Identifier: Apache-2.0
/// \file
/// Backups of instances and custom volumes (REST: .../backups), and what recovery of lost rows is told (/internal/recover).
#pragma once
#include <incus/operation.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// POST .../backups.
struct BackupCreate {
  std::string name;                  ///< empty: "backup%d" with the first number that is free
  std::optional<Time> expires_at;    ///< absent: kept until it is removed
  std::string compression_algorithm; ///< "none", "gzip", "zstd -7", ...; empty: `backups.compression_algorithm` of project or server
  bool instance_only = false;        ///< of an instance: without its snapshots
  bool volume_only = false;          ///< of a volume: without its snapshots
  bool optimized_storage = false;    ///< in the form of the driver, where it has one
};

/// A backup as the REST API shows it.
struct BackupInfo {
  std::string name;
  Time created_at;
  Time expires_at; ///< epoch: never
  bool instance_only = false, volume_only = false, optimized_storage = false;
};

/// Where an instance from a backup goes (headers X-Incus-name and X-Incus-pool).
struct BackupImport {
  std::string name; ///< empty: as it was called
  std::string pool; ///< empty: the pool that it was in
};

/// A pool that recovery looks through although the store does not know it.
struct RecoverPool {
  std::string name, driver, description;
  Config config; ///< `source`
};
/// POST /internal/recover/validate: something on disk that the store does not know.
struct RecoverVolume {
  std::string pool, project, type, name; ///< type: "container", or "volume" for a custom one
  std::int64_t snapshot_count = 0;
};
struct RecoverReport {
  std::vector<RecoverVolume> volumes;
  std::vector<std::string> missing; ///< projects, profiles and files that must be there first, in words
};

/// A backup that the host keeps of an instance or of a custom volume. A handle: cheap to copy, thread-safe.
class INCUS_EXPORT Backup {
public:
  /// `owner`: the instance's name; or pool, "custom" and the volume's name. Instance::backup and StorageVolume::backup make one.
  Backup(std::shared_ptr<api::Session> session, std::string project, std::vector<std::string> owner, std::string name);
  const std::string &name() const { return name_; }
  BackupInfo info() const;
  /// POST .../backups/{backup}: the handle follows the new name.
  Operation rename(const std::string &new_name);
  Operation remove();
  /// Writes the file to a descriptor, in pieces (GET .../export); returns how many bytes. Errors: not_found, no_space, unavailable (it ended
  /// before its size).
  std::int64_t export_to(int to_fd) const;
  /// Writes it to a file that must not exist yet; on failure no file is left. Returns how many bytes.
  std::int64_t export_to(const std::string &path) const;

private:
  std::shared_ptr<api::Session> session_;
  std::string project_;
  std::vector<std::string> owner_;
  std::string name_;
};

} // namespace v0
} // namespace incus
