// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <incus/host.hpp>

#include "base/error.hpp"
#include "db/dump.hpp"
#include "embed/patches.hpp"

using namespace incus;
namespace json = boost::json;

namespace {

json::value ask(Host &h, const char *method, const std::string &path, const std::string &body = {}) { return json::parse(h.request(method, path, body)); }
json::value sql(Host &h, const std::string &query, const std::string &database = "global") {
  return ask(h, "POST", "/internal/sql", json::serialize(json::object{{"database", database}, {"query", query}})).at("Results");
}
ErrorCode refused(const std::function<void()> &f, const char *says = "") {
  try {
    f();
  } catch (const Error &e) {
    INFO(e.what());
    CHECK(std::string(e.what()).find(says) != std::string::npos);
    return e.code();
  }
  FAIL("accepted");
  return ErrorCode::internal;
}

struct Directory {
  std::string path;
  Directory() {
    char name[] = "/var/tmp/incus-sql.XXXXXX";
    path = ::mkdtemp(name);
    std::filesystem::create_directories(path + "/database/global");
  }
  ~Directory() { std::filesystem::remove_all(path); }
  void write(const std::string &name, const std::string &text) const { std::ofstream(path + "/" + name) << text; }
  bool has(const std::string &name) const { return std::filesystem::exists(path + "/" + name); }
};

std::string one(db::Connection &c, const std::string &query) {
  std::string out;
  c.query(query, {}, [&](const db::Row &r) { out = r.text(0); });
  return out;
}

} // namespace

TEST_CASE("statements of an administrator") {
  auto h = Host::open("test://");
  auto r = sql(h, "INSERT INTO config (key, value) VALUES ('user.a', 'x;y'); -- not; a statement\n SELECT key, value, id, NULL, 1.5 FROM config WHERE key = 'user.a';");
  REQUIRE(r.as_array().size() == 2);
  CHECK(r.at(0) == json::parse(R"({"type":"exec","columns":null,"rows":null,"rows_affected":1})"));
  CHECK(r.at(1).at("type") == "select");
  CHECK(r.at(1).at("columns") == json::parse(R"(["key","value","id","NULL","1.5"])"));
  CHECK(r.at(1).at("rows") == json::parse(R"([["user.a","x;y",1,null,1.5]])"));
  CHECK(r.at(1).at("rows_affected") == 0);
  CHECK(sql(h, "  ").is_null());
  CHECK(sql(h, ".sync").is_null());
  CHECK(sql(h, "SELECT * FROM config WHERE 0").at(0).at("rows").is_null());
  CHECK(sql(h, "SELECT name FROM patches WHERE name = 'dnsmasq_entries_include_device_name'", "local").at(0).at("rows").as_array().size() == 1);
  // What changes no row says so, whatever the statement before it did.
  r = sql(h, "UPDATE config SET value = 'z' WHERE key = 'user.a'; CREATE TABLE extra (n INTEGER)");
  CHECK(r.at(0).at("rows_affected") == 1);
  CHECK(r.at(1).at("rows_affected") == 0);

  CHECK(refused([&] { sql(h, "SELECT 1", "foo"); }, "foo") == ErrorCode::invalid_argument);
  CHECK(refused([&] { sql(h, ""); }) == ErrorCode::invalid_argument);
  CHECK(refused([&] { sql(h, "SELEC 1"); }, "syntax") == ErrorCode::invalid_argument);
  CHECK(refused([&] { sql(h, "INSERT INTO config (key) VALUES ('user.a')"); }) == ErrorCode::already_exists);
  for (auto *q : {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ATTACH '/tmp/x' AS x", "PRAGMA synchronous = OFF", "PRAGMA query_only = 1", "PRAGMA writable_schema = 1"}) {
    CAPTURE(q);
    CHECK(refused([&] { sql(h, q); }) == ErrorCode::permission_denied);
  }
  // A failure in the middle keeps what was done before it, and nothing of the statement itself.
  refused([&] { sql(h, "DELETE FROM config; SELECT * FROM missing"); }, "missing");
  CHECK(sql(h, "SELECT * FROM config WHERE key = 'user.a'").at(0).at("rows").is_null());
  CHECK(h.profiles().size() == 1);
}

TEST_CASE("deleting with foreign keys on takes what belongs to the row") {
  auto h = Host::open("test://");
  h.create_profile({"p", {{"user.k", "v"}}, "", {}});
  auto r = sql(h, "PRAGMA foreign_keys=ON; DELETE FROM profiles WHERE name = 'p'");
  CHECK(r.at(1).at("rows_affected") == 1);
  CHECK(sql(h, "SELECT * FROM profiles_config").at(0).at("rows").is_null());
  // It cannot be switched off for what comes later.
  h.create_profile({"p", {{"user.k", "v"}}, "", {}});
  sql(h, "PRAGMA foreign_keys=OFF; DELETE FROM profiles WHERE name = 'p'");
  CHECK(sql(h, "SELECT * FROM profiles_config").at(0).at("rows").is_null());
}

TEST_CASE("a dump makes the same store") {
  auto h = Host::open("test://");
  h.create_profile({"p", {{"user.quote", "it's"}, {"user.lines", "a\nb\r\n'"}}, "Text", {}});
  for (std::string name : {"global", "local"}) {
    CAPTURE(name);
    auto text = std::string(ask(h, "GET", "/internal/sql?database=" + name).at("text").as_string());
    auto copy = db::open_sqlite("");
    copy->script(text.c_str());
    CHECK(db::dump(*copy, false) == text);
    auto schema = std::string(ask(h, "GET", "/internal/sql?database=" + name + "&schema=1").at("text").as_string());
    CHECK(schema.find("INSERT INTO \"") == std::string::npos);
    auto empty = db::open_sqlite("");
    empty->script(schema.c_str());
    CHECK(one(*empty, "SELECT count(*) FROM schema") == "0");
  }
  auto text = std::string(ask(h, "GET", "/internal/sql?database=global").at("text").as_string());
  for (auto *part : {"CREATE TRIGGER", "CREATE INDEX", "CREATE VIEW", "'Default Incus profile'"}) CHECK(text.find(part) != std::string::npos);
  auto copy = db::open_sqlite("");
  copy->script(text.c_str());
  CHECK(one(*copy, "SELECT value FROM profiles_config WHERE key = 'user.lines'") == "a\nb\r\n'");
  CHECK(refused([&] { ask(h, "GET", "/internal/sql"); }) == ErrorCode::invalid_argument);
  CHECK(refused([&] { ask(h, "GET", "/internal/sql?database=x"); }) == ErrorCode::invalid_argument);
}

TEST_CASE("a patch is applied whole and once, after a copy of the store") {
  Directory d;
  base::Log log;
  std::unique_ptr<db::Connection> global, local;
  auto open = [&] {
    global.reset();
    local.reset();
    embed::open_stores(d.path, log, global, local);
  };
  open();
  CHECK(!d.has("database/global.bak"));
  global->exec("INSERT INTO config (key, value) VALUES ('user.a', 'before')");
  global.reset();
  local.reset();

  d.write("database/patch.global.sql", "UPDATE config SET value = 'after';\nINSERT INTO broken (n) VALUES (1);\n");
  refused(open, "patch.global.sql");
  CHECK(d.has("database/patch.global.sql"));
  CHECK(d.has("database/global.bak/db.bin"));
  d.write("database/patch.global.sql", "UPDATE config SET value = 'after';\nCOMMIT;\nINSERT INTO broken (n) VALUES (1);\n");
  refused(open, "patch.global.sql");
  CHECK(one(*db::open_sqlite(d.path + "/database/global/db.bin"), "SELECT value FROM config") == "before");
  CHECK(one(*db::open_sqlite(d.path + "/database/global.bak/db.bin"), "SELECT value FROM config") == "before");

  auto good = "UPDATE config SET value = value || '+';";
  d.write("database/patch.global.sql", good);
  d.write("database/patch.local.sql", "INSERT INTO config (key, value) VALUES ('l', '1');");
  open();
  CHECK(one(*global, "SELECT value FROM config") == "before+");
  CHECK(one(*local, "SELECT value FROM config WHERE key = 'l'") == "1");
  CHECK(!d.has("database/patch.global.sql"));
  CHECK(!d.has("database/patch.local.sql"));
  CHECK(one(*db::open_sqlite(d.path + "/database/global.bak/db.bin"), "SELECT value FROM config") == "before");
  CHECK(one(*db::open_sqlite(d.path + "/database/local.db.bak"), "SELECT count(*) FROM config") == "0");

  // Given again it is applied again; left by a crash between its effect and its removal it is not.
  d.write("database/patch.global.sql", good);
  open();
  CHECK(one(*global, "SELECT value FROM config") == "before++");
  global->transaction([&] {
    global->statements(good);
    global->script("PRAGMA user_version = 0");
  });
  d.write("database/patch.global.sql", good);
  open();
  CHECK(one(*global, "SELECT value FROM config") == "before++++");
}

TEST_CASE("a patch whose removal a crash prevented is only removed") {
  Directory d;
  base::Log log;
  std::unique_ptr<db::Connection> global, local;
  embed::open_stores(d.path, log, global, local);
  global->exec("INSERT INTO config (key, value) VALUES ('user.a', '')");
  auto copy = [&](const char *text) {
    global.reset();
    local.reset();
    d.write("database/patch.global.sql", text);
    embed::open_stores(d.path, log, global, local);
  };
  copy("UPDATE config SET value = value || '+';");
  // As if the process had died before the file went: the mark is there, and the file.
  std::uint32_t h = 2166136261u;
  for (unsigned char c : std::string("UPDATE config SET value = value || '+';")) h = (h ^ c) * 16777619u;
  db::set_patch_mark(*global, h & 0x7fffffff);
  copy("UPDATE config SET value = value || '+';");
  CHECK(one(*global, "SELECT value FROM config") == "+");
  CHECK(!d.has("database/patch.global.sql"));
}
