// SPDX-License-Identifier: Apache-2.0
#include "db/common.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "db/projects.hpp"

namespace incus::db {

namespace {
struct Arch {
  std::int64_t id;
  const char *name;
};
// Numbers as tools for Incus know them.
constexpr Arch architectures[] = {{1, "i686"},   {2, "x86_64"},  {3, "armv7l"},  {4, "aarch64"}, {5, "ppc"},     {6, "ppc64"},
                                  {7, "ppc64le"}, {8, "s390x"},  {9, "mips"},    {10, "mips64"}, {11, "riscv32"}, {12, "riscv64"},
                                  {13, "armv6l"}, {14, "armv8l"}, {15, "loongarch64"}};

int device_type_id(const Config &d) {
  auto it = d.find("type");
  std::string t = it == d.end() ? "" : it->second;
  return t == "nic" ? 1 : t == "disk" ? 2 : 0;
}
} // namespace

Time time_of(const Row &r, int column) {
  if (r.null(column)) return {};
  auto text = r.text(column);
  if (text.size() == 10) text += " 00:00:00";
  if (text.size() > 10 && text[10] == ' ') text[10] = 'T';
  if (text.ends_with(" UTC")) text.resize(text.size() - 4);
  if (text.ends_with(" +0000")) text.resize(text.size() - 6);
  if (text.find_first_of("Zz+", 19) == text.npos && text.find('-', 19) == text.npos) text += 'Z';
  try {
    return base::parse_time(text);
  } catch (const Error &) {
    return {};
  }
}

std::int64_t architecture_id(const std::string &name) {
  for (auto &a : architectures)
    if (name == a.name) return a.id;
  base::fail(ErrorCode::invalid_argument, "unknown architecture {}", base::quoted(name));
}

std::string architecture_name(std::int64_t id) {
  for (auto &a : architectures)
    if (id == a.id) return a.name;
  return "unknown";
}

void insert_config(Connection &c, const ConfigTables &t, std::int64_t owner, const Config &config) {
  auto sql = fmt::format("INSERT INTO {}_config ({}, key, value) VALUES (?, ?, ?)", t.prefix, t.owner);
  for (auto &[k, v] : config)
    if (!v.empty()) c.exec(sql, {owner, k, v});
}

void insert_devices(Connection &c, const ConfigTables &t, std::int64_t owner, const Devices &devices) {
  auto dev = fmt::format("INSERT INTO {}_devices ({}, name, type) VALUES (?, ?, ?)", t.prefix, t.owner);
  auto conf = fmt::format("INSERT INTO {}_devices_config ({}, key, value) VALUES (?, ?, ?)", t.prefix, t.device);
  for (auto &[name, d] : devices) {
    c.exec(dev, {owner, name, std::int64_t(device_type_id(d))});
    auto id = c.last_id();
    for (auto &[k, v] : d)
      if (!v.empty()) c.exec(conf, {id, k, v});
  }
}

void clear_config(Connection &c, const ConfigTables &t, std::int64_t owner) {
  c.exec(fmt::format("DELETE FROM {}_config WHERE {} = ?", t.prefix, t.owner), {owner});
}

void clear_devices(Connection &c, const ConfigTables &t, std::int64_t owner) {
  c.exec(fmt::format("DELETE FROM {}_devices WHERE {} = ?", t.prefix, t.owner), {owner});
}

void load_config(Connection &c, const ConfigTables &t, std::int64_t owner, const std::function<void(std::int64_t, std::string &&, std::string &&)> &fn) {
  auto sql = fmt::format("SELECT {1}, key, value FROM {0}_config{2}", t.prefix, t.owner, owner ? fmt::format(" WHERE {} = ?", t.owner) : "");
  c.query(sql, owner ? std::vector<Value>{owner} : std::vector<Value>{}, [&](const Row &r) { fn(r.number(0), r.text(1), r.text(2)); });
}

void load_devices(Connection &c, const ConfigTables &t, std::int64_t owner, const std::function<Devices *(std::int64_t)> &devices_of) {
  auto where = owner ? fmt::format(" WHERE d.{} = ?", t.owner) : std::string();
  auto sql = fmt::format("SELECT d.{1}, d.name, k.key, k.value FROM {0}_devices d LEFT JOIN {0}_devices_config k ON k.{2} = d.id{3}", t.prefix, t.owner,
                         t.device, where);
  c.query(sql, owner ? std::vector<Value>{owner} : std::vector<Value>{}, [&](const Row &r) {
    if (auto *d = devices_of(r.number(0))) {
      auto &one = (*d)[r.text(1)];
      if (!r.null(2)) one[r.text(2)] = r.text(3);
    }
  });
}

std::int64_t project_id(Connection &c, const std::string &name) {
  std::int64_t id = 0;
  c.query("SELECT id FROM projects WHERE name = ?", {name}, [&](const Row &r) { id = r.number(0); });
  if (!id) base::fail(ErrorCode::not_found, "project {} not found", base::quoted(name));
  return id;
}

std::vector<std::string> project_names(Connection &c) {
  std::vector<std::string> out;
  c.query("SELECT name FROM projects ORDER BY name", {}, [&](const Row &r) { out.push_back(r.text(0)); });
  return out;
}

std::string get_config(Connection &c, const std::string &key) {
  std::string v;
  c.query("SELECT value FROM config WHERE key = ?", {key}, [&](const Row &r) { v = r.text(0); });
  return v;
}

void set_config(Connection &c, const std::string &key, const std::string &value) {
  c.exec("INSERT INTO config (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", {key, value});
}

std::vector<ProfileRow> profiles(Connection &c, const std::string &project, const std::optional<std::string> &name) {
  std::vector<ProfileRow> out;
  auto owner = project_of(c, project, "features.profiles");
  std::vector<Value> args{owner};
  if (name) args.emplace_back(*name);
  c.query(std::string("SELECT p.id, p.name, p.description FROM profiles p JOIN projects j ON j.id = p.project_id WHERE j.name = ?") +
              (name ? " AND p.name = ?" : "") + " ORDER BY p.name",
          args, [&](const Row &r) {
            ProfileRow p;
            p.id = r.number(0);
            p.project = owner;
            p.name = r.text(1);
            p.description = r.text(2);
            out.push_back(std::move(p));
          });
  std::unordered_map<std::int64_t, ProfileRow *> by_id;
  for (auto &p : out) by_id[p.id] = &p;
  std::int64_t only = name && out.size() == 1 ? out[0].id : 0;
  if (out.empty()) return out;
  load_config(c, profile_tables, only, [&](std::int64_t id, std::string &&k, std::string &&v) {
    if (auto it = by_id.find(id); it != by_id.end()) it->second->config.emplace(std::move(k), std::move(v));
  });
  load_devices(c, profile_tables, only, [&](std::int64_t id) { return by_id.count(id) ? &by_id[id]->devices : nullptr; });
  return out;
}

std::optional<ProfileRow> profile(Connection &c, const std::string &project, const std::string &name) {
  auto all = profiles(c, project, name);
  return all.empty() ? std::nullopt : std::optional(std::move(all[0]));
}

void insert_profile(Connection &c, const ProfileRow &p) {
  c.exec("INSERT INTO profiles (name, description, project_id) VALUES (?, ?, ?)", {p.name, p.description, project_id(c, project_of(c, p.project, "features.profiles"))});
  auto id = c.last_id();
  insert_config(c, profile_tables, id, p.config);
  insert_devices(c, profile_tables, id, p.devices);
}

void update_profile(Connection &c, const ProfileRow &p) {
  c.exec("UPDATE profiles SET description = ? WHERE id = ?", {p.description, p.id});
  clear_config(c, profile_tables, p.id);
  clear_devices(c, profile_tables, p.id);
  insert_config(c, profile_tables, p.id, p.config);
  insert_devices(c, profile_tables, p.id, p.devices);
}

void rename_profile(Connection &c, std::int64_t id, const std::string &name) { c.exec("UPDATE profiles SET name = ? WHERE id = ?", {name, id}); }
void delete_profile(Connection &c, std::int64_t id) { c.exec("DELETE FROM profiles WHERE id = ?", {id}); }

std::map<std::string, std::vector<std::string>> profile_users(Connection &c, std::int64_t id) {
  std::map<std::string, std::vector<std::string>> out;
  c.query("SELECT j.name, i.name FROM instances_profiles p JOIN instances i ON i.id = p.instance_id JOIN projects j ON j.id = i.project_id "
          "WHERE p.profile_id = ? ORDER BY i.name",
          {id}, [&](const Row &r) { out[r.text(0)].push_back(r.text(1)); });
  return out;
}

} // namespace incus::db
