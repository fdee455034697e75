// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

Target named(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing project name");
  return t;
}
Object project(Context &c) {
  auto t = named(c);
  return {t.server, url({"projects", t.name}), "Project", "ProjectPut", fmt::format("the project \"{}\"", t.name)};
}

int create(Context &c) {
  auto t = named(c);
  json::value body = json::object();
  if (auto text = piped_input(); text && !text->empty()) body = shaped(from_yaml(*text, "ProjectPut"), "ProjectPut");
  for (auto &entry : c.list("config")) {
    auto equals = entry.find('=');
    if (equals == std::string::npos) fail("Bad key=value pair: \"{}\"", entry);
    make_object(body, "config")[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  if (!object_at(body, "config").size()) make_object(body, "config");
  body.as_object()["name"] = t.name;
  if (auto d = c.text("description"); !d.empty()) body.as_object()["description"] = d;
  t.server->send("POST", url({"projects"}), body);
  if (!c.quiet()) say("Project {} created\n", t.name);
  return 0;
}

int erase(Context &c) {
  auto t = named(c);
  auto path = url({"projects", t.name});
  if (c.flag("force")) {
    auto q = fmt::format("Remove {} and everything it contains (instances, images, volumes, networks, ...) (yes/no): ", t.name);
    if (lower(ask(q, "")) != "yes") fail("User aborted delete operation");
    path += "?force=1";
  }
  t.server->send("DELETE", path);
  if (!c.quiet()) say("Project {} deleted\n", t.name);
  // A default that is gone would make every later command fail.
  auto it = c.settings.remotes.find(t.remote);
  if (it != c.settings.remotes.end() && it->second.project == t.name) {
    it->second.project.clear();
    c.settings.save();
  }
  return 0;
}

int rename(Context &c) {
  auto t = named(c);
  json::object body{{"name", c.args[1]}};
  t.server->finish("POST", url({"projects", t.name}), body);
  if (!c.quiet()) say("Project {} renamed to {}\n", t.name, c.args[1]);
  return 0;
}

std::string feature(const json::value &p, const char *key) { return parse_bool(str(at(p, "config"), key)) ? "YES" : "NO"; }

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME", [](auto &r) { return str(r, "shown"); }},
      {'i', "IMAGES", [](auto &r) { return feature(r, "features.images"); }},
      {'p', "PROFILES", [](auto &r) { return feature(r, "features.profiles"); }},
      {'v', "STORAGE VOLUMES", [](auto &r) { return feature(r, "features.storage.volumes"); }},
      {'b', "STORAGE BUCKETS", [](auto &r) { return feature(r, "features.storage.buckets"); }},
      {'w', "NETWORKS", [](auto &r) { return feature(r, "features.networks"); }},
      {'z', "NETWORK ZONES", [](auto &r) { return feature(r, "features.networks.zones"); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'u', "USED BY", [](auto &r) { return fmt::format("{}", array_at(r, "used_by").size()); }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  auto arg = c.arg(0);
  auto t = c.target(arg);
  auto current = t.server->project().empty() ? "default" : t.server->project();
  auto all = t.server->get(url({"projects"}) + "?recursion=1");
  json::array shown = all.as_array();
  for (auto &p : shown) p.as_object()["shown"] = str(p, "name") + (str(p, "name") == current ? " (current)" : "");
  show_columns(c.text("format"), columns, shown, all, "[Project");
  return 0;
}

int switch_to(Context &c) {
  auto [remote, name] = c.split(c.args[0]);
  auto it = c.settings.remotes.find(remote);
  if (it == c.settings.remotes.end()) fail("Remote {} doesn't exist", remote);
  c.server(remote).get(url({"projects", name}));
  it->second.project = name == "default" ? "" : name;
  c.settings.save();
  return 0;
}

int current(Context &c) {
  auto name = c.settings.remote(c.settings.default_remote).project;
  say("{}\n", name.empty() ? "default" : name);
  return 0;
}

int info(Context &c) {
  check_format(c.text("format"));
  auto t = named(c);
  if (c.flag("show-access")) {
    print(to_yaml(t.server->get(url({"projects", t.name, "access"}))));
    return 0;
  }
  auto state = t.server->get(url({"projects", t.name, "state"}));
  Rows rows;
  for (auto &r : object_at(state, "resources")) {
    std::string key(r.key()), kind = key.substr(0, key.find('.'));
    bool bytes = kind == "disk" || kind == "memory";
    auto limit = num(r.value(), "Limit"), used = num(r.value(), "Usage");
    auto title = upper(key);
    if (auto dot = title.find('.'); dot != std::string::npos) title = title.substr(0, dot) + " (" + title.substr(dot + 1) + ")";
    rows.push_back({title,
                    limit < 0 ? "UNLIMITED"
                    : bytes   ? size_iec(limit)
                              : fmt::format("{}", limit),
                    bytes ? size_iec(used) : fmt::format("{}", used)});
  }
  sort_rows(rows);
  // Capitals on the wire and in JSON, none in YAML.
  if (c.text("format") == "yaml") {
    json::object all;
    for (auto &r : object_at(state, "resources")) all[r.key()] = {{"limit", num(r.value(), "Limit")}, {"usage", num(r.value(), "Usage")}};
    print(to_yaml(json::object{{"resources", all}}));
    return 0;
  }
  show_table(c.text("format"), {"RESOURCE", "LIMIT", "USAGE"}, rows, state, "ProjectState");
  return 0;
}

} // namespace

Command project_command() {
  Command c;
  c.names = "project";
  c.brief = "Manage projects";
  c.children = {
      {"create",
       "[<remote>:]<project>",
       "Create projects",
       1,
       1,
       create,
       {{Flag::list, "config", 'c', "", "Config key/value to apply to the new project"}, {Flag::text, "description", 0, "", "Project description"}},
       {},
       {},
       "incus project create p1\nincus project create p1 -c features.images=false < project.yaml"},
      {"delete rm",
       "[<remote>:]<project>",
       "Delete projects",
       1,
       1,
       erase,
       {{Flag::toggle, "force", 'f', "", "Force delete the project and everything it contains"}}},
      {"edit", "[<remote>:]<project>", "Edit project configurations as YAML", 1, 1,
       [](Context &x) {
         edit_object(project(x), "The project as YAML. Lines that start with # are ignored.\nThe name is shown and cannot be changed.");
         return 0;
       }},
      {"get",
       "[<remote>:]<project> <key>",
       "Get values for project configuration keys",
       2,
       2,
       [](Context &x) {
         get_key(x, project(x), x.args[1]);
         return 0;
       },
       {property_get}},
      {"get-current", "", "Show the current project", 0, 0, current},
      {"info",
       "[<remote>:]<project>",
       "Get a summary of resource allocations",
       1,
       1,
       info,
       {{Flag::toggle, "show-access", 0, "", "Show the project's access list"}, format_flag}},
      {"list ls",
       "[<remote>:]",
       "List projects",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "nipvbwzdu", "Columns"}, format_flag},
       {},
       "Columns:\n  n - Name      v - Storage volumes   z - Network zones\n  i - Images    b - Storage buckets   d - Description\n  p - Profiles  w "
       "- Networks          u - Used by"},
      {"rename mv", "[<remote>:]<project> <new-name>", "Rename projects", 2, 2, rename},
      {"set",
       "[<remote>:]<project> <key>=<value>...",
       "Set project configuration keys",
       2,
       -1,
       [](Context &x) {
         set_keys(x, project(x), Strings(x.args.begin() + 1, x.args.end()), false);
         return 0;
       },
       {property_set}},
      {"show", "[<remote>:]<project>", "Show project options", 1, 1,
       [](Context &x) {
         show_object(project(x));
         return 0;
       }},
      {"switch", "[<remote>:]<project>", "Switch the current project", 1, 1, switch_to},
      {"unset",
       "[<remote>:]<project> <key>",
       "Unset project configuration keys",
       2,
       2,
       [](Context &x) {
         set_keys(x, project(x), {x.args[1]}, true);
         return 0;
       },
       {property_unset}},
  };
  return c;
}

} // namespace cli
