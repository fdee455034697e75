// SPDX-License-Identifier: Apache-2.0
// What `api_extensions` announces: only what works. One name a line, in alphabetical order.
#include "api/rows.hpp"

namespace incus::api {

namespace {
constexpr const char *list[] = {
    "api_filtering",
    "boot_host_shutdown_action",
    "console",
    "console_force",
    "container_copy_project",
    "container_edit_metadata",
    "container_exec_recording",
    "container_exec_signal_handling",
    "container_exec_user_group_cwd",
    "container_full",
    "container_host_shutdown_timeout",
    "container_image_properties",
    "container_last_used_at",
    "container_only_migration",
    "container_protection_delete",
    "container_stateless_copy",
    "container_stop_priority",
    "custom_volume_snapshot_expiry",
    "entity_description",
    "etag",
    "event_lifecycle",
    "event_location",
    "event_project",
    "id_map",
    "id_map_base",
    "id_map_current",
    "image_restriction_nesting",
    "image_restriction_privileged",
    "instance_all_projects",
    "instance_bulk_state_change",
    "instance_create_start",
    "instance_generation_id",
    "instance_get_full",
    "instance_state_cpu_time",
    "instance_state_started_at",
    "instance_types",
    "instances",
    "instances_rebuild",
    "instances_state_total",
    "kernel_limits",
    "linux_sysctl",
    "operation_description",
    "operation_wait",
    "operations_get_query_all_projects",
    "patch",
    "profile_usedby",
    "snapshot_disk_usage",
    "snapshot_expiry",
    "snapshot_expiry_creation",
    "storage",
    "storage_api_project",
    "storage_api_volume_rename",
    "storage_api_volume_snapshots",
    "storage_volume_api_filtering",
    "storage_volume_state",
    "storage_volumes_all_projects",
    "storage_volumes_created_at",
};
} // namespace

std::span<const char *const> extensions() noexcept { return list; }

} // namespace incus::api
