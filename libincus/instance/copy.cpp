// SPDX-License-Identifier: Apache-2.0
// Copies of instances, in a pool or to another, and refreshes of such copies. Moves are in move.cpp.
#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "base/error.hpp"
#include "base/names.hpp"
#include "db/volumes.hpp"
#include "instance/manager.hpp"
#include "storage/transfer.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
/// A copy is another machine: of what the engine keeps only what describes the disk comes along.
Config for_copy(const Config &config) {
  Config out;
  for (auto &[k, v] : config)
    if (!k.starts_with("volatile.") || k == "volatile.base_image" || k == "volatile.last_state.idmap") out[k] = v;
  return out;
}

std::vector<storage::SnapshotMark> marks(const std::vector<db::SnapshotRow> &rows) {
  std::vector<storage::SnapshotMark> out;
  for (auto &r : rows) out.push_back({r.name, r.created_at});
  return out;
}
} // namespace

/// A snapshot of one instance as a snapshot of another: restored, its root is in that one's pool.
void Manager::adapt_snapshot(db::SnapshotRow &snap, const db::InstanceRow &to, const Expanded &expanded, const std::map<std::string, db::ProfileRow> &profiles) {
  auto own = device::root_disk(expanded.devices);
  auto &pool = expanded.devices.at(own).at("pool");
  db::InstanceRow as;
  as.project = to.project;
  as.config = snap.config;
  as.devices = snap.devices;
  for (auto &p : snap.profiles)
    if (profiles.count(p)) as.profiles.push_back(p);
  auto e = expand_with(as, profiles);
  std::string root;
  try {
    root = device::root_disk(e.devices);
  } catch (const Error &) {
    return; // two of them: for whoever restores it to settle
  }
  if (!root.empty() && e.devices.at(root).at("pool") == pool) return;
  if (!root.empty() && snap.devices.count(root))
    snap.devices[root]["pool"] = pool;
  else
    snap.devices[root.empty() ? own : root] = {{"type", "disk"}, {"path", "/"}, {"pool", pool}};
}

std::optional<db::VolumeFull> Manager::volume_row(const db::InstanceRow &row, const std::string &pool) {
  return db::volume(ctx_.global, pool, row.project, 0, row.name);
}

void Manager::create_copy(db::InstanceRow &r, const InstanceCreate &request, const Report &report) {
  auto &s = request.source;
  auto cut = s.source.find('/');
  auto from_name = s.source.substr(0, cut);
  auto from_project = s.project.empty() ? r.project : s.project;
  std::optional<std::string> from_snapshot;
  if (cut != std::string::npos) from_snapshot = s.source.substr(cut + 1);

  // The source may run, but must not be renamed, restored or deleted meanwhile.
  Claim claim(*this, from_project, from_name, "copy");
  auto src = row(from_project, from_name);
  auto config = src.config;
  auto devices = src.devices;
  if (from_snapshot) {
    auto snap = db::snapshot(ctx_.global, src.id, *from_snapshot);
    if (!snap) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(*from_snapshot), base::quoted(from_name));
    config = snap->config;
    devices = snap->devices;
  }
  auto own_config = r.config;
  auto own_devices = r.devices;
  r.config = for_copy(config);
  for (auto &[k, v] : own_config) r.config[k] = v;
  r.devices = devices;
  for (auto &[k, d] : own_devices) r.devices[k] = d;
  if (request.architecture.empty()) r.architecture = src.architecture;
  if (r.description.empty()) r.description = src.description;

  auto e = expand(r);
  check_expanded(r, e, true);
  auto root = root_of(r, e), from = root_of(src, expand(src));
  if (root.driver->exists(root.volume))
    base::fail(ErrorCode::conflict, "cannot create instance {}: pool {} holds a volume of that name that no instance owns", base::quoted(r.name), base::quoted(root.pool));

  db::Intent intent(ctx_.journal, "instance.create",
                    {{"project", r.project}, {"name", r.name}, {"store", root.volume.name}, {"pool", root.pool}, {"id", 0}});
  auto progress = [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); };
  storage::Place to{root.driver, root.volume}, of{from.driver, from.volume, ctx_.pools.copy_rate(from.pool)};
  bool with_snapshots = !from_snapshot && !s.instance_only && root.driver->snapshots();
  std::vector<db::SnapshotRow> snapshots;
  std::vector<std::string> names;
  if (with_snapshots) snapshots = db::snapshots(ctx_.global, src.id);
  for (auto &snap : snapshots) names.push_back(snap.name);
  if (from_snapshot)
    storage::copy_volume(to, of, from_snapshot, progress);
  else
    storage::copy_with_snapshots(to, of, names, progress);
  NewVolume volume;
  auto source_volume = volume_row(src, from.pool);
  auto volume_snapshots = db::instance_volume_snapshots(ctx_.global, src.id);
  if (source_volume) volume.like = {source_volume->description, source_volume->config};
  if (from_snapshot)
    for (auto &v : volume_snapshots)
      if (v.name == *from_snapshot) volume.like = {v.description, v.config};
  if (with_snapshots) {
    auto profiles = profile_map(r.project);
    for (auto &snap : snapshots) {
      snap.config = for_copy(snap.config);
      adapt_snapshot(snap, r, e, profiles);
      volume.snapshots.push_back(std::move(snap));
    }
    volume.snapshots_like = std::move(volume_snapshots);
  }
  link(root);
  store_new(r, root, volume, "copy");
  intent.done();
}

void Manager::check_refresh(const std::string &project, const std::string &name, const std::string &from_project, const std::string &from_name) {
  auto target = row(project, name);
  row(from_project, from_name);
  if (project == from_project && name == from_name) base::fail(ErrorCode::invalid_argument, "cannot refresh instance {} from itself", base::quoted(name));
  must_not_run(target, "refresh");
}

void Manager::refresh(const std::string &project, const std::string &name, const RefreshSource &source, const Report &report) {
  Claim claim(*this, project, name, "refresh"), other(*this, source.project, source.name, "copy");
  check_refresh(project, name, source.project, source.name);
  auto r = row(project, name), src = row(source.project, source.name);
  auto e = expand(r);
  auto root = root_of(r, e), from = root_of(src, expand(src));
  storage::Place to{root.driver, root.volume}, of{from.driver, from.volume, ctx_.pools.copy_rate(from.pool)};
  auto progress = [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); };
  storage::Since since; // the newest that came before, which both may have
  if (!source.instance_only) {
    auto theirs = db::snapshots(ctx_.global, src.id);
    auto changes = storage::compare_snapshots(marks(theirs), marks(db::snapshots(ctx_.global, r.id)), source.exclude_older);
    for (auto &gone : changes.remove) remove_snapshot_claimed(project, name, gone);
    auto volume_snapshots = db::instance_volume_snapshots(ctx_.global, src.id);
    auto profiles = profile_map(project);
    for (auto &snap : theirs) {
      auto before = std::exchange(since, snap.name);
      if (std::find(changes.copy.begin(), changes.copy.end(), snap.name) == changes.copy.end()) continue;
      db::Intent intent(ctx_.journal, "snapshot", {{"id", r.id}, {"store", root.volume.name}, {"pool", root.pool}, {"snapshot", snap.name}});
      storage::copy_snapshot(to, of, snap.name, progress, before);
      snap.instance_id = r.id;
      snap.config = for_copy(snap.config);
      adapt_snapshot(snap, r, e, profiles);
      ctx_.global.transaction([&] {
        db::insert_snapshot(ctx_.global, snap);
        for (auto &v : volume_snapshots)
          if (v.name == snap.name) db::set_snapshot_volume(ctx_.global, r.id, snap.name, v);
      });
      intent.done();
    }
  }
  Files::Hold no_sessions(files_, r.id);
  // The store says nothing of the content but whose ids it has, so the intent does: until it says `commit`, the old one stays.
  auto owners = src.config.find("volatile.last_state.idmap");
  db::Intent intent(ctx_.journal, "instance.refresh", {{"id", r.id}, {"store", root.volume.name}, {"pool", root.pool}, {"commit", false},
                                                       {"owners", owners == src.config.end() ? "[]" : owners->second}});
  storage::prepare_refresh(to, of, std::nullopt, progress, since);
  intent.data()["commit"] = true;
  intent.save();
  recover_refresh(intent.data());
  intent.done();
  event("instance-updated", project, name);
}

void Manager::recover_refresh(const json::object &d) {
  std::string pool(d.at("pool").as_string());
  auto r = db::instance(ctx_.global, d.at("id").as_int64());
  if (!r || db::pools(ctx_.global, pool).empty()) return;
  auto *ops = ctx_.pools.driver(pool)->snapshots();
  storage::VolumeRef vol{storage::VolumeType::container, std::string(d.at("store").as_string())};
  if (!d.at("commit").as_bool()) return ops->restore_abandon(vol);
  ops->restore_commit(vol);
  ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, r->id, {{"volatile.last_state.idmap", std::string(d.at("owners").as_string())}}); });
}

} // namespace incus::instance
