// SPDX-License-Identifier: Apache-2.0
// Custom volumes that are not trees of files: disks (content block) and media (content iso). On pools of directories each is one file in the volume's
// directory, so copies, snapshots, restores and moves are those of any volume.
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "schema/schema.hpp"
#include "storage/custom.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using db::VolumeContent;

namespace {

constexpr const char *default_size = "10GiB";

const char *image_name(VolumeContent c) { return c == VolumeContent::iso ? "root.iso" : "root.img"; }

std::int64_t size_of(const db::VolumeFull &v) {
  auto it = v.config.find("size");
  return it == v.config.end() || it->second.empty() ? 0 : schema::parse_size(it->second);
}

std::int64_t bytes_in(int fd, const std::string &what) {
  struct stat st;
  if (::fstat(fd, &st) != 0) base::fail_errno(errno, "cannot look at " + what);
  return st.st_size;
}

void grow(int fd, std::int64_t size, const std::string &name) {
  sys::FaultScope fault("grow volume");
  if (::ftruncate(fd, size) != 0 || ::fsync(fd) != 0) base::fail_errno(errno, fmt::format("cannot give volume {} a size of {} bytes", base::quoted(name), size));
}

} // namespace

const char *CustomVolumes::image_file(VolumeContent content) noexcept { return image_name(content); }

/// A disk or medium is as large as its file is, whatever a backup says; one that is none is refused.
void CustomVolumes::measure(db::VolumeFull &v, std::vector<db::VolumeSnapshotRow> &snaps) {
  if (v.content == VolumeContent::filesystem) return;
  auto look = [&](int dir, Config &config) {
    struct stat st;
    if (sys::list_directory(dir) != std::vector<std::string>{image_name(v.content)} || ::fstatat(dir, image_name(v.content), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
      base::fail(ErrorCode::corrupt, "the backup of volume {} does not hold one of content type {}", base::quoted(v.name), db::content_name(v.content));
    auto it = config.find("size");
    if (it == config.end() || it->second.empty() || schema::parse_size(it->second) != st.st_size) config["size"] = std::to_string(st.st_size);
  };
  auto p = place({v.pool, v.project, v.name});
  look(base::Fd(p.driver->open_volume(p.volume)).get(), v.config);
  for (auto &s : snaps) look(sys::open_directory(snapshots(v.pool).snapshot_place(p.volume, s.name)).get(), s.config);
}

void CustomVolumes::only_files(const db::VolumeFull &v, const char *doing) {
  if (v.content != VolumeContent::filesystem)
    base::fail(ErrorCode::not_supported, "cannot {} volume {} of pool {}: its content is of type {}", doing, base::quoted(v.name), base::quoted(v.pool), db::content_name(v.content));
}

/// What a new one has where nothing else is said.
void CustomVolumes::prepare_image(db::VolumeFull &v, int medium) {
  if (v.content == VolumeContent::block && size_of(v) == 0) v.config["size"] = default_size;
  if (v.content != VolumeContent::iso) return;
  if (medium < 0) base::fail(ErrorCode::invalid_argument, "cannot create volume {} of content type iso: it is made by an import of its content", base::quoted(v.name));
  v.config["size"] = std::to_string(bytes_in(medium, "the medium"));
}

void CustomVolumes::fill_image(const storage::Place &p, const db::VolumeFull &v, int medium) {
  if (pools_.directory(v.pool).empty()) return;
  base::Fd dir(p.driver->open_volume(p.volume));
  {
    sys::FaultScope fault("fill volume");
    base::Fd file(::openat(dir.get(), image_name(v.content), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) base::fail_errno(errno, fmt::format("cannot make the content of volume {}", base::quoted(v.name)));
    if (v.content == VolumeContent::iso)
      sys::copy_content(medium, file.get(), "volume " + base::quoted(v.name));
    else if (::ftruncate(file.get(), size_of(v)) != 0)
      base::fail_errno(errno, fmt::format("cannot give volume {} a size of {} bytes", base::quoted(v.name), size_of(v)));
    if (::fsync(file.get()) != 0) base::fail_errno(errno, fmt::format("cannot keep the content of volume {}", base::quoted(v.name)));
  }
  sys::sync_directory(dir.get());
}

/// A disk that is smaller than the store says, grows: it was restored, copied or half changed.
void CustomVolumes::settle_size(const VolumeName &n) {
  if (db::pools(global_, n.pool).empty() || pools_.directory(n.pool).empty()) return;
  auto v = db::volume(global_, n.pool, n.project, custom_volume_type, n.name);
  if (!v || v->content != VolumeContent::block) return;
  auto p = place(n);
  base::Fd dir(p.driver->open_volume(p.volume));
  base::Fd file(::openat(dir.get(), image_name(v->content), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!file) base::fail_errno(errno, fmt::format("cannot open the content of volume {}", base::quoted(n.name)));
  if (auto size = size_of(*v); bytes_in(file.get(), "volume " + base::quoted(n.name)) < size) grow(file.get(), size, n.name);
}

void CustomVolumes::resize(const db::VolumeFull &v, const std::function<void()> &commit) {
  VolumeName n{v.pool, v.project, v.name};
  Hold hold(*this, {n});
  if (size_of(volume(n.pool, n.project, n.name)) > size_of(v))
    base::fail(ErrorCode::invalid_argument, "the size of volume {} cannot be changed to {}: Block volumes cannot be shrunk", base::quoted(v.name), base::quoted(v.config.at("size")));
  db::Intent intent(journal_, "volume.size", journal_entry(n));
  global_.transaction(commit);
  settle_size(n);
  intent.done();
}

void CustomVolumes::recognise(int dirfd, db::VolumeFull &v) {
  auto names = sys::list_directory(dirfd);
  if (names.size() != 1) return;
  for (auto content : {VolumeContent::block, VolumeContent::iso}) {
    struct stat st;
    if (names[0] != image_name(content) || ::fstatat(dirfd, image_name(content), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
    v.content = content;
    v.config["size"] = std::to_string(st.st_size);
  }
}

} // namespace incus::storage
