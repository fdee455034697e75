// SPDX-License-Identifier: Apache-2.0
#include "db/volumes.hpp"

#include "base/error.hpp"
#include "db/common.hpp"
#include "db/projects.hpp"

namespace incus::db {

const char *content_name(VolumeContent c) noexcept { return c == VolumeContent::block ? "block" : c == VolumeContent::iso ? "iso" : "filesystem"; }

std::optional<VolumeContent> content_of(std::string_view name) noexcept {
  for (auto c : {VolumeContent::filesystem, VolumeContent::block, VolumeContent::iso})
    if (name == content_name(c)) return c;
  return std::nullopt;
}

namespace {
void insert_config_of(Connection &c, const VolumeFull &v) {
  for (auto &[k, value] : v.config)
    if (!value.empty()) c.exec("INSERT INTO storage_volumes_config (storage_volume_id, key, value) VALUES (?, ?, ?)", {v.id, k, value});
}

std::vector<VolumeFull> load(Connection &c, const char *which, const std::vector<Value> &values) {
  const std::string from = std::string(" FROM storage_volumes v JOIN projects j ON j.id = v.project_id JOIN storage_pools p ON p.id = v.storage_pool_id ");
  std::vector<VolumeFull> out;
  std::map<std::int64_t, std::size_t> at;
  std::lock_guard lock(c.mutex());
  c.query("SELECT v.id, j.name, v.name, v.description, n.name, v.type, v.creation_date, p.name, v.content_type" + from + "LEFT JOIN nodes n ON n.id = v.node_id " + which +
              " ORDER BY v.type, v.name, j.name",
          values, [&](const Row &r) {
            VolumeFull v;
            v.id = r.number(0);
            v.project = r.text(1);
            v.name = r.text(2);
            v.description = r.text(3);
            v.location = r.text(4);
            v.type = static_cast<int>(r.number(5));
            v.created_at = time_of(r, 6);
            v.pool = r.text(7);
            v.content = r.number(8) == 1 ? VolumeContent::block : r.number(8) == 2 ? VolumeContent::iso : VolumeContent::filesystem;
            at[v.id] = out.size();
            out.push_back(std::move(v));
          });
  c.query("SELECT s.storage_volume_id, s.key, s.value FROM storage_volumes_config s WHERE s.storage_volume_id IN (SELECT v.id" + from + which + ")", values,
          [&](const Row &r) {
            if (auto it = at.find(r.number(0)); it != at.end()) out[it->second].config[r.text(1)] = r.text(2);
          });
  return out;
}
} // namespace

std::vector<VolumeFull> volumes_full(Connection &c, const std::string &pool) { return load(c, "WHERE p.name = ?", {pool}); }

std::optional<VolumeFull> volume(Connection &c, const std::string &pool, const std::string &project, int type, const std::string &name) {
  auto found = load(c, "WHERE p.name = ? AND j.name = ? AND v.type = ? AND v.name = ?", {pool, project, type, name});
  return found.empty() ? std::nullopt : std::optional(std::move(found[0]));
}

void insert_volume(Connection &c, const VolumeFull &v) {
  insert_volume(c, static_cast<const VolumeRow &>(v));
  auto fresh = v;
  fresh.id = c.last_id();
  if (v.content != VolumeContent::filesystem) c.exec("UPDATE storage_volumes SET content_type = ? WHERE id = ?", {static_cast<std::int64_t>(v.content), fresh.id});
  insert_config_of(c, fresh);
}

void update_volume(Connection &c, const VolumeFull &v) {
  c.exec("UPDATE storage_volumes SET description = ? WHERE id = ?", {v.description, v.id});
  c.exec("DELETE FROM storage_volumes_config WHERE storage_volume_id = ?", {v.id});
  insert_config_of(c, v);
}

std::vector<VolumeUser> volume_users(Connection &c, const std::string &pool) {
  std::vector<VolumeUser> out;
  c.query(R"(
    WITH disks AS (
      SELECT p.value AS pool, s.value AS source, i.project_id AS project, i.name AS name, 0 AS profile
        FROM instances_devices d
        JOIN instances_devices_config p ON p.instance_device_id = d.id AND p.key = 'pool'
        JOIN instances_devices_config s ON s.instance_device_id = d.id AND s.key = 'source'
        JOIN instances i ON i.id = d.instance_id
      UNION
      SELECT p.value, s.value, r.project_id, r.name, 1
        FROM profiles_devices d
        JOIN profiles_devices_config p ON p.profile_device_id = d.id AND p.key = 'pool'
        JOIN profiles_devices_config s ON s.profile_device_id = d.id AND s.key = 'source'
        JOIN profiles r ON r.id = d.profile_id
      UNION
      SELECT p.value, s.value, i.project_id, i.name, 0
        FROM profiles_devices d
        JOIN profiles_devices_config p ON p.profile_device_id = d.id AND p.key = 'pool'
        JOIN profiles_devices_config s ON s.profile_device_id = d.id AND s.key = 'source'
        JOIN instances_profiles ip ON ip.profile_id = d.profile_id
        JOIN instances i ON i.id = ip.instance_id
        WHERE NOT EXISTS (SELECT 1 FROM instances_devices o WHERE o.instance_id = i.id AND o.name = d.name))
    SELECT u.pool, u.source, projects.name, u.name, u.profile FROM disks u JOIN projects ON projects.id = u.project
      WHERE ?1 = '' OR u.pool = ?1 ORDER BY u.profile, projects.name, u.name)",
          {pool}, [&](const Row &r) { out.push_back({r.text(0), r.text(1), r.text(2), r.text(3), r.number(4) != 0}); });
  return out;
}

void move_volume_users(Connection &c, const VolumeFull &v, const std::string &pool, const std::string &name) {
  std::vector<std::string> projects;
  for (auto &p : project_names(c))
    if (project_of(c, p, "features.storage.volumes") == v.project) projects.push_back(p);
  struct Tables {
    const char *owners, *owner, *devices, *config, *device;
  };
  for (auto &t : {Tables{"instances", "instance_id", "instances_devices", "instances_devices_config", "instance_device_id"},
                  Tables{"profiles", "profile_id", "profiles_devices", "profiles_devices_config", "profile_device_id"}})
    for (auto &project : projects) {
      std::vector<std::int64_t> devices;
      c.query(fmt::format("SELECT d.id FROM {2} d JOIN {0} o ON o.id = d.{1} JOIN projects j ON j.id = o.project_id JOIN {3} p ON p.{4} = d.id AND p.key = 'pool' AND p.value = ? "
                          "JOIN {3} s ON s.{4} = d.id AND s.key = 'source' AND s.value = ? WHERE j.name = ?",
                          t.owners, t.owner, t.devices, t.config, t.device),
              {v.pool, v.name, project}, [&](const Row &r) { devices.push_back(r.number(0)); });
      for (auto id : devices) {
        c.exec(fmt::format("UPDATE {} SET value = ? WHERE {} = ? AND key = 'pool'", t.config, t.device), {pool, id});
        c.exec(fmt::format("UPDATE {} SET value = ? WHERE {} = ? AND key = 'source'", t.config, t.device), {name, id});
      }
    }
}

namespace {
std::vector<VolumeSnapshotRow> load_snapshots(Connection &c, const std::string &where, const std::vector<Value> &values) {
  std::vector<VolumeSnapshotRow> out;
  std::map<std::int64_t, std::size_t> at;
  std::lock_guard lock(c.mutex());
  c.query("SELECT s.id, s.storage_volume_id, s.name, s.description, s.expiry_date, s.creation_date FROM storage_volumes_snapshots s" + where +
              " ORDER BY s.storage_volume_id, s.creation_date, s.id",
          values, [&](const Row &r) {
            VolumeSnapshotRow s;
            s.id = r.number(0);
            s.volume_id = r.number(1);
            s.name = r.text(2);
            s.description = r.text(3);
            if (!r.null(4)) s.expires_text = r.text(4);
            s.created_at = time_of(r, 5);
            at[s.id] = out.size();
            out.push_back(std::move(s));
          });
  if (out.empty()) return out;
  c.query("SELECT k.storage_volume_snapshot_id, k.key, k.value FROM storage_volumes_snapshots_config k JOIN storage_volumes_snapshots s ON s.id = k.storage_volume_snapshot_id" + where,
          values, [&](const Row &r) {
            if (auto it = at.find(r.number(0)); it != at.end()) out[it->second].config[r.text(1)] = r.text(2);
          });
  return out;
}

void insert_snapshot_config(Connection &c, std::int64_t id, const Config &config) {
  for (auto &[k, v] : config)
    if (!v.empty()) c.exec("INSERT INTO storage_volumes_snapshots_config (storage_volume_snapshot_id, key, value) VALUES (?, ?, ?)", {id, k, v});
}

constexpr const char *volume_of_instance = "(SELECT v.id FROM storage_volumes v JOIN instances i ON i.project_id = v.project_id AND i.name = v.name WHERE v.type = 0 AND i.id = ?1)";
} // namespace

std::vector<VolumeSnapshotRow> volume_snapshots(Connection &c, std::int64_t volume_id) {
  return load_snapshots(c, volume_id ? " WHERE s.storage_volume_id = ?" : "", volume_id ? std::vector<Value>{volume_id} : std::vector<Value>{});
}

std::vector<VolumeSnapshotRow> instance_volume_snapshots(Connection &c, std::int64_t instance_id) {
  return load_snapshots(c, fmt::format(" WHERE s.storage_volume_id = {}", volume_of_instance), {instance_id});
}

std::set<std::string> volume_snapshot_names(Connection &c, std::int64_t volume_id) {
  std::set<std::string> out;
  c.query("SELECT name FROM storage_volumes_snapshots WHERE storage_volume_id = ?", {volume_id}, [&](const Row &r) { out.insert(r.text(0)); });
  return out;
}

void insert_volume_snapshot(Connection &c, const VolumeSnapshotRow &s) {
  c.exec("INSERT INTO storage_volumes_snapshots (storage_volume_id, name, description, expiry_date, creation_date) VALUES (?, ?, ?, ?, ?)",
         {s.volume_id, s.name, s.description, s.expires_text.empty() ? Value(nullptr) : Value(s.expires_text), base::format_time(s.created_at)});
  insert_snapshot_config(c, c.last_id(), s.config);
}
void insert_volume(Connection &c, const VolumeFull &v, std::vector<VolumeSnapshotRow> snapshots) {
  insert_volume(c, v);
  auto id = volume(c, v.pool, v.project, v.type, v.name)->id;
  for (auto &s : snapshots) {
    s.volume_id = id;
    insert_volume_snapshot(c, s);
  }
}
void update_volume_snapshot(Connection &c, const VolumeSnapshotRow &s) {
  c.exec("UPDATE storage_volumes_snapshots SET name = ?, description = ?, expiry_date = ? WHERE id = ?",
         {s.name, s.description, s.expires_text.empty() ? Value(nullptr) : Value(s.expires_text), s.id});
}
void delete_volume_snapshot(Connection &c, std::int64_t id) { c.exec("DELETE FROM storage_volumes_snapshots WHERE id = ?", {id}); }

void set_snapshot_volume(Connection &c, std::int64_t instance_id, const std::string &name, const VolumeSnapshotRow &like) {
  for (auto &s : load_snapshots(c, fmt::format(" WHERE s.storage_volume_id = {} AND s.name = ?2", volume_of_instance), {instance_id, name})) {
    c.exec("UPDATE storage_volumes_snapshots SET description = ? WHERE id = ?", {like.description, s.id});
    c.exec("DELETE FROM storage_volumes_snapshots_config WHERE storage_volume_snapshot_id = ?", {s.id});
    insert_snapshot_config(c, s.id, like.config);
  }
}

bool snapshot_rows_agree(Connection &c, std::int64_t instance_id) {
  bool agree = true;
  c.query(fmt::format("SELECT (SELECT count(*) FROM instances_snapshots WHERE instance_id = ?1) = "
                      "(SELECT count(*) FROM storage_volumes_snapshots s WHERE s.storage_volume_id = {0} AND s.name IN (SELECT name FROM instances_snapshots WHERE instance_id = ?1)) "
                      "AND NOT EXISTS (SELECT 1 FROM storage_volumes_snapshots s WHERE s.storage_volume_id = {0} AND s.name NOT IN (SELECT name FROM instances_snapshots WHERE instance_id = ?1))",
                      volume_of_instance),
          {instance_id}, [&](const Row &r) { agree = r.flag(0); });
  return agree;
}

void repair_snapshot_rows(Connection &c) {
  const std::string of_instances = " FROM instances_snapshots s JOIN instances i ON i.id = s.instance_id "
                                   "JOIN storage_volumes v ON v.type = 0 AND v.project_id = i.project_id AND v.name = i.name ";
  c.exec("INSERT INTO storage_volumes_snapshots (storage_volume_id, name, description, creation_date) SELECT v.id, s.name, 'Auto repaired', s.creation_date" + of_instances +
         "WHERE NOT EXISTS (SELECT 1 FROM storage_volumes_snapshots o WHERE o.storage_volume_id = v.id AND o.name = s.name)");
  c.exec("DELETE FROM storage_volumes_snapshots WHERE storage_volume_id IN (SELECT id FROM storage_volumes WHERE type = 0) AND NOT EXISTS (SELECT 1" + of_instances +
         "WHERE v.id = storage_volumes_snapshots.storage_volume_id AND s.name = storage_volumes_snapshots.name)");
}

} // namespace incus::db
