// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "instance/lxc/config.hpp"

namespace incus::instance::lxc {

namespace {
std::vector<int> parse_list(const std::string &text) {
  std::vector<int> out;
  std::size_t at = 0;
  while (at < text.size() && text[at] != '\n') {
    std::size_t used = 0;
    int a = std::stoi(text.substr(at), &used), b = a;
    at += used;
    if (at < text.size() && text[at] == '-') {
      b = std::stoi(text.substr(++at), &used);
      at += used;
    }
    for (int i = a; i <= b; i++) out.push_back(i);
    if (at < text.size() && text[at] == ',') at++;
  }
  return out;
}
} // namespace

HostFacts host_facts() {
  HostFacts f;
  f.cgroups = sys::cgroup_roots();
  if (auto a = sys::read_small_file("/sys/module/apparmor/parameters/enabled"))
    f.apparmor = a->starts_with("Y") && ::access("/sys/kernel/security/apparmor/profiles", F_OK) == 0;
  if (auto mounts = sys::read_small_file("/proc/self/mountinfo", 16 << 20))
    for (std::string at : {"/var/lib/incus-lxcfs", "/var/lib/lxcfs"})
      if (mounts->find(" " + at + " ") != mounts->npos && mounts->find("fuse.lxcfs") != mounts->npos) f.lxcfs = at;
  if (!f.lxcfs.empty()) {
    for (std::string n : {"proc/cpuinfo", "proc/diskstats", "proc/loadavg", "proc/meminfo", "proc/slabinfo", "proc/stat", "proc/swaps", "proc/uptime",
                          "sys/devices/system/cpu"})
      if (::access((f.lxcfs + "/" + n).c_str(), F_OK) == 0) f.lxcfs_files.push_back(n);
  }
  if (auto online = sys::read_small_file("/sys/devices/system/cpu/online")) {
    try {
      f.cpus = parse_list(*online);
    } catch (const std::exception &) {
    }
  }
  if (f.cpus.empty()) f.cpus.push_back(0);
  f.memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return f;
}

} // namespace incus::instance::lxc
