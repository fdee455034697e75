// SPDX-License-Identifier: Apache-2.0
// Projects in the store, and which project an object of another one is looked for in.
#pragma once
#include "db/records.hpp"

namespace incus::db {

struct ProjectRow {
  std::int64_t id = 0;
  std::string name, description;
  Config config;
};
std::vector<ProjectRow> projects(Connection &c, const std::optional<std::string> &name = {});
ProjectRow project(Connection &c, const std::string &name); ///< throws not_found
std::int64_t insert_project(Connection &c, const ProjectRow &p);
/// Description and configuration.
void update_project(Connection &c, const ProjectRow &p);
void rename_project(Connection &c, std::int64_t id, const std::string &name);
void delete_project(Connection &c, std::int64_t id);

/// Whose profiles, images or custom volumes a project uses: its own, or those of "default" when the feature ("features.images",
/// "features.profiles", "features.storage.volumes") is not set for it. A project that does not exist is its own.
std::string project_of(Connection &c, const std::string &project, const char *feature);

/// The images of another project that this one uses come with its own "default" profile.
void use_default_profile(Connection &c, const std::string &project);

/// URLs of what is in the project itself: instances, images, networks, profiles, buckets and custom volumes.
std::vector<std::string> project_used_by(Connection &c, const ProjectRow &p);

} // namespace incus::db
