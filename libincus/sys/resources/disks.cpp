// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <fcntl.h>
#include <linux/fs.h>
#include <sstream>
#include <sys/ioctl.h>

#include "base/fd.hpp"
#include "sys/cgroup.hpp"
#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

/// Names of the links in a directory of /dev/disk, by the device they lead to.
std::map<std::string, std::string> links(const std::string &dir) {
  std::map<std::string, std::string> out;
  for (auto &e : list(dir)) out[target_name(dir + "/" + e)] = e;
  return out;
}

std::map<std::string, std::string> udev(const std::string &root, const std::string &device) {
  std::map<std::string, std::string> out;
  std::istringstream in(read_small_file(root + "/run/udev/data/b" + device).value_or(""));
  for (std::string line; std::getline(in, line);) {
    auto equal = line.find('=');
    if (line.starts_with("E:") && equal != line.npos) out[line.substr(2, equal - 2)] = trim(line.substr(equal + 1));
  }
  return out;
}

/// udev writes characters that device names must not have as \xHH.
std::string decode(const std::string &t) {
  std::string out;
  for (std::size_t i = 0; i < t.size(); i++) {
    unsigned c = 0;
    if (t.compare(i, 2, "\\x") == 0 && i + 4 <= t.size() && std::from_chars(t.data() + i + 2, t.data() + i + 4, c, 16).ptr == t.data() + i + 4) {
      out += static_cast<char>(c);
      i += 3;
    } else {
      out += t[i];
    }
  }
  return trim(out);
}

void from_udev(const std::string &root, Disk &d) {
  auto p = udev(root, d.device);
  if (p["ID_CDROM"] == "1")
    d.type = "cdrom";
  else if (p["ID_USB_DRIVER"] == "usb-storage")
    d.type = "usb";
  else if (p["ID_ATA_SATA"] == "1")
    d.type = "sata";
  if (d.firmware_version.empty()) d.firmware_version = p["ID_REVISION"];
  for (auto *key : {"SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"})
    if (d.serial.empty()) d.serial = p[key];
  if (!p["ID_MODEL_ENC"].empty())
    d.model = decode(p["ID_MODEL_ENC"]);
  else if (!p["ID_MODEL"].empty())
    d.model = p["ID_MODEL"];
  auto &rpm = p["ID_ATA_ROTATION_RATE_RPM"];
  std::from_chars(rpm.data(), rpm.data() + rpm.size(), d.rpm);
}

} // namespace

Storage storage(const std::string &root) {
  Storage out;
  auto base = root + "/sys/class/block";
  auto by_path = links(root + "/dev/disk/by-path"), by_id = links(root + "/dev/disk/by-id");
  for (auto &e : list(base)) {
    auto dir = base + "/" + e, device = dir + "/device";
    // Partitions and what is made of other disks have no device of their own.
    if (!exists(device) || !exists(dir + "/dev")) continue;
    Disk d;
    d.id = e;
    d.type = target_name(device + "/subsystem");
    if (d.type == "rbd") continue; // not of this machine
    d.device = text(dir + "/dev");
    d.firmware_version = text(device + "/firmware_rev");
    d.pci_address = pci_address(device);
    d.usb_address = usb_address(device);
    d.numa_node = count(device + "/numa_node");
    d.model = text(device + "/model");
    d.read_only = number(dir + "/ro") == 1;
    d.size = count(dir + "/size") * 512;
    d.removable = number(dir + "/removable") == 1;
    d.wwn = text(dir + "/wwid");
    for (auto &sub : list(dir)) {
      auto at = dir + "/" + sub;
      if (exists(at + "/partition")) d.partitions.push_back({sub, text(at + "/dev"), number(at + "/ro") == 1, count(at + "/size") * 512, count(at + "/partition")});
    }
    if (auto it = by_path.find(e); it != by_path.end()) d.device_path = it->second;
    if (auto it = by_id.find(e); it != by_id.end()) d.device_id = it->second;
    if (root.empty()) {
      base::Fd fd(::open(("/dev/" + e).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      unsigned size = 0;
      if (fd && ::ioctl(fd.get(), BLKPBSZGET, &size) == 0) d.block_size = size;
    }
    from_udev(root, d);
    if (e.starts_with("sr") && d.removable) {
      d.type = "cdrom";
      // What drives say of themselves when nothing is in them.
      if (d.size == 0x1fffffull * 512) d.size = 0;
    }
    if (d.rpm == 0) d.rpm = count(dir + "/queue/rotational");
    out.total += 1 + d.partitions.size();
    out.disks.push_back(std::move(d));
  }
  return out;
}

} // namespace incus::sys::resources
