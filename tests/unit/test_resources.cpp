// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <incus/host.hpp>

#include "api/records_resources.hpp"

using namespace incus;
namespace json = boost::json;
namespace res = incus::sys::resources;

namespace {

/// A machine of files.
struct Machine {
  std::string root;
  Machine() {
    char name[] = "/var/tmp/incus-res.XXXXXX";
    root = ::mkdtemp(name);
  }
  ~Machine() { std::filesystem::remove_all(root); }
  void file(const std::string &path, const std::string &text) const {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path, std::ios::binary) << text;
  }
  void dir(const std::string &path) const { std::filesystem::create_directories(root + path); }
  void link(const std::string &path, const std::string &to) const {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::filesystem::create_symlink(root + to, root + path);
  }
};

} // namespace

TEST_CASE("resources: an empty machine has nothing, and that is no error") {
  Machine m;
  CHECK(res::cpu(m.root).total == 0);
  CHECK(res::memory(m.root).total == 0);
  CHECK(res::gpu(m.root).cards.empty());
  CHECK(res::network(m.root).cards.empty());
  CHECK(res::storage(m.root).disks.empty());
  CHECK(res::usb(m.root).devices.empty());
  CHECK(res::pci(m.root).devices.empty());
  CHECK(res::system(m.root).type == "physical");
  CHECK(!res::system(m.root).firmware);
  CHECK(res::load(m.root).one == 0);
}

TEST_CASE("resources: processors") {
  Machine m;
  std::string info;
  for (int i = 0; i < 4; i++) {
    info += "processor\t: " + std::to_string(i) + "\nvendor_id\t: Acme\nmodel name\t: Fast " + std::to_string(i / 2) + "\nflags\t\t: fpu vme\n\n";
    auto at = "/sys/devices/system/cpu/cpu" + std::to_string(i);
    m.file(at + "/topology/physical_package_id", std::to_string(i / 2) + "\n");
    m.file(at + "/topology/core_id", "0\n");
    m.file(at + "/topology/die_id", "-1\n");
    m.file(at + "/cpufreq/cpuinfo_min_freq", "800000\n");
    m.file(at + "/cpufreq/scaling_max_freq", "4000000\n");
    m.file(at + "/cpufreq/scaling_cur_freq", i < 2 ? "1000000\n" : "3000000\n");
    m.file(at + "/node" + std::to_string(i / 2) + "/numastat", "");
  }
  m.file("/proc/cpuinfo", info);
  m.file("/sys/devices/system/cpu/cpu3/online", "0\n");
  m.file("/sys/devices/system/cpu/isolated", "1,3-5\n");
  m.file("/sys/devices/system/cpu/cpu0/cache/index0/level", "1\n");
  m.file("/sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n");
  m.file("/sys/devices/system/cpu/cpu0/cache/index0/size", "48K\n");
  m.dir("/sys/devices/system/cpu/cpufreq");
  auto c = res::cpu(m.root);
  CHECK(c.total == 4);
  REQUIRE(c.sockets.size() == 2);
  CHECK(c.sockets[0].name == "Fast 0");
  CHECK(c.sockets[1].name == "Fast 1");
  CHECK(c.sockets[1].vendor == "Acme");
  CHECK(c.sockets[0].frequency == 1000);
  CHECK(c.sockets[1].frequency == 3000);
  CHECK(c.sockets[0].frequency_minimum == 800);
  CHECK(c.sockets[0].frequency_turbo == 4000);
  REQUIRE(c.sockets[0].cache.size() == 1);
  CHECK(c.sockets[0].cache[0].size == 48 << 10);
  REQUIRE(c.sockets[1].cores.size() == 1);
  auto &t = c.sockets[1].cores[0].threads;
  REQUIRE(t.size() == 2);
  CHECK(t[0].id == 2);
  CHECK(t[0].online);
  CHECK(!t[0].isolated);
  CHECK(t[1].thread == 1);
  CHECK(!t[1].online);
  CHECK(t[1].isolated);
  CHECK(t[1].numa_node == 1);
  CHECK(c.sockets[1].cores[0].flags == std::vector<std::string>{"fpu", "vme"});
  auto j = api::to_json(c);
  CHECK(!j.at("sockets").at(1).as_object().contains("cache"));
  CHECK(j.at("sockets").at(0).at("cores").at(0).at("die") == 0);
}

TEST_CASE("resources: memory and load") {
  Machine m;
  m.file("/proc/meminfo", "MemTotal: 1000 kB\nMemFree: 400 kB\nBuffers: 50 kB\nCached: 150 kB\nHugePages_Total: 10\nHugePages_Free: 4\nHugepagesize: 2048 kB\n");
  m.file("/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 500 kB\nNode 1 MemUsed: 200 kB\nNode 1 HugePages_Total: 5\nNode 1 HugePages_Free: 5\n");
  m.file("/sys/devices/system/node/has_cpu", "0\n");
  m.file("/proc/loadavg", "0.50 1.25 2.00 1/300 4000\n");
  m.dir("/proc/1");
  m.dir("/proc/22");
  auto x = res::memory(m.root);
  CHECK(x.total == 1000 << 10);
  CHECK(x.used == 400 << 10);
  CHECK(x.hugepages_total == 10ull * (2048 << 10));
  CHECK(x.hugepages_used == 6ull * (2048 << 10));
  REQUIRE(x.nodes.size() == 1);
  CHECK(x.nodes[0].numa_node == 1);
  CHECK(x.nodes[0].used == 200 << 10);
  CHECK(x.nodes[0].hugepages_used == 0);
  // Memory blocks tell more than what the kernel left of them.
  m.file("/sys/devices/system/memory/block_size_bytes", "100000\n");
  m.file("/sys/devices/system/memory/memory0/online", "1\n");
  m.file("/sys/devices/system/memory/memory1/online", "1\n");
  m.file("/sys/devices/system/memory/memory2/online", "0\n");
  CHECK(res::memory(m.root).total == 2 << 20);
  auto l = res::load(m.root);
  CHECK(l.five == 1.25);
  CHECK(l.processes == 2);
  CHECK(api::to_json(l) == json::parse(R"({"Average1Min":0.5,"Average5Min":1.25,"Average10Min":2.0,"Processes":2})"));
}

TEST_CASE("resources: devices on the buses") {
  Machine m;
  auto card = std::string("/sys/devices/pci0/0000:01:00.0"), function = std::string("/sys/devices/pci0/0000:01:00.1");
  for (auto &d : {card, function}) {
    auto address = d.substr(d.rfind('/') + 1);
    m.file(d + "/vendor", "0x8086\n");
    m.file(d + "/device", "0x10fb\n");
    m.file(d + "/class", "0x020000\n");
    m.file(d + "/numa_node", "-1\n");
    m.link(d + "/driver", "/sys/bus/pci/drivers/ixgbe");
    m.link(d + "/subsystem", "/sys/bus/pci");
    m.link("/sys/bus/pci/devices/" + address, d);
  }
  m.file("/sys/bus/pci/drivers/ixgbe/module/version", "5.1\n");
  m.file(card + "/sriov_numvfs", "1\n");
  m.file(card + "/sriov_totalvfs", "63\n");
  m.link(card + "/iommu_group", "/sys/kernel/iommu_groups/17");
  m.file(card + "/vpd", std::string("\x82\x04\x00" "Card" "\x90\x0c\x00" "PN\x04" "ABC1" "SN\x02" "99" "\x78", 3 + 4 + 3 + 12 + 1));
  m.link(function + "/physfn", card);
  m.file(card + "/net/eth0/type", "1\n");
  m.file(card + "/net/eth0/address", "00:11:22:33:44:55\n");
  m.file(card + "/net/eth0/dev_port", "0\n");
  m.link(card + "/net/eth0/device", card);
  m.link("/sys/class/net/eth0", card + "/net/eth0");
  m.dir("/sys/class/net/lo");
  m.file("/usr/share/misc/pci.ids", "# comment\n8085  Other\n\t10fb  Wrong\n8086  Intel Corporation\n# between\n\t10fa  Not this\n\t10fb  82599ES 10-Gigabit\n\t\t8086 0001  Deeper\n8087  Next\n");
  auto n = res::network(m.root);
  CHECK(n.total == 2);
  REQUIRE(n.cards.size() == 1);
  auto &c = n.cards[0];
  CHECK(c.vendor == "Intel Corporation");
  CHECK(c.product == "82599ES 10-Gigabit");
  CHECK(c.driver == "ixgbe");
  CHECK(c.driver_version == "5.1");
  CHECK(c.pci_address == "0000:01:00.0");
  CHECK(c.numa_node == 0);
  REQUIRE(c.ports.size() == 1);
  CHECK(c.ports[0].protocol == "ethernet");
  REQUIRE(c.sriov);
  CHECK(c.sriov->maximum_vfs == 63);
  REQUIRE(c.sriov->vfs.size() == 1);
  CHECK(c.sriov->vfs[0].pci_address == "0000:01:00.1");
  CHECK(!api::to_json(c.sriov->vfs[0]).as_object().contains("sriov"));
  auto p = res::pci(m.root);
  CHECK(p.total == 2);
  CHECK(p.devices[0].iommu_group == 17);
  CHECK(p.devices[0].vpd.product_name == "Card");
  CHECK(p.devices[0].vpd.entries == std::map<std::string, std::string>{{"PN", "ABC1"}, {"SN", "99"}});
  CHECK(p.devices[1].vpd.entries.empty());

  auto gpu = std::string("/sys/devices/pci0/0000:02:00.0");
  m.file(gpu + "/vendor", "0x1002\n");
  m.file(gpu + "/device", "0x0001\n");
  m.file(gpu + "/class", "0x030000\n");
  m.link(gpu + "/subsystem", "/sys/bus/pci");
  m.link("/sys/bus/pci/devices/0000:02:00.0", gpu);
  m.file(gpu + "/drm/card1/dev", "226:1\n");
  m.file(gpu + "/drm/renderD129/dev", "226:129\n");
  m.link(gpu + "/drm/card1/device", gpu);
  m.link("/sys/class/drm/card1", gpu + "/drm/card1");
  m.dir("/sys/class/drm/card1-HDMI-A-1");
  const auto slice = gpu + "/mdev_supported_types/slice-1";
  m.file(slice + "/device_api", "vfio-pci\n");
  m.file(slice + "/name", "half a card\n");
  m.file(slice + "/description", "2 heads\n");
  m.file(slice + "/available_instances", "2\n");
  auto g = res::gpu(m.root);
  CHECK(g.cards.at(0).mdev.at("slice-1").name == "half a card");
  CHECK(g.cards.at(0).mdev.at("slice-1").available == 2);
  CHECK(g.total == 1);
  REQUIRE(g.cards[0].drm);
  CHECK(g.cards[0].drm->id == 1);
  CHECK(g.cards[0].drm->render_device == "226:129");
  CHECK(g.cards[0].pci_address == "0000:02:00.0");

  auto stick = std::string("/sys/devices/pci0/usb1/1-2");
  for (auto &[name, value] : std::map<std::string, std::string>{{"busnum", "1"}, {"devnum", "5"}, {"idVendor", "0781"}, {"idProduct", "5567"}, {"serial", "S1"},
                                                               {"product", "Blade"}, {"manufacturer", "Sand"}, {"speed", "480"}, {"bDeviceClass", "00"}})
    m.file(stick + "/" + name, value + "\n");
  m.file(stick + "/1-2:1.0/bInterfaceClass", "08\n");
  m.file(stick + "/1-2:1.0/bInterfaceSubClass", "06\n");
  m.file(stick + "/1-2:1.0/bInterfaceNumber", "00\n");
  m.link("/sys/bus/usb/devices/1-2", stick);
  m.link("/sys/bus/usb/devices/1-2:1.0", stick + "/1-2:1.0");
  m.file("/sys/devices/pci0/usb1/busnum", "1\n");
  m.file("/sys/devices/pci0/usb1/devnum", "1\n");
  m.file("/sys/devices/pci0/usb1/bDeviceClass", "09\n");
  m.link("/sys/bus/usb/devices/usb1", "/sys/devices/pci0/usb1");
  m.file("/usr/share/misc/usb.ids", "0781  SanDisk Corp.\n\t5567  Cruzer\nC 08  Mass Storage\n\t06  SCSI\n");
  auto u = res::usb(m.root);
  CHECK(u.total == 1);
  CHECK(u.devices[0].vendor == "SanDisk Corp.");
  CHECK(u.devices[0].product == "Blade");
  CHECK(u.devices[0].device_address == 5);
  CHECK(u.devices[0].speed == 480.0);
  REQUIRE(u.devices[0].interfaces.size() == 1);
  CHECK(u.devices[0].interfaces[0].class_name == "Mass Storage");
  CHECK(u.devices[0].interfaces[0].subclass == "SCSI");

  m.file(stick + "/block/sdb/dev", "8:16\n");
  m.file(stick + "/block/sdb/size", "2048\n");
  m.file(stick + "/block/sdb/removable", "1\n");
  m.file(stick + "/block/sdb/queue/rotational", "0\n");
  m.file(stick + "/block/sdb/sdb1/partition", "1\n");
  m.file(stick + "/block/sdb/sdb1/dev", "8:17\n");
  m.file(stick + "/block/sdb/sdb1/size", "1024\n");
  m.link(stick + "/block/sdb/device", stick);
  m.link("/sys/class/block/sdb", stick + "/block/sdb");
  m.link("/sys/class/block/sdb1", stick + "/block/sdb/sdb1");
  m.link("/dev/disk/by-id/usb-Sand", "/dev/sdb");
  m.file("/run/udev/data/b8:16", "E:ID_USB_DRIVER=usb-storage\nE:ID_MODEL_ENC=Cru\\x20zer\\x20\nE:ID_SERIAL_SHORT=77\n");
  auto s = res::storage(m.root);
  CHECK(s.total == 2);
  REQUIRE(s.disks.size() == 1);
  auto &d = s.disks[0];
  CHECK(d.size == 1 << 20);
  CHECK(d.type == "usb");
  CHECK(d.model == "Cru zer");
  CHECK(d.serial == "77");
  CHECK(d.usb_address == "1:5");
  CHECK(d.device_id == "usb-Sand");
  CHECK(d.removable);
  REQUIRE(d.partitions.size() == 1);
  CHECK(d.partitions[0].size == 512 << 10);

  // The same one on a SATA port, as udev tells it.
  m.file("/run/udev/data/b8:16", "E:ID_ATA_SATA=1\nE:ID_ATA_ROTATION_RATE_RPM=7200\nE:ID_REVISION=CC43\n");
  auto sata = res::storage(m.root).disks.at(0);
  CHECK(sata.type == "sata");
  CHECK(sata.rpm == 7200);
  CHECK(sata.firmware_version == "CC43");
}

TEST_CASE("resources: the machine itself") {
  Machine m;
  m.file("/sys/class/dmi/id/sys_vendor", "Acme\n");
  m.file("/sys/class/dmi/id/product_uuid", "u-u\n");
  m.file("/sys/class/dmi/id/chassis_type", "23\n");
  m.file("/sys/class/dmi/id/bios_date", "01/02/2026\n");
  m.file("/proc/cpuinfo", "processor : 0\nflags : fpu\n");
  auto s = res::system(m.root);
  CHECK(s.type == "physical");
  CHECK(s.uuid == "u-u");
  REQUIRE(s.chassis);
  CHECK(s.chassis->type == "Rack Mount Chassis");
  CHECK(s.firmware->date == "01/02/2026");
  m.file("/proc/cpuinfo", "processor : 0\nflags\t: fpu hypervisor\n");
  CHECK(res::system(m.root).type == "virtual-machine");
  m.file("/proc/1/environ", std::string("A=1\0container=lxc\0", 18));
  CHECK(res::system(m.root).type == "container");
}

TEST_CASE("resources: this machine") {
  auto h = Host::open("test://");
  auto r = json::parse(h.request("GET", "/1.0/resources"));
  CHECK(r.at("cpu").at("total").to_number<int>() > 0);
  CHECK(!r.at("cpu").at("sockets").as_array().empty());
  CHECK(r.at("memory").at("total").to_number<std::int64_t>() > r.at("memory").at("used").to_number<std::int64_t>());
  for (auto *part : {"gpu", "network", "storage", "usb", "pci", "system", "load"}) CHECK(r.as_object().contains(part));
}
