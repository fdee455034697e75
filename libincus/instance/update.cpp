// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "device/device.hpp"
#include "image/image.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
/// What the engine itself keeps; a client that leaves them out does not mean to remove them.
bool kept(const std::string &key) {
  return key == "volatile.last_state.power" || key == "volatile.last_state.idmap" || key.starts_with("volatile.idmap.") || key.starts_with("volatile.uuid") ||
         key == "volatile.base_image" || key == "volatile.cloud-init.instance-id" || key == "volatile.apply_template";
}

/// What cloud-init configures by its id: when this changes, the guest counts as a new one.
bool configured_anew(const Expanded &before, const Expanded &after) {
  for (auto &k : changed_keys(before.config, after.config))
    for (auto *part : {"user-data", "vendor-data", "network-config"})
      if (k == std::string("cloud-init.") + part || k == std::string("user.") + part) return true;
  auto interfaces = [](const Expanded &e) {
    std::set<std::string> out;
    for (auto &[name, d] : e.devices) {
      if (auto type = d.find("type"); type == d.end() || type->second != "nic") continue;
      auto given = d.find("name");
      out.insert(given == d.end() ? name : given->second);
    }
    return out;
  };
  return interfaces(before) != interfaces(after);
}

void without_empty(Config &c) {
  std::erase_if(c, [](auto &kv) { return kv.second.empty(); });
}
} // namespace

void Manager::update(const std::string &project, const std::string &name, const Change &change) {
  Claim claim(*this, project, name, "update");
  auto old = row(project, name);
  const InstanceUpdate to = change(to_info(old, expand(old)));
  auto fresh = old;
  if (to.stateful) base::fail(ErrorCode::not_supported, "stateful is not supported for containers");
  if (!to.architecture.empty()) {
    fresh.architecture = image::canonical_architecture(to.architecture);
    if (fresh.architecture.empty()) base::fail(ErrorCode::invalid_argument, "unknown architecture {}", base::quoted(to.architecture));
  }
  fresh.description = to.description;
  fresh.ephemeral = to.ephemeral;
  fresh.config = to.config;
  without_empty(fresh.config);
  drop_host_names(fresh.config, old.config);
  for (auto &[k, v] : old.config) {
    if (!kept(k)) continue;
    fresh.config[k] = v;
  }
  fresh.devices = to.devices;
  for (auto &[n, d] : fresh.devices) without_empty(d);
  fresh.profiles = to.profiles;
  auto before = expand(old), after = expand(fresh);
  check_expanded(fresh, after, false);
  tell_size(name, before.devices, after.devices);
  if (configured_anew(before, after)) fresh.config["volatile.cloud-init.instance-id"] = base::uuid();
  if (!is_live(old.id)) {
    ctx_.global.transaction([&] { db::update_instance(ctx_.global, fresh); });
    event("instance-updated", project, name);
    return;
  }
  update_running(old, fresh, before, after);
  event("instance-updated", project, name);
}

void Manager::update_running(const db::InstanceRow &old, db::InstanceRow &fresh, const Expanded &before, const Expanded &after) {
  // What the devices that run have is not for a client to forget.
  for (auto &[n, d] : after.devices)
    for (auto &[k, v] : old.config)
      if (k.starts_with("volatile." + n + ".")) fresh.config.emplace(k, v);
  auto plug = plug_of(fresh, before, after);
  Limits limits(*this, old, before, after);
  // Stored first: what is on the host then is told of.
  ctx_.global.transaction([&] { db::update_instance(ctx_.global, fresh); });
  if (plug) {
    try {
      this->plug(key_of(old), *plug);
    } catch (...) {
      ctx_.global.transaction([&] { db::update_instance(ctx_.global, old); });
      try {
        this->plug(key_of(old), items_of(old, before.devices));
      } catch (const std::exception &e) {
        ctx_.log.warning("devices of instance {} are as they were at its next start: {}", old.name, e.what());
      }
      throw;
    }
  }
  limits.done();
}

Manager::Limits::Limits(Manager &m, const db::InstanceRow &row, const Expanded &before, const Expanded &after) {
  auto changed = changed_keys(before.config, after.config);
  json::array keys;
  for (auto &k : changed)
    if (k.starts_with("limits.")) keys.emplace_back(k);
  auto key = m.key_of(row);
  if (!keys.empty()) intent_.emplace(m.ctx_.journal, "instance.limits", json::object{{"id", key.id}, {"store", key.name}, {"keys", std::move(keys)}}, false);
  try {
    if (!changed.empty()) m.ctx_.runtime.apply(key, after.config, changed);
  } catch (...) {
    // The runtime has put back what it had set.
    done();
    throw;
  }
}

void Manager::recover_limits(const json::object &d) {
  auto r = db::instance(ctx_.global, d.at("id").as_int64());
  if (!r) return;
  auto key = key_of(*r);
  if (!ctx_.runtime.adopt(key)) return;
  std::vector<std::string> keys;
  for (auto &k : d.at("keys").as_array()) keys.emplace_back(k.as_string());
  ctx_.runtime.apply(key, expand(*r).config, keys);
}

void Manager::plug(const Key &key, const device::RunItems &items, bool rebooted) {
  ctx_.runtime.set_disks(key, items.mounts, rebooted);
  ctx_.runtime.set_nics(key, items.nics, rebooted);
}

void Manager::plug_as_stored(db::InstanceRow r, bool rebooted) {
  auto own = r.config;
  auto e = expand(r);
  // A device that its profile got when the process was killed is not prepared yet.
  device::prepare_all(r.name, e.devices, r.config);
  store_changes(r, own);
  plug(key_of(r), items_of(r, e.devices), rebooted);
}

void Manager::store_changes(const db::InstanceRow &r, const Config &own) {
  Config changes;
  for (auto &k : changed_keys(own, r.config)) changes[k] = r.config.count(k) ? r.config.at(k) : "";
  if (!changes.empty()) ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, r.id, changes); });
}

std::optional<device::RunItems> Manager::plug_of(db::InstanceRow &r, const Expanded &before, const Expanded &after) {
  if (before.devices == after.devices) return std::nullopt;
  std::set<std::string> names;
  for (auto *devices : {&before.devices, &after.devices})
    for (auto &[n, d] : *devices) names.insert(n);
  for (auto &n : names) {
    auto b = before.devices.find(n), a = after.devices.find(n);
    bool was = b != before.devices.end(), is = a != after.devices.end();
    if (was && is && b->second == a->second) continue;
    if ((was && n == device::root_disk(before.devices)) || (is && n == device::root_disk(after.devices))) {
      if (was && is && device::same_but_live(b->second, a->second)) continue;
      base::fail(ErrorCode::conflict, "cannot change the root disk {} of instance {} while it is running; stop it first", base::quoted(n), base::quoted(r.name));
    }
    auto prefix = "volatile." + n + ".";
    // What a device keeps is of no use to one of another type.
    if (!is || (was && b->second.at("type") != a->second.at("type"))) std::erase_if(r.config, [&](auto &kv) { return kv.first.starts_with(prefix); });
  }
  device::prepare_all(r.name, after.devices, r.config);
  return device::render_all(r.name, after.devices, r.config, host_of(r.project));
}

void Manager::validate_users(const std::string &project, const std::vector<std::string> &users) {
  for (auto &name : users) {
    auto r = row(project, name);
    auto e = expand(r);
    try {
      check_expanded(r, e, false);
    } catch (const Error &err) {
      throw Error(err.code(), "the change would break instance " + base::quoted(name), err);
    }
  }
}

void Manager::profile_changed(const std::string &project, const std::vector<std::string> &users, const std::map<std::string, Expanded> &before) {
  for (auto &name : users) {
    auto r = db::instance(ctx_.global, project, name);
    auto was = before.find(name);
    if (!r || was == before.end()) continue;
    auto after = expand(*r);
    if (configured_anew(was->second, after))
      ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, r->id, {{"volatile.cloud-init.instance-id", base::uuid()}}); });
    if (!is_live(r->id)) continue;
    try {
      Limits(*this, *r, was->second, after).done();
    } catch (const Error &e) {
      ctx_.log.warning("limits of instance {} are those of its profiles at its next start: {}", name, e.what());
    }
    try {
      auto own = r->config;
      auto plug = plug_of(*r, was->second, after);
      if (!plug) continue;
      // Only what is new: an operation on the instance may be under way.
      store_changes(*r, own);
      this->plug(key_of(*r), *plug);
    } catch (const Error &e) {
      ctx_.log.warning("devices of instance {} are those of its profiles at its next start: {}", name, e.what());
    }
  }
}

} // namespace incus::instance
