// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.hpp"
#include "sys/resources/cards.hpp"
#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

bool ask(const base::Fd &socket, const std::string &name, void *what) {
  ifreq r{};
  if (name.size() >= sizeof r.ifr_name) return false;
  std::memcpy(r.ifr_name, name.data(), name.size());
  r.ifr_data = static_cast<char *>(what);
  return ::ioctl(socket.get(), SIOCETHTOOL, &r) == 0;
}

struct Bit {
  unsigned mask;
  const char *name;
};
constexpr Bit modes[] = {{SUPPORTED_10baseT_Half, "10baseT/Half"},         {SUPPORTED_10baseT_Full, "10baseT/Full"},
                         {SUPPORTED_100baseT_Half, "100baseT/Half"},       {SUPPORTED_100baseT_Full, "100baseT/Full"},
                         {SUPPORTED_1000baseT_Half, "1000baseT/Half"},     {SUPPORTED_1000baseT_Full, "1000baseT/Full"},
                         {SUPPORTED_2500baseX_Full, "2500baseX/Full"},     {SUPPORTED_10000baseT_Full, "10000baseT/Full"},
                         {SUPPORTED_1000baseKX_Full, "1000baseKX/Full"},   {SUPPORTED_10000baseKX4_Full, "10000baseKX4/Full"},
                         {SUPPORTED_10000baseKR_Full, "10000baseKR/Full"}, {SUPPORTED_40000baseCR4_Full, "40000baseCR4/Full"},
                         {SUPPORTED_40000baseSR4_Full, "40000baseSR4/Full"}, {SUPPORTED_40000baseLR4_Full, "40000baseLR4/Full"}};
constexpr Bit ports[] = {{SUPPORTED_TP, "twisted pair"}, {SUPPORTED_AUI, "AUI"}, {SUPPORTED_MII, "media-independent"}, {SUPPORTED_FIBRE, "fibre"}, {SUPPORTED_BNC, "BNC"},
                         {SUPPORTED_Backplane, "backplane"}};

void ask_driver(NetworkPort &p) {
  base::Fd s(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!s) return;
  ethtool_value link{};
  link.cmd = ETHTOOL_GLINK;
  if (ask(s, p.id, &link)) p.link_detected = link.data == 1;
  ethtool_cmd c{};
  c.cmd = ETHTOOL_GSET;
  if (!ask(s, p.id, &c)) return;
  p.auto_negotiation = c.autoneg == AUTONEG_ENABLE;
  auto speed = ethtool_cmd_speed(&c);
  if (p.link_detected && speed != 0 && speed != static_cast<unsigned>(SPEED_UNKNOWN) && speed != 0xffff) p.link_speed = speed;
  if (p.link_detected) p.link_duplex = c.duplex == DUPLEX_FULL ? "full" : c.duplex == DUPLEX_HALF ? "half" : "unknown";
  p.transceiver_type = c.transceiver == XCVR_EXTERNAL ? "external" : "internal";
  switch (c.port) {
  case PORT_TP: p.port_type = "twisted pair"; break;
  case PORT_AUI: p.port_type = "AUI"; break;
  case PORT_MII: p.port_type = "media-independent"; break;
  case PORT_FIBRE: p.port_type = "fibre"; break;
  case PORT_BNC: p.port_type = "BNC"; break;
  case PORT_DA: p.port_type = "direct attach"; break;
  case PORT_NONE: p.port_type = "none"; break;
  default: p.port_type = "other"; break;
  }
  for (auto &m : modes)
    if (c.supported & m.mask) p.supported_modes.emplace_back(m.name);
  for (auto &m : ports)
    if (c.supported & m.mask) p.supported_ports.emplace_back(m.name);
}

std::string firmware(const std::string &name) {
  base::Fd s(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_drvinfo d{};
  d.cmd = ETHTOOL_GDRVINFO;
  if (!s || !ask(s, name, &d)) return "";
  std::string version(d.fw_version, ::strnlen(d.fw_version, sizeof d.fw_version));
  return version == "N/A" ? "" : trim(version);
}

NetworkCard card_of(const std::string &root, const std::string &dir, const Names &names) {
  NetworkCard c;
  // A virtio device stands below the PCI device that it is.
  auto bus = exists(dir + "/vendor") && target_name(dir + "/subsystem") == "virtio" && exists(real(dir) + "/../vendor") ? real(dir) + "/.." : dir;
  if (exists(dir + "/sriov_numvfs")) c.sriov = NetworkSriov{count(dir + "/sriov_numvfs"), count(dir + "/sriov_totalvfs"), {}};
  c.numa_node = count(dir + "/numa_node");
  c.usb_address = usb_address(dir);
  c.vendor_id = hex_id(bus + "/vendor");
  c.product_id = hex_id(bus + "/device");
  c.vendor = names.vendor(c.vendor_id);
  c.product = names.product(c.vendor_id, c.product_id);
  std::tie(c.driver, c.driver_version) = driver_of(root, dir);
  for (auto &e : list(dir + "/net")) {
    auto at = dir + "/net/" + e;
    NetworkPort p;
    p.id = e;
    auto type = number(at + "/type", -1);
    p.protocol = type == 1 ? "ethernet" : type == 32 ? "infiniband" : type == 19 ? "ATM" : "unknown";
    p.address = text(at + "/address");
    p.port = count(at + "/dev_port");
    if (root.empty() && !exists(dir + "/physfn")) ask_driver(p);
    c.ports.push_back(std::move(p));
  }
  if (root.empty() && !c.ports.empty()) c.firmware_version = firmware(c.ports[0].id);
  return c;
}

} // namespace

Network network(const std::string &root) {
  Network out;
  Names names(root, "pci.ids");
  find_cards(out, root, "/sys/class/net", "0x02", [&](const std::string &dir) { return card_of(root, dir, names); }, [](const std::string &) { return true; });
  return out;
}

} // namespace incus::sys::resources
