// SPDX-License-Identifier: Apache-2.0
#include "network/host.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "sys/cgroup.hpp"
#include "sys/resources/tree.hpp"

namespace incus::network {

namespace tree = sys::resources;

std::vector<sys::Link> host_links() {
  base::Fd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!s) base::fail_errno(errno, "cannot ask for the network interfaces");
  auto all = sys::list_links(s.get());
  std::sort(all.begin(), all.end(), [](auto &a, auto &b) { return a.index < b.index; });
  return all;
}

std::string type_of(const std::string &name, unsigned flags) {
  if (flags & IFF_LOOPBACK) return "loopback";
  ifreq r{};
  ethtool_drvinfo d{};
  base::Fd s(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!s || name.size() >= sizeof r.ifr_name) return "unknown";
  std::memcpy(r.ifr_name, name.data(), name.size());
  d.cmd = ETHTOOL_GDRVINFO;
  r.ifr_data = reinterpret_cast<char *>(&d);
  // By the driver and not by /sys, which shows the namespace it was mounted in.
  if (::ioctl(s.get(), SIOCETHTOOL, &r) != 0) return "unknown";
  std::string driver(d.driver, ::strnlen(d.driver, sizeof d.driver)), bus(d.bus_info, ::strnlen(d.bus_info, sizeof d.bus_info));
  if (driver == "bridge" || driver == "openvswitch") return "bridge";
  if (driver == "802.1Q VLAN Support") return "vlan";
  if (driver == "bonding") return "bond";
  if (driver == "tun" || bus.empty() || bus == "N/A") return "unknown";
  return "physical";
}

std::optional<Bridge> bridge_of(const std::string &name, const std::string &root) {
  auto dir = root + "/sys/class/net/" + name;
  if (!tree::exists(dir + "/bridge")) return {};
  Bridge b;
  b.id = tree::text(dir + "/bridge/bridge_id");
  b.stp = tree::number(dir + "/bridge/stp_state") == 1;
  b.forward_delay = tree::count(dir + "/bridge/forward_delay");
  b.vlan_default = tree::count(dir + "/bridge/default_pvid");
  b.vlan_filtering = tree::number(dir + "/bridge/vlan_filtering") == 1;
  // A port that counts: without filtering the default VLAN means nothing.
  if (!b.vlan_filtering) b.vlan_default = 0;
  b.upper_devices = tree::list(dir + "/brif");
  return b;
}

std::optional<Vlan> vlan_of(const std::string &name, const std::string &root) {
  auto text = sys::read_small_file(root + "/proc/net/vlan/" + name);
  if (!text) return {};
  Vlan v;
  std::istringstream in(*text);
  for (std::string line; std::getline(in, line);) {
    if (auto at = line.find("VID: "); at != line.npos) std::from_chars(line.data() + at + 5, line.data() + line.size(), v.vid);
    if (line.starts_with("Device: ")) v.lower_device = tree::trim(line.substr(8));
  }
  return v;
}

std::optional<Bond> bond_of(const std::string &name, const std::string &root) {
  auto dir = root + "/sys/class/net/" + name + "/bonding";
  if (!tree::exists(dir)) return {};
  auto word = [&](const char *file) {
    auto t = tree::text(dir + "/" + file);
    return t.substr(0, t.find(' '));
  };
  Bond b;
  b.mode = word("mode");
  b.transmit_policy = word("xmit_hash_policy");
  b.mii_state = tree::text(dir + "/mii_status");
  b.up_delay = tree::count(dir + "/updelay");
  b.down_delay = tree::count(dir + "/downdelay");
  b.mii_frequency = tree::count(dir + "/miimon");
  std::istringstream in(tree::text(dir + "/slaves"));
  for (std::string n; in >> n;) b.lower_devices.push_back(n);
  return b;
}

} // namespace incus::network
