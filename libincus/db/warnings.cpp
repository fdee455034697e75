// SPDX-License-Identifier: Apache-2.0
#include "db/warnings.hpp"

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/common.hpp"

namespace incus::db {

namespace {

struct Type {
  int code;
  const char *name; ///< on the wire
  const char *severity = "low";
};
constexpr Type types[] = {
    {0, "Undefined warning"},
    {1, "Couldn't find the CGroup blkio"},
    {2, "Couldn't find the CGroup blkio.weight"},
    {3, "Couldn't find the CGroup CPU controller"},
    {4, "Couldn't find the CGroup CPUset controller"},
    {5, "Couldn't find the CGroup CPUacct controller"},
    {6, "Couldn't find the CGroup devices controller"},
    {7, "Couldn't find the CGroup freezer controller"},
    {8, "Couldn't find the CGroup hugetlb controller"},
    {9, "Couldn't find the CGroup memory controller"},
    {11, "Couldn't find the CGroup pids controller"},
    {12, "Couldn't find the CGroup memory swap accounting"},
    {13, "Time skew detected between leader and local"},
    {14, "AppArmor support has been disabled"},
    {15, "Missing virtiofsd"},
    {16, "Skipping AppArmor for dnsmasq due to raw.dnsmasq being set"},
    {17, "IPv6 networks with a prefix larger than 64 aren't properly supported by dnsmasq"},
    {18, "Proxy bridge netfilter not enabled"},
    {19, "Network unavailable", "high"},
    {20, "Offline cluster member"},
    {21, "Failed to autostart instance"},
    {22, "Instance type not operational"},
    {23, "Storage pool unavailable", "high"},
    {24, "Unable to update cluster certificate"},
};
constexpr const char *statuses[] = {"", "new", "acknowledged", "resolved"};

const Type *type_of(std::int64_t code) {
  for (auto &t : types)
    if (t.code == code) return &t;
  return nullptr;
}

struct EntityType {
  int code;
  const char *name;
  const char *exists; ///< statement by id; null: nothing here is of that type
};
constexpr EntityType entities[] = {
    {0, "container", "SELECT 1 FROM instances WHERE id = ?"},
    {1, "image", "SELECT 1 FROM images WHERE id = ?"},
    {2, "profile", "SELECT 1 FROM profiles WHERE id = ?"},
    {3, "project", "SELECT 1 FROM projects WHERE id = ?"},
    {4, "certificate", "SELECT 1 FROM certificates WHERE id = ?"},
    {5, "instance", "SELECT 1 FROM instances WHERE id = ?"},
    {6, "instance backup", nullptr},
    {7, "instance snapshot", "SELECT 1 FROM instances_snapshots WHERE id = ?"},
    {8, "network", "SELECT 1 FROM networks WHERE id = ?"},
    {9, "network acl", nullptr},
    {10, "node", "SELECT 1 FROM nodes WHERE id = ?"},
    {11, "operation", nullptr},
    {12, "storage pool", "SELECT 1 FROM storage_pools WHERE id = ?"},
    {13, "storage volume", "SELECT 1 FROM storage_volumes WHERE id = ?"},
    {14, "storage volume backup", nullptr},
    {15, "storage volume snapshot", "SELECT 1 FROM storage_volumes_snapshots WHERE id = ?"},
    {16, "warning", "SELECT 1 FROM warnings WHERE id = ?"},
    {17, "cluster group", nullptr},
    {18, "storage bucket", "SELECT 1 FROM storage_buckets WHERE id = ?"},
};

bool any(Connection &c, const char *sql, const std::vector<Value> &args) {
  bool found = false;
  c.query(sql, args, [&](const Row &) { found = true; });
  return found;
}

void check(Connection &c, const WarningKey &k) {
  if (!type_of(k.type)) base::fail(ErrorCode::invalid_argument, "unknown warning type {}", k.type);
  if (!k.location.empty() && !any(c, "SELECT 1 FROM nodes WHERE name = ?", {k.location})) base::fail(ErrorCode::not_found, "member {} not found", base::quoted(k.location));
  if (!k.project.empty()) project_id(c, k.project);
  if (k.entity_type == -1) return;
  const EntityType *type = nullptr;
  for (auto &e : entities)
    if (e.code == k.entity_type) type = &e;
  if (!type) base::fail(ErrorCode::invalid_argument, "unknown entity type {}", k.entity_type);
  if (k.entity_id != -1 && (!type->exists || !any(c, type->exists, {k.entity_id})))
    base::fail(ErrorCode::not_found, "there is no {} with id {} for the warning to be about", type->name, k.entity_id);
}

constexpr const char *matching =
    " WHERE type_code = ? AND IFNULL(entity_type_code, -1) = ? AND IFNULL(entity_id, -1) = ?"
    " AND IFNULL((SELECT name FROM nodes WHERE nodes.id = node_id), '') = ? AND IFNULL((SELECT name FROM projects WHERE projects.id = project_id), '') = ?";

std::vector<Value> key_values(const WarningKey &k) { return {std::int64_t(k.type), std::int64_t(k.entity_type), k.entity_id, k.location, k.project}; }

// What a warning is about, as a path and a project.
constexpr const char *entity_path =
    "CASE w.entity_type_code"
    " WHEN 1 THEN (SELECT '/1.0/images/' || x.fingerprint || '\t' || p.name FROM images x JOIN projects p ON p.id = x.project_id WHERE x.id = w.entity_id)"
    " WHEN 2 THEN (SELECT '/1.0/profiles/' || x.name || '\t' || p.name FROM profiles x JOIN projects p ON p.id = x.project_id WHERE x.id = w.entity_id)"
    " WHEN 3 THEN (SELECT '/1.0/projects/' || x.name FROM projects x WHERE x.id = w.entity_id)"
    " WHEN 4 THEN (SELECT '/1.0/certificates/' || x.fingerprint FROM certificates x WHERE x.id = w.entity_id)"
    " WHEN 0 THEN (SELECT '/1.0/instances/' || x.name || '\t' || p.name FROM instances x JOIN projects p ON p.id = x.project_id WHERE x.id = w.entity_id)"
    " WHEN 5 THEN (SELECT '/1.0/instances/' || x.name || '\t' || p.name FROM instances x JOIN projects p ON p.id = x.project_id WHERE x.id = w.entity_id)"
    " END";

} // namespace

std::vector<WarningRow> warnings(Connection &c, const std::optional<std::string> &uuid, const std::string &project) {
  std::string sql = fmt::format("SELECT w.uuid, IFNULL(n.name, ''), IFNULL(p.name, ''), w.type_code, w.status, w.count, w.first_seen_date, w.last_seen_date,"
                                " w.last_message, {} FROM warnings w LEFT JOIN nodes n ON n.id = w.node_id LEFT JOIN projects p ON p.id = w.project_id WHERE 1",
                                entity_path);
  std::vector<Value> args;
  if (uuid) {
    sql += " AND w.uuid = ?";
    args.emplace_back(*uuid);
  }
  if (!project.empty()) {
    sql += " AND p.name = ?";
    args.emplace_back(project);
  }
  std::vector<WarningRow> out;
  c.query(sql + " ORDER BY w.uuid", args, [&](const Row &r) {
    WarningRow w;
    w.uuid = r.text(0);
    w.location = r.text(1);
    w.project = r.text(2);
    auto *t = type_of(r.number(3));
    w.type = t ? t->name : "";
    w.severity = t ? t->severity : "low";
    auto status = r.number(4);
    w.status = status >= 1 && status <= 3 ? statuses[status] : "";
    w.count = r.number(5);
    w.first_seen_at = time_of(r, 6);
    w.last_seen_at = time_of(r, 7);
    w.last_message = r.text(8);
    auto path = r.text(9);
    auto tab = path.find('\t');
    w.entity_url = path.substr(0, tab);
    if (tab != path.npos && path.substr(tab + 1) != "default") w.entity_url += "?project=" + path.substr(tab + 1);
    out.push_back(std::move(w));
  });
  return out;
}

void raise_warning(Connection &c, const WarningKey &k, const std::string &message) {
  c.transaction([&] {
    check(c, k);
    auto now = base::format_time(base::now());
    auto args = key_values(k);
    args.insert(args.begin(), {message, now, now});
    if (c.exec(std::string("UPDATE warnings SET last_message = ?, last_seen_date = ?, updated_date = ?, count = count + 1,"
                           " status = CASE status WHEN 3 THEN 1 ELSE status END") +
                   matching,
               args) > 0)
      return;
    auto or_null = [](std::int64_t v) { return v == -1 ? Value(nullptr) : Value(v); };
    c.exec("INSERT INTO warnings (node_id, project_id, entity_type_code, entity_id, uuid, type_code, status, first_seen_date, last_seen_date, updated_date,"
           " last_message, count) VALUES ((SELECT id FROM nodes WHERE name = ?), (SELECT id FROM projects WHERE name = ?), ?, ?, ?, ?, 1, ?, ?, NULL, ?, 1)",
           {k.location, k.project, or_null(k.entity_type), or_null(k.entity_id), base::uuid(), std::int64_t(k.type), now, now, message});
  });
}

void resolve_warning(Connection &c, const WarningKey &k) {
  auto args = key_values(k);
  args.insert(args.begin(), base::format_time(base::now()));
  c.exec(std::string("UPDATE warnings SET status = 3, updated_date = ?") + matching + " AND status != 3", args);
}

bool warned(Connection &c, const WarningKey &k) { return any(c, (std::string("SELECT 1 FROM warnings") + matching + " AND status != 3").c_str(), key_values(k)); }

void set_warning_status(Connection &c, const std::string &uuid, const std::string &status) {
  std::int64_t code = 0;
  for (std::int64_t i = 1; i <= 3; i++)
    if (status == statuses[i]) code = i;
  if (!code) base::fail(ErrorCode::invalid_argument, "unknown warning status {}: must be new or acknowledged", base::quoted(status));
  if (code == 3) base::fail(ErrorCode::forbidden, "a warning is resolved when its cause has gone: the status can be set to new or acknowledged");
  if (c.exec("UPDATE warnings SET status = ?, updated_date = ? WHERE uuid = ?", {code, base::format_time(base::now()), uuid}) == 0)
    base::fail(ErrorCode::not_found, "warning {} not found", base::quoted(uuid));
}

void delete_warning(Connection &c, const std::string &uuid) {
  if (c.exec("DELETE FROM warnings WHERE uuid = ?", {uuid}) == 0) base::fail(ErrorCode::not_found, "warning {} not found", base::quoted(uuid));
}

std::int64_t prune_warnings(Connection &c, Time time) {
  return c.exec("DELETE FROM warnings WHERE status = 3 AND IFNULL(updated_date, last_seen_date) < ?", {base::format_time(time)});
}

} // namespace incus::db
