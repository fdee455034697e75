// SPDX-License-Identifier: Apache-2.0
// Samples as OpenMetrics text, and those of the last seconds.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <incus/instance.hpp>

#include "sys/usage.hpp"

namespace incus::embed {

/// The order of the families in the text; names and help are in metrics_text.cpp.
enum class Family {
  cpu_seconds,
  cpu_effective,
  disk_read_bytes,
  disk_reads,
  disk_written_bytes,
  disk_writes,
  filesystem_avail,
  filesystem_free,
  filesystem_size,
  memory_active_anon,
  memory_active_file,
  memory_active,
  memory_cached,
  memory_dirty,
  memory_inactive_anon,
  memory_inactive_file,
  memory_inactive,
  memory_mapped,
  memory_available,
  memory_free,
  memory_total,
  memory_rss,
  memory_shmem,
  memory_swap,
  memory_unevictable,
  memory_writeback,
  memory_oom_kills,
  network_receive_bytes,
  network_receive_drop,
  network_receive_errs,
  network_receive_packets,
  network_transmit_bytes,
  network_transmit_drop,
  network_transmit_errs,
  network_transmit_packets,
  procs,
  operations,
  warnings,
  uptime,
  end,
};

using Labels = std::map<std::string, std::string>;
struct Sample {
  Family family;
  Labels labels;
  double value;
};
using Samples = std::vector<Sample>;

/// OpenMetrics text with its end mark.
std::string metrics_text(const std::vector<const Samples *> &all);

/// File system of a disk device that is a directory of the host.
struct HostFilesystem {
  std::string device, type, path; ///< path: where the guest sees it
  std::uint64_t size = 0, free = 0, available = 0;
};
/// `mountinfo` as the kernel writes it.
HostFilesystem host_filesystem(const std::string &source, const std::string &path, const std::string &mountinfo);

/// Samples of one running instance.
void instance_samples(const Labels &who, const InstanceState &state, const sys::Usage &usage, const std::vector<HostFilesystem> &filesystems, Samples &out);

/// Kept for eight seconds a project: scrapers of several projects and of all share them.
struct MetricsCache {
  static constexpr std::chrono::seconds lifetime{8};
  struct Entry {
    std::chrono::steady_clock::time_point until;
    std::shared_ptr<const Samples> samples;
  };
  std::mutex mutex; ///< held while samples are read: callers that come together wait for one reading
  std::map<std::string, Entry> projects;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

} // namespace incus::embed
