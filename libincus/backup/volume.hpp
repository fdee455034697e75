// SPDX-License-Identifier: Apache-2.0
// Archives of custom volumes.
#pragma once
#include <map>
#include <string>

#include "instance/manager.hpp"
#include "storage/custom.hpp"

namespace incus::backup {

struct VolumeContext {
  db::Connection &global;
  storage::Pools &pools;
  storage::CustomVolumes &volumes;
  std::string helper; ///< incus-unpack
};

void write_volume(const VolumeContext &c, const storage::VolumeName &volume, const instance::Manager::BackupWish &wish, int out, const instance::Report &report);

/// What a volume's backup says of itself, checked against itself.
struct VolumeImport {
  db::VolumeFull volume; ///< name, description, configuration
  std::vector<db::VolumeSnapshotRow> snapshots;
  std::string shifts; ///< instance::backup_shifts() of all
  bool optimized = false;
  std::vector<storage::StreamPart> parts;         ///< of one that is
  std::map<std::string, storage::IdMap> owners; ///< as `shifts`
};
/// `header`: backup/optimized_header.yaml of an optimised one; `pool_driver`: of the pool where it goes.
VolumeImport check_volume(const instance::BackupIndex &index, const std::string &header, const std::string &pool_driver);
void import_volume(const VolumeContext &c, const VolumeImport &import, int archive, const instance::Report &report);

} // namespace incus::backup
