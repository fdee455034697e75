// SPDX-License-Identifier: Apache-2.0
#include "api/rows.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::api {

namespace {

constexpr Row table[] = {
    {RowId::server_get, "GET", "/1.0", Kind::sync, Access::trusted, "", "ServerInfo"},
    {RowId::instances_get, "GET", "/1.0/instances", Kind::sync, Access::trusted, "", "InstanceInfo[]"},
    {RowId::instances_post, "POST", "/1.0/instances", Kind::async, Access::trusted, "InstanceCreate", ""},
    {RowId::instance_get, "GET", "/1.0/instances/{name}", Kind::sync, Access::trusted, "", "InstanceInfo"},
    {RowId::instance_put, "PUT", "/1.0/instances/{name}", Kind::async, Access::trusted, "InstanceUpdate", ""},
    {RowId::instance_patch, "PATCH", "/1.0/instances/{name}", Kind::sync, Access::trusted, "InstanceUpdate", ""},
    {RowId::instance_post, "POST", "/1.0/instances/{name}", Kind::async, Access::trusted, "Rename", ""},
    {RowId::instance_delete, "DELETE", "/1.0/instances/{name}", Kind::async, Access::trusted, "", ""},
    {RowId::instance_state_get, "GET", "/1.0/instances/{name}/state", Kind::sync, Access::trusted, "", "InstanceState"},
    {RowId::instance_state_put, "PUT", "/1.0/instances/{name}/state", Kind::async, Access::trusted, "InstanceStateChange", ""},
    {RowId::instance_exec_post, "POST", "/1.0/instances/{name}/exec", Kind::async, Access::trusted, "ExecRequest", ""},
    {RowId::instance_console_get, "GET", "/1.0/instances/{name}/console", Kind::stream, Access::trusted, "", ""},
    {RowId::instance_console_delete, "DELETE", "/1.0/instances/{name}/console", Kind::sync, Access::trusted, "", ""},
    {RowId::instance_ready_get, "GET", "/1.0/instances/{name}/ready", Kind::sync, Access::trusted, "", ""},
    {RowId::snapshots_get, "GET", "/1.0/instances/{name}/snapshots", Kind::sync, Access::trusted, "", "SnapshotInfo[]"},
    {RowId::snapshots_post, "POST", "/1.0/instances/{name}/snapshots", Kind::async, Access::trusted, "SnapshotCreate", ""},
    {RowId::snapshot_get, "GET", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::sync, Access::trusted, "", "SnapshotInfo"},
    {RowId::snapshot_put, "PUT", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::trusted, "SnapshotUpdate", ""},
    {RowId::snapshot_post, "POST", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::trusted, "Rename", ""},
    {RowId::snapshot_delete, "DELETE", "/1.0/instances/{name}/snapshots/{snapshot}", Kind::async, Access::trusted, "", ""},
    {RowId::images_get, "GET", "/1.0/images", Kind::sync, Access::trusted, "", "ImageInfo[]"},
    {RowId::images_post, "POST", "/1.0/images", Kind::async, Access::trusted, "ImageImport", ""},
    {RowId::aliases_get, "GET", "/1.0/images/aliases", Kind::sync, Access::trusted, "", "ImageAliasInfo[]"},
    {RowId::aliases_post, "POST", "/1.0/images/aliases", Kind::sync, Access::trusted, "ImageAliasInfo", ""},
    {RowId::alias_get, "GET", "/1.0/images/aliases/{name}", Kind::sync, Access::trusted, "", "ImageAliasInfo"},
    {RowId::alias_put, "PUT", "/1.0/images/aliases/{name}", Kind::sync, Access::trusted, "ImageAliasInfo", ""},
    {RowId::alias_post, "POST", "/1.0/images/aliases/{name}", Kind::sync, Access::trusted, "Rename", ""},
    {RowId::alias_delete, "DELETE", "/1.0/images/aliases/{name}", Kind::sync, Access::trusted, "", ""},
    {RowId::image_get, "GET", "/1.0/images/{fingerprint}", Kind::sync, Access::trusted, "", "ImageInfo"},
    {RowId::image_put, "PUT", "/1.0/images/{fingerprint}", Kind::sync, Access::trusted, "ImageUpdate", ""},
    {RowId::image_delete, "DELETE", "/1.0/images/{fingerprint}", Kind::async, Access::trusted, "", ""},
    {RowId::image_export_get, "GET", "/1.0/images/{fingerprint}/export", Kind::stream, Access::trusted, "", ""},
    {RowId::profiles_get, "GET", "/1.0/profiles", Kind::sync, Access::trusted, "", "ProfileInfo[]"},
    {RowId::profiles_post, "POST", "/1.0/profiles", Kind::sync, Access::trusted, "ProfileCreate", ""},
    {RowId::profile_get, "GET", "/1.0/profiles/{name}", Kind::sync, Access::trusted, "", "ProfileInfo"},
    {RowId::profile_put, "PUT", "/1.0/profiles/{name}", Kind::sync, Access::trusted, "ProfileUpdate", ""},
    {RowId::profile_patch, "PATCH", "/1.0/profiles/{name}", Kind::sync, Access::trusted, "ProfileUpdate", ""},
    {RowId::profile_post, "POST", "/1.0/profiles/{name}", Kind::sync, Access::trusted, "Rename", ""},
    {RowId::profile_delete, "DELETE", "/1.0/profiles/{name}", Kind::sync, Access::trusted, "", ""},
    {RowId::projects_get, "GET", "/1.0/projects", Kind::sync, Access::trusted, "", "ProjectInfo[]"},
    {RowId::project_get, "GET", "/1.0/projects/{name}", Kind::sync, Access::trusted, "", "ProjectInfo"},
    {RowId::pools_get, "GET", "/1.0/storage-pools", Kind::sync, Access::trusted, "", "StoragePoolInfo[]"},
    {RowId::pools_post, "POST", "/1.0/storage-pools", Kind::sync, Access::admin, "StoragePoolCreate", ""},
    {RowId::pool_get, "GET", "/1.0/storage-pools/{name}", Kind::sync, Access::trusted, "", "StoragePoolInfo"},
    {RowId::pool_put, "PUT", "/1.0/storage-pools/{name}", Kind::sync, Access::admin, "StoragePoolUpdate", ""},
    {RowId::pool_delete, "DELETE", "/1.0/storage-pools/{name}", Kind::sync, Access::admin, "", ""},
    {RowId::pool_resources_get, "GET", "/1.0/storage-pools/{name}/resources", Kind::sync, Access::trusted, "", "StoragePoolResources"},
    {RowId::pool_volumes_get, "GET", "/1.0/storage-pools/{name}/volumes", Kind::sync, Access::trusted, "", "StorageVolumeInfo[]"},
    {RowId::operations_get, "GET", "/1.0/operations", Kind::sync, Access::trusted, "", "OperationInfo[]"},
    {RowId::operation_get, "GET", "/1.0/operations/{id}", Kind::sync, Access::trusted, "", "OperationInfo"},
    {RowId::operation_wait_get, "GET", "/1.0/operations/{id}/wait", Kind::sync, Access::trusted, "", "OperationInfo"},
    {RowId::operation_delete, "DELETE", "/1.0/operations/{id}", Kind::sync, Access::trusted, "", ""},
    {RowId::check_get, "GET", "/internal/check", Kind::sync, Access::admin, "", ""},
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
