// SPDX-License-Identifier: Apache-2.0
#include "export.hpp"
#include "storage_volume.hpp"

namespace cli {

std::pair<std::string, std::string> type_and_name(const std::string &text) {
  auto slash = text.find('/');
  auto type = text.substr(0, slash);
  if (slash != std::string::npos && (type == "custom" || type == "image" || type == "container" || type == "virtual-machine"))
    return {type, text.substr(slash + 1)};
  return {"custom", text};
}

namespace {

struct Volume {
  Target pool;
  std::string type, name, snapshot, path;
};

Volume volume(Context &c) {
  Volume v;
  v.pool = c.target(c.args[0]);
  if (v.pool.name.empty()) fail("Missing pool name");
  std::tie(v.type, v.name) = type_and_name(c.args[1]);
  if (auto slash = v.name.find('/'); slash != std::string::npos) {
    v.snapshot = v.name.substr(slash + 1);
    v.name.resize(slash);
  }
  v.path = url({"storage-pools", v.pool.name, "volumes", v.type, v.name});
  if (!v.snapshot.empty()) v.path += "/snapshots/" + escape(v.snapshot);
  return v;
}
Object object_of(Context &c) {
  auto v = volume(c);
  bool snapshot = !v.snapshot.empty();
  return {v.pool.server, v.path, snapshot ? "StorageVolumeSnapshot" : "StorageVolume", snapshot ? "StorageVolumeSnapshotPut" : "StorageVolumePut",
          fmt::format("the storage pool volume \"{}/{}\"", v.type, v.name)};
}

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'e', "PROJECT", [](auto &r) { return str(r, "project"); }},
      {'t', "TYPE", [](auto &r) { return str(r, "type") + (str(r, "name").find('/') != std::string::npos ? " (snapshot)" : ""); }},
      {'n', "NAME", [](auto &r) { return str(r, "name"); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'c', "CONTENT-TYPE", [](auto &r) { return str(r, "content_type").empty() ? std::string("filesystem") : str(r, "content_type"); }},
      {'u', "USED BY", [](auto &r) { return fmt::format("{}", array_at(r, "used_by").size()); }},
      {'U', "USAGE",
       [](auto &r) {
         auto &usage = at(at(r, "state"), "usage");
         return usage.is_object() ? size_iec(num(usage, "used")) : std::string();
       }},
      {'L', "LOCATION", [](auto &r) { return str(r, "location"); }},
  };
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing pool name");
  auto wanted = c.text("columns");
  bool everywhere = c.flag("all-projects");
  auto without = [&](char letter) { wanted.erase(std::remove(wanted.begin(), wanted.end(), letter), wanted.end()); };
  if (!t.server->clustered()) {
    if (c.given("columns") && wanted.find('L') != std::string::npos) fail("Can't specify column L when not clustered");
    without('L');
  }
  if (!everywhere) without('e');
  auto columns = pick_columns(known, wanted);
  auto all = t.server->get(url({"storage-pools", t.name, "volumes"}) + "?recursion=1" + (everywhere ? "&all-projects=true" : ""));
  json::array shown;
  for (auto &v : all.as_array()) {
    bool hit = true;
    for (std::size_t i = 1; i < c.args.size(); i++) {
      auto equals = c.args[i].find('=');
      if (equals == std::string::npos)
        hit = hit && str(v, "name").rfind(c.args[i], 0) == 0;
      else
        hit = hit && (str(v, c.args[i].substr(0, equals)) == c.args[i].substr(equals + 1) ||
                      str(at(v, "config"), c.args[i].substr(0, equals)) == c.args[i].substr(equals + 1));
    }
    if (!hit) continue;
    if (wanted.find('U') != std::string::npos && str(v, "type") != "image" && str(v, "name").find('/') == std::string::npos)
      v.as_object()["state"] = t.server->get(url({"storage-pools", t.name, "volumes", str(v, "type"), str(v, "name"), "state"}));
    shown.push_back(v);
  }
  Strings header;
  Rows rows;
  for (auto &k : columns) header.emplace_back(k.title);
  for (auto &v : shown) {
    Strings row;
    for (auto &k : columns) row.push_back(k.value(v));
    rows.push_back(std::move(row));
  }
  // By the first column's first word, then by the second column: a snapshot stands behind its volume.
  if (columns.size() >= 2)
    std::stable_sort(rows.begin(), rows.end(), [](const Strings &a, const Strings &b) {
      if (a[0].substr(0, a[0].find(' ')) != b[0].substr(0, b[0].find(' '))) return natural_less(a[0], b[0]);
      if (a[1].empty() || b[1].empty()) return !a[1].empty() && b[1].empty();
      return natural_less(a[1], b[1]);
    });
  show_table(c.text("format"), std::move(header), rows, shown, "[StorageVolume");
  return 0;
}

int info(Context &c) {
  auto v = volume(c);
  if (!v.snapshot.empty() || v.type == "image") fail("Only instance or custom volumes are supported");
  auto &server = *v.pool.server;
  json::value now;
  try {
    now = server.get(v.path);
  } catch (const incus::Error &e) {
    if (e.code() != incus::ErrorCode::not_found) throw;
    fail("Storage pool volume \"{}/{}\" not found", v.type, v.name);
  }
  say("Name: {}\n", str(now, "name"));
  if (auto d = str(now, "description"); !d.empty()) say("Description: {}\n", d);
  say("Type: {}\nContent type: {}\n", str(now, "type").empty() ? "custom" : str(now, "type"),
      str(now, "content_type").empty() ? "filesystem" : str(now, "content_type"));
  if (!str(now, "location").empty() && str(now, "location") != "none" && server.clustered()) say("Location: {}\n", str(now, "location"));
  try {
    auto state = server.get(v.path + "/state");
    if (auto &usage = at(state, "usage"); usage.is_object()) {
      say("Usage: {}\n", size_iec(num(usage, "used")));
      if (num(usage, "total") > 0) say("Total: {}\n", size_iec(num(usage, "total")));
    }
  } catch (const incus::Error &) {
    // A driver that cannot tell: the line is left out.
  }
  if (auto t = show_time(str(now, "created_at")); !t.empty()) say("Created: {}\n", t);
  auto snapshots = server.get(v.path + "/snapshots?recursion=1");
  Rows rows;
  if (snapshots.is_array())
    for (auto &s : snapshots.get_array()) {
      auto n = str(s, "name");
      auto e = at(s, "expires_at").is_null() ? std::string(" ") : show_time(str(s, "expires_at"));
      rows.push_back({n.substr(n.rfind('/') + 1), str(s, "description"), e.empty() ? " " : e});
    }
  sort_rows(rows);
  if (!rows.empty()) print("\nSnapshots:\n" + draw_table({"Name", "Description", "Expires at"}, rows, false));
  return 0;
}

} // namespace

Command storage_volume_command() {
  Command c;
  c.names = "volume";
  c.brief = "Manage storage volumes";
  c.children = {
      {"edit",
       "[<remote>:]<pool> [<type>/]<volume>",
       "Edit storage volume configurations as YAML",
       2,
       2,
       [](Context &x) {
         edit_object(object_of(x), "The volume as YAML. Lines that start with # are ignored.\nName and type are shown and cannot be changed.");
         return 0;
       },
       {target_flag}},
      {"export",
       "[<remote>:]<pool> <volume> [<path>]",
       "Export custom storage volume",
       2,
       3,
       volume_export,
       {{Flag::toggle, "volume-only", 0, "", "Export the volume without its snapshots"},
        {Flag::toggle, "optimized-storage", 0, "", "Use storage driver optimized format (can only be restored on a similar pool)"},
        {Flag::text, "compression", 0, "", "Define a compression algorithm: for backup or none"},
        target_flag}},
      {"import",
       "[<remote>:]<pool> <backup file> [<volume name>]",
       "Import custom storage volumes",
       2,
       3,
       volume_import,
       {{Flag::text, "type", 0, "", "Import type, backup or iso (default \"backup\")"}, target_flag}},
      {"get",
       "[<remote>:]<pool> [<type>/]<volume>[/<snapshot>] <key>",
       "Get values for storage volume configuration keys",
       3,
       3,
       [](Context &x) {
         get_key(x, object_of(x), x.args[2]);
         return 0;
       },
       {property_get, target_flag}},
      {"info", "[<remote>:]<pool> [<type>/]<volume>", "Show storage volume state information", 2, 2, info, {target_flag}},
      {"list ls",
       "[<remote>:]<pool> [<filter>...]",
       "List storage volumes",
       1,
       -1,
       list,
       {{Flag::text, "columns", 'c', "etndcuL", "Columns"}, format_flag, all_projects_flag},
       {},
       "Columns:\n  c - Content type   L - Location   u - Used by\n  d - Description    n - Name       U - Usage\n  e - Project        t - Type"},
      {"set",
       "[<remote>:]<pool> [<type>/]<volume> <key>=<value>...",
       "Set storage volume configuration keys",
       3,
       -1,
       [](Context &x) {
         set_keys(x, object_of(x), Strings(x.args.begin() + 2, x.args.end()), false);
         return 0;
       },
       {property_set, target_flag}},
      {"show",
       "[<remote>:]<pool> [<type>/]<volume>",
       "Show storage volume configurations",
       2,
       2,
       [](Context &x) {
         show_object(object_of(x));
         return 0;
       },
       {target_flag}},
      {"unset",
       "[<remote>:]<pool> [<type>/]<volume> <key>",
       "Unset storage volume configuration keys",
       3,
       3,
       [](Context &x) {
         set_keys(x, object_of(x), {x.args[2]}, true);
         return 0;
       },
       {property_unset, target_flag}},
  };
  for (auto &v : storage_volume_changes()) c.children.push_back(std::move(v));
  for (auto &v : storage_volume_copies()) c.children.push_back(std::move(v));
  return c;
}

} // namespace cli
