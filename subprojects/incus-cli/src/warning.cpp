// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'c', "COUNT", [](auto &r) { return fmt::format("{}", num(r, "count")); }},
      {'f', "FIRST SEEN", [](auto &r) { return show_time(str(r, "first_seen_at")); }},
      {'l', "LAST SEEN", [](auto &r) { return show_time(str(r, "last_seen_at")); }},
      {'L', "LOCATION", [](auto &r) { return str(r, "location"); }},
      {'p', "PROJECT", [](auto &r) { return str(r, "project"); }},
      {'s', "SEVERITY", [](auto &r) { return upper(str(r, "severity")); }},
      {'S', "STATE", [](auto &r) { return upper(str(r, "status")); }},
      {'t', "TYPE", [](auto &r) { return str(r, "type"); }},
      {'u', "UUID", [](auto &r) { return str(r, "uuid"); }},
  };
  auto &server = *c.target_at(0).server;
  auto wanted = c.text("columns");
  if (!server.clustered()) {
    if (c.given("columns") && wanted != "utSscpLl" && wanted.find('L') != std::string::npos) fail("Can't specify column L when not clustered");
    wanted.erase(std::remove(wanted.begin(), wanted.end(), 'L'), wanted.end());
  }
  auto columns = pick_columns(known, wanted);
  auto all = server.get(url({"warnings"}) + "?recursion=1");
  json::array shown;
  if (all.is_array())
    for (auto &w : all.get_array())
      if (auto s = str(w, "status"); c.flag("all") || (s != "acknowledged" && s != "resolved")) shown.push_back(w);
  show_columns(c.text("format"), columns, shown, shown, "[Warning");
  return 0;
}

int acknowledge(Context &c) {
  auto t = c.target(c.args[0]);
  json::object body{{"status", "acknowledged"}};
  t.server->send("PUT", url({"warnings", t.name}), body);
  return 0;
}

int show(Context &c) {
  auto t = c.target(c.args[0]);
  show_object({t.server, url({"warnings", t.name}), "Warning", "WarningPut", t.name});
  return 0;
}

int erase(Context &c) {
  auto t = c.target_at(0);
  if (!c.flag("all") && t.name.empty()) fail("Need the uuid of a warning, or --all");
  if (!c.flag("all")) {
    t.server->send("DELETE", url({"warnings", t.name}));
    return 0;
  }
  auto all = t.server->get(url({"warnings"}) + "?recursion=1");
  if (all.is_array())
    for (auto &w : all.get_array()) t.server->send("DELETE", url({"warnings", str(w, "uuid")}));
  return 0;
}

} // namespace

Command warning_command() {
  Command c;
  c.names = "warning";
  c.brief = "Manage warnings";
  c.hidden = true;
  c.children = {
      {"acknowledge ack", "[<remote>:]<warning-uuid>", "Acknowledge warning", 1, 1, acknowledge},
      {"delete rm", "[<remote>:]<warning-uuid>", "Delete warning", 0, 1, erase, {{Flag::toggle, "all", 'a', "", "Delete all warnings"}}},
      {"list ls",
       "[<remote>:]",
       "List warnings",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "utSscpLl", "Columns"}, format_flag, {Flag::toggle, "all", 'a', "", "List all warnings"}},
       {},
       "Columns:\n  c - Count        l - Last seen   s - Severity   u - UUID\n  f - First seen   L - Location    S - State      t - Type\n  p - "
       "Project"},
      {"show", "[<remote>:]<warning-uuid>", "Show warning", 1, 1, show},
  };
  return c;
}

} // namespace cli
