// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

Target named(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing pool name");
  return t;
}
std::string with_target(Context &c, const std::string &path) {
  auto target = c.text("target");
  return target.empty() ? path : path + "?target=" + escape(target);
}
Object pool(Context &c) {
  auto t = named(c);
  return {t.server, with_target(c, url({"storage-pools", t.name})), "StoragePool", "StoragePoolPut", fmt::format("the storage pool \"{}\"", t.name)};
}

int create(Context &c) {
  if (c.args[1].find('=') != std::string::npos) c.bad_arguments();
  auto t = named(c);
  json::value body = json::object();
  if (auto text = piped_input(); text && !text->empty()) body = shaped(from_yaml(*text, "StoragePoolPut"), "StoragePoolPut");
  auto &config = make_object(body, "config");
  for (std::size_t i = 2; i < c.args.size(); i++) {
    auto [k, v] = key_value(c.args[i]);
    config[k] = v;
  }
  body.as_object()["name"] = t.name;
  body.as_object()["driver"] = c.args[1];
  if (auto d = c.text("description"); !d.empty()) body.as_object()["description"] = d;
  t.server->send("POST", with_target(c, url({"storage-pools"})), body);
  if (!c.quiet()) say("Storage pool {} {}\n", t.name, c.text("target").empty() ? "created" : "pending on member " + c.text("target"));
  return 0;
}

int erase(Context &c) {
  auto t = named(c);
  t.server->send("DELETE", url({"storage-pools", t.name}));
  if (!c.quiet()) say("Storage pool {} deleted\n", t.name);
  return 0;
}

/// "/1.0/instances/c1?project=p" as kind and "c1 (project \"p\")"; snapshots are left out.
bool used_by(const std::string &link, std::string &kind, std::string &name) {
  auto question = link.find('?');
  auto path = link.substr(0, question);
  auto fields = split_text(path.rfind("/1.0/", 0) == 0 ? std::string_view(path).substr(5) : std::string_view(path), '/');
  kind = "unrecognized";
  name = path;
  if (fields.size() > 1) {
    kind = fields[0];
    name = fields[1];
    if (fields[fields.size() - 2] == "snapshots") return false;
    if (fields[0] == "storage-pools" && fields.size() > 3) {
      kind = fields[2];
      name = kind == "volumes" && fields.size() > 4 ? fields[4] : fields[3];
    }
  }
  Strings notes;
  if (question != std::string::npos)
    for (auto *key : {"project", "target"})
      for (auto &pair : split_text(link.substr(question + 1), '&'))
        if (pair.rfind(std::string(key) + "=", 0) == 0)
          notes.push_back(fmt::format("{} \"{}\"", std::string_view(key) == "target" ? "location" : key, pair.substr(pair.find('=') + 1)));
  if (!notes.empty()) name += " (" + join(notes, ", ") + ")";
  return true;
}

int info(Context &c) {
  auto o = pool(c);
  auto now = o.server->get(o.path);
  auto t = c.target(c.args[0]);
  auto resources = o.server->get(with_target(c, url({"storage-pools", t.name, "resources"})));
  auto &space = at(resources, "space");
  auto amount = [&](const char *field) { return c.flag("bytes") ? fmt::format("{}", num(space, field)) : size_iec(num(space, field)); };
  json::object facts{{"name", str(now, "name")},
                     {"driver", str(now, "driver")},
                     {"description", str(now, "description")},
                     {"total space", amount("total")},
                     {"space used", amount("used")}};
  json::object users;
  for (auto &link : strings_at(now, "used_by")) {
    std::string kind, name;
    if (!used_by(link, kind, name)) continue;
    auto &list = users[kind];
    if (!list.is_array()) list = json::array();
    list.get_array().emplace_back(name);
  }
  print(to_yaml(json::object{{"info", facts}}, "{{s"));
  print(to_yaml(json::object{{"used by", users}}, "{{[s"));
  return 0;
}

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME", [](auto &r) { return str(r, "name"); }},
      {'D', "DRIVER", [](auto &r) { return str(r, "driver"); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'S', "SOURCE", [](auto &r) { return str(at(r, "config"), "source"); }},
      {'u', "USED BY", [](auto &r) { return fmt::format("{}", array_at(r, "used_by").size()); }},
      {'s', "STATE", [](auto &r) { return upper(str(r, "status")); }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  auto all = c.target_at(0).server->get(url({"storage-pools"}) + "?recursion=1");
  show_columns(c.text("format"), columns, all.as_array(), all, "[StoragePool");
  return 0;
}

int show(Context &c) {
  auto o = pool(c);
  if (c.flag("resources")) {
    auto t = c.target(c.args[0]);
    auto r = o.server->get(with_target(c, url({"storage-pools", t.name, "resources"})));
    print(to_yaml(shaped(r, "ResourcesStoragePool"), "ResourcesStoragePool"));
    return 0;
  }
  auto now = shaped(o.server->get(o.path), o.type);
  auto users = strings_at(now, "used_by");
  std::sort(users.begin(), users.end());
  now.as_object()["used_by"] = json::value_from(users);
  print(to_yaml(now, o.type));
  return 0;
}

} // namespace

Command storage_command() {
  Command c;
  c.names = "storage";
  c.brief = "Manage storage pools and volumes";
  c.children = {
      {"create",
       "[<remote>:]<pool> <driver> [key=value...]",
       "Create storage pools",
       2,
       -1,
       create,
       {target_flag, {Flag::text, "description", 0, "", "Storage pool description"}},
       {},
       {},
       "incus storage create fast dir source=/srv/incus"},
      {"delete rm", "[<remote>:]<pool>", "Delete storage pools", 1, 1, erase},
      {"edit", "[<remote>:]<pool>", "Edit storage pool configurations as YAML", 1, 1,
       [](Context &x) {
         edit_object(pool(x), "The pool as YAML. Lines that start with # are ignored.\nName, driver and status are shown and cannot be changed.");
         return 0;
       }},
      {"get",
       "[<remote>:]<pool> <key>",
       "Get values for storage pool configuration keys",
       2,
       2,
       [](Context &x) {
         get_key(x, pool(x), x.args[1]);
         return 0;
       },
       {property_get, target_flag}},
      {"info",
       "[<remote>:]<pool>",
       "Show useful information about storage pools",
       1,
       1,
       info,
       {{Flag::toggle, "bytes", 0, "", "Show the used and free space in bytes"}, target_flag}},
      {"list ls",
       "[<remote>:]",
       "List available storage pools",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "nDdus", "Columns"}, format_flag},
       {},
       "Columns: n - Name, D - Driver, d - Description, S - Source, u - Used by, s - State"},
      {"set",
       "[<remote>:]<pool> <key> <value>",
       "Set storage pool configuration keys",
       2,
       -1,
       [](Context &x) {
         set_keys(x, pool(x), Strings(x.args.begin() + 1, x.args.end()), false);
         return 0;
       },
       {property_set, target_flag}},
      {"show",
       "[<remote>:]<pool>",
       "Show storage pool configurations and resources",
       1,
       1,
       show,
       {{Flag::toggle, "resources", 0, "", "Show the resources available to the storage pool"}, target_flag}},
      {"unset",
       "[<remote>:]<pool> <key>",
       "Unset storage pool configuration keys",
       2,
       2,
       [](Context &x) {
         set_keys(x, pool(x), {x.args[1]}, true);
         return 0;
       },
       {property_unset, target_flag}},
      storage_volume_command(),
  };
  return c;
}

} // namespace cli
