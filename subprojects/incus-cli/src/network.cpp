// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

Target named(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing network name");
  return t;
}
Object network(Context &c) {
  auto t = named(c);
  return {t.server, url({"networks", t.name}), "Network", "NetworkPut", fmt::format("the network \"{}\"", t.name)};
}

int list(Context &c) {
  check_format(c.text("format"));
  if (c.given("project") && c.flag("all-projects")) fail("Can't specify --project with --all-projects");
  static const std::vector<Column<json::value>> known = {
      {'e', "PROJECT", [](auto &r) { return str(r, "project"); }},
      {'n', "NAME", [](auto &r) { return str(r, "name"); }},
      {'t', "TYPE", [](auto &r) { return str(r, "type"); }},
      {'m', "MANAGED", [](auto &r) { return std::string(truth(r, "managed") ? "YES" : "NO"); }},
      {'4', "IPV4", [](auto &r) { return str(at(r, "config"), "ipv4.address"); }},
      {'6', "IPV6", [](auto &r) { return str(at(r, "config"), "ipv6.address"); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'u', "USED BY", [](auto &r) { return fmt::format("{}", array_at(r, "used_by").size()); }},
      {'s', "STATE", [](auto &r) { return upper(str(r, "status")); }},
  };
  bool everywhere = c.flag("all-projects");
  auto columns = pick_columns(known, everywhere && !c.given("columns") ? "entm46dus" : c.text("columns"));
  auto all = c.target_at(0).server->get(url({"networks"}) + "?recursion=1" + (everywhere ? "&all-projects=true" : ""));
  show_columns(c.text("format"), columns, all.as_array(), all, "[Network");
  return 0;
}

int info(Context &c) {
  auto t = named(c);
  auto s = t.server->get(url({"networks", t.name, "state"}));
  say("Name: {}\n", t.name);
  if (auto mac = str(s, "hwaddr"); !mac.empty()) say("MAC address: {}\n", mac);
  say("MTU: {}\nState: {}\nType: {}\n", num(s, "mtu"), str(s, "state"), str(s, "type"));
  if (auto &all = array_at(s, "addresses"); !all.empty()) {
    print("\nIP addresses:\n");
    for (auto &a : all) say("  {}\t{}/{} ({})\n", str(a, "family"), str(a, "address"), str(a, "netmask"), str(a, "scope"));
  }
  if (auto &n = at(s, "counters"); n.is_object())
    say("\nNetwork usage:\n  Bytes received: {}\n  Bytes sent: {}\n  Packets received: {}\n  Packets sent: {}\n", size_si(num(n, "bytes_received")),
        size_si(num(n, "bytes_sent")), num(n, "packets_received"), num(n, "packets_sent"));
  if (auto &b = at(s, "bond"); b.is_object())
    say("\nBond:\n  Mode: {}\n  Transmit policy: {}\n  Up delay: {}\n  Down delay: {}\n  MII Frequency: {}\n  MII state: {}\n  Lower devices: {}\n",
        str(b, "mode"), str(b, "transmit_policy"), num(b, "up_delay"), num(b, "down_delay"), num(b, "mii_frequency"), str(b, "mii_state"),
        join(strings_at(b, "lower_devices"), ", "));
  if (auto &b = at(s, "bridge"); b.is_object())
    say("\nBridge:\n  ID: {}\n  STP: {}\n  Forward delay: {}\n  Default VLAN ID: {}\n  VLAN filtering: {}\n  Upper devices: {}\n", str(b, "id"),
        truth(b, "stp"), num(b, "forward_delay"), num(b, "vlan_default"), truth(b, "vlan_filtering"), join(strings_at(b, "upper_devices"), ", "));
  if (auto &v = at(s, "vlan"); v.is_object()) say("\nVLAN:\n  Lower device: {}\n  VLAN ID: {}\n", str(v, "lower_device"), num(v, "vid"));
  return 0;
}

} // namespace

Command network_command() {
  Command c;
  c.names = "network";
  c.brief = "Manage and attach instances to networks";
  c.children = {
      {"get",
       "[<remote>:]<network> <key>",
       "Get values for network configuration keys",
       2,
       2,
       [](Context &x) {
         get_key(x, network(x), x.args[1]);
         return 0;
       },
       {property_get, target_flag}},
      {"info", "[<remote>:]<network>", "Get runtime information on networks", 1, 1, info, {target_flag}},
      {"list ls",
       "[<remote>:]",
       "List available networks",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "ntm46dus", "Columns"}, format_flag, all_projects_flag},
       {},
       "Columns:\n  e - Project   m - Managed   d - Description\n  n - Name      4 - IPv4      u - Used by\n  t - Type      6 - IPv6      s - State"},
      {"show",
       "[<remote>:]<network>",
       "Show network configurations",
       1,
       1,
       [](Context &x) {
         auto o = network(x);
         auto now = shaped(o.server->get(o.path), o.type);
         auto users = strings_at(now, "used_by");
         std::sort(users.begin(), users.end());
         now.as_object()["used_by"] = json::value_from(users);
         print(to_yaml(now, o.type));
         return 0;
       },
       {target_flag}},
  };
  return c;
}

} // namespace cli
