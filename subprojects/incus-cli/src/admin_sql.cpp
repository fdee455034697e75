// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "object.hpp"

namespace cli {

namespace {

std::string cell(const json::value &v) {
  switch (v.kind()) {
  case json::kind::null:
    return "<nil>";
  case json::kind::string:
    return std::string(v.get_string());
  case json::kind::double_: {
    auto d = v.get_double();
    return fmt::format("{:g}", d);
  }
  default:
    return json::serialize(v);
  }
}

int run(Context &c) {
  if (c.args.size() != 2) {
    print(help_text(c.command, c.path, false));
    if (c.args.empty()) return 0;
    fail("Missing required arguments");
  }
  auto database = c.args[0], query = c.args[1];
  if (database != "local" && database != "global") {
    print(help_text(c.command, c.path, false));
    fail("Invalid database type");
  }
  if (query == "-") {
    query.clear();
    char buffer[65536];
    for (ssize_t n; (n = read(0, buffer, sizeof buffer)) > 0;) query.append(buffer, static_cast<std::size_t>(n));
  }
  auto &server = c.server("local");
  if (query == ".dump" || query == ".schema") {
    auto answer = server.get("/internal/sql?database=" + database + (query == ".schema" ? "&schema=1" : ""));
    print(str(answer, "text").empty() ? str(answer, "Text") : str(answer, "text"));
    return 0;
  }
  auto answer = server.send("POST", "/internal/sql", json::object{{"database", database}, {"query", query}});
  auto &results = array_at(answer, at(answer, "results").is_null() ? "Results" : "results");
  for (std::size_t i = 0; i < results.size(); i++) {
    auto &r = results[i];
    if (results.size() > 1) say("=> Query {}:\n\n", i);
    if (str(r, "type") == "select") {
      Rows rows;
      for (auto &row : array_at(r, "rows")) {
        Strings line;
        for (auto &v : row.as_array()) line.push_back(cell(v));
        rows.push_back(std::move(line));
      }
      show_table(c.text("format"), strings_at(r, "columns"), rows, r, "SqlResult");
    } else {
      say("Rows affected: {}\n", num(r, "rows_affected"));
    }
    if (results.size() > 1) print("\n");
  }
  return 0;
}

} // namespace

Command admin_sql_command() {
  Command c;
  c.names = "sql";
  c.usage = "<local|global> <query>";
  c.brief = "Execute a SQL query against the local or global database";
  c.most = -1;
  c.run = run;
  c.flags = {format_flag};
  c.details = "The query \"-\" is read from standard input; \".dump\" and \".schema\" print the whole database and its tables.\n"
              "Statements that write can destroy what the server knows.";
  c.examples = "incus admin sql global \"SELECT name FROM instances\"\nincus admin sql global .dump";
  return c;
}

} // namespace cli
