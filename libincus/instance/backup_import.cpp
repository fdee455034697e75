// SPDX-License-Identifier: Apache-2.0
// Instances from backups, and from pools that the store does not know.
#include <boost/json.hpp>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "device/device.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "instance/backup_streams.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"
#include "schema/schema.hpp"
#include "storage/custom.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {

constexpr const char *idmap_key = "volatile.last_state.idmap";

/// The devices get a root disk on `pool`: their own one is moved there; the profiles' is enough when it is there and says nothing else than `before`.
void place_root(Devices &own, const Devices &of_profiles, const Devices &before, const std::string &pool) {
  if (auto name = device::root_disk(own); !name.empty()) {
    own[name]["pool"] = pool;
    return;
  }
  auto expanded = own;
  expanded.insert(of_profiles.begin(), of_profiles.end());
  auto now = device::root_disk(expanded), was = device::root_disk(before);
  Config wanted;
  if (!was.empty()) wanted = before.at(was);
  wanted["type"] = "disk";
  wanted["path"] = "/";
  wanted["pool"] = pool;
  if (!now.empty() && expanded.at(now) == wanted) return;
  std::string name = "root";
  for (int n = 0; own.count(name); n++) name = fmt::format("root{}", n);
  own[name] = wanted;
}

storage::Replication &streams_for(storage::Pools &pools, const std::string &pool) {
  auto *streams = pools.driver(pool)->replication();
  if (!streams) base::fail(ErrorCode::not_supported, "the backup is optimized, but storage pool {} has no streams of its own", base::quoted(pool));
  return *streams;
}

/// What belongs to the machine that the backup was made on.
void clean(Config &config) {
  drop_host_names(config, {});
  std::erase_if(config, [](auto &kv) { return kv.first == "volatile.last_state.power" || kv.first == "volatile.last_state.ready" || kv.first.starts_with("volatile.idmap."); });
}

} // namespace

std::string backup_shifts(const std::string &part, const Config &config, const char *key) {
  auto map = sys::idmap_of(config, key);
  if (map.empty()) return "";
  std::string out = part;
  for (auto &r : map) {
    if (r.uid) out += fmt::format(",u {} {} {}", r.host, r.guest, r.count);
    if (r.gid) out += fmt::format(",g {} {} {}", r.host, r.guest, r.count);
  }
  return out + "\n";
}

BackupIndex Manager::read_index(int archive, std::string *header) {
  auto file = [&](std::vector<std::string> args) {
    image::Job job(ctx_.images.helper(), static_cast<std::uint32_t>(unpack::Op::index), std::move(args), {archive});
    job.finish({});
    return job.data();
  };
  auto i = parse_index(file({}));
  if (header && i.optimized && i.optimized_header) *header = file({streams_header_name});
  return i;
}

void Manager::check_import(const std::string &project, BackupIndex &i, const std::string &header, const std::string &name, const std::string &pool) {
  db::project_id(ctx_.global, project);
  if (i.type != "container") base::fail(ErrorCode::not_supported, "the backup is one of type {}: only containers can be imported so far", base::quoted(i.type));
  auto &c = i.config;
  if (!c.instance) base::fail(ErrorCode::corrupt, "backup/index.yaml tells of no instance");
  auto &r = c.instance->row;
  if (c.instance->type != "container") base::fail(ErrorCode::not_supported, "the backup is one of an instance of type {}", base::quoted(c.instance->type));
  if (r.name != i.name) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: the instance is called {} and {}", base::quoted(i.name), base::quoted(r.name));
  std::set<std::string> listed(i.snapshots.begin(), i.snapshots.end()), told;
  for (auto &s : c.snapshots) {
    base::SnapshotName::parse(s.name);
    if (!told.insert(s.name).second) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: snapshot {} comes twice", base::quoted(s.name));
  }
  if (listed != told) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: it lists {} snapshots and tells of {}", listed.size(), told.size());
  if (!name.empty()) i.name = name;
  base::InstanceName::parse(i.name);
  ctx_.pools.ensure_default();
  if (!pool.empty()) i.pool = pool;
  if (db::pools(ctx_.global, i.pool).empty()) {
    auto fallback = db::profile(ctx_.global, project, "default");
    auto root = fallback ? device::root_disk(fallback->devices) : std::string();
    if (!pool.empty() || root.empty())
      base::fail(ErrorCode::not_found, "Storage pool not found: there is no pool {}{}", base::quoted(i.pool), pool.empty() ? ", and the default profile has no root disk: name a pool" : "");
    i.pool = fallback->devices.at(root).at("pool");
  }
  if (i.optimized) {
    streams_of(i, header, db::pools(ctx_.global, i.pool).at(0).driver);
    streams_for(ctx_.pools, i.pool);
  }
  r.project = project;
  r.name = i.name;
  auto devices_of = [&](const std::vector<std::string> &names) {
    Devices out;
    for (auto n = names.rbegin(); n != names.rend(); ++n) {
      auto p = db::profile(ctx_.global, project, *n);
      if (!p) base::fail(ErrorCode::not_found, "profile {} not found: the instance in the backup applies it; make one of that name first", base::quoted(*n));
      out.insert(p->devices.begin(), p->devices.end());
    }
    return out;
  };
  place_root(r.devices, devices_of(r.profiles), c.instance->expanded_devices, i.pool);
  for (auto &s : c.snapshots) place_root(s.devices, devices_of(s.profiles), c.instance->expanded_devices, i.pool);
  validate_instance_config(r.config, "instance " + base::quoted(i.name), false);
  if (db::instance(ctx_.global, project, i.name)) base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(i.name));
}

void Manager::import_backup(const BackupIndex &i, const std::string &header, int archive, const Report &report) {
  auto c = i.config;
  auto r = c.instance->row;
  Claim claim(*this, r.project, r.name, "create");
  if (db::instance(ctx_.global, r.project, r.name)) base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(r.name));
  if (ctx_.directory.empty()) base::fail(ErrorCode::not_supported, "cannot import instance {}: this is a test host in memory", base::quoted(r.name));
  std::string shifts = backup_shifts("", r.config, idmap_key);
  std::map<std::string, storage::IdMap> owners{{"", sys::idmap_of(r.config, idmap_key)}};
  for (auto &s : c.snapshots) {
    owners[s.name] = sys::idmap_of(s.config, idmap_key);
    shifts += backup_shifts(s.name, s.config, idmap_key);
    clean(s.config);
    s.config[idmap_key] = "[]";
  }
  clean(r.config);
  r.config[idmap_key] = "[]";
  auto e = expand(r);
  check_expanded(r, e, true);
  auto root = root_of(r, e);
  if (root.driver->exists(root.volume))
    base::fail(ErrorCode::conflict, "cannot create instance {}: pool {} holds a volume of that name that no instance owns", base::quoted(r.name), base::quoted(root.pool));
  auto file = sys::memory_file("shifts", shifts);
  db::Intent intent(ctx_.journal, "instance.create", {{"project", r.project}, {"name", r.name}, {"store", root.volume.name}, {"pool", root.pool}, {"id", 0}});
  auto unpacked = [&](std::uint64_t done, std::uint64_t total) { report("unpack", done, total); };
  if (i.optimized) {
    auto &streams = streams_for(ctx_.pools, root.pool);
    auto parts = streams_of(i, header, db::pools(ctx_.global, root.pool).at(0).driver);
    streams.create_from_streams(root.volume, parts, owners,
                                [&](int dir) { receive_streams(ctx_.images.helper(), archive, stream_files(parts, false), dir, unpacked); });
  } else {
    root.driver->create_from_backup(root.volume, !c.snapshots.empty(), [&](int dir, int beside) {
      std::vector<int> fds{archive, file.get(), dir};
      if (beside >= 0) fds.push_back(beside);
      image::Job job(ctx_.images.helper(), static_cast<std::uint32_t>(unpack::Op::restore), {}, std::move(fds));
      job.finish(unpacked);
    });
  }
  if (!c.snapshots.empty()) {
    std::set<std::string> want;
    for (auto &s : c.snapshots) want.insert(s.name);
    auto have = root.driver->snapshots()->list(root.volume);
    if (want != std::set<std::string>(have.begin(), have.end()))
      base::fail(ErrorCode::corrupt, "the snapshots in the backup of instance {} are not those that its index names", base::quoted(r.name));
  }
  link(root);
  insert_imported(r, root.pool, c);
  intent.done();
  event("instance-created", r.project, r.name);
}

void Manager::insert_imported(db::InstanceRow &r, const std::string &pool, const BackupConfig &c) {
  if (r.created_at == Time{}) r.created_at = base::now();
  r.config.emplace("volatile.uuid", base::uuid());
  r.config.emplace("volatile.uuid.generation", r.config.at("volatile.uuid"));
  r.config.emplace("volatile.cloud-init.instance-id", base::uuid());
  r.config["volatile.idmap.base"] = "0";
  auto e = expand(r);
  if (!schema::truthy(schema::value(instance_keys(), e.config, "security.idmap.isolated"))) r.config["volatile.idmap.next"] = sys::format_idmap(sys::choose_idmap(e.config, {}));
  device::prepare_all(r.name, e.devices, r.config);
  db::VolumeFull v;
  v.project = r.project;
  v.name = r.name;
  v.pool = pool;
  v.created_at = r.created_at;
  if (c.volume) {
    v.description = c.volume->description;
    v.config = c.volume->config;
    // Keys of another driver mean nothing here.
    std::erase_if(v.config, [](auto &kv) { return !kv.first.starts_with("user."); });
  }
  auto like = c.volume_snapshots;
  for (auto &s : like) std::erase_if(s.config, [](auto &kv) { return !kv.first.starts_with("user."); });
  ctx_.global.transaction([&] {
    auto fresh = r;
    fresh.id = db::insert_instance(ctx_.global, fresh);
    db::insert_volume(ctx_.global, v);
    for (auto s : c.snapshots) {
      s.instance_id = fresh.id;
      db::insert_snapshot(ctx_.global, s);
    }
    for (auto &s : like) db::set_snapshot_volume(ctx_.global, fresh.id, s.name, s);
    r.id = fresh.id;
  });
}

void Manager::adopt(const std::string &project, const std::string &pool, BackupConfig c) {
  if (!c.instance) base::fail(ErrorCode::corrupt, "backup.yaml tells of no instance");
  auto r = c.instance->row;
  base::InstanceName::parse(r.name);
  r.project = project;
  Claim claim(*this, project, r.name, "recover");
  if (db::instance(ctx_.global, project, r.name)) base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(r.name));
  auto devices_of = [&](const std::vector<std::string> &names) {
    Devices out;
    for (auto n = names.rbegin(); n != names.rend(); ++n)
      if (auto p = db::profile(ctx_.global, project, *n)) out.insert(p->devices.begin(), p->devices.end());
    return out;
  };
  place_root(r.devices, devices_of(r.profiles), c.instance->expanded_devices, pool);
  for (auto &s : c.snapshots) place_root(s.devices, devices_of(s.profiles), c.instance->expanded_devices, pool);
  r.config["volatile.last_state.power"] = "STOPPED";
  auto e = expand(r);
  validate_instance_config(e.config, "instance " + base::quoted(r.name), false);
  auto root = root_of(r, e);
  if (!root.driver->exists(root.volume)) base::fail(ErrorCode::not_found, "pool {} holds no volume of instance {}", base::quoted(pool), base::quoted(r.name));
  // Of the snapshots those that are there: it may be that backup.yaml is older or newer.
  auto have = root.driver->snapshots()->list(root.volume);
  std::erase_if(c.snapshots, [&](auto &s) { return std::find(have.begin(), have.end(), s.name) == have.end(); });
  link(root);
  // Under its old number, by which it is known where it runs.
  auto id = r.id;
  if (id && db::instance(ctx_.global, id)) id = r.id = 0;
  insert_imported(r, pool, c);
  if (id)
    if (auto started = ctx_.runtime.adopt(key_of(r))) {
      {
        std::lock_guard lock(mutex_);
        live_[r.id] = {*started, r.project, r.name};
      }
      ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, r.id, {{"volatile.last_state.power", "RUNNING"}}); });
    }
  event("instance-created", project, r.name);
}

} // namespace incus::instance
