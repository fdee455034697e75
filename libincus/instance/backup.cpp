// SPDX-License-Identifier: Apache-2.0
// Backups of instances, and backup.yaml beside each.
#include <algorithm>
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "helper/unpack/backup_plan.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "instance/backup_streams.hpp"
#include "instance/manager.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {

constexpr const char *idmap_key = "volatile.last_state.idmap", *file_name = "backup.yaml";

std::string ranges(const storage::IdMap &map) {
  std::string out;
  for (auto &r : map) {
    if (r.uid) out += fmt::format("{}u {} {} {}", out.empty() ? "" : ",", r.host, r.guest, r.count);
    if (r.gid) out += fmt::format("{}g {} {} {}", out.empty() ? "" : ",", r.host, r.guest, r.count);
  }
  return out;
}

std::string below(const std::string &pool, const std::string &path) {
  if (!path.starts_with(pool + "/")) base::fail(ErrorCode::internal, "{} is not below the pool's directory {}", base::quoted(path), base::quoted(pool));
  return path.substr(pool.size() + 1);
}

/// A volume or snapshot as the helper packs it.
unpack::BackupPart part(const std::string &pool, std::string prefix, const std::string &directory, const storage::RootfsPlan &plan, const Config &config) {
  unpack::BackupPart p;
  p.prefix = std::move(prefix);
  p.directory = below(pool, directory);
  if (plan.kind == storage::RootfsPlan::Kind::overlay) {
    p.kind = "overlay";
    p.root = below(pool, plan.lower);
    p.upper = below(pool, plan.upper);
  } else {
    p.kind = "directory";
    p.root = below(pool, plan.path);
  }
  if (!plan.idmapped) p.ids = ranges(sys::idmap_of(config, idmap_key));
  return p;
}

} // namespace

BackupConfig Manager::backup_config(const db::InstanceRow &r, const Root &root, bool snapshots) {
  BackupConfig c;
  BackupInstance i;
  i.row = r;
  auto e = expand(r);
  i.expanded_config = std::move(e.config);
  i.expanded_devices = std::move(e.devices);
  c.instance = std::move(i);
  for (auto &name : r.profiles)
    if (auto p = db::profile(ctx_.global, r.project, name)) c.profiles.push_back(std::move(*p));
  auto pools = db::pools(ctx_.global, root.pool);
  if (!pools.empty()) {
    pools[0].config = ctx_.pools.info(root.pool).config;
    c.pool = std::move(pools[0]);
  }
  c.volume = db::volume(ctx_.global, root.pool, r.project, 0, r.name);
  if (snapshots) c.snapshots = db::snapshots(ctx_.global, r.id);
  auto kept = db::instance_volume_snapshots(ctx_.global, r.id);
  for (auto &s : c.snapshots) {
    auto like = std::find_if(kept.begin(), kept.end(), [&](auto &k) { return k.name == s.name; });
    db::VolumeSnapshotRow v;
    if (like != kept.end()) v = *like;
    v.name = s.name;
    v.created_at = s.created_at;
    c.volume_snapshots.push_back(std::move(v));
  }
  return c;
}

bool Manager::has_streams(const std::string &project, const std::string &name) {
  auto r = row(project, name);
  return root_of(r, expand(r)).driver->replication() != nullptr;
}

/// As streams: owners in them are as they are on disk, and the index says whose those are.
void Manager::write_streams(const db::InstanceRow &r, const Root &root, const BackupWish &wish, int out, const Report &report) {
  BackupIndex index;
  index.name = r.name;
  index.pool = root.pool;
  index.optimized = index.optimized_header = true;
  index.config = backup_config(r, root, !wish.alone);
  auto &c = index.config;
  index.backend = c.pool ? c.pool->driver : "";
  for (auto &s : c.snapshots) {
    index.snapshots.push_back(s.name);
    if (root.driver->snapshots()->snapshot_root(root.volume, s.name).idmapped) s.config[idmap_key] = "[]";
  }
  if (root.driver->rootfs(root.volume).idmapped) c.instance->row.config[idmap_key] = c.instance->expanded_config[idmap_key] = "[]";
  auto streams = root.driver->replication()->open_streams(root.volume, index.snapshots, [&](int dir) {
    sys::FaultScope fault("write backup.yaml");
    sys::remove_tree(dir, file_name);
    sys::write_new_file(dir, file_name, format_backup(c), 0400);
  });
  unpack::BackupPlan plan;
  plan.pool = ctx_.pools.directory(root.pool);
  plan.compression = wish.compression;
  plan.index = format_index(index);
  add_streams(plan, *streams, false);
  pack(plan, out, report);
}

void Manager::pack(const unpack::BackupPlan &plan, int out, const Report &report) {
  pack_backup(ctx_.images.helper(), plan, out, [&](std::uint64_t done, std::uint64_t) { report("create_backup", done, 0); });
}

void Manager::write_backup(const std::string &project, const std::string &name, const BackupWish &wish, int out, const Report &report) {
  Claim claim(*this, project, name, "backup");
  auto r = row(project, name);
  auto root = root_of(r, expand(r));
  if (ctx_.directory.empty()) base::fail(ErrorCode::not_supported, "cannot make a backup of instance {}: this is a test host in memory", base::quoted(name));
  auto pool = ctx_.pools.directory(root.pool);
  bool running = is_live(r.id);
  if (!running) {
    auto ids = sys::idmap_of(r.config, idmap_key);
    root.driver->shift(root.volume, ids, ids); // one that was cut off is finished first
  }
  if (wish.optimized && root.driver->replication()) return write_streams(r, root, wish, out, report);
  unpack::BackupPlan plan;
  plan.pool = pool;
  plan.compression = wish.compression;
  BackupIndex index;
  index.config = backup_config(r, root, !wish.alone);
  auto &c = index.config;
  for (auto &s : c.snapshots) {
    auto *ops = root.driver->snapshots();
    plan.parts.push_back(part(pool, "backup/snapshots/" + s.name, ops->snapshot_place(root.volume, s.name), ops->snapshot_root(root.volume, s.name), s.config));
    index.snapshots.push_back(s.name);
    // Owners are the guest's in a backup, whatever they are on disk.
    s.config[idmap_key] = "[]";
  }
  // Layers that are in use cannot be put together a second time: a copy of the upper one can.
  auto view = root.driver->rootfs(root.volume);
  storage::VolumeRef copy{storage::VolumeType::container, "_publish-" + base::random_hex(8)};
  std::optional<db::Intent> intent;
  if (running && view.kind == storage::RootfsPlan::Kind::overlay) {
    intent.emplace(ctx_.journal, "instance.publish", json::object{{"pool", root.pool}, {"volume", copy.name}});
    root.driver->create_copy(copy, root.volume, {}, {});
    view = root.driver->rootfs(copy);
  }
  plan.parts.push_back(part(pool, "backup/container", root.driver->directory(root.volume), view, r.config));
  c.instance->row.config[idmap_key] = "[]";
  c.instance->expanded_config[idmap_key] = "[]";
  plan.parts.back().yaml = format_backup(c);
  index.name = r.name;
  index.pool = root.pool;
  index.backend = c.pool ? c.pool->driver : "";
  plan.index = format_index(index);
  pack(plan, out, report);
  if (intent) {
    root.driver->remove_volume(copy);
    intent->done();
  }
}

void Manager::keep_backup_file(const std::string &project, const std::string &name) {
  // A directory that goes with the process needs no recovery.
  if (ctx_.directory.empty() || ctx_.auto_destroy) return;
  try {
    auto r = db::instance(ctx_.global, project, name);
    if (!r) return;
    auto root = root_of(*r, expand(*r));
    auto text = format_backup(backup_config(*r, root, true), r->id);
    base::Fd dir(root.driver->open_volume(root.volume));
    sys::FaultScope fault("write backup.yaml");
    // Not synced: what it says is in the store, and after a power loss the next change writes it again.
    sys::remove_tree(dir.get(), std::string(file_name) + "~tmp");
    sys::write_new_file(dir.get(), std::string(file_name) + "~tmp", text, 0400);
    sys::rename_at(dir.get(), std::string(file_name) + "~tmp", dir.get(), file_name, true);
  } catch (const std::exception &e) {
    ctx_.log.warning("backup.yaml of instance {} is not current, \"admin recover\" would find it as it was before: {}", name, e.what());
  }
}

std::optional<BackupConfig> Manager::backup_file(storage::Driver &pool, const std::string &store) {
  base::Fd dir(pool.open_volume({storage::VolumeType::container, store}));
  auto text = sys::read_file_if_exists(dir.get(), file_name, 8 << 20);
  if (!text) return std::nullopt;
  return parse_backup(*text);
}

} // namespace incus::instance
