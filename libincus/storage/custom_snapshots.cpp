// SPDX-License-Identifier: Apache-2.0
// Snapshots of custom volumes.
#include <algorithm>
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "storage/custom.hpp"
#include "storage/snapshot_names.hpp"

namespace incus::storage {

namespace json = boost::json;

namespace {
VolumeName name_of(const db::VolumeFull &v) { return {v.pool, v.project, v.name}; }
VolumeRef ref(const db::VolumeFull &v) { return custom_ref(v.project, v.name); }
VolumeRef ref(const json::object &d) { return custom_ref(journal_text(d, "project"), journal_text(d, "name")); }
json::object entry(const db::VolumeFull &v, const std::string &snapshot) {
  auto data = journal_entry(name_of(v));
  data["snapshot"] = snapshot;
  return data;
}
} // namespace

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
  if (v.content == db::VolumeContent::iso)
    base::fail(ErrorCode::not_supported, "volume {} of pool {} cannot have snapshots: its content is of type iso, which does not change", base::quoted(v.name), base::quoted(v.pool));
  auto have = db::volume_snapshot_names(global_, v.id);
  auto pattern = v.config.find("snapshots.pattern");
  auto name = !wanted.empty() ? wanted : next_snapshot_name(pattern == v.config.end() ? "" : pattern->second, have);
  base::SnapshotName::parse(name);
  if (have.count(name)) base::fail(ErrorCode::already_exists, "snapshot {} of volume {} already exists", base::quoted(name), base::quoted(v.name));
  return name;
}

void CustomVolumes::create_snapshot(const db::VolumeFull &v, const std::string &name, const std::string &description, const std::string &expires_at) {
  Hold hold(*this, {name_of(v)});
  auto now = volume(v.pool, v.project, v.name);
  snapshot_name(now, name);
  pools_.driver(v.pool)->open();
  db::Intent intent(journal_, "volume.snapshot", entry(v, name));
  snapshots(v.pool).create(ref(v), name, {});
  db::VolumeSnapshotRow s;
  s.volume_id = now.id;
  s.name = name;
  s.description = description.empty() ? now.description : description;
  s.expires_text = expires_at;
  s.created_at = base::now();
  s.config = now.config;
  global_.transaction([&] { db::insert_volume_snapshot(global_, s); });
  intent.done();
}

void CustomVolumes::recover_snapshot(const json::object &d) {
  if (db::pools(global_, journal_text(d, "pool")).empty()) return;
  if (auto v = db::volume(global_, journal_text(d, "pool"), journal_text(d, "project"), custom_volume_type, journal_text(d, "name")))
    if (db::volume_snapshot_names(global_, v->id).count(journal_text(d, "snapshot"))) return;
  snapshots(journal_text(d, "pool")).remove(ref(d), journal_text(d, "snapshot"));
}

void CustomVolumes::remove_snapshot(const db::VolumeFull &v, const std::string &name) {
  Hold hold(*this, {name_of(v)});
  remove_snapshot_held(v, name);
}

void CustomVolumes::remove_snapshot_held(const db::VolumeFull &v, const std::string &name) {
  auto s = snapshot(v, name);
  pools_.driver(v.pool)->open();
  db::Intent intent(journal_, "volume.snapshot", entry(v, name));
  global_.transaction([&] { db::delete_volume_snapshot(global_, s.id); });
  recover_snapshot(intent.data());
  intent.done();
}

void CustomVolumes::rename_snapshot(const db::VolumeFull &v, const std::string &name, const std::string &new_name) {
  Hold hold(*this, {name_of(v)});
  auto s = snapshot(v, name);
  snapshot_name(v, new_name);
  auto data = entry(v, name);
  data["new_snapshot"] = new_name;
  db::Intent intent(journal_, "volume.snapshot.rename", data);
  snapshots(v.pool).rename(ref(v), name, new_name);
  s.name = new_name;
  global_.transaction([&] { db::update_volume_snapshot(global_, s); });
  intent.done();
}

void CustomVolumes::recover_snapshot_rename(const json::object &d) {
  if (db::pools(global_, journal_text(d, "pool")).empty() || !exists(d)) return;
  auto v = volume(journal_text(d, "pool"), journal_text(d, "project"), journal_text(d, "name"));
  auto from = journal_text(d, "snapshot"), to = journal_text(d, "new_snapshot");
  if (db::volume_snapshot_names(global_, v.id).count(from)) std::swap(from, to);
  auto disk = snapshots(v.pool).list(ref(v));
  if (std::find(disk.begin(), disk.end(), from) != disk.end()) snapshots(v.pool).rename(ref(v), from, to);
}

/// The store says nothing of a volume's content, so the intent does: until it says `commit`, the old one stays.
void CustomVolumes::replace_content(const VolumeName &n, const std::function<void()> &prepare) {
  auto data = journal_entry(n);
  data["commit"] = false;
  db::Intent intent(journal_, "volume.restore", data);
  prepare();
  intent.data()["commit"] = true;
  intent.save();
  snapshots(n.pool).restore_commit(custom_ref(n.project, n.name));
  settle_size(n);
  intent.done();
}

void CustomVolumes::restore(const db::VolumeFull &v, const std::string &name, const Progress &progress) {
  Hold hold(*this, {name_of(v)});
  snapshot(v, name);
  replace_content(name_of(v), [&] { snapshots(v.pool).restore_prepare(ref(v), name, progress); });
}

void CustomVolumes::recover_restore(const json::object &d) {
  if (db::pools(global_, journal_text(d, "pool")).empty()) return;
  auto &ops = snapshots(journal_text(d, "pool"));
  if (d.at("commit").as_bool()) {
    ops.restore_commit(ref(d));
    settle_size(journal_name(d));
  } else
    ops.restore_abandon(ref(d));
}

} // namespace incus::storage
