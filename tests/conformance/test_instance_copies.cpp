// SPDX-License-Identifier: Apache-2.0
// Instances copied to another pool or project, refreshed and moved.
#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

namespace {

/// "dir", "overlay": the pool of the suite is of one of them, this one of the other.
void second_pool(World &w) { w.host.create_storage_pool({"p2", w.host.storage_pool("default").info().driver == "overlay" ? "dir" : !official() ? "overlay" : "dir", "", {}}); }

std::string to_p2(const std::string &more = {}) {
  return R"({"name":"c2","devices":{"root":{"type":"disk","path":"/","pool":"p2"}},"source":{"type":"copy","source":"c1")" + more + "}}";
}

std::vector<std::string> names(Instance c) {
  std::vector<std::string> out;
  for (auto &s : c.snapshots()) out.push_back(s.name);
  return out;
}

bool has(Instance c, const std::string &path) {
  try {
    c.file_info(path);
    return true;
  } catch (const Error &e) {
    if (e.code() != ErrorCode::not_found) throw;
    return false;
  }
}

void whole(Host &h) {
  if (!official()) CHECK(json::parse(suite::check(h)).at("problems").as_array().empty());
}

/// A note in the configuration of an instance's volume, which the official daemon gives no way to change.
void note(World &w, const std::string &value) {
  if (!official()) w.host.request("PATCH", "/1.0/storage-pools/default/volumes/container/c1", R"({"config":{"user.v":")" + value + "\"}}");
}
void noted(World &w, const std::string &pool, const std::string &volume, const std::string &value) {
  auto v = ask(w.host, "/1.0/storage-pools/" + pool + "/volumes/container/" + volume);
  if (!official()) CHECK(text(v.at("config").at("user.v")) == value);
}

/// c1 with files of its own, one of the image's gone, and a snapshot from before.
Instance source(World &w) {
  auto c = w.make("c1");
  c.write_file("/root/then", "1");
  if (has(c, "/etc/passwd")) c.remove_file("/etc/passwd"); // the image in memory has none
  note(w, "s0");
  c.create_snapshot({"s0"}).wait();
  note(w, "now");
  c.write_file("/root/now", "2");
  return c;
}

} // namespace

TEST_CASE("copies: to another pool, as a whole") {
  World w;
  second_pool(w);
  auto c1 = source(w);
  run(w.host, "POST", "/1.0/instances", to_p2());
  auto c2 = w.host.instance("c2");
  CHECK(c2.read_file("/root/now") == "2");
  CHECK(!has(c2, "/etc/passwd"));
  CHECK(has(c2, "/bin/busybox") == has(c1, "/bin/busybox"));
  CHECK(names(c2) == std::vector<std::string>{"s0"});
  noted(w, "p2", "c2", "now");
  noted(w, "p2", "c2/snapshots/s0", "s0");
  CHECK(c2.snapshot("s0").info().expanded_devices.at("root").at("pool") == "p2");
  c2.restore("s0").wait();
  noted(w, "p2", "c2", "s0");
  CHECK(!has(c2, "/root/now"));
  CHECK(c2.read_file("/root/then") == "1");
  CHECK(!has(c2, "/etc/passwd"));
  c2.start().wait();
  c2.stop(true).wait();
  whole(w.host);
  c2.remove().wait();
  run(w.host, "POST", "/1.0/instances", to_p2(R"(,"instance_only":true)"));
  CHECK(names(c2).empty());
  c2.remove().wait();
  std::string snap = to_p2();
  snap.replace(snap.find("\"source\":\"c1\""), 13, "\"source\":\"c1/s0\"");
  run(w.host, "POST", "/1.0/instances", snap);
  CHECK(!has(c2, "/root/now"));
  CHECK(c2.read_file("/root/then") == "1");
  c2.remove().wait();
  c1.remove().wait();
  w.host.storage_pool("p2").remove();
  whole(w.host);
}

TEST_CASE("copies: refreshed, from the same pool and from another") {
  World w;
  second_pool(w);
  auto c1 = source(w);
  for (std::string pool : {"default", "p2"}) {
    CAPTURE(pool);
    auto body = [&](const std::string &more) {
      auto b = to_p2(R"(,"refresh":true)" + more);
      if (pool == "default") b.replace(b.find("\"p2\""), 4, "\"default\"");
      return b;
    };
    run(w.host, "POST", "/1.0/instances", body("")); // makes it
    auto c2 = w.host.instance("c2");
    c2.create_snapshot({"goes"}).wait();
    c2.write_file("/root/own", "x");
    c2.patch({{"user.own", "kept"}});
    c1.write_file("/root/now", "changed");
    c1.create_snapshot({"s1"}).wait();
    run(w.host, "POST", "/1.0/instances", body(R"(,"instance_only":true)"));
    CHECK(c2.read_file("/root/now") == "changed");
    CHECK(!has(c2, "/root/own"));
    CHECK(names(c2) == std::vector<std::string>{"s0", "goes"});
    run(w.host, "POST", "/1.0/instances", body(""));
    CHECK(names(c2) == std::vector<std::string>{"s0", "s1"});
    CHECK(c2.info().config.at("user.own") == "kept");
    c2.restore("s1").wait();
    CHECK(c2.read_file("/root/now") == "changed");
    CHECK(!has(c2, "/etc/passwd"));
    c1.snapshot("s1").remove().wait();
    run(w.host, "POST", "/1.0/instances", body(""));
    CHECK(names(c2) == std::vector<std::string>{"s0"});
    c2.start().wait();
    REFUSED(conflict, "c2", run(w.host, "POST", "/1.0/instances", body("")));
    c2.stop(true).wait();
    whole(w.host);
    c2.remove().wait();
    c1.write_file("/root/now", "2");
  }
  // The official daemon takes an instance for its own copy.
  if (!official())
    REFUSED(invalid_argument, "itself", run(w.host, "POST", "/1.0/instances", R"({"name":"c1","source":{"type":"copy","source":"c1","refresh":true}})"));
  c1.remove().wait();
  w.host.storage_pool("p2").remove();
}

TEST_CASE("moves: to another pool, project and name") {
  World w;
  second_pool(w);
  auto c1 = source(w);
  auto before = c1.info();
  run(w.host, "POST", "/1.0/instances/c1", R"({"name":"c2","pool":"p2","migration":true})");
  REFUSED(not_found, "c1", c1.info());
  auto c2 = w.host.instance("c2");
  auto i = c2.info();
  CHECK(i.config.at("volatile.uuid") == before.config.at("volatile.uuid"));
  CHECK(i.config.at("volatile.apply_template") == "create");
  CHECK(i.expanded_devices.at("root").at("pool") == "p2");
  CHECK(i.created_at == before.created_at);
  CHECK(names(c2) == std::vector<std::string>{"s0"});
  CHECK(c2.read_file("/root/now") == "2");
  CHECK(!has(c2, "/etc/passwd"));
  noted(w, "p2", "c2", "now");
  REFUSED(not_found, "c1", ask(w.host, "/1.0/storage-pools/default/volumes/container/c1"));
  whole(w.host);
  run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c2","pool":"default","migration":true,"instance_only":true})");
  CHECK(names(c2).empty());
  CHECK(c2.read_file("/root/now") == "2");
  c2.create_snapshot({"s2"}).wait();
  c2.start().wait();
  REFUSED(conflict, "c2", run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c2","pool":"p2","migration":true})"));
  c2.stop(true).wait();
  w.host.request("POST", "/1.0/projects", R"({"name":"other","config":{"features.images":"false","features.profiles":"false"}})");
  REFUSED(not_found, "none", run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c2","project":"none","migration":true})"));
  // A move that is refused late takes nothing with it.
  w.host.request("PATCH", "/1.0/projects/other", R"({"config":{"limits.instances":"0"}})");
  REFUSED(forbidden, "other", run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c3","project":"other","migration":true,"instance_only":true})"));
  CHECK(names(c2) == std::vector<std::string>{"s2"});
  c2.restore("s2").wait();
  whole(w.host);
  w.host.request("PATCH", "/1.0/projects/other", R"({"config":{"limits.instances":""}})");
  run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c3","project":"other","migration":true})");
  REFUSED(not_found, "c2", c2.info());
  CHECK(text(ask(w.host, "/1.0/instances/c3?project=other").at("project")) == "other");
  CHECK(ask(w.host, "/1.0/instances/c3/snapshots?project=other").as_array().size() == 1);
  CHECK(ask(w.host, "/1.0/storage-pools/default/volumes/container/c3/snapshots?project=other").as_array().size() == 1);
  whole(w.host);
  run(w.host, "POST", "/1.0/instances/c3?project=other", R"({"name":"c4","project":"other","migration":true,"instance_only":true})");
  CHECK(ask(w.host, "/1.0/instances/c4/snapshots?project=other").as_array().empty());
  whole(w.host);
  run(w.host, "POST", "/1.0/instances/c4/snapshots?project=other", R"({"name":"s2"})");
  run(w.host, "POST", "/1.0/instances/c4?project=other", R"({"name":"c2","project":"default","pool":"p2","migration":true})");
  CHECK(c2.read_file("/root/now") == "2");
  CHECK(names(c2) == std::vector<std::string>{"s2"});
  c2.start().wait();
  c2.stop(true).wait();
  w.make("c1");
  REFUSED(already_exists, "c1", run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c1","pool":"default","migration":true})"));
  REFUSED(not_found, "nopool", run(w.host, "POST", "/1.0/instances/c2", R"({"name":"c2","pool":"nopool","migration":true})"));
  whole(w.host);
  c2.remove().wait();
  w.host.instance("c1").remove().wait();
  w.host.request("DELETE", "/1.0/projects/other");
  w.host.storage_pool("p2").remove();
}
