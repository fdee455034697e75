// SPDX-License-Identifier: Apache-2.0
// Storage volumes of instances, images and users. Snapshots are in volume_snapshots.cpp, copies and moves in volume_copy.cpp.
#include "embed/volume_entries.hpp"

#include <algorithm>

#include "api/access.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/projects.hpp"
#include "instance/schedule.hpp"

namespace incus::embed {

namespace json = boost::json;

int volume_type(const std::string &name) {
  for (int i = 0; i < 4; i++)
    if (name == volume_types[i]) return i;
  base::fail(ErrorCode::invalid_argument, "Invalid storage volume type name {}: must be container, virtual-machine, image or custom", base::quoted(name));
}

void only_custom(int type, const char *doing) {
  if (type != custom_volume)
    base::fail(ErrorCode::invalid_argument, "cannot {} a volume of type {}: only custom ones can be; others go with their instance or image", doing, volume_types[type]);
}

std::string project_suffix(const std::string &project) { return project == "default" ? "" : "?project=" + project; }

std::string volume_url(const db::VolumeFull &v, const std::string &snapshot) {
  return "/1.0/storage-pools/" + v.pool + "/volumes/" + volume_types[v.type & 3] + "/" + v.name + (snapshot.empty() ? "" : "/snapshots/" + snapshot) + project_suffix(v.project);
}

VolumeUsers volume_users_of(db::Connection &c, const std::string &pool) {
  VolumeUsers out;
  std::map<std::string, std::string> owners;
  for (auto &u : db::volume_users(c, pool)) {
    auto [owner, fresh] = owners.try_emplace(u.project);
    if (fresh) owner->second = db::project_of(c, u.project, "features.storage.volumes");
    out[{owner->second, u.source}].push_back((u.is_profile ? "/1.0/profiles/" : "/1.0/instances/") + u.name + project_suffix(u.project));
  }
  return out;
}

Etag volume_etag(const db::VolumeFull &v) { return etag_of({v.name, volume_types[v.type & 3], v.description, api::to_json(v.config)}); }

db::VolumeFull one_volume(db::Connection &c, const std::string &pool, const std::string &project, int type, const std::string &name) {
  if (db::pools(c, pool).empty()) base::fail(ErrorCode::not_found, "Storage pool {} not found", base::quoted(pool));
  auto v = db::volume(c, pool, project, type, name);
  if (!v) base::fail(ErrorCode::not_found, "Storage pool volume not found: there is no {} volume {} in pool {}", volume_types[type], base::quoted(name), base::quoted(pool));
  return std::move(*v);
}

db::VolumeSnapshotRow one_snapshot(db::Connection &c, const db::VolumeFull &v, const std::string &name) {
  for (auto &s : db::volume_snapshots(c, v.id))
    if (s.name == name) return s;
  base::fail(ErrorCode::not_found, "snapshot {} of volume {} not found", base::quoted(name), base::quoted(v.name));
}

std::string volume_owner(db::Connection &c, const api::Request &q) {
  return volume_type(q.path[1]) == custom_volume ? db::project_of(c, q.project(), "features.storage.volumes") : q.project();
}

void check_volume_config(const std::string &name, const Config &config, bool instance, db::VolumeContent content) {
  storage::CustomVolumes::validate(name, config, instance, content);
  auto check = [&](const char *key, std::string (*rule)(std::string_view)) {
    auto it = config.find(key);
    if (it == config.end()) return;
    if (auto broken = rule(it->second); !broken.empty())
      base::fail(ErrorCode::invalid_argument, "Invalid option for volume {} option {}, value {}: {}", base::quoted(name), base::quoted(key), base::quoted(it->second), broken);
  };
  check("snapshots.expiry", instance::is_expiry);
  check("snapshots.schedule", [](std::string_view text) {
    if (instance::schedule_at_start(text)) return std::string("volumes are not started, so @startup is not for them");
    return instance::is_schedule(text);
  });
}

VolumeChange volume_change_of(const json::value &body) {
  auto *o = body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "invalid body: must be an object");
  VolumeChange c;
  auto text = [&](const char *key, std::optional<std::string> &to) {
    if (auto *v = o->if_contains(key); v && !v->is_null()) to = api::from_json<std::string>(*v);
  };
  text("description", c.description);
  text("expires_at", c.expires_at);
  text("restore", c.restore);
  if (c.expires_at && base::parse_time(*c.expires_at) == Time{}) c.expires_at = "";
  if (auto *v = o->if_contains("config"); v && !v->is_null()) c.config = api::from_json<Config>(*v);
  return c;
}

namespace {

/// A volume that is used keeps its name and stays.
void refuse_used(db::Connection &c, const db::VolumeFull &v, const char *doing) {
  auto users = volume_users_of(c, v.pool);
  auto it = users.find({v.project, v.name});
  if (it == users.end()) return;
  base::fail(ErrorCode::conflict, "cannot {} volume {} of pool {}: The storage volume is still in use by {}{}; detach it first", doing, base::quoted(v.name), base::quoted(v.pool), it->second[0],
             it->second.size() > 1 ? fmt::format(" and {} more", it->second.size() - 1) : "");
}

bool differs(const Config &a, const Config &b, const char *key) {
  auto i = a.find(key), j = b.find(key);
  return (i == a.end() ? "" : i->second) != (j == b.end() ? "" : j->second);
}

void refuse_fixed(const db::VolumeFull &v, const Config &before) {
  if (v.content == db::VolumeContent::iso && v.config != before)
    base::fail(ErrorCode::invalid_argument, "the configuration of volume {} cannot be changed: its content is of type iso", base::quoted(v.name));
  for (auto *key : {"initial.uid", "initial.gid", "initial.mode"})
    if (differs(v.config, before, key)) base::fail(ErrorCode::invalid_argument, "option {} of volume {} cannot be changed: it says how the volume began", key, base::quoted(v.name));
}

json::value to_json(const api::Request &q, const VolumeEntry &e, const VolumeUsers &users) {
  auto &v = *e.volume;
  StorageVolumeInfo i;
  i.name = e.snapshot ? v.name + "/" + e.snapshot->name : v.name;
  i.type = volume_types[v.type & 3];
  i.content_type = db::content_name(v.content);
  i.location = v.location;
  i.project = v.project;
  i.description = e.snapshot ? e.snapshot->description : v.description;
  i.created_at = e.snapshot ? e.snapshot->created_at : v.created_at;
  i.config = e.snapshot ? e.snapshot->config : v.config;
  if (!e.snapshot) {
    if (v.type == container_volume) i.used_by = {"/1.0/instances/" + v.name + project_suffix(v.project)};
    if (auto it = users.find({v.project, v.name}); v.type == custom_volume && it != users.end()) i.used_by = it->second;
    if (v.type == image_volume) i.used_by = {"/1.0/images/" + v.name + project_suffix(v.project)};
  } else if (v.type == container_volume) {
    i.used_by = {"/1.0/instances/" + v.name + "/snapshots/" + e.snapshot->name + project_suffix(v.project)};
  }
  api::filter_used_by(q, i.used_by);
  return api::to_json(i);
}

api::Reply list(db::Connection &c, const api::Request &q, std::optional<int> type) {
  auto &pool = q.path[0];
  if (db::pools(c, pool).empty()) base::fail(ErrorCode::not_found, "Storage pool {} not found", base::quoted(pool));
  bool all = q.flag("all-projects");
  auto lender = db::project_of(c, q.project(), "features.storage.volumes");
  // A handful of statements, however many have snapshots.
  std::map<std::int64_t, std::vector<db::VolumeSnapshotRow>> snapshots;
  for (auto &s : db::volume_snapshots(c, 0)) snapshots[s.volume_id].push_back(std::move(s));
  json::array out;
  auto users = q.recursion() == 0 ? VolumeUsers() : volume_users_of(c, pool);
  auto add = [&](const VolumeEntry &e) {
    if (q.recursion() == 0)
      out.emplace_back(volume_url(*e.volume, e.snapshot ? e.snapshot->name : ""));
    else
      out.push_back(to_json(q, e, users));
  };
  auto rows = db::volumes_full(c, pool);
  for (auto &v : rows) {
    if (type && v.type != *type) continue;
    if (all ? !q.may_use(v.project) : v.project != (v.type == custom_volume ? lender : q.project())) continue;
    add({&v, {}});
    if (auto it = snapshots.find(v.id); it != snapshots.end())
      for (auto &s : it->second) add({&v, std::move(s)});
  }
  return {std::move(out), {}, {}};
}

} // namespace

api::Reply Engine::pool_patch(api::Request &q) {
  auto now = pools_->info(q.path[0]);
  check_match(q.if_match, etag_of({now.name, now.driver, now.description, api::to_json(now.config)}), "storage pool " + base::quoted(q.path[0]));
  auto change = volume_change_of(q.body);
  StoragePoolUpdate to{now.config, change.description.value_or(now.description)};
  if (change.config)
    for (auto &[k, v] : *change.config) {
      if (v.empty())
        to.config.erase(k);
      else
        to.config[k] = v;
    }
  pools_->update(q.path[0], to);
  events_.lifecycle("storage-pool-updated", "/1.0/storage-pools/" + q.path[0], "");
  return {};
}

api::Reply Engine::pool_volumes_get(api::Request &q) { return list(*global_, q, {}); }
api::Reply Engine::pool_volumes_type_get(api::Request &q) { return list(*global_, q, volume_type(q.path[1])); }

api::Reply Engine::volume_get(api::Request &q) {
  auto v = one_volume(*global_, q.path[0], volume_owner(*global_, q), volume_type(q.path[1]), q.path[2]);
  return {to_json(q, VolumeEntry{&v, {}}, volume_users_of(*global_, v.pool)), volume_etag(v), {}};
}

/// Those who use a custom volume and could run are held until it goes; refused when one does.
std::vector<std::shared_ptr<void>> Engine::hold_users(const db::VolumeFull &v, const char *doing) {
  std::vector<std::shared_ptr<void>> out;
  for (auto &u : db::volume_users(*global_, v.pool)) {
    if (u.is_profile || u.source != v.name || db::project_of(*global_, u.project, "features.storage.volumes") != v.project) continue;
    try {
      out.push_back(instances_->hold_stopped(u.project, u.name, doing));
    } catch (const Error &e) {
      if (e.code() != ErrorCode::conflict) throw;
      throw Error(e.code(), fmt::format("cannot {} volume {} of pool {}: The storage volume is still in use by running instances", doing, base::quoted(v.name), base::quoted(v.pool)), e);
    }
  }
  return out;
}

api::Reply Engine::change_volume(api::Request &q, bool patch) {
  auto type = volume_type(q.path[1]);
  auto change = volume_change_of(q.body);
  auto owner = volume_owner(*global_, q);
  if (type == image_volume) base::fail(ErrorCode::invalid_argument, "volumes of images cannot be changed");
  auto restore = change.restore.value_or("");
  if (!restore.empty()) {
    only_custom(type, "restore");
    auto v = one_volume(*global_, q.path[0], owner, type, q.path[2]);
    check_match(q.if_match, volume_etag(v), "volume " + base::quoted(v.name));
    volumes_->snapshot(v, restore);
    auto users = hold_users(v, "restore");
    volumes_->restore(v, restore, {});
    events_.lifecycle("storage-volume-restored", volume_url(v), owner, {{"snapshot", restore}});
    if (!change.config) return {};
  }
  auto changed = [&] {
    auto v = one_volume(*global_, q.path[0], owner, type, q.path[2]);
    if (restore.empty()) check_match(q.if_match, volume_etag(v), "volume " + base::quoted(v.name));
    auto before = v.config;
    if (!patch) v.config.clear();
    if (change.config)
      for (auto &[k, value] : *change.config) {
        if (value.empty())
          v.config.erase(k);
        else
          v.config[k] = value;
      }
    if (!patch || change.description) v.description = change.description.value_or("");
    if (type == custom_volume && v.content != db::VolumeContent::filesystem) v.config.emplace("size", before.at("size"));
    check_volume_config(v.name, v.config, type != custom_volume, v.content);
    refuse_fixed(v, before);
    return std::pair(v, before);
  };
  auto [wanted, before] = changed();
  // Whose ids its files carry cannot change while an instance that uses it runs.
  std::vector<std::shared_ptr<void>> users;
  if (type == custom_volume && (differs(wanted.config, before, "security.shifted") || differs(wanted.config, before, "security.unmapped")))
    users = hold_users(wanted, "change security.shifted or security.unmapped of");
  auto store = [&] { db::update_volume(*global_, changed().first); };
  if (wanted.content == db::VolumeContent::block && differs(wanted.config, before, "size"))
    volumes_->resize(wanted, store);
  else
    global_->transaction(store);
  events_.lifecycle("storage-volume-updated", volume_url(wanted), owner);
  return {};
}
api::Reply Engine::volume_put(api::Request &q) { return change_volume(q, false); }
api::Reply Engine::volume_patch(api::Request &q) { return change_volume(q, true); }

api::Reply Engine::volume_delete(api::Request &q) {
  only_custom(volume_type(q.path[1]), "delete");
  auto v = volumes_->volume(q.path[0], volume_owner(*global_, q), q.path[2]);
  refuse_used(*global_, v, "delete");
  auto where = volume_url(v);
  volumes_->remove(q.path[0], v.project, q.path[2]);
  events_.lifecycle("storage-volume-deleted", where, v.project);
  return {};
}

api::Reply Engine::volume_state_get(api::Request &q) {
  auto type = volume_type(q.path[1]);
  auto v = one_volume(*global_, q.path[0], volume_owner(*global_, q), type, q.path[2]);
  storage::VolumeRef ref{type == image_volume ? storage::VolumeType::image : type == custom_volume ? storage::VolumeType::custom : storage::VolumeType::container,
                         type == image_volume ? v.name : type == custom_volume ? storage::CustomVolumes::store_name(v.project, v.name) : storage::store_name(v.project, v.name)};
  return {json::object{{"usage", json::object{{"used", pools_->driver(q.path[0])->usage(ref)}, {"total", 0}}}}, {}, {}};
}

/// Object storage is not there yet.
api::Reply Engine::buckets_get(api::Request &q) {
  if (db::pools(*global_, q.path[0]).empty()) base::fail(ErrorCode::not_found, "Storage pool {} not found", base::quoted(q.path[0]));
  return {json::array{}, {}, {}};
}

} // namespace incus::embed
