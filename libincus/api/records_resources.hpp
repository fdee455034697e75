// SPDX-License-Identifier: Apache-2.0
// Fields of GET /1.0/resources.
#pragma once
#include "api/convert.hpp"
#include "sys/resources/resources.hpp"

namespace incus::api {

namespace res = sys::resources;

#define INCUS_F(member) field(#member, &T::member)
#define INCUS_O(member) field_opt(#member, &T::member)
template <> struct Record<res::CpuCache> {
  using T = res::CpuCache;
  static constexpr auto fields = std::make_tuple(INCUS_F(level), INCUS_F(type), INCUS_F(size));
};
template <> struct Record<res::CpuThread> {
  using T = res::CpuThread;
  static constexpr auto fields = std::make_tuple(INCUS_F(id), INCUS_F(numa_node), INCUS_F(thread), INCUS_F(online), INCUS_F(isolated));
};
template <> struct Record<res::CpuCore> {
  using T = res::CpuCore;
  static constexpr auto fields = std::make_tuple(INCUS_F(core), INCUS_F(die), INCUS_F(threads), INCUS_O(frequency), INCUS_F(flags));
};
template <> struct Record<res::CpuSocket> {
  using T = res::CpuSocket;
  static constexpr auto fields = std::make_tuple(INCUS_O(name), INCUS_O(vendor), INCUS_F(socket), INCUS_O(cache), INCUS_F(cores), INCUS_O(frequency),
                                                 INCUS_O(frequency_minimum), INCUS_O(frequency_turbo));
};
template <> struct Record<res::Cpu> {
  using T = res::Cpu;
  static constexpr auto fields = std::make_tuple(INCUS_F(architecture), INCUS_F(sockets), INCUS_F(total));
};
template <> struct Record<res::MemoryNode> {
  using T = res::MemoryNode;
  static constexpr auto fields = std::make_tuple(INCUS_F(numa_node), INCUS_F(hugepages_used), INCUS_F(hugepages_total), INCUS_F(used), INCUS_F(total));
};
template <> struct Record<res::Memory> {
  using T = res::Memory;
  static constexpr auto fields =
      std::make_tuple(INCUS_O(nodes), INCUS_F(hugepages_total), INCUS_F(hugepages_used), INCUS_F(hugepages_size), INCUS_F(used), INCUS_F(total));
};
template <> struct Record<res::GpuDrm> {
  using T = res::GpuDrm;
  static constexpr auto fields = std::make_tuple(INCUS_F(id), INCUS_F(card_name), INCUS_F(card_device), INCUS_O(control_name), INCUS_O(control_device),
                                                 INCUS_O(render_name), INCUS_O(render_device));
};
template <> struct Record<res::GpuMdev> {
  using T = res::GpuMdev;
  static constexpr auto fields = std::make_tuple(INCUS_F(api), INCUS_F(available), INCUS_O(name), INCUS_O(description), INCUS_F(devices));
};
template <> struct Record<res::GpuSriov> {
  using T = res::GpuSriov;
  static constexpr auto fields = std::make_tuple(INCUS_F(current_vfs), INCUS_F(maximum_vfs), INCUS_F(vfs));
};
template <> struct Record<res::GpuCard> {
  using T = res::GpuCard;
  static constexpr auto fields =
      std::make_tuple(INCUS_O(driver), INCUS_O(driver_version), INCUS_O(drm), INCUS_O(sriov), INCUS_O(mdev), INCUS_F(numa_node), INCUS_O(pci_address), INCUS_O(vendor),
                      INCUS_O(vendor_id), INCUS_O(product), INCUS_O(product_id), INCUS_O(usb_address));
};
template <> struct Record<res::Gpu> {
  using T = res::Gpu;
  static constexpr auto fields = std::make_tuple(INCUS_F(cards), INCUS_F(total));
};
template <> struct Record<res::NetworkPort> {
  using T = res::NetworkPort;
  static constexpr auto fields =
      std::make_tuple(INCUS_F(id), INCUS_O(address), INCUS_F(port), INCUS_F(protocol), INCUS_O(supported_modes), INCUS_O(supported_ports), INCUS_O(port_type),
                      INCUS_O(transceiver_type), INCUS_F(auto_negotiation), INCUS_F(link_detected), INCUS_O(link_speed), INCUS_O(link_duplex));
};
template <> struct Record<res::NetworkSriov> {
  using T = res::NetworkSriov;
  static constexpr auto fields = std::make_tuple(INCUS_F(current_vfs), INCUS_F(maximum_vfs), INCUS_F(vfs));
};
template <> struct Record<res::NetworkCard> {
  using T = res::NetworkCard;
  static constexpr auto fields =
      std::make_tuple(INCUS_O(driver), INCUS_O(driver_version), INCUS_O(ports), INCUS_O(sriov), INCUS_F(numa_node), INCUS_O(pci_address), INCUS_O(vendor),
                      INCUS_O(vendor_id), INCUS_O(product), INCUS_O(product_id), INCUS_O(firmware_version), INCUS_O(usb_address));
};
template <> struct Record<res::Network> {
  using T = res::Network;
  static constexpr auto fields = std::make_tuple(INCUS_F(cards), INCUS_F(total));
};
template <> struct Record<res::Partition> {
  using T = res::Partition;
  static constexpr auto fields = std::make_tuple(INCUS_F(id), INCUS_F(device), INCUS_F(read_only), INCUS_F(size), INCUS_F(partition));
};
template <> struct Record<res::Disk> {
  using T = res::Disk;
  static constexpr auto fields =
      std::make_tuple(INCUS_F(id), INCUS_F(device), INCUS_O(model), INCUS_O(type), INCUS_F(read_only), INCUS_F(size), INCUS_F(removable), INCUS_O(wwn),
                      INCUS_F(numa_node), INCUS_O(device_path), INCUS_F(block_size), INCUS_O(firmware_version), INCUS_F(rpm), INCUS_O(serial), INCUS_F(device_id),
                      INCUS_F(partitions), INCUS_O(pci_address), INCUS_O(usb_address));
};
template <> struct Record<res::Storage> {
  using T = res::Storage;
  static constexpr auto fields = std::make_tuple(INCUS_F(disks), INCUS_F(total));
};
template <> struct Record<res::UsbInterface> {
  using T = res::UsbInterface;
  static constexpr auto fields = std::make_tuple(field("class", &T::class_name), INCUS_F(class_id), INCUS_F(driver), INCUS_F(driver_version), INCUS_F(number),
                                                 INCUS_F(subclass), INCUS_F(subclass_id));
};
template <> struct Record<res::UsbDevice> {
  using T = res::UsbDevice;
  static constexpr auto fields = std::make_tuple(INCUS_F(bus_address), INCUS_F(device_address), INCUS_F(serial), INCUS_F(interfaces), INCUS_F(vendor),
                                                 INCUS_F(vendor_id), INCUS_F(product), INCUS_F(product_id), INCUS_F(speed));
};
template <> struct Record<res::Usb> {
  using T = res::Usb;
  static constexpr auto fields = std::make_tuple(INCUS_F(devices), INCUS_F(total));
};
template <> struct Record<res::PciVpd> {
  using T = res::PciVpd;
  static constexpr auto fields = std::make_tuple(INCUS_O(product_name), INCUS_O(entries));
};
template <> struct Record<res::PciDevice> {
  using T = res::PciDevice;
  static constexpr auto fields = std::make_tuple(INCUS_F(driver), INCUS_F(driver_version), INCUS_F(numa_node), INCUS_F(pci_address), INCUS_F(vendor),
                                                 INCUS_F(vendor_id), INCUS_F(product), INCUS_F(product_id), INCUS_F(iommu_group), INCUS_F(vpd));
};
template <> struct Record<res::Pci> {
  using T = res::Pci;
  static constexpr auto fields = std::make_tuple(INCUS_F(devices), INCUS_F(total));
};
template <> struct Record<res::Firmware> {
  using T = res::Firmware;
  static constexpr auto fields = std::make_tuple(INCUS_F(vendor), INCUS_F(date), INCUS_F(version));
};
template <> struct Record<res::Chassis> {
  using T = res::Chassis;
  static constexpr auto fields = std::make_tuple(INCUS_F(vendor), INCUS_F(type), INCUS_F(serial), INCUS_F(version));
};
template <> struct Record<res::Motherboard> {
  using T = res::Motherboard;
  static constexpr auto fields = std::make_tuple(INCUS_F(vendor), INCUS_F(product), INCUS_F(serial), INCUS_F(version));
};
template <> struct Record<res::System> {
  using T = res::System;
  static constexpr auto fields = std::make_tuple(INCUS_F(uuid), INCUS_F(vendor), INCUS_F(product), INCUS_F(family), INCUS_F(version), INCUS_F(sku), INCUS_F(serial),
                                                 INCUS_F(type), INCUS_F(firmware), INCUS_F(chassis), INCUS_F(motherboard));
};
template <> struct Record<res::Load> {
  using T = res::Load;
  static constexpr auto fields = std::make_tuple(field("Average1Min", &T::one), field("Average5Min", &T::five), field("Average10Min", &T::ten),
                                                 field("Processes", &T::processes));
};
#undef INCUS_F
#undef INCUS_O

} // namespace incus::api
