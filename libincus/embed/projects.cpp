// SPDX-License-Identifier: Apache-2.0
#include "db/projects.hpp"

#include <boost/json.hpp>

#include "api/access.hpp"
#include "api/records_trust.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/config_keys.hpp"
#include "embed/engine.hpp"
#include "embed/merge.hpp"

namespace incus::embed {

namespace json = boost::json;

const json::object &fields_of(const api::Request &q) { return fields_of(q.body); }

namespace {

std::string url(const std::string &name) { return "/1.0/projects/" + name; }
Etag etag(const db::ProjectRow &p) { return etag_of({api::to_json(p.description), api::to_json(p.config)}); }

ProjectInfo to_info(db::Connection &c, const db::ProjectRow &p) { return {p.config, p.description, p.name, db::project_used_by(c, p)}; }

bool feature(const Config &config, const char *key) {
  auto it = config.find(key);
  return it != config.end() && schema::truthy(it->second);
}

/// What a project holds beside its default profile.
std::vector<std::string> contents(db::Connection &c, const db::ProjectRow &p) {
  auto all = db::project_used_by(c, p);
  std::erase(all, "/1.0/profiles/default" + (p.name == "default" ? std::string() : "?project=" + p.name));
  return all;
}

void check_empty(db::Connection &c, const db::ProjectRow &p, const char *what) {
  auto all = contents(c, p);
  if (!all.empty())
    base::fail(ErrorCode::conflict, "cannot {} project {}: it is not empty, {}{} is in it", what, base::quoted(p.name), all[0],
               all.size() > 1 ? fmt::format(" and {} more", all.size() - 1) : "");
}

void insert_default_profile(db::Connection &c, const std::string &project) {
  db::ProfileRow p;
  p.project = project;
  p.name = "default";
  p.description = "Default Incus profile for project " + project;
  db::insert_profile(c, p);
}

/// Profiles appear and go with their feature; called with the new configuration stored.
void follow_features(db::Connection &c, const db::ProjectRow &p, const Config &before) {
  bool had = feature(before, "features.profiles"), has = feature(p.config, "features.profiles");
  if (has && !had) insert_default_profile(c, p.name);
  if (had && !has) c.exec("DELETE FROM profiles WHERE project_id = ? AND name = 'default'", {p.id});
  // Images of another project come with the default profile of this one.
  if (!feature(p.config, "features.images") && has && (!had || feature(before, "features.images"))) db::use_default_profile(c, p.name);
}

void check_feature_changes(db::Connection &c, const db::ProjectRow &now, const Config &to) {
  for (auto &f : project_features()) {
    bool was = feature(now.config, f.key), will = feature(to, f.key);
    if (was == will) continue;
    if (now.name == "default") base::fail(ErrorCode::invalid_argument, "the features of the project \"default\" cannot be changed ({})", f.key);
    if (was || !f.can_enable_nonempty) check_empty(c, now, fmt::format("turn {} {} for", f.key, was ? "off" : "on").c_str());
  }
}

} // namespace

api::Reply Engine::projects_get(api::Request &q) {
  json::array out;
  for (auto &p : db::projects(*global_)) {
    if (!q.may_use(p.name)) continue;
    if (q.recursion() == 0)
      out.emplace_back(url(p.name));
    else
      out.push_back(api::to_json(to_info(*global_, p)));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::projects_post(api::Request &q) {
  auto r = api::from_json<api::ProjectCreate>(q.body);
  base::ProjectName::parse(r.name);
  for (auto &f : project_features())
    if (f.by_default) r.config.emplace(f.key, "true");
  validate_project_config(r.config, r.name);
  std::erase_if(r.config, [](auto &kv) { return kv.second.empty(); });
  global_->transaction([&] {
    if (!db::projects(*global_, r.name).empty()) base::fail(ErrorCode::already_exists, "project {} already exists", base::quoted(r.name));
    db::ProjectRow p{0, r.name, r.description, r.config};
    p.id = db::insert_project(*global_, p);
    follow_features(*global_, p, {});
  });
  events_.lifecycle("project-created", url(r.name), r.name);
  api::Reply reply;
  reply.location = url(r.name);
  reply.status = 201;
  return reply;
}

api::Reply Engine::project_get(api::Request &q) {
  api::require_project(q, q.path[0]);
  auto p = db::project(*global_, q.path[0]);
  return {api::to_json(to_info(*global_, p)), etag(p), {}};
}

void Engine::change_project(api::Request &q, const std::function<void(Config &config, std::string &description)> &change) {
  global_->transaction([&] {
    auto p = db::project(*global_, q.path[0]);
    check_match(q.if_match, etag(p), "project " + base::quoted(p.name));
    auto before = p.config;
    change(p.config, p.description);
    validate_project_config(p.config, p.name);
    std::erase_if(p.config, [](auto &kv) { return kv.second.empty(); });
    auto to = p.config;
    p.config = before;
    check_feature_changes(*global_, p, to);
    p.config = to;
    db::update_project(*global_, p);
    follow_features(*global_, p, before);
  });
  events_.lifecycle("project-updated", url(q.path[0]), q.path[0]);
}

api::Reply Engine::project_put(api::Request &q) {
  auto to = api::from_json<api::ProjectUpdate>(q.body);
  change_project(q, [&](Config &config, std::string &description) {
    config = to.config;
    description = to.description;
  });
  return {};
}

api::Reply Engine::project_patch(api::Request &q) {
  auto patch = api::from_json<api::ProjectUpdate>(q.body);
  bool described = fields_of(q).contains("description");
  change_project(q, [&](Config &config, std::string &description) {
    for (auto &[k, v] : patch.config) config[k] = v;
    if (described) description = patch.description;
  });
  return {};
}

api::Reply Engine::project_post(api::Request &q) {
  auto name = q.path[0], to = api::from_json<api::Rename>(q.body).name;
  if (name == "default") base::fail(ErrorCode::forbidden, "the project \"default\" cannot be renamed");
  base::ProjectName::parse(to);
  db::project(*global_, name);
  OperationSpec s;
  s.description = "Renaming project";
  s.project.clear(); // the server's: whoever waits listens to another project
  s.resources["projects"] = {url(name)};
  return async(std::move(s), [this, name, to](TaskOperation &) {
    global_->transaction([&] {
      auto p = db::project(*global_, name);
      check_empty(*global_, p, "rename");
      if (!db::projects(*global_, to).empty()) base::fail(ErrorCode::already_exists, "project {} already exists", base::quoted(to));
      db::rename_project(*global_, p.id, to);
    });
    trust_generation_++;
    events_.lifecycle("project-renamed", url(to), to, {{"old_name", name}});
  });
}

void Engine::empty_project(const std::string &name) {
  for (auto &i : db::instances(*global_, name)) {
    auto info = instances_->info(name, i.name);
    if (info.status != "Stopped") {
      InstanceStateChange stop;
      stop.action = "stop";
      stop.force = true;
      instances_->change_state(name, i.name, stop);
    }
    auto protect = info.expanded_config.find("security.protection.delete");
    if (protect != info.expanded_config.end() && schema::truthy(protect->second))
      global_->transaction([&] { db::set_instance_config(*global_, i.id, {{"security.protection.delete", "false"}}); });
    // An ephemeral instance went with its stop.
    if (db::instance(*global_, name, i.name)) instances_->remove(name, i.name);
  }
  if (db::project_of(*global_, name, "features.storage.volumes") == name)
    for (auto &pool : db::pools(*global_))
      for (auto &v : db::volumes_full(*global_, pool.name))
        if (v.type == 2 && v.project == name) volumes_->remove(pool.name, name, v.name);
  if (db::project_of(*global_, name, "features.images") == name)
    for (auto &i : db::images(*global_, name)) images_->remove(name, i.fingerprint);
  if (db::project_of(*global_, name, "features.profiles") == name)
    global_->transaction([&] {
      for (auto &p : db::profiles(*global_, name))
        if (p.name != "default") db::delete_profile(*global_, p.id);
    });
}

api::Reply Engine::project_delete(api::Request &q) {
  auto name = q.path[0];
  if (name == "default") base::fail(ErrorCode::forbidden, "the project \"default\" cannot be deleted");
  db::project(*global_, name);
  if (q.flag("force")) empty_project(name);
  global_->transaction([&] {
    auto p = db::project(*global_, name);
    check_empty(*global_, p, "delete");
    db::delete_project(*global_, p.id);
  });
  trust_generation_++;
  events_.lifecycle("project-deleted", url(name), name);
  return {};
}

api::Reply Engine::project_state_get(api::Request &q) {
  api::require_project(q, q.path[0]);
  auto p = db::project(*global_, q.path[0]);
  std::map<std::string, std::int64_t> used{{"containers", 0}, {"virtual-machines", 0}, {"instances", 0}, {"networks", 0},
                                           {"cpu", 0},        {"memory", 0},           {"disk", 0},      {"processes", 0}};
  for (auto &i : instances_->list(p.name)) {
    used["instances"]++;
    used[i.type == "virtual-machine" ? "virtual-machines" : "containers"]++;
    auto value = [&](const char *key) {
      auto it = i.expanded_config.find(key);
      return it == i.expanded_config.end() ? std::string() : it->second;
    };
    // What an instance is limited to; what has no limit counts nothing, nor does a share or a list of CPUs by number.
    if (auto v = value("limits.memory"); schema::is_size(v).empty()) used["memory"] += schema::parse_size(v);
    if (auto v = value("limits.cpu"); !v.empty() && schema::is_uint32(v).empty()) used["cpu"] += std::stoll(v);
    if (auto v = value("limits.processes"); !v.empty() && schema::is_uint32(v).empty()) used["processes"] += std::stoll(v);
    for (auto &[name, d] : i.expanded_devices)
      if (auto size = d.find("size"); size != d.end() && d.count("path") && d.at("path") == "/") used["disk"] += schema::parse_size(size->second);
  }
  global_->query("SELECT count(*) FROM networks WHERE project_id = ?", {p.id}, [&](const db::Row &r) { used["networks"] = r.number(0); });
  json::object resources;
  for (auto &[kind, n] : used) {
    auto limit = p.config.find("limits." + kind);
    resources[kind] = {{"Limit", limit == p.config.end() ? -1 : std::stoll(limit->second)}, {"Usage", n}};
  }
  return {json::object{{"resources", std::move(resources)}}, {}, {}};
}

} // namespace incus::embed
