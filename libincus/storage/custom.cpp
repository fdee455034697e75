// SPDX-License-Identifier: Apache-2.0
#include "storage/custom.hpp"

#include <boost/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "storage/backup_place.hpp"

namespace incus::storage {

namespace json = boost::json;

namespace {

constexpr int custom_type = 2;

std::string text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }
VolumeRef ref(const std::string &project, const std::string &name) { return {VolumeType::custom, CustomVolumes::store_name(project, name)}; }
VolumeRef ref(const db::VolumeFull &v) { return ref(v.project, v.name); }
VolumeRef ref(const json::object &d) { return ref(text(d, "project"), text(d, "name")); }

json::object where(const std::string &pool, const std::string &project, const std::string &name) {
  return {{"pool", pool}, {"project", project}, {"name", name}};
}

void check_name(const std::string &name) {
  if (name.find('/') != std::string::npos) base::fail(ErrorCode::invalid_argument, "invalid name {}: Storage volume names may not contain slashes", base::quoted(name));
  base::SnapshotName::parse(name);
}

} // namespace

CustomVolumes::CustomVolumes(db::Connection &global, db::Journal &journal, Pools &pools, std::string state)
    : global_(global), journal_(journal), pools_(pools), state_(std::move(state)) {
  journal_.on("volume", [this](const json::object &d) { recover(d); });
  journal_.on("volume.rename", [this](const json::object &d) { recover_rename(d); });
  journal_.on("volume.snapshot", [this](const json::object &d) { recover_snapshot(d); });
  journal_.on("volume.snapshot.rename", [this](const json::object &d) { recover_snapshot_rename(d); });
}

void CustomVolumes::validate(const std::string &name, const Config &config, bool instance) {
  for (auto &[k, v] : config) {
    bool known = k.starts_with("user.") && k.size() > 5;
    known = known || (!instance && (k == "snapshots.pattern" || k == "snapshots.schedule" || k == "snapshots.expiry" || k == "security.shifted" || k == "security.unmapped"));
    if (!known && !v.empty())
      base::fail(ErrorCode::invalid_argument, "Invalid option for volume {} option {}: known are user.*{}", base::quoted(name), base::quoted(k),
                 instance ? "" : ", snapshots.pattern, snapshots.schedule, snapshots.expiry, security.shifted and security.unmapped");
    if (v.find('\0') != std::string::npos) base::fail(ErrorCode::invalid_argument, "option {} of volume {} may not hold NUL", base::quoted(k), base::quoted(name));
  }
}

db::VolumeFull CustomVolumes::volume(const std::string &pool, const std::string &project, const std::string &name) {
  auto v = db::volume(global_, pool, project, custom_type, name);
  if (!v) base::fail(ErrorCode::not_found, "Storage pool volume not found: there is no custom volume {} in pool {}", base::quoted(name), base::quoted(pool));
  return *v;
}

void CustomVolumes::create(const std::string &pool, const std::string &project, const std::string &name, const std::string &description, const Config &config) {
  check_name(name);
  validate(name, config, false);
  auto driver = pools_.driver(pool);
  db::project_id(global_, project);
  std::lock_guard lock(mutex_);
  if (db::volume(global_, pool, project, custom_type, name) || claimed_.count(pool + "/" + store_name(project, name))) base::fail(ErrorCode::already_exists, "Volume by that name already exists: {} in pool {}", base::quoted(name), base::quoted(pool));
  auto data = where(pool, project, name);
  if (driver->exists(ref(data)))
    base::fail(ErrorCode::conflict, "cannot create volume {}: pool {} holds one of that name that is not in the store", base::quoted(name), base::quoted(pool));
  db::Intent intent(journal_, "volume", data);
  driver->create_empty(ref(data));
  db::VolumeFull v;
  v.pool = pool;
  v.project = project;
  v.name = name;
  v.type = custom_type;
  v.description = description;
  v.config = config;
  v.created_at = base::now();
  global_.transaction([&] { db::insert_volume(global_, v); });
  intent.done();
}

bool CustomVolumes::exists(const json::object &d) { return db::volume(global_, text(d, "pool"), text(d, "project"), custom_type, text(d, "name")).has_value(); }

void CustomVolumes::recover(const json::object &d) {
  // Creation and removal alike: what the store does not have goes from the disk.
  if (db::pools(global_, text(d, "pool")).empty() || exists(d)) return;
  pools_.driver(text(d, "pool"))->remove_volume(ref(d));
  BackupPlace::of_volume(state_, text(d, "pool"), ref(d).name).remove_all();
}

void CustomVolumes::remove(const std::string &pool, const std::string &project, const std::string &name) {
  std::lock_guard lock(mutex_);
  volume(pool, project, name);
  db::Intent intent(journal_, "volume", where(pool, project, name));
  global_.transaction([&] { db::delete_volume(global_, pool, project, name, custom_type); });
  recover(intent.data());
  intent.done();
}

void CustomVolumes::rename(const std::string &pool, const std::string &project, const std::string &name, const std::string &new_name) {
  check_name(new_name);
  std::lock_guard lock(mutex_);
  auto v = volume(pool, project, name);
  if (name == new_name) return;
  if (db::volume(global_, pool, project, custom_type, new_name))
    base::fail(ErrorCode::already_exists, "Volume by that name already exists: {} in pool {}", base::quoted(new_name), base::quoted(pool));
  auto data = where(pool, project, name);
  data["new_name"] = new_name;
  if (pools_.driver(pool)->exists(ref(project, new_name)))
    base::fail(ErrorCode::conflict, "cannot rename volume {}: pool {} holds {}, which is not in the store", base::quoted(name), base::quoted(pool), base::quoted(new_name));
  db::Intent intent(journal_, "volume.rename", data);
  pools_.driver(pool)->rename(ref(project, name), ref(project, new_name).name);
  BackupPlace::of_volume(state_, pool, ref(project, name).name).move_to(BackupPlace::of_volume(state_, pool, ref(project, new_name).name));
  global_.transaction([&] {
    global_.exec("UPDATE storage_volumes SET name = ? WHERE id = ?", {new_name, v.id});
  });
  intent.done();
}

void CustomVolumes::recover_rename(const json::object &d) {
  if (db::pools(global_, text(d, "pool")).empty()) return;
  auto from = ref(d), to = ref(text(d, "project"), text(d, "new_name"));
  auto driver = pools_.driver(text(d, "pool"));
  if (exists(d)) std::swap(from, to);
  if (driver->exists(from)) driver->rename(from, to.name);
  BackupPlace::of_volume(state_, text(d, "pool"), from.name).move_to(BackupPlace::of_volume(state_, text(d, "pool"), to.name));
}

SnapshotOps &CustomVolumes::snapshots(const std::string &pool) {
  auto *ops = pools_.driver(pool)->snapshots();
  if (!ops) base::fail(ErrorCode::not_supported, "storage pool {} has no snapshots", base::quoted(pool));
  return *ops;
}

db::VolumeSnapshotRow CustomVolumes::snapshot(const db::VolumeFull &v, const std::string &name) {
  for (auto &s : db::volume_snapshots(global_, v.id))
    if (s.name == name) return s;
  base::fail(ErrorCode::not_found, "snapshot {} of volume {} not found", base::quoted(name), base::quoted(v.name));
}

std::string CustomVolumes::snapshot_name(const db::VolumeFull &v, const std::string &wanted) {
  std::set<std::string> have;
  for (auto &s : db::volume_snapshots(global_, v.id)) have.insert(s.name);
  auto name = wanted;
  for (int n = 0; name.empty(); n++)
    if (auto next = fmt::format("snap{}", n); !have.count(next)) name = next;
  base::SnapshotName::parse(name);
  if (have.count(name)) base::fail(ErrorCode::already_exists, "snapshot {} of volume {} already exists", base::quoted(name), base::quoted(v.name));
  return name;
}

void CustomVolumes::create_snapshot(const db::VolumeFull &v, const std::string &name, const std::string &description, const std::string &expires_at) {
  std::lock_guard lock(mutex_);
  snapshot_name(v, name);
  auto data = where(v.pool, v.project, v.name);
  data["snapshot"] = name;
  db::Intent intent(journal_, "volume.snapshot", data);
  snapshots(v.pool).create(ref(v), name, {});
  db::VolumeSnapshotRow s;
  s.volume_id = v.id;
  s.name = name;
  s.description = description;
  s.expires_text = expires_at;
  s.created_at = base::now();
  global_.transaction([&] { db::insert_volume_snapshot(global_, s); });
  intent.done();
}

void CustomVolumes::recover_snapshot(const json::object &d) {
  if (db::pools(global_, text(d, "pool")).empty()) return;
  if (auto v = db::volume(global_, text(d, "pool"), text(d, "project"), custom_type, text(d, "name")))
    for (auto &s : db::volume_snapshots(global_, v->id))
      if (s.name == text(d, "snapshot")) return;
  snapshots(text(d, "pool")).remove(ref(d), text(d, "snapshot"));
}

void CustomVolumes::remove_snapshot(const db::VolumeFull &v, const std::string &name) {
  std::lock_guard lock(mutex_);
  auto s = snapshot(v, name);
  auto data = where(v.pool, v.project, v.name);
  data["snapshot"] = name;
  db::Intent intent(journal_, "volume.snapshot", data);
  global_.transaction([&] { db::delete_volume_snapshot(global_, s.id); });
  recover_snapshot(intent.data());
  intent.done();
}

void CustomVolumes::rename_snapshot(const db::VolumeFull &v, const std::string &name, const std::string &new_name) {
  std::lock_guard lock(mutex_);
  auto s = snapshot(v, name);
  snapshot_name(v, new_name);
  auto data = where(v.pool, v.project, v.name);
  data["snapshot"] = name;
  data["new_snapshot"] = new_name;
  db::Intent intent(journal_, "volume.snapshot.rename", data);
  snapshots(v.pool).rename(ref(v), name, new_name);
  s.name = new_name;
  global_.transaction([&] { db::update_volume_snapshot(global_, s); });
  intent.done();
}

void CustomVolumes::recover_snapshot_rename(const json::object &d) {
  if (db::pools(global_, text(d, "pool")).empty() || !exists(d)) return;
  auto v = volume(text(d, "pool"), text(d, "project"), text(d, "name"));
  auto from = text(d, "snapshot"), to = text(d, "new_snapshot");
  for (auto &s : db::volume_snapshots(global_, v.id))
    if (s.name == from) std::swap(from, to);
  auto disk = snapshots(v.pool).list(ref(v));
  if (std::find(disk.begin(), disk.end(), from) != disk.end()) snapshots(v.pool).rename(ref(v), from, to);
}

} // namespace incus::storage
