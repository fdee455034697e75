// SPDX-License-Identifier: Apache-2.0
/// \file
/// Projects (REST: /1.0/projects).
#pragma once
#include <incus/types.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// A project as the REST API shows it.
struct ProjectInfo {
  Config config;
  std::string description;
  std::string name;
  std::vector<std::string> used_by;
};

/// A name space for instances, images and profiles. A handle: cheap to copy, thread-safe.
class INCUS_EXPORT Project {
public:
  Project(std::shared_ptr<api::Session> session, std::string name);
  const std::string &name() const { return name_; }
  /// GET /1.0/projects/{name}.
  ProjectInfo info(Etag *etag = nullptr) const;

private:
  std::shared_ptr<api::Session> session_;
  std::string name_;
};

} // namespace v0
} // namespace incus
