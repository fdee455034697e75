// SPDX-License-Identifier: Apache-2.0
// The host's network interfaces and what is to be known of each, seen from the network namespace of the calling thread.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "sys/netlink.hpp"

namespace incus::network {

/// All of them, by index.
std::vector<sys::Link> host_links();
/// loopback, bridge, vlan, bond, physical or unknown. `link_flags`: IFF_*.
std::string type_of(const std::string &name, unsigned link_flags);

struct Bridge {
  std::string id;
  bool stp = false, vlan_filtering = false;
  std::uint64_t forward_delay = 0, vlan_default = 0;
  std::vector<std::string> upper_devices;
};
struct Vlan {
  std::string lower_device;
  std::uint64_t vid = 0;
};
struct Bond {
  std::string mode, transmit_policy, mii_state;
  std::uint64_t up_delay = 0, down_delay = 0, mii_frequency = 0;
  std::vector<std::string> lower_devices;
};
// From /sys/class/net and /proc/net below `root` ("" for this machine); nothing when it is no such interface.
std::optional<Bridge> bridge_of(const std::string &name, const std::string &root = "");
std::optional<Vlan> vlan_of(const std::string &name, const std::string &root = "");
std::optional<Bond> bond_of(const std::string &name, const std::string &root = "");

} // namespace incus::network
