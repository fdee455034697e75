// SPDX-License-Identifier: Apache-2.0
// Backups that the server keeps: of instances, and of custom volumes. What they hold is in files (backup/files.hpp).
#pragma once
#include "db/connection.hpp"
#include "db/records.hpp"

namespace incus::db {

enum class BackupKind { instance, volume };

struct BackupRow {
  std::int64_t id = 0, owner = 0; ///< of the instance or volume
  std::string name;
  Time created_at, expires_at; ///< expires_at zero: never
  bool alone = false;          ///< without snapshots
  bool optimized = false;
};
/// Of one owner, or of all when 0; oldest first.
std::vector<BackupRow> backups(Connection &c, BackupKind kind, std::int64_t owner);
/// Throws already_exists for a name that is taken.
void insert_backup(Connection &c, BackupKind kind, const BackupRow &b);
void rename_backup(Connection &c, BackupKind kind, std::int64_t id, const std::string &name);
void delete_backup(Connection &c, BackupKind kind, std::int64_t id);

} // namespace incus::db
