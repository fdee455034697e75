// SPDX-License-Identifier: Apache-2.0
// The store to its administrator: dumps and statements.
#include <boost/json.hpp>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "db/dump.hpp"
#include "embed/engine.hpp"

namespace incus::api {

struct SqlQuery {
  std::string database, query;
};
template <> struct Record<SqlQuery> {
  static constexpr auto fields = std::make_tuple(field("database", &SqlQuery::database), field("query", &SqlQuery::query));
};

} // namespace incus::api

namespace incus::embed {

namespace json = boost::json;

namespace {

db::Connection &choose(const std::string &name, db::Connection &global, db::Connection &local) {
  if (name == "global") return global;
  if (name == "local") return local;
  base::fail(ErrorCode::invalid_argument, "invalid database {}: must be global or local", base::quoted(name));
}

json::value to_json(const db::Answer::Cell &cell) {
  if (auto *n = std::get_if<std::int64_t>(&cell)) return *n;
  if (auto *d = std::get_if<double>(&cell)) return *d;
  if (auto *t = std::get_if<std::string>(&cell)) return json::string(*t);
  return nullptr;
}

json::object to_json(const db::Answer &a) {
  json::array columns, rows;
  for (auto &c : a.columns) columns.emplace_back(c);
  for (auto &r : a.rows) {
    json::array row;
    row.reserve(r.size());
    for (auto &c : r) row.push_back(to_json(c));
    rows.push_back(std::move(row));
  }
  // Absent lists are null on this wire, not empty.
  auto or_null = [](json::array list) { return list.empty() ? json::value(nullptr) : json::value(std::move(list)); };
  return {{"type", a.select ? "select" : "exec"}, {"columns", or_null(std::move(columns))}, {"rows", or_null(std::move(rows))}, {"rows_affected", a.select ? 0 : a.changed}};
}

} // namespace

api::Reply Engine::internal_sql_get(api::Request &q) {
  auto it = q.query.find("database");
  auto &store = choose(it == q.query.end() ? "" : it->second, *global_, *local_);
  return {json::object{{"text", db::dump(store, q.flag("schema"))}}, {}, {}};
}

api::Reply Engine::internal_sql_post(api::Request &q) {
  auto r = api::from_json<api::SqlQuery>(q.body);
  auto &store = choose(r.database, *global_, *local_);
  if (r.query.empty()) base::fail(ErrorCode::invalid_argument, "no query was given: \"query\" must hold SQL statements, or \".sync\"");
  json::value results = nullptr;
  if (r.query == ".sync") {
    store.checkpoint();
  } else {
    log_.info("statements of the administrator on the {} store, {} characters", r.database, r.query.size());
    auto answers = store.statements(r.query);
    if (!answers.empty()) {
      auto &list = results.emplace_array();
      for (auto &a : answers) list.push_back(to_json(a));
    }
  }
  return {json::object{{"Results", std::move(results)}}, {}, {}};
}

} // namespace incus::embed
