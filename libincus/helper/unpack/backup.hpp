// SPDX-License-Identifier: Apache-2.0
// Backups of instances and custom volumes: one tar with backup/index.yaml, then the snapshots, then the volume itself.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "helper/unpack/backup_plan.hpp"
#include "helper/unpack/scan.hpp"

namespace incus::unpack {

inline constexpr std::uint64_t max_index = 8 << 20;
inline constexpr const char *index_name = "backup/index.yaml";

/// Packs to `out`. Enters its sandbox itself, from which only the pool's directory is seen.
void pack_backup(const BackupPlan &plan, int out, int sock, const std::function<void(std::uint64_t)> &written, unsigned threads);

/// backup/index.yaml of an archive; refuses one in which it is not there.
std::string index_of(Blocks &from, const Limits &limits, const std::function<void()> &step);

struct BackupShifts {
  std::string part; ///< a snapshot's name; empty: the volume
  std::vector<std::string> ids;
};
/// Unpacks into `volume` and, by their names, into directories of `snapshots` (-1: the archive must have none). `tree`: a custom volume's.
void extract_backup(Blocks &from, bool tree, const Limits &limits, int volume, int snapshots, const std::vector<BackupShifts> &shifts, const std::function<void()> &step);

} // namespace incus::unpack
