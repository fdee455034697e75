// SPDX-License-Identifier: Apache-2.0
// Custom volumes for backups, from backups, and those that a pool has and the store has not.
#include <boost/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/custom.hpp"

namespace incus::storage {

namespace {

constexpr int custom_type = 2;

VolumeRef ref(const db::VolumeFull &v) { return {VolumeType::custom, CustomVolumes::store_name(v.project, v.name)}; }

void check_snapshots(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snapshots) {
  std::set<std::string> seen;
  for (auto &s : snapshots) {
    base::SnapshotName::parse(s.name);
    if (!seen.insert(s.name).second) base::fail(ErrorCode::invalid_argument, "snapshot {} of volume {} comes twice", base::quoted(s.name), base::quoted(v.name));
  }
}

void insert(db::Connection &c, const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snapshots) {
  c.transaction([&] {
    db::insert_volume(c, v);
    auto id = db::volume(c, v.pool, v.project, custom_type, v.name)->id;
    for (auto s : snapshots) {
      s.volume_id = id;
      db::insert_volume_snapshot(c, s);
    }
  });
}

} // namespace

void CustomVolumes::with_places(const db::VolumeFull &v, bool with_snapshots, const std::function<void(const std::vector<Place> &)> &use) {
  std::vector<Place> places;
  if (with_snapshots)
    for (auto &s : db::volume_snapshots(global_, v.id)) places.push_back({s.name, snapshots(v.pool).snapshot_place(ref(v), s.name)});
  places.push_back({"", pools_.driver(v.pool)->directory(ref(v))});
  use(places);
}

void CustomVolumes::create_from_backup(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snaps, const std::function<void(int, int)> &fill) {
  if (v.name.find('/') != std::string::npos) base::fail(ErrorCode::invalid_argument, "invalid name {}: Storage volume names may not contain slashes", base::quoted(v.name));
  base::SnapshotName::parse(v.name);
  validate(v.name, v.config, false);
  check_snapshots(v, snaps);
  auto driver = pools_.driver(v.pool);
  db::project_id(global_, v.project);
  boost::json::object data{{"pool", v.pool}, {"project", v.project}, {"name", v.name}};
  // Others go on meanwhile: the claim of the name is the intent's, looked for under the lock.
  std::unique_lock lock(mutex_);
  if (db::volume(global_, v.pool, v.project, custom_type, v.name) || !claimed_.insert(v.pool + "/" + ref(v).name).second)
    base::fail(ErrorCode::already_exists, "Volume by that name already exists: {} in pool {}", base::quoted(v.name), base::quoted(v.pool));
  struct Release {
    CustomVolumes &me;
    std::string key;
    std::unique_lock<std::mutex> &lock;
    ~Release() {
      if (!lock.owns_lock()) lock.lock();
      me.claimed_.erase(key);
    }
  } release{*this, v.pool + "/" + ref(v).name, lock};
  if (driver->exists(ref(v)))
    base::fail(ErrorCode::conflict, "cannot create volume {}: pool {} holds one of that name that is not in the store", base::quoted(v.name), base::quoted(v.pool));
  lock.unlock();
  db::Intent intent(journal_, "volume", data);
  driver->create_from_backup(ref(v), !snaps.empty(), fill);
  if (!snaps.empty()) {
    std::set<std::string> want;
    for (auto &s : snaps) want.insert(s.name);
    auto have = snapshots(v.pool).list(ref(v));
    if (want != std::set<std::string>(have.begin(), have.end()))
      base::fail(ErrorCode::corrupt, "the snapshots in the backup of volume {} are not those that its index names", base::quoted(v.name));
  }
  insert(global_, v, snaps);
  intent.done();
}

void CustomVolumes::adopt(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snaps) {
  base::SnapshotName::parse(v.name);
  validate(v.name, v.config, false);
  check_snapshots(v, snaps);
  std::lock_guard lock(mutex_);
  insert(global_, v, snaps);
}

} // namespace incus::storage
