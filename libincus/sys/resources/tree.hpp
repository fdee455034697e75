// SPDX-License-Identifier: Apache-2.0
// Reading the small files of /sys.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace incus::sys::resources {

bool exists(const std::string &path);
bool is_directory(const std::string &path);
/// Without white space around it; empty when it cannot be read.
std::string text(const std::string &path, std::size_t limit = 64 << 10);
/// Signed, so that -1 ("none") is seen.
std::int64_t number(const std::string &path, std::int64_t otherwise = 0, int base = 10);
inline std::uint64_t count(const std::string &path, int base = 10) {
  auto n = number(path, 0, base);
  return n > 0 ? static_cast<std::uint64_t>(n) : 0;
}
/// Names in a directory, sorted.
std::vector<std::string> list(const std::string &path);
/// The last component of what a link leads to.
std::string target_name(const std::string &path);
/// The path without links; empty when it leads nowhere.
std::string real(const std::string &path);
/// "0x8086" -> "8086".
std::string hex_id(const std::string &path);
std::string trim(std::string_view s);

/// Of a device directory: the driver's name and its module's version (the kernel's when it has none).
std::pair<std::string, std::string> driver_of(const std::string &root, const std::string &device);
std::string pci_address(const std::string &device);
/// "BUS:DEVICE".
std::string usb_address(const std::string &device);

/// Names from pci.ids or usb.ids, where the distribution has them.
class Names {
public:
  Names(const std::string &root, const char *file);
  std::string vendor(const std::string &id) const { return find(id, {}); }
  std::string product(const std::string &vendor_id, const std::string &id) const { return id.empty() ? "" : find(vendor_id, id); }
  /// usb.ids: class and subclass.
  std::string usb_class(std::uint64_t id, std::uint64_t sub = 0) const;

private:
  std::string find(const std::string &first, const std::string &second) const;
  std::string all_;
};

} // namespace incus::sys::resources
