// SPDX-License-Identifier: Apache-2.0
// Optimised backups: which stream of an archive is what. backup/optimized_header.yaml lists them, their files are named by rules that Incus has made.
#pragma once
#include <string>
#include <vector>

#include "helper/unpack/backup_plan.hpp"
#include "instance/backup_config.hpp"
#include "storage/driver.hpp"

namespace incus::instance {

inline constexpr const char *streams_header_name = "backup/optimized_header.yaml";

std::string format_streams(const std::vector<storage::StreamPart> &parts);
/// Throws corrupt: unless every path is one in a volume, every snapshot one of those named, and each of them and the volume itself is there once,
/// before what lies in it.
std::vector<storage::StreamPart> parse_streams(const std::string &yaml, const std::vector<std::string> &snapshots);
/// What an archive without a header holds.
std::vector<storage::StreamPart> plain_streams(const std::vector<std::string> &snapshots);
/// The files of the parts; throws corrupt when two would have one name. `custom`: of a volume, not of an instance.
std::vector<std::string> stream_files(const std::vector<storage::StreamPart> &parts, bool custom);

/// The parts of a plan that are streams, with the header that lists them.
void add_streams(unpack::BackupPlan &plan, const storage::Replication::Outgoing &streams, bool custom);
using BackupProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;
/// Packs a plan into a file; `helper`: incus-unpack. What streams are kept in until their size is known lies, without a name, where the file does.
void pack_backup(const std::string &helper, const unpack::BackupPlan &plan, int out, const BackupProgress &progress);

/// Of an optimised backup: what it must hold, and refuses one of another driver than the pool's.
std::vector<storage::StreamPart> streams_of(const BackupIndex &index, const std::string &header, const std::string &pool_driver);
/// Receives them into a directory.
void receive_streams(const std::string &helper, int archive, const std::vector<std::string> &files, int dirfd, const BackupProgress &progress);

} // namespace incus::instance
