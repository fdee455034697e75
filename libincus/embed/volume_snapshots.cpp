// SPDX-License-Identifier: Apache-2.0
// Snapshots of volumes: those of custom ones are made here, those of instances' go with the instance's.
#include "embed/volume_entries.hpp"

#include <ctime>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "instance/schedule.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

/// `whole`: the snapshot's name with its volume's, as lists have it.
json::value to_json(const db::VolumeFull &v, const db::VolumeSnapshotRow &s, bool whole) {
  return json::object{{"name", whole ? v.name + "/" + s.name : s.name},
                      {"description", s.description},
                      {"config", api::to_json(s.config)},
                      {"content_type", db::content_name(v.content)},
                      {"created_at", base::format_time(s.created_at)},
                      {"expires_at", !s.expires_text.empty() ? json::value(s.expires_text) : whole ? json::value(nullptr) : json::value(base::format_time({}))}};
}

Etag etag(const db::VolumeSnapshotRow &s) { return etag_of({s.name, s.description, s.expires_text}); }

/// What a new snapshot's expires_at is by its volume's snapshots.expiry.
std::string expiry_of(const db::VolumeFull &v) {
  auto it = v.config.find("snapshots.expiry");
  auto t = it == v.config.end() ? Time{} : instance::expiry_after(it->second, base::now());
  return t == Time{} ? "" : base::format_time(t);
}

} // namespace

api::Reply Engine::volume_snapshots_get(api::Request &q) {
  auto v = one_volume(*global_, q.path[0], volume_owner(*global_, q), volume_type(q.path[1]), q.path[2]);
  json::array out;
  for (auto &s : db::volume_snapshots(*global_, v.id)) {
    if (q.recursion() == 0)
      out.emplace_back(volume_url(v, s.name));
    else
      out.push_back(to_json(v, s, true));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::volume_snapshot_get(api::Request &q) {
  auto v = one_volume(*global_, q.path[0], volume_owner(*global_, q), volume_type(q.path[1]), q.path[2]);
  auto s = one_snapshot(*global_, v, q.path[3]);
  return {to_json(v, s, false), etag(s), {}};
}

api::Reply Engine::volume_snapshots_post(api::Request &q) {
  only_custom(volume_type(q.path[1]), "snapshot");
  auto change = volume_change_of(q.body);
  auto v = volumes_->volume(q.path[0], volume_owner(*global_, q), q.path[2]);
  auto *n = q.body.get_object().if_contains("name");
  auto name = volumes_->snapshot_name(v, n ? api::from_json<std::string>(*n) : "");
  OperationSpec s;
  s.description = "Creating storage volume snapshot";
  s.project = q.project();
  s.resources["storage_volumes"] = {volume_url(v)};
  s.resources["storage_volume_snapshots"] = {volume_url(v, name)};
  return async(std::move(s), [this, v, name, change](TaskOperation &) {
    volumes_->create_snapshot(v, name, change.description.value_or(""), change.expires_at ? *change.expires_at : expiry_of(v));
    events_.lifecycle("storage-volume-snapshot-created", volume_url(v, name), v.project);
  });
}

api::Reply Engine::change_volume_snapshot(api::Request &q, bool patch) {
  auto type = volume_type(q.path[1]);
  auto change = volume_change_of(q.body);
  std::string where, project;
  global_->transaction([&] {
    auto v = one_volume(*global_, q.path[0], volume_owner(*global_, q), type, q.path[2]);
    auto s = one_snapshot(*global_, v, q.path[3]);
    check_match(q.if_match, etag(s), "snapshot " + base::quoted(q.path[3]));
    if (!patch || change.description) s.description = change.description.value_or("");
    // The instance's snapshot has the expiry; its volume's goes with it.
    if (type == custom_volume && (!patch || change.expires_at)) s.expires_text = change.expires_at.value_or("");
    db::update_volume_snapshot(*global_, s);
    where = volume_url(v, q.path[3]);
    project = v.project;
  });
  events_.lifecycle("storage-volume-snapshot-updated", where, project);
  return {};
}
api::Reply Engine::volume_snapshot_put(api::Request &q) { return change_volume_snapshot(q, false); }
api::Reply Engine::volume_snapshot_patch(api::Request &q) { return change_volume_snapshot(q, true); }

api::Reply Engine::volume_snapshot_post(api::Request &q) {
  only_custom(volume_type(q.path[1]), "rename a snapshot of");
  auto to = api::from_json<api::Rename>(q.body).name;
  auto v = volumes_->volume(q.path[0], volume_owner(*global_, q), q.path[2]);
  volumes_->snapshot(v, q.path[3]);
  volumes_->snapshot_name(v, to);
  OperationSpec s;
  s.description = "Renaming storage volume snapshot";
  s.project = q.project();
  s.resources["storage_volume_snapshots"] = {volume_url(v, q.path[3])};
  return async(std::move(s), [this, v, from = q.path[3], to](TaskOperation &) {
    volumes_->rename_snapshot(v, from, to);
    events_.lifecycle("storage-volume-snapshot-renamed", volume_url(v, to), v.project, {{"old_name", from}});
  });
}

api::Reply Engine::volume_snapshot_delete(api::Request &q) {
  only_custom(volume_type(q.path[1]), "delete a snapshot of");
  auto v = volumes_->volume(q.path[0], volume_owner(*global_, q), q.path[2]);
  volumes_->snapshot(v, q.path[3]);
  OperationSpec s;
  s.description = "Deleting storage volume snapshot";
  s.project = q.project();
  s.resources["storage_volume_snapshots"] = {volume_url(v, q.path[3])};
  return async(std::move(s), [this, v, name = q.path[3]](TaskOperation &) {
    volumes_->remove_snapshot(v, name);
    events_.lifecycle("storage-volume-snapshot-deleted", volume_url(v, name), v.project);
  });
}

void Engine::expire_volume_snapshots(Time now) {
  for (auto &pool : db::pools(*global_)) {
    std::map<std::int64_t, db::VolumeFull> volumes;
    for (auto &v : db::volumes_full(*global_, pool.name))
      if (v.type == custom_volume) volumes.emplace(v.id, std::move(v));
    if (volumes.empty()) continue;
    for (auto &s : db::volume_snapshots(*global_, 0)) {
      auto v = volumes.find(s.volume_id);
      if (s.expires_text.empty() || v == volumes.end()) continue;
      try {
        auto expires = base::parse_time(s.expires_text);
        if (expires == Time{} || expires > now) continue;
        volumes_->remove_snapshot(v->second, s.name);
        events_.lifecycle("storage-volume-snapshot-deleted", volume_url(v->second, s.name), v->second.project);
      } catch (const std::exception &e) {
        log_.error("cannot remove the expired snapshot {} of volume {}: {}", s.name, v->second.name, e.what());
      }
    }
  }
}

void Engine::run_volume_schedules(Time now) {
  auto seconds = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(now));
  std::tm minute{};
  ::localtime_r(&seconds, &minute);
  for (auto &pool : db::pools(*global_))
    for (auto &v : db::volumes_full(*global_, pool.name)) {
      auto schedule = v.config.find("snapshots.schedule");
      if (v.type != custom_volume || schedule == v.config.end() || !instance::schedule_due(schedule->second, minute)) continue;
      try {
        auto name = volumes_->snapshot_name(v, "");
        volumes_->create_snapshot(v, name, "", expiry_of(v));
        events_.lifecycle("storage-volume-snapshot-created", volume_url(v, name), v.project);
      } catch (const std::exception &e) {
        log_.error("cannot make the scheduled snapshot of volume {}: {}", v.name, e.what());
      }
    }
}

} // namespace incus::embed
