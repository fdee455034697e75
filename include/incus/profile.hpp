// SPDX-License-Identifier: Apache-2.0
/// \file
/// Profiles (REST: /1.0/profiles).
#pragma once
#include <incus/operation.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// What can be changed of a profile (PUT /1.0/profiles/{name}).
struct ProfileUpdate {
  Config config;
  std::string description;
  Devices devices;
};

/// POST /1.0/profiles.
struct ProfileCreate {
  std::string name;
  Config config;
  std::string description;
  Devices devices;
};

/// A profile as the REST API shows it.
struct ProfileInfo {
  Config config;
  std::string description;
  Devices devices;
  std::string name;
  std::vector<std::string> used_by; ///< URLs of instances that apply it
  std::string project;
};

/// A named set of configuration and devices that instances apply in order. A handle: cheap to copy,
/// thread-safe, valid as long as its Host is open; it does not prove that the profile exists.
class INCUS_EXPORT Profile {
public:
  Profile(std::shared_ptr<api::Session> session, std::string project, std::string name);
  const std::string &name() const { return name_; }
  /// GET /1.0/profiles/{name}; `etag`, when given, receives the version for a later if_match.
  ProfileInfo info(Etag *etag = nullptr) const;
  /// PUT: replaces config, description and devices. Every instance that applies the profile is validated
  /// first and updated live where it runs.
  void update(const ProfileUpdate &to, const Etag &if_match = {});
  /// POST /1.0/profiles/{name}: the handle follows the new name. `default` cannot be renamed.
  void rename(const std::string &new_name);
  /// DELETE; refused while an instance applies it, and for `default`.
  void remove();

private:
  std::shared_ptr<api::Session> session_;
  std::string project_, name_;
};

} // namespace v0
} // namespace incus
