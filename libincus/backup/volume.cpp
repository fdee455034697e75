// SPDX-License-Identifier: Apache-2.0
#include "backup/volume.hpp"

#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "helper/unpack/backup_plan.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::backup {

void write_volume(const VolumeContext &c, const storage::VolumeName &volume, bool snapshots, const std::string &compression, int out,
                         const instance::Report &report) {
  unpack::BackupPlan plan;
  plan.pool = c.pools.directory(volume.pool);
  if (plan.pool.empty()) base::fail(ErrorCode::not_supported, "cannot make a backup of volume {}: this is a test host in memory", base::quoted(volume.name));
  plan.compression = compression;
  c.volumes.with_places(volume, snapshots, [&](auto &v, auto &rows, auto &places) {
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
    plan.index = instance::format_index(index);
    for (auto &p : places) {
      unpack::BackupPart part;
      part.prefix = p.name.empty() ? "backup/volume" : "backup/volume-snapshots/" + p.name;
      part.kind = "tree";
      if (!p.directory.starts_with(plan.pool + "/")) base::fail(ErrorCode::internal, "{} is not below the pool's directory", base::quoted(p.directory));
      part.directory = p.directory.substr(plan.pool.size() + 1);
      plan.parts.push_back(std::move(part));
    }
    auto file = sys::memory_file("plan", unpack::to_text(plan));
    sys::FaultScope fault("pack backup");
    image::Job job(c.helper, static_cast<std::uint32_t>(unpack::Op::backup), {}, {out, file.get()});
    job.finish([&](std::uint64_t done, std::uint64_t) { report("create_backup", done, 0); });
  });
}

VolumeImport check_volume(const instance::BackupIndex &i) {
  if (i.type != "custom") base::fail(ErrorCode::invalid_argument, "the backup is one of type {}, not of a custom volume", base::quoted(i.type));
  if (i.optimized)
    base::fail(ErrorCode::not_supported, "the backup holds a stream of the storage driver {}, which this server cannot read: make one without --optimized-storage", base::quoted(i.backend));
  auto &c = i.config;
  if (!c.volume) base::fail(ErrorCode::corrupt, "backup/index.yaml tells of no volume");
  if (c.volume_content != "filesystem") base::fail(ErrorCode::not_supported, "volumes of content type {} are not supported yet", base::quoted(c.volume_content));
  if (c.volume->name != i.name) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: the volume is called {} and {}", base::quoted(i.name), base::quoted(c.volume->name));
  std::set<std::string> listed(i.snapshots.begin(), i.snapshots.end()), told;
  for (auto &s : c.volume_snapshots) {
    base::SnapshotName::parse(s.name);
    if (!told.insert(s.name).second) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: snapshot {} comes twice", base::quoted(s.name));
  }
  if (listed != told) base::fail(ErrorCode::corrupt, "backup/index.yaml contradicts itself: it lists {} snapshots and tells of {}", listed.size(), told.size());
  VolumeImport out;
  out.volume = *c.volume;
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
  std::erase_if(out.volume.config, foreign);
  out.snapshots = c.volume_snapshots;
  for (auto &s : out.snapshots) std::erase_if(s.config, foreign);
  return out;
}

void import_volume(const VolumeContext &c, const VolumeImport &import, int archive, const instance::Report &report) {
  auto shifts = sys::memory_file("shifts", import.shifts);
  c.volumes.create_from_backup(import.volume, import.snapshots, [&](int dir, int beside) {
    std::vector<int> fds{archive, shifts.get(), dir};
    if (beside >= 0) fds.push_back(beside);
    image::Job job(c.helper, static_cast<std::uint32_t>(unpack::Op::restore), {"tree"}, std::move(fds));
    job.finish([&](std::uint64_t done, std::uint64_t total) { report("unpack", done, total); });
  });
}

} // namespace incus::backup
