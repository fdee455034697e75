// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.hpp"
#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

// By number, as the SMBIOS specification lists them.
constexpr const char *chassis_types[] = {"",
                                         "Other",
                                         "Unknown",
                                         "Desktop",
                                         "Low Profile Desktop",
                                         "Pizza Box",
                                         "Mini Tower",
                                         "Tower",
                                         "Portable",
                                         "Laptop",
                                         "Notebook",
                                         "Hand Held",
                                         "Docking Station",
                                         "All in One",
                                         "Sub Notebook",
                                         "Space-saving",
                                         "Lunch Box",
                                         "Main Server Chassis",
                                         "Expansion Chassis",
                                         "SubChassis",
                                         "Bus Expansion Chassis",
                                         "Peripheral Chassis",
                                         "RAID Chassis",
                                         "Rack Mount Chassis",
                                         "Sealed-case PC",
                                         "Multi-system chassis",
                                         "Compact PCI",
                                         "Advanced TCA",
                                         "Blade",
                                         "Blade Enclosure",
                                         "Tablet",
                                         "Convertible",
                                         "Detachable",
                                         "IoT Gateway",
                                         "Embedded PC",
                                         "Mini PC",
                                         "Stick PC"};

std::string type_of(const std::string &root) {
  auto environment = read_small_file(root + "/proc/1/environ").value_or("");
  if (exists(root + "/run/systemd/container") || exists(root + "/.dockerenv") || environment.find(std::string("\0container=", 11)) != std::string::npos ||
      environment.starts_with("container="))
    return "container";
  // The processor tells its guests.
  auto info = read_small_file(root + "/proc/cpuinfo", 64 << 20).value_or("");
  auto flags = info.find("\nflags");
  if (flags != info.npos && info.substr(flags, info.find('\n', flags + 1) - flags).find(" hypervisor") != std::string::npos) return "virtual-machine";
  if (exists(root + "/sys/hypervisor/type") || exists(root + "/proc/device-tree/hypervisor/compatible")) return "virtual-machine";
  auto vendor = text(root + "/sys/class/dmi/id/sys_vendor");
  for (auto *v : {"QEMU", "VMware", "innotek", "Xen", "Bochs", "Parallels", "Amazon EC2", "Google", "OpenStack"})
    if (vendor.starts_with(v)) return "virtual-machine";
  return "physical";
}

} // namespace

System system(const std::string &root) {
  System s;
  s.type = type_of(root);
  auto dmi = root + "/sys/class/dmi/id/";
  if (!exists(root + "/sys/class/dmi/id")) return s;
  auto get = [&](const char *name) { return text(dmi + name); };
  s.uuid = get("product_uuid");
  s.vendor = get("sys_vendor");
  s.product = get("product_name");
  s.family = get("product_family");
  s.version = get("product_version");
  s.sku = get("product_sku");
  s.serial = get("product_serial");
  s.firmware = Firmware{get("bios_vendor"), get("bios_date"), get("bios_version")};
  auto type = count(dmi + "chassis_type");
  s.chassis = Chassis{get("chassis_vendor"), type < std::size(chassis_types) ? chassis_types[type] : "", get("chassis_serial"), get("chassis_version")};
  s.motherboard = Motherboard{get("board_vendor"), get("board_name"), get("board_serial"), get("board_version")};
  return s;
}

} // namespace incus::sys::resources
