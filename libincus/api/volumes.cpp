// SPDX-License-Identifier: Apache-2.0
// StoragePool, StorageVolume and StorageVolumeSnapshot.
#include <incus/storage.hpp>

#include "api/call.hpp"
#include "api/records.hpp"

namespace incus {
inline namespace v0 {

using namespace api;

namespace {

template <class T> T get(const SessionPtr &session, RowId row, Request request, Etag *etag = nullptr) {
  auto reply = perform(session, row, std::move(request));
  if (etag) *etag = reply.etag;
  return from_json<T>(reply.metadata);
}

} // namespace

StoragePool::StoragePool(std::shared_ptr<api::Session> session, std::string name) : session_(std::move(session)), name_(std::move(name)) {}
StoragePoolInfo StoragePool::info(Etag *etag) const { return get<StoragePoolInfo>(session_, RowId::pool_get, at({name_}), etag); }
void StoragePool::update(const StoragePoolUpdate &to, const Etag &if_match) {
  perform(session_, RowId::pool_put, with_body(at({name_}), to_json(to), if_match));
}
StoragePoolResources StoragePool::resources() const { return get<StoragePoolResources>(session_, RowId::pool_resources_get, at({name_})); }
std::vector<StorageVolumeInfo> StoragePool::volumes(const std::string &project) const {
  return get<std::vector<StorageVolumeInfo>>(session_, RowId::pool_volumes_get, with_query(at({name_}, project), "recursion", "1"));
}
StorageVolume StoragePool::volume(const std::string &volume_name, const std::string &project) const { return StorageVolume(session_, project, name_, volume_name); }
StorageVolume StoragePool::create_volume(const StorageVolumeCreate &request, const std::string &project) {
  perform(session_, RowId::pool_volumes_type_post, with_body(at({name_, "custom"}, project), to_json(request)));
  return volume(request.name, project);
}
Operation StoragePool::import_volume(int from_fd, const std::string &volume_name, const std::string &project) {
  return api::import_volume(session_, project, name_, from_fd, volume_name);
}
Operation StoragePool::import_volume(const std::string &path, const std::string &volume_name, const std::string &project) {
  return api::import_volume(session_, project, name_, open_backup(path).get(), volume_name);
}
Operation StoragePool::import_iso(int from_fd, const std::string &volume_name, const std::string &project) {
  return api::import_volume(session_, project, name_, from_fd, volume_name, "iso");
}
void StoragePool::remove() { perform(session_, RowId::pool_delete, at({name_})); }

StorageVolume::StorageVolume(std::shared_ptr<api::Session> session, std::string project, std::string pool, std::string name)
    : session_(std::move(session)), project_(std::move(project)), pool_(std::move(pool)), name_(std::move(name)) {}

StorageVolumeInfo StorageVolume::info(Etag *etag) const { return get<StorageVolumeInfo>(session_, RowId::volume_get, at({pool_, "custom", name_}, project_), etag); }
StorageVolumeState StorageVolume::state() const { return get<StorageVolumeState>(session_, RowId::volume_state_get, at({pool_, "custom", name_}, project_)); }
void StorageVolume::update(const StorageVolumeUpdate &to, const Etag &if_match) {
  perform(session_, RowId::volume_put, with_body(at({pool_, "custom", name_}, project_), to_json(to), if_match));
}
void StorageVolume::patch(const Config &config, const Etag &if_match) {
  perform(session_, RowId::volume_patch, with_body(at({pool_, "custom", name_}, project_), json::object{{"config", to_json(config)}}, if_match));
}
void StorageVolume::rename(const std::string &new_name) {
  perform(session_, RowId::volume_post, with_body(at({pool_, "custom", name_}, project_), to_json(Rename{new_name})));
  name_ = new_name;
}
Operation StorageVolume::move(const StorageVolumeMove &to) {
  auto wanted = to;
  if (wanted.name.empty()) wanted.name = name_;
  if (wanted.project == project_) wanted.project.clear(); // which daemons refuse
  auto op = begin_or_done(session_, RowId::volume_post, with_body(at({pool_, "custom", name_}, project_), to_json(wanted)));
  name_ = wanted.name;
  if (!to.pool.empty()) pool_ = to.pool;
  if (!to.project.empty()) project_ = to.project;
  return op;
}
Operation StorageVolume::copy(const std::string &new_name, const StorageVolumeCopy &how) const {
  json::object source{{"type", "copy"},
                      {"pool", pool_},
                      {"project", project_},
                      {"name", how.snapshot.empty() ? name_ : name_ + "/" + how.snapshot},
                      {"volume_only", how.volume_only},
                      {"refresh", how.refresh},
                      {"refresh_exclude_older", how.refresh_exclude_older}};
  json::object body{{"name", new_name}, {"source", std::move(source)}};
  if (how.config) body["config"] = to_json(*how.config);
  if (!how.description.empty()) body["description"] = how.description;
  return begin_or_done(session_, RowId::pool_volumes_type_post,
                       with_body(at({how.pool.empty() ? pool_ : how.pool, "custom"}, how.project.empty() ? project_ : how.project), std::move(body)));
}
void StorageVolume::remove() { perform(session_, RowId::volume_delete, at({pool_, "custom", name_}, project_)); }

Operation StorageVolume::create_snapshot(const StorageVolumeSnapshotCreate &request) {
  return begin(session_, RowId::volume_snapshots_post, with_body(at({pool_, "custom", name_}, project_), to_json(request)));
}
std::vector<StorageVolumeSnapshotInfo> StorageVolume::snapshots() const {
  auto all = get<std::vector<StorageVolumeSnapshotInfo>>(session_, RowId::volume_snapshots_get, with_query(at({pool_, "custom", name_}, project_), "recursion", "1"));
  // Lists have them as VOLUME/SNAPSHOT, everything else takes and gives SNAPSHOT.
  for (auto &s : all) s.name.erase(0, s.name.rfind('/') + 1);
  return all;
}
StorageVolumeSnapshot StorageVolume::snapshot(const std::string &snapshot_name) const {
  return StorageVolumeSnapshot(session_, project_, pool_, name_, snapshot_name);
}
void StorageVolume::restore(const std::string &snapshot_name) {
  perform(session_, RowId::volume_put, with_body(at({pool_, "custom", name_}, project_), json::object{{"restore", snapshot_name}}));
}

Operation StorageVolume::create_backup(const BackupCreate &request) {
  return begin(session_, RowId::volume_backups_post, with_body(at({pool_, "custom", name_}, project_), to_json(request)));
}
std::vector<BackupInfo> StorageVolume::backups() const {
  return get<std::vector<BackupInfo>>(session_, RowId::volume_backups_get, with_query(at({pool_, "custom", name_}, project_), "recursion", "1"));
}
Backup StorageVolume::backup(const std::string &backup_name) const { return Backup(session_, project_, {pool_, "custom", name_}, backup_name); }

StorageVolumeSnapshot::StorageVolumeSnapshot(std::shared_ptr<api::Session> session, std::string project, std::string pool, std::string volume, std::string name)
    : session_(std::move(session)), project_(std::move(project)), pool_(std::move(pool)), volume_(std::move(volume)), name_(std::move(name)) {}

StorageVolumeSnapshotInfo StorageVolumeSnapshot::info(Etag *etag) const {
  auto i = get<StorageVolumeSnapshotInfo>(session_, RowId::volume_snapshot_get, at({pool_, "custom", volume_, name_}, project_), etag);
  i.name.erase(0, i.name.rfind('/') + 1);
  return i;
}
void StorageVolumeSnapshot::update(const StorageVolumeSnapshotUpdate &to, const Etag &if_match) {
  perform(session_, RowId::volume_snapshot_put, with_body(at({pool_, "custom", volume_, name_}, project_), to_json(to), if_match));
}
void StorageVolumeSnapshot::set_expiry(Time expires_at, const Etag &if_match) {
  perform(session_, RowId::volume_snapshot_patch, with_body(at({pool_, "custom", volume_, name_}, project_), to_json(SnapshotUpdate{expires_at}), if_match));
}
Operation StorageVolumeSnapshot::rename(const std::string &new_name) {
  auto op = begin(session_, RowId::volume_snapshot_post, with_body(at({pool_, "custom", volume_, name_}, project_), to_json(Rename{new_name})));
  name_ = new_name;
  return op;
}
Operation StorageVolumeSnapshot::remove() { return begin(session_, RowId::volume_snapshot_delete, at({pool_, "custom", volume_, name_}, project_)); }

} // namespace v0
} // namespace incus
