// SPDX-License-Identifier: Apache-2.0
#include "instance/manager.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <iterator>

#include "base/error.hpp"
#include "base/names.hpp"
#include "db/projects.hpp"
#include "db/volumes.hpp"
#include "device/device.hpp"
#include "instance/keys.hpp"
#include "schema/schema.hpp"
#include "storage/custom.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

Manager::Manager(Context ctx) : ctx_(std::move(ctx)), logs_(ctx_.directory.empty() ? "" : ctx_.directory + "/logs"), files_(ctx_.files) {
  auto on = [this](const char *kind, void (Manager::*fn)(const json::object &)) {
    ctx_.journal.on(kind, [this, fn](const json::object &d) { (this->*fn)(d); });
  };
  on("instance.create", &Manager::recover_create);
  on("instance.remove", &Manager::recover_remove);
  on("instance.rename", &Manager::recover_rename);
  on("instance.start", &Manager::recover_start);
  on("instance.limits", &Manager::recover_limits);
  on("snapshot", &Manager::recover_snapshot);
  on("snapshot.rename", &Manager::recover_snapshot_rename);
  on("instance.restore", &Manager::recover_restore);
  on("instance.rebuild", &Manager::recover_rebuild);
  on("instance.refresh", &Manager::recover_refresh);
  on("instance.move", &Manager::recover_move);
  on("instance.publish", &Manager::recover_publish);
  ctx_.runtime.set_events({[this](const Key &k) { on_stopped(k); }, [this](const Key &k, const Started &s) { on_rebooted(k, s); }});
}

namespace {
/// Held by the engine itself while it puts away an instance that stopped: operations wait for it instead of being refused.
constexpr const char *cleaning = "cleaning up";
constexpr auto cleaning_limit = std::chrono::seconds(30);
} // namespace

Manager::Claim::Claim(Manager &m, const std::string &project, const std::string &name, const char *what) : m_(m), key_(project + "/" + name) {
  std::unique_lock lock(m_.mutex_);
  m_.released_.wait_for(lock, cleaning_limit, [&] {
    auto it = m_.claims_.find(key_);
    return it == m_.claims_.end() || it->second != cleaning;
  });
  auto [it, fresh] = m_.claims_.emplace(key_, what);
  if (!fresh)
    base::fail(ErrorCode::busy, "instance {} is busy: another operation ({}) is under way; wait for it and try again", base::quoted(name), it->second);
  held_ = true;
}

Manager::Claim::Claim(Manager &m, const std::string &project, const std::string &name, std::int64_t while_live) : m_(m), key_(project + "/" + name) {
  std::unique_lock lock(m_.mutex_);
  m_.released_.wait(lock, [&] { return !m_.live_.count(while_live) || !m_.claims_.count(key_); });
  if (!m_.live_.count(while_live)) return;
  m_.claims_.emplace(key_, cleaning);
  held_ = true;
}

Manager::Claim::~Claim() {
  if (!held_) return;
  std::lock_guard lock(m_.mutex_);
  m_.claims_.erase(key_);
  m_.released_.notify_all();
}

Key Manager::key_of(const db::InstanceRow &row) const { return {row.id, storage::store_name(row.project, row.name)}; }

db::InstanceRow Manager::row(const std::string &project, const std::string &name) {
  db::project_id(ctx_.global, project);
  auto r = db::instance(ctx_.global, project, name);
  if (!r) base::fail(ErrorCode::not_found, "instance {} not found", base::quoted(name));
  return std::move(*r);
}

std::map<std::string, db::ProfileRow> Manager::profile_map(const std::string &project) {
  std::map<std::string, db::ProfileRow> out;
  for (auto &p : db::profiles(ctx_.global, project)) {
    auto name = p.name;
    out.emplace(std::move(name), std::move(p));
  }
  return out;
}

Expanded Manager::expand_with(const db::InstanceRow &row, const std::map<std::string, db::ProfileRow> &profiles) {
  // Strongest first: its own keys, then the last profile's. The own ones are most, and copied as a whole.
  Expanded e{row.config, row.devices};
  for (auto name = row.profiles.rbegin(); name != row.profiles.rend(); ++name) {
    auto it = profiles.find(*name);
    if (it == profiles.end()) base::fail(ErrorCode::not_found, "profile {} not found", base::quoted(*name));
    e.config.insert(it->second.config.begin(), it->second.config.end());
    e.devices.insert(it->second.devices.begin(), it->second.devices.end());
  }
  return e;
}

void Manager::for_all(const std::function<void(const db::InstanceRow &, const Expanded &)> &fn) {
  std::vector<db::InstanceRow> rows;
  std::map<std::string, std::map<std::string, db::ProfileRow>> profiles;
  {
    std::lock_guard lock(ctx_.global.mutex());
    rows = db::instances(ctx_.global, "");
    for (auto &r : rows)
      if (auto [it, fresh] = profiles.try_emplace(r.project); fresh) it->second = profile_map(r.project);
  }
  for (auto &r : rows) {
    Expanded e;
    try {
      e = expand_with(r, profiles[r.project]);
    } catch (const std::exception &err) {
      ctx_.log.error("cannot find out what instance {} consists of: {}", r.name, err.what());
      continue;
    }
    fn(r, e);
  }
}

Expanded Manager::expand(const db::InstanceRow &row) {
  std::map<std::string, db::ProfileRow> profiles;
  for (auto &name : row.profiles)
    if (auto p = db::profile(ctx_.global, row.project, name)) profiles.emplace(name, std::move(*p));
  return expand_with(row, profiles);
}

Manager::Root Manager::root_of(const db::InstanceRow &row, const Expanded &e) {
  auto device = device::root_disk(e.devices);
  if (device.empty())
    base::fail(ErrorCode::invalid_argument, "instance {} has no root disk: add a disk device with path=/ and pool=NAME to it or to a profile of it",
               base::quoted(row.name));
  Root r;
  r.pool = e.devices.at(device).at("pool");
  r.driver = ctx_.pools.driver(r.pool);
  r.volume = {storage::VolumeType::container, storage::store_name(row.project, row.name)};
  return r;
}

void Manager::check_requirements(const std::string &what, const Config &c) {
  auto it = c.find("image.requirements.privileged");
  auto privileged = schema::truthy(schema::value(instance_keys(), c, "security.privileged"));
  if (it != c.end() && !schema::truthy(it->second) && privileged)
    base::fail(ErrorCode::invalid_argument, "the image of {} refuses privileged containers (requirements.privileged=false): unset security.privileged", what);
  it = c.find("image.requirements.nesting");
  if (it != c.end() && schema::truthy(it->second) && !schema::truthy(schema::value(instance_keys(), c, "security.nesting")))
    base::fail(ErrorCode::invalid_argument, "the image of {} needs security.nesting=true (requirements.nesting=true)", what);
}

device::Host Manager::host_of(const std::string &project) {
  device::Host h;
  h.pool_exists = [this](const std::string &pool) { return !db::pools(ctx_.global, pool).empty(); };
  h.volume = [this, project](const std::string &pool, const std::string &name) {
    constexpr int custom = 2;
    auto owner = db::project_of(ctx_.global, project, "features.storage.volumes");
    auto v = db::volume(ctx_.global, pool, owner, custom, name);
    if (!v) base::fail(ErrorCode::not_found, "Storage volume not found: pool {} has no custom volume {}", base::quoted(pool), base::quoted(name));
    if (v->content != db::VolumeContent::filesystem)
      base::fail(ErrorCode::not_supported, "volume {} of pool {} has content of type {}: Custom block volumes cannot be used on containers", base::quoted(name), base::quoted(pool), db::content_name(v->content));
    auto unmapped = v->config.find("security.unmapped");
    return device::Volume{ctx_.pools.driver(pool)->directory({storage::VolumeType::custom, storage::CustomVolumes::store_name(owner, name)}),
                          unmapped == v->config.end() || !schema::truthy(unmapped->second)};
  };
  return h;
}

device::RunItems Manager::items_of(const db::InstanceRow &row, const Devices &devices) {
  auto volatiles = row.config;
  return device::render_all(row.name, devices, volatiles, host_of(row.project));
}

void Manager::tell_size(const std::string &name, const Devices &before, const Devices &after) {
  auto size = [](const Devices &devices) {
    auto root = device::root_disk(devices);
    return root.empty() || !devices.at(root).count("size") ? std::string() : devices.at(root).at("size");
  };
  auto now = size(after);
  if (now.empty() || now == size(before)) return;
  ctx_.log.warning("the root disk of instance {} has the size {}, which pool {} cannot enforce: it is kept, and is no limit", base::quoted(name), now,
                   base::quoted(after.at(device::root_disk(after)).at("pool")));
}

/// The one gate: the final expanded configuration, before it is committed.
void Manager::check_expanded(const db::InstanceRow &row, const Expanded &e, bool creating) {
  auto what = "instance " + base::quoted(row.name);
  validate_instance_config(e.config, what, false);
  if (auto it = e.config.find("raw.lxc"); it != e.config.end() && !it->second.empty()) ctx_.runtime.validate_raw(it->second);
  // Before the devices themselves: that the instance is elsewhere is what counts, also when that pool is not there.
  if (auto pool = device::root_pool(e.devices); !creating && !pool.empty() && !db::volume(ctx_.global, pool, row.project, 0, row.name))
    for (auto &v : db::volumes(ctx_.global))
      if (v.type == 0 && v.project == row.project && v.name == row.name)
        base::fail(ErrorCode::invalid_argument, "Cannot update root disk device pool name of {} from {} to {}: move the instance instead", what, base::quoted(v.pool),
                   base::quoted(pool));
  device::validate_all(row.name, e.devices, false, host_of(row.project));
  check_requirements(what, e.config);
  sys::choose_idmap(e.config, {});
  if (device::root_disk(e.devices).empty())
    base::fail(ErrorCode::invalid_argument, "{} has no root disk: add a disk device with path=/ and pool=NAME to it or to a profile of it", what);
}

void Manager::event(const char *action, const std::string &project, const std::string &name, json::object context) {
  static constexpr std::string_view changing[] = {"instance-created", "instance-updated", "instance-renamed", "instance-restored", "instance-started"};
  if (std::find(std::begin(changing), std::end(changing), action) != std::end(changing) || std::string_view(action).starts_with("instance-snapshot-"))
    keep_backup_file(project, name.substr(0, name.find('/')));
  if (ctx_.lifecycle) ctx_.lifecycle(action, "/1.0/instances/" + name + (project == "default" ? "" : "?project=" + project), project, std::move(context));
}

bool Manager::is_kept(std::int64_t id) {
  std::lock_guard lock(mutex_);
  return kept_.count(id) != 0;
}

bool Manager::is_live(std::int64_t id) {
  std::lock_guard lock(mutex_);
  return live_.count(id) != 0;
}

std::set<std::string> Manager::pools_in_use() {
  std::set<std::string> out;
  for (auto &r : db::instances(ctx_.global, ""))
    if (is_live(r.id))
      for (auto &[name, d] : expand(r).devices)
        if (auto it = d.find("pool"); it != d.end()) out.insert(it->second);
  return out;
}

void Manager::must_run(const db::InstanceRow &row, const char *what) {
  if (!is_live(row.id) || ctx_.runtime.power(key_of(row)) == Power::stopped)
    base::fail(ErrorCode::conflict, "cannot {} instance {}: the instance is not running; start it first", what, base::quoted(row.name));
}

void Manager::must_not_run(const db::InstanceRow &row, const char *what) {
  if (is_live(row.id)) base::fail(ErrorCode::conflict, "cannot {} instance {}: Instance is running; stop it first", what, base::quoted(row.name));
}

} // namespace incus::instance
