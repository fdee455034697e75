// SPDX-License-Identifier: Apache-2.0
#include "info.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

using Fields = std::initializer_list<std::pair<const char *, const char *>>;

/// Lines "Title: value" of the fields that are there.
void lines(const json::value &record, const std::string &prefix, Fields fields) {
  for (auto &[title, field] : fields)
    if (auto v = str(record, field); !v.empty()) say("{}{}: {}\n", prefix, title, v);
}
void pair_line(const json::value &r, const std::string &prefix, const char *title, const char *a, const char *b) {
  if (!str(r, a).empty()) say("{}{}: {} ({})\n", prefix, title, str(r, a), str(r, b));
}
std::string yes(const json::value &r, const char *field) { return truth(r, field) ? "true" : "false"; }

void gpu(const json::value &g, const std::string &p, bool first) {
  say("{}NUMA node: {}\n", first ? p : "", num(g, "numa_node"));
  pair_line(g, p, "Vendor", "vendor", "vendor_id");
  pair_line(g, p, "Product", "product", "product_id");
  lines(g, p, {{"PCI address", "pci_address"}});
  pair_line(g, p, "Driver", "driver", "driver_version");
  if (auto &d = at(g, "drm"); d.is_object()) {
    say("{}DRM:\n{}  ID: {}\n", p, p, num(d, "id"));
    pair_line(d, p + "  ", "Card", "card_name", "card_device");
    pair_line(d, p + "  ", "Control", "control_name", "control_device");
    pair_line(d, p + "  ", "Render", "render_name", "render_device");
  }
  if (auto &n = at(g, "nvidia"); n.is_object()) {
    say("{}NVIDIA information:\n", p);
    static const std::pair<const char *, const char *> fields[] = {
        {"Architecture", "architecture"}, {"Brand", "brand"}, {"Model", "model"}, {"CUDA Version", "cuda_version"},
        {"NVRM Version", "nvrm_version"}, {"UUID", "uuid"}};
    for (auto &[title, field] : fields) say("{}  {}: {}\n", p, title, str(n, field));
  }
  if (auto &s = at(g, "sriov"); s.is_object()) {
    say("{}SR-IOV information:\n{}  Current number of VFs: {}\n{}  Maximum number of VFs: {}\n", p, p, num(s, "current_vfs"), p,
        num(s, "maximum_vfs"));
    if (!array_at(s, "vfs").empty()) say("{}  VFs: {}\n", p, num(s, "maximum_vfs"));
    for (auto &v : array_at(s, "vfs")) {
      say("{}  - ", p);
      gpu(v, p + "    ", false);
    }
  }
}

void port(const json::value &o, const std::string &p) {
  say("{}- Port {} ({})\n{}  ID: {}\n", p, num(o, "port"), str(o, "protocol"), p, str(o, "id"));
  auto q = p + "  ";
  lines(o, q, {{"Address", "address"}});
  if (!at(o, "supported_modes").is_null()) say("{}Supported modes: {}\n", q, join(strings_at(o, "supported_modes"), ", "));
  if (!at(o, "supported_ports").is_null()) say("{}Supported ports: {}\n", q, join(strings_at(o, "supported_ports"), ", "));
  lines(o, q, {{"Port type", "port_type"}, {"Transceiver type", "transceiver_type"}});
  say("{}Auto negotiation: {}\n{}Link detected: {}\n", q, yes(o, "auto_negotiation"), q, yes(o, "link_detected"));
  if (num(o, "link_speed") > 0) say("{}Link speed: {}Mbit/s ({} duplex)\n", q, num(o, "link_speed"), str(o, "link_duplex"));
  if (auto &i = at(o, "infiniband"); i.is_object()) {
    say("{}Infiniband:\n", q);
    pair_line(i, q + "  ", "IsSM", "issm_name", "issm_device");
    pair_line(i, q + "  ", "MAD", "mad_name", "mad_device");
    pair_line(i, q + "  ", "Verb", "verb_name", "verb_device");
  }
}

void nic(const json::value &n, const std::string &p, bool first) {
  say("{}NUMA node: {}\n", first ? p : "", num(n, "numa_node"));
  pair_line(n, p, "Vendor", "vendor", "vendor_id");
  pair_line(n, p, "Product", "product", "product_id");
  lines(n, p, {{"PCI address", "pci_address"}});
  pair_line(n, p, "Driver", "driver", "driver_version");
  if (!array_at(n, "ports").empty()) say("{}Ports:\n", p);
  for (auto &o : array_at(n, "ports")) port(o, p + "  ");
  if (auto &s = at(n, "sriov"); s.is_object()) {
    say("{}SR-IOV information:\n{}  Current number of VFs: {}\n{}  Maximum number of VFs: {}\n", p, p, num(s, "current_vfs"), p,
        num(s, "maximum_vfs"));
    if (!array_at(s, "vfs").empty()) say("{}  VFs: {}\n", p, num(s, "maximum_vfs"));
    for (auto &v : array_at(s, "vfs")) {
      say("{}  - ", p);
      nic(v, p + "    ", false);
    }
  }
}

void disk(const json::value &d, const std::string &p, bool) {
  say("{}NUMA node: {}\n{}ID: {}\n{}Device: {}\n", p, num(d, "numa_node"), p, str(d, "id"), p, str(d, "device"));
  lines(d, p, {{"Model", "model"}, {"Type", "type"}});
  say("{}Size: {}\n", p, size_iec(num(d, "size")));
  lines(d, p, {{"WWN", "wwn"}});
  say("{}Read-Only: {}\n{}Removable: {}\n", p, yes(d, "read_only"), p, yes(d, "removable"));
  if (!array_at(d, "partitions").empty()) say("{}Partitions:\n", p);
  for (auto &t : array_at(d, "partitions"))
    say("{}  - Partition {}\n{}    ID: {}\n{}    Device: {}\n{}    Read-Only: {}\n{}    Size: {}\n", p, num(t, "partition"), p, str(t, "id"), p,
        str(t, "device"), p, yes(t, "read_only"), p, size_iec(num(t, "size")));
}

void cpu(const json::value &s, const std::string &p) {
  lines(s, p, {{"Vendor", "vendor"}, {"Name", "name"}});
  if (!at(s, "cache").is_null()) say("{}Caches:\n", p);
  for (auto &k : array_at(s, "cache")) say("{}  - Level {} (type: {}): {}\n", p, num(k, "level"), str(k, "type"), size_iec(num(k, "size"), 0));
  say("{}Cores:\n", p);
  for (auto &k : array_at(s, "cores")) {
    say("{}  - Core {}\n{}    Frequency: {}Mhz\n{}    Threads:\n", p, num(k, "core"), p, num(k, "frequency"), p);
    for (auto &t : array_at(k, "threads"))
      say("{}      - {} (id: {}, online: {}, NUMA node: {})\n", p, num(t, "thread"), num(t, "id"), yes(t, "online"), num(t, "numa_node"));
  }
  auto now = num(s, "frequency"), turbo = num(s, "frequency_turbo"), least = num(s, "frequency_minimum");
  if (now > 0 && turbo > 0 && least > 0)
    say("{}Frequency: {}Mhz (min: {}Mhz, max: {}Mhz)\n", p, now, least, turbo);
  else if (now > 0)
    say("{}Frequency: {}Mhz\n", p, now);
}

void usb(const json::value &u, const std::string &p, bool) {
  say("{}Vendor: {}\n{}Vendor ID: {}\n{}Product: {}\n{}Product ID: {}\n{}Bus Address: {}\n{}Device Address: {}\n", p, str(u, "vendor"), p,
      str(u, "vendor_id"), p, str(u, "product"), p, str(u, "product_id"), p, num(u, "bus_address"), p, num(u, "device_address"));
  lines(u, p, {{"Serial Number", "serial"}});
}

void pci(const json::value &d, const std::string &p, bool) {
  say("{}Address: {}\n{}Vendor: {}\n{}Vendor ID: {}\n{}Product: {}\n{}Product ID: {}\n{}NUMA node: {}\n{}IOMMU group: {}\n{}Driver: {}\n", p,
      str(d, "pci_address"), p, str(d, "vendor"), p, str(d, "vendor_id"), p, str(d, "product"), p, str(d, "product_id"), p, num(d, "numa_node"), p,
      num(d, "iommu_group"), p, str(d, "driver"));
}

void several(const json::array &all, const char *one, const char *many, const char *each,
             void (*show)(const json::value &, const std::string &, bool)) {
  if (all.empty()) return;
  say("\n{}:\n", all.size() == 1 ? one : many);
  if (all.size() == 1) return show(all[0], "  ", true);
  for (std::size_t i = 0; i < all.size(); i++) {
    say("  {} {}:\n", each, i);
    show(all[i], "    ", true);
  }
}

void memory_lines(const json::value &m, const std::string &p, const char *total, const char *used) {
  say("{}Free: {}\n{}Used: {}\n{}Total: {}\n", p, size_iec(num(m, total) - num(m, used)), p, size_iec(num(m, used)), p, size_iec(num(m, total)));
}

void system_lines(const json::value &s) {
  print("System:\n");
  lines(s, "  ",
        {{"UUID", "uuid"},
         {"Vendor", "vendor"},
         {"Product", "product"},
         {"Family", "family"},
         {"Version", "version"},
         {"SKU", "sku"},
         {"Serial", "serial"},
         {"Type", "type"}});
  if (auto &k = at(s, "chassis"); k.is_object()) {
    print("  Chassis:\n");
    lines(k, "      ", {{"Vendor", "vendor"}, {"Type", "type"}, {"Version", "version"}, {"Serial", "serial"}});
  }
  if (auto &k = at(s, "motherboard"); k.is_object()) {
    print("  Motherboard:\n");
    lines(k, "      ", {{"Vendor", "vendor"}, {"Product", "product"}, {"Serial", "serial"}, {"Version", "version"}});
  }
  if (auto &k = at(s, "firmware"); k.is_object()) {
    print("  Firmware:\n");
    lines(k, "      ", {{"Vendor", "vendor"}, {"Version", "version"}, {"Date", "date"}});
  }
}

double real(const json::value &r, const char *field) {
  auto &v = at(r, field);
  return v.is_double() ? v.get_double() : static_cast<double>(num(r, field));
}

} // namespace

void show_resources(const json::value &r) {
  system_lines(at(r, "system"));
  print("\nLoad:\n");
  if (auto &l = at(r, "load"); num(l, "Processes") > 0)
    say("  Processes: {}\n  Average: {:.2f} {:.2f} {:.2f}\n", num(l, "Processes"), real(l, "Average1Min"), real(l, "Average5Min"),
        real(l, "Average10Min"));
  auto &sockets = array_at(at(r, "cpu"), "sockets");
  if (sockets.size() == 1) {
    say("\nCPU:\n  Architecture: {}\n", str(at(r, "cpu"), "architecture"));
    cpu(sockets[0], "  ");
  } else if (sockets.size() > 1) {
    say("CPUs:\n  Architecture: {}\n", str(at(r, "cpu"), "architecture"));
    for (auto &s : sockets) {
      say("  Socket {}:\n", num(s, "socket"));
      cpu(s, "    ");
    }
  }
  auto &m = at(r, "memory");
  print("\nMemory:\n");
  if (num(m, "hugepages_total") > 0) {
    print("  Hugepages:\n");
    memory_lines(m, "    ", "hugepages_total", "hugepages_used");
  }
  if (array_at(m, "nodes").size() > 1) {
    print("  NUMA nodes:\n");
    for (auto &n : array_at(m, "nodes")) {
      say("    Node {}:\n", num(n, "numa_node"));
      if (num(n, "hugepages_total") > 0) {
        print("      Hugepages:\n");
        memory_lines(n, "        ", "hugepages_total", "hugepages_used");
      }
      memory_lines(n, "      ", "total", "used");
    }
  }
  memory_lines(m, "  ", "total", "used");
  several(array_at(at(r, "gpu"), "cards"), "GPU", "GPUs", "Card", gpu);
  several(array_at(at(r, "network"), "cards"), "NIC", "NICs", "Card", nic);
  several(array_at(at(r, "storage"), "disks"), "Disk", "Disks", "Disk", disk);
  several(array_at(at(r, "usb"), "devices"), "USB device", "USB devices", "Device", usb);
  several(array_at(at(r, "pci"), "devices"), "PCI device", "PCI devices", "Device", pci);
}

} // namespace cli
