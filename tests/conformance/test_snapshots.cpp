// SPDX-License-Identifier: Apache-2.0
#include "suite.hpp"

using namespace suite;

namespace {
std::vector<std::string> names(const Instance &c) {
  std::vector<std::string> out;
  for (auto &s : c.snapshots()) out.push_back(s.name);
  return out;
}
} // namespace

TEST_CASE("snapshots: names") {
  World w;
  auto c = w.make("c1");
  CHECK(c.snapshots().empty());
  auto done = c.create_snapshot({}).wait();
  CHECK(contains(done.resources["instances_snapshots"], "/1.0/instances/c1/snapshots/snap0"));
  c.create_snapshot({}).wait();
  c.create_snapshot({"mine"}).wait();
  CHECK(names(c) == std::vector<std::string>{"snap0", "snap1", "mine"});
  REFUSED(already_exists, "\"mine\"", c.create_snapshot({"mine"}).wait());
  c.snapshot("snap0").remove().wait();
  c.create_snapshot({}).wait();
  CHECK(names(c) == std::vector<std::string>{"snap1", "mine", "snap2"});
  c.patch({{"snapshots.pattern", "auto-%d"}});
  c.create_snapshot({}).wait();
  CHECK(names(c).back() == "auto-0");
  SnapshotCreate stateful;
  stateful.stateful = true;
  REFUSED(not_supported, "stateful", c.create_snapshot(stateful).wait());
  CHECK(names(c).size() == 4);
}

TEST_CASE("snapshots: what one keeps") {
  World w;
  InstanceCreate r;
  r.config = {{"user.a", "1"}};
  r.devices = {{"d", {{"type", "none"}}}};
  r.description = "described";
  auto c = w.make("c1", r);
  auto before = std::chrono::system_clock::now() - 1s;
  c.create_snapshot({"s0"}).wait();
  c.patch({{"user.a", "2"}});
  auto i = c.snapshot("s0").info();
  CHECK(i.name == "s0");
  CHECK(i.config.at("user.a") == "1");
  CHECK(i.expanded_config.at("user.a") == "1");
  CHECK(i.devices.count("d") == 1);
  CHECK(i.expanded_devices.count("root") == 1);
  CHECK(i.profiles == std::vector<std::string>{"default"});
  CHECK(i.architecture == architecture());
  CHECK(i.created_at > before);
  CHECK(i.expires_at == Time{});
  CHECK_FALSE(i.stateful);
  CHECK_FALSE(i.ephemeral);
  CHECK(c.snapshots().at(0).config == i.config);
}

TEST_CASE("snapshots: restored") {
  World w;
  auto c = w.run("c1");
  if (real()) CHECK(c.exec({"sh", "-c", "echo first > /root/file; touch /root/goes"}).exit_code == 0);
  c.stop(true).wait();
  c.patch({{"user.a", "1"}});
  c.create_snapshot({"s0"}).wait();
  c.patch({{"user.a", "2"}, {"user.b", "new"}});
  auto uuid = c.info().config.at("volatile.uuid");
  c.start().wait();
  c.wait_ready();
  if (real()) CHECK(c.exec({"sh", "-c", "echo second > /root/file; rm /root/goes; touch /root/comes"}).exit_code == 0);
  c.stop(true).wait();
  c.create_snapshot({"s1"}).wait();

  c.restore("s0").wait();
  auto i = c.info();
  CHECK(i.status == "Stopped");
  CHECK(i.config.at("user.a") == "1");
  CHECK(i.config.count("user.b") == 0);
  CHECK(i.config.at("volatile.uuid") == uuid);
  CHECK(names(c) == std::vector<std::string>{"s0", "s1"});
  c.start().wait();
  c.wait_ready();
  if (real()) {
    CHECK(c.exec({"cat", "/root/file"}).stdout_data == "first\n");
    CHECK(c.exec({"ls", "/root"}).stdout_data == "file\ngoes\n");
  }
  c.stop(true).wait();
  c.restore("s1").wait();
  CHECK(c.info().config.at("user.b") == "new");
  c.start().wait();
  c.wait_ready();
  if (real()) CHECK(c.exec({"ls", "/root"}).stdout_data == "comes\nfile\n");
}

TEST_CASE("snapshots: of a running instance, and restored while it runs") {
  World w;
  auto c = w.run("c1");
  if (real()) CHECK(c.exec({"sh", "-c", "echo first > /root/file"}).exit_code == 0);
  auto pid = c.state().pid;
  c.create_snapshot({}).wait();
  CHECK(c.info().status == "Running");
  CHECK(c.state().pid == pid);
  if (real()) CHECK(c.exec({"sh", "-c", "echo second > /root/file"}).exit_code == 0);
  c.restore("snap0").wait();
  CHECK(c.info().status == "Running");
  CHECK(c.state().pid != pid);
  c.wait_ready();
  if (real()) CHECK(c.exec({"cat", "/root/file"}).stdout_data == "first\n");
}

TEST_CASE("snapshots: at every start, however it comes about") {
  World w;
  InstanceCreate r;
  r.config = {{"snapshots.schedule", "@startup"}};
  r.start = true;
  auto c = w.make("c1", r);
  CHECK(names(c) == std::vector<std::string>{"snap0"});
  c.stop(true).wait();
  c.start().wait();
  CHECK(names(c).size() == 2);
  c.restart(true).wait();
  CHECK(names(c).size() == 3);
  c.patch({{"snapshots.schedule", "@daily"}});
  c.restart(true).wait();
  CHECK(names(c).size() == 3);
}

TEST_CASE("snapshots: renamed and deleted") {
  World w;
  auto c = w.make("c1");
  c.create_snapshot({"s0"}).wait();
  c.create_snapshot({"s1"}).wait();
  auto s = c.snapshot("s0");
  REFUSED(already_exists, "\"s1\"", s.rename("s1").wait());
  s = c.snapshot("s0");
  s.rename("old").wait();
  CHECK(s.name() == "old");
  CHECK(s.info().name == "old");
  REFUSED(not_found, "\"s0\"", c.snapshot("s0").info());
  c.restore("old").wait();
  s.remove().wait();
  CHECK(names(c) == std::vector<std::string>{"s1"});
  REFUSED(not_found, "\"old\"", s.remove().wait());
  // They follow the instance.
  c.rename("c2").wait();
  CHECK(names(c) == std::vector<std::string>{"s1"});
  c.restore("s1").wait();
  c.remove().wait();
  auto again = w.make("c2");
  CHECK(again.snapshots().empty());
  again.create_snapshot({"s1"}).wait();
}

TEST_CASE("snapshots: expiry") {
  World w;
  auto c = w.make("c1");
  SnapshotCreate r{"s0"};
  Time later = std::chrono::time_point_cast<Time::duration>(std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now() + 24h));
  r.expires_at = later;
  c.create_snapshot(r).wait();
  auto s = c.snapshot("s0");
  CHECK(s.info().expires_at == later);
  s.set_expiry(later + 1h).wait();
  CHECK(s.info().expires_at == later + 1h);
  Etag stale, now;
  s.info(&stale);
  s.set_expiry(Time{}, stale).wait();
  CHECK(s.info().expires_at == Time{});
  s.info(&now);
  CHECK(stale != now);
  REFUSED(precondition_failed, "s0", s.set_expiry(later, stale).wait());
}
