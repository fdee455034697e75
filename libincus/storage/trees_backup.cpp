// SPDX-License-Identifier: Apache-2.0
// Volumes from backups, of the drivers that keep trees.
#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/trees.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using base::fail;
using base::Fd;
using sys::FaultScope;

void TreeDriver::create_from_backup(const VolumeRef &vol, bool snapshots, const std::function<void(int, int)> &fill) {
  check_component(vol.name);
  if (vol.type == VolumeType::image) fail(ErrorCode::not_supported, "there are no backups of images");
  bool custom = vol.type == VolumeType::custom;
  auto check = [&](int dir) {
    if (custom) return;
    // What came from outside may have planted other things under these names.
    sys::open_child(dir, "rootfs");
    if (sys::exists_at(dir, "templates")) sys::open_child(dir, "templates");
    struct stat st;
    if (::fstatat(dir, "metadata.yaml", &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) fail(ErrorCode::corrupt, "metadata.yaml of the backup is not a regular file");
    take_root(dir);
  };
  explain("restore", describe(vol), [&] {
    Fd parent = type_directory(vol.type), all;
    if (custom && ::fchmod(parent.get(), 0700) != 0) base::fail_errno(errno, "cannot close the directory of volumes to the host's users");
    if (sys::exists_at(parent.get(), vol.name)) fail(ErrorCode::already_exists, "it is on disk already");
    if (snapshots) {
      FaultScope fault("make snapshots directory");
      all = custom ? sys::make_directory(pool().get(), snapshots_directory(vol.type), 0700) : sys::open_child(pool().get(), snapshots_directory(vol.type));
      if (sys::exists_at(all.get(), vol.name)) fail(ErrorCode::already_exists, "snapshots of it are on disk already");
    }
    auto make_volume = [&](int beside) {
      make(parent.get(), vol.name, custom ? 0711 : 0100, [&](int dir) {
        {
          FaultScope fault("unpack backup");
          fill(dir, beside);
        }
        check(dir);
        if (!custom) finish_root(dir);
      });
    };
    if (!snapshots) return make_volume(-1);
    make(all.get(), vol.name, 0700, [&](int dir) {
      make_volume(dir);
      for (auto &name : sys::list_directory(dir)) {
        check_component(name);
        Fd one = sys::open_child(dir, name);
        check(one.get());
        if (::fchmod(one.get(), custom ? 0711 : 0100) != 0) base::fail_errno(errno, "cannot set the mode of the snapshot's directory");
        take_snapshot(dir, name);
      }
    }, Made::plain);
  });
}

std::string TreeDriver::snapshot_place(const VolumeRef &vol, const std::string &snapshot) {
  open_snapshot(vol, snapshot);
  return fmt::format("{}/{}/{}/{}", context_.directory, snapshots_directory(vol.type), vol.name, snapshot);
}

} // namespace incus::storage
