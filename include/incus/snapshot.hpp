// SPDX-License-Identifier: Apache-2.0
/// \file
/// Instance snapshots (REST: /1.0/instances/{name}/snapshots).
#pragma once
#include <incus/operation.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// POST /1.0/instances/{name}/snapshots.
struct SnapshotCreate {
  std::string name;        ///< empty: by `snapshots.pattern`, "snap%d" by default
  bool stateful = false;   ///< not supported for containers yet
  std::optional<Time> expires_at;
};

/// A snapshot as the REST API shows it.
struct SnapshotInfo {
  std::string architecture;
  Config config;
  Time created_at;
  Devices devices;
  bool ephemeral = false;
  Config expanded_config;
  Devices expanded_devices;
  Time expires_at;
  Time last_used_at;
  std::string name;
  std::vector<std::string> profiles;
  bool stateful = false;
  std::int64_t size = -1; ///< bytes, -1: not known
  std::string description;
};

/// A point in time of an instance's disk and configuration. A handle: cheap to copy, thread-safe.
class INCUS_EXPORT Snapshot {
public:
  Snapshot(std::shared_ptr<api::Session> session, std::string project, std::string instance, std::string name);
  const std::string &name() const { return name_; }
  const std::string &instance() const { return instance_; }
  SnapshotInfo info(Etag *etag = nullptr) const;
  /// POST .../snapshots/{snapshot}: the handle follows the new name.
  Operation rename(const std::string &new_name);
  /// PUT: only the expiry can change.
  Operation set_expiry(Time expires_at, const Etag &if_match = {});
  Operation remove();

private:
  std::shared_ptr<api::Session> session_;
  std::string project_, instance_, name_;
};

} // namespace v0
} // namespace incus
