// SPDX-License-Identifier: Apache-2.0
#include "api/rows.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::api {

namespace {

constexpr Row table[] = {
    {RowId::server_get, "GET", "/1.0", Kind::sync, Access::anyone, "", "ServerInfo"},
    {RowId::root_get, "GET", "/", Kind::sync, Access::anyone, "", ""},
    {RowId::server_put, "PUT", "/1.0", Kind::sync, Access::admin, "ServerUpdate", ""},
    {RowId::server_patch, "PATCH", "/1.0", Kind::sync, Access::admin, "ServerUpdate", ""},
    {RowId::events_get, "GET", "/1.0/events", Kind::stream, Access::trusted, "", ""},
    {RowId::resources_get, "GET", "/1.0/resources", Kind::sync, Access::trusted, "", "Resources"},
    {RowId::metrics_get, "GET", "/1.0/metrics", Kind::stream, Access::metrics, "", ""},
    {RowId::configuration_get, "GET", "/1.0/metadata/configuration", Kind::sync, Access::anyone, "", ""},
    {RowId::certificates_get, "GET", "/1.0/certificates", Kind::sync, Access::trusted, "", "CertificateInfo[]"},
    {RowId::certificates_post, "POST", "/1.0/certificates", Kind::sync, Access::anyone, "CertificateCreate", ""},
    {RowId::certificate_get, "GET", "/1.0/certificates/{fingerprint}", Kind::sync, Access::trusted, "", "CertificateInfo"},
    {RowId::certificate_put, "PUT", "/1.0/certificates/{fingerprint}", Kind::sync, Access::trusted, "CertificateUpdate", ""},
    {RowId::certificate_patch, "PATCH", "/1.0/certificates/{fingerprint}", Kind::sync, Access::trusted, "CertificateUpdate", ""},
    {RowId::certificate_delete, "DELETE", "/1.0/certificates/{fingerprint}", Kind::sync, Access::trusted, "", ""},
    {RowId::warnings_get, "GET", "/1.0/warnings", Kind::sync, Access::admin, "", "WarningInfo[]"},
    {RowId::warning_get, "GET", "/1.0/warnings/{uuid}", Kind::sync, Access::admin, "", "WarningInfo"},
    {RowId::warning_put, "PUT", "/1.0/warnings/{uuid}", Kind::sync, Access::admin, "WarningUpdate", ""},
    {RowId::warning_patch, "PATCH", "/1.0/warnings/{uuid}", Kind::sync, Access::admin, "WarningUpdate", ""},
    {RowId::warning_delete, "DELETE", "/1.0/warnings/{uuid}", Kind::sync, Access::admin, "", ""},
    {RowId::networks_get, "GET", "/1.0/networks", Kind::sync, Access::project, "", "NetworkInfo[]"},
    {RowId::network_get, "GET", "/1.0/networks/{name}", Kind::sync, Access::project, "", "NetworkInfo"},
    {RowId::network_state_get, "GET", "/1.0/networks/{name}/state", Kind::sync, Access::project, "", "NetworkState"},
    {RowId::instances_get, "GET", "/1.0/instances", Kind::sync, Access::project, "", "InstanceInfo[]"},
    {RowId::instances_post, "POST", "/1.0/instances", Kind::async, Access::project, "InstanceCreate", ""},
    {RowId::instances_put, "PUT", "/1.0/instances", Kind::async, Access::project, "InstancesStateChange", ""},
    {RowId::instance_get, "GET", "/1.0/instances/{name}", Kind::sync, Access::project, "", "InstanceInfo"},
    {RowId::instance_put, "PUT", "/1.0/instances/{name}", Kind::async, Access::project, "InstanceUpdate", ""},
    {RowId::instance_patch, "PATCH", "/1.0/instances/{name}", Kind::sync, Access::project, "InstanceUpdate", ""},
    {RowId::instance_post, "POST", "/1.0/instances/{name}", Kind::async, Access::project, "Rename", ""},
    {RowId::instance_delete, "DELETE", "/1.0/instances/{name}", Kind::async, Access::project, "", ""},
    {RowId::instance_state_get, "GET", "/1.0/instances/{name}/state", Kind::sync, Access::project, "", "InstanceState"},
    {RowId::instance_state_put, "PUT", "/1.0/instances/{name}/state", Kind::async, Access::project, "InstanceStateChange", ""},
    {RowId::instance_rebuild_post, "POST", "/1.0/instances/{name}/rebuild", Kind::async, Access::project, "InstanceRebuild", ""},
    {RowId::instance_access_get, "GET", "/1.0/instances/{name}/access", Kind::sync, Access::project, "", ""},
    {RowId::instance_metadata_get, "GET", "/1.0/instances/{name}/metadata", Kind::sync, Access::project, "", "ImageMetadata"},
    {RowId::instance_metadata_put, "PUT", "/1.0/instances/{name}/metadata", Kind::sync, Access::project, "ImageMetadata", ""},
    {RowId::instance_metadata_patch, "PATCH", "/1.0/instances/{name}/metadata", Kind::sync, Access::project, "ImageMetadata", ""},
    {RowId::instance_templates_get, "GET", "/1.0/instances/{name}/metadata/templates", Kind::stream, Access::project, "", ""},
    {RowId::instance_templates_post, "POST", "/1.0/instances/{name}/metadata/templates", Kind::stream, Access::project, "", ""},
    {RowId::instance_templates_delete, "DELETE", "/1.0/instances/{name}/metadata/templates", Kind::sync, Access::project, "", ""},
    {RowId::instance_logs_get, "GET", "/1.0/instances/{name}/logs", Kind::sync, Access::project, "", ""},
    {RowId::exec_outputs_get, "GET", "/1.0/instances/{name}/logs/exec-output", Kind::sync, Access::project, "", ""},
    {RowId::exec_output_get, "GET", "/1.0/instances/{name}/logs/exec-output/{file}", Kind::stream, Access::project, "", ""},
    {RowId::exec_output_delete, "DELETE", "/1.0/instances/{name}/logs/exec-output/{file}", Kind::sync, Access::project, "", ""},
    {RowId::instance_log_get, "GET", "/1.0/instances/{name}/logs/{file}", Kind::stream, Access::project, "", ""},
    {RowId::instance_log_delete, "DELETE", "/1.0/instances/{name}/logs/{file}", Kind::sync, Access::project, "", ""},
    {RowId::instance_files_get, "GET", "/1.0/instances/{name}/files", Kind::stream, Access::project, "", ""},
    {RowId::instance_files_head, "HEAD", "/1.0/instances/{name}/files", Kind::stream, Access::project, "", ""},
    {RowId::instance_files_post, "POST", "/1.0/instances/{name}/files", Kind::stream, Access::project, "", ""},
    {RowId::instance_files_delete, "DELETE", "/1.0/instances/{name}/files", Kind::sync, Access::project, "", ""},
    {RowId::instance_sftp_get, "GET", "/1.0/instances/{name}/sftp", Kind::stream, Access::project, "", ""},
    {RowId::instance_console_post, "POST", "/1.0/instances/{name}/console", Kind::async, Access::project, "ConsoleRequest", ""},
    {RowId::instance_exec_post, "POST", "/1.0/instances/{name}/exec", Kind::async, Access::project, "ExecRequest", ""},
    {RowId::instance_console_get, "GET", "/1.0/instances/{name}/console", Kind::stream, Access::project, "", ""},
    {RowId::instance_console_delete, "DELETE", "/1.0/instances/{name}/console", Kind::sync, Access::project, "", ""},
    {RowId::instance_ready_get, "GET", "/1.0/instances/{name}/ready", Kind::sync, Access::project, "", ""},
    {RowId::snapshots_get, "GET", "/1.0/instances/{name}/snapshots", Kind::sync, Access::project, "", "SnapshotInfo[]"},
    {RowId::snapshots_post, "POST", "/1.0/instances/{name}/snapshots", Kind::async, Access::project, "SnapshotCreate", ""},
    {RowId::snapshot_get, "GET", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::sync, Access::project, "", "SnapshotInfo"},
    {RowId::snapshot_put, "PUT", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::project, "SnapshotUpdate", ""},
    {RowId::snapshot_patch, "PATCH", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::project, "SnapshotUpdate", ""},
    {RowId::snapshot_post, "POST", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::project, "Rename", ""},
    {RowId::snapshot_delete, "DELETE", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::project, "", ""},
    {RowId::backups_get, "GET", "/1.0/instances/{name}/backups", Kind::sync, Access::project, "", "Backup[]"},
    {RowId::backups_post, "POST", "/1.0/instances/{name}/backups", Kind::async, Access::project, "BackupCreate", ""},
    {RowId::backup_get, "GET", "/1.0/instances/{name}/backups/{backup}", Kind::sync, Access::project, "", "Backup"},
    {RowId::backup_post, "POST", "/1.0/instances/{name}/backups/{backup}", Kind::async, Access::project, "Rename", ""},
    {RowId::backup_delete, "DELETE", "/1.0/instances/{name}/backups/{backup}", Kind::async, Access::project, "", ""},
    {RowId::backup_export_get, "GET", "/1.0/instances/{name}/backups/{backup}/export", Kind::stream, Access::project, "", ""},
    {RowId::images_get, "GET", "/1.0/images", Kind::sync, Access::anyone, "", "ImageInfo[]"},
    {RowId::images_post, "POST", "/1.0/images", Kind::async, Access::project, "ImageImport", ""},
    {RowId::aliases_get, "GET", "/1.0/images/aliases", Kind::sync, Access::project, "", "ImageAliasInfo[]"},
    {RowId::aliases_post, "POST", "/1.0/images/aliases", Kind::sync, Access::project, "ImageAliasInfo", ""},
    {RowId::alias_get, "GET", "/1.0/images/aliases/{name}", Kind::sync, Access::anyone, "", "ImageAliasInfo"},
    {RowId::alias_put, "PUT", "/1.0/images/aliases/{name}", Kind::sync, Access::project, "ImageAliasInfo", ""},
    {RowId::alias_patch, "PATCH", "/1.0/images/aliases/{name}", Kind::sync, Access::project, "ImageAliasInfo", ""},
    {RowId::alias_post, "POST", "/1.0/images/aliases/{name}", Kind::sync, Access::project, "Rename", ""},
    {RowId::alias_delete, "DELETE", "/1.0/images/aliases/{name}", Kind::sync, Access::project, "", ""},
    {RowId::image_get, "GET", "/1.0/images/{fingerprint}", Kind::sync, Access::anyone, "", "ImageInfo"},
    {RowId::image_put, "PUT", "/1.0/images/{fingerprint}", Kind::sync, Access::project, "ImageUpdate", ""},
    {RowId::image_patch, "PATCH", "/1.0/images/{fingerprint}", Kind::sync, Access::project, "ImageUpdate", ""},
    {RowId::image_secret_post, "POST", "/1.0/images/{fingerprint}/secret", Kind::async, Access::project, "", ""},
    {RowId::image_refresh_post, "POST", "/1.0/images/{fingerprint}/refresh", Kind::async, Access::project, "", ""},
    {RowId::image_delete, "DELETE", "/1.0/images/{fingerprint}", Kind::async, Access::project, "", ""},
    {RowId::image_export_get, "GET", "/1.0/images/{fingerprint}/export", Kind::stream, Access::anyone, "", ""},
    {RowId::image_export_post, "POST", "/1.0/images/{fingerprint}/export", Kind::async, Access::project, "ImageExport", ""},
    {RowId::profiles_get, "GET", "/1.0/profiles", Kind::sync, Access::project, "", "ProfileInfo[]"},
    {RowId::profiles_post, "POST", "/1.0/profiles", Kind::sync, Access::project, "ProfileCreate", ""},
    {RowId::profile_get, "GET", "/1.0/profiles/{name}", Kind::sync, Access::project, "", "ProfileInfo"},
    {RowId::profile_put, "PUT", "/1.0/profiles/{name}", Kind::sync, Access::project, "ProfileUpdate", ""},
    {RowId::profile_patch, "PATCH", "/1.0/profiles/{name}", Kind::sync, Access::project, "ProfileUpdate", ""},
    {RowId::profile_post, "POST", "/1.0/profiles/{name}", Kind::sync, Access::project, "Rename", ""},
    {RowId::profile_delete, "DELETE", "/1.0/profiles/{name}", Kind::sync, Access::project, "", ""},
    {RowId::projects_get, "GET", "/1.0/projects", Kind::sync, Access::trusted, "", "ProjectInfo[]"},
    {RowId::project_get, "GET", "/1.0/projects/{name}", Kind::sync, Access::trusted, "", "ProjectInfo"},
    {RowId::projects_post, "POST", "/1.0/projects", Kind::sync, Access::admin, "ProjectCreate", ""},
    {RowId::project_put, "PUT", "/1.0/projects/{name}", Kind::sync, Access::admin, "ProjectUpdate", ""},
    {RowId::project_patch, "PATCH", "/1.0/projects/{name}", Kind::sync, Access::admin, "ProjectUpdate", ""},
    {RowId::project_post, "POST", "/1.0/projects/{name}", Kind::async, Access::admin, "Rename", ""},
    {RowId::project_delete, "DELETE", "/1.0/projects/{name}", Kind::sync, Access::admin, "", ""},
    {RowId::project_state_get, "GET", "/1.0/projects/{name}/state", Kind::sync, Access::trusted, "", "ProjectState"},
    {RowId::project_access_get, "GET", "/1.0/projects/{name}/access", Kind::sync, Access::trusted, "", ""},
    {RowId::pools_get, "GET", "/1.0/storage-pools", Kind::sync, Access::trusted, "", "StoragePoolInfo[]"},
    {RowId::pools_post, "POST", "/1.0/storage-pools", Kind::sync, Access::admin, "StoragePoolCreate", ""},
    {RowId::pool_get, "GET", "/1.0/storage-pools/{name}", Kind::sync, Access::trusted, "", "StoragePoolInfo"},
    {RowId::pool_put, "PUT", "/1.0/storage-pools/{name}", Kind::sync, Access::admin, "StoragePoolUpdate", ""},
    {RowId::pool_patch, "PATCH", "/1.0/storage-pools/{name}", Kind::sync, Access::admin, "StoragePoolUpdate", ""},
    {RowId::pool_delete, "DELETE", "/1.0/storage-pools/{name}", Kind::sync, Access::admin, "", ""},
    {RowId::pool_resources_get, "GET", "/1.0/storage-pools/{name}/resources", Kind::sync, Access::trusted, "", "StoragePoolResources"},
    {RowId::pool_volumes_get, "GET", "/1.0/storage-pools/{name}/volumes", Kind::sync, Access::project, "", "StorageVolumeInfo[]"},
    {RowId::pool_volumes_type_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}", Kind::sync, Access::project, "", "StorageVolumeInfo[]"},
    {RowId::pool_volumes_post, "POST", "/1.0/storage-pools/{name}/volumes", Kind::sync, Access::project, "StorageVolumeCreate", ""},
    {RowId::pool_volumes_type_post, "POST", "/1.0/storage-pools/{name}/volumes/{type}", Kind::sync, Access::project, "StorageVolumeCreate", ""},
    {RowId::volume_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", Kind::sync, Access::project, "", "StorageVolumeInfo"},
    {RowId::volume_put, "PUT", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", Kind::sync, Access::project, "StorageVolumeUpdate", ""},
    {RowId::volume_patch, "PATCH", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", Kind::sync, Access::project, "StorageVolumeUpdate", ""},
    {RowId::volume_post, "POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", Kind::sync, Access::project, "Rename", ""},
    {RowId::volume_delete, "DELETE", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", Kind::sync, Access::project, "", ""},
    {RowId::volume_state_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/state", Kind::sync, Access::project, "", "StorageVolumeState"},
    {RowId::volume_snapshots_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots", Kind::sync, Access::project, "", "StorageVolumeSnapshot[]"},
    {RowId::volume_snapshot_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", Kind::sync, Access::project, "", "StorageVolumeSnapshot"},
    {RowId::volume_snapshots_post, "POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots", Kind::async, Access::project, "StorageVolumeSnapshot", ""},
    {RowId::volume_snapshot_put, "PUT", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", Kind::sync, Access::project, "StorageVolumeSnapshot", ""},
    {RowId::volume_snapshot_patch, "PATCH", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", Kind::sync, Access::project, "StorageVolumeSnapshot", ""},
    {RowId::volume_snapshot_post, "POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", Kind::async, Access::project, "Rename", ""},
    {RowId::volume_snapshot_delete, "DELETE", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}", Kind::async, Access::project, "", ""},
    {RowId::volume_backups_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups", Kind::sync, Access::project, "", "Backup[]"},
    {RowId::volume_backups_post, "POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups", Kind::async, Access::project, "BackupCreate", ""},
    {RowId::volume_backup_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}", Kind::sync, Access::project, "", "Backup"},
    {RowId::volume_backup_post, "POST", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}", Kind::async, Access::project, "Rename", ""},
    {RowId::volume_backup_delete, "DELETE", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}", Kind::async, Access::project, "", ""},
    {RowId::volume_backup_export_get, "GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup}/export", Kind::stream, Access::project, "", ""},
    {RowId::buckets_get, "GET", "/1.0/storage-pools/{name}/buckets", Kind::sync, Access::project, "", "StorageBucket[]"},
    {RowId::operations_get, "GET", "/1.0/operations", Kind::sync, Access::trusted, "", "OperationInfo[]"},
    {RowId::operation_get, "GET", "/1.0/operations/{id}", Kind::sync, Access::trusted, "", "OperationInfo"},
    {RowId::operation_wait_get, "GET", "/1.0/operations/{id}/wait", Kind::sync, Access::anyone, "", "OperationInfo"},
    {RowId::operation_websocket_get, "GET", "/1.0/operations/{id}/websocket", Kind::stream, Access::anyone, "", ""},
    {RowId::operation_delete, "DELETE", "/1.0/operations/{id}", Kind::sync, Access::trusted, "", ""},
    {RowId::check_get, "GET", "/internal/check", Kind::sync, Access::local, "", ""},
    {RowId::internal_ready_get, "GET", "/internal/ready", Kind::sync, Access::local, "", ""},
    {RowId::internal_shutdown_put, "PUT", "/internal/shutdown", Kind::sync, Access::local, "", ""},
    {RowId::internal_sql_get, "GET", "/internal/sql", Kind::sync, Access::local, "", ""},
    {RowId::internal_sql_post, "POST", "/internal/sql", Kind::sync, Access::local, "SqlQuery", ""},
    {RowId::internal_gc_get, "GET", "/internal/debug/gc", Kind::sync, Access::local, "", ""},
    {RowId::internal_bgp_get, "GET", "/internal/debug/bgp", Kind::sync, Access::local, "", ""},
    {RowId::internal_warnings_post, "POST", "/internal/debug/warnings", Kind::sync, Access::local, "WarningCreate", ""},
    {RowId::recover_validate_post, "POST", "/internal/recover/validate", Kind::sync, Access::local, "", ""},
    {RowId::recover_import_post, "POST", "/internal/recover/import", Kind::sync, Access::local, "", ""},
};

int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

std::string decode(std::string_view t) {
  std::string out;
  for (std::size_t i = 0; i < t.size(); i++) {
    if (t[i] != '%') {
      out += t[i];
      continue;
    }
    int a = i + 2 < t.size() ? hex(t[i + 1]) : -1, b = i + 2 < t.size() ? hex(t[i + 2]) : -1;
    if (a < 0 || b < 0) base::fail(ErrorCode::invalid_argument, "invalid URL escape in {}", base::quoted(t));
    out += static_cast<char>(a * 16 + b);
    i += 2;
  }
  return out;
}

std::vector<std::string_view> split(std::string_view t) {
  std::vector<std::string_view> out;
  for (;;) {
    auto cut = t.find('/');
    out.push_back(t.substr(0, cut));
    if (cut == std::string_view::npos) return out;
    t.remove_prefix(cut + 1);
  }
}

} // namespace

std::span<const Row> rows() noexcept { return table; }

const Row &row(RowId id) noexcept {
  // The table follows the paths, not the ids; an index by id is made once.
  static const auto index = [] {
    std::array<const Row *, std::size(table)> a{};
    for (auto &r : table) a[static_cast<std::size_t>(r.id)] = &r;
    return a;
  }();
  return *index[static_cast<std::size_t>(id)];
}

std::optional<Match> match(std::string_view method, std::string_view path, bool *path_known) {
  if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  auto parts = split(path);
  if (path_known) *path_known = false;
  for (auto &r : table) {
    auto want = split(r.path);
    if (want.size() != parts.size()) continue;
    Match m{&r, {}};
    bool same = true;
    for (std::size_t i = 0; same && i < want.size(); i++) {
      if (want[i].starts_with('{'))
        m.values.push_back(std::string(parts[i]));
      else
        same = want[i] == parts[i];
    }
    if (!same) continue;
    if (path_known) *path_known = true;
    if (method != r.method) continue;
    for (auto &v : m.values) v = decode(v);
    return m;
  }
  return std::nullopt;
}

} // namespace incus::api
