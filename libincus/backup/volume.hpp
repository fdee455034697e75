// SPDX-License-Identifier: Apache-2.0
// Archives of custom volumes.
#pragma once
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

/// `compression` as image::check_compression() gives it.
void write_volume(const VolumeContext &c, const storage::VolumeName &volume, bool snapshots, const std::string &compression, int out, const instance::Report &report);

/// What a volume's backup says of itself, checked against itself.
struct VolumeImport {
  db::VolumeFull volume; ///< name, description, configuration
  std::vector<db::VolumeSnapshotRow> snapshots;
  std::string shifts; ///< instance::backup_shifts() of all
};
VolumeImport check_volume(const instance::BackupIndex &index);
void import_volume(const VolumeContext &c, const VolumeImport &import, int archive, const instance::Report &report);

} // namespace incus::backup
