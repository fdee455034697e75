// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

int create(Context &c) {
  json::value given;
  if (auto text = piped_input(); text && !text->empty()) given = from_yaml(*text, "InstanceSnapshotPut");
  auto t = c.target(c.args[0]);
  auto name = c.arg(1);
  if (auto slash = t.name.find('/'); slash != std::string::npos) {
    if (!name.empty()) fail("Invalid instance name: {}", t.name);
    name = t.name.substr(slash + 1);
    t.name.resize(slash);
  }
  if (c.flag("reuse") && !name.empty()) {
    try {
      t.server->finish("DELETE", url({"instances", t.name, "snapshots", name}));
    } catch (const incus::Error &e) {
      if (e.code() != incus::ErrorCode::not_found) throw;
    }
  }
  json::object body{{"name", name}, {"stateful", c.flag("stateful")}};
  if (c.flag("no-expiry"))
    body["expires_at"] = "0001-01-01T00:00:00Z";
  else if (!zero_time(str(given, "expires_at")))
    body["expires_at"] = str(given, "expires_at");
  t.server->finish("POST", url({"instances", t.name, "snapshots"}), body);
  return 0;
}

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME",
       [](auto &r) {
         auto n = str(r, "name");
         return n.substr(n.rfind('/') + 1);
       }},
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
      {'s', "STATEFUL", [](auto &r) { return std::string(truth(r, "stateful") ? "YES" : "NO"); }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  auto t = c.target(c.args[0]);
  auto all = t.server->get(url({"instances", t.name, "snapshots"}) + "?recursion=1");
  show_columns(c.text("format"), columns, all.as_array(), all, "[InstanceSnapshot", false);
  return 0;
}

int show(Context &c) {
  auto t = c.target(c.args[0]);
  show_object({t.server, url({"instances", t.name, "snapshots", c.args[1]}), "InstanceSnapshot", "InstanceSnapshotPut", c.args[1]});
  return 0;
}

int rename(Context &c) {
  auto t = c.target(c.args[0]);
  json::object body{{"name", c.args[2]}};
  t.server->finish("POST", url({"instances", t.name, "snapshots", c.args[1]}), body);
  return 0;
}

int erase(Context &c) {
  auto t = c.target(c.args[0]);
  if (c.flag("interactive") && lower(ask(fmt::format("Remove {} (yes/no): ", c.args[1]), "")) != "yes") fail("User aborted delete operation");
  t.server->finish("DELETE", url({"instances", t.name, "snapshots", c.args[1]}));
  return 0;
}

int restore(Context &c) {
  auto t = c.target(c.args[0]);
  auto name = c.args[1].find('/') == std::string::npos ? t.name + "/" + c.args[1] : c.args[1];
  json::object body{{"restore", name}, {"stateful", c.flag("stateful")}};
  t.server->finish("PUT", url({"instances", t.name}), body);
  return 0;
}

} // namespace

Command snapshot_command() {
  Command c;
  c.names = "snapshot";
  c.brief = "Manage instance snapshots";
  c.children = {
      {"create",
       "[<remote>:]<instance> [<snapshot name>]",
       "Create instance snapshot",
       1,
       2,
       create,
       {{Flag::toggle, "stateful", 0, "", "Whether or not to snapshot the instance's running state"},
        {Flag::toggle, "no-expiry", 0, "", "Ignore any configured auto-expiry for the instance"},
        {Flag::toggle, "reuse", 0, "", "If the snapshot name already exists, delete and create a new one"}},
       {},
       {},
       "incus snapshot create c1\nincus snapshot create c1 before-upgrade"},
      {"delete rm",
       "[<remote>:]<instance> <snapshot name>",
       "Delete instance snapshots",
       2,
       2,
       erase,
       {{Flag::toggle, "interactive", 'i', "", "Require user confirmation"}}},
      {"list ls",
       "[<remote>:]<instance>",
       "List instance snapshots",
       1,
       1,
       list,
       {{Flag::text, "columns", 'c', "nTEs", "Columns"}, format_flag},
       {},
       "Columns: n - Name, T - Taken at, E - Expires at, s - Stateful"},
      {"rename mv", "[<remote>:]<instance> <old snapshot name> <new snapshot name>", "Rename instance snapshots", 3, 3, rename},
      {"restore",
       "[<remote>:]<instance> <snapshot name>",
       "Restore instance snapshots",
       2,
       2,
       restore,
       {{Flag::toggle, "stateful", 0, "", "Whether or not to restore the instance's running state from snapshot (if available)"}},
       {},
       {},
       "incus snapshot restore c1 before-upgrade"},
      {"show", "[<remote>:]<instance> <snapshot>", "Show instance snapshot configuration", 2, 2, show},
  };
  return c;
}

} // namespace cli
