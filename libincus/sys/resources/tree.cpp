// SPDX-License-Identifier: Apache-2.0
#include "sys/resources/tree.hpp"

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <dirent.h>
#include <fmt/format.h>
#include <memory>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "sys/cgroup.hpp"

namespace incus::sys::resources {

bool exists(const std::string &path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0;
}

bool is_directory(const std::string &path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::string trim(std::string_view s) {
  auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\0'; };
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return std::string(s);
}

std::string text(const std::string &path, std::size_t limit) {
  auto t = read_small_file(path, limit);
  return t ? trim(*t) : std::string();
}

std::int64_t number(const std::string &path, std::int64_t otherwise, int base) {
  auto t = text(path, 128);
  if (base == 16 && t.starts_with("0x")) t.erase(0, 2);
  std::int64_t n = 0;
  auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), n, base);
  return error == std::errc() && end == t.data() + t.size() ? n : otherwise;
}

std::vector<std::string> list(const std::string &path) {
  std::vector<std::string> out;
  std::unique_ptr<DIR, int (*)(DIR *)> d(::opendir(path.c_str()), &::closedir);
  if (!d) return out;
  while (auto *e = ::readdir(d.get())) {
    std::string name = e->d_name;
    if (name != "." && name != "..") out.push_back(std::move(name));
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string real(const std::string &path) {
  std::unique_ptr<char, decltype(&std::free)> p(::realpath(path.c_str(), nullptr), &std::free);
  return p ? p.get() : "";
}

std::string target_name(const std::string &path) {
  char buf[PATH_MAX];
  ssize_t n = ::readlink(path.c_str(), buf, sizeof buf);
  if (n <= 0) return "";
  std::string t(buf, static_cast<std::size_t>(n));
  return t.substr(t.rfind('/') + 1);
}

std::string hex_id(const std::string &path) {
  auto t = text(path, 128);
  return t.starts_with("0x") ? t.substr(2) : t;
}

std::pair<std::string, std::string> driver_of(const std::string &root, const std::string &device) {
  auto name = target_name(device + "/driver");
  if (name.empty()) return {};
  auto version = text(device + "/driver/module/version");
  if (version.empty()) {
    version = text(root + "/proc/sys/kernel/osrelease");
    utsname u{};
    if (version.empty() && root.empty() && ::uname(&u) == 0) version = u.release;
  }
  return {name, version};
}

namespace {

/// Devices behind devices (a modem's interfaces): the innermost that has none of its own. On PCI `device` is a file, the product's id.
std::string innermost(std::string device) {
  for (int depth = 0; depth < 8 && is_directory(device + "/device"); depth++) device += "/device";
  return device;
}

std::string parent(const std::string &path) { return path.substr(0, std::max<std::size_t>(path.rfind('/'), 1)); }

} // namespace

std::string pci_address(const std::string &device) {
  auto path = real(innermost(device));
  if (path.empty()) return "";
  auto subsystem = target_name(path + "/subsystem");
  if (subsystem == "virtio") {
    path = parent(path);
    subsystem = target_name(path + "/subsystem");
  }
  return subsystem == "pci" ? path.substr(path.rfind('/') + 1) : "";
}

std::string usb_address(const std::string &device) {
  auto path = real(device);
  if (path.find("/usb") == path.npos) return "";
  for (; path.size() > 1; path = parent(path))
    if (exists(path + "/busnum") && exists(path + "/devnum")) return fmt::format("{}:{}", count(path + "/busnum"), count(path + "/devnum"));
  return "";
}

Names::Names(const std::string &root, const char *file) {
  for (auto *dir : {"/usr/share/misc/", "/usr/share/hwdata/", "/usr/share/"}) {
    auto t = read_small_file(root + dir + file, 8 << 20);
    if (!t || t->empty()) continue;
    all_ = "\n" + *t;
    return;
  }
}

std::string Names::find(const std::string &first, const std::string &second) const {
  if (first.empty() || all_.empty()) return "";
  auto line = [&](std::size_t at) {
    auto end = all_.find('\n', at);
    return all_.substr(at, end == all_.npos ? end : end - at);
  };
  auto at = all_.find("\n" + first + "  ");
  if (at == all_.npos) return "";
  if (second.empty()) return line(at + first.size() + 3);
  // The lines that belong to it begin with a tab; comments and deeper ones are passed over.
  auto key = "\t" + second + "  ";
  for (at = all_.find('\n', at + 1); at != all_.npos && at + 1 < all_.size(); at = all_.find('\n', at + 1)) {
    char c = all_[at + 1];
    if (all_.compare(at + 1, key.size(), key) == 0) return line(at + 1 + key.size());
    if (c != '\t' && c != '#' && c != '\n') return "";
  }
  return "";
}

std::string Names::usb_class(std::uint64_t id, std::uint64_t sub) const { return find(fmt::format("C {:02x}", id), sub ? fmt::format("{:02x}", sub) : ""); }

} // namespace incus::sys::resources
