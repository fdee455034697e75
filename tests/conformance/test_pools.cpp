// SPDX-License-Identifier: Apache-2.0
#include "suite.hpp"

using namespace suite;

TEST_CASE("pools: from creation to deletion") {
  World w;
  for (std::string driver : {"dir", "overlay"}) {
    CAPTURE(driver);
    w.host.create_storage_pool({"p1", driver, "first", {}});
    auto p = w.host.storage_pool("p1");
    auto i = p.info();
    CHECK(i.name == "p1");
    CHECK(i.driver == driver);
    CHECK(i.description == "first");
    CHECK(i.status == "Created");
    CHECK(i.used_by.empty());
    CHECK(i.locations == std::vector<std::string>{"none"});
    REFUSED(already_exists, "\"p1\"", w.host.create_storage_pool({"p1", driver, "", {}}));
    auto r = p.resources();
    CHECK(r.space.total > r.space.used);
    CHECK(r.inodes.total > 0);
    CHECK(p.volumes().empty());

    Etag stale, now;
    p.info(&stale);
    p.update({i.config, "second"}, stale);
    CHECK(p.info(&now).description == "second");
    CHECK(stale != now);
    REFUSED(precondition_failed, "p1", p.update({i.config, "third"}, stale));
    auto moved = i.config;
    moved["source"] = scratch() + "/elsewhere";
    REFUSED(invalid_argument, "source", p.update({moved, "third"}));
    CHECK(p.info().description == "second");

    InstanceCreate c;
    c.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "p1"}}}};
    auto one = w.run("c1", c);
    CHECK(one.info().expanded_devices.at("root").at("pool") == "p1");
    one.create_snapshot({}).wait();
    one.stop(true).wait();
    one.restore("snap0").wait();
    CHECK(contains(p.info().used_by, "/1.0/instances/c1"));
    std::vector<std::string> volumes;
    for (auto &v : p.volumes()) {
      CHECK(v.content_type == "filesystem");
      volumes.push_back(v.type + "/" + v.name);
    }
    CHECK(contains(volumes, "container/c1"));
    CHECK(contains(volumes, "image/" + w.host.image("busy").info().fingerprint));
    REFUSED(conflict, "p1", p.remove());
    REFUSED(invalid_argument, "pool", one.patch({}, {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}}));
    one.remove().wait();
    p.remove(); // cached images do not hold it
    REFUSED(not_found, "\"p1\"", p.info());
    REFUSED(not_found, "\"p1\"", p.remove());
    REFUSED(not_found, "\"p1\"", p.resources());
    REFUSED(not_found, "\"p1\"", p.volumes());
    REFUSED(not_found, "\"p1\"", p.update({}));
  }
}

TEST_CASE("pools: what cannot be made") {
  World w;
  REFUSED(invalid_argument, "\"tape\"", w.host.create_storage_pool({"p1", "tape", "", {}}));
  REFUSED(invalid_argument, "driver", w.host.create_storage_pool({"p1", "", "", {}}));
  REFUSED(invalid_argument, "\"spindles\"", w.host.create_storage_pool({"p1", "dir", "", {{"spindles", "4"}}}));
  REFUSED(invalid_argument, "source", w.host.create_storage_pool({"p1", "dir", "", {{"source", "relative"}}}));
  for (auto &p : w.host.storage_pools()) CHECK(p.name != "p1");
}

TEST_CASE("pools: on a directory that is given") {
  World w;
  auto dir = scratch() + "/given";
  std::filesystem::create_directories(dir);
  w.host.create_storage_pool({"given", "dir", "", {{"source", dir}}});
  auto p = w.host.storage_pool("given");
  CHECK(p.info().config.at("source") == dir);
  InstanceCreate c;
  c.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "given"}}}};
  auto one = w.run("c1", c);
  if (real()) CHECK_FALSE(std::filesystem::is_empty(dir));
  one.stop(true).wait();
  one.remove().wait();
  p.remove();
  CHECK(std::filesystem::is_empty(dir));
}

TEST_CASE("pools: in the state directory only where they are by themselves") {
  World w;
  w.host.create_storage_pool({"p1", "dir", "", {}});
  auto config = w.host.storage_pool("p1").info().config;
  w.host.storage_pool("p1").remove();
  auto own = config.at("source");
  w.host.create_storage_pool({"p1", "dir", "", {{"source", own}}});
  CHECK(w.host.storage_pool("p1").info().config == config);
  w.host.storage_pool("p1").remove();
  auto state = std::filesystem::path(own).parent_path().parent_path();
  std::filesystem::create_directories(state / "logs/empty");
  for (auto &bad : {state, state / "logs/empty", state / "storage-pools/other", state / "logs/../logs/empty"})
    REFUSED(invalid_argument, "source", w.host.create_storage_pool({"p1", "dir", "", {{"source", bad.string()}}}));
  std::filesystem::remove(state / "logs/empty");
}

TEST_CASE("pools: the first instance makes one") {
  auto h = fresh();
  CHECK(h.instance_names().empty());
  ImageImport how;
  how.alias = "busy";
  h.import_image(guest_image(), how).wait();
  auto c = h.launch("c1", "busy");
  auto pools = h.storage_pools();
  REQUIRE(pools.size() == 1);
  CHECK(pools[0].name == "default");
  CHECK(contains(pools[0].used_by, "/1.0/instances/c1"));
  CHECK(contains(pools[0].used_by, "/1.0/profiles/default"));
  c.stop(true).wait();
  c.remove().wait();
}
