// SPDX-License-Identifier: Apache-2.0
// Configuration of instances: what is refused and how, merging, versions.
#include "suite.hpp"

using namespace suite;

namespace {

struct Bad {
  const char *key;
  std::string value;
};
const Bad bad_values[] = {
    {"limits.cpu", "many"},
    {"limits.cpu", "0"},
    {"limits.cpu.allowance", "200%"},
    {"limits.memory", "512 MB"},
    {"limits.memory", "99999999999999999999"},
    {"limits.memory.enforce", "maybe"},
    {"limits.memory.swap", "perhaps"},
    {"limits.processes", "-1"},
    {"limits.kernel.nofile", "lots"},
    {"boot.autostart", "later"},
    {"boot.host_shutdown_timeout", "1h"},
    {"security.privileged", "very"},
    {"security.nesting", "2"},
    {"security.idmap.size", "-5"},
    {"security.syscalls.deny", "mount;reboot"},
    {"snapshots.pattern", "a/b"},
    {"environment.A", "b\nlxc.hook.start=/bin/sh"},
    {"environment.A", "b\r"},
    {"environment.A", std::string("b\0c", 3)},
    {"user.note", std::string("b\0c", 3)},
    {"raw.idmap", "everything"},
    {"raw.lxc", "lxc.include = /etc/passwd"},
    {"raw.lxc", "lxc.rootfs.path = /"},
    {"raw.lxc", "no equals sign"},
    {"limits.memroy", "1GiB"},
    {"nonsense", "1"},
    {"environment.", "x"},
    {"environment.A=B", "x"},
    {"security.secureboot", "true"},
};

} // namespace

TEST_CASE("config: every wrong key and value is refused by name, at every way in, and changes nothing") {
  World w;
  auto c = w.make("c1");
  w.host.create_profile({"p1", {{"user.p", "1"}}, "", {}});
  auto p = w.host.profile("p1");
  for (auto &b : bad_values) {
    CAPTURE(b.key);
    CAPTURE(b.value);
    InstanceCreate r;
    r.name = "c2";
    r.source.alias = "busy";
    r.config = {{b.key, b.value}};
    REFUSED(invalid_argument, b.key, w.host.create_instance(r).wait());
    auto i = c.info();
    InstanceUpdate u{i.architecture, i.config, "changed", i.devices, i.ephemeral, i.profiles, "", false};
    u.config[b.key] = b.value;
    REFUSED(invalid_argument, b.key, c.update(u).wait());
    REFUSED(invalid_argument, b.key, c.patch({{"user.other", "x"}, {b.key, b.value}}));
    CHECK(c.info().config == i.config);
    CHECK(c.info().description == i.description);
    REFUSED(invalid_argument, b.key, w.host.create_profile({"p2", {{b.key, b.value}}, "", {}}));
    REFUSED(invalid_argument, b.key, p.update({{{b.key, b.value}}, "changed", {}}));
  }
  CHECK(w.host.instance_names() == std::vector<std::string>{"c1"});
  CHECK(p.info().config == Config{{"user.p", "1"}});
  CHECK(p.info().description == "");
  CHECK(w.host.profiles().size() == 2);
}

TEST_CASE("config: values a guest can be started with") {
  World w;
  InstanceCreate r;
  r.config = {{"limits.cpu", "1"},          {"limits.memory", "512MiB"},       {"limits.memory.swap", "false"}, {"limits.processes", "200"},
              {"limits.kernel.nofile", "512:1024"}, {"environment.COLOR", "deep blue"}, {"security.nesting", "true"},    {"user.note", "two\nlines"},
              {"security.syscalls.deny", "kexec_load"}, {"boot.autostart", "false"},  {"snapshots.pattern", "auto%d"}, {"limits.cpu.allowance", "50%"}};
  auto c = w.run("c1", r);
  CHECK(c.exec({"sh", "-c", "echo \"$COLOR\""}).stdout_data == "deep blue\n");
  for (auto &[k, v] : r.config) CHECK(c.info().config.at(k) == v);
  if (real()) CHECK(c.exec({"sh", "-c", "ulimit -n"}).stdout_data == "512\n");
}

TEST_CASE("config: PATCH merges, an empty value unsets") {
  World w;
  InstanceCreate r;
  r.config = {{"user.a", "1"}, {"user.b", "2"}};
  r.description = "stays";
  r.devices = {{"d1", {{"type", "none"}}}};
  auto c = w.make("c1", r);
  c.patch({{"user.b", "3"}, {"user.c", "4"}});
  auto i = c.info();
  CHECK(i.config.at("user.a") == "1");
  CHECK(i.config.at("user.b") == "3");
  CHECK(i.config.at("user.c") == "4");
  CHECK(i.description == "stays");
  CHECK(i.devices == r.devices);
  CHECK(i.profiles == std::vector<std::string>{"default"});
  c.patch({{"user.a", ""}});
  i = c.info();
  CHECK(i.config.count("user.a") == 0);
  CHECK(i.config.at("user.b") == "3");
  c.patch({}, {{"d2", {{"type", "none"}}}});
  i = c.info();
  CHECK(i.devices.size() == 2);
  CHECK(i.config.at("user.b") == "3");
  c.patch({}, {});
  CHECK(c.info().config == i.config);
  auto reply = w.host.request("PATCH", "/1.0/instances/c1", R"({"description":"new","ephemeral":true})");
  i = c.info();
  CHECK(i.description == "new");
  CHECK(i.ephemeral);
  CHECK(i.config.at("user.b") == "3");
}

TEST_CASE("config: PUT replaces") {
  World w;
  w.host.create_profile({"p1", {{"user.p", "1"}}, "", {}});
  InstanceCreate r;
  r.config = {{"user.a", "1"}};
  auto c = w.make("c1", r);
  auto i = c.info();
  InstanceUpdate u{i.architecture, i.config, "new", i.devices, true, {"default", "p1"}, "", false};
  u.config.erase("user.a");
  u.config["user.b"] = "2";
  u.devices["d1"] = {{"type", "none"}};
  c.update(u).wait();
  i = c.info();
  CHECK(i.config.count("user.a") == 0);
  CHECK(i.config.at("user.b") == "2");
  CHECK(i.description == "new");
  CHECK(i.ephemeral);
  CHECK(i.profiles == std::vector<std::string>{"default", "p1"});
  CHECK(i.expanded_config.at("user.p") == "1");
  CHECK(i.devices.count("d1") == 1);

  auto same = [&] { return c.info().description + c.info().config.at("user.b"); };
  unchanged(same, [&] {
    auto v = u;
    v.description = "other";
    v.profiles = {"default", "ghost"};
    REFUSED(not_found, "\"ghost\"", c.update(v).wait());
    v.profiles = {};
    REFUSED(invalid_argument, "no root disk", c.update(v).wait());
    v = u;
    v.description = "other";
    v.architecture = "pdp11";
    REFUSED(invalid_argument, "\"pdp11\"", c.update(v).wait());
  });
}

TEST_CASE("config: a running instance takes changes") {
  World w;
  auto c = w.run("c1");
  auto pid = c.state().pid;
  c.patch({{"user.a", "1"}, {"limits.processes", "123"}, {"limits.memory", "256MiB"}});
  CHECK(c.info().config.at("limits.processes") == "123");
  c.patch({{"environment.LATE", "yes"}});
  CHECK(c.exec({"sh", "-c", "echo \"$LATE\""}).stdout_data == "yes\n");
  c.patch({{"limits.memory", ""}});
  CHECK(c.info().config.count("limits.memory") == 0);
  CHECK(c.state().pid == pid);
}

TEST_CASE("config: versions guard changes") {
  World w;
  auto c = w.make("c1");
  Etag first, second;
  c.info(&first);
  CHECK(first != "");
  c.info(&second);
  CHECK(first == second);
  c.patch({{"user.a", "1"}}, {}, first);
  c.info(&second);
  CHECK(first != second);
  REFUSED(precondition_failed, "c1", c.patch({{"user.a", "2"}}, {}, first));
  auto i = c.info();
  InstanceUpdate u{i.architecture, i.config, "new", i.devices, i.ephemeral, i.profiles, "", false};
  REFUSED(precondition_failed, "c1", c.update(u, first).wait());
  CHECK(c.info().config.at("user.a") == "1");
  CHECK(c.info().description == "");
  c.update(u, second).wait();
  CHECK(c.info().description == "new");
}

TEST_CASE("config: volatile keys") {
  World w;
  auto c = w.make("c1");
  // What the engine keeps for itself cannot be changed; what reaches the host is checked.
  auto uuid = c.info().config.at("volatile.uuid");
  c.patch({{"volatile.uuid", "0f0e0d0c-0b0a-4908-8706-050403020100"}});
  CHECK(c.info().config.at("volatile.uuid") == uuid);
  REFUSED(invalid_argument, "volatile.eth0.host_name", c.patch({{"volatile.eth0.host_name", "../../x"}}));
  REFUSED(invalid_argument, "volatile.", w.host.create_profile({"p", {{"volatile.uuid", "0f0e0d0c-0b0a-4908-8706-050403020100"}}, "", {}}));
}
