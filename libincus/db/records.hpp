// SPDX-License-Identifier: Apache-2.0
// Objects as the store has them, and the statements that load and store them. Functions are to be called inside a transaction
// when several must agree.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <incus/image.hpp>
#include <incus/types.hpp>

#include "db/connection.hpp"

namespace incus::db {

/// Number of an architecture in the store; throws invalid_argument for an unknown name.
std::int64_t architecture_id(const std::string &name);
std::string architecture_name(std::int64_t id);

std::int64_t project_id(Connection &c, const std::string &name); ///< throws not_found
std::vector<std::string> project_names(Connection &c);

// Profiles, images and image aliases are those that a project uses: a project without features.profiles or features.images has those of
// "default" (db/projects.hpp), and the rows name the project that owns them.
struct ProfileRow {
  std::int64_t id = 0;
  std::string project, name, description;
  Config config;
  Devices devices;
};
std::vector<ProfileRow> profiles(Connection &c, const std::string &project, const std::optional<std::string> &name = {});
std::optional<ProfileRow> profile(Connection &c, const std::string &project, const std::string &name);
void insert_profile(Connection &c, const ProfileRow &p);
void update_profile(Connection &c, const ProfileRow &p);
void rename_profile(Connection &c, std::int64_t id, const std::string &name);
void delete_profile(Connection &c, std::int64_t id);
/// Names of instances that apply it, by project: a project without profiles of its own uses those of "default".
std::map<std::string, std::vector<std::string>> profile_users(Connection &c, std::int64_t id);

struct InstanceRow {
  std::int64_t id = 0;
  std::string project, name, description, location;
  std::string architecture;
  bool ephemeral = false, stateful = false;
  Time created_at, last_used_at;
  Config config;
  Devices devices;
  std::vector<std::string> profiles;
};
/// All instances of a project (or all projects when empty), or the one named; a handful of statements whatever their number.
std::vector<InstanceRow> instances(Connection &c, const std::string &project, const std::optional<std::string> &name = {});
std::optional<InstanceRow> instance(Connection &c, const std::string &project, const std::string &name);
std::optional<InstanceRow> instance(Connection &c, std::int64_t id);
std::vector<std::string> instance_names(Connection &c, const std::string &project);
/// With its id when it has one: only who recovers it knows that.
std::int64_t insert_instance(Connection &c, const InstanceRow &i);
/// Description, ephemeral, architecture, configuration, devices and profiles.
void update_instance(Connection &c, const InstanceRow &i);
/// Only these keys; an empty value removes one.
void set_instance_config(Connection &c, std::int64_t id, const Config &changes);
void touch_instance(Connection &c, std::int64_t id, Time last_used);
void rename_instance(Connection &c, std::int64_t id, const std::string &name);
void delete_instance(Connection &c, std::int64_t id);
/// Another project and name; profiles are those of the new project once update_instance() has stored them.
void place_instance(Connection &c, std::int64_t id, const std::string &project, const std::string &name);
/// Throws forbidden when the project has as many instances as it may; in the transaction that adds one more.
void check_instance_limits(Connection &c, const std::string &project);

struct SnapshotRow {
  std::int64_t id = 0, instance_id = 0;
  std::string name, description, architecture;
  Time created_at, expires_at;
  std::string expires_text; ///< as it was given, with its time zone; when empty, expires_at is stored
  bool stateful = false, ephemeral = false;
  Config config;
  Devices devices;
  std::vector<std::string> profiles;
};
/// Snapshots of one instance, oldest first; of all when `instance_id` is 0.
std::vector<SnapshotRow> snapshots(Connection &c, std::int64_t instance_id);
std::optional<SnapshotRow> snapshot(Connection &c, std::int64_t instance_id, const std::string &name);
void insert_snapshot(Connection &c, const SnapshotRow &s);
void rename_snapshot(Connection &c, std::int64_t id, const std::string &name);
/// RFC 3339, kept as it is; empty: never.
void set_snapshot_expiry(Connection &c, std::int64_t id, const std::string &expires_at);
void delete_snapshot(Connection &c, std::int64_t id);

struct ImageRow {
  std::int64_t id = 0;
  std::string asked; ///< the project it was asked for in, whose profiles `profiles` names; empty: the same as `project`
  std::string project, fingerprint, filename, architecture, type;
  std::int64_t size = 0;
  bool public_ = false, auto_update = false, cached = false;
  Time created_at, expires_at, uploaded_at, last_used_at;
  Config properties;
  std::vector<std::string> profiles;
  struct AliasRow {
    std::string name, description;
  };
  std::vector<AliasRow> aliases;
  std::optional<ImageOrigin> origin;
};
std::vector<ImageRow> images(Connection &c, const std::string &project, const std::optional<std::string> &fingerprint = {});
/// In whatever project.
bool have_image(Connection &c, const std::string &fingerprint);
std::int64_t insert_image(Connection &c, const ImageRow &i);
void update_image(Connection &c, const ImageRow &i);
void set_image_origin(Connection &c, std::int64_t id, const ImageOrigin &origin);
/// An image that was fetched for an instance, and is used now.
void mark_cached(Connection &c, std::int64_t id);
void touch_image(Connection &c, std::int64_t id, Time last_used);
void delete_image(Connection &c, std::int64_t id);
/// If it is a cached one whose last use, or arrival where it was never used, is no later than that; false when it is not.
bool delete_unused_image(Connection &c, std::int64_t id, Time unused_since);

struct AliasRow {
  std::string name, description, fingerprint, type;
};
std::vector<AliasRow> aliases(Connection &c, const std::string &project, const std::optional<std::string> &name = {});
void insert_alias(Connection &c, const std::string &project, const AliasRow &a);
void update_alias(Connection &c, const std::string &project, const AliasRow &a);
void rename_alias(Connection &c, const std::string &project, const std::string &name, const std::string &new_name);
void delete_alias(Connection &c, const std::string &project, const std::string &name);

struct PoolRow {
  std::int64_t id = 0;
  std::string name, driver, description;
  Config config;
  int state = 0; ///< 0 pending, 1 created
};
std::vector<PoolRow> pools(Connection &c, const std::optional<std::string> &name = {});
std::int64_t insert_pool(Connection &c, const PoolRow &p);
void update_pool(Connection &c, const PoolRow &p);
void set_pool_state(Connection &c, std::int64_t id, int state);
void delete_pool(Connection &c, std::int64_t id);

struct VolumeRow {
  std::string project, name, pool, description, location;
  int type = 0; ///< 0 container, 1 image, 2 custom, 3 virtual-machine
  Time created_at;
};
std::vector<VolumeRow> volumes(Connection &c, const std::optional<std::string> &pool = {});
void insert_volume(Connection &c, const VolumeRow &v);
void rename_volume(Connection &c, const std::string &project, const std::string &name, int type, const std::string &new_name);
void delete_volume(Connection &c, const std::string &pool, const std::string &project, const std::string &name, int type);

std::string get_config(Connection &c, const std::string &key);
void set_config(Connection &c, const std::string &key, const std::string &value);

} // namespace incus::db
