// SPDX-License-Identifier: Apache-2.0
#include "create.hpp"
#include "info.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

std::string or_space(const std::string &text) { return text.empty() ? " " : text; }

json::value whole_instance(Server &server, const std::string &name) {
  auto i = server.get(url({"instances", name}) + "?recursion=1");
  if (i.is_object() && !i.get_object().if_contains("state")) {
    i.get_object()["state"] = server.get(url({"instances", name, "state"}));
    i.get_object()["snapshots"] = server.get(url({"instances", name, "snapshots"}) + "?recursion=1");
  }
  return i;
}

void show_network(const json::value &net, std::string_view name) {
  say("    {}:\n      Type: {}\n      State: {}\n", name, str(net, "type"), upper(str(net, "state")));
  if (!str(net, "host_name").empty()) say("      Host interface: {}\n", str(net, "host_name"));
  if (!str(net, "hwaddr").empty()) say("      MAC address: {}\n", str(net, "hwaddr"));
  if (num(net, "mtu")) say("      MTU: {}\n", num(net, "mtu"));
  auto &n = at(net, "counters");
  say("      Bytes received: {}\n      Bytes sent: {}\n", size_si(num(n, "bytes_received")), size_si(num(n, "bytes_sent")));
  say("      Packets received: {}\n      Packets sent: {}\n      IP addresses:\n", num(n, "packets_received"), num(n, "packets_sent"));
  for (auto &a : array_at(net, "addresses"))
    say("        {}:{} {}/{} ({})\n", str(a, "family"), str(a, "family") == "inet" ? " " : "", str(a, "address"), str(a, "netmask"), str(a, "scope"));
}

void show_usage(const json::value &state) {
  if (auto &os = at(state, "os_info"); os.is_object())
    say("\nOperating System:\n  OS: {}\n  OS Version: {}\n  Kernel Version: {}\n  Hostname: {}\n  FQDN: {}\n", str(os, "os"), str(os, "os_version"),
        str(os, "kernel_version"), str(os, "hostname"), str(os, "fqdn"));
  say("\nResources:\n  Processes: {}\n", num(state, "processes"));
  std::string lines;
  for (auto &d : object_at(state, "disk"))
    if (num(d.value(), "usage")) lines += fmt::format("    {}: {}\n", std::string_view(d.key()), size_iec(num(d.value(), "usage")));
  if (!lines.empty()) say("  Disk usage:\n{}", lines);
  if (auto used = num(at(state, "cpu"), "usage")) say("  CPU usage:\n    CPU usage (in seconds): {}\n", used / 1000000000);
  lines.clear();
  auto &memory = at(state, "memory");
  static const std::pair<const char *, const char *> parts[] = {
      {"usage", "Memory (current)"}, {"usage_peak", "Memory (peak)"}, {"swap_usage", "Swap (current)"}, {"swap_usage_peak", "Swap (peak)"}};
  for (auto &[field, title] : parts)
    if (num(memory, field)) lines += fmt::format("    {}: {}\n", title, size_iec(num(memory, field)));
  if (!lines.empty()) say("  Memory usage:\n{}", lines);
  std::map<std::string, const json::value *> sorted;
  for (auto &n : object_at(state, "network")) sorted[n.key()] = &n.value();
  if (!sorted.empty()) print("  Network usage:\n");
  for (auto &[name, net] : sorted) show_network(*net, name);
}

int show_instance(Context &c, Server &server, const std::string &name) {
  if (!c.text("target").empty()) fail("--target cannot be used with instances");
  auto i = whole_instance(server, name);
  auto &state = at(i, "state");
  say("Name: {}\nDescription: {}\nStatus: {}\n", str(i, "name"), str(i, "description"), upper(str(i, "status")));
  auto type = str(i, "type").empty() ? "container" : str(i, "type");
  say("Type: {}{}\nArchitecture: {}\n", type, truth(i, "ephemeral") ? " (ephemeral)" : "", str(i, "architecture"));
  if (!str(i, "location").empty() && str(i, "location") != "none" && server.clustered()) say("Location: {}\n", str(i, "location"));
  auto pid = num(state, "pid");
  if (pid) say("PID: {}\n", pid);
  if (auto t = show_time(str(i, "created_at")); !t.empty()) say("Created: {}\n", t);
  if (auto t = show_time(str(i, "last_used_at")); !t.empty()) say("Last Used: {}\n", t);
  if (pid) {
    if (auto t = show_time(str(state, "started_at")); !t.empty()) say("Started: {}\n", t);
    show_usage(state);
  }
  if (auto &snapshots = array_at(i, "snapshots"); !snapshots.empty()) {
    Rows rows;
    for (auto &s : snapshots) {
      auto n = str(s, "name");
      rows.push_back({n.substr(n.rfind('/') + 1), or_space(show_time(str(s, "created_at"))), or_space(show_time(str(s, "expires_at"))),
                      truth(s, "stateful") ? "YES" : "NO"});
    }
    print("\nSnapshots:\n" + draw_table({"Name", "Taken at", "Expires at", "Stateful"}, rows, false));
  }
  if (auto &backups = array_at(i, "backups"); !backups.empty()) {
    Rows rows;
    for (auto &b : backups)
      rows.push_back({str(b, "name"), or_space(show_time(str(b, "created_at"))), or_space(show_time(str(b, "expires_at"))),
                      truth(b, "instance_only") ? "YES" : "NO", truth(b, "optimized_storage") ? "YES" : "NO"});
    print("\nBackups:\n" + draw_table({"Name", "Taken at", "Expires at", "Instance Only", "Optimized Storage"}, rows, false));
  }
  if (c.flag("show-log")) {
    incus::RawCall call;
    call.method = "GET";
    call.path = url({"instances", name, "logs", type == "container" ? "lxc.log" : "qemu.log"});
    say("\nLog:\n\n{}\n", read_bodies(server.call(std::move(call))));
  }
  return 0;
}

int run(Context &c) {
  auto t = c.target_at(0);
  if (t.name.empty()) {
    if (c.flag("resources")) {
      auto path = url({"resources"});
      if (!c.text("target").empty()) path += "?target=" + escape(c.text("target"));
      show_resources(t.server->get(path));
      return 0;
    }
    auto info = t.server->info();
    // On the wire these fields begin with capitals.
    if (auto *drivers =
            info.as_object()["environment"].is_object() ? info.at("environment").as_object().if_contains("storage_supported_drivers") : nullptr)
      if (drivers->is_array())
        for (auto &d : drivers->get_array())
          d = json::object{{"name", str(d, "Name")}, {"version", str(d, "Version")}, {"remote", truth(d, "Remote")}};
    print(to_yaml(shaped(info, "Server"), "Server"));
    return 0;
  }
  if (c.flag("show-access")) {
    print(to_yaml(t.server->get(url({"instances", t.name, "access"}))));
    return 0;
  }
  return show_instance(c, *t.server, t.name);
}

} // namespace

Command info_command() {
  Command c;
  c.names = "info";
  c.usage = "[<remote>:][<instance>]";
  c.brief = "Show instance or server information";
  c.most = 1;
  c.run = run;
  c.flags = {{Flag::toggle, "show-access", 0, "", "Show the instance's access list"},
             {Flag::toggle, "show-log", 0, "", "Show the instance's recent log entries"},
             {Flag::toggle, "resources", 0, "", "Show the resources available to the server"},
             {Flag::text, "target", 0, "", "Cluster member name"}};
  c.examples = "incus info c1 --show-log\nincus info\nincus info --resources";
  return c;
}

} // namespace cli
