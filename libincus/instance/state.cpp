// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "device/device.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"
#include "network/interface.hpp"
#include "schema/schema.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
constexpr auto default_stop_timeout = std::chrono::seconds(600);

Config merged(const Config &config, const Config &changes) {
  Config out = config;
  for (auto &[k, v] : changes) {
    if (v.empty())
      out.erase(k);
    else
      out[k] = v;
  }
  return out;
}
} // namespace

storage::IdMap Manager::choose_map(const db::InstanceRow &row, const Expanded &e) {
  if (!schema::truthy(schema::value(instance_keys(), e.config, "security.idmap.isolated"))) return sys::choose_idmap(e.config, {});
  // Chosen and recorded in one: two that start at once must not get the same ids.
  std::lock_guard lock(idmap_mutex_);
  auto map = choose_isolated(row, e);
  ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, row.id, {{"volatile.idmap.current", sys::format_idmap(map)}}); });
  return map;
}

storage::IdMap Manager::choose_isolated(const db::InstanceRow &row, const Expanded &e) {
  std::vector<storage::IdMap> isolated;
  // Their maps are what they started with last; one that never started holds none yet.
  for (auto &other : db::instances(ctx_.global, "")) {
    auto it = other.config.find("volatile.idmap.current");
    if (other.id == row.id || it == other.config.end()) continue;
    if (schema::truthy(schema::value(instance_keys(), expand(other).config, "security.idmap.isolated"))) isolated.push_back(sys::parse_idmap(it->second));
  }
  // A slice, once given, stays as long as nothing forces another.
  auto mine = row.config.find("volatile.idmap.current");
  auto keep = mine == row.config.end() || e.config.count("security.idmap.base") ? storage::IdMap{} : sys::parse_idmap(mine->second);
  if (!keep.empty()) {
    Config fixed = e.config;
    fixed["security.idmap.base"] = std::to_string(keep.front().host);
    try {
      auto map = sys::choose_idmap(fixed, isolated);
      // What a snapshot brought back may be another's by now.
      if (!std::any_of(isolated.begin(), isolated.end(), [&](auto &other) { return sys::slices_meet(map, other); })) return map;
    } catch (const Error &err) {
      ctx_.log.info("instance {} gets a new id map: {}", row.name, err.what());
    }
  }
  return sys::choose_idmap(e.config, isolated);
}

/// What worked once on a file system works as long as the kernel runs; to ask costs a process, a millisecond of every start.
bool Manager::can_idmap(int dirfd) {
  struct stat st {};
  if (::fstat(dirfd, &st) != 0) return false;
  {
    std::lock_guard lock(mutex_);
    if (idmappable_.count(st.st_dev)) return true;
  }
  if (!storage::idmapped_mounts_work(dirfd)) return false;
  std::lock_guard lock(mutex_);
  idmappable_.insert(st.st_dev);
  return true;
}

storage::RootfsPlan Manager::prepare_rootfs(const db::InstanceRow &row, const Expanded &e, const Root &root, const storage::IdMap &map, Config &changes) {
  auto plan = root.driver->rootfs(root.volume);
  if (ctx_.directory.empty()) return plan;
  auto on_disk = sys::idmap_of(row.config, "volatile.last_state.idmap");
  bool can_map = std::getenv("INCUS_IDMAPPED_MOUNTS_DISABLE") == nullptr;
  if (can_map && !map.empty()) {
    base::Fd dir(root.driver->open_volume(root.volume));
    can_map = can_idmap(dir.get());
  }
  bool privileged = map.empty();
  auto wanted = can_map || privileged ? storage::IdMap{} : map;
  if (!wanted.empty() && plan.kind == storage::RootfsPlan::Kind::overlay)
    base::fail(ErrorCode::not_supported,
               "cannot start instance {} unprivileged: the kernel or file system below pool {} has no idmapped mounts, which shared layers need; use a dir pool",
               base::quoted(row.name), base::quoted(root.pool));
  if (on_disk != wanted) {
    if (schema::truthy(schema::value(instance_keys(), e.config, "security.protection.shift")))
      base::fail(ErrorCode::conflict, "cannot start instance {}: its files need other owners, and security.protection.shift is set; unset it", base::quoted(row.name));
  }
  // Also when nothing differs: one that was killed half way is finished, or taken back, here.
  root.driver->shift(root.volume, on_disk, wanted);
  changes["volatile.last_state.idmap"] = sys::format_idmap(wanted);
  plan.idmapped = wanted.empty() && !privileged;
  return plan;
}

StartSpec Manager::prepare_start(db::InstanceRow &row, const Expanded &e, Config &changes) {
  auto root = root_of(row, e);
  StartSpec s;
  s.key = key_of(row);
  s.hostname = row.name;
  s.architecture = row.architecture;
  s.auto_destroy = ctx_.auto_destroy;
  s.idmap = choose_map(row, e);
  s.rootfs = prepare_rootfs(row, e, root, s.idmap, changes);
  Config volatiles = row.config;
  device::prepare_all(row.name, e.devices, volatiles);
  s.items = device::render_all(row.name, e.devices, volatiles, host_of(row.project));
  for (auto &[k, v] : volatiles) {
    auto it = row.config.find(k);
    if (it == row.config.end() || it->second != v) changes[k] = v;
  }
  auto map = sys::format_idmap(s.idmap);
  changes["volatile.idmap.current"] = map;
  changes["volatile.idmap.next"] = map;
  changes["volatile.idmap.base"] = s.idmap.empty() ? "0" : std::to_string(s.idmap.front().host);
  changes["volatile.last_state.power"] = "RUNNING";
  if (row.config.count("volatile.apply_template")) changes["volatile.apply_template"] = "";
  std::erase_if(changes, [&](auto &kv) {
    auto it = row.config.find(kv.first);
    return it != row.config.end() && it->second == kv.second;
  });
  s.config = merged(e.config, changes);
  return s;
}

void Manager::check_interfaces(const db::InstanceRow &row, const device::RunItems &items) {
  if (ctx_.directory.empty()) return;
  for (auto &n : items.nics)
    if (network::look_up(n.host_name) != network::Interface::missing)
      base::fail(ErrorCode::conflict, "cannot start instance {}: the host has an interface {} already, which device {} is to make; set another host_name, or remove that interface",
                 base::quoted(row.name), base::quoted(n.host_name), base::quoted(n.device));
}

void Manager::start_claimed(const std::string &project, const std::string &name, const char *action) {
  ctx_.runtime.expect_start();
  auto r = row(project, name);
  {
    std::lock_guard lock(mutex_);
    if (ending_) base::fail(ErrorCode::unavailable, "cannot start instance {}: all instances are being stopped", base::quoted(name));
  }
  if (is_live(r.id)) base::fail(ErrorCode::conflict, "cannot start instance {}: The instance is already running", base::quoted(name));
  auto e = expand(r);
  check_expanded(r, e, false);
  check_snapshot_rows(r);
  snapshot_at_start(r, e);
  apply_templates(r, e);
  Files::Hold no_sessions(files_, r.id);
  Config changes;
  auto spec = prepare_start(r, e, changes);
  check_interfaces(r, spec.items);
  json::array interfaces;
  for (auto &i : device::host_interfaces(e.devices, merged(r.config, changes))) interfaces.emplace_back(i);
  db::Intent intent(ctx_.journal, "instance.start", {{"id", r.id}, {"store", spec.key.name}, {"interfaces", std::move(interfaces)}}, false);
  ctx_.global.transaction([&] {
    db::set_instance_config(ctx_.global, r.id, changes);
    db::touch_instance(ctx_.global, r.id, base::now());
  });
  auto started = ctx_.runtime.start(spec);
  {
    std::lock_guard lock(mutex_);
    live_[r.id] = {started, project, name};
    kept_.erase(r.id);
  }
  intent.done();
  event(action, project, name);
}

void Manager::recover_start(const json::object &d) {
  Key key{d.at("id").as_int64(), std::string(d.at("store").as_string())};
  auto r = db::instance(ctx_.global, key.id);
  if (r) {
    if (auto started = ctx_.runtime.adopt(key)) {
      std::lock_guard lock(mutex_);
      live_[key.id] = {*started, r->project, r->name};
      return;
    }
  }
  std::vector<std::string> interfaces;
  for (auto &i : d.at("interfaces").as_array()) interfaces.emplace_back(i.as_string());
  ctx_.runtime.clean(key, interfaces);
  if (r) ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, key.id, {{"volatile.last_state.power", "STOPPED"}}); });
}

bool Manager::finish_stopped(const Key &key, const char *action, After after) {
  Live was;
  {
    std::lock_guard lock(mutex_);
    auto it = live_.find(key.id);
    if (it == live_.end()) return false;
    was = it->second;
    live_.erase(it);
    if (after == After::started) kept_.insert(key.id);
    released_.notify_all();
  }
  files_.end(key.id);
  if (after == After::stopped) ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, key.id, {{"volatile.last_state.power", "STOPPED"}}); });
  if (action) event(action, was.project, was.name);
  return true;
}

void Manager::stop_claimed(const std::string &project, const std::string &name, const InstanceStateChange &change, bool keep_ephemeral) {
  auto r = row(project, name);
  auto key = key_of(r);
  if (!is_live(r.id)) base::fail(ErrorCode::conflict, "cannot stop instance {}: The instance is already stopped", base::quoted(name));
  if (change.force) {
    ctx_.runtime.kill(key);
  } else {
    if (ctx_.runtime.power(key) == Power::frozen) ctx_.runtime.unfreeze(key);
    std::chrono::milliseconds timeout = change.timeout > 0 ? std::chrono::seconds(change.timeout) : default_stop_timeout;
    ctx_.runtime.request_shutdown(key);
    if (!ctx_.runtime.wait_stopped(key, timeout))
      base::fail(ErrorCode::timeout, "instance {} did not stop within {} s: it still runs; try again with a longer timeout, or force it", base::quoted(name),
                 std::chrono::duration_cast<std::chrono::seconds>(timeout).count());
  }
  bool remove = r.ephemeral && !keep_ephemeral;
  finish_stopped(key, keep_ephemeral ? nullptr : change.force ? "instance-stopped" : "instance-shutdown", remove ? After::removed : After::stopped);
  if (remove) remove_claimed(row(project, name));
}

void Manager::change_state(const std::string &project, const std::string &name, const InstanceStateChange &c) {
  if (c.stateful) base::fail(ErrorCode::not_supported, "stateful stop and start are not supported for containers");
  Claim claim(*this, project, name, c.action.c_str());
  if (c.action == "start") return start_claimed(project, name);
  if (c.action == "stop") return stop_claimed(project, name, c, false);
  if (c.action == "restart") {
    stop_claimed(project, name, c, true);
    try {
      return start_claimed(project, name, "instance-restarted");
    } catch (...) {
      event("instance-stopped", project, name);
      throw;
    }
  }
  auto r = row(project, name);
  bool freeze = c.action == "freeze";
  must_run(r, freeze ? "freeze" : "unfreeze");
  auto power = ctx_.runtime.power(key_of(r));
  if (freeze && power == Power::frozen) base::fail(ErrorCode::conflict, "cannot freeze instance {}: The instance is already frozen", base::quoted(name));
  if (!freeze && power != Power::frozen) base::fail(ErrorCode::conflict, "cannot unfreeze instance {}: The instance is not frozen", base::quoted(name));
  if (freeze)
    ctx_.runtime.freeze(key_of(r));
  else
    ctx_.runtime.unfreeze(key_of(r));
  event(freeze ? "instance-paused" : "instance-resumed", project, name);
}

std::unique_ptr<Exec> Manager::exec(const std::string &project, const std::string &name, ExecSpec spec) {
  auto r = row(project, name);
  must_run(r, "run a command in");
  spec.key = key_of(r);
  if (ctx_.runtime.power(spec.key) == Power::frozen)
    base::fail(ErrorCode::conflict, "cannot run a command in instance {}: the instance is frozen; resume it first", base::quoted(name));
  spec.config = expand(r).config;
  auto command = spec.request.command;
  auto session = ctx_.runtime.exec(std::move(spec));
  json::array argv;
  for (auto &a : command) argv.emplace_back(a);
  event("instance-exec", project, name, {{"command", std::move(argv)}});
  return session;
}

void Manager::wait_ready(const std::string &project, const std::string &name, ReadyLevel level, std::chrono::milliseconds timeout) {
  auto r = row(project, name);
  must_run(r, "wait for");
  if (!ctx_.runtime.wait_ready(key_of(r), level, timeout))
    base::fail(ErrorCode::timeout, "instance {} was not {} within {} ms", base::quoted(name),
               level == ReadyLevel::network ? "on the network" : level == ReadyLevel::booted ? "booted" : "ready for commands", timeout.count());
}

void Manager::on_stopped(const Key &key) {
  // An operation that stops it holds the claim and finishes itself; then there is nothing left to do here.
  auto r = db::instance(ctx_.global, key.id);
  if (!r) return;
  auto project = r->project, name = r->name;
  ctx_.background("Cleaning up stopped instance", project, [this, key, project, name] {
    Claim claim(*this, project, name, key.id);
    if (!claim.held() || ctx_.runtime.power(key) != Power::stopped) return;
    auto now = db::instance(ctx_.global, key.id);
    if (now && may_restart(*now) && finish_stopped(key, nullptr, After::started)) return restart_ended(*now);
    bool remove = now && now->ephemeral;
    if (finish_stopped(key, "instance-shutdown", remove ? After::removed : After::stopped) && remove) remove_claimed(*now);
  });
}

bool Manager::may_restart(const db::InstanceRow &row) {
  constexpr std::size_t tries = 10;
  constexpr auto period = std::chrono::minutes(1);
  if (!schema::truthy(schema::value(instance_keys(), expand(row).config, "boot.autorestart"))) return false;
  auto now = std::chrono::steady_clock::now();
  std::lock_guard lock(mutex_);
  if (halted_ || ending_) return false;
  auto &done = restarts_[row.id];
  while (!done.empty() && now - done.front() >= period) done.pop_front();
  if (done.size() >= tries) {
    ctx_.log.warning("instance {} ended {} times within a minute: it is not started again", row.name, tries + 1);
    return false;
  }
  done.push_back(now);
  return true;
}

void Manager::restart_ended(const db::InstanceRow &row) {
  ctx_.log.info("instance {} ended by itself: it is started again (boot.autorestart)", row.name);
  try {
    start_claimed(row.project, row.name, "instance-restarted");
  } catch (const Error &e) {
    ctx_.log.error("cannot start instance {} again after it ended: {}", row.name, e.what());
    {
      std::lock_guard lock(mutex_);
      kept_.erase(row.id);
    }
    ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, row.id, {{"volatile.last_state.power", "STOPPED"}}); });
    event("instance-shutdown", row.project, row.name);
    if (row.ephemeral) remove_claimed(row);
  }
}

void Manager::on_rebooted(const Key &key, const Started &started) {
  Live live;
  {
    std::lock_guard lock(mutex_);
    auto it = live_.find(key.id);
    if (it == live_.end()) return;
    it->second.started = started;
    live = it->second;
  }
  // Sessions are of the life that ended.
  ctx_.background("Ending file sessions", live.project, [this, id = key.id] { files_.end(id); });
  event("instance-restarted", live.project, live.name);
  // It came up with the devices of its start; those may have changed since.
  ctx_.background("Devices after a reboot", live.project, [this, key, live] {
    Claim claim(*this, live.project, live.name, key.id);
    if (!claim.held()) return;
    auto r = db::instance(ctx_.global, key.id);
    if (r) plug_as_stored(*r, true);
  });
}

} // namespace incus::instance
