// SPDX-License-Identifier: Apache-2.0
// config device and profile device.
#include "object.hpp"

namespace cli {

namespace {

bool of_profile(const Context &c) { return c.path.rfind("profile", 0) == 0; }

Object owner(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing name");
  if (of_profile(c)) return {t.server, url({"profiles", t.name}), "Profile", "ProfilePut", t.name};
  return {t.server, url({"instances", t.name}), "Instance", "InstancePut", t.name};
}

void take_pairs(json::object &device, const Strings &args, std::size_t from) {
  for (std::size_t i = from; i < args.size(); i++) {
    auto equals = args[i].find('=');
    if (equals == std::string::npos) fail("No value found in \"{}\"", args[i]);
    device[args[i].substr(0, equals)] = args[i].substr(equals + 1);
  }
}

/// The device's own entry; fails when it is not there or comes from a profile.
json::object &own(json::value &put, const json::value &whole, const std::string &name, const char *from_profile) {
  auto &devices = make_object(put, "devices");
  auto *d = devices.if_contains(name);
  if (!d && object_at(whole, "expanded_devices").if_contains(name)) fail("{}", from_profile);
  if (!d) fail("Device doesn't exist");
  return d->as_object();
}
constexpr auto not_modified = "Device from profile(s) cannot be modified for individual instance. Override device or modify profile instead";
constexpr auto not_removed = "Device from profile(s) cannot be removed from individual instance. Override device or modify profile instead";
constexpr auto not_shown = "Device from profile(s) cannot be retrieved for individual instance";

int add(Context &c) {
  auto o = owner(c);
  change_object(o, [&](json::value &put, const json::value &) {
    auto &devices = make_object(put, "devices");
    if (devices.if_contains(c.args[1])) fail("The device already exists");
    json::object d{{"type", c.args[2]}};
    take_pairs(d, c.args, 3);
    devices[c.args[1]] = std::move(d);
  });
  if (!c.quiet()) say("Device {} added to {}\n", c.args[1], o.label);
  return 0;
}

int get(Context &c) {
  auto o = owner(c);
  auto now = o.server->get(o.path);
  auto put = now;
  say("{}\n", str(own(put, now, c.args[1], not_shown), c.args[2]));
  return 0;
}

int list(Context &c) {
  auto o = owner(c);
  Strings names;
  auto now = o.server->get(o.path);
  for (auto &d : object_at(now, "devices")) names.emplace_back(d.key());
  std::sort(names.begin(), names.end());
  say("{}\n", join(names, "\n"));
  return 0;
}

int override_one(Context &c) {
  auto o = owner(c);
  change_object(o, [&](json::value &put, const json::value &whole) {
    auto &devices = make_object(put, "devices");
    if (devices.if_contains(c.args[1])) fail("The device already exists");
    auto *d = object_at(whole, "expanded_devices").if_contains(c.args[1]);
    if (!d) fail("The profile device doesn't exist");
    json::object mine = d->as_object();
    take_pairs(mine, c.args, 2);
    devices[c.args[1]] = std::move(mine);
  });
  if (!c.quiet()) say("Device {} overridden for {}\n", c.args[1], o.label);
  return 0;
}

int remove(Context &c) {
  auto o = owner(c);
  Strings names(c.args.begin() + 1, c.args.end());
  change_object(o, [&](json::value &put, const json::value &whole) {
    for (auto &n : names) {
      own(put, whole, n, not_removed);
      make_object(put, "devices").erase(n);
    }
  });
  if (!c.quiet()) say("Device {} removed from {}\n", join(names, ", "), o.label);
  return 0;
}

int set(Context &c) {
  auto o = owner(c);
  auto pairs = pairs_of(Strings(c.args.begin() + 2, c.args.end()));
  change_object(o, [&](json::value &put, const json::value &whole) {
    auto &d = own(put, whole, c.args[1], not_modified);
    for (auto &[k, v] : pairs) d[k] = v;
  });
  return 0;
}

int unset(Context &c) {
  auto o = owner(c);
  change_object(o, [&](json::value &put, const json::value &whole) { own(put, whole, c.args[1], not_modified).erase(c.args[2]); });
  return 0;
}

int show(Context &c) {
  auto o = owner(c);
  auto now = shaped(o.server->get(o.path), o.put);
  print(to_yaml(at(now, "devices"), "{{s"));
  return 0;
}

} // namespace

Command device_command(bool profile) {
  Command c;
  c.names = "device";
  c.brief = "Manage devices";
  auto child = [&](std::string_view names, std::string_view rest, std::string_view brief, int least, int most, Run run,
                   std::string_view examples = {}) {
    // Usage texts live as long as the program.
    static std::vector<std::unique_ptr<std::string>> texts;
    texts.push_back(std::make_unique<std::string>(fmt::format("[<remote>:]<{}>{}", profile ? "profile" : "instance", rest)));
    Command m;
    m.names = names;
    m.usage = *texts.back();
    m.brief = brief;
    m.least = least;
    m.most = most;
    m.run = run;
    m.examples = examples;
    c.children.push_back(std::move(m));
  };
  child("add create", " <device> <type> [key=value...]", "Add instance devices", 3, -1, add,
        profile ? "incus profile device add web data disk source=/srv path=/srv"
                : "incus config device add c1 data disk source=/srv/data path=/srv\nincus config device add c1 eth0 nic nictype=bridged parent=br0");
  child("get", " <device> <key>", "Get values for device configuration keys", 3, 3, get);
  child("list ls", "", "List instance devices", 1, 1, list);
  if (!profile)
    child("override", " <device> [key=value...]", "Copy profile inherited devices and override configuration keys", 2, -1, override_one,
          "incus config device override c1 root size=20GiB");
  child("remove rm", " <name>...", "Remove instance devices", 2, -1, remove);
  child("set", " <device> <key>=<value>...", "Set device configuration keys", 3, -1, set);
  child("show", "", "Show full device configuration", 1, 1, show);
  child("unset", " <device> <key>", "Unset device configuration keys", 3, 3, unset);
  return c;
}

} // namespace cli
