// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <set>

#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

GpuDrm drm_of(const std::string &dir) {
  GpuDrm d;
  for (auto &e : list(dir)) {
    auto dev = text(dir + "/" + e + "/dev");
    if (e.starts_with("card")) {
      std::from_chars(e.data() + 4, e.data() + e.size(), d.id);
      d.card_name = e;
      d.card_device = dev;
    } else if (e.starts_with("controlD")) {
      d.control_name = e;
      d.control_device = dev;
    } else if (e.starts_with("renderD")) {
      d.render_name = e;
      d.render_device = dev;
    }
  }
  return d;
}

GpuCard card_of(const std::string &root, const std::string &dir, const Names &names) {
  GpuCard c;
  if (exists(dir + "/sriov_numvfs")) c.sriov = GpuSriov{count(dir + "/sriov_numvfs"), count(dir + "/sriov_totalvfs"), {}};
  c.numa_node = count(dir + "/numa_node");
  if (!is_directory(dir + "/device")) {
    c.vendor_id = hex_id(dir + "/vendor");
    c.product_id = hex_id(dir + "/device");
    c.vendor = names.vendor(c.vendor_id);
    c.product = names.product(c.vendor_id, c.product_id);
  }
  c.usb_address = usb_address(dir);
  std::tie(c.driver, c.driver_version) = driver_of(root, dir);
  if (exists(dir + "/drm")) c.drm = drm_of(dir + "/drm");
  for (auto &e : list(dir + "/mdev_supported_types")) {
    auto at = dir + "/mdev_supported_types/" + e;
    c.mdev[e] = {text(at + "/device_api"), text(at + "/name"), text(at + "/description"), count(at + "/available_instances"), list(at + "/devices")};
  }
  return c;
}

} // namespace

Gpu gpu(const std::string &root) {
  Gpu out;
  Names names(root, "pci.ids");
  std::set<std::string> known;
  std::map<std::string, std::vector<GpuCard>> functions; // by the address of their card
  auto add = [&](GpuCard card, const std::string &dir) {
    if (exists(dir + "/physfn"))
      functions[target_name(dir + "/physfn")].push_back(std::move(card));
    else
      out.cards.push_back(std::move(card));
  };
  // Cards that have a driver, then what else is on the bus: class 3 is display.
  auto drm = root + "/sys/class/drm";
  for (auto &e : list(drm)) {
    auto dir = drm + "/" + e + "/device";
    // "card0", not its connectors ("card0-HDMI-A-1").
    if (!e.starts_with("card") || e.find('-') != e.npos || !exists(dir)) continue;
    auto address = pci_address(dir);
    if (!address.empty() && !known.insert(address).second) continue;
    auto card = card_of(root, dir, names);
    card.pci_address = address;
    add(std::move(card), dir);
  }
  auto pci = root + "/sys/bus/pci/devices";
  for (auto &e : list(pci)) {
    auto dir = pci + "/" + e;
    if (known.count(e) || !text(dir + "/class").starts_with("0x03")) continue;
    auto card = card_of(root, dir, names);
    card.pci_address = e;
    add(std::move(card), dir);
  }
  for (auto &c : out.cards) {
    out.total++;
    if (!c.sriov) continue;
    c.sriov->vfs = std::move(functions[c.pci_address]);
    out.total += c.sriov->vfs.size();
  }
  return out;
}

} // namespace incus::sys::resources
