// SPDX-License-Identifier: Apache-2.0
#include "list_filter.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

constexpr std::string_view usual = "ns46tSL", usual_all_projects = "ens46tSL";

struct ListColumn {
  std::string title;
  std::function<std::string(const json::value &)> value;
  bool needs_state = false;
};

bool active(const json::value &i) {
  auto status = str(i, "status");
  return status != "Stopped" && status != "Error" && !status.empty();
}

std::string addresses(const json::value &i, std::string_view family) {
  if (!active(i)) return {};
  Strings found;
  for (auto &net : object_at(at(i, "state"), "network")) {
    if (str(net.value(), "type") == "loopback") continue;
    for (auto &a : array_at(net.value(), "addresses")) {
      auto scope = str(a, "scope");
      if (scope == "link" || scope == "local" || str(a, "family") != family) continue;
      found.push_back(fmt::format("{} ({})", str(a, "address"), std::string_view(net.key())));
    }
  }
  std::sort(found.rbegin(), found.rend());
  return join(found, "\n");
}

const json::value &root_disk(const json::value &i, std::string *name = nullptr) {
  static const json::value none;
  for (auto &d : object_at(i, "expanded_devices"))
    if (str(d.value(), "type") == "disk" && str(d.value(), "path") == "/") {
      if (name) *name = d.key();
      return d.value();
    }
  return none;
}

std::string base_image(const json::value &i, bool whole) {
  auto v = str(at(i, "config"), "volatile.base_image");
  return whole || v.size() < 12 ? v : v.substr(0, 12);
}

std::string state_number(const json::value &i, const char *field) {
  return active(i) && at(i, "state").is_object() ? fmt::format("{}", num(at(i, "state"), field)) : "";
}

std::string memory_share(const json::value &i) {
  auto used = num(at(at(i, "state"), "memory"), "usage");
  auto limit = str(at(i, "expanded_config"), "limits.memory");
  if (!active(i) || used <= 0 || limit.empty() || limit.find('%') != std::string::npos) return {};
  auto most = parse_size(limit);
  return most > 0 ? fmt::format("{:.1f}%", static_cast<double>(used) / static_cast<double>(most) * 100) : "";
}

const std::map<char, ListColumn> &letters() {
  static const std::map<char, ListColumn> all = {
      {'4', {"IPV4", [](auto &i) { return addresses(i, "inet"); }, true}},
      {'6', {"IPV6", [](auto &i) { return addresses(i, "inet6"); }, true}},
      {'a', {"ARCHITECTURE", [](auto &i) { return str(i, "architecture"); }}},
      {'b', {"STORAGE POOL", [](auto &i) { return str(root_disk(i), "pool"); }}},
      {'c', {"CREATED AT", [](auto &i) { return show_time(str(i, "created_at")); }}},
      {'d', {"DESCRIPTION", [](auto &i) { return str(i, "description"); }}},
      {'D',
       {"DISK USAGE",
        [](auto &i) {
          std::string root;
          root_disk(i, &root);
          auto used = num(at(at(at(i, "state"), "disk"), root), "usage");
          return used > 0 ? size_iec(used) : "";
        },
        true}},
      {'e', {"PROJECT", [](auto &i) { return str(i, "project"); }}},
      {'f', {"BASE IMAGE", [](auto &i) { return base_image(i, false); }}},
      {'F', {"BASE IMAGE", [](auto &i) { return base_image(i, true); }}},
      {'l', {"LAST USED AT", [](auto &i) { return show_time(str(i, "last_used_at")); }}},
      {'L', {"LOCATION", [](auto &i) { return str(i, "location"); }}},
      {'m',
       {"MEMORY USAGE",
        [](auto &i) {
          auto used = num(at(at(i, "state"), "memory"), "usage");
          return active(i) && used > 0 ? size_iec(used) : "";
        },
        true}},
      {'M', {"MEMORY USAGE%", memory_share, true}},
      {'n', {"NAME", [](auto &i) { return str(i, "name"); }}},
      {'N', {"PROCESSES", [](auto &i) { return state_number(i, "processes"); }, true}},
      {'p', {"PID", [](auto &i) { return state_number(i, "pid"); }, true}},
      {'P', {"PROFILES", [](auto &i) { return join(strings_at(i, "profiles"), "\n"); }}},
      {'s', {"STATE", [](auto &i) { return upper(str(i, "status")); }}},
      {'S', {"SNAPSHOTS", [](auto &i) { return fmt::format("{}", array_at(i, "snapshots").size()); }, true}},
      {'t',
       {"TYPE",
        [](auto &i) {
          auto type = str(i, "type");
          auto t = upper(type.empty() ? "container" : type);
          return truth(i, "ephemeral") ? t + " (EPHEMERAL)" : t;
        }}},
      {'u',
       {"CPU USAGE",
        [](auto &i) {
          auto used = num(at(at(i, "state"), "cpu"), "usage");
          return active(i) && used > 0 ? fmt::format("{}s", used / 1000000000) : "";
        },
        true}},
      {'U', {"STARTED AT", [](auto &i) { return show_time(str(at(i, "state"), "started_at")); }, true}},
  };
  return all;
}

/// "config:user.comment:NAME:WIDTH", "devices:eth0.parent".
ListColumn key_column(const std::string &entry) {
  auto parts = split_text(entry, ':');
  bool device = false;
  if (parts.size() > 1 && (parts[0] == "config" || parts[0] == "devices")) {
    device = parts[0] == "devices";
    parts.erase(parts.begin());
  }
  if (parts.size() > 3) fail("Invalid config key column format (too many fields): '{}'", entry);
  auto key = parts[0];
  static const char *const groups[] = {"user.",     "environment.", "image.",    "boot.",       "limits.",  "linux.", "migration.", "nvidia.", "raw.",
                                       "security.", "snapshots.",   "volatile.", "cloud-init.", "cluster.", "agent.", "oci.",       "systemd."};
  if (!device && std::none_of(std::begin(groups), std::end(groups), [&](auto *g) { return key.rfind(g, 0) == 0; }))
    fail("Invalid config key '{}' in '{}'", key, entry);
  ListColumn c;
  c.title = key;
  if (parts.size() > 1) {
    if (parts[1].empty() && parts.size() != 3) fail("Invalid name in '{}', empty string is only allowed when defining maxWidth", entry);
    c.title = parts[1];
  }
  std::int64_t most = -1;
  if (parts.size() > 2) {
    char *end = nullptr;
    most = std::strtoll(parts[2].c_str(), &end, 10);
    if (parts[2].empty() || *end) fail("Invalid max width (must be an integer) '{}' in '{}'", parts[2], entry);
    if (most < -1) fail("Invalid max width (must -1, 0 or a positive integer) '{}' in '{}'", parts[2], entry);
    if (most == 0) most = static_cast<std::int64_t>(c.title.size());
  }
  c.value = [key, device, most](const json::value &i) {
    std::string v;
    if (!device) {
      v = at(at(i, "config"), key).is_null() ? str(at(i, "expanded_config"), key) : str(at(i, "config"), key);
    } else {
      auto dot = key.find('.');
      if (dot == std::string::npos) return v;
      auto name = key.substr(0, dot), field = key.substr(dot + 1);
      auto &own = at(at(at(i, "devices"), name), field);
      v = own.is_null() ? str(at(at(i, "expanded_devices"), name), field) : str(at(at(i, "devices"), name), field);
    }
    return most > 0 && static_cast<std::int64_t>(v.size()) > most ? v.substr(0, static_cast<std::size_t>(most)) : v;
  };
  return c;
}

std::vector<ListColumn> chosen(Context &c, Server &server) {
  auto wanted = c.text("columns");
  if (c.flag("all-projects") && wanted == usual) wanted = usual_all_projects;
  if (c.flag("fast")) {
    if (wanted != usual && wanted != usual_all_projects) fail("Can't specify --fast with --columns");
    wanted = wanted == usual_all_projects ? "ensacPt" : "nsacPt";
  }
  bool clustered = wanted.find('L') != std::string::npos && server.clustered();
  if (!clustered && wanted.find('L') != std::string::npos) {
    if (wanted != usual && wanted != usual_all_projects) {
      for (auto &entry : split_text(wanted, ','))
        if (entry.find('.') == std::string::npos && entry.find('L') != std::string::npos) fail("Can't specify column L when not clustered");
    } else {
      wanted.erase(wanted.find('L'), 1);
    }
  }
  std::vector<ListColumn> out;
  for (auto &entry : split_text(wanted, ',')) {
    if (entry.empty()) fail("Empty column entry (redundant, leading or trailing command) in '{}'", wanted);
    if (entry.find('.') != std::string::npos) {
      out.push_back(key_column(entry));
      continue;
    }
    for (char l : entry) {
      auto it = letters().find(l);
      if (it == letters().end()) fail("Unknown column shorthand char '{}' in '{}'", l, entry);
      out.push_back(it->second);
    }
  }
  return out;
}

int run(Context &c) {
  check_format(c.text("format"));
  if (c.given("project") && c.flag("all-projects")) fail("Can't specify --project with --all-projects");
  std::string remote = c.settings.default_remote;
  Strings filters = c.args;
  if (!filters.empty() && filters[0].find('=') == std::string::npos && filters[0].find(':') != std::string::npos) {
    std::string name;
    std::tie(remote, name) = c.split(filters[0]);
    filters.erase(filters.begin());
    if (!name.empty()) filters.push_back(name);
  }
  for (auto &f : filters)
    if (f.rfind("state=", 0) == 0) f = "status=" + f.substr(6);
  auto &server = c.server(remote);
  auto columns = chosen(c, server);
  bool state = std::any_of(columns.begin(), columns.end(), [](auto &k) { return k.needs_state; });
  auto path = url({"instances"}) + (state ? "?recursion=2" : "?recursion=1");
  if (c.flag("all-projects")) path += "&all-projects=true";
  auto all = server.get(path);
  json::array shown;
  Rows rows;
  if (all.is_array())
    for (auto &i : all.get_array()) {
      if (!instance_matches(i, filters)) continue;
      Strings row;
      for (auto &k : columns) row.push_back(k.value(i));
      rows.push_back(std::move(row));
      shown.push_back(i);
    }
  sort_rows(rows);
  Strings header;
  for (auto &k : columns) header.push_back(k.title);
  show_table(c.text("format"), std::move(header), rows, shown, "[InstanceFull");
  return 0;
}

} // namespace

Command list_command() {
  Command c;
  c.names = "list ls";
  c.usage = "[<remote>:] [<filter>...]";
  c.brief = "List instances";
  c.most = -1;
  c.run = run;
  c.flags = {
      {Flag::text, "columns", 'c', usual, "Columns"},
      {Flag::text, "format", 'f', "table", "Format (csv|json|table|yaml|compact), \",noheader\" leaves the header out, \",header\" adds it to csv"},
      {Flag::toggle, "fast", 0, "", "Fast mode (same as --columns=nsacPt)"},
      {Flag::toggle, "all-projects", 0, "", "Display instances from all projects"}};
  c.details = R"(Filters, of which all must match:
  a name, its beginning, or a regular expression of names
  KEY=VALUE: a configuration key of the instance or its profiles; every part of the key may be shortened
    ("u.blah=abc" is "user.blah=abc"), the value may be a regular expression
  type=, status=, architecture=, location=, ipv4=, ipv6= (an address or CIDR); values separated by commas

Columns:
  4 - IPv4 address            m - Memory usage           S - Number of snapshots
  6 - IPv6 address            M - Memory usage (%)       t - Type (persistent or ephemeral)
  a - Architecture            n - Name                   u - CPU usage (in seconds)
  b - Storage pool            N - Number of processes    U - Started date
  c - Creation date           p - PID of init            L - Location (cluster member)
  d - Description             P - Profiles               f - Base image fingerprint (short)
  D - Disk usage              s - State                  F - Base image fingerprint (long)
  e - Project name            l - Last used date
  [config:|devices:]KEY[:NAME[:WIDTH]] shows a key under NAME, cut to WIDTH characters)";
  c.examples = R"(incus list
incus list status=running -c ns4
incus list -c ns,user.comment:comment
incus list -c nFs46,volatile.eth0.hwaddr:MAC,config:image.os,devices:eth0.parent:ETHP)";
  return c;
}

} // namespace cli
