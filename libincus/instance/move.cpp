// SPDX-License-Identifier: Apache-2.0
// An instance to another pool, project or name: the same machine, with all that it knows about itself.
#include <boost/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "db/volumes.hpp"
#include "instance/manager.hpp"
#include "storage/backup_place.hpp"
#include "storage/transfer.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
std::string text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }
storage::VolumeRef root_ref(const std::string &store) { return {storage::VolumeType::container, store}; }
} // namespace

db::InstanceRow Manager::moved(const db::InstanceRow &r, const InstanceMove &to) {
  auto fresh = r;
  if (!to.project.empty()) fresh.project = to.project;
  fresh.name = to.name;
  if (to.config) {
    // What the engine keeps of it is not the client's to change.
    std::erase_if(fresh.config, [](auto &kv) { return !kv.first.starts_with("volatile."); });
    for (auto &[k, v] : *to.config)
      if (!k.starts_with("volatile.") && !v.empty()) fresh.config[k] = v;
  }
  if (to.devices) fresh.devices = *to.devices;
  if (to.profiles) fresh.profiles = *to.profiles;
  db::project_id(ctx_.global, fresh.project);
  for (auto &p : fresh.profiles)
    if (!db::profile(ctx_.global, fresh.project, p)) base::fail(ErrorCode::not_found, "profile {} not found in project {}", base::quoted(p), base::quoted(fresh.project));
  if (!to.pool.empty()) {
    auto e = expand(fresh);
    auto root = device::root_disk(e.devices);
    if (root.empty() || e.devices.at(root).at("pool") != to.pool) {
      auto &own = fresh.devices[root.empty() ? "root" : root];
      if (own.empty() && !root.empty()) own = e.devices.at(root);
      own["type"] = "disk";
      own["path"] = "/";
      own["pool"] = to.pool;
    }
  }
  return fresh;
}

void Manager::check_move(const std::string &project, const std::string &name, const InstanceMove &to) {
  base::InstanceName::parse(to.name);
  auto r = row(project, name);
  must_not_run(r, "move");
  auto fresh = moved(r, to);
  check_expanded(fresh, expand(fresh), true);
  if ((fresh.project != project || fresh.name != name) && db::instance(ctx_.global, fresh.project, fresh.name))
    base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(fresh.name));
}

void Manager::move(const std::string &project, const std::string &name, const InstanceMove &to, const Report &report) {
  Claim claim(*this, project, name, "move");
  std::optional<Claim> other;
  auto to_project = to.project.empty() ? project : to.project;
  if (to_project != project || to.name != name) other.emplace(*this, to_project, to.name, "move");
  check_move(project, name, to);
  auto r = row(project, name);
  auto fresh = moved(r, to);
  auto e = expand(fresh);
  auto from = root_of(r, expand(r)), root = root_of(fresh, e);
  bool same_pool = from.pool == root.pool;
  json::object data{{"id", r.id},           {"project", fresh.project},        {"name", fresh.name},     {"store", from.volume.name},
                    {"pool", from.pool},    {"new_store", root.volume.name}, {"new_pool", root.pool}};
  if ((!same_pool || from.volume.name != root.volume.name) && root.driver->exists(root.volume))
    base::fail(ErrorCode::conflict, "cannot move instance {}: pool {} holds a volume of that name that no instance owns", base::quoted(name), base::quoted(root.pool));
  auto volume = volume_row(r, from.pool);
  auto snapshots = db::snapshots(ctx_.global, r.id);
  auto volume_snapshots = db::instance_volume_snapshots(ctx_.global, r.id);
  Files::Hold no_sessions(files_, r.id);
  if (to.instance_only) snapshots.clear();
  db::Intent intent(ctx_.journal, "instance.move", data);
  if (same_pool) {
    if (from.volume.name != root.volume.name) move_traces(data, true);
  } else {
    auto progress = [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); };
    storage::Place target{root.driver, root.volume}, source{from.driver, from.volume, ctx_.pools.copy_rate(from.pool)};
    std::vector<std::string> names;
    for (auto &s : snapshots) names.push_back(s.name);
    storage::copy_with_snapshots(target, source, names, progress);
  }
  auto profiles = profile_map(fresh.project);
  for (auto &s : snapshots) adapt_snapshot(s, fresh, e, profiles);
  if (fresh.name != name) {
    fresh.config["volatile.cloud-init.instance-id"] = base::uuid();
    fresh.config.emplace("volatile.apply_template", "rename");
  }
  ctx_.global.transaction([&] {
    if (fresh.project != project) db::check_instance_limits(ctx_.global, fresh.project);
    for (auto &s : db::snapshots(ctx_.global, r.id)) db::delete_snapshot(ctx_.global, s.id);
    db::delete_volume(ctx_.global, from.pool, project, name, 0);
    db::place_instance(ctx_.global, r.id, fresh.project, fresh.name);
    db::update_instance(ctx_.global, fresh);
    db::VolumeFull v;
    v.created_at = r.created_at;
    if (volume) v = *volume;
    v.project = fresh.project;
    v.name = fresh.name;
    v.pool = root.pool;
    db::insert_volume(ctx_.global, v);
    for (auto &s : snapshots) {
      db::insert_snapshot(ctx_.global, s);
      for (auto &like : volume_snapshots)
        if (like.name == s.name) db::set_snapshot_volume(ctx_.global, r.id, s.name, like);
    }
  });
  if (same_pool)
    drop_stray_snapshots(r.id, root);
  else
    recover_move(intent.data());
  intent.done();
  if (fresh.name != name || fresh.project != project)
    event("instance-renamed", fresh.project, fresh.name, {{"old_name", name}});
  else
    event("instance-updated", fresh.project, fresh.name);
}

/// Those on disk that the store does not have: a move without them has been committed.
void Manager::drop_stray_snapshots(std::int64_t id, const Root &root) {
  auto *ops = root.driver->snapshots();
  if (!ops) return;
  std::set<std::string> rows;
  for (auto &s : db::snapshots(ctx_.global, id)) rows.insert(s.name);
  for (auto &s : ops->list(root.volume))
    if (!rows.count(s)) ops->remove(root.volume, s);
}

void Manager::recover_move(const json::object &d) {
  auto r = db::instance(ctx_.global, d.at("id").as_int64());
  if (!r) return;
  auto store = text(d, "store"), new_store = text(d, "new_store"), pool = text(d, "pool"), new_pool = text(d, "new_pool");
  bool committed = r->project == text(d, "project") && r->name == text(d, "name") && volume_row(*r, new_pool);
  if (pool == new_pool) {
    if (store != new_store) move_traces(d, committed);
    if (committed) drop_stray_snapshots(r->id, Root{new_pool, ctx_.pools.driver(new_pool), root_ref(new_store)});
    return;
  }
  auto remove = [&](const std::string &where, const std::string &what) {
    if (!db::pools(ctx_.global, where).empty()) ctx_.pools.driver(where)->remove_volume(root_ref(what));
  };
  if (committed) {
    remove(pool, store);
    if (store != new_store) {
      unlink(store);
      ctx_.runtime.rename({r->id, store}, {r->id, new_store});
      storage::BackupPlace::of_instance(ctx_.directory, store).move_to(storage::BackupPlace::of_instance(ctx_.directory, new_store));
      logs_.rename(store, new_store);
    }
    link(Root{new_pool, ctx_.pools.driver(new_pool), root_ref(new_store)});
  } else {
    remove(new_pool, new_store);
  }
}

} // namespace incus::instance
