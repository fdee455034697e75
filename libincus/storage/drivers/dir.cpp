// SPDX-License-Identifier: Apache-2.0
// The `dir` driver: an instance is a directory with a copy of its image (sharing blocks where the file system can).
#include "storage/drivers/dir.hpp"

#include "base/error.hpp"
#include "storage/config.hpp"
#include "storage/shift.hpp"
#include "storage/trees.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

namespace {

class Dir final : public TreeDriver {
public:
  using TreeDriver::TreeDriver;

  RootfsPlan rootfs(const VolumeRef &vol) override {
    base::Fd dir = volume(vol);
    sys::open_child(dir.get(), "rootfs");
    RootfsPlan plan;
    plan.path = context_.directory + "/containers/" + vol.name + "/rootfs";
    plan.idmapped = !is_shifted(dir.get());
    return plan;
  }

  RootfsPlan snapshot_root(const VolumeRef &vol, const std::string &snapshot) override {
    base::Fd dir = open_snapshot(vol, snapshot);
    sys::open_child(dir.get(), "rootfs");
    RootfsPlan plan;
    plan.path = snapshot_place(vol, snapshot) + "/rootfs";
    plan.idmapped = !is_shifted(dir.get());
    return plan;
  }

  void shift(const VolumeRef &vol, const IdMap &from, const IdMap &to) override {
    explain("change the owners in", describe(vol), [&] { shift_tree(volume(vol).get(), "rootfs", from, to); });
  }

protected:
  const char *root_name() const override { return "rootfs"; }
  std::vector<std::string> root_files() const override { return {shift_map_file}; }
  void fill_empty(int dirfd) override {
    sys::FaultScope fault("make empty root");
    sys::make_directory(dirfd, "rootfs", 0755);
  }
  void take_root(int) override {}
  void open_root(int dirfd, TreeContent &content) override {
    content.files = sys::open_child(dirfd, "rootfs");
    content.root = content.files.get();
    if (is_shifted(dirfd)) content.owners = sys::read_file_if_exists(dirfd, shift_map_file).value_or("");
  }
  std::string root_file(const std::string &, const Content &content) override { return content.owners.value_or(""); }
  void fill_from_image(int dirfd, int image, const VolumeRef &, const Progress &progress) override { copy_root(image, dirfd, From::image, progress); }
};

} // namespace

const DriverInfo dir_driver = {
    "dir",
    "A directory tree an instance, copied from the image (reflinked where the file system can). Works on every file system.",
    [](const DriverContext &context) -> std::unique_ptr<Driver> { return std::make_unique<Dir>(context); },
    validate_pool,
};

} // namespace incus::storage
