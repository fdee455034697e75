// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "sys/resources/cards.hpp"
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
  // "card0", not its connectors ("card0-HDMI-A-1").
  auto counts = [](const std::string &e) { return e.starts_with("card") && e.find('-') == e.npos; };
  find_cards(out, root, "/sys/class/drm", "0x03", [&](const std::string &dir) { return card_of(root, dir, names); }, counts);
  return out;
}

} // namespace incus::sys::resources
