// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <boost/json.hpp>

#include <incus/host.hpp>

#include "base/error.hpp"
#include "base/time.hpp"
#include "db/warnings.hpp"
#include "embed/host_conditions.hpp"

using namespace incus;
namespace json = boost::json;

namespace {
json::value ask(Host &h, const char *method, const std::string &path, const std::string &body = {}) {
  auto text = h.request(method, path, body);
  return text.empty() ? json::value() : json::parse(text);
}
void warn(Host &h, const std::string &body) { h.request("POST", "/internal/debug/warnings", body); }
ErrorCode refused(const std::function<void()> &f) {
  try {
    f();
  } catch (const Error &e) {
    return e.code();
  }
  FAIL("accepted");
  return ErrorCode::internal;
}
} // namespace

TEST_CASE("warnings: one a condition, counted, acknowledged, deleted") {
  auto h = Host::open("test://");
  CHECK(ask(h, "GET", "/1.0/warnings").as_array().empty());
  warn(h, R"({"type_code": 0, "message": "one"})");
  warn(h, R"({"type_code": 0, "message": "two", "project": "default"})");
  warn(h, R"({"type_code": 0, "message": "three", "project": "default"})");
  warn(h, R"({"type_code": 23, "message": "four", "location": "none", "entity_type_code": 2, "entity_id": 1})");
  CHECK(ask(h, "GET", "/1.0/warnings").as_array().size() == 3);
  CHECK(ask(h, "GET", "/1.0/warnings?project=default").as_array().size() == 1);
  auto all = ask(h, "GET", "/1.0/warnings?recursion=1");
  std::string two, four;
  for (auto &w : all.as_array()) {
    if (w.at("last_message") == "three") {
      two = w.at("uuid").as_string();
      CHECK(w.at("count") == 2);
      CHECK(w.at("project") == "default");
      CHECK(w.at("location") == "");
      CHECK(w.at("type") == "Undefined warning");
      CHECK(w.at("severity") == "low");
      CHECK(w.at("status") == "new");
      CHECK(w.at("entity_url") == "");
    }
    if (w.at("last_message") == "four") {
      four = w.at("uuid").as_string();
      CHECK(w.at("severity") == "high");
      CHECK(w.at("type") == "Storage pool unavailable");
      CHECK(w.at("entity_url") == "/1.0/profiles/default");
      CHECK(w.at("location") == "none");
    }
  }
  h.request("PUT", "/1.0/warnings/" + two, R"({"status": "acknowledged"})");
  CHECK(ask(h, "GET", "/1.0/warnings/" + two).at("status") == "acknowledged");
  // Seen again it stays acknowledged.
  warn(h, R"({"type_code": 0, "message": "five", "project": "default"})");
  CHECK(ask(h, "GET", "/1.0/warnings/" + two).at("status") == "acknowledged");
  h.request("PATCH", "/1.0/warnings/" + two, R"({"status": "new"})");
  CHECK(ask(h, "GET", "/1.0/warnings/" + two).at("status") == "new");
  h.request("DELETE", "/1.0/warnings/" + two);
  CHECK(refused([&] { ask(h, "GET", "/1.0/warnings/" + two); }) == ErrorCode::not_found);
  CHECK(refused([&] { h.request("DELETE", "/1.0/warnings/" + two); }) == ErrorCode::not_found);
  CHECK(refused([&] { h.request("PUT", "/1.0/warnings/" + two, R"({"status": "new"})"); }) == ErrorCode::not_found);
  CHECK(refused([&] { h.request("PUT", "/1.0/warnings/" + four, R"({"status": "resolved"})"); }) == ErrorCode::forbidden);
  CHECK(refused([&] { h.request("PUT", "/1.0/warnings/" + four, R"({"status": "other"})"); }) == ErrorCode::invalid_argument);
}

TEST_CASE("warnings: what they are about must be there") {
  auto h = Host::open("test://");
  CHECK(refused([&] { warn(h, R"({"type_code": 0, "message": "m", "project": "foo"})"); }) == ErrorCode::not_found);
  CHECK(refused([&] { warn(h, R"({"type_code": 0, "message": "m", "location": "foo"})"); }) == ErrorCode::not_found);
  CHECK(refused([&] { warn(h, R"({"type_code": 999, "message": "m"})"); }) == ErrorCode::invalid_argument);
  CHECK(refused([&] { warn(h, R"({"type_code": 10, "message": "m"})"); }) == ErrorCode::invalid_argument);
  CHECK(refused([&] { warn(h, R"({"type_code": 0, "message": "m", "entity_type_code": 0, "entity_id": 0})"); }) == ErrorCode::not_found);
  CHECK(refused([&] { warn(h, R"({"type_code": 0, "message": "m", "entity_type_code": 99, "entity_id": 1})"); }) == ErrorCode::invalid_argument);
  CHECK(ask(h, "GET", "/1.0/warnings").as_array().empty());
  // It goes with what it is about.
  h.create_profile({"p", {}, "", {}});
  auto id = ask(h, "POST", "/internal/sql", R"({"database":"global","query":"SELECT id FROM profiles WHERE name = 'p'"})").at("Results").at(0).at("rows").at(0).at(0).as_int64();
  warn(h, json::serialize(json::object{{"type_code", 0}, {"message", "m"}, {"entity_type_code", 2}, {"entity_id", id}}));
  CHECK(ask(h, "GET", "/1.0/warnings").as_array().size() == 1);
  h.profile("p").remove();
  CHECK(ask(h, "GET", "/1.0/warnings").as_array().empty());
}

TEST_CASE("warnings: conditions of the machine come and go") {
  auto c = db::open_sqlite("");
  db::upgrade(*c, db::global_steps(), "store");
  c->exec("INSERT INTO nodes (id, name, address) VALUES (1, 'none', '0.0.0.0')");
  using T = db::WarningType;
  embed::tell_conditions(*c, {{T::no_apparmor, "gone"}, {T::no_pids, ""}});
  auto all = db::warnings(*c);
  REQUIRE(all.size() == 1);
  CHECK(all[0].location == "none");
  // Told again: nothing is written.
  embed::tell_conditions(*c, {{T::no_apparmor, "gone"}, {T::no_pids, ""}});
  CHECK(db::warnings(*c)[0].count == 1);
  embed::tell_conditions(*c, {{T::no_apparmor, ""}});
  CHECK(db::warnings(*c)[0].status == "resolved");
  CHECK(db::prune_warnings(*c, base::now() - std::chrono::hours(24)) == 0);
  embed::tell_conditions(*c, {{T::no_apparmor, "again"}});
  CHECK(db::warnings(*c)[0].status == "new");
  CHECK(db::warnings(*c)[0].count == 2);
  embed::tell_conditions(*c, {{T::no_apparmor, ""}});
  CHECK(db::prune_warnings(*c, base::now() + std::chrono::hours(24)) == 1);
  CHECK(db::warnings(*c).empty());
  auto real = embed::host_conditions();
  CHECK(real.size() >= 12);
}
