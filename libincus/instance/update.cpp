// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "device/device.hpp"
#include "image/image.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"

namespace incus::instance {

namespace {
/// What the engine itself keeps; a client that leaves them out does not mean to remove them.
bool kept(const std::string &key) {
  return key == "volatile.last_state.power" || key == "volatile.last_state.idmap" || key.starts_with("volatile.idmap.") || key.starts_with("volatile.uuid") ||
         key == "volatile.base_image" || key == "volatile.cloud-init.instance-id" || key == "volatile.apply_template";
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
  for (auto &[k, v] : old.config) {
    if (!kept(k)) continue;
    fresh.config[k] = v;
  }
  fresh.devices = to.devices;
  for (auto &[n, d] : fresh.devices) without_empty(d);
  fresh.profiles = to.profiles;
  auto before = expand(old), after = expand(fresh);
  check_expanded(fresh, after, false);
  if (!is_live(old.id)) {
    ctx_.global.transaction([&] { db::update_instance(ctx_.global, fresh); });
    event("instance-updated", project, name);
    return;
  }
  // What the devices that run have is not for a client to forget.
  for (auto &[n, d] : after.devices)
    for (auto &[k, v] : old.config)
      if (k.starts_with("volatile." + n + ".")) fresh.config.emplace(k, v);
  auto plug = plug_of(fresh, before, after);
  auto changed = changed_keys(before.config, after.config);
  if (!changed.empty()) ctx_.runtime.apply(key_of(old), after.config, changed);
  // Stored first: what is on the host then is told of.
  ctx_.global.transaction([&] { db::update_instance(ctx_.global, fresh); });
  if (plug) {
    try {
      this->plug(key_of(old), *plug);
    } catch (...) {
      ctx_.global.transaction([&] { db::update_instance(ctx_.global, old); });
      try {
        this->plug(key_of(old), {items_of(old, before.devices), {}});
      } catch (const std::exception &e) {
        ctx_.log.warning("devices of instance {} are as they were at its next start: {}", name, e.what());
      }
      throw;
    }
  }
  event("instance-updated", project, name);
}

void Manager::plug(const Key &key, const Plug &plug) {
  ctx_.runtime.set_disks(key, plug.items.mounts, false);
  ctx_.runtime.set_nics(key, plug.items.nics, plug.again);
}

std::optional<Manager::Plug> Manager::plug_of(db::InstanceRow &r, const Expanded &before, const Expanded &after) {
  if (before.devices == after.devices) return std::nullopt;
  std::set<std::string> names;
  for (auto *devices : {&before.devices, &after.devices})
    for (auto &[n, d] : *devices) names.insert(n);
  Plug plug;
  for (auto &n : names) {
    auto b = before.devices.find(n), a = after.devices.find(n);
    bool was = b != before.devices.end(), is = a != after.devices.end();
    if (was && is && b->second == a->second) continue;
    if ((was && n == device::root_disk(before.devices)) || (is && n == device::root_disk(after.devices)))
      base::fail(ErrorCode::conflict, "cannot change the root disk {} of instance {} while it is running; stop it first", base::quoted(n), base::quoted(r.name));
    auto prefix = "volatile." + n + ".";
    if (auto host = r.config.find(prefix + "host_name"); was && host != r.config.end()) plug.again.push_back(host->second);
    // What a device keeps is of no use to one of another type.
    if (!is || (was && b->second.at("type") != a->second.at("type"))) std::erase_if(r.config, [&](auto &kv) { return kv.first.starts_with(prefix); });
  }
  device::prepare_all(r.name, after.devices, r.config);
  plug.items = device::render_all(r.name, after.devices, r.config, host_of(r.project));
  return plug;
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
    if (!r || !is_live(r->id)) continue;
    auto was = before.find(name);
    if (was == before.end()) continue;
    auto after = expand(*r);
    auto changed = changed_keys(was->second.config, after.config);
    if (!changed.empty()) ctx_.runtime.apply(key_of(*r), after.config, changed);
    try {
      auto own = r->config;
      auto plug = plug_of(*r, was->second, after);
      if (!plug) continue;
      // Only what is new: an operation on the instance may be under way.
      Config changes;
      for (auto &k : changed_keys(own, r->config)) changes[k] = r->config.count(k) ? r->config.at(k) : "";
      ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, r->id, changes); });
      this->plug(key_of(*r), *plug);
    } catch (const Error &e) {
      ctx_.log.warning("devices of instance {} are those of its profiles at its next start: {}", name, e.what());
    }
  }
}

} // namespace incus::instance
