// SPDX-License-Identifier: Apache-2.0
// Warnings: conditions that an administrator should know about, one row a condition and what it concerns.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <incus/types.hpp>

#include "db/connection.hpp"

namespace incus::db {

/// Codes of types as tools for Incus know them; the name and severity of each are in warnings.cpp.
enum class WarningType : int {
  undefined = 0,
  no_blkio = 1,
  no_blkio_weight = 2,
  no_cpu = 3,
  no_cpuset = 4,
  no_cpuacct = 5,
  no_devices = 6,
  no_freezer = 7,
  no_hugetlb = 8,
  no_memory = 9,
  no_pids = 11,
  no_swap_accounting = 12,
  no_apparmor = 14,
  network_unavailable = 19,
  autostart_failed = 21,
  instance_type_unavailable = 22,
  pool_unavailable = 23,
};
enum class WarningStatus : int { fresh = 1, acknowledged = 2, resolved = 3 };

/// Entity types as tools for Incus know them; those that something here can be.
enum class Entity : int { none = -1, container = 0, image = 1, profile = 2, project = 3, certificate = 4, instance = 5, node = 10, storage_pool = 12 };

/// What a warning is about: at most one row for each.
struct WarningKey {
  int type = 0;
  std::string location, project; ///< member and project; empty: none in particular
  int entity_type = -1;          ///< -1: none
  std::int64_t entity_id = -1;
};

struct WarningRow {
  std::string uuid, location, project, type, severity, last_message, entity_url;
  std::string status; ///< new, acknowledged or resolved
  std::int64_t count = 0;
  Time first_seen_at, last_seen_at;
};

/// Newest code last; all when `uuid` is empty.
std::vector<WarningRow> warnings(Connection &c, const std::optional<std::string> &uuid = {}, const std::string &project = "");

/// Makes a warning, or counts one more of it (a resolved one is new again). Throws invalid_argument for an unknown type or entity type, not_found for a
/// location, project or entity that is not there.
void raise_warning(Connection &c, const WarningKey &key, const std::string &message);
/// The condition is gone. Nothing when it was not known.
void resolve_warning(Connection &c, const WarningKey &key);
/// True when it is known and not resolved.
bool warned(Connection &c, const WarningKey &key);
/// Throws invalid_argument for an unknown status, forbidden for one that only the engine sets, not_found.
void set_warning_status(Connection &c, const std::string &uuid, const std::string &status);
void delete_warning(Connection &c, const std::string &uuid); ///< throws not_found
/// Removes those that were resolved before `time`. Returns how many.
std::int64_t prune_warnings(Connection &c, Time time);

} // namespace incus::db
