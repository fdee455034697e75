// SPDX-License-Identifier: Apache-2.0
// Memory and load.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>

#include "sys/cgroup.hpp"
#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

/// Values of a meminfo file in bytes (counts as they are); a node's has "Node 0 " before each name.
std::map<std::string, std::uint64_t> meminfo(const std::string &path) {
  std::map<std::string, std::uint64_t> out;
  std::istringstream in(read_small_file(path).value_or(""));
  for (std::string line; std::getline(in, line);) {
    auto colon = line.find(':');
    if (colon == line.npos) continue;
    auto key = trim(line.substr(0, colon)), value = trim(line.substr(colon + 1));
    key = key.substr(key.rfind(' ') + 1);
    std::uint64_t n = 0;
    std::from_chars(value.data(), value.data() + value.size(), n);
    out[key] = value.ends_with(" kB") ? n << 10 : n;
  }
  return out;
}

/// What is plugged in: more than MemTotal, which leaves out what the kernel took for itself. 0: unknown.
std::uint64_t plugged(const std::string &root, const std::string &dir) {
  auto block = count(root + "/sys/devices/system/memory/block_size_bytes", 16);
  std::uint64_t blocks = 0;
  if (block == 0) return 0;
  for (auto &e : list(dir))
    if (e.starts_with("memory") && number(dir + "/" + e + "/online") == 1) blocks++;
  return block * blocks;
}

std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

} // namespace

Memory memory(const std::string &root) {
  Memory m;
  auto all = meminfo(root + "/proc/meminfo");
  m.total = all["MemTotal"];
  if (auto t = plugged(root, root + "/sys/devices/system/memory")) m.total = t;
  m.hugepages_size = all["Hugepagesize"];
  m.hugepages_total = all["HugePages_Total"] * m.hugepages_size;
  m.hugepages_used = less(all["HugePages_Total"], all["HugePages_Free"]) * m.hugepages_size;
  m.used = less(m.total, all["MemFree"] + all["Cached"] + all["Buffers"]);
  auto nodes = root + "/sys/devices/system/node";
  for (auto &e : list(nodes)) {
    auto dir = nodes + "/" + e;
    MemoryNode n;
    if (!e.starts_with("node") || !exists(dir + "/meminfo") || std::from_chars(e.data() + 4, e.data() + e.size(), n.numa_node).ec != std::errc()) continue;
    auto info = meminfo(dir + "/meminfo");
    n.hugepages_total = info["HugePages_Total"] * m.hugepages_size;
    n.hugepages_used = less(info["HugePages_Total"], info["HugePages_Free"]) * m.hugepages_size;
    n.used = info["MemUsed"];
    n.total = info["MemTotal"];
    if (auto t = plugged(root, dir)) n.total = t;
    m.nodes.push_back(n);
  }
  std::sort(m.nodes.begin(), m.nodes.end(), [](auto &a, auto &b) { return a.numa_node < b.numa_node; });
  return m;
}

Load load(const std::string &root) {
  Load l;
  std::istringstream in(text(root + "/proc/loadavg"));
  in >> l.one >> l.five >> l.ten;
  for (auto &e : list(root + "/proc"))
    if (e.find_first_not_of("0123456789") == e.npos) l.processes++;
  return l;
}

} // namespace incus::sys::resources
