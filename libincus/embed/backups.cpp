// SPDX-License-Identifier: Apache-2.0
// Backups of instances and custom volumes, as rows answer them.
#include <boost/json.hpp>
#include <sys/stat.h>

#include "api/records.hpp"
#include "backup/volume.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/projects.hpp"
#include "embed/body.hpp"
#include "embed/engine.hpp"
#include "embed/instance_urls.hpp"
#include "image/image.hpp"

namespace incus::embed {

namespace json = boost::json;

/// What a row is about: an instance, or a custom volume.
struct Engine::BackupSubject {
  backup::Files::Owner owner;
  std::string name, project, url, event; ///< url without query; event: of lifecycle events, "instance-backup"
  std::optional<db::VolumeFull> volume;
  std::string suffix() const { return project == "default" ? "" : "?project=" + project; }
  std::string url_of(const std::string &backup) const { return url + "/backups/" + backup + suffix(); }
  bool is_volume() const { return volume.has_value(); }
  OperationSpec spec(const api::Request &q, const char *description, const std::string &backup) const {
    OperationSpec out;
    out.description = description;
    out.project = q.project();
    out.resources[is_volume() ? "storage_volumes" : "instances"] = {url + suffix()};
    out.resources["backups"] = {url_of(backup)};
    return out;
  }
};

namespace {

json::value to_json(const db::BackupRow &b, bool volume) {
  return json::object{{"name", b.name},
                      {"created_at", base::format_time(b.created_at)},
                      {"expires_at", base::format_time(b.expires_at)},
                      {volume ? "volume_only" : "instance_only", b.alone},
                      {"optimized_storage", b.optimized}};
}

struct Wish {
  std::string name, compression;
  Time expires_at;
  bool alone = false, optimized = false;
};

Wish wish_of(const json::value &body) {
  auto *o = body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "invalid backup: must be an object");
  Wish w;
  w.name = text_of(*o, "name");
  w.compression = text_of(*o, "compression_algorithm");
  if (auto t = text_of(*o, "expires_at"); !t.empty()) w.expires_at = base::parse_time(t);
  w.alone = flag_of(*o, "instance_only") || flag_of(*o, "volume_only") || flag_of(*o, "container_only");
  w.optimized = flag_of(*o, "optimized_storage");
  return w;
}

} // namespace

Engine::BackupSubject Engine::backup_subject(const api::Request &q) {
  BackupSubject s;
  auto state = directory_ ? directory_->path() : std::string();
  if (q.path.size() < 3) {
    s.project = q.project();
    s.name = q.path[0];
    s.url = "/1.0/instances/" + s.name;
    s.event = "instance-backup";
    auto row = db::instance(*global_, s.project, s.name);
    s.owner = {db::BackupKind::instance, row ? row->id : 0, storage::BackupPlace::of_instance(state, storage::store_name(s.project, s.name)).owner()};
    return s;
  }
  if (q.path[1] != "custom") base::fail(ErrorCode::invalid_argument, "Invalid storage volume type {}: backups are made of custom volumes; those of instances hold their volume", base::quoted(q.path[1]));
  s.project = db::project_of(*global_, q.project(), "features.storage.volumes");
  s.name = q.path[2];
  s.url = "/1.0/storage-pools/" + q.path[0] + "/volumes/custom/" + s.name;
  s.event = "storage-volume-backup";
  s.volume = volumes_->volume(q.path[0], s.project, s.name);
  s.owner = {db::BackupKind::volume, s.volume->id, storage::BackupPlace::of_volume(state, q.path[0], storage::CustomVolumes::store_name(s.project, s.name)).owner()};
  return s;
}

api::Reply Engine::list_backups(api::Request &q) {
  auto s = backup_subject(q);
  if (!s.is_volume()) instances_->row(s.project, s.name);
  json::array out;
  for (auto &b : backups_->list(s.owner)) {
    if (q.recursion() == 0)
      out.emplace_back(s.url_of(b.name));
    else
      out.push_back(to_json(b, s.is_volume()));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::make_backup(api::Request &q) {
  auto s = backup_subject(q);
  if (!s.is_volume()) instances_->row(s.project, s.name);
  auto w = wish_of(q.body);
  db::BackupRow row;
  row.name = backups_->name_for(s.owner, w.name);
  row.created_at = base::now();
  row.expires_at = w.expires_at;
  row.alone = w.alone;
  // Where the pool has no streams of its own a plain backup is made, as Incus does.
  row.optimized = w.optimized && (s.volume ? pools_->driver(s.volume->pool)->replication() != nullptr : instances_->has_streams(s.project, s.name));
  auto compression = image::check_compression(w.compression.empty() ? project_setting(s.project, "backups.compression_algorithm") : w.compression);
  return async(s.spec(q, s.is_volume() ? "Creating custom volume backup" : "Backing up instance", row.name), [this, s, row, compression](TaskOperation &op) {
    backups_->create(s.owner, row, [&](int fd) {
      if (s.volume)
        backup::write_volume({*global_, *pools_, *volumes_, images_->helper()}, {s.volume->pool, s.volume->project, s.volume->name}, {row.alone, compression, row.optimized}, fd, report_to(op));
      else
        instances_->write_backup(s.project, s.name, {row.alone, compression, row.optimized}, fd, report_to(op));
    });
    events_.lifecycle(s.event + "-created", s.url_of(row.name), s.project);
  });
}

api::Reply Engine::get_backup(api::Request &q, const std::string &name) {
  auto s = backup_subject(q);
  return {to_json(backups_->get(s.owner, name), s.is_volume()), {}, {}};
}

api::Reply Engine::rename_backup(api::Request &q, const std::string &name) {
  auto s = backup_subject(q);
  auto to = api::from_json<api::Rename>(q.body).name;
  backups_->get(s.owner, name);
  return async(s.spec(q, s.is_volume() ? "Renaming custom volume backup" : "Renaming instance backup", name), [this, s, name, to](TaskOperation &) {
    backups_->rename(s.owner, name, to);
    events_.lifecycle(s.event + "-renamed", s.url_of(to), s.project, {{"old_name", name}});
  });
}

api::Reply Engine::remove_backup(api::Request &q, const std::string &name) {
  auto s = backup_subject(q);
  backups_->get(s.owner, name);
  return async(s.spec(q, s.is_volume() ? "Deleting custom volume backup" : "Removing instance backup", name), [this, s, name](TaskOperation &) {
    backups_->remove(s.owner, name);
    events_.lifecycle(s.event + "-deleted", s.url_of(name), s.project);
  });
}

api::Reply Engine::export_backup(api::Request &q, const std::string &name) {
  auto s = backup_subject(q);
  api::Reply r;
  api::Reply::Body b;
  b.name = name;
  b.fd = backups_->open(s.owner, name);
  struct stat st;
  if (::fstat(b.fd.get(), &st) == 0) b.size = st.st_size;
  r.bodies.push_back(std::move(b));
  events_.lifecycle(s.event + "-retrieved", s.url_of(name), s.project);
  return r;
}

std::vector<json::value> Engine::instance_backups(const std::string &project, const std::string &name) {
  std::vector<json::value> out;
  if (auto row = db::instance(*global_, project, name))
    for (auto &b : db::backups(*global_, db::BackupKind::instance, row->id)) out.push_back(to_json(b, false));
  return out;
}

/// By the clock, and at once at the start of the daemon.
void Engine::expire_backups(Time now) {
  auto state = directory_ ? directory_->path() : std::string();
  auto try_to = [&](const backup::Files::Owner &o, const std::string &name) {
    try {
      backups_->remove(o, name);
      log_.info("backup {}/{} has expired and is gone", o.place, name);
    } catch (const Error &e) {
      log_.warning("backup {}/{} has expired and cannot be removed: {}", o.place, name, e.what());
    }
  };
  auto over = [&](const db::BackupRow &b) { return b.expires_at != Time{} && b.expires_at <= now; };
  for (auto &b : db::backups(*global_, db::BackupKind::instance, 0)) {
    if (!over(b)) continue;
    if (auto i = db::instance(*global_, b.owner))
      try_to({db::BackupKind::instance, i->id, storage::BackupPlace::of_instance(state, storage::store_name(i->project, i->name)).owner()}, b.name);
  }
  std::map<std::int64_t, std::vector<db::BackupRow>> volumes;
  for (auto &b : db::backups(*global_, db::BackupKind::volume, 0))
    if (over(b)) volumes[b.owner].push_back(b);
  if (volumes.empty()) return;
  for (auto &p : db::pools(*global_))
    for (auto &v : db::volumes_full(*global_, p.name))
      if (auto it = volumes.find(v.id); it != volumes.end())
        for (auto &b : it->second) try_to({db::BackupKind::volume, v.id, storage::BackupPlace::of_volume(state, p.name, storage::CustomVolumes::store_name(v.project, v.name)).owner()}, b.name);
}

// The rows: the same for both, the backup's name stands at another place.
api::Reply Engine::backups_get(api::Request &q) { return list_backups(q); }
api::Reply Engine::backups_post(api::Request &q) { return make_backup(q); }
api::Reply Engine::backup_get(api::Request &q) { return get_backup(q, q.path[1]); }
api::Reply Engine::backup_post(api::Request &q) { return rename_backup(q, q.path[1]); }
api::Reply Engine::backup_delete(api::Request &q) { return remove_backup(q, q.path[1]); }
api::Reply Engine::backup_export_get(api::Request &q) { return export_backup(q, q.path[1]); }
api::Reply Engine::volume_backups_get(api::Request &q) { return list_backups(q); }
api::Reply Engine::volume_backups_post(api::Request &q) { return make_backup(q); }
api::Reply Engine::volume_backup_get(api::Request &q) { return get_backup(q, q.path[3]); }
api::Reply Engine::volume_backup_post(api::Request &q) { return rename_backup(q, q.path[3]); }
api::Reply Engine::volume_backup_delete(api::Request &q) { return remove_backup(q, q.path[3]); }
api::Reply Engine::volume_backup_export_get(api::Request &q) { return export_backup(q, q.path[3]); }

} // namespace incus::embed
