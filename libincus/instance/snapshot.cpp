// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/volumes.hpp"
#include "device/device.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"
#include "instance/schedule.hpp"
#include "schema/schema.hpp"
#include "storage/snapshot_names.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
std::string text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }

storage::SnapshotOps &ops_of(storage::Driver &driver, const std::string &pool) {
  auto *ops = driver.snapshots();
  if (!ops) base::fail(ErrorCode::not_supported, "storage pool {} has no snapshots", base::quoted(pool));
  return *ops;
}
} // namespace

SnapshotInfo Manager::to_info(const db::SnapshotRow &r, const std::map<std::string, db::ProfileRow> &profiles) {
  SnapshotInfo i;
  i.architecture = r.architecture;
  i.config = r.config;
  i.created_at = r.created_at;
  i.devices = r.devices;
  i.ephemeral = r.ephemeral;
  i.expires_at = r.expires_at;
  i.name = r.name;
  i.profiles = r.profiles;
  i.stateful = r.stateful;
  i.description = r.description;
  db::InstanceRow as;
  as.config = r.config;
  as.devices = r.devices;
  // Profiles that are gone since add nothing.
  for (auto &p : r.profiles)
    if (profiles.count(p)) as.profiles.push_back(p);
  auto e = expand_with(as, profiles);
  i.expanded_config = std::move(e.config);
  i.expanded_devices = std::move(e.devices);
  return i;
}

std::vector<SnapshotInfo> Manager::snapshots(const std::string &project, const std::string &name) {
  auto r = row(project, name);
  std::vector<SnapshotInfo> out;
  auto profiles = profile_map(project);
  for (auto &s : db::snapshots(ctx_.global, r.id)) out.push_back(to_info(s, profiles));
  return out;
}

SnapshotInfo Manager::snapshot(const std::string &project, const std::string &name, const std::string &snapshot) {
  auto r = row(project, name);
  for (auto &i : snapshots(project, name)) {
    if (i.name != snapshot) continue;
    auto root = root_of(r, expand(r));
    i.size = static_cast<std::int64_t>(ops_of(*root.driver, root.pool).usage(root.volume, snapshot));
    return i;
  }
  base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(snapshot), base::quoted(name));
}

std::string Manager::next_snapshot_name(const db::InstanceRow &r, const Config &expanded) {
  std::set<std::string> have;
  ctx_.global.query("SELECT name FROM instances_snapshots WHERE instance_id = ?", {r.id}, [&](const db::Row &row) { have.insert(row.text(0)); });
  return storage::next_snapshot_name(schema::value(instance_keys(), expanded, "snapshots.pattern"), have);
}

std::string Manager::check_snapshot(const std::string &project, const std::string &name, const SnapshotCreate &request) {
  auto r = row(project, name);
  if (request.stateful) base::fail(ErrorCode::not_supported, "stateful snapshots are not supported for containers");
  auto snapshot = base::SnapshotName::parse(request.name.empty() ? next_snapshot_name(r, expand(r).config) : request.name).str();
  if (db::snapshot(ctx_.global, r.id, snapshot))
    base::fail(ErrorCode::already_exists, "snapshot {} of instance {} already exists", base::quoted(snapshot), base::quoted(name));
  return snapshot;
}

std::shared_ptr<void> Manager::hold_stopped(const std::string &project, const std::string &name, const char *what) {
  auto claim = std::make_shared<Claim>(*this, project, name, what);
  must_not_run(row(project, name), what);
  return claim;
}

void Manager::check_snapshot_rows(const db::InstanceRow &r) {
  if (!db::snapshot_rows_agree(ctx_.global, r.id))
    base::fail(ErrorCode::conflict,
               "instance {}: the store's records of its snapshots and of its volume's snapshots differ; open the host anew after removing the patch "
               "\"storage_missing_snapshot_records\" from the local store, which brings them together",
               base::quoted(r.name));
}

void Manager::create_snapshot(const std::string &project, const std::string &name, const SnapshotCreate &request, const Report &report) {
  Claim claim(*this, project, name, "snapshot");
  snapshot_claimed(project, name, request, report);
}

void Manager::snapshot_claimed(const std::string &project, const std::string &name, const SnapshotCreate &request, const Report &report) {
  auto snapshot = check_snapshot(project, name, request);
  auto r = row(project, name);
  auto root = root_of(r, expand(r));
  auto &ops = ops_of(*root.driver, root.pool);
  root.driver->open();
  db::Intent intent(ctx_.journal, "snapshot", {{"id", r.id}, {"store", root.volume.name}, {"pool", root.pool}, {"snapshot", snapshot}});
  ops.create(root.volume, snapshot, [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); });
  db::SnapshotRow s;
  s.instance_id = r.id;
  s.name = snapshot;
  s.architecture = r.architecture;
  s.created_at = base::now();
  if (request.expires_at) {
    s.expires_at = *request.expires_at;
  } else {
    auto keep = schema::value(instance_keys(), expand(r).config, "snapshots.expiry");
    s.expires_at = expiry_after(keep, s.created_at);
  }
  s.ephemeral = r.ephemeral;
  s.config = r.config;
  s.config.erase("volatile.last_state.power");
  s.devices = r.devices;
  s.profiles = r.profiles;
  s.description = r.description;
  ctx_.global.transaction([&] { db::insert_snapshot(ctx_.global, s); });
  intent.done();
  event("instance-snapshot-created", project, name + "/snapshots/" + snapshot);
}

void Manager::recover_snapshot(const json::object &d) {
  auto id = d.at("id").as_int64();
  if (db::snapshot(ctx_.global, id, text(d, "snapshot"))) return;
  auto r = db::instance(ctx_.global, id);
  if (!r || db::pools(ctx_.global, text(d, "pool")).empty()) return;
  ctx_.pools.driver(text(d, "pool"))->snapshots()->remove({storage::VolumeType::container, text(d, "store")}, text(d, "snapshot"));
}

void Manager::rename_snapshot(const std::string &project, const std::string &name, const std::string &snapshot, const std::string &new_name) {
  base::SnapshotName::parse(new_name);
  Claim claim(*this, project, name, "snapshot rename");
  auto r = row(project, name);
  auto s = db::snapshot(ctx_.global, r.id, snapshot);
  if (!s) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(snapshot), base::quoted(name));
  if (snapshot == new_name) return;
  if (db::snapshot(ctx_.global, r.id, new_name))
    base::fail(ErrorCode::already_exists, "snapshot {} of instance {} already exists", base::quoted(new_name), base::quoted(name));
  auto root = root_of(r, expand(r));
  auto &ops = ops_of(*root.driver, root.pool);
  db::Intent intent(ctx_.journal, "snapshot.rename",
                    {{"id", r.id}, {"snapshot_id", s->id}, {"store", root.volume.name}, {"pool", root.pool}, {"old", snapshot}, {"new", new_name}});
  ops.rename(root.volume, snapshot, new_name);
  ctx_.global.transaction([&] { db::rename_snapshot(ctx_.global, s->id, new_name); });
  intent.done();
  event("instance-snapshot-renamed", project, name + "/snapshots/" + new_name, {{"old_name", snapshot}});
}

void Manager::recover_snapshot_rename(const json::object &d) {
  for (auto &s : db::snapshots(ctx_.global, d.at("id").as_int64())) {
    if (s.id != d.at("snapshot_id").as_int64()) continue;
    bool forward = s.name == text(d, "new");
    ctx_.pools.driver(text(d, "pool"))->snapshots()->rename({storage::VolumeType::container, text(d, "store")}, text(d, forward ? "old" : "new"), text(d, forward ? "new" : "old"));
  }
}

std::string Manager::snapshot_expiry(const std::string &project, const std::string &name, const std::string &snapshot) {
  auto s = db::snapshot(ctx_.global, row(project, name).id, snapshot);
  return s ? s->expires_text : "";
}

void Manager::set_snapshot_expiry(const std::string &project, const std::string &name, const std::string &snapshot, const std::string &expires_at) {
  auto r = row(project, name);
  auto s = db::snapshot(ctx_.global, r.id, snapshot);
  if (!s) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(snapshot), base::quoted(name));
  ctx_.global.transaction([&] { db::set_snapshot_expiry(ctx_.global, s->id, expires_at); });
  event("instance-snapshot-updated", project, name + "/snapshots/" + snapshot);
}

void Manager::remove_snapshot(const std::string &project, const std::string &name, const std::string &snapshot) {
  Claim claim(*this, project, name, "snapshot delete");
  remove_snapshot_claimed(project, name, snapshot);
}

void Manager::remove_snapshot_claimed(const std::string &project, const std::string &name, const std::string &snapshot) {
  auto r = row(project, name);
  auto s = db::snapshot(ctx_.global, r.id, snapshot);
  if (!s) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(snapshot), base::quoted(name));
  auto root = root_of(r, expand(r));
  root.driver->open();
  db::Intent intent(ctx_.journal, "snapshot", {{"id", r.id}, {"store", root.volume.name}, {"pool", root.pool}, {"snapshot", snapshot}});
  ctx_.global.transaction([&] { db::delete_snapshot(ctx_.global, s->id); });
  ops_of(*root.driver, root.pool).remove(root.volume, snapshot);
  intent.done();
  event("instance-snapshot-deleted", project, name + "/snapshots/" + snapshot);
}

void Manager::restore(const std::string &project, const std::string &name, const std::string &snapshot, const Report &report) {
  Claim claim(*this, project, name, "restore");
  auto r = row(project, name);
  auto s = db::snapshot(ctx_.global, r.id, snapshot);
  if (!s) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(snapshot), base::quoted(name));
  auto root = root_of(r, expand(r));
  auto &ops = ops_of(*root.driver, root.pool);
  auto fresh = r;
  fresh.architecture = s->architecture;
  fresh.ephemeral = s->ephemeral;
  fresh.description = s->description;
  fresh.config = s->config;
  fresh.devices = s->devices;
  fresh.profiles = s->profiles;
  auto token = base::uuid();
  // The same machine at another time: its identity stays, its generation changes.
  fresh.config["volatile.uuid"] = r.config.count("volatile.uuid") ? r.config.at("volatile.uuid") : base::uuid();
  fresh.config["volatile.uuid.generation"] = token;
  fresh.config["volatile.last_state.power"] = "STOPPED";
  check_expanded(fresh, expand(fresh), false);
  auto volume = volume_row(r, root.pool);
  for (auto &v : db::instance_volume_snapshots(ctx_.global, r.id))
    if (volume && v.name == snapshot) volume->config = v.config;
  bool was_running = is_live(r.id);
  {
    db::Intent intent(ctx_.journal, "instance.restore", {{"id", r.id}, {"store", root.volume.name}, {"pool", root.pool}, {"token", token}});
    ops.restore_prepare(root.volume, snapshot, [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); });
    // Not before: when there is no space for it, it runs on.
    if (was_running) {
      ctx_.runtime.kill(key_of(r));
      finish_stopped(key_of(r), "instance-stopped");
    }
    Files::Hold no_sessions(files_, r.id);
    ctx_.global.transaction([&] {
      db::update_instance(ctx_.global, fresh);
      if (volume) db::update_volume(ctx_.global, *volume);
    });
    ops.restore_commit(root.volume);
    intent.done();
  }
  event("instance-restored", project, name, {{"snapshot", snapshot}});
  if (was_running) start_claimed(project, name);
}

void Manager::recover_restore(const json::object &d) {
  auto r = db::instance(ctx_.global, d.at("id").as_int64());
  if (!r || db::pools(ctx_.global, text(d, "pool")).empty()) return;
  auto *ops = ctx_.pools.driver(text(d, "pool"))->snapshots();
  storage::VolumeRef vol{storage::VolumeType::container, text(d, "store")};
  auto it = r->config.find("volatile.uuid.generation");
  if (it != r->config.end() && it->second == text(d, "token"))
    ops->restore_commit(vol);
  else
    ops->restore_abandon(vol);
}

} // namespace incus::instance
