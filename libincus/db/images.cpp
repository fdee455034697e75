// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "base/names.hpp"
#include "db/common.hpp"
#include "db/projects.hpp"

namespace incus::db {

namespace {
constexpr const char *feature = "features.images";
std::int64_t owner_id(Connection &c, const std::string &project) { return project_id(c, project_of(c, project, feature)); }
std::int64_t image_type(const std::string &t) { return t == "virtual-machine" ? 1 : 0; }
const char *image_type_name(std::int64_t t) { return t == 1 ? "virtual-machine" : "container"; }

void insert_details(Connection &c, const ImageRow &i) {
  for (auto &[k, v] : i.properties) c.exec("INSERT INTO images_properties (image_id, key, value) VALUES (?, ?, ?)", {i.id, k, v});
  for (auto &name : i.profiles) {
    auto p = profile(c, i.asked.empty() ? i.project : i.asked, name);
    if (!p) base::fail(ErrorCode::not_found, "profile {} not found", base::quoted(name));
    c.exec("INSERT INTO images_profiles (image_id, profile_id) VALUES (?, ?)", {i.id, p->id});
  }
}
} // namespace

void use_default_profile(Connection &c, const std::string &project) {
  // Only who has profiles of its own and looks at the images of another project.
  if (project_of(c, project, feature) == project || project_of(c, project, "features.profiles") != project) return;
  c.exec("INSERT OR IGNORE INTO images_profiles (image_id, profile_id) SELECT i.id, f.id FROM images i JOIN projects j ON j.id = i.project_id "
         "JOIN profiles f ON f.name = 'default' JOIN projects k ON k.id = f.project_id WHERE j.name = ? AND k.name = ?",
         {project_of(c, project, feature), project});
}

std::vector<ImageRow> images(Connection &c, const std::string &project, const std::optional<std::string> &fingerprint) {
  std::vector<ImageRow> out;
  std::lock_guard lock(c.mutex());
  auto owner = project_of(c, project, feature);
  std::vector<Value> args{owner};
  if (fingerprint) args.emplace_back(*fingerprint);
  c.query(std::string("SELECT i.id, i.fingerprint, i.filename, i.size, i.public, i.architecture, i.creation_date, i.expiry_date, i.upload_date, i.cached, "
                      "i.last_use_date, i.auto_update, i.type FROM images i JOIN projects j ON j.id = i.project_id WHERE j.name = ?") +
              (fingerprint ? " AND i.fingerprint = ?" : "") + " ORDER BY i.id",
          args, [&](const Row &r) {
            ImageRow i;
            i.id = r.number(0);
            i.asked = project;
            i.project = owner;
            i.fingerprint = r.text(1);
            i.filename = r.text(2);
            i.size = r.number(3);
            i.public_ = r.flag(4);
            i.architecture = architecture_name(r.number(5));
            i.created_at = time_of(r, 6);
            i.expires_at = time_of(r, 7);
            i.uploaded_at = time_of(r, 8);
            i.cached = r.flag(9);
            i.last_used_at = time_of(r, 10);
            i.auto_update = r.flag(11);
            i.type = image_type_name(r.number(12));
            out.push_back(std::move(i));
          });
  std::unordered_map<std::int64_t, ImageRow *> by_id;
  for (auto &i : out) by_id[i.id] = &i;
  auto find = [&](std::int64_t id) -> ImageRow * {
    auto it = by_id.find(id);
    return it == by_id.end() ? nullptr : it->second;
  };
  if (out.empty()) return out;
  // Of one image, or of all at once.
  const char *which = out.size() == 1 ? " WHERE image_id = ?" : "";
  auto only = out.size() == 1 ? std::vector<Value>{out[0].id} : std::vector<Value>{};
  c.query(std::string("SELECT image_id, key, value FROM images_properties") + which, only, [&](const Row &r) {
    if (auto *i = find(r.number(0))) i->properties[r.text(1)] = r.text(2);
  });
  c.query(std::string("SELECT image_id, name, description FROM images_aliases") + which + " ORDER BY name", only, [&](const Row &r) {
    if (auto *i = find(r.number(0))) i->aliases.push_back({r.text(1), r.text(2)});
  });
  c.query(std::string("SELECT image_id, server, protocol, certificate, alias FROM images_source") + which, only, [&](const Row &r) {
    if (auto *i = find(r.number(0))) i->origin = ImageOrigin{r.text(4), r.text(3), r.number(2) == 1 ? "direct" : r.number(2) == 2 ? "simplestreams" : "incus", r.text(1), i->type};
  });
  // An image of "default" that other projects use has profiles of each of them.
  c.query("SELECT ip.image_id, p.name FROM images_profiles ip JOIN profiles p ON p.id = ip.profile_id JOIN projects j ON j.id = p.project_id "
          "WHERE j.name = ? ORDER BY p.id",
          {project_of(c, project, "features.profiles")}, [&](const Row &r) {
            if (auto *i = find(r.number(0))) i->profiles.push_back(r.text(1));
          });
  return out;
}

bool have_image(Connection &c, const std::string &fingerprint) {
  bool found = false;
  c.query("SELECT 1 FROM images WHERE fingerprint = ? LIMIT 1", {fingerprint}, [&](const Row &) { found = true; });
  return found;
}

std::int64_t insert_image(Connection &c, const ImageRow &i) {
  c.exec("INSERT INTO images (fingerprint, filename, size, public, architecture, creation_date, expiry_date, upload_date, cached, auto_update, type, project_id) "
         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
         {i.fingerprint, i.filename, i.size, std::int64_t(i.public_), architecture_id(i.architecture), time_value(i.created_at), time_value(i.expires_at),
          base::format_time(i.uploaded_at), std::int64_t(i.cached), std::int64_t(i.auto_update), image_type(i.type), owner_id(c, i.project)});
  ImageRow n = i;
  n.id = c.last_id();
  insert_details(c, n);
  if (i.profiles == std::vector<std::string>{"default"})
    for (auto &p : project_names(c))
      if (project_of(c, p, feature) == project_of(c, i.project, feature) && project_of(c, p, "features.profiles") == p)
        c.exec("INSERT OR IGNORE INTO images_profiles (image_id, profile_id) SELECT ?, f.id FROM profiles f JOIN projects j ON j.id = f.project_id "
               "WHERE f.name = 'default' AND j.name = ?",
               {n.id, p});
  c.exec("INSERT INTO images_nodes (image_id, node_id) VALUES (?, 1)", {n.id});
  return n.id;
}

void update_image(Connection &c, const ImageRow &i) {
  c.exec("UPDATE images SET public = ?, auto_update = ?, expiry_date = ?, filename = ? WHERE id = ?",
         {std::int64_t(i.public_), std::int64_t(i.auto_update), time_value(i.expires_at), i.filename, i.id});
  c.exec("DELETE FROM images_properties WHERE image_id = ?", {i.id});
  c.exec("DELETE FROM images_profiles WHERE image_id = ? AND profile_id IN (SELECT id FROM profiles WHERE project_id = ?)",
         {i.id, project_id(c, project_of(c, i.asked.empty() ? i.project : i.asked, "features.profiles"))});
  insert_details(c, i);
}

void set_image_origin(Connection &c, std::int64_t id, const ImageOrigin &o) {
  c.exec("DELETE FROM images_source WHERE image_id = ?", {id});
  c.exec("INSERT INTO images_source (image_id, server, protocol, certificate, alias) VALUES (?, ?, ?, ?, ?)",
         {id, o.server, std::int64_t(o.protocol == "direct" ? 1 : o.protocol == "simplestreams" ? 2 : 0), o.certificate, o.alias});
}
void mark_cached(Connection &c, std::int64_t id) { c.exec("UPDATE images SET cached = 1 WHERE id = ?", {id}); }
void touch_image(Connection &c, std::int64_t id, Time last_used) {
  c.exec("UPDATE images SET last_use_date = ? WHERE id = ?", {time_value(last_used), id});
}
bool delete_unused_image(Connection &c, std::int64_t id, Time unused_since) {
  bool unused = false;
  c.query("SELECT cached, last_use_date, upload_date FROM images WHERE id = ?", {id}, [&](const Row &r) {
    auto used = time_of(r, 1);
    unused = r.flag(0) && (used == Time() ? time_of(r, 2) : used) <= unused_since;
  });
  if (unused) delete_image(c, id);
  return unused;
}
void delete_image(Connection &c, std::int64_t id) { c.exec("DELETE FROM images WHERE id = ?", {id}); }

std::vector<AliasRow> aliases(Connection &c, const std::string &project, const std::optional<std::string> &name) {
  std::vector<AliasRow> out;
  std::vector<Value> args{project_of(c, project, feature)};
  if (name) args.emplace_back(*name);
  c.query(std::string("SELECT a.name, a.description, i.fingerprint, i.type FROM images_aliases a JOIN images i ON i.id = a.image_id "
                      "JOIN projects j ON j.id = a.project_id WHERE j.name = ?") +
              (name ? " AND a.name = ?" : "") + " ORDER BY a.name",
          args, [&](const Row &r) { out.push_back({r.text(0), r.text(1), r.text(2), image_type_name(r.number(3))}); });
  return out;
}

namespace {
std::int64_t image_id(Connection &c, const std::string &project, const std::string &fingerprint) {
  std::int64_t id = 0;
  c.query("SELECT i.id FROM images i JOIN projects j ON j.id = i.project_id WHERE j.name = ? AND i.fingerprint = ?", {project_of(c, project, feature), fingerprint},
          [&](const Row &r) { id = r.number(0); });
  if (!id) base::fail(ErrorCode::not_found, "image {} not found", base::quoted(fingerprint));
  return id;
}
} // namespace

void insert_alias(Connection &c, const std::string &project, const AliasRow &a) {
  c.exec("INSERT INTO images_aliases (name, image_id, description, project_id) VALUES (?, ?, ?, ?)",
         {a.name, image_id(c, project, a.fingerprint), a.description, owner_id(c, project)});
}
void update_alias(Connection &c, const std::string &project, const AliasRow &a) {
  c.exec("UPDATE images_aliases SET image_id = ?, description = ? WHERE project_id = ? AND name = ?",
         {image_id(c, project, a.fingerprint), a.description, owner_id(c, project), a.name});
}
void rename_alias(Connection &c, const std::string &project, const std::string &name, const std::string &new_name) {
  c.exec("UPDATE images_aliases SET name = ? WHERE project_id = ? AND name = ?", {new_name, owner_id(c, project), name});
}
void delete_alias(Connection &c, const std::string &project, const std::string &name) {
  c.exec("DELETE FROM images_aliases WHERE project_id = ? AND name = ?", {owner_id(c, project), name});
}

std::vector<PoolRow> pools(Connection &c, const std::optional<std::string> &name) {
  std::vector<PoolRow> out;
  std::lock_guard lock(c.mutex());
  std::vector<Value> args;
  if (name) args.emplace_back(*name);
  c.query(std::string("SELECT id, name, driver, description, state FROM storage_pools") + (name ? " WHERE name = ?" : "") + " ORDER BY name", args,
          [&](const Row &r) { out.push_back({r.number(0), r.text(1), r.text(2), r.text(3), {}, static_cast<int>(r.number(4))}); });
  for (auto &p : out)
    c.query("SELECT key, value FROM storage_pools_config WHERE storage_pool_id = ?", {p.id}, [&](const Row &r) { p.config[r.text(0)] = r.text(1); });
  return out;
}

namespace {
void insert_pool_config(Connection &c, std::int64_t id, const Config &config) {
  for (auto &[k, v] : config)
    if (!v.empty()) c.exec("INSERT INTO storage_pools_config (storage_pool_id, node_id, key, value) VALUES (?, 1, ?, ?)", {id, k, v});
}
} // namespace

std::int64_t insert_pool(Connection &c, const PoolRow &p) {
  c.exec("INSERT INTO storage_pools (name, driver, description, state) VALUES (?, ?, ?, ?)", {p.name, p.driver, p.description, std::int64_t(p.state)});
  auto id = c.last_id();
  c.exec("INSERT INTO storage_pools_nodes (storage_pool_id, node_id, state) VALUES (?, 1, ?)", {id, std::int64_t(p.state)});
  insert_pool_config(c, id, p.config);
  return id;
}
void update_pool(Connection &c, const PoolRow &p) {
  c.exec("UPDATE storage_pools SET description = ? WHERE id = ?", {p.description, p.id});
  c.exec("DELETE FROM storage_pools_config WHERE storage_pool_id = ?", {p.id});
  insert_pool_config(c, p.id, p.config);
}
void set_pool_state(Connection &c, std::int64_t id, int state) {
  c.exec("UPDATE storage_pools SET state = ? WHERE id = ?", {std::int64_t(state), id});
  c.exec("UPDATE storage_pools_nodes SET state = ? WHERE storage_pool_id = ?", {std::int64_t(state), id});
}
void delete_pool(Connection &c, std::int64_t id) { c.exec("DELETE FROM storage_pools WHERE id = ?", {id}); }

std::vector<VolumeRow> volumes(Connection &c, const std::optional<std::string> &pool) {
  std::vector<VolumeRow> out;
  std::vector<Value> args;
  if (pool) args.emplace_back(*pool);
  c.query(std::string("SELECT j.name, v.name, p.name, v.description, n.name, v.type, v.creation_date FROM storage_volumes v JOIN projects j ON j.id = v.project_id "
                      "JOIN storage_pools p ON p.id = v.storage_pool_id LEFT JOIN nodes n ON n.id = v.node_id") +
              (pool ? " WHERE p.name = ?" : "") + " ORDER BY v.type, v.name",
          args, [&](const Row &r) {
            VolumeRow v;
            v.project = r.text(0);
            v.name = r.text(1);
            v.pool = r.text(2);
            v.description = r.text(3);
            v.location = r.text(4);
            v.type = static_cast<int>(r.number(5));
            v.created_at = time_of(r, 6);
            out.push_back(std::move(v));
          });
  return out;
}

void insert_volume(Connection &c, const VolumeRow &v) {
  c.exec("INSERT INTO storage_volumes (name, storage_pool_id, node_id, type, description, project_id, creation_date) "
         "SELECT ?, id, 1, ?, ?, ?, ? FROM storage_pools WHERE name = ?",
         {v.name, std::int64_t(v.type), v.description, project_id(c, v.project), base::format_time(v.created_at), v.pool});
}
void rename_volume(Connection &c, const std::string &project, const std::string &name, int type, const std::string &new_name) {
  c.exec("UPDATE storage_volumes SET name = ? WHERE project_id = ? AND name = ? AND type = ?", {new_name, project_id(c, project), name, std::int64_t(type)});
}
void delete_volume(Connection &c, const std::string &pool, const std::string &project, const std::string &name, int type) {
  c.exec("DELETE FROM storage_volumes WHERE storage_pool_id = (SELECT id FROM storage_pools WHERE name = ?) AND project_id = ? AND name = ? AND type = ?",
         {pool, project_id(c, project), name, std::int64_t(type)});
}

} // namespace incus::db
