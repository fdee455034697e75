// SPDX-License-Identifier: Apache-2.0
// PCI and USB.
#include <charconv>
#include <cstdlib>

#include "sys/cgroup.hpp"
#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

/// Vital product data of a PCI device: items of a tag, a length and a body; two of them are of interest, the name (0x82) and the
/// read-only fields (0x90), a keyword of two letters, a length and a value each.
PciVpd parse_vpd(const std::string &data) {
  PciVpd out;
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(data[i]); };
  for (std::size_t at = 0; at < data.size();) {
    unsigned tag = byte(at), size = 0;
    if (tag & 0x80) {
      if (at + 3 > data.size()) break;
      size = byte(at + 1) | static_cast<unsigned>(byte(at + 2)) << 8;
      at += 3;
    } else {
      if ((tag >> 3) == 0xf) break;
      size = tag & 7;
      at += 1;
    }
    if (at + size > data.size()) break;
    if (tag == 0x82) out.product_name = trim(std::string_view(data).substr(at, size));
    if (tag == 0x90)
      for (std::size_t f = at; f + 3 <= at + size;) {
        auto key = data.substr(f, 2);
        std::size_t length = byte(f + 2);
        if (f + 3 + length > at + size) break;
        // RV is a checksum, no text.
        if (key != "RV") out.entries[key] = trim(std::string_view(data).substr(f + 3, length));
        f += 3 + length;
      }
    at += size;
  }
  return out;
}

} // namespace

Pci pci(const std::string &root) {
  Pci out;
  auto base = root + "/sys/bus/pci/devices";
  auto all = list(base);
  if (all.empty()) return out;
  Names names(root, "pci.ids");
  for (auto &e : all) {
    auto dir = base + "/" + e;
    PciDevice d;
    std::tie(d.driver, d.driver_version) = driver_of(root, dir);
    d.numa_node = count(dir + "/numa_node");
    d.pci_address = e;
    d.product_id = hex_id(dir + "/device");
    d.vendor_id = hex_id(dir + "/vendor");
    d.vendor = names.vendor(d.vendor_id);
    d.product = names.product(d.vendor_id, d.product_id);
    auto group = target_name(dir + "/iommu_group");
    std::from_chars(group.data(), group.data() + group.size(), d.iommu_group);
    if (auto data = read_small_file(dir + "/vpd", 32 << 10)) d.vpd = parse_vpd(*data);
    out.devices.push_back(std::move(d));
  }
  out.total = out.devices.size();
  return out;
}

Usb usb(const std::string &root) {
  Usb out;
  auto base = root + "/sys/bus/usb/devices";
  auto all = list(base);
  if (all.empty()) return out;
  Names names(root, "usb.ids");
  for (auto &e : all) {
    auto dir = base + "/" + e;
    // Interfaces have no address of their own; hubs (class 9) are of no use to an instance.
    if (!exists(dir + "/busnum") || number(dir + "/bDeviceClass", 0, 16) == 9) continue;
    UsbDevice d;
    d.bus_address = count(dir + "/busnum");
    d.device_address = count(dir + "/devnum");
    d.serial = text(dir + "/serial");
    d.vendor_id = hex_id(dir + "/idVendor");
    d.product_id = hex_id(dir + "/idProduct");
    d.vendor = names.vendor(d.vendor_id);
    if (d.vendor.empty()) d.vendor = text(dir + "/manufacturer");
    d.product = text(dir + "/product");
    if (d.product.empty()) d.product = names.product(d.vendor_id, d.product_id);
    d.speed = std::strtod(text(dir + "/speed").c_str(), nullptr);
    for (auto &sub : list(dir)) {
      auto at = dir + "/" + sub;
      if (!sub.starts_with(e) || !is_directory(at)) continue;
      UsbInterface i;
      i.class_id = count(at + "/bInterfaceClass", 16);
      i.subclass_id = count(at + "/bInterfaceSubClass", 16);
      i.number = count(at + "/bInterfaceNumber", 16);
      i.class_name = names.usb_class(i.class_id);
      if (i.subclass_id) i.subclass = names.usb_class(i.class_id, i.subclass_id);
      std::tie(i.driver, i.driver_version) = driver_of(root, at);
      d.interfaces.push_back(std::move(i));
    }
    out.devices.push_back(std::move(d));
  }
  out.total = out.devices.size();
  return out;
}

} // namespace incus::sys::resources
