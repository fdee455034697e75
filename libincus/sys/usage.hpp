// SPDX-License-Identifier: Apache-2.0
// What a control group has used, for metrics: more than an instance's state needs.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sys/cgroup.hpp"

namespace incus::sys {

struct Usage {
  struct Cpu {
    std::int64_t user = 0, system = 0; ///< nanoseconds
  };
  struct Disk {
    std::uint64_t read_bytes = 0, reads = 0, written_bytes = 0, writes = 0;
  };
  std::map<int, Cpu> cpus;                       ///< by number; the unified hierarchy counts all as number 0
  int effective_cpus = 0;                        ///< 0: not known
  std::map<std::string, std::uint64_t> memory;   ///< by the names of memory.stat in version 2, as far as they are counted
  std::int64_t oom_kills = 0;
  std::map<std::string, Disk> disks;             ///< by device name
};

/// The whole, of one group. `devices` as from block_devices().
Usage read_usage(const CgroupTree &tree, const std::map<std::string, std::string> &devices);
/// How many CPUs its processes may run on; 0: not known.
int effective_cpus(const CgroupTree &tree);
/// "MAJOR:MINOR" -> name, from the text of /proc/partitions.
std::map<std::string, std::string> block_devices(std::string_view partitions);

// The texts it is read from.
std::map<int, Usage::Cpu> parse_cpus_v1(std::string_view usage_all);
std::map<int, Usage::Cpu> parse_cpus_v2(std::string_view cpu_stat);
std::map<std::string, std::uint64_t> parse_memory(std::string_view stat, bool v2);
int count_cpus(std::string_view set);
void parse_disks_v1(std::string_view bytes, std::string_view operations, const std::map<std::string, std::string> &devices, std::map<std::string, Usage::Disk> &out);
void parse_disks_v2(std::string_view stat, const std::map<std::string, std::string> &devices, std::map<std::string, Usage::Disk> &out);

} // namespace incus::sys
