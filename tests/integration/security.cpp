// SPDX-License-Identifier: Apache-2.0
// What a guest, or who may change one instance, must not be able to do to the host and to others.
#include <doctest/doctest.h>

#include <atomic>
#include <boost/json.hpp>
#include <functional>
#include <net/if.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>

#include <incus/incus.hpp>

#include "sys/idmap.hpp"
#include "testing.hpp"

using namespace incus;
using namespace incus::testing;
namespace json = boost::json;

namespace {

Host open_with_image(const Dir &d, OpenOptions o = {}) {
  make_busybox_image(d / "image");
  auto h = Host::open("embed://" + (d / "host"), o);
  ImageImport how;
  how.alias = "busy";
  h.import_image(d / "image", how).wait();
  return h;
}

Instance make(Host &h, const std::string &name, InstanceCreate r = {}) {
  r.name = name;
  r.source.type = "image";
  r.source.alias = "busy";
  h.create_instance(r).wait();
  return h.instance(name);
}

std::string refusal(const std::function<void()> &f, ErrorCode code) {
  try {
    f();
  } catch (const Error &e) {
    CHECK(e.code() == code);
    return e.what();
  }
  FAIL("was done");
  return {};
}

Config nic(const std::string &host_name) { return {{"type", "nic"}, {"nictype", "p2p"}, {"name", "eth0"}, {"host_name", host_name}}; }

} // namespace

TEST_CASE("an interface that another one has made is left alone") {
  Dir d;
  auto h = open_with_image(d);
  const std::string name = "vsec" + std::to_string(::getpid() % 100000);
  InstanceCreate r;
  r.devices["eth0"] = nic(name);
  auto first = make(h, "c1", r), second = make(h, "c2", r);
  // Volatile keys are not what tells whose it is.
  auto planted = r;
  planted.config["volatile.eth0.host_name"] = name;
  first.start().wait();
  auto index = ::if_nametoindex(name.c_str());
  REQUIRE(index != 0);
  auto text = refusal([&] { second.start().wait(); }, ErrorCode::conflict);
  CHECK(text.find(name) != std::string::npos);
  CHECK(::if_nametoindex(name.c_str()) == index);
  refusal([&] { make(h, "c3", planted); }, ErrorCode::conflict);
  // One that runs gets no hold of it, either.
  auto third = make(h, "c3");
  third.start().wait();
  refusal([&] { third.patch(planted.config, planted.devices); }, ErrorCode::conflict);
  third.stop(true).wait();
  CHECK(::if_nametoindex(name.c_str()) == index);
  CHECK(first.state().network.at("eth0").host_name == name);
  CHECK(h.request("GET", "/internal/check") == "{\"problems\":[]}");
  first.stop(true).wait();
  CHECK(::if_nametoindex(name.c_str()) == 0);
  second.start().wait();
  second.stop(true).wait();
}

TEST_CASE("names that a guest chooses for its interfaces are told as text") {
  Dir d;
  auto h = open_with_image(d);
  InstanceCreate r;
  r.devices["eth0"] = {{"type", "nic"}, {"nictype", "p2p"}, {"name", "eth0"}};
  auto c = make(h, "c1", r);
  c.start().wait();
  CHECK(c.exec({"sh", "-c", "ip link set dev eth0 down; ip link set dev eth0 name \"$(echo -e 'a\\xff\\x22b')\""}).exit_code == 0);
  auto state = h.request("GET", "/1.0/instances/c1/state");
  for (unsigned char b : state) REQUIRE((b < 0x80 && (b >= 0x20 || b == '\n')));
  CHECK(json::parse(state).at("network").as_object().contains("a\\xff\"b"));
  c.stop(true).wait();
}

TEST_CASE("the guest's root cannot make a read-only disk writable") {
  Dir d;
  auto h = open_with_image(d);
  for (auto *sub : {"tree", "tree/below", "later"}) std::filesystem::create_directories(d / sub);
  write_file(d / "file", "as it was\n");
  REQUIRE(::mount("tmpfs", (d / "tree/below").c_str(), "tmpfs", 0, nullptr) == 0);
  auto disk = [&](const char *source, const char *path) { return Config{{"type", "disk"}, {"source", d / source}, {"path", path}, {"readonly", "true"}, {"shift", "true"}}; };
  InstanceCreate r;
  r.devices["a"] = disk("tree", "/srv/a");
  r.devices["a"]["recursive"] = "true";
  auto c = make(h, "c1", r);
  c.start().wait();
  c.patch({}, {{"b", disk("later", "/srv/b")}, {"f", disk("file", "/srv/f")}});
  auto mounts = c.exec({"cat", "/proc/self/mounts"}).stdout_data;
  for (auto *at : {"/srv/a", "/srv/a/below", "/srv/b", "/srv/f"}) {
    CAPTURE(at);
    CHECK(mounts.find(std::string(" ") + at + " ") != std::string::npos);
    auto out = c.exec({"sh", "-c", std::string("mount -o remount,bind,rw ") + at + "; echo x >> " + at + "/x || echo x >> " + at}).exit_code;
    CHECK(out != 0);
  }
  CHECK(std::filesystem::is_empty(d / "later"));
  CHECK(std::filesystem::is_empty(d / "tree/below"));
  CHECK_FALSE(std::filesystem::exists(d / "tree/x"));
  CHECK(std::filesystem::file_size(d / "file") == 10);
  // What cannot be written to can still be taken away.
  auto now = c.info();
  c.update({now.architecture, now.config, "", {}, false, now.profiles, "", false}).wait();
  mounts = c.exec({"cat", "/proc/self/mounts"}).stdout_data;
  CHECK(mounts.find(" /srv/") == std::string::npos);
  c.stop(true).wait();
  CHECK(::umount((d / "tree/below").c_str()) == 0);
}

TEST_CASE("isolated instances that start at once share no host id") {
  Dir d;
  auto h = open_with_image(d);
  constexpr int count = 6;
  InstanceCreate r;
  r.config["security.idmap.isolated"] = "true";
  for (int i = 0; i < count; i++) make(h, "c" + std::to_string(i), r);
  std::vector<std::thread> all;
  for (int i = 0; i < count; i++) all.emplace_back([&, i] { h.instance("c" + std::to_string(i)).start().wait(); });
  for (auto &t : all) t.join();
  std::vector<sys::IdMap> maps;
  for (int i = 0; i < count; i++) {
    auto c = h.instance("c" + std::to_string(i));
    maps.push_back(sys::parse_idmap(c.info().config.at("volatile.idmap.current")));
    for (int k = 0; k < i; k++) CHECK_FALSE(sys::slices_meet(maps[static_cast<std::size_t>(k)], maps.back()));
    c.stop(true).wait();
  }
  // A snapshot brings back the record of ids that another one has by now.
  auto c = h.instance("c0");
  c.create_snapshot({"s0", false, {}}).wait();
  c.patch({{"security.idmap.base", std::to_string(maps[0].front().host + 20 * 65536)}}, {});
  c.start().wait();
  c.stop(true).wait();
  auto late = make(h, "late", r);
  late.start().wait();
  auto of_late = sys::parse_idmap(late.info().config.at("volatile.idmap.current"));
  REQUIRE(sys::slices_meet(of_late, maps[0]));
  c.restore("s0").wait();
  c.start().wait();
  CHECK_FALSE(sys::slices_meet(sys::parse_idmap(c.info().config.at("volatile.idmap.current")), of_late));
  c.stop(true).wait();
  late.stop(true).wait();
}

TEST_CASE("owners of files are not changed where that is forbidden") {
  Dir d;
  auto h = open_with_image(d);
  InstanceCreate r;
  r.config["security.protection.shift"] = "true";
  auto c = make(h, "c1", r);
  ::setenv("INCUS_IDMAPPED_MOUNTS_DISABLE", "1", 1);
  auto text = refusal([&] { c.start().wait(); }, ErrorCode::conflict);
  CHECK(text.find("security.protection.shift") != std::string::npos);
  c.patch({{"security.protection.shift", ""}}, {});
  c.start().wait();
  c.stop(true).wait();
  ::unsetenv("INCUS_IDMAPPED_MOUNTS_DISABLE");
}

TEST_CASE("a limit that cannot be set leaves the one that was") {
  Dir d;
  auto h = open_with_image(d);
  InstanceCreate r;
  r.config["limits.memory"] = "256MiB";
  auto c = make(h, "c1", r);
  c.start().wait();
  // Memory that cannot be had back: there is no swap for it.
  REQUIRE(c.exec({"sh", "-c", "mount -t tmpfs none /tmp && dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null"}).exit_code == 0);
  auto limit = [&] { return c.state().memory.total; };
  CHECK(limit() == 256 << 20);
  bool refused = false;
  try {
    c.patch({{"limits.memory", "16MiB"}}, {});
  } catch (const Error &) {
    refused = true;
  }
  CHECK(limit() == (refused ? 256 << 20 : 16 << 20));
  CHECK(c.info().config.at("limits.memory") == (refused ? "256MiB" : "16MiB"));
  c.stop(true).wait();
}

TEST_CASE("a directory goes with its host however deep a guest nested directories in it") {
  Dir d;
  auto dir = d / "host";
  pid_t pid = ::fork();
  if (pid == 0) {
    int rc = 99;
    try {
      OpenOptions o;
      o.auto_destroy = o.remove_directory = true;
      auto h = open_with_image(d, o);
      auto c = make(h, "c1");
      c.start().wait();
      rc = c.exec({"sh", "-c", "cd /root; i=0; while [ $i -lt 1200 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; touch f"}).exit_code;
    } catch (const std::exception &e) {
      std::fprintf(stderr, "    %s\n", e.what());
    }
    if (rc == 0) ::kill(::getpid(), SIGKILL);
    ::_exit(rc);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFSIGNALED(status));
  for (int i = 0; i < 2000 * slowness() && ::access(dir.c_str(), F_OK) == 0; i++) ::usleep(10000);
  CHECK(::access(dir.c_str(), F_OK) != 0);
}
