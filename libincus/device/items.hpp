// SPDX-License-Identifier: Apache-2.0
// The closed set of things a device asks of a backend. Instance drivers render these and never see a device type.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace incus::device {

/// A file system entry of the guest.
struct MountItem {
  std::string device;                ///< device name, for messages
  std::string source;                ///< host path
  std::string target;                ///< path in the guest, without leading '/'
  std::string fstype = "none";
  std::vector<std::string> options;  ///< "bind", "ro", ...
  bool is_file = false;              ///< target is made as a file
  bool shift = false;                ///< map owners by an idmapped mount
  bool optional = false;
};

/// A network interface of the guest: a veth pair.
struct NicItem {
  std::string device;
  std::string guest_name;            ///< such as eth0
  std::string host_name;             ///< veth end on the host
  std::string hwaddr;
  std::string bridge;                ///< parent the host end joins; empty: none (p2p)
  std::optional<unsigned> mtu;
};

struct RunItems {
  std::vector<MountItem> mounts;
  std::vector<NicItem> nics;
};

} // namespace incus::device
