// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

int add(Context &c) {
  if (c.settings.aliases.count(c.args[0])) fail("Alias {} already exists", c.args[0]);
  c.settings.aliases[c.args[0]] = c.args[1];
  c.settings.save();
  return 0;
}
int list(Context &c) {
  check_format(c.text("format"));
  Rows rows;
  json::object raw;
  auto all = c.settings.aliases;
  all.emplace("shell", "exec @ARGS@ -- su -l");
  for (auto &[name, text] : all) {
    rows.push_back({name, text});
    if (c.settings.aliases.count(name)) raw[name] = text;
  }
  sort_rows(rows);
  show_table(c.text("format"), {"ALIAS", "TARGET"}, rows, raw, "{s");
  return 0;
}
int rename(Context &c) {
  auto it = c.settings.aliases.find(c.args[0]);
  if (it == c.settings.aliases.end()) fail("Alias {} doesn't exist", c.args[0]);
  if (c.settings.aliases.count(c.args[1])) fail("Alias {} already exists", c.args[1]);
  c.settings.aliases[c.args[1]] = it->second;
  c.settings.aliases.erase(c.args[0]);
  c.settings.save();
  return 0;
}
int remove(Context &c) {
  if (!c.settings.aliases.erase(c.args[0])) fail("Alias {} doesn't exist", c.args[0]);
  c.settings.save();
  return 0;
}

} // namespace

Command alias_command() {
  Command c;
  c.names = "alias";
  c.brief = "Manage command aliases";
  c.hidden = true;
  c.details = "@ARGS@ stands for the words after the alias, @ARG1@ for the first of them, and so on.";
  c.children = {
      {"add",
       "<alias> <target>",
       "Add new aliases",
       2,
       2,
       add,
       {},
       {},
       {},
       "incus alias add l \"list -c nsS\"\nincus alias add run \"exec @ARG1@ -- sh -c\""},
      {"list ls", "", "List aliases", 0, 0, list, {format_flag}},
      {"remove rm", "<alias>", "Remove aliases", 1, 1, remove},
      {"rename mv", "<old alias> <new alias>", "Rename aliases", 2, 2, rename},
  };
  return c;
}

} // namespace cli
