// SPDX-License-Identifier: Apache-2.0
#include <fstream>

#include "suite.hpp"

using namespace suite;

TEST_CASE("devices: every wrong one is refused by name, at every way in") {
  World w;
  auto c = w.make("c1");
  const Config nic = {{"type", "nic"}, {"nictype", "p2p"}};
  struct {
    Config device;
    const char *says;
    bool in_profile = true; ///< also refused in a profile
  } cases[] = {
      {{{"type", "flux"}}, "\"flux\""},
      {{{"path", "/x"}}, "type"},
      {{{"type", "disk"}}, "path"},
      {{{"type", "disk"}, {"path", "/x"}}, "source"},
      {{{"type", "disk"}, {"path", "x/.."}, {"source", "/etc"}}, "\"path\""},
      {{{"type", "disk"}, {"path", "/x/../../y"}, {"source", "/etc"}}, "\"path\""},
      {{{"type", "disk"}, {"path", "/x\n"}, {"source", "/etc"}}, "\"path\""},
      {{{"type", "disk"}, {"path", "/x"}, {"source", "etc"}}, "\"source\""},
      {{{"type", "disk"}, {"path", "/x"}, {"source", "/no/such/place"}}, "\"/no/such/place\"", false},
      {{{"type", "disk"}, {"path", "/x"}, {"source", "/etc"}, {"readonly", "often"}}, "\"readonly\""},
      {{{"type", "disk"}, {"path", "/x"}, {"source", "/etc"}, {"speed", "1"}}, "\"speed\""},
      {{{"type", "disk"}, {"path", "/"}}, "pool"},
      {{{"type", "nic"}}, "nictype"},
      {{{"type", "nic"}, {"nictype", "warp"}}, "\"warp\""},
      {{{"type", "nic"}, {"nictype", "bridged"}}, "parent"},
      {{{"type", "nic"}, {"network", "incusbr0"}}, "managed networks"},
      {{{"type", "nic"}, {"nictype", "p2p"}, {"hwaddr", "x"}}, "\"hwaddr\""},
      {{{"type", "nic"}, {"nictype", "p2p"}, {"name", "a-name-that-is-too-long"}}, "\"name\""},
      {{{"type", "nic"}, {"nictype", "p2p"}, {"mtu", "1"}}, "\"mtu\""},
  };
  for (auto &t : cases) {
    CAPTURE(t.says);
    InstanceCreate r;
    r.name = "c2";
    r.source.alias = "busy";
    r.devices = {{"d1", t.device}};
    REFUSED(invalid_argument, t.says, w.host.create_instance(r).wait());
    REFUSED(invalid_argument, "\"d1\"", w.host.create_instance(r).wait());
    REFUSED(invalid_argument, t.says, c.patch({}, r.devices));
    auto i = c.info();
    REFUSED(invalid_argument, t.says, c.update({i.architecture, i.config, "", r.devices, false, i.profiles, "", false}).wait());
    if (t.in_profile) REFUSED(invalid_argument, t.says, w.host.create_profile({"p1", {}, "", r.devices}));
  }
  CHECK(c.info().devices.empty());
  CHECK(w.host.instance_names() == std::vector<std::string>{"c1"});
  CHECK(w.host.profiles().size() == 1);
  InstanceCreate r;
  r.name = "c2";
  r.source.alias = "busy";
  r.devices = {{"second", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}};
  REFUSED(invalid_argument, "root disk", w.host.create_instance(r).wait());
  r.devices = {{"root", {{"type", "none"}}}};
  REFUSED(invalid_argument, "root disk", w.host.create_instance(r).wait());
}

TEST_CASE("devices: nics") {
  World w;
  InstanceCreate r;
  r.devices = {{"eth0", {{"type", "nic"}, {"nictype", "p2p"}}}, {"lan", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "lan0"}, {"hwaddr", "02:00:00:aa:bb:cc"}, {"mtu", "1400"}}}};
  auto c = w.run("c1", r);
  auto i = c.info();
  auto mac = i.config.at("volatile.eth0.hwaddr");
  CHECK(mac.starts_with("10:66:6a:"));
  auto s = c.state();
  REQUIRE(s.network.count("eth0") == 1);
  REQUIRE(s.network.count("lan0") == 1);
  CHECK(s.network["eth0"].hwaddr == mac);
  CHECK(s.network["eth0"].type == "broadcast");
  CHECK(s.network["eth0"].host_name == i.config.at("volatile.eth0.host_name"));
  CHECK(s.network["eth0"].mtu == 1500);
  CHECK(s.network["lan0"].hwaddr == "02:00:00:aa:bb:cc");
  CHECK(s.network["lan0"].mtu == 1400);
  c.stop(true).wait();
  c.start().wait();
  CHECK(c.state().network.at("eth0").hwaddr == mac);
  c.stop(true).wait();

  // The parent may come later than the configuration, but not than the start.
  c.patch({}, {{"lan", {{"type", "nic"}, {"nictype", "bridged"}, {"parent", "no-such-bridge"}}}});
  REFUSED(invalid_argument, "\"no-such-bridge\"", c.start().wait());
  CHECK(c.info().status == "Stopped");
  c.patch({}, {{"lan", {{"type", "nic"}, {"nictype", "bridged"}, {"parent", "lo"}}}});
  REFUSED(invalid_argument, "is not a bridge", c.start().wait());
  c.patch({}, {{"lan", {{"type", "none"}}}});
  c.start().wait();
  CHECK(c.state().network.count("lan0") == 0);
}

TEST_CASE("devices: nics of a guest that runs") {
  World w;
  InstanceCreate r;
  r.devices = {{"eth0", {{"type", "nic"}, {"nictype", "p2p"}}}};
  auto c = w.run("c1", r);
  auto pid = c.state().pid;
  c.patch({}, {{"lan", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "lan0"}, {"mtu", "1400"}}}});
  auto i = c.info();
  auto s = c.state();
  REQUIRE(s.network.count("lan0") == 1);
  CHECK(s.network["lan0"].hwaddr == i.config.at("volatile.lan.hwaddr"));
  CHECK(s.network["lan0"].host_name == i.config.at("volatile.lan.host_name"));
  CHECK(s.network["lan0"].mtu == 1400);
  CHECK(s.network.count("eth0") == 1);
  // Changed: made anew, with the address it had.
  c.patch({}, {{"lan", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "lan1"}}}});
  s = c.state();
  CHECK(s.network.count("lan0") == 0);
  REQUIRE(s.network.count("lan1") == 1);
  CHECK(s.network["lan1"].hwaddr == i.config.at("volatile.lan.hwaddr"));
  // One of the start goes, also from the next life of its init.
  auto to = c.info();
  c.update({to.architecture, to.config, "", {{"lan", to.devices.at("lan")}}, false, to.profiles, "", false}).wait();
  s = c.state();
  CHECK(s.network.count("eth0") == 0);
  CHECK(s.network.count("lan1") == 1);
  CHECK(c.info().config.count("volatile.eth0.hwaddr") == 0);
  CHECK(s.pid == pid);
  // By way of a profile.
  w.host.create_profile({"p1", {}, "", {}});
  to = c.info();
  to.profiles.push_back("p1");
  c.update({to.architecture, to.config, "", to.devices, false, to.profiles, "", false}).wait();
  w.host.profile("p1").update({{}, "", {{"wan", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "wan0"}}}}});
  CHECK(c.state().network.count("wan0") == 1);
  REFUSED(invalid_argument, "is not a bridge", c.patch({}, {{"lan", {{"type", "nic"}, {"nictype", "bridged"}, {"parent", "lo"}}}}));
  CHECK(c.state().network.count("lan1") == 1);
  c.stop(true).wait();
  c.start().wait();
  s = c.state();
  CHECK(s.network.count("lan1") == 1);
  CHECK(s.network.count("wan0") == 1);
  CHECK(s.network.count("eth0") == 0);
  auto report = boost::json::parse(suite::check(w.host));
  CHECK(report.at("problems").as_array().empty());
  c.stop(true).wait();
}

TEST_CASE("devices: directories and files of the host") {
  World w;
  auto dir = scratch() + "/shared";
  std::filesystem::create_directories(dir + "/inner");
  std::ofstream(dir + "/file") << "from the host\n";
  std::filesystem::permissions(dir, std::filesystem::perms::all);
  InstanceCreate r;
  r.devices = {{"shared", {{"type", "disk"}, {"path", "/mnt/shared"}, {"source", dir}}},
               {"fixed", {{"type", "disk"}, {"path", "/fixed"}, {"source", dir}, {"readonly", "true"}}},
               {"one", {{"type", "disk"}, {"path", "/etc/one"}, {"source", dir + "/file"}}},
               {"gone", {{"type", "disk"}, {"path", "/gone"}, {"source", dir + "/none"}, {"required", "false"}}}};
  auto c = w.run("c1", r);
  if (real()) {
    CHECK(c.exec({"cat", "/mnt/shared/file"}).stdout_data == "from the host\n");
    CHECK(c.exec({"cat", "/etc/one"}).stdout_data == "from the host\n");
    CHECK(c.exec({"sh", "-c", "echo hello > /mnt/shared/inner.txt"}).exit_code == 0);
    CHECK(read_file(dir + "/inner.txt") == "hello\n");
    CHECK(c.exec({"touch", "/fixed/new"}).exit_code != 0);
    CHECK_FALSE(std::filesystem::exists(dir + "/new"));
    CHECK(c.exec({"ls", "/gone"}).exit_code != 0);
  }
  c.stop(true).wait();
  // It was there when it was configured, and is not any more.
  std::filesystem::remove_all(dir);
  REFUSED(invalid_argument, dir, c.start().wait());
  CHECK(c.info().status == "Stopped");
  CHECK(c.state().pid == 0);
}

TEST_CASE("devices: disks of a guest that runs") {
  World w;
  auto dir = scratch() + "/live";
  std::filesystem::create_directories(dir + "/other");
  std::ofstream(dir + "/file") << "from the host\n";
  std::ofstream(dir + "/other/file") << "another\n";
  std::filesystem::permissions(dir + "/other", std::filesystem::perms::all);
  std::filesystem::permissions(dir, std::filesystem::perms::all);
  InstanceCreate r;
  r.devices = {{"first", {{"type", "disk"}, {"path", "/first"}, {"source", dir}}}};
  auto c = w.run("c1", r);
  auto pid = c.state().pid;
  auto reads = [&](const std::string &path, const std::string &text) { return !real() || c.exec({"cat", path}).stdout_data == text; };
  auto missing = [&](const std::string &path) { return !real() || c.exec({"cat", path}).exit_code != 0; };
  auto devices = [&] { return c.info().devices; };
  auto set = [&](const Devices &to) {
    auto i = c.info();
    c.update({i.architecture, i.config, "", to, i.ephemeral, i.profiles, "", false}).wait();
  };
  // A directory, a file, one inside the other; the places are made, as the guest's root would.
  c.patch({}, {{"data", {{"type", "disk"}, {"path", "/srv/deep/data"}, {"source", dir}}},
               {"inner", {{"type", "disk"}, {"path", "/srv/deep/data/other"}, {"source", dir + "/other"}, {"readonly", "true"}}},
               {"one", {{"type", "disk"}, {"path", "/etc/one"}, {"source", dir + "/file"}}}});
  CHECK(reads("/srv/deep/data/file", "from the host\n"));
  CHECK(reads("/srv/deep/data/other/file", "another\n"));
  CHECK(reads("/etc/one", "from the host\n"));
  if (real()) {
    CHECK(c.exec({"sh", "-c", "echo hello > /srv/deep/data/new"}).exit_code == 0);
    CHECK(read_file(dir + "/new") == "hello\n");
    CHECK(c.exec({"touch", "/srv/deep/data/other/new"}).exit_code != 0);
    CHECK(c.exec({"stat", "-c", "%u", "/srv/deep"}).stdout_data == "0\n");
    // What the guest mounts below it does not come out to the host.
    CHECK(c.exec({"sh", "-c", "mkdir /srv/deep/data/m && mount -t tmpfs tmpfs /srv/deep/data/m && grep -q ' /srv/deep/data/m ' /proc/mounts"}).exit_code == 0);
    CHECK(read_file("/proc/self/mountinfo").find(dir + "/m ") == std::string::npos);
    CHECK(c.exec({"/bin/busybox", "umount", "/srv/deep/data/m"}).exit_code == 0);
  }
  // Changed: another source at the same place.
  c.patch({}, {{"one", {{"type", "disk"}, {"path", "/etc/one"}, {"source", dir + "/other/file"}}}});
  CHECK(reads("/etc/one", "another\n"));
  // Refused as a whole: nothing of it is recorded or mounted.
  auto before = devices();
  REFUSED(invalid_argument, dir + "/none",
          c.patch({}, {{"bad", {{"type", "disk"}, {"path", "/bad"}, {"source", dir + "/none"}}}, {"good", {{"type", "disk"}, {"path", "/good"}, {"source", dir}}}}));
  CHECK(devices() == before);
  CHECK(missing("/good/file"));
  if (real()) {
    // A place that cannot be made: a file is in the way.
    REFUSED(invalid_argument, "/etc/passwd/x", c.patch({}, {{"bad", {{"type", "disk"}, {"path", "/etc/passwd/x"}, {"source", dir}}},
                                                          {"inner", {{"type", "none"}}}}));
    CHECK(devices() == before);
    CHECK(reads("/srv/deep/data/other/file", "another\n"));
    // What the guest makes of the path leads to something of the guest.
    CHECK(c.exec({"sh", "-c", "mkdir /real; ln -s /real /away"}).exit_code == 0);
    c.patch({}, {{"linked", {{"type", "disk"}, {"path", "/away/in"}, {"source", dir}}}});
    CHECK(reads("/real/in/file", "from the host\n"));
    c.patch({}, {{"linked", {{"type", "none"}}}}); // a start follows no links
    CHECK(missing("/real/in/file"));
  }
  // One of the start goes, and so does one of later.
  auto to = devices();
  to.erase("first");
  to.erase("inner");
  set(to);
  CHECK(missing("/first/file"));
  CHECK(reads("/srv/deep/data/other/file", "another\n")); // the directory below is seen again
  if (real()) CHECK(c.exec({"touch", "/srv/deep/data/other/new"}).exit_code == 0);
  CHECK(c.state().pid == pid);
  // By way of a profile.
  w.host.create_profile({"p1", {}, "", {}});
  auto i = c.info();
  i.profiles.push_back("p1");
  c.update({i.architecture, i.config, "", i.devices, false, i.profiles, "", false}).wait();
  w.host.profile("p1").update({{}, "", {{"shared", {{"type", "disk"}, {"path", "/shared"}, {"source", dir}}}}});
  CHECK(reads("/shared/file", "from the host\n"));
  w.host.create_storage_pool({"second", "dir", "", {}});
  REFUSED(invalid_argument, "root disk", c.patch({}, {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "second"}}}}));
  REFUSED(invalid_argument, "root disk", c.patch({}, {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "nowhere"}}}}));
  // The same at its next start.
  c.stop(true).wait();
  c.start().wait();
  CHECK(missing("/first/file"));
  CHECK(reads("/srv/deep/data/file", "from the host\n"));
  CHECK(reads("/shared/file", "from the host\n"));
  set({});
  CHECK(missing("/srv/deep/data/file"));
  auto report = boost::json::parse(suite::check(w.host));
  CHECK(report.at("problems").as_array().empty());
  c.stop(true).wait();
}

TEST_CASE("devices: the size of a root disk") {
  World w;
  InstanceCreate r;
  r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}, {"size", "200MiB"}}}};
  auto c = w.run("c1", r);
  CHECK(c.info().expanded_devices.at("root").at("size") == "200MiB");
  // Also while it runs: it is kept, and enforced where the pool can.
  auto sized = [&](const std::string &size) { c.patch({}, {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}, {"size", size}}}}); };
  sized("300MiB");
  CHECK(c.info().devices.at("root").at("size") == "300MiB");
  REFUSED(invalid_argument, "size", sized("much"));
  CHECK(c.info().devices.at("root").at("size") == "300MiB");
  REFUSED(invalid_argument, "size", c.patch({}, {{"d", {{"type", "disk"}, {"path", "/d"}, {"source", "/etc"}, {"size", "1GiB"}}}}));
  c.stop(true).wait();
  sized("400MiB");
  InstanceCreate of;
  of.name = "c2";
  of.source.type = "copy";
  of.source.source = "c1";
  w.host.create_instance(of).wait();
  CHECK(w.host.instance("c2").info().expanded_devices.at("root").at("size") == "400MiB");
  w.host.instance("c2").remove().wait();
}

TEST_CASE("devices: custom volumes") {
  World w;
  auto request = [&](const char *method, const std::string &path, const std::string &body = "") { return w.host.request(method, "/1.0/storage-pools/default/volumes/custom" + path, body); };
  auto c = w.run("c1", {});
  request("POST", "", R"({"name": "data", "config": {"user.a": "b"}})");
  request("POST", "", R"({"name": "plain", "config": {"security.unmapped": "true"}})");
  REFUSED(not_found, "\"none\"", c.patch({}, {{"d", {{"type", "disk"}, {"path", "/d"}, {"pool", "default"}, {"source", "none"}}}}));
  CHECK(c.info().devices.count("d") == 0);
  // While it runs, and for two instances at once.
  const Devices disk{{"d", {{"type", "disk"}, {"path", "/srv/data"}, {"pool", "default"}, {"source", "data"}}}};
  c.patch({}, disk);
  InstanceCreate r;
  r.devices = disk;
  auto c2 = w.run("c2", r);
  if (real()) {
    CHECK(c.exec({"sh", "-c", "id -u; stat -c %u /srv/data; echo hello > /srv/data/file"}).stdout_data == "0\n0\n");
    CHECK(c2.exec({"cat", "/srv/data/file"}).stdout_data == "hello\n");
    CHECK(c2.exec({"stat", "-c", "%u", "/srv/data/file"}).stdout_data == "0\n");
    c.patch({}, {{"p", {{"type", "disk"}, {"path", "/plain"}, {"pool", "default"}, {"source", "plain"}}}});
    CHECK(c.exec({"stat", "-c", "%u", "/plain"}).stdout_data == "65534\n");
    c.patch({}, {{"p", {{"type", "none"}}}});
  }
  // By way of a profile, too, and told of.
  w.host.create_profile({"p1", {}, "", disk});
  auto used = boost::json::parse(request("GET", "/data")).at("used_by");
  CHECK(used == boost::json::array{"/1.0/instances/c1", "/1.0/instances/c2", "/1.0/profiles/p1"});
  CHECK(boost::json::parse(request("GET", "/plain")).at("used_by").as_array().empty());
  REFUSED(conflict, "still in use", request("DELETE", "/data"));
  REFUSED(conflict, "still in use", request("POST", "/data", R"({"name": "other"})"));
  w.host.profile("p1").remove();
  c2.stop(true).wait();
  c2.remove().wait();
  auto i = c.info();
  i.devices.erase("d");
  c.update({i.architecture, i.config, "", i.devices, false, i.profiles, "", false}).wait();
  if (real()) CHECK(c.exec({"cat", "/srv/data/file"}).exit_code != 0);
  request("POST", "/data", R"({"name": "other"})");
  if (real()) {
    c.patch({}, {{"d", {{"type", "disk"}, {"path", "again"}, {"pool", "default"}, {"source", "other"}, {"readonly", "true"}}}});
    CHECK(c.exec({"cat", "/again/file"}).stdout_data == "hello\n");
    CHECK(c.exec({"touch", "/again/file"}).exit_code != 0);
  }
  c.stop(true).wait();
  c.remove().wait();
  request("DELETE", "/other");
  request("DELETE", "/plain");
  auto report = boost::json::parse(suite::check(w.host));
  CHECK(report.at("problems").as_array().empty());
}

TEST_CASE("devices: keys of the user's own are kept, and mean nothing") {
  World w;
  InstanceCreate r;
  r.devices["eth7"] = {{"type", "nic"}, {"nictype", "p2p"}, {"user.rack", "left"}};
  auto c = w.make("c1", r);
  CHECK(c.info().devices.at("eth7").at("user.rack") == "left");
  auto u = c.info();
  InstanceUpdate to;
  to.architecture = u.architecture;
  to.config = u.config;
  to.devices = u.devices;
  to.profiles = u.profiles;
  to.devices["eth7"]["user.rack"] = "right";
  c.update(to).wait();
  CHECK(c.info().devices.at("eth7").at("user.rack") == "right");
  CHECK(c.info().config.at("volatile.cloud-init.instance-id") == u.config.at("volatile.cloud-init.instance-id"));
  to.devices["eth7"]["users.rack"] = "x";
  REFUSED(invalid_argument, "users.rack", c.update(to).wait());
}
