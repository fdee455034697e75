// SPDX-License-Identifier: Apache-2.0
// Instances whose root is one directory.
#include "base/error.hpp"
#include "storage/shift.hpp"
#include "storage/trees.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

RootfsPlan RootfsTree::rootfs(const VolumeRef &vol) {
  base::Fd dir = volume(vol);
  sys::open_child(dir.get(), "rootfs");
  RootfsPlan plan;
  plan.path = context_.directory + "/containers/" + vol.name + "/rootfs";
  plan.idmapped = !is_shifted(dir.get());
  return plan;
}

RootfsPlan RootfsTree::snapshot_root(const VolumeRef &vol, const std::string &snapshot) {
  base::Fd dir = open_snapshot(vol, snapshot);
  sys::open_child(dir.get(), "rootfs");
  RootfsPlan plan;
  plan.path = snapshot_place(vol, snapshot) + "/rootfs";
  plan.idmapped = !is_shifted(dir.get());
  return plan;
}

void RootfsTree::shift(const VolumeRef &vol, const IdMap &from, const IdMap &to) {
  explain("change the owners in", describe(vol), [&] { shift_tree(volume(vol).get(), "rootfs", from, to); });
}

std::vector<std::string> RootfsTree::root_files() const { return {shift_map_file}; }

void RootfsTree::fill_empty(int dirfd) {
  sys::FaultScope fault("make empty root");
  sys::make_directory(dirfd, "rootfs", 0755);
}

void RootfsTree::open_root(int dirfd, TreeContent &content) {
  content.files = sys::open_child(dirfd, "rootfs");
  content.root = content.files.get();
  if (is_shifted(dirfd)) content.owners = sys::read_file_if_exists(dirfd, shift_map_file).value_or("");
}

} // namespace incus::storage
