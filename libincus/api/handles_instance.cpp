// SPDX-License-Identifier: Apache-2.0
// Instance and Snapshot.
#include <incus/instance.hpp>

#include "api/call.hpp"
#include "api/records.hpp"
#include "base/error.hpp"

namespace incus {
inline namespace v0 {

using namespace api;

namespace {

InstanceStateChange change(const char *action, bool force = false, std::optional<std::chrono::seconds> timeout = {}) {
  InstanceStateChange c;
  c.action = action;
  c.force = force;
  if (timeout) c.timeout = timeout->count();
  return c;
}

const char *level_name(ReadyLevel level) {
  switch (level) {
  case ReadyLevel::exec:
    return "exec";
  case ReadyLevel::booted:
    return "booted";
  case ReadyLevel::network:
    return "network";
  }
  base::fail(ErrorCode::invalid_argument, "invalid level of readiness {}", static_cast<int>(level));
}

} // namespace

Instance::Instance(std::shared_ptr<api::Session> session, std::string project, std::string name)
    : session_(std::move(session)), project_(std::move(project)), name_(std::move(name)) {}

InstanceInfo Instance::info(Etag *etag) const {
  auto reply = perform(session_, RowId::instance_get, at({name_}, project_));
  if (etag) *etag = reply.etag;
  return from_json<InstanceInfo>(reply.metadata);
}
InstanceState Instance::state() const {
  return from_json<InstanceState>(perform(session_, RowId::instance_state_get, at({name_}, project_)).metadata);
}

Operation Instance::start() { return change_state(change("start")); }
Operation Instance::stop(bool force, std::optional<std::chrono::seconds> timeout) { return change_state(change("stop", force, timeout)); }
Operation Instance::restart(bool force, std::optional<std::chrono::seconds> timeout) { return change_state(change("restart", force, timeout)); }
Operation Instance::pause() { return change_state(change("freeze")); }
Operation Instance::resume() { return change_state(change("unfreeze")); }
Operation Instance::change_state(const InstanceStateChange &to) {
  return begin(session_, RowId::instance_state_put, with_body(at({name_}, project_), to_json(to)));
}

void Instance::wait_ready(ReadyLevel level, std::chrono::milliseconds timeout) const {
  auto r = with_query(at({name_}, project_), "level", level_name(level));
  perform(session_, RowId::instance_ready_get, with_query(std::move(r), "timeout", std::to_string(timeout.count())));
}

Operation Instance::update(const InstanceUpdate &to, const Etag &if_match) {
  return begin(session_, RowId::instance_put, with_body(at({name_}, project_), to_json(to), if_match));
}
void Instance::patch(const Config &config, const Devices &devices, const Etag &if_match) {
  json::object body;
  if (!config.empty()) body["config"] = to_json(config);
  if (!devices.empty()) body["devices"] = to_json(devices);
  perform(session_, RowId::instance_patch, with_body(at({name_}, project_), std::move(body), if_match));
}
Operation Instance::rename(const std::string &new_name) {
  auto op = begin(session_, RowId::instance_post, with_body(at({name_}, project_), to_json(Rename{new_name})));
  name_ = new_name;
  return op;
}
Operation Instance::move(const InstanceMove &to) {
  auto op = begin(session_, RowId::instance_post, with_body(at({name_}, project_), move_body(to_json(to).as_object(), name_)));
  if (!to.name.empty()) name_ = to.name;
  if (!to.project.empty()) project_ = to.project;
  return op;
}
Operation Instance::copy(const std::string &new_name, const InstanceCopy &how) const {
  auto from = info();
  InstanceCreate c;
  c.name = new_name;
  c.type = from.type;
  c.config = how.config;
  c.devices = how.devices;
  c.profiles = how.profiles;
  c.source.type = "copy";
  c.source.source = how.snapshot.empty() ? name_ : name_ + "/" + how.snapshot;
  c.source.project = project_;
  c.source.instance_only = how.instance_only;
  c.source.refresh = how.refresh;
  c.source.refresh_exclude_older = how.refresh_exclude_older;
  if (!how.pool.empty())
    for (auto &[name, device] : from.expanded_devices)
      if (auto path = device.find("path"); path != device.end() && path->second == "/") c.devices.emplace(name, device).first->second["pool"] = how.pool;
  return begin(session_, RowId::instances_post, with_body(at({}, how.project.empty() ? project_ : how.project), to_json(c)));
}
Operation Instance::remove() { return begin(session_, RowId::instance_delete, at({name_}, project_)); }

ExecResult Instance::exec(const std::vector<std::string> &argv, const std::string &input) const {
  ExecRequest request;
  request.command = argv;
  return exec(request, input);
}
ExecResult Instance::exec(const ExecRequest &request, const std::string &input) const {
  return run_exec(session_, project_, name_, to_json(request), input);
}
ExecSession Instance::exec_session(const ExecRequest &request, const ExecIo &io) const {
  return ExecSession(begin_exec(session_, project_, name_, to_json(request), io));
}

std::string Instance::console_log() const {
  auto reply = perform(session_, RowId::instance_console_get, with_query(at({name_}, project_), "type", "log"));
  return bytes_of(reply);
}
void Instance::clear_console_log() { perform(session_, RowId::instance_console_delete, with_query(at({name_}, project_), "type", "log")); }

Operation Instance::create_snapshot(const SnapshotCreate &request) {
  return begin(session_, RowId::snapshots_post, with_body(at({name_}, project_), to_json(request)));
}
std::vector<SnapshotInfo> Instance::snapshots() const {
  return from_json<std::vector<SnapshotInfo>>(perform(session_, RowId::snapshots_get, with_query(at({name_}, project_), "recursion", "1")).metadata);
}
Snapshot Instance::snapshot(const std::string &snapshot_name) const { return Snapshot(session_, project_, name_, snapshot_name); }
Operation Instance::restore(const std::string &snapshot_name) {
  return begin(session_, RowId::instance_put, with_body(at({name_}, project_), {{"restore", snapshot_name}}));
}

Operation Instance::create_backup(const BackupCreate &request) {
  return begin(session_, RowId::backups_post, with_body(at({name_}, project_), to_json(request)));
}
std::vector<BackupInfo> Instance::backups() const {
  return from_json<std::vector<BackupInfo>>(perform(session_, RowId::backups_get, with_query(at({name_}, project_), "recursion", "1")).metadata);
}
Backup Instance::backup(const std::string &backup_name) const { return Backup(session_, project_, {name_}, backup_name); }

Snapshot::Snapshot(std::shared_ptr<api::Session> session, std::string project, std::string instance, std::string name)
    : session_(std::move(session)), project_(std::move(project)), instance_(std::move(instance)), name_(std::move(name)) {}

SnapshotInfo Snapshot::info(Etag *etag) const {
  auto reply = perform(session_, RowId::snapshot_get, at({instance_, name_}, project_));
  if (etag) *etag = reply.etag;
  return from_json<SnapshotInfo>(reply.metadata);
}
Operation Snapshot::rename(const std::string &new_name) {
  auto op = begin(session_, RowId::snapshot_post, with_body(at({instance_, name_}, project_), to_json(Rename{new_name})));
  name_ = new_name;
  return op;
}
Operation Snapshot::set_expiry(Time expires_at, const Etag &if_match) {
  return begin(session_, RowId::snapshot_put, with_body(at({instance_, name_}, project_), to_json(SnapshotUpdate{expires_at}), if_match));
}
Operation Snapshot::remove() { return begin(session_, RowId::snapshot_delete, at({instance_, name_}, project_)); }

} // namespace v0
} // namespace incus
