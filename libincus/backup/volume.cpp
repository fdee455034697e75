// SPDX-License-Identifier: Apache-2.0
#include "backup/volume.hpp"

#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "helper/unpack/backup_plan.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "instance/backup_streams.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/idmap.hpp"

namespace incus::backup {

void write_volume(const VolumeContext &c, const storage::VolumeName &volume, const instance::Manager::BackupWish &wish, int out, const instance::Report &report) {
  unpack::BackupPlan plan;
  plan.pool = c.pools.directory(volume.pool);
  if (plan.pool.empty()) base::fail(ErrorCode::not_supported, "cannot make a backup of volume {}: this is a test host in memory", base::quoted(volume.name));
  plan.compression = wish.compression;
  c.volumes.with_places(volume, !wish.alone, [&](auto &v, auto &rows, auto &places) {
    instance::BackupIndex index;
    index.name = v.name;
    index.pool = v.pool;
    index.type = "custom";
    auto pools = db::pools(c.global, v.pool);
    if (!pools.empty()) {
      index.backend = pools[0].driver;
      pools[0].config = c.pools.info(v.pool).config;
      index.config.pool = pools[0];
    }
    index.config.volume = v;
    index.config.volume_snapshots = rows;
    for (auto &s : rows) index.snapshots.push_back(s.name);
    index.config.volume_content = db::content_name(v.content);
    std::unique_ptr<storage::Replication::Outgoing> streams;
    auto pack = [&] {
      plan.index = instance::format_index(index);
      instance::pack_backup(c.helper, plan, out, [&](std::uint64_t done, std::uint64_t) { report("create_backup", done, 0); });
    };
    if (auto *own = c.pools.driver(v.pool)->replication(); own && wish.optimized) {
      index.optimized = index.optimized_header = true;
      streams = own->open_streams(storage::custom_ref(v.project, v.name), index.snapshots, {});
      instance::add_streams(plan, *streams, true);
      return pack();
    }
    bool image = v.content != db::VolumeContent::filesystem;
    for (auto &p : places) {
      unpack::BackupPart part;
      part.prefix = p.name.empty() ? "backup/volume" : "backup/volume-snapshots/" + p.name;
      part.kind = image ? "image" : "tree";
      if (image) {
        part.prefix += ".img";
        part.root = storage::CustomVolumes::image_file(v.content);
      }
      if (!p.directory.starts_with(plan.pool + "/")) base::fail(ErrorCode::internal, "{} is not below the pool's directory", base::quoted(p.directory));
      part.directory = p.directory.substr(plan.pool.size() + 1);
      plan.parts.push_back(std::move(part));
    }
    pack();
  });
}

VolumeImport check_volume(const instance::BackupIndex &i, const std::string &header, const std::string &pool_driver) {
  if (i.type != "custom") base::fail(ErrorCode::invalid_argument, "the backup is one of type {}, not of a custom volume", base::quoted(i.type));
  auto &c = i.config;
  if (!c.volume) base::fail(ErrorCode::corrupt, "backup/index.yaml tells of no volume");
  std::optional<db::VolumeContent> content;
  for (auto one : {db::VolumeContent::filesystem, db::VolumeContent::block, db::VolumeContent::iso})
    if (c.volume_content == db::content_name(one)) content = one;
  if (!content) base::fail(ErrorCode::corrupt, "backup/index.yaml tells of a volume of the unknown content type {}", base::quoted(c.volume_content));
  if (c.volume->name != i.name) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: the volume is called {} and {}", base::quoted(i.name), base::quoted(c.volume->name));
  std::set<std::string> listed(i.snapshots.begin(), i.snapshots.end()), told;
  for (auto &s : c.volume_snapshots) {
    base::SnapshotName::parse(s.name);
    if (!told.insert(s.name).second) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: snapshot {} comes twice", base::quoted(s.name));
  }
  if (listed != told) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: it lists {} snapshots and tells of {}", listed.size(), told.size());
  if (*content == db::VolumeContent::iso && !told.empty()) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: a volume of content type iso has no snapshots");
  VolumeImport out;
  out.optimized = i.optimized;
  if (i.optimized) out.parts = instance::streams_of(i, header, pool_driver);
  out.volume = *c.volume;
  out.volume.content = *content;
  out.volume.type = storage::custom_volume_type;
  if (out.volume.created_at == Time{}) out.volume.created_at = base::now();
  // What the pool that it was made on keeps with its volumes means nothing here.
  auto foreign = [own = i.backend + "."](auto &kv) {
    for (auto &prefix : {own, std::string("volatile."), std::string("block."), std::string("initial.")})
      if (kv.first.starts_with(prefix)) return true;
    return false;
  };
  // The official daemon changes the owners on disk to those of the instance that uses a volume; here they are the guest's.
  constexpr const char *idmap_key = "volatile.idmap.last";
  out.shifts = instance::backup_shifts("", out.volume.config, idmap_key);
  for (auto &s : c.volume_snapshots) out.shifts += instance::backup_shifts(s.name, s.config, idmap_key);
  out.owners[""] = sys::idmap_of(out.volume.config, idmap_key);
  for (auto &s : c.volume_snapshots) out.owners[s.name] = sys::idmap_of(s.config, idmap_key);
  std::erase_if(out.volume.config, foreign);
  out.snapshots = c.volume_snapshots;
  for (auto &s : out.snapshots) std::erase_if(s.config, foreign);
  return out;
}

void import_volume(const VolumeContext &c, const VolumeImport &import, int archive, const instance::Report &report) {
  auto progress = [&](std::uint64_t done, std::uint64_t total) { report("unpack", done, total); };
  if (import.optimized)
    return c.volumes.create_from_streams(import.volume, import.snapshots, import.parts, import.owners,
                                         [&](int dir) { instance::receive_streams(c.helper, archive, instance::stream_files(import.parts, true), dir, progress); });
  auto shifts = sys::memory_file("shifts", import.shifts);
  std::string kind = import.volume.content == db::VolumeContent::filesystem ? "tree" : db::content_name(import.volume.content);
  c.volumes.create_from_backup(import.volume, import.snapshots, [&](int dir, int beside) {
    std::vector<int> fds{archive, shifts.get(), dir};
    if (beside >= 0) fds.push_back(beside);
    image::Job job(c.helper, static_cast<std::uint32_t>(unpack::Op::restore), {kind}, std::move(fds));
    job.finish(progress);
  });
}

} // namespace incus::backup
