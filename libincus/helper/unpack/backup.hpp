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
inline constexpr const char *index_name = "backup/index.yaml", *header_name = "backup/optimized_header.yaml";

/// Packs to `out`. Enters its sandbox itself, from which only the pool's directory is seen.
/// `spool`: a file for what streams are kept in until their size is known; -1 where there are none.
void pack_backup(const BackupPlan &plan, int out, int spool, int sock, const std::function<void(std::uint64_t)> &written, unsigned threads);

/// backup/index.yaml (or another file) of an archive; refuses one in which it is not there.
std::string index_of(Blocks &from, const std::string &name, const Limits &limits, const std::function<void()> &step);

struct BackupShifts {
  std::string part; ///< a snapshot's name; empty: the volume
  std::vector<std::string> ids;
};
/// What the main entries of an archive are.
enum class Kind { instance, tree, block, iso };
/// Unpacks into `volume` and, by their names, into directories of `snapshots` (-1: the archive must have none).
void extract_backup(Blocks &from, Kind kind, const Limits &limits, int volume, int snapshots, const std::vector<BackupShifts> &shifts, const std::function<void()> &step);

/// Receives the streams of an optimised backup as subvolumes "0", "1"... of `target`, by their places in the list. They may build on each other alone.
void receive_streams(Blocks &from, const std::vector<std::string> &files, const Limits &limits, int target, const std::function<void()> &step);
/// The stream of a subvolume, as the difference from `base` (-1: from nothing), into a file, from its beginning.
void spool_stream(int subvolume, int base, int spool);

} // namespace incus::unpack
