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

namespace {
/// Counts that the project allows; called in the transaction that adds one more.
void check_limits(Connection &c, const std::string &project) {
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
} // namespace

std::int64_t insert_instance(Connection &c, const InstanceRow &i) {
  check_limits(c, i.project);
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
void delete_instance(Connection &c, std::int64_t id) { c.exec("DELETE FROM instances WHERE id = ?", {id}); }

std::vector<SnapshotRow> snapshots(Connection &c, std::int64_t instance_id) {
  std::vector<SnapshotRow> out;
  std::lock_guard lock(c.mutex());
  std::vector<Value> args;
  if (instance_id) args.emplace_back(instance_id);
  c.query(std::string("SELECT id, instance_id, name, creation_date, stateful, description, expiry_date, architecture, ephemeral, profiles "
                      "FROM instances_snapshots") +
              (instance_id ? " WHERE instance_id = ?" : "") + " ORDER BY instance_id, creation_date, id",
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
  for (auto &s : out) {
    // One instance has few snapshots; all of them are loaded at once below.
    if (!instance_id) break;
    load_config(c, snapshot_tables, s.id, [&](std::int64_t, std::string &&k, std::string &&v) { s.config.emplace(std::move(k), std::move(v)); });
    load_devices(c, snapshot_tables, s.id, [&](std::int64_t) { return &s.devices; });
  }
  if (!instance_id) {
    load_config(c, snapshot_tables, 0, [&](std::int64_t id, std::string &&k, std::string &&v) {
      if (by_id.count(id)) by_id[id]->config.emplace(std::move(k), std::move(v));
    });
    load_devices(c, snapshot_tables, 0, [&](std::int64_t id) { return by_id.count(id) ? &by_id[id]->devices : nullptr; });
  }
  return out;
}

std::optional<SnapshotRow> snapshot(Connection &c, std::int64_t instance_id, const std::string &name) {
  for (auto &s : snapshots(c, instance_id))
    if (s.name == name) return s;
  return std::nullopt;
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
}

void rename_snapshot(Connection &c, std::int64_t id, const std::string &name) {
  c.exec("UPDATE instances_snapshots SET name = ? WHERE id = ?", {name, id});
}
void set_snapshot_expiry(Connection &c, std::int64_t id, const std::string &expires_at) {
  c.exec("UPDATE instances_snapshots SET expiry_date = ? WHERE id = ?", {expires_at.empty() ? Value(nullptr) : Value(expires_at), id});
}
void delete_snapshot(Connection &c, std::int64_t id) { c.exec("DELETE FROM instances_snapshots WHERE id = ?", {id}); }

} // namespace incus::db
