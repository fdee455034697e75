// SPDX-License-Identifier: Apache-2.0
#include "db/projects.hpp"

#include <map>

#include "base/error.hpp"
#include "base/names.hpp"
#include "schema/schema.hpp"

namespace incus::db {

std::vector<ProjectRow> projects(Connection &c, const std::optional<std::string> &name) {
  std::vector<ProjectRow> out;
  std::lock_guard lock(c.mutex());
  c.query(std::string("SELECT id, name, description FROM projects") + (name ? " WHERE name = ?" : "") + " ORDER BY name",
          name ? std::vector<Value>{*name} : std::vector<Value>{}, [&](const Row &r) { out.push_back({r.number(0), r.text(1), r.text(2), {}}); });
  std::map<std::int64_t, ProjectRow *> by_id;
  for (auto &p : out) by_id[p.id] = &p;
  if (out.empty()) return out;
  c.query(std::string("SELECT project_id, key, value FROM projects_config") + (name ? " WHERE project_id = ?" : ""),
          name ? std::vector<Value>{out[0].id} : std::vector<Value>{}, [&](const Row &r) {
            if (auto it = by_id.find(r.number(0)); it != by_id.end()) it->second->config[r.text(1)] = r.text(2);
          });
  return out;
}

ProjectRow project(Connection &c, const std::string &name) {
  auto all = projects(c, name);
  if (all.empty()) base::fail(ErrorCode::not_found, "project {} not found", base::quoted(name));
  return std::move(all[0]);
}

namespace {
void insert_config(Connection &c, std::int64_t id, const Config &config) {
  for (auto &[k, v] : config)
    if (!v.empty()) c.exec("INSERT INTO projects_config (project_id, key, value) VALUES (?, ?, ?)", {id, k, v});
}
} // namespace

std::int64_t insert_project(Connection &c, const ProjectRow &p) {
  c.exec("INSERT INTO projects (name, description) VALUES (?, ?)", {p.name, p.description});
  auto id = c.last_id();
  insert_config(c, id, p.config);
  return id;
}

void update_project(Connection &c, const ProjectRow &p) {
  c.exec("UPDATE projects SET description = ? WHERE id = ?", {p.description, p.id});
  c.exec("DELETE FROM projects_config WHERE project_id = ?", {p.id});
  insert_config(c, p.id, p.config);
}

void rename_project(Connection &c, std::int64_t id, const std::string &name) { c.exec("UPDATE projects SET name = ? WHERE id = ?", {name, id}); }
void delete_project(Connection &c, std::int64_t id) { c.exec("DELETE FROM projects WHERE id = ?", {id}); }

std::string project_of(Connection &c, const std::string &project, const char *feature) {
  if (project == "default") return project;
  bool exists = false, own = false;
  c.query("SELECT IFNULL(k.value, '') FROM projects p LEFT JOIN projects_config k ON k.project_id = p.id AND k.key = ? WHERE p.name = ?",
          {std::string(feature), project}, [&](const Row &r) {
            exists = true;
            own = schema::truthy(r.text(0));
          });
  return exists && !own ? "default" : project;
}

std::vector<std::string> project_used_by(Connection &c, const ProjectRow &p) {
  std::vector<std::string> out;
  auto query = p.name == "default" ? std::string() : "?project=" + p.name;
  auto add = [&](const char *sql, const char *prefix) {
    c.query(sql, {p.id}, [&](const Row &r) { out.push_back(std::string(prefix) + r.text(0) + query); });
  };
  std::lock_guard lock(c.mutex());
  add("SELECT name FROM instances WHERE project_id = ? ORDER BY name", "/1.0/instances/");
  add("SELECT fingerprint FROM images WHERE project_id = ? ORDER BY id", "/1.0/images/");
  add("SELECT name FROM networks WHERE project_id = ? ORDER BY name", "/1.0/networks/");
  add("SELECT name FROM profiles WHERE project_id = ? ORDER BY name", "/1.0/profiles/");
  add("SELECT p.name || '/buckets/' || b.name FROM storage_buckets b JOIN storage_pools p ON p.id = b.storage_pool_id WHERE b.project_id = ? ORDER BY 1",
      "/1.0/storage-pools/");
  add("SELECT p.name || '/volumes/custom/' || v.name FROM storage_volumes v JOIN storage_pools p ON p.id = v.storage_pool_id "
      "WHERE v.type = 2 AND v.project_id = ? ORDER BY 1",
      "/1.0/storage-pools/");
  return out;
}

} // namespace incus::db
