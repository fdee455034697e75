// SPDX-License-Identifier: Apache-2.0
// config: instances, snapshots and the server.
#include "object.hpp"

namespace cli {

namespace {

bool has_dot(const std::string &argument) {
  return argument.substr(argument.find(':') == std::string::npos ? 0 : argument.find(':') + 1).find('.') != std::string::npos;
}

/// An instance, a snapshot "INSTANCE/SNAPSHOT", or with an empty name the server.
Object object_of(Context &c, const Target &t) {
  if (t.name.empty()) {
    auto path = std::string("/1.0");
    if (auto target = c.text("target"); !target.empty()) {
      if (!t.server->clustered()) fail("To use --target, the destination remote must be a cluster");
      path += "?target=" + escape(target);
    }
    return {t.server, path, "Server", "ServerPut", "the server"};
  }
  if (!c.text("target").empty()) fail("--target cannot be used with instances");
  auto slash = t.name.find('/');
  if (slash == std::string::npos)
    return {t.server, url({"instances", t.name}), "Instance", "InstancePut", fmt::format("the instance \"{}\"", t.name)};
  auto name = t.name.substr(0, slash), snapshot = t.name.substr(slash + 1);
  return {t.server, url({"instances", name, "snapshots", snapshot}), "InstanceSnapshot", "InstanceSnapshotPut",
          fmt::format("the instance snapshot {}/{}", name, snapshot)};
}

int show(Context &c) {
  auto t = c.target_at(0);
  auto o = object_of(c, t);
  auto now = o.server->get(o.path);
  if (t.name.empty()) {
    print(to_yaml(shaped(now, "ServerPut"), "ServerPut"));
    return 0;
  }
  if (c.flag("expanded") && now.is_object()) {
    now.get_object()["config"] = at(now, "expanded_config");
    now.get_object()["devices"] = at(now, "expanded_devices");
  }
  bool snapshot = o.type == "InstanceSnapshot";
  if (snapshot) {
    print(to_yaml(shaped(now, "InstanceSnapshot"), "InstanceSnapshot"));
    return 0;
  }
  print(to_yaml(shaped(now, "InstancePut"), "InstancePut"));
  return 0;
}

int edit(Context &c) {
  auto t = c.target_at(0);
  auto o = object_of(c, t);
  if (t.name.empty()) {
    o.type = "ServerPut";
    edit_object(o, "The server's configuration as YAML. Lines that start with # are ignored.");
  } else {
    edit_object(o,
                "The configuration as YAML. Lines that start with # are ignored.\n"
                "Name, status and other facts are shown and cannot be changed here. Example:\n"
                "config:\n"
                "  limits.cpu: \"2\"\n"
                "devices:\n"
                "  eth0: {type: nic, nictype: bridged, parent: br0}",
                {"expanded_config", "expanded_devices"});
  }
  return 0;
}

int get(Context &c) {
  auto t = c.target(c.args.size() > 1 ? c.args[0] : "");
  if (t.name.empty() && c.flag("expanded")) fail("--expanded cannot be used with a server");
  get_key(c, object_of(c, t), c.args.back(), c.flag("expanded"));
  return 0;
}

int set(Context &c) {
  bool any_pair = std::any_of(c.args.begin(), c.args.end(), [](auto &a) { return a.find('=') != std::string::npos; });
  bool all_pairs = std::all_of(c.args.begin(), c.args.end(), [](auto &a) { return a.find('=') != std::string::npos; });
  bool server = all_pairs || has_dot(c.args[0]) || (c.args.size() == 2 && !any_pair);
  auto t = c.target(server ? "" : c.args[0]);
  auto o = object_of(c, t);
  if (o.type == "InstanceSnapshot" && !c.flag("property")) fail("The is no config key to set on an instance snapshot.");
  set_keys(c, o, Strings(c.args.begin() + (server ? 0 : 1), c.args.end()), false);
  return 0;
}

int unset(Context &c) {
  auto t = c.target(c.args.size() > 1 ? c.args[0] : "");
  auto o = object_of(c, t);
  if (t.name.empty()) {
    // The server takes an empty value for one that is not set.
    change_object(o, [&](json::value &put, const json::value &) { make_object(put, "config")[c.args.back()] = ""; });
    return 0;
  }
  if (o.type == "InstanceSnapshot" && !c.flag("property")) fail("The is no config key to set on an instance snapshot.");
  set_keys(c, o, {c.args.back()}, true);
  return 0;
}

} // namespace

Command config_command() {
  Command c;
  c.names = "config";
  c.brief = "Manage instance and server configuration options";
  Command m;
  m.names = "show";
  m.usage = "[<remote>:][<instance>[/<snapshot>]]";
  m.brief = "Show instance or server configurations";
  m.most = 1;
  m.run = show;
  m.flags = {{Flag::toggle, "expanded", 'e', "", "Show the expanded configuration"}, target_flag};
  c.children.push_back(m);
  m.names = "edit";
  m.brief = "Edit instance or server configurations as YAML";
  m.run = edit;
  m.flags = {target_flag};
  m.examples = "incus config edit c1\nincus config edit c1 < instance.yaml";
  c.children.push_back(m);
  m.names = "get";
  m.usage = "[<remote>:][<instance>] <key>";
  m.brief = "Get values for instance or server configuration keys";
  m.examples = "incus config get c1 limits.memory";
  m.least = 1;
  m.most = 2;
  m.run = get;
  m.flags = {{Flag::toggle, "expanded", 'e', "", "Access the expanded configuration"}, property_get, target_flag};
  c.children.push_back(m);
  m.names = "set";
  m.usage = "[<remote>:][<instance>] <key>=<value>...";
  m.brief = "Set instance or server configuration keys";
  m.examples = "incus config set c1 limits.cpu=2 limits.memory=1GiB\nincus config set core.https_address=[::]:8443\nincus config set c1 "
               "user.user-data - < cloud-init.yaml";
  m.most = -1;
  m.run = set;
  m.flags = {property_set, target_flag};
  c.children.push_back(m);
  m.names = "unset";
  m.usage = "[<remote>:][<instance>] <key>";
  m.brief = "Unset instance or server configuration keys";
  m.examples = "incus config unset c1 limits.cpu";
  m.most = 2;
  m.run = unset;
  m.flags = {property_unset, target_flag};
  c.children.push_back(m);
  c.children.push_back(device_command(false));
  c.children.push_back(config_trust_command());
  c.children.push_back(config_metadata_command());
  c.children.push_back(config_template_command());
  return c;
}

} // namespace cli
