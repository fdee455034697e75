// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

int list(Context &c) {
  check_format(c.text("format"));
  if (c.given("project") && c.flag("all-projects")) fail("Can't specify --project with --all-projects");
  static const std::vector<Column<json::value>> known = {
      {'i', "ID", [](auto &r) { return str(r, "id"); }},
      {'t', "TYPE", [](auto &r) { return upper(str(r, "class")); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'s', "STATE", [](auto &r) { return upper(str(r, "status")); }},
      {'c', "CANCELABLE", [](auto &r) { return std::string(truth(r, "may_cancel") ? "YES" : "NO"); }},
      {'C', "CREATED", [](auto &r) { return show_time(str(r, "created_at")); }},
      {'L', "LOCATION", [](auto &r) { return str(r, "location"); }},
  };
  auto t = c.target_at(0);
  auto wanted = c.text("columns");
  if (!c.given("columns") && t.server->clustered()) wanted += "L";
  auto columns = pick_columns(known, wanted);
  auto kinds = t.server->get(url({"operations"}) + "?recursion=1" + (c.flag("all-projects") ? "&all-projects=true" : ""));
  json::array all;
  if (kinds.is_object())
    for (auto &k : kinds.get_object())
      if (k.value().is_array())
        for (auto &op : k.value().get_array()) all.push_back(op);
  show_columns(c.text("format"), columns, all, all, "[Operation");
  return 0;
}

int show(Context &c) {
  auto t = c.target(c.args[0]);
  show_object({t.server, url({"operations", t.name}), "Operation", "Operation", t.name});
  return 0;
}

int erase(Context &c) {
  auto t = c.target(c.args[0]);
  t.server->send("DELETE", url({"operations", t.name}));
  if (!c.quiet()) say("Operation {} deleted\n", t.name);
  return 0;
}

} // namespace

Command operation_command() {
  Command c;
  c.names = "operation";
  c.brief = "List, show and delete background operations";
  c.hidden = true;
  c.children = {
      {"delete rm cancel", "[<remote>:]<operation>", "Delete background operations (will attempt to cancel)", 1, 1, erase},
      {"list ls",
       "[<remote>:]",
       "List background operations",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "itdscC", "Columns"}, format_flag, all_projects_flag},
       {},
       "Columns:\n  i - ID     d - Description   c - Cancelable   L - Location\n  t - Type   s - State         C - Created"},
      {"show", "[<remote>:]<operation>", "Show details on a background operation", 1, 1, show},
  };
  return c;
}

} // namespace cli
