// SPDX-License-Identifier: Apache-2.0
// Custom volumes for backups, from backups, and those that a pool has and the store has not.
#include <boost/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/custom.hpp"

namespace incus::storage {

namespace {

VolumeRef ref(const db::VolumeFull &v) { return custom_ref(v.project, v.name); }

void check_snapshots(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snapshots) {
  std::set<std::string> seen;
  for (auto &s : snapshots) {
    base::SnapshotName::parse(s.name);
    if (!seen.insert(s.name).second) base::fail(ErrorCode::invalid_argument, "snapshot {} of volume {} comes twice", base::quoted(s.name), base::quoted(v.name));
  }
}

} // namespace

void CustomVolumes::with_places(const VolumeName &n, bool with_snapshots, const UsePlaces &use) {
  Hold hold(*this, {n});
  auto v = volume(n.pool, n.project, n.name);
  std::vector<db::VolumeSnapshotRow> snaps;
  if (with_snapshots) snaps = db::volume_snapshots(global_, v.id);
  std::vector<Place> places;
  for (auto &s : snaps) places.push_back({s.name, snapshots(v.pool).snapshot_place(ref(v), s.name)});
  places.push_back({"", pools_.driver(v.pool)->directory(ref(v))});
  use(v, snaps, places);
}

void CustomVolumes::create_from_backup(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snaps, const std::function<void(int, int)> &fill) {
  from_backup(v, snaps, [&](Driver &driver) { driver.create_from_backup(ref(v), !snaps.empty(), fill); });
}

void CustomVolumes::create_from_streams(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snaps, const std::vector<StreamPart> &parts,
                                        const std::map<std::string, IdMap> &owners, const std::function<void(int)> &fill) {
  from_backup(v, snaps, [&](Driver &driver) {
    if (!driver.replication()) base::fail(ErrorCode::not_supported, "the backup is optimized, but storage pool {} has no streams of its own", base::quoted(v.pool));
    driver.replication()->create_from_streams(ref(v), parts, owners, fill);
  });
}

void CustomVolumes::from_backup(db::VolumeFull v, std::vector<db::VolumeSnapshotRow> snaps, const std::function<void(Driver &)> &make) {
  validate(v.name, v.config, false, v.content);
  check_snapshots(v, snaps);
  auto driver = pools_.driver(v.pool);
  VolumeName n{v.pool, v.project, v.name};
  Hold hold(*this, {n});
  must_be_new(n, "create");
  db::Intent intent(journal_, "volume", journal_entry(n));
  make(*driver);
  if (!snaps.empty()) {
    std::set<std::string> want;
    for (auto &s : snaps) want.insert(s.name);
    auto have = snapshots(v.pool).list(ref(v));
    if (want != std::set<std::string>(have.begin(), have.end()))
      base::fail(ErrorCode::corrupt, "the snapshots in the backup of volume {} are not those that its index names", base::quoted(v.name));
  }
  measure(v, snaps);
  global_.transaction([&] { db::insert_volume(global_, v, snaps); });
  intent.done();
}

void CustomVolumes::adopt(const db::VolumeFull &v, const std::vector<db::VolumeSnapshotRow> &snaps) {
  base::SnapshotName::parse(v.name);
  validate(v.name, v.config, false, v.content);
  check_snapshots(v, snaps);
  Hold hold(*this, {{v.pool, v.project, v.name}});
  global_.transaction([&] { db::insert_volume(global_, v, snaps); });
}

} // namespace incus::storage
