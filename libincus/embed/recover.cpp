// SPDX-License-Identifier: Apache-2.0
// Volumes on disk that the store does not know.
#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"

namespace incus::api {

struct RecoverPool {
  std::string name, driver, description;
  Config config;
};
struct RecoverRequest {
  std::vector<RecoverPool> pools;
};
struct UnknownVolume {
  std::string name, type, project, pool;
  std::int64_t snapshots = 0;
};
template <> struct Record<RecoverPool> {
  using T = RecoverPool;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field("driver", &T::driver), field("description", &T::description), field("config", &T::config));
};
template <> struct Record<RecoverRequest> {
  static constexpr auto fields = std::make_tuple(field("pools", &RecoverRequest::pools));
};
// Capital letters here, unlike everywhere else on this wire.
template <> struct Record<UnknownVolume> {
  using T = UnknownVolume;
  static constexpr auto fields = std::make_tuple(field("Name", &T::name), field("Type", &T::type), field("SnapshotCount", &T::snapshots), field("Project", &T::project),
                                                 field("Pool", &T::pool));
};

} // namespace incus::api

namespace incus::embed {

namespace json = boost::json;

namespace {

struct Found {
  std::vector<api::UnknownVolume> volumes;
  std::vector<std::string> missing; ///< what must be made before they can be taken in
};

/// Volumes of instances in a pool that have no row. Names are PROJECT_NAME outside the default project; an instance's has no '_'.
void look(storage::Driver &driver, const std::string &pool, const std::set<std::string> &known, const std::set<std::string> &projects, Found &found) {
  for (auto &name : driver.list(storage::VolumeType::container)) {
    if (known.count(name)) continue;
    auto cut = name.rfind('_');
    api::UnknownVolume v;
    v.name = cut == name.npos ? name : name.substr(cut + 1);
    v.project = cut == name.npos ? "default" : name.substr(0, cut);
    v.type = "container";
    v.pool = pool;
    if (auto *s = driver.snapshots()) v.snapshots = static_cast<std::int64_t>(s->list({storage::VolumeType::container, name}).size());
    auto need = fmt::format("Project {}", base::quoted(v.project));
    if (!projects.count(v.project) && std::find(found.missing.begin(), found.missing.end(), need) == found.missing.end()) found.missing.push_back(need);
    found.volumes.push_back(std::move(v));
  }
}

Found find(db::Connection &global, storage::Pools &pools, const api::RecoverRequest &request) {
  Found found;
  auto names = db::project_names(global);
  std::set<std::string> projects(names.begin(), names.end()), rows;
  for (auto &p : db::pools(global)) {
    std::set<std::string> known;
    for (auto &v : db::volumes(global, p.name)) known.insert(storage::store_name(v.project, v.name));
    look(*pools.driver(p.name), p.name, known, projects, found);
    rows.insert(p.name);
  }
  for (auto &p : request.pools)
    if (!rows.count(p.name))
      base::fail(ErrorCode::not_supported, "storage pool {} is not known here: create it first with its driver and source, then look for what lies in it", base::quoted(p.name));
  return found;
}

} // namespace

api::Reply Engine::recover_validate_post(api::Request &q) {
  auto found = find(*global_, *pools_, api::from_json<api::RecoverRequest>(q.body));
  auto or_null = [](const auto &list) { return list.empty() ? json::value(nullptr) : api::to_json(list); };
  return {json::object{{"UnknownVolumes", or_null(found.volumes)}, {"DependencyErrors", or_null(found.missing)}}, {}, {}};
}

api::Reply Engine::recover_import_post(api::Request &q) {
  auto found = find(*global_, *pools_, api::from_json<api::RecoverRequest>(q.body));
  if (!found.volumes.empty())
    base::fail(ErrorCode::not_supported, "cannot take in {} of storage pool {} and {} more: volumes without a row cannot be imported by this version; nothing was changed",
               base::quoted(found.volumes[0].name), base::quoted(found.volumes[0].pool), found.volumes.size() - 1);
  return {};
}

} // namespace incus::embed
