// SPDX-License-Identifier: Apache-2.0
// Profiles and storage pools.
#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "api/access.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "db/projects.hpp"
#include "device/device.hpp"
#include "embed/engine.hpp"
#include "embed/merge.hpp"
#include "instance/keys.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {
/// `project`: whose the objects are, when that is not the one asked for.
template <class T, class F>
api::Reply listing(const api::Request &q, const std::vector<T> &all, const char *prefix, F name, const std::string &project = {}) {
  json::array out;
  auto owner = project.empty() ? q.project() : project;
  for (auto &o : all) {
    if (q.recursion() == 0)
      out.emplace_back(std::string(prefix) + name(o) + (owner == "default" ? "" : "?project=" + owner));
    else
      out.push_back(api::to_json(o));
  }
  return {std::move(out), {}, {}};
}

Etag etag(const ProfileInfo &p) { return etag_of({api::to_json(p.config), p.description, api::to_json(p.devices)}); }
Etag etag(const StoragePoolInfo &p) { return etag_of({p.name, p.driver, p.description, api::to_json(p.config)}); }
} // namespace

namespace {
ProfileInfo to_info(db::Connection &c, const db::ProfileRow &row) {
  ProfileInfo p{row.config, row.description, row.devices, row.name, {}, row.project};
  for (auto &[project, names] : db::profile_users(c, row.id))
    for (auto &u : names) p.used_by.push_back("/1.0/instances/" + u + (project == "default" ? "" : "?project=" + project));
  return p;
}

void validate(db::Connection &c, const std::string &name, const Config &config, const Devices &devices) {
  instance::validate_instance_config(config, "profile " + base::quoted(name), true);
  device::validate_all(name, devices, true, {[&](const std::string &pool) { return !db::pools(c, pool).empty(); }, nullptr});
}

db::ProfileRow row_of(db::Connection &c, const std::string &project, const std::string &name) {
  db::project_id(c, project);
  auto p = db::profile(c, project, name);
  if (!p) base::fail(ErrorCode::not_found, "profile {} not found", base::quoted(name));
  return *p;
}

std::string profile_url(const std::string &project, const std::string &name) {
  return "/1.0/profiles/" + name + (project == "default" ? "" : "?project=" + project);
}

template <class M> void without_empty(M &m) {
  std::erase_if(m, [](auto &kv) { return kv.second.empty(); });
}
} // namespace

api::Reply Engine::profiles_get(api::Request &q) {
  std::vector<std::string> owners{q.project()};
  if (q.flag("all-projects")) {
    owners = db::project_names(*global_);
    // A project without profiles of its own is seen by those of "default" there, once.
    std::erase_if(owners, [&](auto &p) { return !q.may_use(p) || db::project_of(*global_, p, "features.profiles") != p; });
  }
  json::array out;
  for (auto &owner : owners) {
    db::project_id(*global_, owner);
    for (auto &row : db::profiles(*global_, owner)) {
      if (q.recursion() == 0) {
        out.emplace_back(profile_url(row.project, row.name));
        continue;
      }
      auto p = to_info(*global_, row);
      api::filter_used_by(q, p.used_by);
      out.push_back(api::to_json(p));
    }
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::profiles_post(api::Request &q) {
  auto r = api::from_json<ProfileCreate>(q.body);
  db::project_id(*global_, q.project());
  base::ProfileName::parse(r.name);
  validate(*global_, r.name, r.config, r.devices);
  if (auto it = r.config.find("raw.lxc"); it != r.config.end()) runtime_->validate_raw(it->second);
  if (db::profile(*global_, q.project(), r.name)) base::fail(ErrorCode::already_exists, "profile {} already exists", base::quoted(r.name));
  without_empty(r.config);
  global_->transaction([&] { db::insert_profile(*global_, {0, q.project(), r.name, r.description, r.config, r.devices}); });
  events_.lifecycle("profile-created", profile_url(q.project(), r.name), q.project());
  return {};
}

api::Reply Engine::profile_get(api::Request &q) {
  auto p = to_info(*global_, row_of(*global_, q.project(), q.path[0]));
  api::filter_used_by(q, p.used_by);
  return {api::to_json(p), etag(p), {}};
}

void Engine::change_profile(const std::string &project, const std::string &name, const std::function<ProfileUpdate(const ProfileInfo &)> &change) {
  // By project: instances of projects without profiles of their own use those of "default".
  std::map<std::string, std::map<std::string, instance::Expanded>> before;
  std::map<std::string, std::vector<std::string>> users;
  global_->transaction([&] {
    before.clear();
    auto row = row_of(*global_, project, name);
    users = db::profile_users(*global_, row.id);
    for (auto &[p, names] : users)
      for (auto &u : names) before[p][u] = instances_->expand(instances_->row(p, u));
    auto to = change(to_info(*global_, row));
    without_empty(to.config);
    for (auto &[n, d] : to.devices) without_empty(d);
    validate(*global_, name, to.config, to.devices);
    if (auto it = to.config.find("raw.lxc"); it != to.config.end()) runtime_->validate_raw(it->second);
    row.config = to.config;
    row.devices = to.devices;
    row.description = to.description;
    db::update_profile(*global_, row);
    for (auto &[p, names] : users) instances_->validate_users(p, names);
  });
  for (auto &[p, names] : users) instances_->profile_changed(p, names, before[p]);
  events_.lifecycle("profile-updated", profile_url(project, name), project);
}

api::Reply Engine::profile_put(api::Request &q) {
  auto to = api::from_json<ProfileUpdate>(q.body);
  change_profile(q.project(), q.path[0], [&](const ProfileInfo &now) {
    check_match(q.if_match, etag(now), "profile " + base::quoted(q.path[0]));
    return to;
  });
  return {};
}

api::Reply Engine::profile_patch(api::Request &q) {
  ProfilePatch patch(q.body);
  change_profile(q.project(), q.path[0], [&](const ProfileInfo &now) {
    check_match(q.if_match, etag(now), "profile " + base::quoted(q.path[0]));
    return patch.to(now);
  });
  return {};
}

api::Reply Engine::profile_post(api::Request &q) {
  auto to = api::from_json<api::Rename>(q.body).name;
  auto row = row_of(*global_, q.project(), q.path[0]);
  if (row.name == "default") base::fail(ErrorCode::forbidden, "the profile \"default\" cannot be renamed");
  base::ProfileName::parse(to);
  if (db::profile(*global_, q.project(), to)) base::fail(ErrorCode::already_exists, "profile {} already exists", base::quoted(to));
  global_->transaction([&] { db::rename_profile(*global_, row.id, to); });
  events_.lifecycle("profile-renamed", profile_url(q.project(), to), q.project(), {{"old_name", row.name}});
  return {};
}

api::Reply Engine::profile_delete(api::Request &q) {
  auto row = row_of(*global_, q.project(), q.path[0]);
  if (row.name == "default") base::fail(ErrorCode::forbidden, "the profile \"default\" cannot be deleted");
  global_->transaction([&] {
    auto users = db::profile_users(*global_, row.id);
    if (!users.empty())
      base::fail(ErrorCode::conflict, "cannot delete profile {}: it is in use by instance {}", base::quoted(row.name),
                 base::quoted(users.begin()->second.at(0)));
    db::delete_profile(*global_, row.id);
  });
  events_.lifecycle("profile-deleted", profile_url(q.project(), row.name), q.project());
  return {};
}

namespace {
/// A restricted caller sees neither the users of other projects nor where a pool lies.
void restrict_pool(const api::Request &q, StoragePoolInfo &p) {
  if (q.from_admin()) return;
  api::filter_used_by(q, p.used_by);
  p.config.clear();
}
} // namespace

api::Reply Engine::pools_get(api::Request &q) {
  auto all = pools_->list();
  for (auto &p : all) restrict_pool(q, p);
  return listing(q, all, "/1.0/storage-pools/", [](auto &p) { return p.name; }, "default");
}

api::Reply Engine::pools_post(api::Request &q) {
  auto r = api::from_json<StoragePoolCreate>(q.body);
  pools_->create(r);
  events_.lifecycle("storage-pool-created", "/1.0/storage-pools/" + r.name, "");
  return {};
}

api::Reply Engine::pool_get(api::Request &q) {
  auto p = pools_->info(q.path[0]);
  auto tag = etag(p);
  restrict_pool(q, p);
  return {api::to_json(p), tag, {}};
}

api::Reply Engine::pool_put(api::Request &q) {
  check_match(q.if_match, etag(pools_->info(q.path[0])), "storage pool " + base::quoted(q.path[0]));
  pools_->update(q.path[0], api::from_json<StoragePoolUpdate>(q.body));
  events_.lifecycle("storage-pool-updated", "/1.0/storage-pools/" + q.path[0], "");
  return {};
}

api::Reply Engine::pool_delete(api::Request &q) {
  pools_->remove(q.path[0]);
  events_.lifecycle("storage-pool-deleted", "/1.0/storage-pools/" + q.path[0], "");
  return {};
}

api::Reply Engine::pool_resources_get(api::Request &q) { return {api::to_json(pools_->resources(q.path[0])), {}, {}}; }

} // namespace incus::embed
