// SPDX-License-Identifier: Apache-2.0
#include "suite.hpp"

using namespace suite;

TEST_CASE("profiles: from creation to deletion") {
  World w;
  w.host.create_profile({"web", {{"user.a", "1"}}, "for the web", {{"n", {{"type", "none"}}}}});
  auto p = w.host.profile("web");
  auto i = p.info();
  CHECK(i.name == "web");
  CHECK(i.project == "default");
  CHECK(i.description == "for the web");
  CHECK(i.config == Config{{"user.a", "1"}});
  CHECK(i.devices == Devices{{"n", {{"type", "none"}}}});
  CHECK(i.used_by.empty());
  REFUSED(already_exists, "\"web\"", w.host.create_profile({"web", {}, "", {}}));
  CHECK(p.info().config == i.config);

  p.update({{{"user.b", "2"}}, "changed", {}});
  i = p.info();
  CHECK(i.config == Config{{"user.b", "2"}});
  CHECK(i.devices.empty());
  CHECK(i.description == "changed");
  w.host.request("PATCH", "/1.0/profiles/web", R"({"config":{"user.c":"3"}})");
  CHECK(p.info().config == Config{{"user.b", "2"}, {"user.c", "3"}});
  CHECK(p.info().description == "changed");
  w.host.request("PATCH", "/1.0/profiles/web", R"({"config":{"user.c":""}})");
  CHECK(p.info().config == Config{{"user.b", "2"}});

  p.rename("site");
  CHECK(p.name() == "site");
  CHECK(p.info().config == Config{{"user.b", "2"}});
  REFUSED(not_found, "\"web\"", w.host.profile("web").info());
  auto all = w.host.profiles();
  REQUIRE(all.size() == 2);
  CHECK(all[0].name == "default");
  CHECK(all[1].name == "site");
  p.remove();
  REFUSED(not_found, "\"site\"", p.info());
  REFUSED(not_found, "\"site\"", p.remove());
  REFUSED(not_found, "\"site\"", p.update({}));
  REFUSED(not_found, "\"site\"", w.host.profile("site").rename("x"));
}

TEST_CASE("profiles: default stays") {
  World w;
  auto p = w.host.profile("default");
  REFUSED(forbidden, "default", p.remove());
  REFUSED(forbidden, "default", p.rename("other"));
  CHECK(w.host.profile("default").info().name == "default");
  w.host.create_profile({"p1", {}, "", {}});
  auto q = w.host.profile("p1");
  REFUSED(already_exists, "\"default\"", q.rename("default"));
}

TEST_CASE("profiles: later ones win over earlier ones, the instance over all") {
  World w;
  w.host.create_profile({"p1", {{"user.a", "p1"}, {"user.b", "p1"}, {"user.c", "p1"}}, "", {{"d", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "one"}}}}});
  w.host.create_profile({"p2", {{"user.b", "p2"}, {"user.c", "p2"}}, "", {{"d", {{"type", "nic"}, {"nictype", "p2p"}, {"mtu", "1400"}}}}});
  InstanceCreate r;
  r.profiles = {"default", "p1", "p2"};
  r.config = {{"user.c", "own"}};
  auto c = w.make("c1", r);
  auto e = c.info();
  CHECK(e.profiles == *r.profiles);
  CHECK(e.expanded_config.at("user.a") == "p1");
  CHECK(e.expanded_config.at("user.b") == "p2");
  CHECK(e.expanded_config.at("user.c") == "own");
  CHECK(e.config.count("user.a") == 0);
  CHECK(e.expanded_devices.at("d") == Config{{"type", "nic"}, {"nictype", "p2p"}, {"mtu", "1400"}});
  CHECK(e.devices.empty());

  c.update({e.architecture, e.config, "", e.devices, false, {"default", "p2", "p1"}, "", false}).wait();
  e = c.info();
  CHECK(e.expanded_config.at("user.b") == "p1");
  CHECK(e.expanded_devices.at("d").at("name") == "one");

  c.patch({}, {{"d", {{"type", "none"}}}});
  CHECK(c.info().expanded_devices.at("d") == Config{{"type", "none"}});

  w.host.profile("p1").update({{{"user.a", "new"}}, "", {}});
  e = c.info();
  CHECK(e.expanded_config.at("user.a") == "new");
  CHECK(e.expanded_config.at("user.b") == "p2");
}

TEST_CASE("profiles: in use") {
  World w;
  w.host.create_profile({"p1", {{"user.a", "1"}}, "", {}});
  InstanceCreate r;
  r.profiles = {"default", "p1"};
  auto c = w.run("c1", r);
  auto p = w.host.profile("p1");
  CHECK(p.info().used_by == std::vector<std::string>{"/1.0/instances/c1"});
  CHECK(w.host.profile("default").info().used_by == std::vector<std::string>{"/1.0/instances/c1"});
  REFUSED(conflict, "in use", p.remove());
  p.rename("p2");
  CHECK(c.info().profiles == std::vector<std::string>{"default", "p2"});
  p.update({{{"user.a", "2"}, {"limits.processes", "300"}}, "", {}});
  CHECK(c.info().expanded_config.at("user.a") == "2");
  CHECK(c.info().status == "Running");

  // A change that would break a user is refused as a whole.
  auto d = w.host.profile("default");
  auto before = d.info();
  REFUSED(invalid_argument, "\"c1\"", d.update({before.config, before.description, {}}));
  CHECK(d.info().devices == before.devices);
  REFUSED(invalid_argument, "root disk", p.update({{}, "", {{"another", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}}}));
  CHECK(p.info().devices.empty());

  c.stop(true).wait();
  c.remove().wait();
  CHECK(p.info().used_by.empty());
  p.remove();
}

TEST_CASE("profiles: versions guard changes") {
  World w;
  w.host.create_profile({"p1", {}, "", {}});
  auto p = w.host.profile("p1");
  Etag first, second;
  p.info(&first);
  CHECK(first != "");
  p.update({{{"user.a", "1"}}, "", {}}, first);
  p.info(&second);
  CHECK(first != second);
  REFUSED(precondition_failed, "p1", p.update({{{"user.a", "2"}}, "", {}}, first));
  CHECK(p.info().config.at("user.a") == "1");
  p.update({{{"user.a", "2"}}, "", {}}, second);
}

TEST_CASE("profiles: the default one can be changed") {
  World w;
  auto p = w.host.profile("default");
  w.make("early");
  auto i = p.info();
  CHECK(i.description == "Default Incus profile");
  auto devices = i.devices;
  devices["eth0"] = {{"type", "nic"}, {"nictype", "p2p"}};
  p.update({{{"user.test", "1"}}, "test", devices});
  auto c = w.run("c1");
  CHECK(c.info().expanded_config.at("user.test") == "1");
  CHECK(c.state().network.count("eth0") == 1);
}
