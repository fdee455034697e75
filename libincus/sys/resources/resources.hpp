// SPDX-License-Identifier: Apache-2.0
// What this machine is made of, read from /proc, /sys and udev's notes. Every reader takes the directory that stands for "/", so that
// a tree of files can stand for a machine. What is missing there is zero or empty, never an error.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace incus::sys::resources {

struct CpuCache {
  std::uint64_t level = 0, size = 0;
  std::string type;
};
struct CpuThread {
  std::int64_t id = 0;
  std::uint64_t numa_node = 0, thread = 0;
  bool online = true, isolated = false;
};
struct CpuCore {
  std::uint64_t core = 0, die = 0, frequency = 0; ///< MHz
  std::vector<CpuThread> threads;
  std::vector<std::string> flags;
};
struct CpuSocket {
  std::string name, vendor;
  std::uint64_t socket = 0, frequency = 0, frequency_minimum = 0, frequency_turbo = 0;
  std::vector<CpuCache> cache;
  std::vector<CpuCore> cores;
};
struct Cpu {
  std::string architecture;
  std::vector<CpuSocket> sockets;
  std::uint64_t total = 0;
};

struct MemoryNode {
  std::uint64_t numa_node = 0, hugepages_used = 0, hugepages_total = 0, used = 0, total = 0;
};
struct Memory {
  std::vector<MemoryNode> nodes;
  std::uint64_t hugepages_total = 0, hugepages_used = 0, hugepages_size = 0, used = 0, total = 0;
};

struct GpuDrm {
  std::uint64_t id = 0;
  std::string card_name, card_device, control_name, control_device, render_name, render_device;
};
struct GpuMdev {
  std::string api, name, description;
  std::uint64_t available = 0;
  std::vector<std::string> devices;
};
struct GpuCard;
struct GpuSriov {
  std::uint64_t current_vfs = 0, maximum_vfs = 0;
  std::vector<GpuCard> vfs;
};
struct GpuCard {
  std::string driver, driver_version, pci_address, vendor, vendor_id, product, product_id, usb_address;
  std::uint64_t numa_node = 0;
  std::optional<GpuDrm> drm;
  std::optional<GpuSriov> sriov;
  std::map<std::string, GpuMdev> mdev;
};
struct Gpu {
  std::vector<GpuCard> cards;
  std::uint64_t total = 0;
};

struct NetworkPort {
  std::string id, address, protocol, port_type, transceiver_type, link_duplex;
  std::uint64_t port = 0, link_speed = 0;
  std::vector<std::string> supported_modes, supported_ports;
  bool auto_negotiation = false, link_detected = false;
};
struct NetworkCard;
struct NetworkSriov {
  std::uint64_t current_vfs = 0, maximum_vfs = 0;
  std::vector<NetworkCard> vfs;
};
struct NetworkCard {
  std::string driver, driver_version, pci_address, vendor, vendor_id, product, product_id, firmware_version, usb_address;
  std::uint64_t numa_node = 0;
  std::vector<NetworkPort> ports;
  std::optional<NetworkSriov> sriov;
};
struct Network {
  std::vector<NetworkCard> cards;
  std::uint64_t total = 0;
};

struct Partition {
  std::string id, device;
  bool read_only = false;
  std::uint64_t size = 0, partition = 0;
};
struct Disk {
  std::string id, device, model, type, wwn, device_path, firmware_version, serial, device_id, pci_address, usb_address;
  bool read_only = false, removable = false;
  std::uint64_t size = 0, numa_node = 0, block_size = 0, rpm = 0;
  std::vector<Partition> partitions;
};
struct Storage {
  std::vector<Disk> disks;
  std::uint64_t total = 0;
};

struct UsbInterface {
  std::string class_name, driver, driver_version, subclass;
  std::uint64_t class_id = 0, number = 0, subclass_id = 0;
};
struct UsbDevice {
  std::uint64_t bus_address = 0, device_address = 0;
  std::string serial, vendor, vendor_id, product, product_id;
  std::vector<UsbInterface> interfaces;
  double speed = 0;
};
struct Usb {
  std::vector<UsbDevice> devices;
  std::uint64_t total = 0;
};

struct PciVpd {
  std::string product_name;
  std::map<std::string, std::string> entries;
};
struct PciDevice {
  std::string driver, driver_version, pci_address, vendor, vendor_id, product, product_id;
  std::uint64_t numa_node = 0, iommu_group = 0;
  PciVpd vpd;
};
struct Pci {
  std::vector<PciDevice> devices;
  std::uint64_t total = 0;
};

struct Firmware {
  std::string vendor, date, version;
};
struct Chassis {
  std::string vendor, type, serial, version;
};
struct Motherboard {
  std::string vendor, product, serial, version;
};
struct System {
  std::string uuid, vendor, product, family, version, sku, serial, type;
  std::optional<Firmware> firmware;
  std::optional<Chassis> chassis;
  std::optional<Motherboard> motherboard;
};

struct Load {
  double one = 0, five = 0, ten = 0;
  std::int64_t processes = 0;
};

// `root` is "" for this machine.
Cpu cpu(const std::string &root = "");
Memory memory(const std::string &root = "");
Gpu gpu(const std::string &root = "");
Network network(const std::string &root = "");
Storage storage(const std::string &root = "");
Usb usb(const std::string &root = "");
Pci pci(const std::string &root = "");
System system(const std::string &root = "");
Load load(const std::string &root = "");

} // namespace incus::sys::resources
