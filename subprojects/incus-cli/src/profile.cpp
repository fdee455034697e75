// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

Target named(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing profile name");
  return t;
}
Object profile(Context &c) {
  auto t = named(c);
  return {t.server, url({"profiles", t.name}), "Profile", "ProfilePut", fmt::format("the profile \"{}\"", t.name)};
}
Object instance(Context &c, std::string *name) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing instance name");
  *name = t.name;
  return {t.server, url({"instances", t.name}), "Instance", "InstancePut", t.name};
}

int add(Context &c) {
  std::string name;
  change_object(instance(c, &name), [&](json::value &put, const json::value &) {
    auto &list = put.as_object()["profiles"];
    if (!list.is_array()) list = json::array();
    list.get_array().emplace_back(c.args[1]);
  });
  if (!c.quiet()) say("Profile {} added to {}\n", c.args[1], name);
  return 0;
}

int assign(Context &c) {
  std::string name;
  auto wanted = c.arg(1);
  change_object(instance(c, &name), [&](json::value &put, const json::value &) {
    json::array list;
    for (auto &p : split_text(wanted, ','))
      if (!p.empty()) list.emplace_back(p);
    put.as_object()["profiles"] = list;
  });
  if (!c.quiet()) say("Profiles {} applied to {}\n", wanted.empty() ? "(none)" : wanted, name);
  return 0;
}

int remove(Context &c) {
  std::string name;
  auto o = instance(c, &name);
  change_object(o, [&](json::value &put, const json::value &) {
    json::array left;
    bool found = false;
    for (auto &p : strings_at(put, "profiles")) {
      if (p == c.args[1])
        found = true;
      else
        left.emplace_back(p);
    }
    if (!found) fail("Profile {} isn't currently applied to {}", c.args[1], name);
    put.as_object()["profiles"] = left;
  });
  if (!c.quiet()) say("Profile {} removed from {}\n", c.args[1], name);
  return 0;
}

int copy(Context &c) {
  auto from = c.target(c.args[0]), to = c.target(c.args[1]);
  if (from.name.empty()) fail("Missing source profile name");
  auto name = to.name.empty() ? from.name : to.name;
  auto body = shaped(from.server->get(url({"profiles", from.name})), "ProfilePut");
  Server target(c, to.remote);
  if (auto project = c.text("target-project"); !project.empty()) target.use_project(project);
  if (c.flag("refresh")) {
    try {
      target.send("PUT", url({"profiles", name}), body);
      return 0;
    } catch (const incus::Error &e) {
      if (e.code() != incus::ErrorCode::not_found) throw;
    }
  }
  body.as_object()["name"] = name;
  target.send("POST", url({"profiles"}), body);
  return 0;
}

int create(Context &c) {
  auto t = named(c);
  json::value body = json::object();
  if (auto text = piped_input(); text && !text->empty()) body = shaped(from_yaml(*text, "ProfilePut"), "ProfilePut");
  body.as_object()["name"] = t.name;
  if (auto d = c.text("description"); !d.empty()) body.as_object()["description"] = d;
  t.server->send("POST", url({"profiles"}), body);
  if (!c.quiet()) say("Profile {} created\n", t.name);
  return 0;
}

int erase(Context &c) {
  auto t = named(c);
  t.server->send("DELETE", url({"profiles", t.name}));
  if (!c.quiet()) say("Profile {} deleted\n", t.name);
  return 0;
}

int rename(Context &c) {
  auto t = named(c);
  json::object body{{"name", c.args[1]}};
  t.server->send("POST", url({"profiles", t.name}), body);
  if (!c.quiet()) say("Profile {} renamed to {}\n", t.name, c.args[1]);
  return 0;
}

int list(Context &c) {
  check_format(c.text("format"));
  if (c.given("project") && c.flag("all-projects")) fail("Can't specify --project with --all-projects");
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME", [](auto &r) { return str(r, "name"); }},
      {'e', "PROJECT", [](auto &r) { return str(r, "project"); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'u', "USED BY", [](auto &r) { return fmt::format("{}", array_at(r, "used_by").size()); }},
  };
  bool everywhere = c.flag("all-projects");
  auto columns = pick_columns(known, everywhere && !c.given("columns") ? "endu" : c.text("columns"));
  auto all = c.target_at(0).server->get(url({"profiles"}) + "?recursion=1" + (everywhere ? "&all-projects=true" : ""));
  show_columns(c.text("format"), columns, all.as_array(), all, "[Profile");
  return 0;
}

} // namespace

Command profile_command() {
  Command c;
  c.names = "profile";
  c.brief = "Manage profiles";
  c.children = {
      {"add", "[<remote>:]<instance> <profile>", "Add profiles to instances", 2, 2, add},
      {"assign apply",
       "[<remote>:]<instance> <profiles>",
       "Assign sets of profiles to instances",
       1,
       2,
       assign,
       {},
       {},
       {},
       "incus profile assign c1 default,web\n    exactly these profiles, in this order\nincus profile assign c1 ''\n    no profile at all"},
      {"copy cp",
       "[<remote>:]<profile> [<remote>:]<profile>",
       "Copy profiles",
       2,
       2,
       copy,
       {{Flag::text, "target-project", 0, "", "Copy to a project different from the source"},
        {Flag::toggle, "refresh", 0, "", "Update the target profile from the source if it already exists"}}},
      {"create",
       "[<remote>:]<profile>",
       "Create profiles",
       1,
       1,
       create,
       {{Flag::text, "description", 0, "", "Profile description"}},
       {},
       {},
       "incus profile create web\nincus profile create web < web.yaml"},
      {"delete rm", "[<remote>:]<profile>", "Delete profiles", 1, 1, erase},
      device_command(true),
      {"edit",
       "[<remote>:]<profile>",
       "Edit profile configurations as YAML",
       1,
       1,
       [](Context &x) {
         edit_object(profile(x), "The profile as YAML. Lines that start with # are ignored.\nThe name is shown and cannot be changed.");
         return 0;
       },
       {},
       {},
       {},
       "incus profile edit web\nincus profile edit web < web.yaml"},
      {"get",
       "[<remote>:]<profile> <key>",
       "Get values for profile configuration keys",
       2,
       2,
       [](Context &x) {
         get_key(x, profile(x), x.args[1]);
         return 0;
       },
       {property_get}},
      {"list ls",
       "[<remote>:]",
       "List profiles",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "ndu", "Columns"}, format_flag, all_projects_flag},
       {},
       "Columns: n - Name, e - Project, d - Description, u - Used by"},
      {"remove", "[<remote>:]<instance> <profile>", "Remove profiles from instances", 2, 2, remove},
      {"rename mv", "[<remote>:]<profile> <new-name>", "Rename profiles", 2, 2, rename},
      {"set",
       "[<remote>:]<profile> <key>=<value>...",
       "Set profile configuration keys",
       2,
       -1,
       [](Context &x) {
         set_keys(x, profile(x), Strings(x.args.begin() + 1, x.args.end()), false);
         return 0;
       },
       {property_set},
       {},
       {},
       "incus profile set web limits.memory=1GiB"},
      {"show", "[<remote>:]<profile>", "Show profile configurations", 1, 1,
       [](Context &x) {
         show_object(profile(x));
         return 0;
       }},
      {"unset",
       "[<remote>:]<profile> <key>",
       "Unset profile configuration keys",
       2,
       2,
       [](Context &x) {
         set_keys(x, profile(x), {x.args[1]}, true);
         return 0;
       },
       {property_unset}},
  };
  return c;
}

} // namespace cli
