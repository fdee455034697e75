// SPDX-License-Identifier: Apache-2.0
#include "create.hpp"
#include "object.hpp"

namespace cli {

namespace {

Target named(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Alias name missing");
  return t;
}

int create(Context &c) {
  auto t = named(c);
  auto fingerprint = image_fingerprint(*t.server, c.args[1]);
  json::object body{{"name", t.name}, {"target", fingerprint}, {"description", c.text("description")}};
  t.server->send("POST", url({"images", "aliases"}), body);
  return 0;
}
int erase(Context &c) {
  auto t = named(c);
  t.server->send("DELETE", url({"images", "aliases", t.name}));
  return 0;
}
int rename(Context &c) {
  auto t = named(c);
  json::object body{{"name", c.args[1]}};
  t.server->send("POST", url({"images", "aliases", t.name}), body);
  return 0;
}

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'a', "ALIAS", [](auto &r) { return str(r, "name"); }},
      {'f', "FINGERPRINT", [](auto &r) { return str(r, "target").substr(0, 12); }},
      {'t', "TYPE", [](auto &r) { return upper(str(r, "type").empty() ? "container" : str(r, "type")); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  auto t = c.target_at(0);
  Strings filters(c.args.begin() + (c.args.empty() ? 0 : 1), c.args.end());
  if (!t.name.empty()) filters.push_back(t.name);
  auto all = t.server->get(url({"images", "aliases"}) + "?recursion=1");
  json::array shown;
  for (auto &a : all.as_array()) {
    bool hit = filters.empty();
    for (auto &f : filters) hit = hit || str(a, "name").find(f) != std::string::npos || str(a, "target").find(f) != std::string::npos;
    if (hit) shown.push_back(a);
  }
  show_columns(c.text("format"), columns, shown, all, "[ImageAliasesEntry");
  return 0;
}

} // namespace

Command image_alias_command() {
  Command c;
  c.names = "alias";
  c.brief = "Manage image aliases";
  c.children = {
      {"create",
       "[<remote>:]<alias> <fingerprint>",
       "Create aliases for existing images",
       2,
       2,
       create,
       {{Flag::text, "description", 0, "", "Image alias description"}}},
      {"delete rm", "[<remote>:]<alias>", "Delete image aliases", 1, 1, erase},
      {"list ls",
       "[<remote>:] [<filters>...]",
       "List image aliases",
       0,
       -1,
       list,
       {{Flag::text, "columns", 'c', "aftd", "Columns"}, format_flag},
       {},
       "Columns: a - Alias, f - Fingerprint, t - Type, d - Description"},
      {"rename mv", "[<remote>:]<alias> <new-name>", "Rename aliases", 2, 2, rename},
  };
  return c;
}

} // namespace cli
