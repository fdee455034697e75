// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "embed/body.hpp"
#include "embed/engine.hpp"
#include "embed/instance_urls.hpp"
#include "embed/merge.hpp"

namespace incus::embed {

namespace json = boost::json;

std::string instance_url(const std::string &project, const std::string &rest) {
  return "/1.0/instances/" + rest + (project == "default" ? "" : "?project=" + project);
}

OperationSpec instance_operation(const api::Request &q, const char *description, const std::string &name, bool may_cancel) {
  OperationSpec s;
  s.description = description;
  s.project = q.project();
  s.resources["instances"] = {instance_url(s.project, name)};
  s.may_cancel = may_cancel;
  return s;
}

std::int64_t to_number(const std::string &text, const char *what) {
  if (text.empty() || text.size() > 12 || text.find_first_not_of("0123456789") != std::string::npos)
    base::fail(ErrorCode::invalid_argument, "invalid {} {}: must be a whole number", what, base::quoted(text));
  return std::stoll(text);
}

const char *state_change_description(const std::string &action) {
  const char *description = action == "start"      ? "Starting instance"
                            : action == "stop"     ? "Stopping instance"
                            : action == "restart"  ? "Restarting instance"
                            : action == "freeze"   ? "Freezing instance"
                            : action == "unfreeze" ? "Unfreezing instance"
                                                   : nullptr;
  if (!description) base::fail(ErrorCode::invalid_argument, "unknown action {}: must be start, stop, restart, freeze or unfreeze", base::quoted(action));
  return description;
}

namespace {

std::string url(const std::string &project, const std::string &rest) { return instance_url(project, rest); }

OperationSpec spec(const api::Request &q, const char *description, const std::string &name, bool may_cancel = false) {
  return instance_operation(q, description, name, may_cancel);
}

Etag etag(const InstanceInfo &i) {
  return etag_of({i.architecture, api::to_json(i.config), api::to_json(i.devices), i.ephemeral, api::to_json(i.profiles), i.description});
}

Etag etag(const SnapshotInfo &s) { return etag_of(api::to_json(s.expires_at)); }

/// Clients get the time zone back that they gave.
json::value snapshot_json(instance::Manager &instances, const api::Request &q, const SnapshotInfo &s) {
  auto v = api::to_json(s);
  if (s.expires_at == Time{}) return v;
  if (auto text = instances.snapshot_expiry(q.project(), q.path[0], s.name); !text.empty()) v.get_object()["expires_at"] = text;
  return v;
}

/// What expires_at of a change says: absent: nothing; "": never.
std::optional<std::string> new_expiry(const json::value &body, bool patch) {
  auto *o = body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "invalid change of a snapshot: must be an object");
  auto *v = o->if_contains("expires_at");
  if (!v || v->is_null()) return patch ? std::nullopt : std::optional<std::string>("");
  auto text = api::from_json<std::string>(*v);
  return base::parse_time(text) == Time{} ? "" : text;
}


} // namespace

api::Reply Engine::instances_get(api::Request &q) {
  std::vector<std::string> projects{q.project()};
  if (q.flag("all-projects")) {
    if (q.query.count("project")) base::fail(ErrorCode::invalid_argument, "Cannot specify a project when requesting all projects");
    projects.clear();
    for (auto &p : db::project_names(*global_))
      if (q.may_use(p)) projects.push_back(p);
  }
  auto type = q.query.find("instance-type");
  if (type != q.query.end() && type->second == "virtual-machine") projects.clear();
  auto all = [&](auto list) {
    decltype(list(projects[0])) out;
    for (auto &p : projects) {
      auto some = list(p);
      out.insert(out.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
    }
    return out;
  };
  auto brief = [&](const std::string &p) { return instances_->list(p); };
  auto full = [&](const std::string &p) { return instances_->list_full(p); };
  if (q.want_record && q.recursion() == 1) return {{}, {}, {}, all(brief)};
  if (q.want_record && q.recursion() == 2) return {{}, {}, {}, all(full)};
  json::storage_ptr sp = json::make_shared_resource<json::monotonic_resource>();
  json::array out(sp);
  if (q.recursion() == 0)
    for (auto &p : projects)
      for (auto &n : instances_->names(p)) out.emplace_back(url(p, n));
  else if (q.recursion() == 1)
    for (auto &i : all(brief)) out.push_back(api::to_json_instance(i, sp));
  else
    for (auto &i : all(full)) out.push_back(api::to_json_full(i, sp));
  return {json::value(std::move(out)), {}, {}};
}

api::Reply Engine::instances_post(api::Request &q) {
  if (q.stream("body") >= 0) return import_instance(q);
  auto r = api::from_json<InstanceCreate>(q.body);
  // As if it were not there.
  if (!r.source.project.empty() && r.source.server.empty() && !q.may_use(r.source.project)) base::fail(ErrorCode::not_found, "project {} not found", base::quoted(r.source.project));
  auto &from = r.source;
  if (from.type == "migration")
    base::fail(ErrorCode::not_supported, "instances cannot be copied or moved between servers yet: publish the instance as an image and copy that");
  if (!from.server.empty() || from.type == "image") check_source(from.server, from.protocol, from.mode);
  if (from.type == "copy")
    if (auto answer = refresh_instance(q, r)) return std::move(*answer);
  instances_->check_create(q.project(), r);
  auto s = spec(q, r.start ? "Creating and starting instance" : "Creating instance", r.name);
  s.may_cancel = !from.server.empty();
  return async(std::move(s), [this, project = q.project(), r, caller = q.caller](TaskOperation &op) mutable {
    if (!r.source.server.empty()) {
      auto fingerprint = image_for_instance(op, project, r.source, caller);
      r.source = {};
      r.source.type = "image";
      r.source.fingerprint = fingerprint;
    }
    instances_->create(project, r, report_to(op));
  });
}

api::Reply Engine::instance_get(api::Request &q) {
  auto i = instances_->info(q.project(), q.path[0]);
  if (q.recursion() == 0) return {api::to_json_instance(i), etag(i), {}};
  InstanceFull f;
  f.state = instances_->state(q.project(), q.path[0]);
  f.snapshots = instances_->snapshots(q.project(), q.path[0]);
  auto tag = etag(i);
  f.info = std::move(i);
  auto v = api::to_json_full(f);
  if (auto backups = instance_backups(q.project(), q.path[0]); !backups.empty()) v.get_object()["backups"] = json::array(backups.begin(), backups.end());
  return {std::move(v), tag, {}};
}

api::Reply Engine::instance_put(api::Request &q) {
  auto to = api::from_json<InstanceUpdate>(q.body);
  auto name = q.path[0], project = q.project();
  auto what = "instance " + base::quoted(name);
  check_match(q.if_match, etag(instances_->info(project, name)), what);
  if (!to.restore.empty()) {
    // Some clients name it with its instance, as URLs do.
    auto wanted = to.restore.starts_with(name + "/") ? to.restore.substr(name.size() + 1) : to.restore;
    auto snapshot = base::SnapshotName::parse(wanted).str();
    instances_->snapshot(project, name, snapshot);
    return async(spec(q, "Restoring snapshot", name),
                 [this, project, name, snapshot](TaskOperation &op) { instances_->restore(project, name, snapshot, report_to(op)); });
  }
  return async(spec(q, "Updating instance", name), [this, project, name, to, what, match = q.if_match](TaskOperation &) {
    instances_->update(project, name, [&](const InstanceInfo &now) {
      check_match(match, etag(now), what);
      return to;
    });
  });
}

api::Reply Engine::instance_patch(api::Request &q) {
  InstancePatch patch(q.body);
  instances_->update(q.project(), q.path[0], [&](const InstanceInfo &now) {
    check_match(q.if_match, etag(now), "instance " + base::quoted(q.path[0]));
    return patch.to(now);
  });
  return {};
}

/// A copy that is to bring up to date what is there; nothing when it is not that.
std::optional<api::Reply> Engine::refresh_instance(api::Request &q, const InstanceCreate &r) {
  auto *o = q.body.if_object();
  auto *source = o && o->contains("source") ? o->at("source").if_object() : nullptr;
  if (!source || !flag_of(*source, "refresh") || r.name.empty() || !db::instance(*global_, q.project(), r.name)) return std::nullopt;
  if (r.source.source.find('/') != std::string::npos) base::fail(ErrorCode::invalid_argument, "cannot refresh instance {} from a snapshot", base::quoted(r.name));
  instance::Manager::RefreshSource from{r.source.project.empty() ? q.project() : r.source.project, r.source.source, r.source.instance_only, flag_of(*source, "refresh_exclude_older")};
  instances_->check_refresh(q.project(), r.name, from.project, from.name);
  return async(spec(q, "Refreshing instance", r.name), [this, project = q.project(), name = r.name, from, start = r.start](TaskOperation &op) {
    instances_->refresh(project, name, from, report_to(op));
    if (start) instances_->change_state(project, name, {"start"});
  });
}

api::Reply Engine::instance_post(api::Request &q) {
  auto &o = fields_of(q);
  auto name = q.path[0], project = q.project();
  auto given = [&](const char *key) {
    auto *v = o.if_contains(key);
    return v && !v->is_null() ? v : nullptr;
  };
  auto text = [&](const char *key) { return given(key) ? api::from_json<std::string>(*given(key)) : std::string(); };
  instance::Manager::InstanceMove to;
  to.name = text("name").empty() ? name : text("name");
  base::InstanceName::parse(to.name);
  to.pool = text("pool");
  to.project = text("project");
  to.instance_only = given("instance_only") && api::from_json<bool>(*given("instance_only"));
  if (given("config")) to.config = api::from_json<Config>(*given("config"));
  if (given("devices")) to.devices = api::from_json<Devices>(*given("devices"));
  if (given("profiles")) to.profiles = api::from_json<std::vector<std::string>>(*given("profiles"));
  if (given("target")) base::fail(ErrorCode::not_supported, "cannot migrate instance {} to another server: that is not supported yet", base::quoted(name));
  if (!to.project.empty() && !q.may_use(to.project)) base::fail(ErrorCode::not_found, "project {} not found", base::quoted(to.project));
  bool rename_only = to.pool.empty() && to.project.empty() && !to.instance_only && !to.config && !to.devices && !to.profiles;
  if (rename_only) {
    if (given("migration") && api::from_json<bool>(*given("migration")))
      base::fail(ErrorCode::not_supported, "cannot migrate instance {}: migration to another server is not supported yet", base::quoted(name));
    if (text("name").empty()) base::InstanceName::parse("");
  } else {
    instances_->check_move(project, name, to);
  }
  instances_->row(project, name);
  auto s = spec(q, rename_only ? "Renaming instance" : "Migrating instance", name);
  s.resources["instances"].push_back(url(to.project.empty() ? project : to.project, to.name));
  return async(std::move(s), [this, project, name, to, rename_only](TaskOperation &op) {
    if (rename_only)
      instances_->rename(project, name, to.name);
    else
      instances_->move(project, name, to, report_to(op));
  });
}

api::Reply Engine::instance_delete(api::Request &q) {
  auto name = q.path[0], project = q.project();
  auto i = instances_->info(project, name);
  if (i.status != "Stopped") base::fail(ErrorCode::conflict, "cannot delete instance {}: Instance is running; stop it first", base::quoted(name));
  return async(spec(q, "Deleting instance", name), [this, project, name](TaskOperation &) { instances_->remove(project, name); });
}

api::Reply Engine::instance_state_get(api::Request &q) { return {api::to_json_state(instances_->state(q.project(), q.path[0])), {}, {}}; }

api::Reply Engine::instance_state_put(api::Request &q) {
  auto c = api::from_json<InstanceStateChange>(q.body);
  auto name = q.path[0], project = q.project();
  auto *description = state_change_description(c.action);
  instances_->row(project, name);
  return async(spec(q, description, name), [this, project, name, c](TaskOperation &) { instances_->change_state(project, name, c); });
}

api::Reply Engine::instance_ready_get(api::Request &q) {
  auto level = q.query.count("level") ? q.query.at("level") : "booted";
  auto wanted = level == "exec"      ? ReadyLevel::exec
                : level == "booted"  ? ReadyLevel::booted
                : level == "network" ? ReadyLevel::network
                                     : throw Error(ErrorCode::invalid_argument, "unknown level " + base::quoted(level) + ": must be exec, booted or network");
  auto timeout = q.query.count("timeout") ? to_number(q.query.at("timeout"), "timeout") : 60000;
  instances_->wait_ready(q.project(), q.path[0], wanted, std::chrono::milliseconds(timeout));
  return {};
}

api::Reply Engine::snapshots_get(api::Request &q) {
  json::array out;
  for (auto &s : instances_->snapshots(q.project(), q.path[0])) {
    if (q.recursion() == 0)
      out.emplace_back(url(q.project(), q.path[0] + "/snapshots/" + s.name));
    else
      out.push_back(snapshot_json(*instances_, q, s));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::snapshots_post(api::Request &q) {
  auto r = api::from_json<SnapshotCreate>(q.body);
  auto name = q.path[0], project = q.project();
  auto snapshot = instances_->check_snapshot(project, name, r);
  auto s = spec(q, "Snapshotting instance", name);
  s.resources["instances_snapshots"] = {url(project, name + "/snapshots/" + snapshot)};
  return async(std::move(s), [this, project, name, r](TaskOperation &op) { instances_->create_snapshot(project, name, r, report_to(op)); });
}

api::Reply Engine::snapshot_get(api::Request &q) {
  auto s = instances_->snapshot(q.project(), q.path[0], q.path[1]);
  return {snapshot_json(*instances_, q, s), etag(s), {}};
}

api::Reply Engine::snapshot_put(api::Request &q) { return change_snapshot(q, false); }
api::Reply Engine::snapshot_patch(api::Request &q) { return change_snapshot(q, true); }

api::Reply Engine::change_snapshot(api::Request &q, bool patch) {
  auto expiry = new_expiry(q.body, patch);
  check_match(q.if_match, etag(instances_->snapshot(q.project(), q.path[0], q.path[1])), "snapshot " + base::quoted(q.path[1]));
  auto s = spec(q, "Updating snapshot", q.path[0]);
  s.resources["instances_snapshots"] = {url(q.project(), q.path[0] + "/snapshots/" + q.path[1])};
  return async(std::move(s), [this, project = q.project(), path = q.path, expiry](TaskOperation &) {
    if (expiry) instances_->set_snapshot_expiry(project, path[0], path[1], *expiry);
  });
}

api::Reply Engine::snapshot_post(api::Request &q) {
  auto r = api::from_json<api::Rename>(q.body);
  base::SnapshotName::parse(r.name);
  instances_->snapshot(q.project(), q.path[0], q.path[1]);
  return async(spec(q, "Renaming snapshot", q.path[0]),
               [this, project = q.project(), path = q.path, r](TaskOperation &) { instances_->rename_snapshot(project, path[0], path[1], r.name); });
}

api::Reply Engine::snapshot_delete(api::Request &q) {
  instances_->snapshot(q.project(), q.path[0], q.path[1]);
  return async(spec(q, "Deleting snapshot", q.path[0]),
               [this, project = q.project(), path = q.path](TaskOperation &) { instances_->remove_snapshot(project, path[0], path[1]); });
}

} // namespace incus::embed
