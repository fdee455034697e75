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

/// Who may call a row. What a restricted caller then sees of the answer is the handler's matter.
enum class Access {
  anyone,    ///< also an unknown caller: the handler decides by Request::caller (untrusted view, secrets, public images)
  trusted,   ///< any trusted caller; a restricted one sees only what concerns its projects
  project,   ///< a trusted caller that may use the project asked for
  admin,     ///< a trusted caller that is not restricted
  metrics,   ///< a trusted caller of either kind, or a certificate of type metrics
  local,     ///< only over the unix socket (or in this process)
};

// Every row once: the ids here, the table in rows.cpp, the handlers of the embedding door by the same names.
#define INCUS_ROW_IDS(X) X(server_get) X(instances_get) X(instances_post) X(instance_get) X(instance_put) X(instance_patch) \
   X(instance_post) X(instance_delete) X(instance_state_get) X(instance_state_put) X(instance_exec_post) X(instance_console_get) \
   X(instance_console_delete) X(instance_ready_get) X(snapshots_get) X(snapshots_post) X(snapshot_get) X(snapshot_put) X(snapshot_post) \
   X(snapshot_delete) X(images_get) X(images_post) X(image_get) X(image_put) X(image_delete) X(image_export_get) X(aliases_get) \
   X(aliases_post) X(alias_get) X(alias_put) X(alias_patch) X(alias_post) X(alias_delete) X(profiles_get) X(profiles_post) X(profile_get) X(profile_put) \
   X(profile_patch) X(profile_post) X(profile_delete) X(projects_get) X(project_get) X(pools_get) X(pools_post) X(pool_get) X(pool_put) \
   X(pool_delete) X(pool_resources_get) X(pool_volumes_get) X(operations_get) X(operation_get) X(operation_wait_get) X(operation_delete) \
   X(check_get) X(root_get) X(server_put) X(server_patch) X(certificates_get) X(certificates_post) X(certificate_get) X(certificate_put) \
   X(certificate_patch) X(certificate_delete) X(projects_post) X(project_put) X(project_patch) X(project_post) X(project_delete) \
   X(project_state_get) X(project_access_get) X(warnings_get) X(warning_get) X(warning_put) X(warning_patch) X(warning_delete) \
   X(resources_get) X(metrics_get) X(configuration_get) X(networks_get) X(network_get) X(network_state_get) X(instances_put) \
   X(instance_rebuild_post) X(instance_access_get) X(instance_metadata_get) X(instance_metadata_put) X(instance_metadata_patch) \
   X(instance_templates_get) X(instance_templates_post) X(instance_templates_delete) X(instance_logs_get) X(instance_log_get) \
   X(instance_log_delete) X(exec_outputs_get) X(exec_output_get) X(exec_output_delete) X(instance_console_post) X(instance_files_get) \
   X(instance_files_head) X(instance_files_post) X(instance_files_delete) X(instance_sftp_get) X(snapshot_patch) X(image_patch) \
   X(image_secret_post) X(image_export_post) X(image_refresh_post) X(pool_patch) X(pool_volumes_type_get) X(volume_get) X(volume_put) \
   X(volume_patch) X(volume_state_get) X(volume_snapshots_get) X(volume_snapshot_get) X(buckets_get) X(operation_websocket_get) \
   X(events_get) X(internal_ready_get) X(internal_shutdown_put) X(internal_sql_get) X(internal_sql_post) X(internal_gc_get) \
   X(internal_warnings_post) X(internal_bgp_get) X(recover_validate_post) X(recover_import_post) \
   X(pool_volumes_post) X(pool_volumes_type_post) X(volume_post) X(volume_delete) X(volume_snapshots_post) X(volume_snapshot_put) \
   X(volume_snapshot_patch) X(volume_snapshot_post) X(volume_snapshot_delete) X(backups_get) X(backups_post) X(backup_get) X(backup_post) X(backup_delete) \
   X(backup_export_get) X(volume_backups_get) X(volume_backups_post) X(volume_backup_get) X(volume_backup_post) X(volume_backup_delete) \
   X(volume_backup_export_get)

enum class RowId {
#define X(name) name,
  INCUS_ROW_IDS(X)
#undef X
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
/// What GET /1.0 announces in api_extensions (extensions.cpp).
std::span<const char *const> extensions() noexcept;

/// The row and the decoded placeholders for a method and path; nothing when no row matches. `path_known` tells
/// whether the path exists under another method.
struct Match {
  const Row *row;
  std::vector<std::string> values;
};
std::optional<Match> match(std::string_view method, std::string_view path, bool *path_known = nullptr);

} // namespace incus::api
