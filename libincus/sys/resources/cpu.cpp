// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>
#include <sys/utsname.h>

#include "sys/cgroup.hpp"
#include "sys/resources/resources.hpp"
#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

namespace {

struct Info {
  std::string vendor, name;
  std::vector<std::string> flags;
};

/// What /proc/cpuinfo says of every processor; on some architectures it says it once for all.
std::map<std::int64_t, Info> cpu_info(const std::string &root) {
  std::map<std::int64_t, Info> out;
  std::istringstream in(read_small_file(root + "/proc/cpuinfo", 64 << 20).value_or(""));
  std::string line;
  Info *now = nullptr;
  while (std::getline(in, line)) {
    auto colon = line.find(':');
    if (colon == line.npos) continue;
    auto key = trim(line.substr(0, colon)), value = trim(line.substr(colon + 1));
    if (key == "processor") {
      std::int64_t n = 0;
      std::from_chars(value.data(), value.data() + value.size(), n);
      now = &out[n];
    } else if (!now) {
      continue;
    } else if (key == "vendor_id") {
      now->vendor = value;
    } else if (key == "model name" || key == "cpu") {
      now->name = value;
    } else if ((key == "flags" || key == "Features") && now->flags.empty()) {
      std::istringstream words(value);
      for (std::string w; words >> w;) now->flags.push_back(w);
    }
  }
  return out;
}

/// "0-3,8" and the like.
std::set<std::int64_t> parse_set(const std::string &t) {
  std::set<std::int64_t> out;
  std::istringstream in(t);
  for (std::string part; std::getline(in, part, ',');) {
    std::int64_t low = 0, high = 0;
    auto *end = part.data() + part.size();
    auto [p, e] = std::from_chars(part.data(), end, low);
    if (e != std::errc()) continue;
    high = low;
    if (p != end && *p == '-') std::from_chars(p + 1, end, high);
    for (auto i = low; i <= high && i - low < 65536; i++) out.insert(i);
  }
  return out;
}

std::vector<CpuCache> caches(const std::string &dir) {
  std::vector<CpuCache> out;
  for (auto &e : list(dir)) {
    auto at = dir + "/" + e;
    if (!exists(at + "/level")) continue;
    CpuCache c;
    c.level = count(at + "/level");
    c.type = text(at + "/type");
    if (c.type.empty()) c.type = "Unknown";
    auto size = text(at + "/size");
    std::from_chars(size.data(), size.data() + size.size(), c.size);
    if (size.ends_with('K')) c.size <<= 10;
    if (size.ends_with('M')) c.size <<= 20;
    out.push_back(std::move(c));
  }
  return out;
}

/// MHz from the first of two files that is there, in kHz.
std::uint64_t mhz(const std::string &dir, const char *first, const char *second) {
  auto one = dir + "/cpufreq/" + first;
  return count(exists(one) ? one : dir + "/cpufreq/" + second) / 1000;
}

std::uint64_t numa_node(const std::string &dir) {
  for (auto &e : list(dir)) {
    std::uint64_t n = 0;
    if (e.starts_with("node") && exists(dir + "/" + e + "/numastat") && std::from_chars(e.data() + 4, e.data() + e.size(), n).ec == std::errc()) return n;
  }
  return 0;
}

std::uint64_t not_negative(std::int64_t n) { return n < 0 ? 0 : static_cast<std::uint64_t>(n); }

} // namespace

Cpu cpu(const std::string &root) {
  auto base = root + "/sys/devices/system/cpu";
  auto info = cpu_info(root);
  auto isolated = parse_set(text(base + "/isolated"));
  std::vector<std::int64_t> ids;
  for (auto &e : list(base)) {
    std::int64_t id = 0;
    auto *end = e.data() + e.size();
    if (!e.starts_with("cpu") || !exists(base + "/" + e + "/topology")) continue;
    if (auto [p, error] = std::from_chars(e.data() + 3, end, id); error == std::errc() && p == end) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());

  Cpu out;
  using Place = std::pair<std::uint64_t, std::uint64_t>; // core, die
  std::map<std::uint64_t, std::pair<CpuSocket, std::map<Place, CpuCore>>> sockets;
  for (auto id : ids) {
    auto dir = base + "/cpu" + std::to_string(id);
    auto socket = not_negative(number(dir + "/topology/physical_package_id"));
    auto core = not_negative(number(dir + "/topology/core_id")), die = not_negative(number(dir + "/topology/die_id"));
    auto [s, new_socket] = sockets.try_emplace(socket);
    auto it = info.find(id);
    const Info said = it != info.end() ? it->second : info.empty() ? Info{} : info.begin()->second;
    auto &[sock, cores] = s->second;
    if (new_socket) {
      sock.socket = socket;
      sock.vendor = said.vendor;
      sock.name = said.name;
      sock.cache = caches(dir + "/cache");
      sock.frequency_minimum = mhz(dir, "cpuinfo_min_freq", "scaling_min_freq");
      sock.frequency_turbo = mhz(dir, "cpuinfo_max_freq", "scaling_max_freq");
    }
    auto [c, new_core] = cores.try_emplace(Place{core, die});
    if (new_core) {
      c->second.core = core;
      c->second.die = die;
      c->second.flags = said.flags;
      c->second.frequency = count(dir + "/cpufreq/scaling_cur_freq") / 1000;
    }
    CpuThread t;
    t.id = id;
    t.numa_node = numa_node(dir);
    t.thread = c->second.threads.size();
    t.online = number(dir + "/online", 1) != 0;
    t.isolated = isolated.count(id) > 0;
    c->second.threads.push_back(t);
    out.total++;
  }
  for (auto &[n, s] : sockets) {
    std::uint64_t sum = 0, counted = 0;
    for (auto &[place, core] : s.second) {
      if (core.frequency) sum += core.frequency, counted++;
      s.first.cores.push_back(std::move(core));
    }
    if (counted) s.first.frequency = sum / counted;
    out.sockets.push_back(std::move(s.first));
  }
  utsname u{};
  if (::uname(&u) == 0) out.architecture = u.machine;
  return out;
}

} // namespace incus::sys::resources
