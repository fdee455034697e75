// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/manager.hpp"

namespace incus::instance {

namespace {
constexpr int stopped = 102, running = 103, frozen = 110;
}

InstanceInfo Manager::to_info(db::InstanceRow r, Expanded e) {
  auto power = is_live(r.id) ? ctx_.runtime.power(key_of(r)) : Power::stopped;
  InstanceInfo i;
  i.architecture = std::move(r.architecture);
  i.config = std::move(r.config);
  i.created_at = r.created_at;
  i.description = std::move(r.description);
  i.devices = std::move(r.devices);
  i.ephemeral = r.ephemeral;
  i.expanded_config = std::move(e.config);
  i.expanded_devices = std::move(e.devices);
  i.last_used_at = r.last_used_at;
  i.location = std::move(r.location);
  i.name = std::move(r.name);
  i.profiles = std::move(r.profiles);
  i.project = std::move(r.project);
  i.stateful = r.stateful;
  i.type = "container";
  i.status = power == Power::running ? "Running" : power == Power::frozen ? "Frozen" : "Stopped";
  i.status_code = power == Power::running ? running : power == Power::frozen ? frozen : stopped;
  return i;
}

std::vector<std::string> Manager::names(const std::string &project) {
  db::project_id(ctx_.global, project);
  return db::instance_names(ctx_.global, project);
}

std::vector<InstanceInfo> Manager::list(const std::string &project) {
  db::project_id(ctx_.global, project);
  std::vector<db::InstanceRow> rows;
  std::map<std::string, db::ProfileRow> profiles;
  {
    std::lock_guard lock(ctx_.global.mutex());
    rows = db::instances(ctx_.global, project);
    profiles = profile_map(project);
  }
  std::vector<InstanceInfo> out;
  out.reserve(rows.size());
  for (auto &r : rows) {
    auto e = expand_with(r, profiles);
    out.push_back(to_info(std::move(r), std::move(e)));
  }
  return out;
}

std::vector<InstanceFull> Manager::list_full(const std::string &project) {
  db::project_id(ctx_.global, project);
  std::vector<db::InstanceRow> rows;
  std::map<std::string, db::ProfileRow> profiles;
  std::map<std::int64_t, std::vector<SnapshotInfo>> snaps;
  {
    std::lock_guard lock(ctx_.global.mutex());
    rows = db::instances(ctx_.global, project);
    profiles = profile_map(project);
    std::set<std::int64_t> ids;
    for (auto &r : rows) ids.insert(r.id);
    for (auto &s : db::snapshots(ctx_.global, 0))
      if (ids.count(s.instance_id)) snaps[s.instance_id].push_back(to_info(s, profiles));
  }
  std::vector<InstanceFull> out;
  out.reserve(rows.size());
  for (auto &r : rows) {
    auto e = expand_with(r, profiles);
    auto key = key_of(r);
    InstanceFull f;
    if (auto it = snaps.find(r.id); it != snaps.end()) f.snapshots = std::move(it->second);
    f.info = to_info(std::move(r), std::move(e));
    f.state = InstanceState{};
    if (f.info.status_code != stopped) {
      // What its disk holds is asked for one by one: to find it out means to walk its tree.
      try {
        f.state = ctx_.runtime.state(key);
      } catch (const Error &err) {
        ctx_.log.debug("state of {}: {}", f.info.name, err.what());
      }
    }
    f.state->status = f.info.status;
    f.state->status_code = f.info.status_code;
    out.push_back(std::move(f));
  }
  return out;
}

InstanceInfo Manager::info(const std::string &project, const std::string &name) {
  auto r = row(project, name);
  return to_info(r, expand(r));
}

InstanceState Manager::state(const std::string &project, const std::string &name) {
  auto r = row(project, name);
  auto e = expand(r);
  auto i = to_info(r, e);
  InstanceState s;
  if (i.status_code != stopped) {
    try {
      s = ctx_.runtime.state(key_of(r));
    } catch (const Error &err) {
      // It stopped between the question and the answer.
      if (err.code() != ErrorCode::conflict) throw;
      i.status = "Stopped";
      i.status_code = stopped;
    }
  }
  s.status = i.status;
  s.status_code = i.status_code;
  for (auto &[device, d] : e.devices) {
    auto path = d.find("path"), pool = d.find("pool");
    if (path == d.end() || pool == d.end() || path->second != "/") continue;
    s.disk[device].usage = static_cast<std::int64_t>(ctx_.pools.driver(pool->second)->usage({storage::VolumeType::container, key_of(r).name}));
  }
  return s;
}

std::string Manager::console_log(const std::string &project, const std::string &name) { return ctx_.runtime.console_log(key_of(row(project, name))); }
void Manager::clear_console_log(const std::string &project, const std::string &name) { ctx_.runtime.clear_console_log(key_of(row(project, name))); }

} // namespace incus::instance
