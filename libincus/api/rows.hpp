// SPDX-License-Identifier: Apache-2.0
// Every API operation as one row. REST routes, remote calls and typed methods derive from this table.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace incus::api {

enum class Kind {
  sync,      ///< answers at once
  async,     ///< answers with an operation
  stream,    ///< carries bytes beside JSON
};

enum class Access {
  trusted,   ///< any trusted caller of the project
  admin,     ///< only who may change the server itself
};

enum class RowId {
  server_get,
  instances_get,
  instances_post,
  instance_get,
  instance_put,
  instance_patch,
  instance_post,
  instance_delete,
  instance_state_get,
  instance_state_put,
  instance_exec_post,
  instance_console_get,
  instance_console_delete,
  instance_ready_get,
  snapshots_get,
  snapshots_post,
  snapshot_get,
  snapshot_put,
  snapshot_post,
  snapshot_delete,
  images_get,
  images_post,
  image_get,
  image_put,
  image_delete,
  image_export_get,
  aliases_get,
  aliases_post,
  alias_get,
  alias_put,
  alias_post,
  alias_delete,
  profiles_get,
  profiles_post,
  profile_get,
  profile_put,
  profile_patch,
  profile_post,
  profile_delete,
  projects_get,
  project_get,
  pools_get,
  pools_post,
  pool_get,
  pool_put,
  pool_delete,
  pool_resources_get,
  pool_volumes_get,
  operations_get,
  operation_get,
  operation_wait_get,
  operation_delete,
  check_get,
};

struct Row {
  RowId id;
  const char *method;
  const char *path;    ///< placeholders in braces
  Kind kind;
  Access access;
  const char *request; ///< record of the body, "" for none
  const char *reply;   ///< record of the answer's metadata, "" for none
};

std::span<const Row> rows() noexcept;
const Row &row(RowId id) noexcept;

/// The row and the decoded placeholders for a method and path; nothing when no row matches. `path_known` tells
/// whether the path exists under another method.
struct Match {
  const Row *row;
  std::vector<std::string> values;
};
std::optional<Match> match(std::string_view method, std::string_view path, bool *path_known = nullptr);

} // namespace incus::api
