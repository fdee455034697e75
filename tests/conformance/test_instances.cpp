// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <thread>

#include "suite.hpp"

using namespace suite;

TEST_CASE("instances: from creation to deletion") {
  World w;
  auto before = std::chrono::system_clock::now() - 1s;
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "image";
  r.source.alias = "busy";
  r.description = "a test";
  r.config = {{"user.color", "blue"}};
  auto done = w.host.create_instance(r).wait();
  CHECK(done.status == "Success");
  CHECK(done.status_code == 200);
  CHECK(contains(done.resources.at("instances"), "/1.0/instances/c1"));

  auto c = w.host.instance("c1");
  auto i = c.info();
  CHECK(i.name == "c1");
  CHECK(i.project == "default");
  CHECK(i.type == "container");
  CHECK(i.status == "Stopped");
  CHECK(i.status_code == 102);
  CHECK(i.architecture == architecture());
  CHECK(i.description == "a test");
  CHECK(i.profiles == std::vector<std::string>{"default"});
  CHECK_FALSE(i.ephemeral);
  CHECK_FALSE(i.stateful);
  CHECK(i.created_at > before);
  CHECK(i.last_used_at == Time{});
  CHECK(i.config.at("user.color") == "blue");
  CHECK(i.config.at("volatile.base_image") == w.host.image("busy").info().fingerprint);
  CHECK(i.config.at("volatile.uuid").size() == 36);
  CHECK(i.config.at("image.os") == "busybox");
  CHECK(i.devices.empty());
  CHECK(i.expanded_config.at("user.color") == "blue");
  CHECK(i.expanded_devices.at("root") == Config{{"path", "/"}, {"pool", "default"}, {"type", "disk"}});
  auto s = c.state();
  CHECK(s.status == "Stopped");
  CHECK(s.status_code == 102);
  CHECK(s.pid == 0);

  c.start().wait();
  c.wait_ready();
  i = c.info();
  CHECK(i.status == "Running");
  CHECK(i.status_code == 103);
  CHECK(i.last_used_at > before);
  s = c.state();
  CHECK(s.status == "Running");
  CHECK(s.pid > 1);
  CHECK(s.processes >= 1);
  CHECK(s.started_at > before);
  CHECK(s.network.at("lo").type == "loopback");
  CHECK(s.disk.count("root") == 1);

  c.pause().wait();
  CHECK(c.info().status == "Frozen");
  CHECK(c.info().status_code == 110);
  CHECK(c.state().status == "Frozen");
  c.resume().wait();
  CHECK(c.info().status == "Running");

  c.restart(true).wait();
  CHECK(c.info().status == "Running");
  CHECK(c.state().pid != s.pid);

  c.stop(true).wait();
  CHECK(c.info().status == "Stopped");
  CHECK(c.state().pid == 0);

  auto uuid = c.info().config.at("volatile.uuid");
  done = c.rename("c2").wait();
  CHECK(c.name() == "c2");
  CHECK(c.info().name == "c2");
  CHECK(c.info().config.at("volatile.uuid") == uuid);
  CHECK(w.host.instance_names() == std::vector<std::string>{"c2"});
  REFUSED(not_found, "\"c1\"", w.host.instance("c1").info());
  c.start().wait();
  c.stop(true).wait();

  c.remove().wait();
  CHECK(w.host.instance_names().empty());
  REFUSED(not_found, "\"c2\"", c.info());
}

TEST_CASE("instances: clean stop and restart") {
  World w;
  auto c = w.run("c1");
  auto pid = c.state().pid;
  c.restart(false, 30s).wait();
  CHECK(c.info().status == "Running");
  CHECK(c.state().pid != pid);
  c.wait_ready();
  c.stop(false, 30s).wait();
  CHECK(c.info().status == "Stopped");
}

TEST_CASE("instances: a guest that stops or reboots by itself") {
  World w;
  auto events = w.host.listen({"lifecycle"});
  auto c = w.run("c1");
  auto pid = c.state().pid;
  c.exec({"reboot"});
  CHECK(saw(events, "instance-restarted"));
  CHECK(c.info().status == "Running");
  CHECK(c.state().pid != pid);
  c.wait_ready();
  c.exec({"poweroff"});
  CHECK(saw(events, "instance-shutdown"));
  CHECK(c.info().status == "Stopped");
  c.start().wait();
  c.stop(true).wait();
}

TEST_CASE("instances: started again when they end by themselves") {
  World w;
  InstanceCreate r;
  r.config["boot.autorestart"] = "true";
  auto events = w.host.listen({"lifecycle"});
  auto c = w.make("c1", r);
  c.start().wait();
  for (int i = 0; i < 10; i++) {
    auto pid = c.state().pid;
    REQUIRE(::kill(static_cast<pid_t>(pid), SIGKILL) == 0);
    REQUIRE(saw(events, "instance-restarted"));
    CHECK(c.state().pid != pid);
  }
  // Ten times in a minute, no more.
  REQUIRE(::kill(static_cast<pid_t>(c.state().pid), SIGKILL) == 0);
  CHECK(saw(events, "instance-shutdown"));
  CHECK(c.info().status == "Stopped");
  c.start().wait();
  c.stop(true).wait();
  CHECK(c.info().status == "Stopped");
  CHECK(c.info().config.at("volatile.last_state.power") == "STOPPED");
}

TEST_CASE("instances: launch, and start with creation") {
  World w;
  auto c = w.host.launch("c1", "busy");
  CHECK(c.name() == "c1");
  CHECK(c.info().status == "Running");
  CHECK(c.exec({"true"}).exit_code == 0);
  auto by_print = w.host.launch("c2", w.host.image("busy").info().fingerprint.substr(0, 12), {}, ReadyLevel::exec);
  CHECK(by_print.info().status == "Running");
  auto unnamed = w.host.launch("", "busy");
  CHECK(unnamed.name() != "");
  CHECK(contains(w.host.instance_names(), unnamed.name()));
  REFUSED(not_found, "nothing-like-it", w.host.launch("c3", "nothing-like-it"));
  CHECK(w.host.instance_names().size() == 3);
}

TEST_CASE("instances: an empty one") {
  World w;
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "none";
  w.host.create_instance(r).wait();
  auto c = w.host.instance("c1");
  auto i = c.info();
  CHECK(i.status == "Stopped");
  CHECK(i.config.count("volatile.base_image") == 0);
  CHECK(i.architecture == architecture());
  if (real()) {
    // There is no init in it.
    CHECK(attempt([&] { c.start().wait(); }).code != ErrorCode{});
    CHECK(c.info().status == "Stopped");
    CHECK(c.state().pid == 0);
  }
  c.remove().wait();
}

TEST_CASE("instances: an ephemeral one goes when it stops") {
  World w;
  InstanceCreate r;
  r.ephemeral = true;
  auto c = w.run("c1", r);
  CHECK(c.info().ephemeral);
  c.restart(true).wait();
  CHECK(c.info().status == "Running");
  auto events = w.host.listen({"lifecycle"});
  c.stop(true).wait();
  CHECK(saw(events, "instance-deleted"));
  CHECK(w.host.instance_names().empty());
  auto d = w.run("c2", r);
  d.stop(false, 30s).wait();
  CHECK(saw(events, "instance-deleted"));
  CHECK(w.host.instance_names().empty());
}

TEST_CASE("instances: deletion can be forbidden") {
  World w;
  auto c = w.make("c1", [] {
    InstanceCreate r;
    r.config["security.protection.delete"] = "true";
    return r;
  }());
  REFUSED(conflict, "security.protection.delete", c.remove().wait());
  CHECK(c.info().status == "Stopped");
  c.patch({{"security.protection.delete", ""}});
  c.remove().wait();
}

TEST_CASE("instances: listed three ways") {
  World w;
  for (auto *n : {"b", "a", "c"}) w.make(n);
  auto a = w.host.instance("a");
  a.start().wait();
  a.create_snapshot({}).wait();
  CHECK(w.host.instance_names() == std::vector<std::string>{"a", "b", "c"});
  auto infos = w.host.instances();
  REQUIRE(infos.size() == 3);
  CHECK(infos[0].name == "a");
  CHECK(infos[0].status == "Running");
  CHECK(infos[1].status == "Stopped");
  CHECK(infos[0].expanded_devices.count("root") == 1);
  CHECK(infos[0].config == a.info().config);
  auto full = w.host.instances_full();
  REQUIRE(full.size() == 3);
  CHECK(full[0].info.name == "a");
  REQUIRE(full[0].state);
  CHECK(full[0].state->pid == a.state().pid);
  CHECK(full[0].state->status == "Running");
  REQUIRE(full[0].snapshots.size() == 1);
  CHECK(full[0].snapshots[0].name == "snap0");
  CHECK(full[1].snapshots.empty());
  REQUIRE(full[1].state);
  CHECK(full[1].state->status == "Stopped");
  CHECK(full[1].state->pid == 0);
}

TEST_CASE("instances: copies") {
  World w;
  InstanceCreate r;
  r.config = {{"user.color", "blue"}, {"limits.processes", "50"}};
  r.devices = {{"eth0", {{"type", "nic"}, {"nictype", "p2p"}}}};
  r.description = "original";
  auto c1 = w.make("c1", r);
  c1.start().wait();
  c1.stop(true).wait();
  c1.create_snapshot({}).wait();
  c1.create_snapshot({"named"}).wait();
  auto from = c1.info();
  CHECK(from.config.count("volatile.eth0.hwaddr") == 1);

  auto copy = [&](const std::string &name, const std::string &source, bool instance_only = false, Config config = {}) {
    InstanceCreate k;
    k.name = name;
    k.config = std::move(config);
    k.source.type = "copy";
    k.source.source = source;
    k.source.instance_only = instance_only;
    w.host.create_instance(k).wait();
    return w.host.instance(name);
  };
  auto c2 = copy("c2", "c1", false, {{"user.color", "red"}});
  auto i = c2.info();
  CHECK(i.status == "Stopped");
  CHECK(i.config.at("user.color") == "red");
  CHECK(i.config.at("limits.processes") == "50");
  CHECK(i.config.at("volatile.base_image") == from.config.at("volatile.base_image"));
  CHECK(i.config.at("volatile.uuid") != from.config.at("volatile.uuid"));
  CHECK(i.config["volatile.eth0.hwaddr"] != from.config.at("volatile.eth0.hwaddr"));
  CHECK(i.config["volatile.eth0.host_name"] != from.config.at("volatile.eth0.host_name"));
  CHECK(i.devices == from.devices);
  CHECK(i.profiles == from.profiles);
  auto snaps = c2.snapshots();
  REQUIRE(snaps.size() == 2);
  CHECK(snaps[1].name == "named");
  c2.start().wait();
  c2.wait_ready();
  CHECK(c2.exec({"true"}).exit_code == 0);

  auto c3 = copy("c3", "c1", true);
  CHECK(c3.snapshots().empty());
  auto c4 = copy("c4", "c1/named");
  CHECK(c4.snapshots().empty());
  CHECK(c4.info().config.at("user.color") == "blue");
  c4.start().wait();

  REFUSED(already_exists, "\"c3\"", copy("c3", "c1"));
  REFUSED(not_found, "\"ghost\"", copy("c5", "ghost"));
  REFUSED(not_found, "\"ghost\"", copy("c5", "c1/ghost"));
  REFUSED(invalid_argument, "limits.cpu", copy("c5", "c1", false, {{"limits.cpu", "many"}}));
  CHECK(w.host.instance_names().size() == 4);
  // What it was copied from may go.
  c1.remove().wait();
  c3.start().wait();
  CHECK(c3.info().status == "Running");
}

TEST_CASE("instances: a copy of a running one, and what is in the files") {
  World w;
  auto c1 = w.run("c1");
  if (real()) CHECK(c1.exec({"sh", "-c", "echo kept > /root/file; chmod 640 /root/file"}).exit_code == 0);
  InstanceCreate k;
  k.name = "c2";
  k.source.type = "copy";
  k.source.source = "c1";
  w.host.create_instance(k).wait();
  CHECK(c1.info().status == "Running");
  auto c2 = w.host.instance("c2");
  CHECK(c2.info().status == "Stopped");
  c2.start().wait();
  c2.wait_ready();
  if (!real()) return;
  CHECK(c2.exec({"cat", "/root/file"}).stdout_data == "kept\n");
  CHECK(c2.exec({"stat", "-c", "%a %u", "/root/file"}).stdout_data == "640 0\n");
  CHECK(c2.exec({"sh", "-c", "echo other > /root/file"}).exit_code == 0);
  CHECK(c1.exec({"cat", "/root/file"}).stdout_data == "kept\n");
}

TEST_CASE("instances: what was written stays over a stop") {
  World w;
  auto c = w.run("c1");
  if (real()) CHECK(c.exec({"sh", "-c", "echo kept > /root/file"}).exit_code == 0);
  c.stop(true).wait();
  c.rename("c9").wait();
  c.start().wait();
  c.wait_ready();
  if (real()) CHECK(c.exec({"cat", "/root/file"}).stdout_data == "kept\n");
}

TEST_CASE("instances: readiness") {
  World w;
  auto c = w.make("c1");
  REFUSED(conflict, "not running", c.wait_ready());
  c.start().wait();
  c.wait_ready(ReadyLevel::exec, 20s);
  c.wait_ready(ReadyLevel::booted, 20s);
  c.wait_ready(ReadyLevel::booted, 20s); // still
  // It has no network but loopback.
  if (real()) REFUSED(timeout, "c1", c.wait_ready(ReadyLevel::network, 200ms));
  REFUSED(not_found, "ghost", w.host.instance("ghost").wait_ready());
}

TEST_CASE("instances: console log") {
  World w;
  auto c = w.run("c1");
  CHECK(attempt([&] { c.console_log(); }).text == "no error");
  c.clear_console_log();
  CHECK(c.console_log() == "");
  REFUSED(not_found, "ghost", w.host.instance("ghost").console_log());
}

TEST_CASE("instances: many at once") {
  World w;
  constexpr int count = 8;
  std::vector<std::thread> threads;
  std::vector<Attempt> results(count);
  for (int n = 0; n < count; n++)
    threads.emplace_back([&, n] {
      results[static_cast<std::size_t>(n)] = attempt([&] {
        auto c = w.make("c" + std::to_string(n));
        c.start().wait();
        c.stop(true).wait();
        if (n % 2) c.remove().wait();
      });
    });
  for (auto &t : threads) t.join();
  for (auto &r : results) CHECK(r.text == "no error");
  CHECK(w.host.instance_names().size() == count / 2);
}

TEST_CASE("instances: of two that start the same one, one wins") {
  World w;
  auto c = w.make("c1");
  Attempt results[2];
  std::thread other([&] { results[0] = attempt([&] { c.start().wait(); }); });
  auto own = w.host.instance("c1");
  results[1] = attempt([&] { own.start().wait(); });
  other.join();
  CHECK((results[0].text == "no error") != (results[1].text == "no error"));
  auto &loser = results[0].text == "no error" ? results[1] : results[0];
  CHECK((loser.code == ErrorCode::conflict || loser.code == ErrorCode::busy));
  CHECK(c.info().status == "Running");
}
