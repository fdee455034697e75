// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <sys/utsname.h>
#include <unistd.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace json = boost::json;

ServerInfo Engine::server_info() {
  ServerInfo s;
  s.api_status = "stable";
  s.api_version = "1.0";
  for (auto *e : api::extensions()) s.api_extensions.push_back(e);
  s.auth = "trusted";
  s.auth_methods = {"tls"};
  utsname u{};
  ::uname(&u);
  json::object e;
  e["architectures"] = json::array{image::host_architecture()};
  e["driver"] = "lxc";
  e["kernel"] = u.sysname;
  e["kernel_architecture"] = u.machine;
  e["kernel_version"] = u.release;
  e["server"] = "incus";
  e["server_name"] = u.nodename;
  e["server_pid"] = ::getpid();
  e["server_version"] = INCUS_VERSION;
  e["server_clustered"] = false;
  e["project"] = "default";
  json::array drivers;
  for (auto &d : pools_->driver_names()) drivers.push_back({{"Name", d}, {"Version", "1"}, {"Remote", false}});
  e["storage_supported_drivers"] = std::move(drivers);
  std::string names;
  std::set<std::string> used;
  for (auto &p : db::pools(*global_)) used.insert(p.driver);
  for (auto &d : used) names += (names.empty() ? "" : " | ") + d;
  e["storage"] = names;
  s.environment.text = json::serialize(e);
  return s;
}

api::Reply Engine::server_get(api::Request &) {
  auto info = server_info();
  return {api::to_json(info), etag_of(api::to_json(info.config)), {}};
}

namespace {
ProjectInfo project_info(db::Connection &c, const std::string &name) {
  auto id = db::project_id(c, name);
  ProjectInfo p;
  p.name = name;
  c.query("SELECT description FROM projects WHERE id = ?", {id}, [&](const db::Row &r) { p.description = r.text(0); });
  c.query("SELECT key, value FROM projects_config WHERE project_id = ?", {id}, [&](const db::Row &r) { p.config[r.text(0)] = r.text(1); });
  for (auto &i : db::instance_names(c, name)) p.used_by.push_back("/1.0/instances/" + i);
  for (auto &i : db::images(c, name)) p.used_by.push_back("/1.0/images/" + i.fingerprint);
  for (auto &i : db::profiles(c, name)) p.used_by.push_back("/1.0/profiles/" + i.name);
  return p;
}
} // namespace

api::Reply Engine::projects_get(api::Request &q) {
  json::array out;
  for (auto &n : db::project_names(*global_)) {
    if (q.recursion() == 0)
      out.emplace_back("/1.0/projects/" + n);
    else
      out.push_back(api::to_json(project_info(*global_, n)));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::project_get(api::Request &q) {
  auto p = project_info(*global_, q.path[0]);
  return {api::to_json(p), etag_of({api::to_json(p.description), api::to_json(p.config)}), {}};
}

api::Reply Engine::check_get(api::Request &) {
  std::vector<std::string> problems;
  pools_->check(problems);
  images_->check(problems);
  instances_->check(problems);
  return {json::object{{"problems", api::to_json(problems)}}, {}, {}};
}

} // namespace incus::embed
