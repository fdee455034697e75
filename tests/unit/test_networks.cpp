// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <incus/host.hpp>

#include "base/error.hpp"
#include "network/host.hpp"

using namespace incus;
namespace json = boost::json;

TEST_CASE("networks: the loopback of this machine") {
  auto h = Host::open("test://");
  auto names = json::parse(h.request("GET", "/1.0/networks"));
  auto all = json::parse(h.request("GET", "/1.0/networks?recursion=1"));
  REQUIRE(names.as_array().size() == all.as_array().size());
  CHECK(names.at(0) == "/1.0/networks/lo");
  auto want = json::parse(R"({"config":{},"description":"","name":"lo","type":"loopback","used_by":[],"managed":false,"status":"","locations":null,"project":"default"})");
  CHECK(all.at(0) == want);
  CHECK(json::parse(h.request("GET", "/1.0/networks/lo")) == want);
  auto state = json::parse(h.request("GET", "/1.0/networks/lo/state"));
  CHECK(state.at("hwaddr") == "");
  CHECK(state.at("type") == "loopback");
  CHECK(state.at("mtu").to_number<int>() > 0);
  for (auto *k : {"bond", "bridge", "vlan", "ovn"}) CHECK(state.at(k).is_null());
  CHECK(state.at("counters").as_object().size() == 4);
  for (auto *path : {"/1.0/networks/nothing", "/1.0/networks/nothing/state", "/1.0/networks/veth0"}) {
    try {
      h.request("GET", path);
      FAIL("found " << path);
    } catch (const Error &e) {
      CHECK(e.code() == ErrorCode::not_found);
    }
  }
}

TEST_CASE("networks: bridges, VLANs and bonds") {
  char name[] = "/var/tmp/incus-net.XXXXXX";
  std::string root = ::mkdtemp(name);
  auto file = [&](const std::string &path, const std::string &text) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  };
  file("/sys/class/net/br0/bridge/bridge_id", "8000.7e01a5e117c6\n");
  file("/sys/class/net/br0/bridge/stp_state", "1\n");
  file("/sys/class/net/br0/bridge/forward_delay", "1500\n");
  file("/sys/class/net/br0/bridge/default_pvid", "1\n");
  file("/sys/class/net/br0/brif/v1/port_no", "0x1\n");
  auto b = network::bridge_of("br0", root);
  REQUIRE(b);
  CHECK(b->id == "8000.7e01a5e117c6");
  CHECK(b->stp);
  CHECK(b->forward_delay == 1500);
  CHECK(b->vlan_default == 0);
  CHECK(b->upper_devices == std::vector<std::string>{"v1"});
  file("/sys/class/net/br0/bridge/vlan_filtering", "1\n");
  CHECK(network::bridge_of("br0", root)->vlan_default == 1);
  CHECK(!network::bridge_of("lo", root));
  file("/proc/net/vlan/eth0.5", "eth0.5  VID: 5\t REORDER_HDR: 1  dev->priv_flags: 1021\nDevice: eth0\n");
  auto v = network::vlan_of("eth0.5", root);
  REQUIRE(v);
  CHECK(v->vid == 5);
  CHECK(v->lower_device == "eth0");
  file("/sys/class/net/bond0/bonding/mode", "802.3ad 4\n");
  file("/sys/class/net/bond0/bonding/slaves", "eth0 eth1\n");
  file("/sys/class/net/bond0/bonding/miimon", "100\n");
  auto o = network::bond_of("bond0", root);
  REQUIRE(o);
  CHECK(o->mode == "802.3ad");
  CHECK(o->mii_frequency == 100);
  CHECK(o->lower_devices.size() == 2);
  std::filesystem::remove_all(root);
}
