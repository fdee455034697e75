// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <cstdlib>

#include "base/error.hpp"
#include "base/names.hpp"
#include "db/common.hpp"

namespace incus::db {

namespace {

std::vector<InstanceRow> load(Connection &c, const std::string &where, const std::vector<Value> &args, bool one) {
  std::vector<InstanceRow> out;
  std::lock_guard lock(c.mutex());
  c.query("SELECT i.id, j.name, i.name, i.description, n.name, i.architecture, i.ephemeral, i.stateful, i.creation_date, i.last_use_date "
          "FROM instances i JOIN projects j ON j.id = i.project_id JOIN nodes n ON n.id = i.node_id" +
              where + " ORDER BY j.name, i.name",
          args, [&](const Row &r) {
            InstanceRow i;
            i.id = r.number(0);
            i.project = r.text(1);
            i.name = r.text(2);
            i.description = r.text(3);
            i.location = r.text(4);
            i.architecture = architecture_name(r.number(5));
            i.ephemeral = r.flag(6);
            i.stateful = r.flag(7);
            i.created_at = time_of(r, 8);
            i.last_used_at = time_of(r, 9);
            out.push_back(std::move(i));
          });
  if (out.empty()) return out;
  std::unordered_map<std::int64_t, InstanceRow *> by_id;
  for (auto &i : out) by_id[i.id] = &i;
  std::int64_t only = one ? out[0].id : 0;
  // Rows of one instance come one after the other.
  std::int64_t last_id = 0;
  InstanceRow *last = nullptr;
  auto find = [&](std::int64_t id) -> InstanceRow * {
    if (id == last_id) return last;
    auto it = by_id.find(id);
    last_id = id;
    return last = it == by_id.end() ? nullptr : it->second;
  };
  load_config(c, instance_tables, only, [&](std::int64_t id, std::string &&k, std::string &&v) {
    if (auto *i = find(id)) i->config.emplace_hint(i->config.end(), std::move(k), std::move(v));
  });
  load_devices(c, instance_tables, only, [&](std::int64_t id) { return find(id) ? &find(id)->devices : nullptr; });
  c.query(std::string("SELECT ip.instance_id, p.name FROM instances_profiles ip JOIN profiles p ON p.id = ip.profile_id") +
              (only ? " WHERE ip.instance_id = ?" : "") + " ORDER BY ip.instance_id, ip.apply_order",
          only ? std::vector<Value>{only} : std::vector<Value>{}, [&](const Row &r) {
            if (auto *i = find(r.number(0))) i->profiles.push_back(r.text(1));
          });
  return out;
}

void insert_profiles(Connection &c, const InstanceRow &i) {
  std::int64_t order = 0;
  for (auto &name : i.profiles) {
    auto p = profile(c, i.project, name);
    if (!p) base::fail(ErrorCode::not_found, "profile {} not found", base::quoted(name));
    c.exec("INSERT INTO instances_profiles (instance_id, profile_id, apply_order) VALUES (?, ?, ?)", {i.id, p->id, ++order});
  }
}

std::vector<std::string> names_of(const std::string &text) {
  std::vector<std::string> out;
  auto v = boost::json::parse(text);
  for (auto &e : v.as_array()) out.emplace_back(e.as_string());
  return out;
}

} // namespace

std::vector<InstanceRow> instances(Connection &c, const std::string &project, const std::optional<std::string> &name) {
  if (name) return load(c, " WHERE j.name = ? AND i.name = ?", {project, *name}, true);
  if (project.empty()) return load(c, "", {}, false);
  return load(c, " WHERE j.name = ?", {project}, false);
}

std::optional<InstanceRow> instance(Connection &c, const std::string &project, const std::string &name) {
  auto all = instances(c, project, name);
  return all.empty() ? std::nullopt : std::optional(std::move(all[0]));
}

std::optional<InstanceRow> instance(Connection &c, std::int64_t id) {
  auto all = load(c, " WHERE i.id = ?", {id}, true);
  return all.empty() ? std::nullopt : std::optional(std::move(all[0]));
}

std::vector<std::string> instance_names(Connection &c, const std::string &project) {
  std::vector<std::string> out;
  c.query("SELECT i.name FROM instances i JOIN projects j ON j.id = i.project_id WHERE j.name = ? ORDER BY i.name", {project},
          [&](const Row &r) { out.push_back(r.text(0)); });
  return out;
}

void check_instance_limits(Connection &c, const std::string &project) {
  std::int64_t have = -1;
  c.query("SELECT k.key, k.value FROM projects_config k JOIN projects p ON p.id = k.project_id "
          "WHERE p.name = ? AND k.key IN ('limits.instances', 'limits.containers')",
          {project}, [&](const Row &r) {
            if (have < 0)
              c.query("SELECT count(*) FROM instances i JOIN projects p ON p.id = i.project_id WHERE p.name = ?", {project},
                      [&](const Row &n) { have = n.number(0); });
            if (have >= std::strtoll(r.text(1).c_str(), nullptr, 10))
              base::fail(ErrorCode::forbidden, "project {} is full: {} is {}", base::quoted(project), r.text(0), r.text(1));
          });
}

std::int64_t insert_instance(Connection &c, const InstanceRow &i) {
  check_instance_limits(c, i.project);
  c.exec("INSERT INTO instances (id, node_id, name, architecture, type, ephemeral, creation_date, stateful, last_use_date, description, project_id) "
         "VALUES (?, 1, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
         {i.id ? Value(i.id) : Value(nullptr), i.name, architecture_id(i.architecture), std::int64_t(i.ephemeral), base::format_time(i.created_at), std::int64_t(i.stateful),
          time_value(i.last_used_at), i.description, project_id(c, i.project)});
  InstanceRow n = i;
  n.id = c.last_id();
  insert_config(c, instance_tables, n.id, n.config);
  insert_devices(c, instance_tables, n.id, n.devices);
  insert_profiles(c, n);
  return n.id;
}

void update_instance(Connection &c, const InstanceRow &i) {
  c.exec("UPDATE instances SET description = ?, ephemeral = ?, architecture = ?, stateful = ? WHERE id = ?",
         {i.description, std::int64_t(i.ephemeral), architecture_id(i.architecture), std::int64_t(i.stateful), i.id});
  clear_config(c, instance_tables, i.id);
  clear_devices(c, instance_tables, i.id);
  c.exec("DELETE FROM instances_profiles WHERE instance_id = ?", {i.id});
  insert_config(c, instance_tables, i.id, i.config);
  insert_devices(c, instance_tables, i.id, i.devices);
  insert_profiles(c, i);
}

void set_instance_config(Connection &c, std::int64_t id, const Config &changes) {
  for (auto &[k, v] : changes) {
    if (v.empty())
      c.exec("DELETE FROM instances_config WHERE instance_id = ? AND key = ?", {id, k});
    else
      c.exec("INSERT INTO instances_config (instance_id, key, value) VALUES (?, ?, ?) "
             "ON CONFLICT (instance_id, key) DO UPDATE SET value = excluded.value",
             {id, k, v});
  }
}

void touch_instance(Connection &c, std::int64_t id, Time last_used) {
  c.exec("UPDATE instances SET last_use_date = ? WHERE id = ?", {time_value(last_used), id});
}
void rename_instance(Connection &c, std::int64_t id, const std::string &name) { c.exec("UPDATE instances SET name = ? WHERE id = ?", {name, id}); }
void place_instance(Connection &c, std::int64_t id, const std::string &project, const std::string &name) {
  c.exec("UPDATE instances SET project_id = ?, name = ? WHERE id = ?", {project_id(c, project), name, id});
}
void delete_instance(Connection &c, std::int64_t id) { c.exec("DELETE FROM instances WHERE id = ?", {id}); }

namespace {
std::vector<SnapshotRow> load_snapshots(Connection &c, const std::string &where, const std::vector<Value> &args, bool one) {
  std::vector<SnapshotRow> out;
  std::lock_guard lock(c.mutex());
  c.query("SELECT s.id, s.instance_id, s.name, s.creation_date, s.stateful, s.description, s.expiry_date, s.architecture, s.ephemeral, s.profiles FROM instances_snapshots s" + where +
              " ORDER BY s.instance_id, s.creation_date, s.id",
          args, [&](const Row &r) {
            SnapshotRow s;
            s.id = r.number(0);
            s.instance_id = r.number(1);
            s.name = r.text(2);
            s.created_at = time_of(r, 3);
            s.stateful = r.flag(4);
            s.description = r.text(5);
            s.expires_at = time_of(r, 6);
            if (s.expires_at != Time{}) s.expires_text = r.text(6);
            s.architecture = architecture_name(r.number(7));
            s.ephemeral = r.flag(8);
            s.profiles = names_of(r.text(9));
            out.push_back(std::move(s));
          });
  if (out.empty()) return out;
  std::unordered_map<std::int64_t, SnapshotRow *> by_id;
  for (auto &s : out) by_id[s.id] = &s;
  if (!one && !where.empty() && out.size() > 8) {
    // Those of one instance among those of many: two statements, whatever their number.
    c.query("SELECT k.instance_snapshot_id, k.key, k.value FROM instances_snapshots_config k JOIN instances_snapshots s ON s.id = k.instance_snapshot_id" + where, args,
            [&](const Row &r) { by_id.at(r.number(0))->config.emplace(r.text(1), r.text(2)); });
    c.query("SELECT d.instance_snapshot_id, d.name, k.key, k.value FROM instances_snapshots_devices d "
            "LEFT JOIN instances_snapshots_devices_config k ON k.instance_snapshot_device_id = d.id JOIN instances_snapshots s ON s.id = d.instance_snapshot_id" + where,
            args, [&](const Row &r) {
              auto &device = by_id.at(r.number(0))->devices[r.text(1)];
              if (!r.null(2)) device[r.text(2)] = r.text(3);
            });
    return out;
  }
  for (auto &s : out) {
    if (where.empty()) break; // all of them are loaded at once below
    load_config(c, snapshot_tables, s.id, [&](std::int64_t, std::string &&k, std::string &&v) { s.config.emplace(std::move(k), std::move(v)); });
    load_devices(c, snapshot_tables, s.id, [&](std::int64_t) { return &s.devices; });
  }
  if (where.empty()) {
    load_config(c, snapshot_tables, 0, [&](std::int64_t id, std::string &&k, std::string &&v) {
      if (by_id.count(id)) by_id[id]->config.emplace(std::move(k), std::move(v));
    });
    load_devices(c, snapshot_tables, 0, [&](std::int64_t id) { return by_id.count(id) ? &by_id[id]->devices : nullptr; });
  }
  return out;
}

/// The snapshot of the instance's volume that goes with snapshot ?1.
constexpr const char *volume_snapshot = "storage_volumes_snapshots WHERE id = (SELECT o.id FROM storage_volumes_snapshots o JOIN storage_volumes v ON v.id = o.storage_volume_id "
                                        "JOIN instances i ON i.project_id = v.project_id AND i.name = v.name JOIN instances_snapshots s ON s.instance_id = i.id AND s.name = o.name "
                                        "WHERE v.type = 0 AND s.id = ?1)";
} // namespace

std::vector<SnapshotRow> snapshots(Connection &c, std::int64_t instance_id) {
  if (!instance_id) return load_snapshots(c, "", {}, false);
  return load_snapshots(c, " WHERE s.instance_id = ?", {instance_id}, false);
}

std::optional<SnapshotRow> snapshot(Connection &c, std::int64_t instance_id, const std::string &name) {
  auto found = load_snapshots(c, " WHERE s.instance_id = ? AND s.name = ?", {instance_id, name}, true);
  return found.empty() ? std::nullopt : std::optional(std::move(found[0]));
}

void insert_snapshot(Connection &c, const SnapshotRow &s) {
  boost::json::array profiles;
  for (auto &p : s.profiles) profiles.emplace_back(p);
  c.exec("INSERT INTO instances_snapshots (instance_id, name, creation_date, stateful, description, expiry_date, architecture, ephemeral, profiles) "
         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
         {s.instance_id, s.name, base::format_time(s.created_at), std::int64_t(s.stateful), s.description,
          s.expires_text.empty() ? time_value(s.expires_at) : Value(s.expires_text), architecture_id(s.architecture), std::int64_t(s.ephemeral), boost::json::serialize(profiles)});
  auto id = c.last_id();
  insert_config(c, snapshot_tables, id, s.config);
  insert_devices(c, snapshot_tables, id, s.devices);
  c.exec("INSERT INTO storage_volumes_snapshots (storage_volume_id, name, description, creation_date) SELECT v.id, ?2, v.description, ?3 FROM storage_volumes v "
         "JOIN instances i ON i.project_id = v.project_id AND i.name = v.name WHERE v.type = 0 AND i.id = ?1",
         {s.instance_id, s.name, base::format_time(s.created_at)});
  c.exec("INSERT INTO storage_volumes_snapshots_config (storage_volume_snapshot_id, key, value) SELECT o.id, k.key, k.value FROM storage_volumes_snapshots o "
         "JOIN storage_volumes v ON v.id = o.storage_volume_id JOIN storage_volumes_config k ON k.storage_volume_id = v.id "
         "JOIN instances i ON i.project_id = v.project_id AND i.name = v.name WHERE v.type = 0 AND i.id = ?1 AND o.name = ?2",
         {s.instance_id, s.name});
}

void rename_snapshot(Connection &c, std::int64_t id, const std::string &name) {
  auto at = std::string(volume_snapshot);
  c.exec("UPDATE storage_volumes_snapshots SET name = ?2" + at.substr(at.find(" WHERE")), {id, name});
  c.exec("UPDATE instances_snapshots SET name = ? WHERE id = ?", {name, id});
}
void set_snapshot_expiry(Connection &c, std::int64_t id, const std::string &expires_at) {
  c.exec("UPDATE instances_snapshots SET expiry_date = ? WHERE id = ?", {expires_at.empty() ? Value(nullptr) : Value(expires_at), id});
}
void delete_snapshot(Connection &c, std::int64_t id) {
  c.exec(std::string("DELETE FROM ") + volume_snapshot, {id});
  c.exec("DELETE FROM instances_snapshots WHERE id = ?", {id});
}

} // namespace incus::db
