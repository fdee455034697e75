// SPDX-License-Identifier: Apache-2.0
// Volumes on disk that the store does not know.
#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "embed/engine.hpp"

namespace incus::api {

struct RecoverRequest {
  std::vector<RecoverPool> pools;
};
template <> struct Record<RecoverRequest> {
  static constexpr auto fields = std::make_tuple(field("pools", &RecoverRequest::pools));
};

} // namespace incus::api

namespace incus::embed {

namespace json = boost::json;

namespace {

/// A pool that is looked through: one of the store, or one that was named.
struct Place {
  std::string name, driver, description;
  Config config;
  bool known = false;
  std::shared_ptr<storage::Driver> open;
  bool opened = false; ///< by who looks, who closes it again
};

struct Found {
  Found() = default;
  Found(Found &&) = default;
  ~Found() {
    for (auto &p : pools)
      if (p.opened) try {
          p.open->close();
        } catch (const std::exception &) {
          // A mount that stays does no harm: the next look finds it.
        }
  }
  std::vector<Place> pools; ///< those without a row
  std::vector<RecoverVolume> volumes;
  std::vector<instance::BackupConfig> configs; ///< one a volume; empty for custom ones
  std::vector<std::string> missing;            ///< what must be made before they can be taken in
  void need(std::string what) {
    if (std::find(missing.begin(), missing.end(), what) == missing.end()) missing.push_back(std::move(what));
  }
};

/// Names are PROJECT_NAME (of instances outside the default project only); no project has a '_' in its name.
RecoverVolume unknown(const Place &pool, const std::string &store, const char *type) {
  auto cut = store.find('_');
  RecoverVolume v;
  v.name = cut == store.npos ? store : store.substr(cut + 1);
  v.project = cut == store.npos ? "default" : store.substr(0, cut);
  v.type = type;
  v.pool = pool.name;
  return v;
}

/// Volumes of instances, and custom ones, in a pool that have no row.
void look(db::Connection &global, const Place &pool, const std::set<std::string> &projects, Found &found) {
  std::set<std::string> instances, custom;
  if (pool.known)
    for (auto &v : db::volumes(global, pool.name)) {
      if (v.type == 0) instances.insert(storage::store_name(v.project, v.name));
      if (v.type == 2) custom.insert(storage::CustomVolumes::store_name(v.project, v.name));
    }
  auto count = [&](storage::VolumeType type, const std::string &name) {
    auto *s = pool.open->snapshots();
    return s ? static_cast<std::int64_t>(s->list({type, name}).size()) : 0;
  };
  for (auto &name : pool.open->list(storage::VolumeType::container)) {
    if (instances.count(name) || !pool.open->exists({storage::VolumeType::container, name})) continue;
    auto v = unknown(pool, name, "container");
    v.snapshot_count = count(storage::VolumeType::container, name);
    std::optional<instance::BackupConfig> config;
    try {
      config = instance::Manager::backup_file(*pool.open, name);
      if (!config || !config->instance) base::fail(ErrorCode::corrupt, "there is none");
      if (config->instance->row.name != v.name) base::fail(ErrorCode::corrupt, "it is one of instance {}", base::quoted(config->instance->row.name));
    } catch (const Error &e) {
      found.need(fmt::format("backup.yaml of {} on pool {} ({}); without it nobody knows what the instance is, move or remove it", base::quoted(name), base::quoted(pool.name), e.what()));
      found.volumes.push_back(std::move(v));
      found.configs.emplace_back();
      continue;
    }
    if (!projects.count(v.project)) {
      found.need(fmt::format("Project {}", base::quoted(v.project)));
    } else {
      for (auto &p : config->instance->row.profiles)
        if (!db::profile(global, v.project, p)) found.need(fmt::format("Profile {} in project {}", base::quoted(p), base::quoted(v.project)));
    }
    found.volumes.push_back(std::move(v));
    found.configs.push_back(std::move(*config));
  }
  for (auto &name : pool.open->list(storage::VolumeType::custom)) {
    if (custom.count(name) || !pool.open->exists({storage::VolumeType::custom, name}) || name.find('_') == std::string::npos) continue;
    auto v = unknown(pool, name, "volume");
    v.snapshot_count = count(storage::VolumeType::custom, name);
    if (!projects.count(v.project)) found.need(fmt::format("Project {}", base::quoted(v.project)));
    found.volumes.push_back(std::move(v));
    found.configs.emplace_back();
  }
}

Found find(db::Connection &global, storage::Pools &pools, const api::RecoverRequest &request) {
  Found found;
  auto names = db::project_names(global);
  std::set<std::string> projects(names.begin(), names.end()), rows;
  for (auto &p : db::pools(global)) {
    rows.insert(p.name);
    if (!pools.available(p.name)) continue; // what lies there waits until its disk is back
    look(global, {p.name, p.driver, p.description, p.config, true, pools.driver(p.name)}, projects, found);
  }
  for (auto &p : request.pools) {
    if (!rows.insert(p.name).second) continue;
    auto &place = found.pools.emplace_back(Place{p.name, p.driver, p.description, p.config, false, pools.open_unknown(p.name, p.driver, p.config)});
    place.opened = place.open->open();
    auto before = found.volumes.size();
    look(global, place, projects, found);
    // What the pool was, its instances know better than who named it.
    for (auto i = before; i < found.configs.size(); i++)
      if (auto &known = found.configs[i].pool; known && known->name == p.name && known->driver == p.driver) {
        place.config = known->config;
        place.description = known->description;
        for (auto &[k, v] : p.config) place.config[k] = v;
        break;
      }
  }
  return found;
}

} // namespace

api::Reply Engine::recover_validate_post(api::Request &q) {
  auto found = find(*global_, *pools_, api::from_json<api::RecoverRequest>(q.body));
  auto or_null = [](const auto &list) { return list.empty() ? json::value(nullptr) : api::to_json(list); };
  return {json::object{{"UnknownVolumes", or_null(found.volumes)}, {"DependencyErrors", or_null(found.missing)}}, {}, {}};
}

/// Repeatable: what is taken in once is known the next time.
api::Reply Engine::recover_import_post(api::Request &q) {
  auto found = find(*global_, *pools_, api::from_json<api::RecoverRequest>(q.body));
  if (!found.missing.empty()) base::fail(ErrorCode::conflict, "cannot recover: {} is missing; make it first", found.missing[0]);
  for (auto &p : found.pools) {
    pools_->adopt(p.name, p.driver, p.description, p.config);
    p.opened = false;
  }
  for (std::size_t i = 0; i < found.volumes.size(); i++) {
    auto &v = found.volumes[i];
    if (v.type == "container") {
      instances_->adopt(v.project, v.pool, std::move(found.configs[i]));
      continue;
    }
    db::VolumeFull row;
    row.pool = v.pool;
    row.project = v.project;
    row.name = v.name;
    row.type = 2;
    row.created_at = base::now();
    storage::VolumeRef ref{storage::VolumeType::custom, storage::CustomVolumes::store_name(v.project, v.name)};
    std::vector<db::VolumeSnapshotRow> snapshots;
    for (auto &name : pools_->driver(v.pool)->snapshots()->list(ref)) {
      db::VolumeSnapshotRow s;
      s.name = name;
      s.created_at = row.created_at;
      snapshots.push_back(std::move(s));
    }
    if (base::Fd dir(pools_->driver(v.pool)->open_volume(ref)); dir) storage::CustomVolumes::recognise(dir.get(), row);
    volumes_->adopt(row, snapshots);
  }
  return {};
}

} // namespace incus::embed
