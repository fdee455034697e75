// SPDX-License-Identifier: Apache-2.0
#include "sys/usage.hpp"

#include <charconv>
#include <functional>

namespace incus::sys {

namespace {

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  while (!line.empty()) {
    auto from = line.find_first_not_of(" \t");
    if (from == line.npos) break;
    auto to = line.find_first_of(" \t", from);
    out.push_back(line.substr(from, to - from));
    line.remove_prefix(to == line.npos ? line.size() : to);
  }
  return out;
}

void each_line(std::string_view text, const std::function<void(const std::vector<std::string_view> &)> &fn) {
  while (!text.empty()) {
    auto end = text.find('\n');
    if (auto w = words(text.substr(0, end)); !w.empty()) fn(w);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
}

template <class T = std::uint64_t> T to(std::string_view t) {
  T n = 0;
  std::from_chars(t.data(), t.data() + t.size(), n);
  return n;
}

/// The name of a device; nothing for loop devices (7), whose bytes are counted where their files lie, and unknown ones.
const std::string *name_of(std::string_view number, const std::map<std::string, std::string> &devices) {
  if (number.starts_with("7:")) return nullptr;
  auto it = devices.find(std::string(number));
  return it == devices.end() ? nullptr : &it->second;
}

} // namespace

std::map<std::string, std::string> block_devices(std::string_view partitions) {
  std::map<std::string, std::string> out;
  each_line(partitions, [&](auto &w) {
    if (w.size() == 4 && w[0] != "major") out[std::string(w[0]) + ":" + std::string(w[1])] = std::string(w[3]);
  });
  return out;
}

std::map<int, Usage::Cpu> parse_cpus_v1(std::string_view usage_all) {
  std::map<int, Usage::Cpu> out;
  each_line(usage_all, [&](auto &w) {
    if (w.size() >= 3 && w[0] != "cpu") out[to<int>(w[0])] = {to<std::int64_t>(w[1]), to<std::int64_t>(w[2])};
  });
  return out;
}

std::map<int, Usage::Cpu> parse_cpus_v2(std::string_view cpu_stat) {
  Usage::Cpu c;
  each_line(cpu_stat, [&](auto &w) {
    if (w.size() != 2) return;
    if (w[0] == "user_usec") c.user = to<std::int64_t>(w[1]) * 1000;
    if (w[0] == "system_usec") c.system = to<std::int64_t>(w[1]) * 1000;
  });
  return {{0, c}};
}

std::map<std::string, std::uint64_t> parse_memory(std::string_view stat, bool v2) {
  struct Name {
    const char *one, *two;
  };
  static constexpr Name names[] = {{"total_active_anon", "active_anon"}, {"total_active_file", "active_file"},     {"total_inactive_anon", "inactive_anon"},
                                   {"total_inactive_file", "inactive_file"}, {"total_unevictable", "unevictable"}, {"total_writeback", "file_writeback"},
                                   {"total_dirty", "file_dirty"},       {"total_mapped_file", "file_mapped"},      {"total_rss", "anon"},
                                   {"total_shmem", "shmem"},            {"total_cache", "file"}};
  std::map<std::string, std::uint64_t> out;
  each_line(stat, [&](auto &w) {
    if (w.size() != 2) return;
    for (auto &n : names)
      if (w[0] == (v2 ? n.two : n.one)) out[n.two] = to(w[1]);
  });
  if (!out.empty()) {
    out["active"] = out["active_anon"] + out["active_file"];
    out["inactive"] = out["inactive_anon"] + out["inactive_file"];
  }
  return out;
}

int count_cpus(std::string_view set) {
  int n = 0;
  while (!set.empty()) {
    auto end = set.find_first_of(",\n");
    auto part = set.substr(0, end);
    auto dash = part.find('-');
    if (!part.empty()) n += dash == part.npos ? 1 : to<int>(part.substr(dash + 1)) - to<int>(part.substr(0, dash)) + 1;
    set.remove_prefix(end == set.npos ? set.size() : end + 1);
  }
  return n;
}

void parse_disks_v1(std::string_view bytes, std::string_view operations, const std::map<std::string, std::string> &devices, std::map<std::string, Usage::Disk> &out) {
  each_line(bytes, [&](auto &w) {
    auto *name = w.size() == 3 ? name_of(w[0], devices) : nullptr;
    if (name && w[1] == "Read") out[*name].read_bytes = to(w[2]);
    if (name && w[1] == "Write") out[*name].written_bytes = to(w[2]);
  });
  each_line(operations, [&](auto &w) {
    auto *name = w.size() == 3 ? name_of(w[0], devices) : nullptr;
    if (name && w[1] == "Read") out[*name].reads = to(w[2]);
    if (name && w[1] == "Write") out[*name].writes = to(w[2]);
  });
}

void parse_disks_v2(std::string_view stat, const std::map<std::string, std::string> &devices, std::map<std::string, Usage::Disk> &out) {
  each_line(stat, [&](auto &w) {
    // The kernel has been seen to begin a line with several devices: the values are the last one's.
    const std::string *name = nullptr;
    for (auto &part : w) {
      auto equal = part.find('=');
      if (equal == part.npos) {
        name = name_of(part, devices);
        continue;
      }
      if (!name) continue;
      auto key = part.substr(0, equal);
      auto value = to(part.substr(equal + 1));
      auto &d = out[*name];
      if (key == "rbytes") d.read_bytes = value;
      if (key == "wbytes") d.written_bytes = value;
      if (key == "rios") d.reads = value;
      if (key == "wios") d.writes = value;
    }
  });
}

int effective_cpus(const CgroupTree &tree) {
  bool v2 = false;
  if (tree.directory("cpuset", &v2).empty()) return 0;
  return count_cpus(tree.read("cpuset", v2 ? "cpuset.cpus.effective" : "cpuset.effective_cpus").value_or(""));
}

Usage read_usage(const CgroupTree &tree, const std::map<std::string, std::string> &devices) {
  Usage u;
  bool v2 = false;
  auto read = [&](const char *controller, const char *file) { return tree.read(controller, file).value_or(""); };
  if (!tree.directory("cpuacct", &v2).empty() && !v2)
    u.cpus = parse_cpus_v1(read("cpuacct", "cpuacct.usage_all"));
  else if (!tree.directory("cpu", &v2).empty() && v2)
    u.cpus = parse_cpus_v2(read("cpu", "cpu.stat"));
  u.effective_cpus = effective_cpus(tree);
  if (!tree.directory("memory", &v2).empty()) {
    u.memory = parse_memory(read("memory", "memory.stat"), v2);
    each_line(read("memory", v2 ? "memory.events" : "memory.oom_control"), [&](auto &w) {
      if (w.size() == 2 && w[0] == "oom_kill") u.oom_kills = to<std::int64_t>(w[1]);
    });
  }
  if (!tree.directory("io", &v2).empty() && v2)
    parse_disks_v2(read("io", "io.stat"), devices, u.disks);
  else if (!tree.directory("blkio", &v2).empty() && !v2)
    parse_disks_v1(read("blkio", "blkio.throttle.io_service_bytes_recursive"), read("blkio", "blkio.throttle.io_serviced_recursive"), devices, u.disks);
  return u;
}

} // namespace incus::sys
