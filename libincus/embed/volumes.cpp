// SPDX-License-Identifier: Apache-2.0
// Storage volumes of instances, images and users, and their snapshots.
#include <algorithm>
#include <boost/json.hpp>

#include "api/access.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/projects.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

constexpr const char *type_names[] = {"container", "image", "custom", "virtual-machine"};
constexpr int container = 0, image = 1, custom = 2;

int type_of(const std::string &name) {
  for (int i = 0; i < 4; i++)
    if (name == type_names[i]) return i;
  base::fail(ErrorCode::invalid_argument, "Invalid storage volume type name {}: must be container, virtual-machine, image or custom", base::quoted(name));
}

void only_custom(int type, const char *doing) {
  if (type != custom) base::fail(ErrorCode::invalid_argument, "cannot {} a volume of type {}: only custom ones can be; others go with their instance or image", doing, type_names[type]);
}

/// A volume, or a snapshot of one, as clients see it.
struct Entry {
  const db::VolumeFull *volume = nullptr;
  std::string snapshot, description, expires_text;
  Time created_at;
};

std::string suffix(const std::string &project) { return project == "default" ? "" : "?project=" + project; }

std::string url(const db::VolumeFull &v, const std::string &snapshot = {}) {
  return "/1.0/storage-pools/" + v.pool + "/volumes/" + type_names[v.type & 3] + "/" + v.name + (snapshot.empty() ? "" : "/snapshots/" + snapshot) + suffix(v.project);
}

/// By project and name: who uses the custom volumes of a pool.
using Users = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;
Users users_of(db::Connection &c, const std::string &pool) {
  Users out;
  std::map<std::string, std::string> owners;
  for (auto &u : db::volume_users(c, pool)) {
    auto [owner, fresh] = owners.try_emplace(u.project);
    if (fresh) owner->second = db::project_of(c, u.project, "features.storage.volumes");
    out[{owner->second, u.source}].push_back((u.is_profile ? "/1.0/profiles/" : "/1.0/instances/") + u.name + suffix(u.project));
  }
  return out;
}
/// A volume that is used keeps its name and stays.
void refuse_used(db::Connection &c, const db::VolumeFull &v, const char *doing) {
  auto users = users_of(c, v.pool);
  auto it = users.find({v.project, v.name});
  if (it == users.end()) return;
  base::fail(ErrorCode::conflict, "cannot {} volume {} of pool {}: The storage volume is still in use by {}{}; detach it first", doing, base::quoted(v.name), base::quoted(v.pool), it->second[0],
             it->second.size() > 1 ? fmt::format(" and {} more", it->second.size() - 1) : "");
}

json::value to_json(const api::Request &q, const Entry &e, const Users &users) {
  auto &v = *e.volume;
  StorageVolumeInfo i;
  i.name = e.snapshot.empty() ? v.name : v.name + "/" + e.snapshot;
  i.type = type_names[v.type & 3];
  i.content_type = "filesystem";
  i.location = v.location;
  i.project = v.project;
  i.description = e.snapshot.empty() ? v.description : e.description;
  i.created_at = e.snapshot.empty() ? v.created_at : e.created_at;
  if (e.snapshot.empty()) {
    i.config = v.config;
    if (v.type == container) i.used_by = {"/1.0/instances/" + v.name + suffix(v.project)};
    if (auto it = users.find({v.project, v.name}); v.type == custom && it != users.end()) i.used_by = it->second;
    if (v.type == image) i.used_by = {"/1.0/images/" + v.name + suffix(v.project)};
  }
  api::filter_used_by(q, i.used_by);
  return api::to_json(i);
}

/// `whole`: the snapshot's name with its volume's, as lists have it.
json::value snapshot_json(const Entry &e, bool whole) {
  return json::object{{"name", whole ? e.volume->name + "/" + e.snapshot : e.snapshot},
                      {"description", e.description},
                      {"config", json::object{}},
                      {"content_type", "filesystem"},
                      {"created_at", base::format_time(e.created_at)},
                      {"expires_at", !e.expires_text.empty() ? json::value(e.expires_text) : whole ? json::value(nullptr) : json::value(base::format_time({}))}};
}

Etag etag(const db::VolumeFull &v) { return etag_of({v.name, type_names[v.type & 3], v.description, api::to_json(v.config)}); }
Etag etag(const Entry &e) { return etag_of({e.snapshot, e.description, e.expires_text}); }

class Volumes {
public:
  Volumes(db::Connection &c, const std::string &pool) : c_(c), pool_(pool) {
    if (db::pools(c, pool).empty()) base::fail(ErrorCode::not_found, "Storage pool {} not found", base::quoted(pool));
  }

  db::VolumeFull one(const std::string &project, int type, const std::string &name) {
    auto v = db::volume(c_, pool_, project, type, name);
    if (!v) base::fail(ErrorCode::not_found, "Storage pool volume not found: there is no {} volume {} in pool {}", type_names[type], base::quoted(name), base::quoted(pool_));
    return std::move(*v);
  }

  std::vector<Entry> snapshots(const db::VolumeFull &v) {
    std::vector<Entry> out;
    if (v.type == custom)
      for (auto &s : db::volume_snapshots(c_, v.id)) out.push_back({&v, s.name, s.description, s.expires_text, s.created_at});
    else if (v.type == container)
      if (auto i = db::instance(c_, v.project, v.name))
        for (auto &s : db::snapshots(c_, i->id)) out.push_back({&v, s.name, s.description, s.expires_text, s.created_at});
    return out;
  }

  Entry snapshot(const db::VolumeFull &v, const std::string &name) {
    for (auto &s : snapshots(v))
      if (s.snapshot == name) return s;
    base::fail(ErrorCode::not_found, "snapshot {} of volume {} not found", base::quoted(name), base::quoted(v.name));
  }

private:
  db::Connection &c_;
  std::string pool_;
};

/// The project that the volume of a request is in: a project without volumes of its own uses those of the default one.
std::string owner(db::Connection &c, const api::Request &q) {
  return type_of(q.path[1]) == custom ? db::project_of(c, q.project(), "features.storage.volumes") : q.project();
}

api::Reply list(db::Connection &c, const api::Request &q, std::optional<int> type) {
  Volumes volumes(c, q.path[0]);
  bool all = q.flag("all-projects");
  auto lender = db::project_of(c, q.project(), "features.storage.volumes");
  auto instances_in = [&](const std::string &project) {
    // A handful of statements, however many have snapshots.
    std::map<std::int64_t, std::vector<db::SnapshotRow>> by_id;
    std::map<std::string, std::vector<db::SnapshotRow>> by_name;
    for (auto &s : db::snapshots(c, 0)) by_id[s.instance_id].push_back(std::move(s));
    if (by_id.empty()) return by_name;
    for (auto &i : db::instances(c, project))
      if (auto it = by_id.find(i.id); it != by_id.end()) by_name[i.name] = std::move(it->second);
    return by_name;
  };
  std::map<std::string, std::map<std::string, std::vector<db::SnapshotRow>>> instance_snapshots;
  std::map<std::int64_t, std::vector<db::VolumeSnapshotRow>> custom_snapshots;
  for (auto &s : db::volume_snapshots(c, 0)) custom_snapshots[s.volume_id].push_back(std::move(s));
  json::array out;
  auto users = q.recursion() == 0 ? Users() : users_of(c, q.path[0]);
  auto add = [&](const Entry &e) {
    if (q.recursion() == 0)
      out.emplace_back(url(*e.volume, e.snapshot));
    else
      out.push_back(to_json(q, e, users));
  };
  auto rows = db::volumes_full(c, q.path[0]);
  for (auto &v : rows) {
    if (type && v.type != *type) continue;
    if (all ? !q.may_use(v.project) : v.project != (v.type == custom ? lender : q.project())) continue;
    add({&v, {}, {}, {}, {}});
    if (v.type == container) {
      auto [it, fresh] = instance_snapshots.try_emplace(v.project);
      if (fresh) it->second = instances_in(v.project);
      for (auto &s : it->second[v.name]) add({&v, s.name, s.description, s.expires_text, s.created_at});
    } else if (v.type == custom) {
      for (auto &s : custom_snapshots[v.id]) add({&v, s.name, s.description, s.expires_text, s.created_at});
    }
  }
  return {std::move(out), {}, {}};
}

/// What a body says of a volume's or snapshot's own fields.
struct Change {
  std::optional<std::string> description, expires_at, restore;
  std::optional<Config> config;
};
Change change_of(const json::value &body) {
  auto *o = body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "invalid body: must be an object");
  Change c;
  auto text = [&](const char *key, std::optional<std::string> &to) {
    if (auto *v = o->if_contains(key); v && !v->is_null()) to = api::from_json<std::string>(*v);
  };
  text("description", c.description);
  text("expires_at", c.expires_at);
  text("restore", c.restore);
  if (c.expires_at && base::parse_time(*c.expires_at) == Time{}) c.expires_at = "";
  if (auto *v = o->if_contains("config")) c.config = api::from_json<Config>(*v);
  return c;
}

} // namespace

api::Reply Engine::pool_patch(api::Request &q) {
  auto now = pools_->info(q.path[0]);
  check_match(q.if_match, etag_of({now.name, now.driver, now.description, api::to_json(now.config)}), "storage pool " + base::quoted(q.path[0]));
  auto change = change_of(q.body);
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
api::Reply Engine::pool_volumes_type_get(api::Request &q) { return list(*global_, q, type_of(q.path[1])); }

api::Reply Engine::pool_volumes_post(api::Request &q) {
  auto *o = q.body.if_object();
  auto *t = o ? o->if_contains("type") : nullptr;
  q.path.push_back(t ? api::from_json<std::string>(*t) : "custom");
  return pool_volumes_type_post(q);
}

api::Reply Engine::pool_volumes_type_post(api::Request &q) {
  only_custom(type_of(q.path[1]), "create");
  if (q.stream("body") >= 0) return import_volume(q);
  auto change = change_of(q.body);
  auto &o = q.body.get_object();
  auto text = [&](const json::object &from, const char *key) {
    auto *v = from.if_contains(key);
    return v ? api::from_json<std::string>(*v) : std::string();
  };
  auto name = text(o, "name"), content = text(o, "content_type");
  if (content == "block" || content == "iso") base::fail(ErrorCode::not_supported, "volumes of content type {} are not supported yet", content);
  if (!content.empty() && content != "filesystem") base::fail(ErrorCode::invalid_argument, "Invalid volume content type name {}: must be filesystem", base::quoted(content));
  if (auto *source = o.if_contains("source"); source && source->is_object())
    if (auto type = text(source->get_object(), "type"); !type.empty() && type != "none")
      base::fail(ErrorCode::not_supported, "volumes cannot be made from a source of type {} yet: only empty ones can", base::quoted(type));
  volumes_->create(q.path[0], owner(*global_, q), name, change.description.value_or(""), change.config.value_or(Config{}));
  api::Reply r;
  r.location = url(volumes_->volume(q.path[0], owner(*global_, q), name));
  events_.lifecycle("storage-volume-created", r.location, owner(*global_, q));
  return r;
}

api::Reply Engine::volume_get(api::Request &q) {
  auto v = Volumes(*global_, q.path[0]).one(owner(*global_, q), type_of(q.path[1]), q.path[2]);
  return {to_json(q, Entry{&v, {}, {}, {}, {}}, users_of(*global_, v.pool)), etag(v), {}};
}

api::Reply Engine::change_volume(api::Request &q, bool patch) {
  auto type = type_of(q.path[1]);
  auto change = change_of(q.body);
  if (change.restore && !change.restore->empty()) base::fail(ErrorCode::not_supported, "volumes cannot be restored from snapshots yet");
  if (type == image) base::fail(ErrorCode::invalid_argument, "volumes of images cannot be changed");
  std::string where;
  global_->transaction([&] {
    auto v = Volumes(*global_, q.path[0]).one(owner(*global_, q), type, q.path[2]);
    check_match(q.if_match, etag(v), "volume " + base::quoted(v.name));
    if (!patch) v.config.clear();
    if (change.config)
      for (auto &[k, value] : *change.config) {
        if (value.empty())
          v.config.erase(k);
        else
          v.config[k] = value;
      }
    if (!patch || change.description) v.description = change.description.value_or("");
    storage::CustomVolumes::validate(v.name, v.config, type != custom);
    db::update_volume(*global_, v);
    where = url(v);
  });
  events_.lifecycle("storage-volume-updated", where, owner(*global_, q));
  return {};
}
api::Reply Engine::volume_put(api::Request &q) { return change_volume(q, false); }
api::Reply Engine::volume_patch(api::Request &q) { return change_volume(q, true); }

api::Reply Engine::volume_post(api::Request &q) {
  only_custom(type_of(q.path[1]), "rename");
  auto to = api::from_json<api::Rename>(q.body).name;
  if (auto *pool = q.body.get_object().if_contains("pool"); pool && pool->is_string() && !pool->get_string().empty() && pool->get_string() != q.path[0])
    base::fail(ErrorCode::not_supported, "volumes cannot be moved between storage pools yet");
  refuse_used(*global_, volumes_->volume(q.path[0], owner(*global_, q), q.path[2]), "rename");
  volumes_->rename(q.path[0], owner(*global_, q), q.path[2], to);
  api::Reply r;
  r.location = url(volumes_->volume(q.path[0], owner(*global_, q), to));
  events_.lifecycle("storage-volume-renamed", r.location, owner(*global_, q), {{"old_name", q.path[2]}});
  return r;
}

api::Reply Engine::volume_delete(api::Request &q) {
  only_custom(type_of(q.path[1]), "delete");
  auto v = volumes_->volume(q.path[0], owner(*global_, q), q.path[2]);
  refuse_used(*global_, v, "delete");
  auto where = url(v);
  volumes_->remove(q.path[0], owner(*global_, q), q.path[2]);
  events_.lifecycle("storage-volume-deleted", where, owner(*global_, q));
  return {};
}

api::Reply Engine::volume_state_get(api::Request &q) {
  auto type = type_of(q.path[1]);
  auto v = Volumes(*global_, q.path[0]).one(owner(*global_, q), type, q.path[2]);
  storage::VolumeRef ref{type == image ? storage::VolumeType::image : type == custom ? storage::VolumeType::custom : storage::VolumeType::container,
                         type == image ? v.name : type == custom ? storage::CustomVolumes::store_name(v.project, v.name) : storage::store_name(v.project, v.name)};
  return {json::object{{"usage", json::object{{"used", pools_->driver(q.path[0])->usage(ref)}, {"total", 0}}}}, {}, {}};
}

api::Reply Engine::volume_snapshots_get(api::Request &q) {
  Volumes volumes(*global_, q.path[0]);
  auto v = volumes.one(owner(*global_, q), type_of(q.path[1]), q.path[2]);
  json::array out;
  for (auto &s : volumes.snapshots(v)) {
    if (q.recursion() == 0)
      out.emplace_back(url(v, s.snapshot));
    else
      out.push_back(snapshot_json(s, true));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::volume_snapshot_get(api::Request &q) {
  Volumes volumes(*global_, q.path[0]);
  auto v = volumes.one(owner(*global_, q), type_of(q.path[1]), q.path[2]);
  auto s = volumes.snapshot(v, q.path[3]);
  return {snapshot_json(s, false), etag(s), {}};
}

api::Reply Engine::volume_snapshots_post(api::Request &q) {
  only_custom(type_of(q.path[1]), "snapshot");
  auto change = change_of(q.body);
  auto v = volumes_->volume(q.path[0], owner(*global_, q), q.path[2]);
  auto *n = q.body.get_object().if_contains("name");
  auto name = volumes_->snapshot_name(v, n ? api::from_json<std::string>(*n) : "");
  OperationSpec s;
  s.description = "Creating storage volume snapshot";
  s.project = q.project();
  s.resources["storage_volumes"] = {url(v)};
  s.resources["storage_volume_snapshots"] = {url(v, name)};
  return async(std::move(s), [this, v, name, change](TaskOperation &) {
    volumes_->create_snapshot(v, name, change.description.value_or(""), change.expires_at.value_or(""));
    events_.lifecycle("storage-volume-snapshot-created", url(v, name), v.project);
  });
}

api::Reply Engine::change_volume_snapshot(api::Request &q, bool patch) {
  auto type = type_of(q.path[1]);
  auto change = change_of(q.body);
  std::string where;
  global_->transaction([&] {
    Volumes volumes(*global_, q.path[0]);
    auto v = volumes.one(owner(*global_, q), type, q.path[2]);
    auto s = volumes.snapshot(v, q.path[3]);
    check_match(q.if_match, etag(s), "snapshot " + base::quoted(q.path[3]));
    if (!patch || change.description) s.description = change.description.value_or("");
    if (!patch || change.expires_at) s.expires_text = change.expires_at.value_or("");
    if (type == custom) {
      auto row = volumes_->snapshot(v, q.path[3]);
      row.description = s.description;
      row.expires_text = s.expires_text;
      db::update_volume_snapshot(*global_, row);
    } else {
      auto i = db::instance(*global_, v.project, v.name);
      auto row = i ? db::snapshot(*global_, i->id, q.path[3]) : std::nullopt;
      if (!row) base::fail(ErrorCode::not_found, "snapshot {} of volume {} not found", base::quoted(q.path[3]), base::quoted(v.name));
      db::set_snapshot_description(*global_, row->id, s.description);
      // The instance's snapshot has the expiry; its volume cannot outlive it.
    }
    where = url(v, q.path[3]);
  });
  events_.lifecycle("storage-volume-snapshot-updated", where, owner(*global_, q));
  return {};
}
api::Reply Engine::volume_snapshot_put(api::Request &q) { return change_volume_snapshot(q, false); }
api::Reply Engine::volume_snapshot_patch(api::Request &q) { return change_volume_snapshot(q, true); }

api::Reply Engine::volume_snapshot_post(api::Request &q) {
  only_custom(type_of(q.path[1]), "rename a snapshot of");
  auto to = api::from_json<api::Rename>(q.body).name;
  auto v = volumes_->volume(q.path[0], owner(*global_, q), q.path[2]);
  volumes_->snapshot(v, q.path[3]);
  base::SnapshotName::parse(to);
  OperationSpec s;
  s.description = "Renaming storage volume snapshot";
  s.project = q.project();
  s.resources["storage_volume_snapshots"] = {url(v, q.path[3])};
  return async(std::move(s), [this, v, from = q.path[3], to](TaskOperation &) {
    volumes_->rename_snapshot(v, from, to);
    events_.lifecycle("storage-volume-snapshot-renamed", url(v, to), v.project, {{"old_name", from}});
  });
}

api::Reply Engine::volume_snapshot_delete(api::Request &q) {
  only_custom(type_of(q.path[1]), "delete a snapshot of");
  auto v = volumes_->volume(q.path[0], owner(*global_, q), q.path[2]);
  volumes_->snapshot(v, q.path[3]);
  OperationSpec s;
  s.description = "Deleting storage volume snapshot";
  s.project = q.project();
  s.resources["storage_volume_snapshots"] = {url(v, q.path[3])};
  return async(std::move(s), [this, v, name = q.path[3]](TaskOperation &) {
    volumes_->remove_snapshot(v, name);
    events_.lifecycle("storage-volume-snapshot-deleted", url(v, name), v.project);
  });
}

/// Object storage is not there yet.
api::Reply Engine::buckets_get(api::Request &q) {
  Volumes volumes(*global_, q.path[0]);
  return {json::array{}, {}, {}};
}

} // namespace incus::embed
