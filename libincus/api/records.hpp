// SPDX-License-Identifier: Apache-2.0
// The fields of every record, once. Include only where JSON meets structs: it is the expensive header of the tree.
#pragma once
#include <incus/host.hpp>

#include "api/convert.hpp"

namespace incus::api {

/// POST on an object that renames it.
struct Rename {
  std::string name;
};
struct SnapshotUpdate {
  Time expires_at;
};

template <> struct Record<Rename> {
  static constexpr auto fields = std::make_tuple(field("name", &Rename::name));
};
template <> struct Record<SnapshotUpdate> {
  static constexpr auto fields = std::make_tuple(field("expires_at", &SnapshotUpdate::expires_at));
};
template <> struct Record<ServerInfo> {
  using T = ServerInfo;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("api_extensions", &T::api_extensions), field("api_status", &T::api_status),
                                                 field("api_version", &T::api_version), field("auth", &T::auth), field("public", &T::public_),
                                                 field("auth_methods", &T::auth_methods), field("auth_user_name", &T::auth_user_name),
                                                 field("auth_user_method", &T::auth_user_method), field("environment", &T::environment));
};
template <> struct Record<OperationInfo> {
  using T = OperationInfo;
  static constexpr auto fields =
      std::make_tuple(field("id", &T::id), field("class", &T::class_), field("description", &T::description), field("created_at", &T::created_at),
                      field("updated_at", &T::updated_at), field("status", &T::status), field("status_code", &T::status_code), field("resources", &T::resources),
                      field("metadata", &T::metadata), field("may_cancel", &T::may_cancel), field("err", &T::err), field_opt("error_code", &T::err_code), field_opt("error_name", &T::err_name),
                      field("location", &T::location));
};
template <> struct Record<Event> {
  using T = Event;
  static constexpr auto fields = std::make_tuple(field("type", &T::type), field("timestamp", &T::timestamp), field("metadata", &T::metadata),
                                                 field_opt("location", &T::location), field_opt("project", &T::project));
};
template <> struct Record<ProfileUpdate> {
  using T = ProfileUpdate;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description), field("devices", &T::devices));
};
template <> struct Record<ProfileCreate> {
  using T = ProfileCreate;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field("config", &T::config), field("description", &T::description), field("devices", &T::devices));
};
template <> struct Record<ProfileInfo> {
  using T = ProfileInfo;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description), field("devices", &T::devices),
                                                 field("name", &T::name), field("used_by", &T::used_by), field("project", &T::project));
};
template <> struct Record<ProjectInfo> {
  using T = ProjectInfo;
  static constexpr auto fields =
      std::make_tuple(field("config", &T::config), field("description", &T::description), field("name", &T::name), field("used_by", &T::used_by));
};
template <> struct Record<StoragePoolCreate> {
  using T = StoragePoolCreate;
  static constexpr auto fields =
      std::make_tuple(field("config", &T::config), field("description", &T::description), field("name", &T::name), field("driver", &T::driver));
};
template <> struct Record<StoragePoolUpdate> {
  using T = StoragePoolUpdate;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description));
};
template <> struct Record<StoragePoolInfo> {
  using T = StoragePoolInfo;
  static constexpr auto fields =
      std::make_tuple(field("config", &T::config), field("description", &T::description), field("name", &T::name), field("driver", &T::driver),
                      field("used_by", &T::used_by), field("status", &T::status), field("locations", &T::locations));
};
template <> struct Record<StoragePoolResources::Space> {
  using T = StoragePoolResources::Space;
  static constexpr auto fields = std::make_tuple(field("used", &T::used), field("total", &T::total));
};
template <> struct Record<StoragePoolResources> {
  using T = StoragePoolResources;
  static constexpr auto fields = std::make_tuple(field("space", &T::space), field("inodes", &T::inodes));
};
template <> struct Record<StorageVolumeInfo> {
  using T = StorageVolumeInfo;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description), field("name", &T::name),
                                                 field("type", &T::type), field("used_by", &T::used_by), field("location", &T::location),
                                                 field("content_type", &T::content_type), field("project", &T::project), field("created_at", &T::created_at));
};
template <> struct Record<StorageVolumeCreate> {
  using T = StorageVolumeCreate;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field("description", &T::description), field("config", &T::config), field_opt("content_type", &T::content_type));
};
template <> struct Record<StorageVolumeUpdate> {
  using T = StorageVolumeUpdate;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description));
};
template <> struct Record<StorageVolumeState::Usage> {
  using T = StorageVolumeState::Usage;
  static constexpr auto fields = std::make_tuple(field("used", &T::used), field("total", &T::total));
};
template <> struct Record<StorageVolumeState> {
  using T = StorageVolumeState;
  static constexpr auto fields = std::make_tuple(field("usage", &T::usage));
};
template <> struct Record<StorageVolumeMove> {
  using T = StorageVolumeMove;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field_opt("pool", &T::pool), field_opt("project", &T::project));
};
template <> struct Record<StorageVolumeSnapshotCreate> {
  using T = StorageVolumeSnapshotCreate;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field_opt("description", &T::description), field_opt("expires_at", &T::expires_at));
};
template <> struct Record<StorageVolumeSnapshotUpdate> {
  using T = StorageVolumeSnapshotUpdate;
  static constexpr auto fields = std::make_tuple(field("description", &T::description), field("expires_at", &T::expires_at));
};
template <> struct Record<StorageVolumeSnapshotInfo> {
  using T = StorageVolumeSnapshotInfo;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description), field("name", &T::name),
                                                 field("content_type", &T::content_type), field("created_at", &T::created_at), field("expires_at", &T::expires_at));
};
template <> struct Record<BackupCreate> {
  using T = BackupCreate;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field_opt("expires_at", &T::expires_at), field_opt("compression_algorithm", &T::compression_algorithm),
                      field_opt("instance_only", &T::instance_only), field_opt("volume_only", &T::volume_only), field("optimized_storage", &T::optimized_storage));
};
template <> struct Record<BackupInfo> {
  using T = BackupInfo;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field("created_at", &T::created_at), field("expires_at", &T::expires_at),
                                                 field_opt("instance_only", &T::instance_only), field_opt("volume_only", &T::volume_only),
                                                 field("optimized_storage", &T::optimized_storage));
};
template <> struct Record<RecoverPool> {
  using T = RecoverPool;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field("driver", &T::driver), field("description", &T::description), field("config", &T::config));
};
template <> struct Record<RecoverVolume> {
  using T = RecoverVolume;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field("type", &T::type), field("snapshotCount", &T::snapshot_count), field("project", &T::project),
                                                 field("pool", &T::pool));
};
// Capital letters here, unlike everywhere else on this wire.
template <> struct Record<RecoverReport> {
  using T = RecoverReport;
  static constexpr auto fields = std::make_tuple(field("UnknownVolumes", &T::volumes), field("DependencyErrors", &T::missing));
};
template <> struct Record<InstanceMove> {
  using T = InstanceMove;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field_opt("pool", &T::pool), field_opt("project", &T::project), field_opt("instance_only", &T::instance_only),
                      field_opt("config", &T::config), field_opt("devices", &T::devices), field_opt("profiles", &T::profiles));
};
template <> struct Record<ImageAlias> {
  using T = ImageAlias;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field("description", &T::description), field_opt("type", &T::type));
};
template <> struct Record<ImageAliasInfo> {
  using T = ImageAliasInfo;
  static constexpr auto fields =
      std::make_tuple(field("description", &T::description), field("target", &T::target), field("name", &T::name), field("type", &T::type));
};
template <> struct Record<ImageUpdate> {
  using T = ImageUpdate;
  static constexpr auto fields = std::make_tuple(field("auto_update", &T::auto_update), field("properties", &T::properties), field("public", &T::public_),
                                                 field("expires_at", &T::expires_at), field("profiles", &T::profiles));
};
template <> struct Record<ImageImport> {
  using T = ImageImport;
  static constexpr auto fields = std::make_tuple(field("alias", &T::alias), field("aliases", &T::aliases), field("properties", &T::properties),
                                                 field("public", &T::public_), field("filename", &T::filename), field("reuse", &T::reuse),
                                                 field_opt("profiles", &T::profiles), field_opt("expires_at", &T::expires_at),
                                                 field_opt("fingerprint", &T::fingerprint));
};
template <> struct Record<ImageOrigin> {
  using T = ImageOrigin;
  static constexpr auto fields = std::make_tuple(field("alias", &T::alias), field("certificate", &T::certificate), field("protocol", &T::protocol),
                                                 field("server", &T::server), field("image_type", &T::image_type));
};
template <> struct Record<ImageInfo> {
  using T = ImageInfo;
  static constexpr auto fields =
      std::make_tuple(field("auto_update", &T::auto_update), field("properties", &T::properties), field("public", &T::public_),
                      field("expires_at", &T::expires_at), field("profiles", &T::profiles), field("aliases", &T::aliases),
                      field("architecture", &T::architecture), field("cached", &T::cached), field("filename", &T::filename),
                      field("fingerprint", &T::fingerprint), field("size", &T::size), field("type", &T::type), field("created_at", &T::created_at),
                      field("last_used_at", &T::last_used_at), field("uploaded_at", &T::uploaded_at), field("project", &T::project), field_opt("update_source", &T::update_source));
};
template <> struct Record<SnapshotCreate> {
  using T = SnapshotCreate;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field("stateful", &T::stateful), field("expires_at", &T::expires_at));
};
template <> struct Record<SnapshotInfo> {
  using T = SnapshotInfo;
  static constexpr auto fields =
      std::make_tuple(field("architecture", &T::architecture), field("config", &T::config), field("created_at", &T::created_at), field("devices", &T::devices),
                      field("ephemeral", &T::ephemeral), field("expanded_config", &T::expanded_config), field("expanded_devices", &T::expanded_devices),
                      field("expires_at", &T::expires_at), field("last_used_at", &T::last_used_at), field("name", &T::name), field("profiles", &T::profiles),
                      field("stateful", &T::stateful), field("size", &T::size), field("description", &T::description));
};
template <> struct Record<InstanceSource> {
  using T = InstanceSource;
  static constexpr auto fields =
      std::make_tuple(field("type", &T::type), field_opt("alias", &T::alias), field_opt("fingerprint", &T::fingerprint), field_opt("properties", &T::properties),
                      field_opt("source", &T::source), field_opt("project", &T::project), field_opt("instance_only", &T::instance_only),
                      field_opt("server", &T::server), field_opt("certificate", &T::certificate), field_opt("protocol", &T::protocol),
                      field_opt("secret", &T::secret), field_opt("mode", &T::mode), field_opt("refresh", &T::refresh),
                      field_opt("refresh_exclude_older", &T::refresh_exclude_older));
};
template <> struct Record<InstanceCreate> {
  using T = InstanceCreate;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field("type", &T::type), field("architecture", &T::architecture), field("config", &T::config),
                      field("description", &T::description), field("devices", &T::devices), field("ephemeral", &T::ephemeral), field("profiles", &T::profiles),
                      field_opt("restore", &T::restore), field("stateful", &T::stateful), field("start", &T::start), field("source", &T::source),
                      field_opt("instance_type", &T::instance_type));
};
template <> struct Record<InstanceUpdate> {
  using T = InstanceUpdate;
  static constexpr auto fields =
      std::make_tuple(field("architecture", &T::architecture), field("config", &T::config), field("description", &T::description), field("devices", &T::devices),
                      field("ephemeral", &T::ephemeral), field("profiles", &T::profiles), field_opt("restore", &T::restore), field("stateful", &T::stateful));
};
template <> struct Record<InstanceInfo> {
  using T = InstanceInfo;
  static constexpr auto fields = std::make_tuple(
      field("architecture", &T::architecture), field("config", &T::config), field("created_at", &T::created_at), field("description", &T::description),
      field("devices", &T::devices), field("ephemeral", &T::ephemeral), field("expanded_config", &T::expanded_config),
      field("expanded_devices", &T::expanded_devices), field("last_used_at", &T::last_used_at), field("location", &T::location), field("name", &T::name),
      field("profiles", &T::profiles), field("project", &T::project), field("stateful", &T::stateful), field("status", &T::status),
      field("status_code", &T::status_code), field("type", &T::type));
};
template <> struct Record<InstanceStateAddress> {
  using T = InstanceStateAddress;
  static constexpr auto fields =
      std::make_tuple(field("family", &T::family), field("address", &T::address), field("netmask", &T::netmask), field("scope", &T::scope));
};
template <> struct Record<InstanceStateCounters> {
  using T = InstanceStateCounters;
  static constexpr auto fields = std::make_tuple(field("bytes_received", &T::bytes_received), field("bytes_sent", &T::bytes_sent),
                                                 field("packets_received", &T::packets_received), field("packets_sent", &T::packets_sent),
                                                 field("errors_received", &T::errors_received), field("errors_sent", &T::errors_sent),
                                                 field("packets_dropped_outbound", &T::packets_dropped_outbound),
                                                 field("packets_dropped_inbound", &T::packets_dropped_inbound));
};
template <> struct Record<InstanceStateNetwork> {
  using T = InstanceStateNetwork;
  static constexpr auto fields =
      std::make_tuple(field("addresses", &T::addresses), field("counters", &T::counters), field("hwaddr", &T::hwaddr), field("host_name", &T::host_name),
                      field("mtu", &T::mtu), field("state", &T::state), field("type", &T::type));
};
template <> struct Record<InstanceStateDisk> {
  using T = InstanceStateDisk;
  static constexpr auto fields = std::make_tuple(field("usage", &T::usage), field("total", &T::total));
};
template <> struct Record<InstanceStateMemory> {
  using T = InstanceStateMemory;
  static constexpr auto fields = std::make_tuple(field("usage", &T::usage), field("usage_peak", &T::usage_peak), field("total", &T::total),
                                                 field("swap_usage", &T::swap_usage), field("swap_usage_peak", &T::swap_usage_peak));
};
template <> struct Record<InstanceStateCpu> {
  using T = InstanceStateCpu;
  static constexpr auto fields = std::make_tuple(field("usage", &T::usage), field("allocated_time", &T::allocated_time));
};
template <> struct Record<InstanceState> {
  using T = InstanceState;
  static constexpr auto fields =
      std::make_tuple(field("status", &T::status), field("status_code", &T::status_code), field("disk", &T::disk), field("memory", &T::memory),
                      field("network", &T::network), field("pid", &T::pid), field("processes", &T::processes), field("cpu", &T::cpu),
                      field("started_at", &T::started_at));
};
template <> struct Record<InstanceStateChange> {
  using T = InstanceStateChange;
  static constexpr auto fields =
      std::make_tuple(field("action", &T::action), field("timeout", &T::timeout), field("force", &T::force), field("stateful", &T::stateful));
};
template <> struct Record<ExecRequest> {
  using T = ExecRequest;
  static constexpr auto fields = std::make_tuple(field("command", &T::command), field("environment", &T::environment), field("user", &T::user),
                                                 field("group", &T::group), field("cwd", &T::cwd), field("interactive", &T::interactive),
                                                 field("width", &T::width), field("height", &T::height));
};

/// As clients of REST read them: to_json() but for values that have a form of their own there.
json::value to_json_instance(const InstanceInfo &info, const json::storage_ptr &sp = {});
json::value to_json_state(const InstanceState &state, const json::storage_ptr &sp = {});
/// recursion=2 has the state and the snapshots beside the instance's own fields.
json::value to_json_full(const InstanceFull &full, const json::storage_ptr &sp = {});
InstanceFull full_from_json(const json::value &j);

} // namespace incus::api
