// SPDX-License-Identifier: Apache-2.0
// Volumes of users: made, attached, snapshotted.
#include "storage_volume.hpp"

namespace cli {

namespace {

Target pool_of(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing pool name");
  return t;
}
std::string target_query(Context &c, const std::string &path) {
  auto target = c.text("target");
  return target.empty() ? path : path + "?target=" + escape(target);
}
std::string path_of(Context &c, const Target &pool, const std::string &text, const char *after = "") {
  auto [type, name] = type_and_name(text);
  return target_query(c, url({"storage-pools", pool.name, "volumes", type, name}) + after);
}
std::string snapshot_path(Context &c, const Target &pool, const std::string &volume, const std::string &snapshot) {
  return path_of(c, pool, volume, ("/snapshots/" + escape(snapshot)).c_str());
}

int create(Context &c) {
  auto t = pool_of(c);
  json::value body = json::object();
  if (auto text = piped_input(); text && !text->empty()) body = shaped(from_yaml(*text, "StorageVolumePut"), "StorageVolumePut");
  auto &config = make_object(body, "config");
  for (std::size_t i = 2; i < c.args.size(); i++) {
    auto [k, v] = key_value(c.args[i]);
    config[k] = v;
  }
  auto &o = body.as_object();
  o["name"] = c.args[1];
  o["type"] = "custom";
  o["content_type"] = c.text("type");
  if (auto d = c.text("description"); !d.empty()) o["description"] = d;
  t.server->finish("POST", target_query(c, url({"storage-pools", t.name, "volumes", "custom"})), body);
  if (!c.quiet()) say("Storage volume {} created\n", c.args[1]);
  return 0;
}

int erase(Context &c) {
  auto t = pool_of(c);
  t.server->finish("DELETE", path_of(c, t, c.args[1]));
  if (!c.quiet()) say("Storage volume {} deleted\n", c.args[1]);
  return 0;
}

int rename(Context &c) {
  auto t = pool_of(c);
  json::object body{{"name", c.args[2]}};
  t.server->finish("POST", path_of(c, t, c.args[1]), body);
  if (!c.quiet()) say("Renamed storage volume from \"{}\" to \"{}\"\n", c.args[1], c.args[2]);
  return 0;
}

Object owner(Context &c, const Target &pool) {
  if (c.path.ends_with("profile")) return {pool.server, url({"profiles", c.args[2]}), "Profile", "ProfilePut", c.args[2]};
  return {pool.server, url({"instances", c.args[2]}), "Instance", "InstancePut", c.args[2]};
}

int attach(Context &c) {
  auto t = pool_of(c);
  auto volume = c.args[1];
  if (volume.rfind("container/", 0) == 0 || volume.rfind("virtual-machine/", 0) == 0 || volume.rfind("image/", 0) == 0)
    fail("Only \"custom\" volumes can be attached to instances");
  if (volume.rfind("custom/", 0) == 0) volume.erase(0, 7);
  auto device = c.args.size() == 5 ? c.args[3] : c.args[1];
  json::object d{{"type", "disk"}, {"pool", t.name}, {"source", volume}, {"path", c.args.size() > 3 ? c.args.back() : ""}};
  change_object(owner(c, t), [&](json::value &put, const json::value &) {
    auto &devices = make_object(put, "devices");
    if (devices.if_contains(device)) fail("Device already exists: {}", device);
    devices[device] = d;
  });
  return 0;
}

int detach(Context &c) {
  auto t = pool_of(c);
  change_object(owner(c, t), [&](json::value &put, const json::value &) {
    auto &devices = make_object(put, "devices");
    auto name = c.arg(3);
    if (name.empty())
      for (auto &d : devices) {
        if (str(d.value(), "type") != "disk" || str(d.value(), "pool") != t.name || str(d.value(), "source") != c.args[1]) continue;
        if (!name.empty()) fail("More than one device matches, specify the device name");
        name = d.key();
      }
    if (name.empty()) fail("No device found for this storage volume");
    if (!devices.if_contains(name)) fail("The specified device doesn't exist");
    devices.erase(name);
  });
  return 0;
}

int snapshot_create(Context &c) {
  json::value given;
  if (auto text = piped_input(); text && !text->empty()) given = from_yaml(*text, "StorageVolumeSnapshotPut");
  auto t = pool_of(c);
  auto name = c.arg(2);
  if (c.flag("reuse") && !name.empty()) {
    try {
      t.server->finish("DELETE", snapshot_path(c, t, c.args[1], name));
    } catch (const incus::Error &e) {
      if (e.code() != incus::ErrorCode::not_found) throw;
    }
  }
  json::object body{{"name", name}};
  if (auto d = c.text("description"); !d.empty())
    body["description"] = d;
  else if (!str(given, "description").empty())
    body["description"] = str(given, "description");
  if (c.flag("no-expiry"))
    body["expires_at"] = "0001-01-01T00:00:00Z";
  else if (!zero_time(str(given, "expires_at")))
    body["expires_at"] = str(given, "expires_at");
  t.server->finish("POST", path_of(c, t, c.args[1], "/snapshots"), body);
  return 0;
}

int snapshot_delete(Context &c) {
  auto t = pool_of(c);
  t.server->finish("DELETE", snapshot_path(c, t, c.args[1], c.args[2]));
  if (!c.quiet()) say("Storage volume snapshot {} deleted from {}\n", c.args[2], c.args[1]);
  return 0;
}

int snapshot_rename(Context &c) {
  auto t = pool_of(c);
  json::object body{{"name", c.args[3]}};
  t.server->finish("POST", snapshot_path(c, t, c.args[1], c.args[2]), body);
  if (!c.quiet()) say("Renamed storage volume snapshot from \"{}\" to \"{}\"\n", c.args[2], c.args[3]);
  return 0;
}

int snapshot_restore(Context &c) {
  auto t = pool_of(c);
  json::object body{{"restore", c.args[2]}};
  t.server->finish("PUT", path_of(c, t, c.args[1]), body);
  return 0;
}

int snapshot_show(Context &c) {
  auto t = pool_of(c);
  auto slash = c.args[1].rfind('/');
  if (slash == std::string::npos) fail("Invalid snapshot name");
  auto path = snapshot_path(c, t, c.args[1].substr(0, slash), c.args[1].substr(slash + 1));
  show_object({t.server, path, "StorageVolumeSnapshot", "StorageVolumeSnapshotPut", c.args[1]});
  return 0;
}

int snapshot_list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME", [](auto &r) { return str(r, "name").substr(str(r, "name").rfind('/') + 1); }},
      {'T', "TAKEN AT",
       [](auto &r) {
         auto t = show_time(str(r, "created_at"));
         return t.empty() ? std::string(" ") : t;
       }},
      {'E', "EXPIRES AT",
       [](auto &r) {
         auto t = show_time(str(r, "expires_at"));
         return t.empty() ? std::string(" ") : t;
       }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  auto t = pool_of(c);
  auto [type, name] = type_and_name(c.args[1]);
  auto all = t.server->get(url({"storage-pools", t.name, "volumes", type, name, "snapshots"}) + "?recursion=1");
  show_columns(c.text("format"), columns, all.as_array(), all, "[StorageVolumeSnapshot", false);
  return 0;
}

} // namespace

std::vector<Command> storage_volume_changes() {
  Command snapshot;
  snapshot.names = "snapshot";
  snapshot.brief = "Manage storage volume snapshots";
  snapshot.children = {
      {"create",
       "[<remote>:]<pool> <volume> [<snapshot>]",
       "Snapshot storage volumes",
       2,
       3,
       snapshot_create,
       {{Flag::toggle, "no-expiry", 0, "", "Ignore any configured auto-expiry for the storage volume"},
        {Flag::toggle, "reuse", 0, "", "If the snapshot name already exists, delete and create a new one"},
        {Flag::text, "description", 0, "", "Snapshot description"},
        target_flag},
       {},
       {},
       "incus storage volume snapshot create default data before"},
      {"delete rm", "[<remote>:]<pool> <volume> <snapshot>", "Delete storage volume snapshots", 3, 3, snapshot_delete, {target_flag}},
      {"list ls",
       "[<remote>:]<pool> <volume>",
       "List storage volume snapshots",
       2,
       2,
       snapshot_list,
       {{Flag::text, "columns", 'c', "nTE", "Columns"}, format_flag, all_projects_flag},
       {},
       "Columns: n - Name, T - Taken at, E - Expires at"},
      {"rename mv",
       "[<remote>:]<pool> <volume> <old snapshot> <new snapshot>",
       "Rename storage volume snapshots",
       4,
       4,
       snapshot_rename,
       {target_flag}},
      {"restore", "[<remote>:]<pool> <volume> <snapshot>", "Restore storage volume snapshots", 3, 3, snapshot_restore, {target_flag}},
      {"show", "[<remote>:]<pool> <volume>/<snapshot>", "Show storage volume snapshot configurations", 2, 2, snapshot_show, {target_flag}},
  };
  return {
      {"attach",
       "[<remote>:]<pool> <volume> <instance> [<device name>] [<path>]",
       "Attach new storage volumes to instances",
       3,
       5,
       attach,
       {},
       {},
       {},
       "incus storage volume attach default data c1 /srv/data"},
      {"attach-profile", "[<remote>:]<pool> <volume> <profile> [<device name>] [<path>]", "Attach new storage volumes to profiles", 3, 5, attach},
      {"create",
       "[<remote>:]<pool> <volume> [key=value...]",
       "Create new custom storage volumes",
       2,
       -1,
       create,
       {target_flag,
        {Flag::text, "type", 0, "filesystem", "Content type, block or filesystem"},
        {Flag::text, "description", 0, "", "Volume description"}},
       {},
       {},
       "incus storage volume create default data\nincus storage volume create default data < volume.yaml"},
      {"delete rm", "[<remote>:]<pool> <volume>", "Delete custom storage volumes", 2, 2, erase, {target_flag}},
      {"detach", "[<remote>:]<pool> <volume> <instance> [<device name>]", "Detach storage volumes from instances", 3, 4, detach},
      {"detach-profile", "[<remote>:]<pool> <volume> <profile> [<device name>]", "Detach storage volumes from profiles", 3, 4, detach},
      {"rename", "[<remote>:]<pool> <old name> <new name>", "Rename custom storage volumes", 3, 3, rename, {target_flag}},
      snapshot,
  };
}

} // namespace cli
