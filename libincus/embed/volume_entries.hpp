// SPDX-License-Identifier: Apache-2.0
// What the handlers of volumes (volumes.cpp, volume_snapshots.cpp, volume_copy.cpp) share.
#pragma once
#include <boost/json.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "embed/engine.hpp"

namespace incus::embed {

inline constexpr const char *volume_types[] = {"container", "image", "custom", "virtual-machine"};
inline constexpr int container_volume = 0, image_volume = 1, custom_volume = 2;

/// Throws invalid_argument.
int volume_type(const std::string &name);
/// Throws invalid_argument when it is of another type.
void only_custom(int type, const char *doing);

/// A volume, or a snapshot of one, as clients see it.
struct VolumeEntry {
  const db::VolumeFull *volume = nullptr;
  std::optional<db::VolumeSnapshotRow> snapshot;
};
std::string volume_url(const db::VolumeFull &v, const std::string &snapshot = {});
std::string project_suffix(const std::string &project);
Etag volume_etag(const db::VolumeFull &v);

/// By project and name: who uses the custom volumes of a pool.
using VolumeUsers = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;
VolumeUsers volume_users_of(db::Connection &c, const std::string &pool);

/// Throws not_found.
db::VolumeFull one_volume(db::Connection &c, const std::string &pool, const std::string &project, int type, const std::string &name);
db::VolumeSnapshotRow one_snapshot(db::Connection &c, const db::VolumeFull &v, const std::string &name);
/// The project that the volume of a request is in: a project without volumes of its own uses those of the default one.
std::string volume_owner(db::Connection &c, const api::Request &q);
/// Throws invalid_argument.
void check_volume_config(const std::string &name, const Config &config, bool instance, db::VolumeContent content = db::VolumeContent::filesystem);

/// What a body says of a volume's or snapshot's own fields.
struct VolumeChange {
  std::optional<std::string> description, expires_at, restore;
  std::optional<Config> config;
};
VolumeChange volume_change_of(const boost::json::value &body);

} // namespace incus::embed
