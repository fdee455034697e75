// SPDX-License-Identifier: Apache-2.0
#include "db/dump.hpp"

#include <fmt/format.h>

namespace incus::db {

namespace {

std::string identifier(const std::string &name) {
  std::string out = "\"";
  for (char c : name) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

/// A literal on one line: line ends are made by char(), so that tools that read the text by lines see whole statements.
std::string literal(const std::string &text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'')
      out += "''";
    else if (c == '\n' || c == '\r' || c == '\0')
      out += fmt::format("'||char({})||'", static_cast<int>(c));
    else
      out += c;
  }
  return out + "'";
}

std::string literal(const Answer::Cell &cell) {
  if (auto *n = std::get_if<std::int64_t>(&cell)) return std::to_string(*n);
  if (auto *d = std::get_if<double>(&cell)) return fmt::format("{:.17g}", *d);
  if (auto *t = std::get_if<std::string>(&cell)) return literal(*t);
  return "NULL";
}

void rows(Connection &c, const std::string &table, std::string &out) {
  for (auto &a : c.statements("SELECT * FROM " + identifier(table) + " ORDER BY rowid"))
    for (auto &row : a.rows) {
      out += "INSERT INTO " + table + " VALUES(";
      for (std::size_t i = 0; i < row.size(); i++) {
        if (i) out += ',';
        out += literal(row[i]);
      }
      out += ");\n";
    }
}

} // namespace

std::string dump(Connection &c, bool schema_only) {
  struct Entity {
    std::string name, type, sql;
  };
  std::vector<Entity> all;
  std::lock_guard lock(c.mutex());
  c.query("SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid", {},
          [&](const Row &r) { all.push_back({r.text(0), r.text(1), r.text(2)}); });
  std::string out = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n";
  // Triggers last: they are not to fire for rows that come with the text.
  for (bool triggers : {false, true})
    for (auto &e : all) {
      if ((e.type == "trigger") != triggers) continue;
      out += e.sql + ";\n";
      if (!schema_only && e.type == "table") rows(c, e.name, out);
    }
  bool sequences = false;
  c.query("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'", {}, [&](const Row &) { sequences = true; });
  if (!schema_only && sequences) {
    out += "DELETE FROM sqlite_sequence;\n";
    rows(c, "sqlite_sequence", out);
  }
  return out + "COMMIT;\n";
}

std::int64_t patch_mark(Connection &c) {
  std::int64_t mark = 0;
  c.query("PRAGMA user_version", {}, [&](const Row &r) { mark = r.number(0); });
  return mark;
}

void set_patch_mark(Connection &c, std::int64_t mark) { c.script(fmt::format("PRAGMA user_version = {}", mark).c_str()); }

} // namespace incus::db
