// SPDX-License-Identifier: Apache-2.0
/// \file
/// Storage pools (REST: /1.0/storage-pools).
#pragma once
#include <incus/volume.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// POST /1.0/storage-pools.
struct StoragePoolCreate {
  std::string name;
  std::string driver; ///< "dir" or "overlay"
  std::string description;
  Config config;      ///< `source`: an existing empty directory to use instead of storage-pools/NAME
};

/// PUT /1.0/storage-pools/{name}.
struct StoragePoolUpdate {
  Config config;
  std::string description;
};

/// A pool as the REST API shows it.
struct StoragePoolInfo {
  Config config;
  std::string description;
  std::string name;
  std::string driver;
  std::vector<std::string> used_by; ///< URLs of instances, images, volumes and profiles on it
  std::string status;               ///< "Created", "Pending", "Errored"
  std::vector<std::string> locations;
};

/// Space and inodes in bytes and counts (GET /1.0/storage-pools/{name}/resources).
struct StoragePoolResources {
  struct Space {
    std::uint64_t used = 0, total = 0;
  };
  Space space, inodes;
};

/// A place that volumes live in. A handle: cheap to copy, thread-safe.
class INCUS_EXPORT StoragePool {
public:
  StoragePool(std::shared_ptr<api::Session> session, std::string name);
  const std::string &name() const { return name_; }
  StoragePoolInfo info(Etag *etag = nullptr) const;
  /// PUT: keys that cannot change on a live pool (source) are refused by name.
  void update(const StoragePoolUpdate &to, const Etag &if_match = {});
  /// GET .../resources.
  StoragePoolResources resources() const;
  /// GET .../volumes?recursion=1: of every type, snapshots among them.
  std::vector<StorageVolumeInfo> volumes(const std::string &project = "default") const;
  /// A custom volume.
  StorageVolume volume(const std::string &volume_name, const std::string &project = "default") const;
  /// Makes an empty custom volume (POST .../volumes/custom). Errors: already_exists, invalid_argument.
  StorageVolume create_volume(const StorageVolumeCreate &request, const std::string &project = "default");
  /// Makes a custom volume of a backup that a descriptor gives until its end; nothing is held in memory. `volume_name`: empty: as it was
  /// called. Errors: already_exists, corrupt, invalid_argument (no backup of a volume), no_space.
  Operation import_volume(int from_fd, const std::string &volume_name = {}, const std::string &project = "default");
  Operation import_volume(const std::string &path, const std::string &volume_name = {}, const std::string &project = "default");
  /// Makes a custom volume of content iso of what a descriptor gives until its end.
  Operation import_iso(int from_fd, const std::string &volume_name, const std::string &project = "default");
  /// DELETE; refused while anything but cached images uses it.
  void remove();

private:
  std::shared_ptr<api::Session> session_;
  std::string name_;
};

} // namespace v0
} // namespace incus
