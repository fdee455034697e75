// SPDX-License-Identifier: Apache-2.0
// Volumes of users' own: restored, copied, refreshed and moved; what their configuration may be.
#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

namespace {

const std::string volumes = "/1.0/storage-pools/default/volumes/custom", second = "/1.0/storage-pools/p2/volumes/custom";

std::string field(Host &h, const std::string &path, const char *key) {
  auto config = ask(h, path).at("config");
  auto *v = config.as_object().if_contains(key);
  return v ? text(*v) : "";
}
std::size_t snapshots(Host &h, const std::string &volume) { return ask(h, volume + "/snapshots").as_array().size(); }

/// A running instance with the volume at /data; what it says there.
Instance with(World &w, const std::string &pool, const std::string &volume) {
  InstanceCreate c;
  c.devices = {{"data", {{"type", "disk"}, {"path", "/data"}, {"pool", pool}, {"source", volume}}}};
  return w.run("user", c);
}
void put(World &w, const std::string &pool, const std::string &volume, const std::string &script) {
  auto c = with(w, pool, volume);
  if (real()) CHECK(c.exec({"sh", "-c", "cd /data && " + script}).exit_code == 0);
  c.stop(true).wait();
  c.remove().wait();
}
std::string look(World &w, const std::string &pool, const std::string &volume) {
  auto c = with(w, pool, volume);
  std::string out = real() ? c.exec({"sh", "-c", "cd /data && for f in *; do echo $f=$(cat $f); done"}).stdout_data : "";
  c.stop(true).wait();
  c.remove().wait();
  return out;
}
void check_look(World &w, const std::string &pool, const std::string &volume, const std::string &wanted) {
  auto said = look(w, pool, volume);
  if (real()) CHECK(said == wanted);
}

void whole(Host &h) {
  if (!official()) CHECK(json::parse(suite::check(h)).at("problems").as_array().empty());
}

} // namespace

TEST_CASE("volume snapshots: what they keep, and restored") {
  World w;
  w.host.request("POST", volumes, R"({"name":"v1","description":"data","config":{"user.a":"1","snapshots.pattern":"p%d","snapshots.expiry":"1d"}})");
  put(w, "default", "v1", "echo one > a; echo goes > b");
  run(w.host, "POST", volumes + "/v1/snapshots", "{}");
  run(w.host, "POST", volumes + "/v1/snapshots", R"({"name":"free","expires_at":"0001-01-01T00:00:00Z"})");
  auto p0 = ask(w.host, volumes + "/v1/snapshots/p0");
  CHECK(text(p0.at("description")) == "data");
  CHECK(text(p0.at("config").at("user.a")) == "1");
  CHECK(text(p0.at("content_type")) == "filesystem");
  CHECK(text(p0.at("expires_at")).substr(0, 2) == "20");
  CHECK(text(ask(w.host, volumes + "/v1/snapshots/free").at("expires_at")) == "0001-01-01T00:00:00Z");
  put(w, "default", "v1", "echo two > a; rm b; echo comes > c");
  w.host.request("PATCH", volumes + "/v1", R"({"config":{"user.a":"2"}})");
  {
    auto c = with(w, "default", "v1");
    REFUSED(conflict, "running instances", run(w.host, "PUT", volumes + "/v1", R"({"restore":"p0"})"));
    c.stop(true).wait();
    run(w.host, "PUT", volumes + "/v1", R"({"restore":"free"})");
    c.remove().wait();
  }
  CHECK(field(w.host, volumes + "/v1", "user.a") == "2");
  check_look(w, "default", "v1", "a=one\nb=goes\n");
  put(w, "default", "v1", "echo three > a");
  run(w.host, "PUT", volumes + "/v1", R"({"restore":"p0","config":{"user.a":"3"},"description":"other"})");
  CHECK(field(w.host, volumes + "/v1", "user.a") == "3");
  check_look(w, "default", "v1", "a=one\nb=goes\n");
  REFUSED(not_found, "none", run(w.host, "PUT", volumes + "/v1", R"({"restore":"none"})"));
  CHECK(snapshots(w.host, volumes + "/v1") == 2);
  whole(w.host);
  w.host.request("DELETE", volumes + "/v1");
  whole(w.host);
}

TEST_CASE("volumes: copied within a pool and to another, with snapshots and without, from one and to another project") {
  World w;
  w.host.create_storage_pool({"p2", "dir", "", {{"rsync.bwlimit", "100MB"}}});
  REFUSED(invalid_argument, "rsync.bwlimit", w.host.create_storage_pool({"p3", "dir", "", {{"rsync.bwlimit", "fast"}}}));
  w.host.request("POST", volumes, R"({"name":"v1","description":"data","config":{"user.a":"s0"}})");
  put(w, "default", "v1", "echo one > a");
  run(w.host, "POST", volumes + "/v1/snapshots", "{}");
  w.host.request("PATCH", volumes + "/v1", R"({"description":"data","config":{"user.a":"now"}})");
  put(w, "default", "v1", "echo two > a");
  const std::string source = R"("source":{"type":"copy","pool":"default","name":"v1)";
  for (auto &[pool, base] : {std::pair{"default", volumes}, std::pair{"p2", second}}) {
    CAPTURE(pool);
    run(w.host, "POST", base, R"({"name":"c1",)" + source + "\"}}");
    CHECK(text(ask(w.host, base + "/c1").at("description")) == "data");
    CHECK(field(w.host, base + "/c1", "user.a") == "now");
    CHECK(field(w.host, base + "/c1/snapshots/snap0", "user.a") == "s0");
    CHECK(text(ask(w.host, base + "/c1/snapshots/snap0").at("created_at")) == text(ask(w.host, volumes + "/v1/snapshots/snap0").at("created_at")));
    run(w.host, "POST", base, R"({"name":"c2","config":{"user.b":"mine"},)" + source + R"(","volume_only":true}})");
    CHECK(snapshots(w.host, base + "/c2") == 0);
    CHECK(field(w.host, base + "/c2", "user.b") == "mine");
    run(w.host, "POST", base, R"({"name":"c3",)" + source + R"(/snap0"}})");
    CHECK(field(w.host, base + "/c3", "user.a") == "s0");
    CHECK(snapshots(w.host, base + "/c3") == 0);
    check_look(w, pool, "c1", "a=two\n");
    check_look(w, pool, "c2", "a=two\n");
    check_look(w, pool, "c3", "a=one\n");
    run(w.host, "PUT", base + "/c1", R"({"restore":"snap0"})");
    check_look(w, pool, "c1", "a=one\n");
    REFUSED(already_exists, "already exists", run(w.host, "POST", base, R"({"name":"c1",)" + source + "\"}}"));
    for (auto *name : {"/c1", "/c2", "/c3"}) w.host.request("DELETE", base + name);
  }
  REFUSED(not_found, "none", run(w.host, "POST", volumes, R"({"name":"c1","source":{"type":"copy","pool":"default","name":"none"}})"));
  REFUSED(not_found, "none", run(w.host, "POST", volumes, R"({"name":"c1",)" + source + R"(/none"}})"));
  REFUSED(invalid_argument, "bogus", run(w.host, "POST", volumes, R"({"name":"c1","config":{"bogus":"1"},)" + source + "\"}}"));
  REFUSED(invalid_argument, "unknown source type", run(w.host, "POST", volumes, R"({"name":"c1","source":{"type":"bogus"}})"));

  w.host.request("POST", "/1.0/projects", R"({"name":"other","config":{"features.storage.volumes":"true"}})");
  run(w.host, "POST", volumes + "?project=other", R"({"name":"v1","source":{"type":"copy","pool":"default","name":"v1","project":"default"}})");
  CHECK(ask(w.host, volumes + "/v1/snapshots?project=other").as_array().size() == 1);
  run(w.host, "POST", volumes + "/v1?project=other", R"({"name":"back","pool":"default","project":"default"})");
  CHECK(snapshots(w.host, volumes + "/back") == 1);
  check_look(w, "default", "back", "a=two\n");
  REFUSED(not_found, "v1", ask(w.host, volumes + "/v1?project=other"));
  REFUSED(invalid_argument, "same", run(w.host, "POST", volumes + "/back", R"({"name":"x","project":"default"})"));
  w.host.request("DELETE", "/1.0/projects/other");
  whole(w.host);
  w.host.request("DELETE", volumes + "/back");
  w.host.request("DELETE", volumes + "/v1");
  w.host.storage_pool("p2").remove();
}

TEST_CASE("volumes: refreshed") {
  World w;
  w.host.create_storage_pool({"p2", "dir", "", {}});
  w.host.request("POST", volumes, R"({"name":"v1","config":{"user.a":"s0"}})");
  put(w, "default", "v1", "echo one > a; echo same > s");
  for (auto &[pool, base] : {std::pair{"default", volumes}, std::pair{"p2", second}}) {
    CAPTURE(pool);
    auto refresh = [&, to = base](const std::string &more = {}) {
      run(w.host, "POST", to, R"({"name":"c1","source":{"type":"copy","pool":"default","name":"v1","refresh":true)" + more + "}}");
    };
    refresh(); // makes what is not there
    run(w.host, "POST", volumes + "/v1/snapshots", R"({"name":"one"})");
    run(w.host, "POST", base + "/c1/snapshots", R"({"name":"goes"})");
    w.host.request("PATCH", base + "/c1", R"({"config":{"user.a":"own"}})");
    put(w, "default", "v1", "echo two > a; echo new > n");
    refresh();
    CHECK(field(w.host, base + "/c1", "user.a") == "own");
    CHECK(snapshots(w.host, base + "/c1") == 1);
    CHECK(field(w.host, base + "/c1/snapshots/one", "user.a") == "s0");
    check_look(w, pool, "c1", "a=two\nn=new\ns=same\n");
    put(w, "default", "v1", "rm n; echo one > a");
    run(w.host, "POST", volumes + "/v1/snapshots", R"({"name":"two"})");
    refresh(R"(,"volume_only":true)");
    CHECK(snapshots(w.host, base + "/c1") == 1);
    check_look(w, pool, "c1", "a=one\ns=same\n");
    run(w.host, "DELETE", volumes + "/v1/snapshots/one");
    refresh();
    REFUSED(not_found, "one", ask(w.host, base + "/c1/snapshots/one"));
    CHECK(snapshots(w.host, base + "/c1") == 1);
    // From before the newest that both have: not copied, when so asked.
    run(w.host, "POST", base + "/c1/snapshots", R"({"name":"late"})");
    auto c = with(w, pool, "c1");
    REFUSED(conflict, "running instances", refresh());
    c.stop(true).wait();
    c.remove().wait();
    run(w.host, "DELETE", base + "/c1/snapshots/two");
    run(w.host, "POST", volumes + "/v1/snapshots", R"({"name":"three"})");
    refresh(R"(,"refresh_exclude_older":true)");
    CHECK(snapshots(w.host, base + "/c1") == 2);
    run(w.host, "DELETE", base + "/c1/snapshots/two");
    refresh(R"(,"refresh_exclude_older":true)");
    CHECK(snapshots(w.host, base + "/c1") == 1);
    refresh();
    CHECK(snapshots(w.host, base + "/c1") == 2);
    whole(w.host);
    w.host.request("DELETE", base + "/c1");
    for (auto *name : {"two", "three"}) run(w.host, "DELETE", volumes + "/v1/snapshots/" + name);
  }
  w.host.request("DELETE", volumes + "/v1");
  w.host.storage_pool("p2").remove();
}

TEST_CASE("volumes: moved with who uses them") {
  World w;
  w.host.create_storage_pool({"p2", "dir", "", {}});
  w.host.request("POST", volumes, R"({"name":"v1","config":{"user.a":"1"}})");
  put(w, "default", "v1", "echo one > a");
  run(w.host, "POST", volumes + "/v1/snapshots", "{}");
  auto c = with(w, "default", "v1");
  REFUSED(conflict, "running instances", run(w.host, "POST", volumes + "/v1", R"({"name":"v2","pool":"p2"})"));
  REFUSED(conflict, "running instances", run(w.host, "POST", volumes + "/v1", R"({"name":"v2"})"));
  c.stop(true).wait();
  auto created = text(ask(w.host, volumes + "/v1").at("created_at"));
  run(w.host, "POST", volumes + "/v1", R"({"name":"v2","pool":"p2"})");
  REFUSED(not_found, "v1", ask(w.host, volumes + "/v1"));
  auto v = ask(w.host, second + "/v2");
  CHECK(text(v.at("config").at("user.a")) == "1");
  CHECK(text(v.at("used_by").at(0)) == "/1.0/instances/user");
  if (!official()) CHECK(text(v.at("created_at")) == created);
  CHECK(snapshots(w.host, second + "/v2") == 1);
  auto device = c.info().devices.at("data");
  CHECK(device.at("pool") == "p2");
  CHECK(device.at("source") == "v2");
  run(w.host, "POST", second + "/v2", R"({"name":"v3"})");
  CHECK(c.info().devices.at("data").at("source") == "v3");
  c.start().wait();
  c.wait_ready();
  if (real()) CHECK(c.exec({"cat", "/data/a"}).stdout_data == "one\n");
  c.stop(true).wait();
  c.remove().wait();
  w.host.request("POST", volumes, R"({"name":"v3"})");
  REFUSED(already_exists, "already exists", run(w.host, "POST", second + "/v3", R"({"name":"v3","pool":"default"})"));
  REFUSED(not_found, "none", run(w.host, "POST", second + "/v3", R"({"name":"v3","pool":"none"})"));
  whole(w.host);
  w.host.request("DELETE", second + "/v3");
  w.host.request("DELETE", volumes + "/v3");
  w.host.storage_pool("p2").remove();
}

TEST_CASE("volumes: configuration") {
  World w;
  auto refused = [&](const std::string &config, const char *words) {
    REFUSED(invalid_argument, words, w.host.request("POST", volumes, R"({"name":"bad","config":)" + config + "}"));
  };
  refused(R"({"security.shifted":"maybe"})", "security.shifted");
  refused(R"({"security.shifted":"true","security.unmapped":"true"})", "mutually exclusive");
  refused(R"({"snapshots.schedule":"bogus"})", "snapshots.schedule");
  refused(R"({"snapshots.schedule":"@startup"})", "snapshots.schedule");
  refused(R"({"snapshots.expiry":"bogus"})", "snapshots.expiry");
  refused(R"({"initial.uid":"-1"})", "initial.uid");
  refused(R"({"initial.mode":"999"})", "initial.mode");
  refused(R"({"size":"much"})", "size");
  w.host.request("POST", volumes, R"({"name":"v1","config":{"initial.uid":"101","initial.gid":"102","initial.mode":"0750","snapshots.schedule":"@daily","size":"100MiB"}})");
  REFUSED(invalid_argument, "initial.uid", w.host.request("PATCH", volumes + "/v1", R"({"config":{"initial.uid":"5"}})"));
  auto c = with(w, "default", "v1");
  if (real()) CHECK(c.exec({"stat", "-c", "%u:%g %a", "/data"}).stdout_data == "101:102 750\n");
  REFUSED(conflict, "running instances", w.host.request("PATCH", volumes + "/v1", R"({"config":{"security.shifted":"true"}})"));
  c.stop(true).wait();
  w.host.request("PATCH", volumes + "/v1", R"({"config":{"security.shifted":"true"}})");
  c.remove().wait();
  w.host.request("DELETE", volumes + "/v1");
}
