// SPDX-License-Identifier: Apache-2.0
#include "db/volumes.hpp"

#include "base/error.hpp"
#include "db/common.hpp"

namespace incus::db {

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
  c.query("SELECT v.id, j.name, v.name, v.description, n.name, v.type, v.creation_date, p.name" + from + "LEFT JOIN nodes n ON n.id = v.node_id " + which +
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

std::vector<VolumeSnapshotRow> volume_snapshots(Connection &c, std::int64_t volume_id) {
  std::vector<VolumeSnapshotRow> out;
  c.query(std::string("SELECT id, storage_volume_id, name, description, expiry_date, creation_date FROM storage_volumes_snapshots") +
              (volume_id ? " WHERE storage_volume_id = ?" : "") + " ORDER BY storage_volume_id, creation_date, id",
          volume_id ? std::vector<Value>{volume_id} : std::vector<Value>{}, [&](const Row &r) {
            VolumeSnapshotRow s;
            s.id = r.number(0);
            s.volume_id = r.number(1);
            s.name = r.text(2);
            s.description = r.text(3);
            if (!r.null(4)) s.expires_text = r.text(4);
            s.created_at = time_of(r, 5);
            out.push_back(std::move(s));
          });
  return out;
}

void insert_volume_snapshot(Connection &c, const VolumeSnapshotRow &s) {
  c.exec("INSERT INTO storage_volumes_snapshots (storage_volume_id, name, description, expiry_date, creation_date) VALUES (?, ?, ?, ?, ?)",
         {s.volume_id, s.name, s.description, s.expires_text.empty() ? Value(nullptr) : Value(s.expires_text), base::format_time(s.created_at)});
}
void update_volume_snapshot(Connection &c, const VolumeSnapshotRow &s) {
  c.exec("UPDATE storage_volumes_snapshots SET name = ?, description = ?, expiry_date = ? WHERE id = ?",
         {s.name, s.description, s.expires_text.empty() ? Value(nullptr) : Value(s.expires_text), s.id});
}
void delete_volume_snapshot(Connection &c, std::int64_t id) { c.exec("DELETE FROM storage_volumes_snapshots WHERE id = ?", {id}); }

void set_snapshot_description(Connection &c, std::int64_t id, const std::string &description) {
  c.exec("UPDATE instances_snapshots SET description = ? WHERE id = ?", {description, id});
}

} // namespace incus::db
