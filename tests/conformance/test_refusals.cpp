// SPDX-License-Identifier: Apache-2.0
// Wrong states, wrong names, things that are not there: the code and the words of each refusal, and that nothing changed.
#include "suite.hpp"

using namespace suite;

TEST_CASE("refusals: wrong power states") {
  World w;
  auto c = w.make("c1");
  REFUSED(conflict, "already stopped", c.stop().wait());
  REFUSED(conflict, "already stopped", c.stop(true).wait());
  REFUSED(conflict, "already stopped", c.restart(true).wait());
  REFUSED(conflict, "not running", c.pause().wait());
  REFUSED(conflict, "not running", c.resume().wait());
  REFUSED(conflict, "not running", c.exec({"true"}));
  CHECK(c.info().status == "Stopped");

  c.start().wait();
  REFUSED(conflict, "already running", c.start().wait());
  REFUSED(conflict, "not frozen", c.resume().wait());
  REFUSED(conflict, "Instance is running", c.remove().wait());
  REFUSED(conflict, "Instance is running", c.rename("c2").wait());
  c = w.host.instance("c1");
  CHECK(c.info().status == "Running");
  CHECK(w.host.instance_names() == std::vector<std::string>{"c1"});

  c.pause().wait();
  REFUSED(conflict, "running", c.start().wait());
  REFUSED(conflict, "Instance is running", c.remove().wait());
  REFUSED(conflict, "already frozen", c.pause().wait());
  REFUSED(conflict, "rozen", c.exec({"true"}));
  CHECK(c.info().status == "Frozen");
  c.stop(true).wait();
  CHECK(c.info().status == "Stopped");

  InstanceStateChange change;
  change.action = "explode";
  REFUSED(invalid_argument, "\"explode\"", c.change_state(change).wait());
  change.action = "";
  REFUSED(invalid_argument, "action", c.change_state(change).wait());
  change.action = "start";
  change.stateful = true;
  REFUSED(not_supported, "stateful", c.change_state(change).wait());
}

TEST_CASE("refusals: instances that are not there") {
  World w;
  auto g = w.host.instance("ghost");
  auto said = [&](auto f) { REFUSED(not_found, "\"ghost\"", f()); };
  said([&] { g.info(); });
  said([&] { g.state(); });
  said([&] { g.start().wait(); });
  said([&] { g.stop(true).wait(); });
  said([&] { g.update({}).wait(); });
  said([&] { g.patch({{"user.a", "b"}}); });
  said([&] { g.rename("other").wait(); });
  g = w.host.instance("ghost");
  said([&] { g.remove().wait(); });
  said([&] { g.exec({"true"}); });
  said([&] { g.console_log(); });
  said([&] { g.create_snapshot({}).wait(); });
  said([&] { g.snapshots(); });
  said([&] { g.restore("s0").wait(); });
  said([&] { g.snapshot("s0").info(); });
  auto c = w.make("c1");
  auto s = c.snapshot("ghost");
  said([&] { s.info(); });
  said([&] { s.remove().wait(); });
  said([&] { s.set_expiry(Time{}).wait(); });
  said([&] { c.restore("ghost").wait(); });
  said([&] { s.rename("other").wait(); });
}

TEST_CASE("refusals: names") {
  World w;
  auto c = w.make("c1");
  c.create_snapshot({"s0"}).wait();
  const std::string bad[] = {std::string(64, 'a'), "a/b", "a\nb", "..", ".", "../../etc", "-a", "a-", "123", "a_b", "a.b", "a b", std::string("a\0b", 3), "\xc3\xa9"};
  for (auto &name : bad) {
    CAPTURE(name);
    InstanceCreate r;
    r.source.alias = "busy";
    r.name = name;
    REFUSED(invalid_argument, "invalid instance name", w.host.create_instance(r).wait());
    auto moved = w.host.instance("c1");
    REFUSED(invalid_argument, "invalid instance name", moved.rename(name).wait());
    auto lost = attempt([&] { w.host.instance(name).info(); });
    CHECK((lost.code == ErrorCode::invalid_argument || lost.code == ErrorCode::not_found));
  }
  REFUSED(invalid_argument, "invalid instance name", w.host.instance("c1").rename("").wait());
  CHECK(w.host.instance_names() == std::vector<std::string>{"c1"});
  InstanceCreate longest;
  longest.source.alias = "busy";
  longest.name = std::string(63, 'a');
  w.host.create_instance(longest).wait();
  auto l = w.host.instance(longest.name);
  l.start().wait();
  l.stop(true).wait();

  for (std::string name : {"a/b", "..", ".", "a\nb", "a b", "-a", ""}) {
    CAPTURE(name);
    if (!name.empty()) REFUSED(invalid_argument, "invalid snapshot name", c.create_snapshot({name}).wait());
    auto s = c.snapshot("s0");
    REFUSED(invalid_argument, "invalid snapshot name", s.rename(name).wait());
    REFUSED(invalid_argument, "invalid profile name", w.host.create_profile({name, {}, "", {}}));
    REFUSED(invalid_argument, "invalid storage pool name", w.host.create_storage_pool({name, "dir", "", {}}));
  }
  for (std::string name : {"a//b", "../x", "/", "a\nb", "", "a/.."}) {
    CAPTURE(name);
    REFUSED(invalid_argument, "invalid image alias", w.host.create_image_alias(name, w.host.image("busy").info().fingerprint));
  }
  InstanceCreate device;
  device.name = "c2";
  device.source.alias = "busy";
  for (std::string name : {"a/b", "..", "a\nb", ""}) {
    device.devices = {{name, {{"type", "none"}}}};
    REFUSED(invalid_argument, "invalid device name", w.host.create_instance(device).wait());
  }
}

TEST_CASE("refusals: creation") {
  World w;
  w.make("c1");
  auto create = [&](auto change) {
    InstanceCreate r;
    r.name = "c2";
    r.source.type = "image";
    r.source.alias = "busy";
    change(r);
    w.host.create_instance(r).wait();
  };
  REFUSED(already_exists, "\"c1\"", create([](auto &r) { r.name = "c1"; }));
  REFUSED(not_found, "\"no-image\"", create([](auto &r) { r.source.alias = "no-image"; }));
  REFUSED(not_found, "\"ffff\"", create([](auto &r) { r.source = {}, r.source.type = "image", r.source.fingerprint = "ffff"; }));
  REFUSED(not_found, "", create([](auto &r) { r.source = {}, r.source.type = "image", r.source.properties = {{"os", "plan9"}}; }));
  REFUSED(invalid_argument, "image source", create([](auto &r) { r.source.alias = ""; }));
  REFUSED(invalid_argument, "\"telepathy\"", create([](auto &r) { r.source.type = "telepathy"; }));
  REFUSED(not_found, "\"no-profile\"", create([](auto &r) { r.profiles = {"default", "no-profile"}; }));
  REFUSED(invalid_argument, "\"default\"", create([](auto &r) { r.profiles = {"default", "default"}; }));
  REFUSED(not_found, "\"no-pool\"", create([](auto &r) { r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "no-pool"}}}}; }));
  REFUSED(invalid_argument, "no root disk", create([](auto &r) { r.profiles.emplace(); }));
  REFUSED(not_supported, "\"virtual-machine\"", create([](auto &r) { r.type = "virtual-machine"; }));
  REFUSED(not_supported, "stateful", create([](auto &r) { r.stateful = true; }));
  REFUSED(invalid_argument, "\"pdp11\"", create([](auto &r) { r.architecture = "pdp11"; }));
  REFUSED(invalid_argument, "\"user_color\"", create([](auto &r) { r.config = {{"user_color", "blue"}}; }));
  REFUSED(not_found, "\"elsewhere\"", w.host.create_instance({}, "elsewhere").wait());
  CHECK(w.host.instance_names() == std::vector<std::string>{"c1"});
  for (auto &v : w.host.storage_pool("default").volumes()) CHECK(v.name != "c2");
  // None of them left anything in the way of that name.
  create([](auto &r) { r.start = true; });
  CHECK(w.host.instance("c2").info().status == "Running");
}

TEST_CASE("refusals: images for other machines") {
  World w;
  ImageImport how;
  how.alias = "foreign";
  w.host.import_image(small_image("foreign", "", architecture() == "s390x" ? "riscv64" : "s390x"), how).wait();
  InstanceCreate r;
  r.name = "c1";
  r.source.alias = "foreign";
  REFUSED(invalid_argument, "architecture", w.host.create_instance(r).wait());
  r.source.alias = "busy";
  r.architecture = "s390x";
  REFUSED(invalid_argument, "architecture", w.host.create_instance(r).wait());
  CHECK(w.host.instance_names().empty());
}

TEST_CASE("refusals: images that demand or refuse something") {
  World w;
  ImageImport how;
  how.alias = "guarded";
  w.host.import_image(small_image("guarded", "  requirements.privileged: \"false\"\n"), how).wait();
  InstanceCreate r;
  r.name = "c1";
  r.source.alias = "guarded";
  r.config = {{"security.privileged", "true"}};
  REFUSED(invalid_argument, "requirements.privileged", w.host.create_instance(r).wait());
  r.config.clear();
  w.host.create_instance(r).wait();
  REFUSED(invalid_argument, "requirements.privileged", w.host.instance("c1").patch({{"security.privileged", "true"}}));
  CHECK(w.host.instance("c1").info().config.count("security.privileged") == 0);
}
