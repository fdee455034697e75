// SPDX-License-Identifier: Apache-2.0
// Copies, refreshes and moves of custom volumes, within a pool and between pools.
#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "schema/schema.hpp"
#include "storage/custom.hpp"

namespace incus::storage {

namespace {
std::vector<SnapshotMark> marks(const std::vector<db::VolumeSnapshotRow> &rows) {
  std::vector<SnapshotMark> out;
  for (auto &r : rows) out.push_back({r.name, r.created_at});
  return out;
}
std::vector<std::string> names_of(const std::vector<db::VolumeSnapshotRow> &rows) {
  std::vector<std::string> out;
  for (auto &r : rows) out.push_back(r.name);
  return out;
}
} // namespace

/// The source's row, with the configuration and description that a copy gets.
db::VolumeFull CustomVolumes::source_of(const VolumeSource &s) {
  auto v = volume(s.volume.pool, s.volume.project, s.volume.name);
  auto size = v.config.count("size") ? v.config.at("size") : std::string();
  if (s.snapshot) {
    auto row = snapshot(v, *s.snapshot);
    if (row.config.count("size")) size = row.config.at("size");
    v.config = row.config;
    v.description = row.description;
  }
  if (s.config) v.config = *s.config;
  if (!s.description.empty()) v.description = s.description;
  // A disk keeps its size unless another one is asked for.
  if (v.content != db::VolumeContent::filesystem && !v.config.count("size")) v.config["size"] = size;
  return v;
}

void CustomVolumes::check_copy(const VolumeName &to, const VolumeSource &s, bool refresh) {
  auto v = source_of(s);
  validate(to.name, v.config, false, v.content);
  if (auto now = volume(s.volume.pool, s.volume.project, s.volume.name); v.content != db::VolumeContent::filesystem) {
    auto of = s.snapshot ? snapshot(now, *s.snapshot).config : now.config;
    auto has = of.count("size") ? schema::parse_size(of.at("size")) : 0, wanted = schema::parse_size(v.config.at("size"));
    if (wanted < has || (v.content == db::VolumeContent::iso && wanted != has))
      base::fail(ErrorCode::invalid_argument, "cannot copy volume {} to one of size {}: it has {} bytes", base::quoted(s.volume.name), base::quoted(v.config.at("size")), has);
  }
  if (to.pool == s.volume.pool && to.project == s.volume.project && to.name == s.volume.name)
    base::fail(ErrorCode::invalid_argument, "cannot copy volume {} of pool {} to itself", base::quoted(to.name), base::quoted(to.pool));
  if (s.snapshot && s.volume_only) base::fail(ErrorCode::invalid_argument, "cannot copy volume {} only: the source is a snapshot, which has none of its own", base::quoted(to.name));
  if (refresh) {
    auto target = volume(to.pool, to.project, to.name);
    if (target.content != v.content || v.content == db::VolumeContent::iso)
      base::fail(ErrorCode::not_supported, "cannot refresh volume {} of content type {} from one of type {}", base::quoted(to.name),
                 db::content_name(target.content), db::content_name(v.content));
    if (v.content == db::VolumeContent::block && schema::parse_size(target.config.at("size")) < schema::parse_size(v.config.at("size")))
      base::fail(ErrorCode::invalid_argument, "cannot refresh volume {} of size {} from one of size {}: make it larger first", base::quoted(to.name),
                 base::quoted(target.config.at("size")), base::quoted(v.config.at("size")));
  } else
    must_be_new(to, "copy to");
}

void CustomVolumes::copy(const VolumeName &to, const VolumeSource &s, const Progress &progress) {
  Hold hold(*this, {to, s.volume});
  check_copy(to, s, false);
  auto v = source_of(s);
  std::vector<db::VolumeSnapshotRow> snapshots;
  if (!s.snapshot && !s.volume_only) snapshots = db::volume_snapshots(global_, v.id);
  v.pool = to.pool;
  v.project = to.project;
  v.name = to.name;
  v.created_at = base::now();
  auto target = place(to), from = place(s.volume);
  db::Intent intent(journal_, "volume", journal_entry(to));
  if (s.snapshot)
    copy_volume(target, from, s.snapshot, progress);
  else
    copy_with_snapshots(target, from, names_of(snapshots), progress);
  global_.transaction([&] {
    db::insert_volume(global_, v, snapshots);
  });
  settle_size(to);
  intent.done();
}

void CustomVolumes::refresh(const VolumeName &to, const VolumeSource &s, const Progress &progress) {
  Hold hold(*this, {to, s.volume});
  check_copy(to, s, true);
  auto v = volume(to.pool, to.project, to.name);
  auto source = volume(s.volume.pool, s.volume.project, s.volume.name);
  auto target = place(to), from = place(s.volume);
  Since since; // the newest that came before, which both may have
  if (!s.snapshot && !s.volume_only) {
    auto rows = db::volume_snapshots(global_, source.id);
    auto changes = compare_snapshots(marks(rows), marks(db::volume_snapshots(global_, v.id)), s.exclude_older);
    for (auto &name : changes.remove) remove_snapshot_held(v, name);
    for (auto &row : rows) {
      auto &name = row.name;
      Since before = std::exchange(since, name);
      if (std::find(changes.copy.begin(), changes.copy.end(), name) == changes.copy.end()) continue;
      auto data = journal_entry(to);
      data["snapshot"] = name;
      db::Intent intent(journal_, "volume.snapshot", data);
      copy_snapshot(target, from, name, progress, before);
      row.volume_id = v.id;
      global_.transaction([&] { db::insert_volume_snapshot(global_, row); });
      intent.done();
    }
  }
  replace_content(to, [&] { prepare_refresh(target, from, s.snapshot, progress, since); });
}

void CustomVolumes::move(const VolumeName &from, const VolumeName &to, const std::function<void()> &users, const Progress &progress) {
  Hold hold(*this, {from, to});
  auto v = volume(from.pool, from.project, from.name);
  must_be_new(to, "move");
  auto snapshots = db::volume_snapshots(global_, v.id);
  auto target = place(to), source = place(from);
  // Whichever of the two the store does not have goes from the disk; backups go where the volume went.
  auto data = journal_entry(from);
  data["moved_to"] = journal_entry(to);
  db::Intent old(journal_, "volume", data), fresh(journal_, "volume", journal_entry(to));
  copy_with_snapshots(target, source, names_of(snapshots), progress);
  global_.transaction([&] {
    // The row stays the same one: snapshots, backups and configuration hang on it.
    global_.exec("UPDATE storage_volumes SET name = ?, storage_pool_id = (SELECT id FROM storage_pools WHERE name = ?), project_id = (SELECT id FROM projects WHERE name = ?) WHERE id = ?",
                 {to.name, to.pool, to.project, v.id});
    if (users) users();
  });
  fresh.done();
  recover(old.data());
  old.done();
}

} // namespace incus::storage
