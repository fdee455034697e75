// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <cerrno>
#include <dirent.h>

#include "base/error.hpp"
#include "device/device.hpp"
#include "instance/manager.hpp"

namespace incus::instance {

void Manager::reconcile(bool same_boot) {
  std::vector<std::int64_t> ids;
  ctx_.global.query("SELECT instance_id FROM instances_config WHERE key = 'volatile.last_state.power' AND value = 'RUNNING'", {},
                    [&](const db::Row &r) { ids.push_back(r.number(0)); });
  // They were stopped together, to be started again.
  bool shut_down = !db::get_config(ctx_.local, "core.instances_shut_down").empty();
  for (auto id : ids) {
    if (is_live(id)) continue;
    auto r = db::instance(ctx_.global, id);
    if (!r) continue;
    try {
      if (same_boot) {
        if (auto started = ctx_.runtime.adopt(key_of(*r))) {
          {
            std::lock_guard lock(mutex_);
            live_[id] = {*started, r->project, r->name};
          }
          // A change of its devices may have been recorded and not made.
          try {
            plug_as_stored(*r, false);
          } catch (const std::exception &e) {
            ctx_.log.warning("devices of instance {} are those of its configuration at its next start: {}", r->name, e.what());
          }
          continue;
        }
        ctx_.runtime.clean(key_of(*r), device::host_interfaces(expand(*r).devices, r->config));
        if (!shut_down && !r->ephemeral) ctx_.global.transaction([&] { db::set_instance_config(ctx_.global, id, {{"volatile.last_state.power", "STOPPED"}}); });
      }
      if (shut_down || !same_boot) {
        std::lock_guard lock(mutex_);
        kept_.insert(id);
      }
      // After a restart of the machine the mark stays: it tells a daemon what to start again.
      if (r->ephemeral) remove_claimed(*r);
    } catch (const std::exception &e) {
      ctx_.log.error("cannot find out about instance {}: {}", r->name, e.what());
    }
  }
}

void Manager::destroy_all() {
  std::vector<Key> keys;
  {
    std::lock_guard lock(mutex_);
    for (auto &[id, l] : live_) keys.push_back({id, storage::store_name(l.project, l.name)});
  }
  for (auto &k : keys) {
    try {
      ctx_.runtime.kill(k);
      finish_stopped(k, "instance-stopped");
    } catch (const std::exception &e) {
      ctx_.log.error("cannot destroy instance {}: {}", k.name, e.what());
    }
  }
}

void Manager::check(std::vector<std::string> &problems) {
  std::vector<Key> running;
  std::set<std::string> stores;
  for (auto &r : db::instances(ctx_.global, "")) {
    auto key = key_of(r);
    stores.insert(key.name);
    auto it = r.config.find("volatile.last_state.power");
    bool marked = it != r.config.end() && it->second == "RUNNING";
    bool runs = ctx_.runtime.running(key).has_value();
    if (runs) running.push_back(key);
    if (marked != runs && !(marked && is_kept(r.id))) problems.push_back("instance " + r.name + (runs ? " runs but the store says it does not" : " does not run but the store says so"));
    if (runs != is_live(r.id)) problems.push_back("instance " + r.name + ": runtime and manager differ on whether it runs");
  }
  for (auto &l : ctx_.runtime.leftovers(running)) problems.push_back(l);
  for (auto &p : ctx_.journal.pending()) problems.push_back("unfinished intent: " + p);
  if (ctx_.directory.empty()) return;
  for (auto *d : {"containers", "containers-snapshots"}) {
    std::set<std::string> links;
    if (DIR *dir = ::opendir((ctx_.directory + "/" + d).c_str())) {
      while (auto *e = ::readdir(dir))
        if (e->d_name[0] != '.') links.insert(e->d_name);
      ::closedir(dir);
    }
    for (auto &l : links)
      if (!stores.count(l)) problems.push_back(std::string(d) + "/" + l + " has no instance");
    for (auto &s : stores)
      if (!links.count(s)) problems.push_back(std::string(d) + "/" + s + " is missing");
  }
}

} // namespace incus::instance
