// SPDX-License-Identifier: Apache-2.0
// copy, move and rename, on one server.
#include "create.hpp"
#include "object.hpp"

namespace cli {

namespace {

/// Keys that belong to the one instance and not to a copy of it.
bool stays_behind(std::string_view key) { return key.starts_with("volatile.") && key != "volatile.base_image"; }

void apply_overrides(Context &c, json::value &put) {
  auto &config = make_object(put, "config");
  for (auto &entry : c.list("config")) {
    auto equals = entry.find('=');
    if (equals == std::string::npos) fail("Bad key=value pair: \"{}\"", entry);
    config[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  auto &devices = make_object(put, "devices");
  for (auto &[name, keys] : device_overrides(c.list("device"))) {
    if (auto none = keys.find("type"); !devices.if_contains(name) || (none != keys.end() && none->second == "none")) devices[name] = json::object();
    for (auto &[k, v] : keys) devices[name].as_object()[k] = v;
  }
  if (c.given("profile"))
    put.as_object()["profiles"] = json::value_from(c.list("profile"));
  else if (c.flag("no-profiles"))
    put.as_object()["profiles"] = json::array();
  if (auto pool = c.text("storage"); !pool.empty()) {
    for (auto &d : devices)
      if (str(d.value(), "type") == "disk" && str(d.value(), "path") == "/") {
        d.value().as_object()["pool"] = pool;
        return;
      }
    devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", pool}};
  }
}

struct Copying {
  Target from, to;
  bool keep_volatile = false, is_move = false;
};

void one_copy(Context &c, Copying k) {
  if (k.from.name.empty()) fail("You must specify a source instance name");
  if (c.flag("refresh") && c.flag("no-profiles")) fail("--no-profiles cannot be used with --refresh");
  auto slash = k.from.name.find('/');
  bool snapshot = slash != std::string::npos;
  if (k.to.name.empty()) k.to.name = k.from.name.substr(0, slash);
  if (k.from.remote != k.to.remote) 
    fail("Copies between servers aren't made by this program yet: {} and {} differ. Publish the instance and copy the image instead", k.from.remote, k.to.remote);
  if (snapshot && c.flag("instance-only")) fail("--instance-only can't be passed when the source is a snapshot");
  if (snapshot && c.flag("refresh")) fail("--refresh can only be used with instances");
  auto path =
      snapshot ? url({"instances", k.from.name.substr(0, slash), "snapshots", k.from.name.substr(slash + 1)}) : url({"instances", k.from.name});
  auto now = k.from.server->get(path);
  auto put = shaped(now, "InstancePut");
  apply_overrides(c, put);
  if (c.flag("ephemeral"))
    put.as_object()["ephemeral"] = true;
  else if (!k.is_move)
    put.as_object()["ephemeral"] = false;
  auto &config = make_object(put, "config");
  config.erase("volatile.last_state.power");
  if (!k.keep_volatile) {
    Strings gone;
    for (auto &e : config)
      if (stays_behind(e.key())) gone.emplace_back(e.key());
    for (auto &key : gone) config.erase(key);
  }
  auto body = put;
  auto &o = body.as_object();
  o["name"] = k.to.name;
  o["type"] = str(now, "type").empty() ? "container" : str(now, "type");
  json::object source{{"type", "copy"}, {"source", k.from.name},        {"instance_only", c.flag("instance-only")},
                      {"live", false},  {"refresh", c.flag("refresh")}, {"allow_inconsistent", c.flag("allow-inconsistent")}};
  if (c.flag("refresh-exclude-older")) source["refresh_exclude_older"] = true;
  auto project = k.from.server->project();
  if (auto target = c.text("target-project"); !target.empty()) {
    source["project"] = project.empty() ? "default" : project;
    k.to.server->use_project(target);
  }
  o["source"] = source;
  auto create = url({"instances"});
  if (!c.text("target").empty()) create += "?target=" + escape(c.text("target"));
  if (auto op = k.to.server->start("POST", create, body)) wait_for(c, *op, "Transferring instance: {}");
  if (c.flag("refresh")) {
    std::string etag;
    auto target = k.to.server->get(url({"instances", k.to.name}), &etag);
    auto &next = at(at(target, "config"), "volatile.idmap.next");
    if (!next.is_null()) config["volatile.idmap.next"] = next;
    k.to.server->finish("PUT", url({"instances", k.to.name}), put, etag);
  }
  k.to.server->use_project(project);
}

int copy(Context &c) {
  auto from = c.target(c.args[0]);
  if (c.args.size() < 2 && c.text("target-project").empty()) fail("You must specify a destination instance name");
  auto to = c.args.size() > 1 ? c.target(c.args[1]) : from;
  one_copy(c, {from, to, c.flag("refresh")}); // what is there already keeps what it knows about itself
  return 0;
}

int rename_instance(Context &c, Target from, const std::string &name) {
  auto slash = from.name.find('/');
  if (slash != std::string::npos) {
    auto snapshot = name.substr(name.find('/') == std::string::npos ? 0 : name.find('/') + 1);
    json::object body{{"name", snapshot}};
    from.server->finish("POST", url({"instances", from.name.substr(0, slash), "snapshots", from.name.substr(slash + 1)}), body);
    return 0;
  }
  json::object body{{"name", name}};
  if (auto op = from.server->start("POST", url({"instances", from.name}), body)) wait_for(c, *op);
  return 0;
}

int rename(Context &c) {
  auto t = c.target(c.args[0]);
  auto [remote, name] = c.split(c.args[1]);
  if (c.args[1].find(':') != std::string::npos && remote != t.remote) fail("Can't specify a different remote for rename");
  return rename_instance(c, t, name);
}

int move(Context &c) {
  auto from = c.target(c.args[0]);
  auto to = c.args.size() > 1 ? c.target(c.args[1]) : from;
  if (c.args.size() < 2 && c.text("target").empty() && c.text("target-project").empty() && c.text("storage").empty())
    fail("You must specify a destination instance name");
  if (to.name.empty()) to.name = from.name;
  if (from.remote != to.remote) 
    fail("Moves between servers aren't made by this program yet: {} and {} differ. Publish the instance and copy the image instead", from.remote, to.remote);
  bool plain = c.text("target").empty() && c.text("target-project").empty() && c.text("storage").empty() && !c.given("config") &&
               !c.given("device") && !c.given("profile") && !c.flag("no-profiles") && !c.flag("instance-only");
  if (plain) {
    if (c.flag("stateless")) fail("The --stateless flag can't be used with --target");
    return rename_instance(c, from, to.name);
  }
  if (from.name.find('/') != std::string::npos) fail("Moving snapshots isn't supported");
  // The server moves it to another pool, project or member in one step.
  json::object body{{"name", to.name}, {"migration", true}, {"live", false}, {"instance_only", c.flag("instance-only")}};
  if (auto p = c.text("storage"); !p.empty()) body["pool"] = p;
  if (auto p = c.text("target-project"); !p.empty()) body["project"] = p;
  if (c.given("config") || c.given("device") || c.given("profile") || c.flag("no-profiles")) {
    auto put = shaped(from.server->get(url({"instances", from.name})), "InstancePut");
    auto pool = c.text("storage");
    if (!pool.empty()) c.set("storage", "");
    apply_overrides(c, put);
    for (auto *field : {"config", "devices", "profiles"}) body[field] = at(put, field);
  }
  auto path = url({"instances", from.name});
  if (!c.text("target").empty()) path += "?target=" + escape(c.text("target"));
  if (auto op = from.server->start("POST", path, body)) wait_for(c, *op, "Transferring instance: {}");
  return 0;
}

std::vector<Flag> shared_flags(bool is_move) {
  return {
      {Flag::list, "config", 'c', "", "Config key/value to apply to the target instance"},
      {Flag::list, "device", 'd', "", "New key/value to apply to a specific device"},
      {Flag::list, "profile", 'p', "", "Profile to apply to the target instance"},
      {Flag::toggle, "no-profiles", 0, "", is_move ? "Unset all profiles on the target instance" : "Create the instance with no profiles applied"},
      {Flag::toggle, "instance-only", 0, "", is_move ? "Move the instance without its snapshots" : "Copy the instance without its snapshots"},
      {Flag::text, "mode", 0, "pull", "Transfer mode. One of pull, push or relay"},
      {Flag::toggle, "stateless", 0, "", "Copy a stateful instance stateless"},
      {Flag::text, "storage", 's', "", "Storage pool name"},
      target_flag,
      {Flag::text, "target-project", 0, "", "Copy to a project different from the source"},
      {Flag::toggle, "allow-inconsistent", 0, "", "Ignore copy errors for volatile files"}};
}

} // namespace

Command copy_command() {
  Command c;
  c.names = "copy cp";
  c.usage = "[<remote>:]<source>[/<snapshot>] [[<remote>:]<destination>]";
  c.brief = "Copy instances within or in between servers";
  c.least = 1;
  c.most = 2;
  c.run = copy;
  c.flags = shared_flags(false);
  c.flags.push_back({Flag::toggle, "ephemeral", 'e', "", "Ephemeral instance"});
  c.flags.push_back({Flag::toggle, "refresh", 0, "", "Perform an incremental copy"});
  c.flags.push_back(
      {Flag::toggle, "refresh-exclude-older", 0, "", "During incremental copy, exclude source snapshots earlier than latest target snapshot"});
  c.examples = "incus copy c1 c2\nincus copy c1/before-upgrade c1-old\nincus copy c1 c2 --instance-only -c limits.memory=1GiB";
  return c;
}

Command move_command() {
  Command c;
  c.names = "move mv";
  c.usage = "[<remote>:]<instance> [<remote>:][<instance>]";
  c.brief = "Move instances within or in between servers";
  c.least = 1;
  c.most = 2;
  c.run = move;
  c.flags = shared_flags(true);
  c.examples = "incus move c1 c2\n    rename it\nincus move c1 --storage fast\n    to another pool";
  return c;
}

Command rename_command() {
  Command c;
  c.names = "rename";
  c.usage = "[<remote>:]<instance> <instance>";
  c.brief = "Rename instances";
  c.least = c.most = 2;
  c.run = rename;
  c.examples = "incus rename c1 web";
  return c;
}

} // namespace cli
