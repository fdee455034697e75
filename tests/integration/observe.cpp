// SPDX-License-Identifier: Apache-2.0
// What a host tells of a running container and of itself: metrics, networks, warnings; patches of the store at open.
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <unistd.h>

#include <incus/incus.hpp>

#include "testing.hpp"

using namespace incus;
using namespace incus::testing;
namespace json = boost::json;

namespace {

json::value ask(Host &h, const char *method, const std::string &path, const std::string &body = {}) { return json::parse(h.request(method, path, body)); }

std::string metrics(Host &h) {
  RawCall call;
  call.method = "GET";
  call.path = "/1.0/metrics";
  auto r = h.call(call);
  REQUIRE(r.bodies.size() == 1);
  std::string text(static_cast<std::size_t>(r.bodies[0].size), '\0');
  CHECK(::pread(r.bodies[0].fd, text.data(), text.size(), 0) == r.bodies[0].size);
  ::close(r.bodies[0].fd);
  return text;
}

/// The value of a sample whose line begins so; -1: there is none.
double sample(const std::string &text, const std::string &begins) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(begins)) return std::strtod(line.c_str() + line.rfind(' '), nullptr);
  return -1;
}

} // namespace

TEST_CASE("a running container is measured, a stopped one is not") {
  Dir d;
  make_busybox_image(d / "image");
  auto h = Host::open("embed://" + (d / "host"));
  ImageImport how;
  how.alias = "busy";
  h.import_image(d / "image", how).wait();
  InstanceCreate with_nic;
  with_nic.devices["eth0"] = {{"type", "nic"}, {"nictype", "p2p"}, {"name", "eth0"}};
  with_nic.devices["data"] = {{"type", "disk"}, {"source", d.path()}, {"path", "/data"}};
  h.launch("c1", "busy", with_nic);
  InstanceCreate stopped;
  stopped.name = "c2";
  stopped.source.type = "image";
  stopped.source.alias = "busy";
  h.create_instance(stopped).wait();

  auto text = metrics(h);
  INFO(text);
  CHECK(text.find("name=\"c2\"") == std::string::npos);
  std::string who = "name=\"c1\",project=\"default\",type=\"container\"}";
  CHECK(sample(text, "incus_cpu_seconds_total{cpu=\"0\",mode=\"user\"," + who) >= 0);
  CHECK(sample(text, "incus_cpu_effective_total{" + who) >= 1);
  CHECK(sample(text, "incus_memory_MemTotal_bytes{" + who) > 1e6);
  CHECK(sample(text, "incus_memory_MemFree_bytes{" + who) > 1e6);
  CHECK(sample(text, "incus_memory_Active_anon_bytes{" + who) >= 0);
  CHECK(sample(text, "incus_memory_OOM_kills_total{" + who) == 0);
  CHECK(sample(text, "incus_network_receive_bytes_total{device=\"eth0\"," + who) >= 0);
  CHECK(sample(text, "incus_network_receive_bytes_total{device=\"lo\"," + who) >= 0);
  CHECK(sample(text, "incus_procs_total{" + who) >= 1);
  CHECK(sample(text, "incus_filesystem_size_bytes{device=\"" + d.path() + "\"") > 0);
  CHECK(sample(text, "incus_uptime_seconds") >= 0);
  CHECK(text.ends_with("# EOF\n"));
  h.instance("c1").stop(true).wait();
  h.instance("c1").remove().wait();
}

TEST_CASE("interfaces of the host are networks, used by who is plugged into them") {
  REQUIRE(std::system("ip link add tbr0 type bridge && ip link set tbr0 up") == 0);
  Dir d;
  auto h = Host::open("embed://" + (d / "host"));
  ProfileCreate p;
  p.name = "plugged";
  p.devices["eth0"] = {{"type", "nic"}, {"nictype", "bridged"}, {"parent", "tbr0"}};
  h.create_profile(p);
  auto n = ask(h, "GET", "/1.0/networks/tbr0");
  CHECK(n.at("type") == "bridge");
  CHECK(n.at("managed") == false);
  CHECK(n.at("used_by") == json::parse(R"(["/1.0/profiles/plugged"])"));
  auto s = ask(h, "GET", "/1.0/networks/tbr0/state");
  CHECK(s.at("state") == "up");
  CHECK(s.at("type") == "broadcast");
  CHECK(s.at("bridge").is_object());
  CHECK(std::system("ip link del tbr0") == 0);
}

TEST_CASE("warnings of the machine stay what they are over opens") {
  Dir d;
  std::string before;
  {
    auto h = Host::open("embed://" + (d / "host"));
    before = h.request("GET", "/1.0/warnings?recursion=1");
  }
  auto h = Host::open("embed://" + (d / "host"));
  CHECK(h.request("GET", "/1.0/warnings?recursion=1") == before);
  bool apparmor = std::filesystem::exists("/sys/module/apparmor/parameters/enabled");
  if (!apparmor) CHECK(before.find("AppArmor support has been disabled") != std::string::npos);
}

TEST_CASE("a patch that fails refuses the open and changes nothing; one that works is applied once") {
  Dir d;
  auto uri = "embed://" + (d / "host");
  auto value = [&](Host &h) {
    return ask(h, "POST", "/internal/sql", R"({"database":"global","query":"SELECT value FROM config WHERE key = 'user.x'"})").at("Results").at(0).at("rows").at(0).at(0);
  };
  {
    auto h = Host::open(uri);
    h.request("POST", "/internal/sql", R"q({"database":"global","query":"INSERT INTO config (key, value) VALUES ('user.x', 'true')"})q");
  }
  auto patch = d / "host/database/patch.global.sql";
  write_file(patch, "UPDATE config SET value='false' WHERE key='user.x';\nINSERT INTO broken(n) VALUES(1);\n");
  CHECK_THROWS_AS(Host::open(uri), Error);
  CHECK(std::filesystem::exists(patch));
  std::filesystem::remove(patch);
  // As an administrator restores it.
  std::filesystem::remove_all(d / "host/database/global");
  std::filesystem::copy(d / "host/database/global.bak", d / "host/database/global");
  {
    auto h = Host::open(uri);
    CHECK(value(h) == "true");
  }
  write_file(patch, "UPDATE config SET value='false' WHERE key='user.x';\n");
  auto h = Host::open(uri);
  CHECK(value(h) == "false");
  CHECK(!std::filesystem::exists(patch));
}
