// SPDX-License-Identifier: Apache-2.0
// Instances and volumes from backups; archives of volumes.
#include <boost/json.hpp>
#include <fcntl.h>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/projects.hpp"
#include "embed/engine.hpp"
#include "embed/instance_urls.hpp"
#include "embed/volume_backup.hpp"
#include "helper/unpack/backup_plan.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "sys/fault.hpp"

namespace incus::embed {

namespace {

base::Fd memory(const char *name, const std::string &text) {
  base::Fd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file || ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) base::fail_errno(errno, "cannot make a file in memory");
  return file;
}

} // namespace

void write_volume_backup(const VolumeBackupContext &c, const storage::VolumeName &volume, bool snapshots, const std::string &compression, int out,
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
      part.live = true;
      plan.parts.push_back(std::move(part));
    }
    auto file = memory("plan", unpack::to_text(plan));
    sys::FaultScope fault("pack backup");
    image::Job job(c.helper, static_cast<std::uint32_t>(unpack::Op::backup), {}, {out, file.get()});
    job.finish([&](std::uint64_t done, std::uint64_t) { report("create_backup", done, 0); });
  });
}

VolumeImport check_volume_index(const instance::BackupIndex &i) {
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
  out.volume.type = 2;
  if (out.volume.created_at == Time{}) out.volume.created_at = base::now();
  // What the pool of another driver keeps with its volumes means nothing here.
  auto foreign = [](auto &kv) { return kv.first.starts_with("volatile.") || kv.first.starts_with("zfs.") || kv.first.starts_with("lvm.") || kv.first.starts_with("block.") || kv.first.starts_with("initial."); };
  std::erase_if(out.volume.config, foreign);
  out.snapshots = c.volume_snapshots;
  for (auto &s : out.snapshots) std::erase_if(s.config, foreign);
  return out;
}

void import_volume_backup(const VolumeBackupContext &c, const VolumeImport &import, int archive, const instance::Report &report) {
  auto none = memory("shifts", "");
  c.volumes.create_from_backup(import.volume, import.snapshots, [&](int dir, int beside) {
    std::vector<int> fds{archive, none.get(), dir};
    if (beside >= 0) fds.push_back(beside);
    image::Job job(c.helper, static_cast<std::uint32_t>(unpack::Op::restore), {"tree"}, std::move(fds));
    job.finish([&](std::uint64_t done, std::uint64_t total) { report("unpack", done, total); });
  });
}

/// The archive as a file that can be read twice: the client's own when it is one, else a copy without a name.
base::Fd Engine::backup_body(api::Request &q) {
  int from = q.stream("body");
  struct stat st;
  if (::fstat(from, &st) != 0) base::fail_errno(errno, "cannot read the backup");
  if (S_ISREG(st.st_mode)) return base::Fd(::fcntl(from, F_DUPFD_CLOEXEC, 3));
  if (!directory_) base::fail(ErrorCode::not_supported, "backups cannot be imported: this is a test host in memory");
  auto dir = directory_->path() + "/backups";
  base::Fd file(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) base::fail_errno(errno, fmt::format("cannot make a file in {}", base::quoted(dir)));
  std::string piece(1 << 20, '\0');
  for (;;) {
    ssize_t n = ::read(from, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot read the backup");
    if (n == 0) return file;
    for (ssize_t at = 0; at < n;) {
      ssize_t w = ::write(file.get(), piece.data() + at, static_cast<std::size_t>(n - at));
      if (w < 0 && errno == EINTR) continue;
      if (w < 0) base::fail_errno(errno, "cannot keep the backup");
      at += w;
    }
  }
}

api::Reply Engine::import_instance(api::Request &q) {
  auto file = std::make_shared<base::Fd>(backup_body(q));
  auto index = std::make_shared<instance::BackupIndex>(instances_->read_index(file->get()));
  instances_->check_import(q.project(), *index, q.header("x-incus-name"), q.header("x-incus-pool"));
  auto s = instance_operation(q, "Restoring backup", index->name);
  return async(std::move(s), [this, file, index](TaskOperation &op) { instances_->import_backup(*index, file->get(), report_to(op)); });
}

api::Reply Engine::import_volume(api::Request &q) {
  if (auto type = q.header("x-incus-type"); !type.empty() && type != "backup")
    base::fail(ErrorCode::not_supported, "volumes of content type {} are not supported yet", base::quoted(type));
  pools_->info(q.path[0]);
  auto file = std::make_shared<base::Fd>(backup_body(q));
  auto import = std::make_shared<VolumeImport>(check_volume_index(instances_->read_index(file->get())));
  auto &v = import->volume;
  v.pool = q.path[0];
  v.project = db::project_of(*global_, q.project(), "features.storage.volumes");
  if (auto name = q.header("x-incus-name"); !name.empty()) v.name = name;
  if (v.name.find('/') != std::string::npos) base::fail(ErrorCode::invalid_argument, "invalid name {}: Storage volume names may not contain slashes", base::quoted(v.name));
  base::SnapshotName::parse(v.name);
  if (db::volume(*global_, v.pool, v.project, 2, v.name)) base::fail(ErrorCode::already_exists, "Volume by that name already exists: {} in pool {}", base::quoted(v.name), base::quoted(v.pool));
  OperationSpec s;
  s.description = "Restoring custom volume backup";
  s.project = q.project();
  auto url = "/1.0/storage-pools/" + v.pool + "/volumes/custom/" + v.name + (v.project == "default" ? "" : "?project=" + v.project);
  s.resources["storage_volumes"] = {url};
  return async(std::move(s), [this, file, import, url](TaskOperation &op) {
    import_volume_backup({*global_, *pools_, *volumes_, images_->helper()}, *import, file->get(), report_to(op));
    events_.lifecycle("storage-volume-created", url, import->volume.project);
  });
}

} // namespace incus::embed
