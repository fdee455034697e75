// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <unistd.h>

#include "base/error.hpp"
#include "base/time.hpp"
#include "db/common.hpp"
#include "db/journal.hpp"
#include "db/records.hpp"

using namespace incus;
using namespace incus::db;

namespace {
std::unique_ptr<Connection> fresh() {
  auto c = open_sqlite("");
  upgrade(*c, global_steps(), "test store");
  c->exec("INSERT INTO nodes (id, name, address) VALUES (1, 'none', '0.0.0.0')");
  c->exec("INSERT INTO projects (name) VALUES ('default')");
  return c;
}
} // namespace

TEST_CASE("a store upgrades from every earlier step and keeps its rows") {
  for (int from = 1; from < global_steps().back().number; from++) {
    CAPTURE(from);
    auto c = open_sqlite("");
    upgrade(*c, global_steps(), "store", from);
    c->exec("INSERT INTO nodes (id, name, address) VALUES (1, 'none', '0.0.0.0')");
    c->exec("INSERT INTO projects (name) VALUES ('default')");
    c->exec("INSERT INTO storage_pools (name, driver) VALUES ('p1', 'dir')");
    c->exec("INSERT INTO instances (node_id, name, architecture, creation_date, project_id) VALUES (1, 'c1', 2, '2026-01-01T00:00:00Z', 1)");
    c->exec("INSERT INTO instances_devices (instance_id, name) VALUES (1, 'root')");
    c->exec("INSERT INTO instances_devices_config (instance_device_id, key, value) VALUES (1, 'path', '/'), (1, 'pool', 'p1')");
    // From the third step on volumes have rows of their own, which the step before made from the instances.
    if (from >= 3) c->exec("INSERT INTO storage_volumes (name, storage_pool_id, node_id, type, project_id, creation_date) VALUES ('c1', 1, 1, 0, 1, '2026-01-01T00:00:00Z')");
    upgrade(*c, global_steps(), "store");
    auto i = instance(*c, "default", "c1");
    REQUIRE(i);
    CHECK(i->devices.at("root").at("pool") == "p1");
    auto v = volumes(*c, "p1");
    REQUIRE(v.size() == 1);
    CHECK(v[0].name == "c1");
    std::int64_t steps = 0;
    c->query("SELECT count(*) FROM schema", {}, [&](const Row &r) { steps = r.number(0); });
    CHECK(steps == static_cast<std::int64_t>(global_steps().size()));
  }
}

TEST_CASE("a newer store is refused untouched") {
  auto c = fresh();
  c->exec("INSERT INTO schema (version, updated_at) VALUES (999, 'x')");
  try {
    upgrade(*c, global_steps(), "the store /x");
    FAIL("accepted");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::not_supported);
    CHECK(std::string(e.what()).find("999") != std::string::npos);
  }
}

TEST_CASE("transactions roll back whole, nested ones join") {
  auto c = fresh();
  CHECK_THROWS_AS(c->transaction([&] {
    c->transaction([&] { c->exec("INSERT INTO projects (name) VALUES ('a')"); });
    c->exec("INSERT INTO projects (name) VALUES ('default')");
  }),
                  Error);
  CHECK(project_names(*c) == std::vector<std::string>{"default"});
  try {
    c->exec("INSERT INTO projects (name) VALUES ('default')");
    FAIL("accepted");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::already_exists);
  }
}

TEST_CASE("instances round trip with profiles in order, and go with all their rows") {
  auto c = fresh();
  for (auto *n : {"default", "b", "a"}) {
    ProfileRow p;
    p.project = "default";
    p.name = n;
    p.config["user.x"] = n;
    p.devices["eth0"] = {{"type", "nic"}, {"nictype", "p2p"}};
    insert_profile(*c, p);
  }
  InstanceRow i;
  i.project = "default";
  i.name = "c1";
  i.architecture = "x86_64";
  i.created_at = base::now();
  i.config = {{"user.a", "b"}};
  i.devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", "default"}};
  i.profiles = {"b", "default", "a"};
  i.id = insert_instance(*c, i);
  auto got = instance(*c, "default", "c1");
  REQUIRE(got);
  CHECK(got->profiles == i.profiles);
  CHECK(got->devices == i.devices);
  CHECK(got->config == i.config);
  CHECK(got->created_at == i.created_at);
  set_instance_config(*c, i.id, {{"user.a", ""}, {"volatile.x", "1"}});
  CHECK(instance(*c, i.id)->config == Config{{"volatile.x", "1"}});
  CHECK(profile_users(*c, profile(*c, "default", "b")->id) == std::map<std::string, std::vector<std::string>>{{"default", {"c1"}}});
  SnapshotRow s;
  s.instance_id = i.id;
  s.name = "s0";
  s.architecture = "x86_64";
  s.created_at = base::now();
  s.config = {{"user.s", "1"}};
  s.devices = i.devices;
  s.profiles = i.profiles;
  insert_snapshot(*c, s);
  CHECK(snapshots(*c, i.id).at(0).devices == i.devices);
  CHECK(snapshots(*c, 0).at(0).config == s.config);
  CHECK(snapshots(*c, 0).at(0).profiles == i.profiles);
  delete_instance(*c, i.id);
  for (auto *t : {"instances_config", "instances_devices", "instances_devices_config", "instances_profiles", "instances_snapshots", "instances_snapshots_config",
                  "instances_snapshots_devices_config"}) {
    CAPTURE(t);
    c->query(std::string("SELECT count(*) FROM ") + t, {}, [&](const Row &r) { CHECK(r.number(0) == 0); });
  }
}

TEST_CASE("an intent is recovered when its operation fails, and stays when that fails too") {
  auto c = open_sqlite("");
  upgrade(*c, local_steps(), "local store");
  base::Log log;
  Journal j(*c, log);
  int recovered = 0;
  bool broken = false;
  j.on("test", [&](const boost::json::object &d) {
    if (broken) throw std::runtime_error("not now");
    recovered += static_cast<int>(d.at("n").as_int64());
  });
  {
    Intent i(j, "test", {{"n", 1}});
    CHECK(j.pending().size() == 1);
    i.done();
  }
  CHECK(recovered == 0);
  CHECK(j.pending().empty());
  { Intent i(j, "test", {{"n", 2}}, false); }
  CHECK(recovered == 2);
  CHECK(j.pending().empty());
  broken = true;
  {
    Intent i(j, "test", {{"n", 4}});
    i.data()["n"] = 8;
    i.save();
  }
  CHECK(j.pending().size() == 1);
  CHECK(j.recover_all() == 1);
  broken = false;
  CHECK(j.recover_all() == 0);
  CHECK(recovered == 10);
  CHECK(j.pending().empty());
}

TEST_CASE("a store file survives and is private") {
  char dir[] = "/tmp/incus-db-XXXXXX";
  REQUIRE(mkdtemp(dir));
  std::string path = std::string(dir) + "/db.bin";
  {
    auto c = open_sqlite(path);
    upgrade(*c, global_steps(), "store");
    c->exec("INSERT INTO projects (name) VALUES ('kept')");
  }
  {
    auto c = open_sqlite(path);
    CHECK(project_names(*c) == std::vector<std::string>{"kept"});
  }
  CHECK(::access((path + "-wal").c_str(), F_OK) != 0);
  ::unlink(path.c_str());
  ::rmdir(dir);
}

TEST_CASE("times that an administrator wrote are read, and one that is none hides nothing") {
  auto c = fresh();
  c->exec("CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT)");
  auto read = [&](const char *text) {
    Time out;
    c->exec("DELETE FROM t");
    c->exec("INSERT INTO t (id, at) VALUES (1, ?)", {std::string(text)});
    c->query("SELECT at FROM t", {}, [&](const Row &r) { out = time_of(r, 0); });
    return out;
  };
  auto noon = base::parse_time("2026-01-31T12:00:00Z");
  for (auto *text : {"2026-01-31T12:00:00Z", "2026-01-31 12:00:00", "2026-01-31 12:00:00+00:00", "2026-01-31T13:00:00+01:00", "2026-01-31 12:00:00 UTC",
                     "2026-01-31 12:00:00 +0000 UTC", "2026-01-31T12:00:00"}) {
    CAPTURE(text);
    CHECK(read(text) == noon);
  }
  CHECK(read("2026-01-31") == noon - std::chrono::hours(12));
  for (auto *text : {"", "yesterday", "2026-13-31 12:00:00", "2026-01-31 12:00:00 CET"}) {
    CAPTURE(text);
    CHECK(read(text) == Time{});
  }
}

TEST_CASE("what is stored beside intents is durable") {
  auto local = open_sqlite("");
  upgrade(*local, local_steps(), "local store");
  base::Log log;
  Journal journal(*local, log);
  journal.on("x", [](const boost::json::object &) {});
  auto synchronous = [&] {
    std::int64_t n = -1;
    local->query("PRAGMA synchronous", {}, [&](const Row &r) { n = r.number(0); });
    return n;
  };
  CHECK(synchronous() == 2);
  {
    Intent intent(journal, "x", {}, false);
    CHECK(synchronous() == 2);
    intent.done();
  }
  CHECK(synchronous() == 2);
}
