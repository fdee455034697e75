// SPDX-License-Identifier: Apache-2.0
// Custom volumes made: empty, or as copies of others; refreshed, renamed and moved.
#include "api/access.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "db/projects.hpp"
#include "embed/body.hpp"
#include "embed/volume_entries.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

/// Where the volumes of a project are that somebody may use; as if it were not there when he may not.
std::string volumes_of(db::Connection &c, const api::Request &q, const std::string &project) {
  if (!q.may_use(project)) base::fail(ErrorCode::not_found, "project {} not found", base::quoted(project));
  db::project_id(c, project);
  return db::project_of(c, project, "features.storage.volumes");
}

storage::Progress progress_to(const instance::Report &report) {
  return [report](std::uint64_t done, std::uint64_t total) { report("copy", done, total); };
}

} // namespace

api::Reply Engine::pool_volumes_post(api::Request &q) {
  auto *o = q.body.if_object();
  auto *t = o ? o->if_contains("type") : nullptr;
  q.path.push_back(t ? api::from_json<std::string>(*t) : "custom");
  return pool_volumes_type_post(q);
}

api::Reply Engine::pool_volumes_type_post(api::Request &q) {
  only_custom(volume_type(q.path[1]), "create");
  if (q.stream("body") >= 0) return import_volume(q);
  auto change = volume_change_of(q.body);
  auto &o = q.body.get_object();
  auto name = text_of(o, "name"), content = text_of(o, "content_type");
  auto type = db::content_of(content.empty() ? "filesystem" : content);
  if (!type) base::fail(ErrorCode::invalid_argument, "Invalid volume content type name {}: must be filesystem, block or iso", base::quoted(content));
  storage::VolumeName to{q.path[0], volume_owner(*global_, q), name};
  auto *given = o.if_contains("source");
  auto source = given && given->is_object() ? given->get_object() : json::object();
  auto kind = text_of(source, "type");
  if (kind == "migration") base::fail(ErrorCode::not_supported, "volumes cannot be copied or moved between servers yet");
  if (!kind.empty() && kind != "none" && kind != "copy") base::fail(ErrorCode::invalid_argument, "unknown source type {} of a volume: must be copy, or empty", base::quoted(kind));
  if (kind == "copy" || !text_of(source, "name").empty()) return copy_volume(q, to, source, change.config, change.description.value_or(""));
  db::VolumeFull v;
  v.pool = to.pool;
  v.project = to.project;
  v.name = name;
  v.description = change.description.value_or("");
  v.content = *type;
  v.config = with_defaults(to.pool, change.config.value_or(Config{}), *type);
  check_volume_config(name, v.config, false, *type);
  if (*type == db::VolumeContent::filesystem && v.config.count("size"))
    log_.warning("volume {} has the size {}, which pool {} cannot enforce: it is kept, and is no limit", base::quoted(name), v.config.at("size"), base::quoted(to.pool));
  volumes_->create(std::move(v));
  api::Reply r;
  r.location = volume_url(volumes_->volume(to.pool, to.project, name));
  events_.lifecycle("storage-volume-created", r.location, to.project);
  return r;
}

/// The pool's volume.* stand for what was not said.
Config Engine::with_defaults(const std::string &pool, Config config, db::VolumeContent content) {
  for (auto &row : db::pools(*global_, pool))
    for (auto &[k, v] : row.config)
      if (k.starts_with("volume.") && storage::CustomVolumes::has_key(k.substr(7), content)) config.emplace(k.substr(7), v);
  return config;
}

api::Reply Engine::copy_volume(api::Request &q, const storage::VolumeName &to, const json::object &source, const std::optional<Config> &config, const std::string &description) {
  storage::VolumeSource s;
  auto name = text_of(source, "name"), project = text_of(source, "project"), pool = text_of(source, "pool");
  if (name.empty()) base::fail(ErrorCode::invalid_argument, "No source volume name supplied");
  if (auto cut = name.find('/'); cut != std::string::npos) {
    s.snapshot = name.substr(cut + 1);
    name.resize(cut);
  }
  s.volume = {pool.empty() ? to.pool : pool, project.empty() ? to.project : volumes_of(*global_, q, project), name};
  s.volume_only = flag_of(source, "volume_only");
  s.exclude_older = flag_of(source, "refresh_exclude_older");
  s.config = config;
  s.description = description;
  if (config) check_volume_config(to.name, *config, false, volumes_->volume(s.volume.pool, s.volume.project, s.volume.name).content);
  bool refresh = flag_of(source, "refresh") && db::volume(*global_, to.pool, to.project, custom_volume, to.name);
  volumes_->check_copy(to, s, refresh);
  OperationSpec spec;
  spec.description = "Copying storage volume";
  spec.project = q.project();
  return async(std::move(spec), [this, to, s, refresh](TaskOperation &op) {
    if (refresh) {
      auto users = hold_users(volumes_->volume(to.pool, to.project, to.name), "refresh");
      volumes_->refresh(to, s, progress_to(report_to(op)));
    } else {
      volumes_->copy(to, s, progress_to(report_to(op)));
    }
    auto where = volume_url(volumes_->volume(to.pool, to.project, to.name));
    events_.lifecycle(refresh ? "storage-volume-updated" : "storage-volume-created", where, to.project);
  });
}

api::Reply Engine::volume_post(api::Request &q) {
  only_custom(volume_type(q.path[1]), "rename");
  auto &o = fields_of(q);
  storage::VolumeName from{q.path[0], volume_owner(*global_, q), q.path[2]}, to = from;
  to.name = text_of(o, "name");
  if (to.name.empty()) base::fail(ErrorCode::invalid_argument, "No name provided");
  if (auto pool = text_of(o, "pool"); !pool.empty()) to.pool = pool;
  if (auto project = text_of(o, "project"); !project.empty()) {
    to.project = volumes_of(*global_, q, project);
    if (to.project != project) base::fail(ErrorCode::invalid_argument, "Target project {} does not have features.storage.volumes enabled", base::quoted(project));
    if (to.project == from.project) base::fail(ErrorCode::invalid_argument, "Project and target project are the same");
  }
  if (flag_of(o, "migration")) base::fail(ErrorCode::not_supported, "volumes cannot be moved between servers yet");
  auto v = volumes_->volume(from.pool, from.project, from.name);
  if (db::pools(*global_, to.pool).empty()) base::fail(ErrorCode::not_found, "Storage pool {} not found", base::quoted(to.pool));
  if (db::volume(*global_, to.pool, to.project, custom_volume, to.name))
    base::fail(ErrorCode::already_exists, "Volume by that name already exists: {} in pool {}", base::quoted(to.name), base::quoted(to.pool));
  if (to.project != from.project) {
    auto all = volume_users_of(*global_, v.pool);
    if (auto it = all.find({v.project, v.name}); it != all.end())
      base::fail(ErrorCode::conflict, "cannot move volume {} of pool {} to project {}: The storage volume is still in use by {}; detach it first", base::quoted(v.name), base::quoted(v.pool),
                 base::quoted(to.project), it->second[0]);
  }
  if (auto users = hold_users(v, "move"); to.pool == from.pool && to.project == from.project) {
    volumes_->rename(from.pool, from.project, from.name, to.name);
    api::Reply r;
    r.location = volume_url(volumes_->volume(to.pool, to.project, to.name));
    events_.lifecycle("storage-volume-renamed", r.location, to.project, {{"old_name", from.name}});
    return r;
  }
  OperationSpec spec;
  spec.description = "Moving storage volume";
  spec.project = q.project();
  return async(std::move(spec), [this, from, to, v](TaskOperation &op) {
    auto held = hold_users(v, "move");
    auto attached = [&] {
      if (from.project == to.project) db::move_volume_users(*global_, v, to.pool, to.name);
    };
    volumes_->move(from, to, attached, progress_to(report_to(op)));
    events_.lifecycle("storage-volume-deleted", volume_url(v), from.project);
    events_.lifecycle("storage-volume-created", volume_url(volumes_->volume(to.pool, to.project, to.name)), to.project);
  });
}

} // namespace incus::embed
