// SPDX-License-Identifier: Apache-2.0
/// \file
/// Storage pools and volumes (REST: /1.0/storage-pools).
#pragma once
#include <incus/types.hpp>

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

/// A volume as the REST API shows it (GET /1.0/storage-pools/{pool}/volumes).
struct StorageVolumeInfo {
  Config config;
  std::string description;
  std::string name;
  std::string type;         ///< "container", "virtual-machine", "image" or "custom"
  std::vector<std::string> used_by;
  std::string location;
  std::string content_type; ///< "filesystem" or "block"
  std::string project;
  Time created_at;
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
  /// GET .../volumes?recursion=1.
  std::vector<StorageVolumeInfo> volumes() const;
  /// DELETE; refused while anything but cached images uses it.
  void remove();

private:
  std::shared_ptr<api::Session> session_;
  std::string name_;
};

} // namespace v0
} // namespace incus
