// SPDX-License-Identifier: Apache-2.0
// The configuration keys of the server and of projects.
#pragma once
#include <chrono>
#include <optional>

#include "schema/schema.hpp"

namespace incus::embed {

/// Keys of /1.0 that are the same on every member, and those that belong to this one (kept in local.db).
std::span<const schema::Key> server_keys() noexcept;
std::span<const schema::Key> local_server_keys() noexcept;
std::span<const schema::Key> project_keys() noexcept;

/// Throws invalid_argument for an unknown key or a bad value, not_supported for a key of Incus that does nothing here.
void validate_server_config(const Config &config);
void validate_project_config(const Config &config, const std::string &name);

struct Feature {
  const char *key;
  bool by_default;          ///< set for a new project that does not say
  bool can_enable_nonempty; ///< may be turned on while the project holds something
};
std::span<const Feature> project_features() noexcept;

/// "1H 30M", "2d", "5S": a calendar span after `from`. Nothing when the text is not one.
std::optional<Time> time_after(Time from, std::string_view span);

} // namespace incus::embed
