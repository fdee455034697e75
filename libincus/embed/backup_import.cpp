// SPDX-License-Identifier: Apache-2.0
// Instances and volumes from backups, as rows ask for them.
#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/records.hpp"
#include "backup/volume.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "db/projects.hpp"
#include "embed/engine.hpp"
#include "embed/instance_urls.hpp"
#include "embed/volume_entries.hpp"

namespace incus::embed {

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
  auto header = std::make_shared<std::string>();
  auto index = std::make_shared<instance::BackupIndex>(instances_->read_index(file->get(), header.get()));
  instances_->check_import(q.project(), *index, *header, q.header("x-incus-name"), q.header("x-incus-pool"));
  auto s = instance_operation(q, "Restoring backup", index->name);
  return async(std::move(s), [this, file, index, header](TaskOperation &op) { instances_->import_backup(*index, *header, file->get(), report_to(op)); });
}

/// A volume of content iso from what comes.
api::Reply Engine::import_medium(api::Request &q) {
  pools_->info(q.path[0]);
  db::VolumeFull v;
  v.pool = q.path[0];
  v.project = volume_owner(*global_, q);
  v.name = q.header("x-incus-name");
  if (v.name.empty()) base::fail(ErrorCode::invalid_argument, "Missing volume name: an import of type iso needs X-Incus-name");
  v.content = db::VolumeContent::iso;
  volumes_->must_be_new({v.pool, v.project, v.name}, "create");
  auto file = std::make_shared<base::Fd>(backup_body(q));
  OperationSpec s;
  s.description = "Creating storage volume";
  s.project = q.project();
  v.type = storage::custom_volume_type;
  auto url = volume_url(v);
  s.resources["storage_volumes"] = {url};
  return async(std::move(s), [this, file, v, url](TaskOperation &) {
    volumes_->create(v, file->get());
    events_.lifecycle("storage-volume-created", url, v.project);
  });
}

api::Reply Engine::import_volume(api::Request &q) {
  auto type = q.header("x-incus-type");
  if (type == "iso") return import_medium(q);
  if (!type.empty() && type != "backup") base::fail(ErrorCode::invalid_argument, "unknown type {} of an import: must be backup or iso", base::quoted(type));
  pools_->info(q.path[0]);
  auto file = std::make_shared<base::Fd>(backup_body(q));
  std::string header;
  auto index = instances_->read_index(file->get(), &header);
  auto import = std::make_shared<backup::VolumeImport>(backup::check_volume(index, header, pools_->info(q.path[0]).driver));
  auto &v = import->volume;
  v.pool = q.path[0];
  v.project = volume_owner(*global_, q);
  if (auto name = q.header("x-incus-name"); !name.empty()) v.name = name;
  volumes_->must_be_new({v.pool, v.project, v.name}, "create");
  OperationSpec s;
  s.description = "Restoring custom volume backup";
  s.project = q.project();
  v.type = storage::custom_volume_type;
  auto url = volume_url(v);
  s.resources["storage_volumes"] = {url};
  return async(std::move(s), [this, file, import, url](TaskOperation &op) {
    backup::import_volume({*global_, *pools_, *volumes_, images_->helper()}, *import, file->get(), report_to(op));
    events_.lifecycle("storage-volume-created", url, import->volume.project);
  });
}

} // namespace incus::embed
