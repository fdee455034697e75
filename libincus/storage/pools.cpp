// SPDX-License-Identifier: Apache-2.0
#include "storage/pools.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/volumes.hpp"
#include "storage/config.hpp"

namespace incus::storage {

namespace json = boost::json;

namespace {
json::object json_of(const Config &config) {
  json::object out;
  for (auto &[k, v] : config) out[k] = v;
  return out;
}
} // namespace

std::string store_name(const std::string &project, const std::string &name) { return project == "default" ? name : project + "_" + name; }

Pools::Pools(Context ctx) : ctx_(std::move(ctx)) {
  ctx_.journal.on("pool.create", [this](const json::object &d) { recover_create(d); });
  ctx_.journal.on("pool.remove", [this](const json::object &d) { recover_remove(d); });
}

DriverContext Pools::context(const std::string &name, const DriverInfo &info, Config config) const {
  DriverContext c{name, info.mounts ? ctx_.directory + "/" + name : directory_of(name, config), std::move(config), &ctx_.log};
  if (!ctx_.directory.empty()) c.disks = std::filesystem::path(ctx_.directory).parent_path() / "disks";
  return c;
}

bool Pools::available(const std::string &pool) {
  try {
    driver(pool)->open();
    return true;
  } catch (const Error &e) {
    return e.code() != ErrorCode::unavailable;
  }
}

void Pools::open_all() {
  for (auto &row : db::pools(ctx_.global)) {
    try {
      driver(row.name)->open();
    } catch (const std::exception &e) {
      ctx_.log.error("{}", e.what());
    }
  }
}

void Pools::close_each(const std::set<std::string> &but, bool unused) {
  for (auto &row : db::pools(ctx_.global)) {
    if (but.count(row.name)) continue;
    try {
      driver(row.name)->close(unused);
    } catch (const std::exception &e) {
      ctx_.log.error("cannot close storage pool {}: {}", row.name, e.what());
    }
  }
}

void Pools::close_all() { close_each({}, false); }
void Pools::close_unused(const std::set<std::string> &used) { close_each(used, true); }

const std::vector<std::string> &Pools::driver_names() {
  std::call_once(looked_, [this] {
    for (auto *d : ctx_.drivers)
      if (!d->missing || d->missing().empty()) names_.emplace_back(d->name);
  });
  return names_;
}

std::string Pools::directory_of(const std::string &name, const Config &config) const {
  auto it = config.find("source");
  return it != config.end() && !it->second.empty() ? it->second : ctx_.directory + "/" + name;
}

std::shared_ptr<Driver> Pools::driver(const std::string &pool) {
  std::lock_guard lock(mutex_);
  if (auto it = open_.find(pool); it != open_.end()) return it->second;
  auto rows = db::pools(ctx_.global, pool);
  if (rows.empty()) base::fail(ErrorCode::not_found, "storage pool {} not found", base::quoted(pool));
  auto &info = storage::driver(rows[0].driver, ctx_.drivers);
  std::shared_ptr<Driver> d = info.open(context(pool, info, rows[0].config));
  open_[pool] = d;
  return d;
}

std::string Pools::directory(const std::string &pool) {
  auto rows = db::pools(ctx_.global, pool);
  if (rows.empty()) base::fail(ErrorCode::not_found, "storage pool {} not found", base::quoted(pool));
  return ctx_.directory.empty() ? "" : context(pool, storage::driver(rows[0].driver, ctx_.drivers), rows[0].config).directory;
}

std::uint64_t Pools::copy_rate(const std::string &pool) {
  for (auto &row : db::pools(ctx_.global, pool))
    if (auto it = row.config.find("rsync.bwlimit"); it != row.config.end()) return parse_rate(it->second).value_or(0);
  return 0;
}

StoragePoolInfo Pools::to_info(const db::PoolRow &row) {
  StoragePoolInfo i;
  i.config = row.config;
  if (!ctx_.directory.empty()) i.config.emplace("source", directory_of(row.name, row.config));
  i.description = row.description;
  i.name = row.name;
  i.driver = row.driver;
  i.status = row.state == 1 ? "Created" : "Pending";
  if (row.state == 1 && !available(row.name)) i.status = "Unavailable"; // what is done on it says why
  i.locations = {"none"};
  for (auto &v : db::volumes(ctx_.global, row.name)) {
    auto suffix = v.project == "default" ? "" : "?project=" + v.project;
    if (v.type == 0)
      i.used_by.push_back("/1.0/instances/" + v.name + suffix);
    else if (v.type == 1)
      i.used_by.push_back("/1.0/images/" + v.name + suffix);
    else if (v.type == 2)
      i.used_by.push_back("/1.0/storage-pools/" + row.name + "/volumes/custom/" + v.name + suffix);
  }
  for (auto &project : db::project_names(ctx_.global))
    for (auto &p : db::profiles(ctx_.global, project)) {
      if (p.project != project) break; // uses those of "default"
      for (auto &[name, d] : p.devices)
        if (auto it = d.find("pool"); it != d.end() && it->second == row.name) {
          i.used_by.push_back("/1.0/profiles/" + p.name + (project == "default" ? "" : "?project=" + project));
          break;
        }
    }
  return i;
}

std::vector<StoragePoolInfo> Pools::list() {
  std::vector<StoragePoolInfo> out;
  for (auto &row : db::pools(ctx_.global)) out.push_back(to_info(row));
  return out;
}

StoragePoolInfo Pools::info(const std::string &name) {
  auto rows = db::pools(ctx_.global, name);
  if (rows.empty()) base::fail(ErrorCode::not_found, "storage pool {} not found", base::quoted(name));
  return to_info(rows[0]);
}

/// Where pools are by themselves is not said in their rows.
Config Pools::without_own_place(const std::string &name, Config config) const {
  if (auto it = config.find("source"); it != config.end() && it->second == ctx_.directory + "/" + name) config.erase(it);
  return config;
}

/// What else lies in the state directory is the engine's.
void Pools::refuse_state_directory(const Config &config) const {
  auto it = config.find("source");
  if (ctx_.directory.empty() || it == config.end()) return;
  std::error_code error;
  auto real = std::filesystem::weakly_canonical(it->second, error), state = std::filesystem::weakly_canonical(ctx_.directory, error).parent_path();
  if (std::mismatch(state.begin(), state.end(), real.begin(), real.end()).first == state.end())
    base::fail(ErrorCode::invalid_argument, "config key source, value {}: must not lie in the state directory {}; leave it out for a pool in storage-pools/", base::quoted(it->second), state.string());
}

void Pools::create(const StoragePoolCreate &r) {
  auto name = base::PoolName::parse(r.name).str();
  auto &info = storage::driver(r.driver, ctx_.drivers);
  auto config = info.mounts ? r.config : without_own_place(name, r.config);
  info.validate(config);
  if (!info.mounts) refuse_state_directory(config); // else prepare() looks at it
  if (!db::pools(ctx_.global, name).empty()) base::fail(ErrorCode::already_exists, "storage pool {} already exists", base::quoted(name));
  db::PoolRow row;
  row.name = name;
  row.driver = r.driver;
  row.description = r.description;
  row.config = config;
  row.state = 1;
  if (info.missing)
    if (auto why = info.missing(); !why.empty()) base::fail(ErrorCode::not_supported, "storage driver {} cannot be used on this host: {}", info.name, why);
  auto c = context(name, info, config);
  auto &dir = c.directory;
  for (auto &other : db::pools(ctx_.global))
    if (!ctx_.directory.empty() && context(other.name, storage::driver(other.driver, ctx_.drivers), other.config).directory == dir)
      base::fail(ErrorCode::conflict, "cannot create storage pool {}: {} belongs to pool {}", base::quoted(name), dir, base::quoted(other.name));
  if (info.prepare) c.config = info.prepare(c);
  std::shared_ptr<Driver> d = info.open(c);
  db::Intent intent(ctx_.journal, "pool.create", {{"name", name}, {"driver", r.driver}, {"config", json_of(c.config)}});
  d->create();
  row.config = info.prepare ? d->config() : c.config;
  ctx_.global.transaction([&] { db::insert_pool(ctx_.global, row); });
  intent.done();
  std::lock_guard lock(mutex_);
  open_[name] = d;
}

void Pools::recover_create(const json::object &data) {
  std::string name(data.at("name").as_string());
  if (!db::pools(ctx_.global, name).empty()) return;
  Config config;
  if (auto *all = data.if_contains("config"))
    for (auto &[key, value] : all->as_object()) config[key] = std::string(value.as_string());
  else if (std::string source(data.at("source").as_string()); !source.empty()) // as earlier versions wrote it
    config["source"] = source;
  auto &info = storage::driver(std::string(data.at("driver").as_string()), ctx_.drivers);
  auto d = info.open(context(name, info, config));
  data.contains("removed") ? d->remove() : d->abandon();
}

std::shared_ptr<Driver> Pools::open_unknown(const std::string &name, const std::string &driver, Config config) {
  base::PoolName::parse(name);
  auto &info = storage::driver(driver, ctx_.drivers);
  if (!info.mounts) config = without_own_place(name, std::move(config));
  auto known = config;
  if (!info.mounts) {
    known.erase("source"); // which has to be empty when a pool is made
    if (auto it = config.find("source"); it != config.end() && !it->second.empty()) check_pool_place(it->second);
  }
  info.validate(known);
  return info.open(context(name, info, config));
}

void Pools::adopt(const std::string &name, const std::string &driver, const std::string &description, Config config) {
  db::PoolRow row;
  row.name = base::PoolName::parse(name).str();
  row.driver = driver;
  row.description = description;
  row.config = storage::driver(driver, ctx_.drivers).mounts ? std::move(config) : without_own_place(name, std::move(config));
  row.state = 1;
  auto d = open_unknown(name, driver, row.config);
  d->adopt();
  ctx_.global.transaction([&] { db::insert_pool(ctx_.global, row); });
  std::lock_guard lock(mutex_);
  open_[name] = d;
}

void Pools::update(const std::string &name, const StoragePoolUpdate &to) {
  auto rows = db::pools(ctx_.global, name);
  if (rows.empty()) base::fail(ErrorCode::not_found, "storage pool {} not found", base::quoted(name));
  auto &row = rows[0];
  auto config = to.config;
  auto &info = storage::driver(row.driver, ctx_.drivers);
  auto own = row.config.find("source");
  auto source = !info.mounts ? directory_of(name, row.config) : own == row.config.end() ? "" : own->second;
  // What info() shows may be sent back as it is.
  if (auto it = config.find("source"); it != config.end()) {
    if (it->second != source) base::fail(ErrorCode::invalid_argument, "the key \"source\" of storage pool {} cannot change", base::quoted(name));
    if (own == row.config.end()) config.erase(it);
  }
  if (own != row.config.end()) config["source"] = source;
  info.validate([&] {
    auto c = config;
    c.erase("source");
    return c;
  }());
  if (config != row.config) {
    auto d = driver(name);
    d->update(config);
    row.config = info.mounts ? d->config() : config;
  }
  row.description = to.description;
  ctx_.global.transaction([&] { db::update_pool(ctx_.global, row); });
}

void Pools::remove(const std::string &name) {
  auto rows = db::pools(ctx_.global, name);
  if (rows.empty()) base::fail(ErrorCode::not_found, "storage pool {} not found", base::quoted(name));
  for (auto &u : to_info(rows[0]).used_by)
    if (!u.starts_with("/1.0/images/")) base::fail(ErrorCode::conflict, "cannot delete storage pool {}: it is used by {}", base::quoted(name), u);
  auto d = driver(name);
  db::Intent intent(ctx_.journal, "pool.remove",
                    {{"name", name}, {"driver", rows[0].driver}, {"config", json_of(rows[0].config)}, {"removed", true}});
  ctx_.global.transaction([&] { db::delete_pool(ctx_.global, rows[0].id); });
  {
    std::lock_guard lock(mutex_);
    open_.erase(name);
  }
  d->remove();
  intent.done();
}

void Pools::recover_remove(const json::object &data) {
  // Row still there: nothing was removed yet. Gone: finish the disk.
  recover_create(data);
}

StoragePoolResources Pools::resources(const std::string &name) { return driver(name)->resources(); }

void Pools::ensure_default() {
  if (!db::pools(ctx_.global).empty()) return;
  StoragePoolCreate r;
  r.name = "default";
  r.driver = ctx_.default_driver;
  try {
    create(r);
  } catch (const Error &e) {
    // Two first instances at once: the other one made it.
    if (e.code() != ErrorCode::already_exists) throw;
  }
  ctx_.global.transaction([&] {
    auto p = db::profile(ctx_.global, "default", "default");
    if (!p) return;
    for (auto &[name, d] : p->devices)
      if (auto it = d.find("path"); it != d.end() && it->second == "/") return;
    std::string device = "root";
    for (int n = 0; p->devices.count(device); n++) device = fmt::format("root{}", n);
    p->devices[device] = {{"type", "disk"}, {"path", "/"}, {"pool", "default"}};
    db::update_profile(ctx_.global, *p);
  });
}

namespace {
void check_snapshots(db::Connection &global, const std::string &pool, SnapshotOps &ops, std::vector<std::string> &problems) {
  std::map<std::int64_t, std::set<std::string>> rows;
  for (auto &s : db::volume_snapshots(global, 0)) rows[s.volume_id].insert(s.name);
  for (auto &v : db::volumes_full(global, pool)) {
    if (v.type != 0 && v.type != 2) continue;
    auto disk = v.type == 2 ? ops.list({VolumeType::custom, v.project + "_" + v.name}) : ops.list({VolumeType::container, store_name(v.project, v.name)});
    std::set<std::string> there(disk.begin(), disk.end());
    for (auto &s : there)
      if (!rows[v.id].count(s)) problems.push_back(fmt::format("pool {}: snapshot {} of volume {} is on disk but not in the store", pool, s, v.name));
    for (auto &s : rows[v.id])
      if (!there.count(s)) problems.push_back(fmt::format("pool {}: snapshot {} of volume {} is in the store but not on disk", pool, s, v.name));
  }
}
} // namespace

void Pools::check(std::vector<std::string> &problems) {
  for (auto &row : db::pools(ctx_.global)) {
    auto d = driver(row.name);
    try {
      d->open();
    } catch (const Error &e) {
      problems.push_back(e.what());
      continue;
    }
    std::set<std::string> containers, images, custom;
    for (auto &v : db::volumes(ctx_.global, row.name))
      (v.type == 1 ? images : v.type == 2 ? custom : containers).insert(v.type == 1 ? v.name : v.type == 2 ? v.project + "_" + v.name : store_name(v.project, v.name));
    auto compare = [&](VolumeType type, const std::set<std::string> &rows, const char *what) {
      auto disk = d->list(type);
      for (auto &n : disk)
        if (!rows.count(n)) problems.push_back(fmt::format("pool {}: {} volume {} is on disk but not in the store", row.name, what, n));
      for (auto &n : rows)
        if (!d->exists({type, n})) problems.push_back(fmt::format("pool {}: {} volume {} is in the store but not on disk", row.name, what, n));
    };
    compare(VolumeType::container, containers, "container");
    compare(VolumeType::image, images, "image");
    compare(VolumeType::custom, custom, "custom");
    if (auto *ops = d->snapshots()) check_snapshots(ctx_.global, row.name, *ops, problems);
  }
}

} // namespace incus::storage
