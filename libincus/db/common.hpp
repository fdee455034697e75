// SPDX-License-Identifier: Apache-2.0
// What the statements of several nouns share.
#pragma once
#include "base/time.hpp"
#include "db/records.hpp"
#include <unordered_map>

namespace incus::db {

/// Administrators write times too, by SQL: "2026-01-31 12:00:00", with or without a zone, is as good as RFC 3339. What is no time at all is none: one bad
/// row must not hide all others.
Time time_of(const Row &r, int column);
inline Value time_value(Time t) { return t == Time{} ? Value(nullptr) : Value(base::format_time(t)); }

/// Rows of PREFIX_config, PREFIX_devices and PREFIX_devices_config for an owner whose column is FOREIGN. The table names are
/// constants of this library.
struct ConfigTables {
  const char *prefix;  ///< "instances"
  const char *owner;   ///< "instance_id"
  const char *device;  ///< "instance_device_id"
};
void insert_config(Connection &c, const ConfigTables &t, std::int64_t owner, const Config &config);
void insert_devices(Connection &c, const ConfigTables &t, std::int64_t owner, const Devices &devices);
void clear_config(Connection &c, const ConfigTables &t, std::int64_t owner);
void clear_devices(Connection &c, const ConfigTables &t, std::int64_t owner);
/// Calls for every row, of one owner or (0) of all.
void load_config(Connection &c, const ConfigTables &t, std::int64_t owner, const std::function<void(std::int64_t, std::string &&, std::string &&)> &fn);
void load_devices(Connection &c, const ConfigTables &t, std::int64_t owner,
                  const std::function<Devices *(std::int64_t)> &devices_of);

inline constexpr ConfigTables instance_tables{"instances", "instance_id", "instance_device_id"};
inline constexpr ConfigTables snapshot_tables{"instances_snapshots", "instance_snapshot_id", "instance_snapshot_device_id"};
inline constexpr ConfigTables profile_tables{"profiles", "profile_id", "profile_device_id"};

} // namespace incus::db
