// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <sstream>
#include <sys/statvfs.h>

#include "embed/metrics.hpp"

namespace incus::embed {

namespace {

struct Described {
  const char *name, *type, *help;
};
// In the order of Family.
constexpr std::array<Described, static_cast<std::size_t>(Family::end)> families{{
    {"incus_cpu_seconds_total", "counter", "CPU time used, in seconds."},
    {"incus_cpu_effective_total", "gauge", "CPUs the instance may use."},
    {"incus_disk_read_bytes_total", "counter", "Bytes read from a disk."},
    {"incus_disk_reads_completed_total", "counter", "Reads from a disk that were completed."},
    {"incus_disk_written_bytes_total", "counter", "Bytes written to a disk."},
    {"incus_disk_writes_completed_total", "counter", "Writes to a disk that were completed."},
    {"incus_filesystem_avail_bytes", "gauge", "Space that is left to users, in bytes."},
    {"incus_filesystem_free_bytes", "gauge", "Space that is not in use, in bytes."},
    {"incus_filesystem_size_bytes", "gauge", "Size of the file system, in bytes."},
    {"incus_memory_Active_anon_bytes", "gauge", "Anonymous memory on the active list."},
    {"incus_memory_Active_file_bytes", "gauge", "Memory of files on the active list."},
    {"incus_memory_Active_bytes", "gauge", "Memory on the active list."},
    {"incus_memory_Cached_bytes", "gauge", "Memory that caches files."},
    {"incus_memory_Dirty_bytes", "gauge", "Memory that waits to be written to disk."},
    {"incus_memory_Inactive_anon_bytes", "gauge", "Anonymous memory on the inactive list."},
    {"incus_memory_Inactive_file_bytes", "gauge", "Memory of files on the inactive list."},
    {"incus_memory_Inactive_bytes", "gauge", "Memory on the inactive list."},
    {"incus_memory_Mapped_bytes", "gauge", "Memory of mapped files."},
    {"incus_memory_MemAvailable_bytes", "gauge", "Memory that can be had without swapping."},
    {"incus_memory_MemFree_bytes", "gauge", "Memory that is not in use."},
    {"incus_memory_MemTotal_bytes", "gauge", "Memory the instance may use."},
    {"incus_memory_RSS_bytes", "gauge", "Anonymous memory."},
    {"incus_memory_Shmem_bytes", "gauge", "Shared memory and memory of tmpfs."},
    {"incus_memory_Swap_bytes", "gauge", "Swap in use."},
    {"incus_memory_Unevictable_bytes", "gauge", "Memory that cannot be reclaimed."},
    {"incus_memory_Writeback_bytes", "gauge", "Memory that is being written to disk."},
    {"incus_memory_OOM_kills_total", "counter", "Processes killed because memory ran out."},
    {"incus_network_receive_bytes_total", "counter", "Bytes received on an interface."},
    {"incus_network_receive_drop_total", "counter", "Received packets that were dropped."},
    {"incus_network_receive_errs_total", "counter", "Errors while receiving."},
    {"incus_network_receive_packets_total", "counter", "Packets received on an interface."},
    {"incus_network_transmit_bytes_total", "counter", "Bytes sent on an interface."},
    {"incus_network_transmit_drop_total", "counter", "Packets to send that were dropped."},
    {"incus_network_transmit_errs_total", "counter", "Errors while sending."},
    {"incus_network_transmit_packets_total", "counter", "Packets sent on an interface."},
    {"incus_procs_total", "gauge", "Processes that run."},
    {"incus_operations_total", "counter", "Operations the server knows."},
    {"incus_warnings_total", "counter", "Warnings the server has."},
    {"incus_uptime_seconds", "counter", "How long the server has been up, in seconds."},
}};

std::string escaped(const std::string &value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

std::string number(double v) {
  if (std::floor(v) == v && std::fabs(v) < 9e15) return std::to_string(static_cast<std::int64_t>(v));
  return fmt::format("{}", v);
}

/// \040 and the like in mountinfo.
std::string unescape(const std::string &t) {
  std::string out;
  for (std::size_t i = 0; i < t.size(); i++) {
    if (t[i] == '\\' && i + 3 < t.size()) {
      out += static_cast<char>((t[i + 1] - '0') * 64 + (t[i + 2] - '0') * 8 + (t[i + 3] - '0'));
      i += 3;
    } else {
      out += t[i];
    }
  }
  return out;
}

} // namespace

std::string metrics_text(const std::vector<const Samples *> &all) {
  std::array<std::string, families.size()> bodies;
  for (auto *samples : all)
    for (auto &s : *samples) {
      auto &out = bodies[static_cast<std::size_t>(s.family)];
      out += families[static_cast<std::size_t>(s.family)].name;
      if (!s.labels.empty()) {
        char before = '{';
        for (auto &[k, v] : s.labels) {
          out += fmt::format("{}{}=\"{}\"", before, k, escaped(v));
          before = ',';
        }
        out += '}';
      }
      out += ' ' + number(s.value) + '\n';
    }
  std::string text;
  for (std::size_t i = 0; i < bodies.size(); i++) {
    if (bodies[i].empty()) continue;
    auto &f = families[i];
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", f.name, f.help, f.name, f.type) + bodies[i];
  }
  return text + "# EOF\n";
}

HostFilesystem host_filesystem(const std::string &source, const std::string &path, const std::string &mountinfo) {
  HostFilesystem f;
  f.device = source;
  f.path = path;
  struct statvfs st{};
  if (::statvfs(source.c_str(), &st) == 0) {
    f.size = static_cast<std::uint64_t>(st.f_blocks) * st.f_frsize;
    f.free = static_cast<std::uint64_t>(st.f_bfree) * st.f_frsize;
    f.available = static_cast<std::uint64_t>(st.f_bavail) * st.f_frsize;
  }
  // The longest mount point above the source; its device only when the source is that mount.
  std::istringstream in(mountinfo);
  std::size_t best = 0;
  for (std::string line; std::getline(in, line);) {
    auto dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::istringstream head(line.substr(0, dash)), tail(line.substr(dash + 3));
    std::string id, parent, number, root, point, type, device;
    head >> id >> parent >> number >> root >> point;
    tail >> type >> device;
    point = unescape(point);
    bool above = source == point || point == "/" || source.starts_with(point + "/");
    if (!above || point.size() < best) continue;
    best = point.size();
    f.type = type;
    f.device = source == point ? unescape(device) : source;
  }
  return f;
}

void instance_samples(const Labels &who, const InstanceState &state, const sys::Usage &usage, const std::vector<HostFilesystem> &filesystems, Samples &out) {
  auto add = [&](Family f, auto value, const Labels &more = {}) {
    auto labels = who;
    labels.insert(more.begin(), more.end());
    out.push_back({f, std::move(labels), static_cast<double>(value)});
  };
  for (auto &[n, c] : usage.cpus) {
    add(Family::cpu_seconds, static_cast<double>(c.system) / 1e9, {{"cpu", std::to_string(n)}, {"mode", "system"}});
    add(Family::cpu_seconds, static_cast<double>(c.user) / 1e9, {{"cpu", std::to_string(n)}, {"mode", "user"}});
  }
  if (usage.effective_cpus > 0) add(Family::cpu_effective, usage.effective_cpus);
  for (auto &[device, d] : usage.disks) {
    Labels on{{"device", device}};
    add(Family::disk_read_bytes, d.read_bytes, on);
    add(Family::disk_reads, d.reads, on);
    add(Family::disk_written_bytes, d.written_bytes, on);
    add(Family::disk_writes, d.writes, on);
  }
  for (auto &f : filesystems) {
    Labels on{{"device", f.device}, {"fstype", f.type}, {"mountpoint", f.path}};
    add(Family::filesystem_avail, f.available, on);
    add(Family::filesystem_free, f.free, on);
    add(Family::filesystem_size, f.size, on);
  }
  struct Kind {
    Family family;
    const char *key;
  };
  static constexpr Kind kinds[] = {{Family::memory_active_anon, "active_anon"}, {Family::memory_active_file, "active_file"}, {Family::memory_active, "active"},
                                   {Family::memory_cached, "file"},             {Family::memory_dirty, "file_dirty"},        {Family::memory_inactive_anon, "inactive_anon"},
                                   {Family::memory_inactive_file, "inactive_file"}, {Family::memory_inactive, "inactive"},   {Family::memory_mapped, "file_mapped"},
                                   {Family::memory_rss, "anon"},                {Family::memory_shmem, "shmem"},             {Family::memory_unevictable, "unevictable"},
                                   {Family::memory_writeback, "file_writeback"}};
  std::uint64_t cached = 0;
  for (auto &k : kinds) {
    auto it = usage.memory.find(k.key);
    if (it == usage.memory.end()) continue;
    add(k.family, it->second);
    if (k.family == Family::memory_cached) cached = it->second;
  }
  if (state.memory.total > 0) {
    auto free = std::max<std::int64_t>(0, state.memory.total - state.memory.usage);
    add(Family::memory_available, std::min<std::int64_t>(state.memory.total, free + static_cast<std::int64_t>(cached)));
    add(Family::memory_free, free);
    add(Family::memory_total, state.memory.total);
  }
  add(Family::memory_swap, state.memory.swap_usage);
  add(Family::memory_oom_kills, usage.oom_kills);
  for (auto &[device, n] : state.network) {
    Labels on{{"device", device}};
    auto &c = n.counters;
    add(Family::network_receive_bytes, c.bytes_received, on);
    add(Family::network_receive_drop, c.packets_dropped_inbound, on);
    add(Family::network_receive_errs, c.errors_received, on);
    add(Family::network_receive_packets, c.packets_received, on);
    add(Family::network_transmit_bytes, c.bytes_sent, on);
    add(Family::network_transmit_drop, c.packets_dropped_outbound, on);
    add(Family::network_transmit_errs, c.errors_sent, on);
    add(Family::network_transmit_packets, c.packets_sent, on);
  }
  if (state.processes >= 0) add(Family::procs, state.processes);
}

} // namespace incus::embed
