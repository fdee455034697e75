// SPDX-License-Identifier: Apache-2.0
// The `btrfs` driver: every volume is a subvolume, and what is made from another is a snapshot of it. Images and snapshots are read-only.
//
// The layout is that of trees.hpp. A subvolume that holds no others is snapshotted and deleted in one step of the file system, so that it needs no name
// beside its own; with others inside, which a guest made, it goes by NAME~new and NAME~old as trees do. Restored and refreshed is always the whole
// subvolume: the next one is made as NAME~restore, then both change places.
#include "storage/drivers/btrfs.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/config.hpp"
#include "storage/drivers/btrfs_pool.hpp"
#include "storage/drivers/btrfs_stream.hpp"
#include "storage/trees.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/mounts.hpp"
#include "sys/subvolumes.hpp"

namespace incus::storage {

using base::fail;
using base::Fd;
using sys::FaultScope;

namespace {

class Btrfs final : public RootfsTree, public BtrfsVolumes {
public:
  explicit Btrfs(const DriverContext &context) : RootfsTree(context), pool_(context), streams_(*this) {}

  void create() override {
    pool_.create();
    TreeDriver::create();
  }
  void adopt() override {
    pool_.open();
    TreeDriver::create();
  }
  bool open() override {
    bool fresh = pool_.open();
    streams_.sweep();
    return fresh;
  }
  Replication *replication() override { return &streams_; }
  void close(bool unused) override { pool_.close(unused); }
  Config config() override { return pool_.config(); }
  void update(const Config &to) override { pool_.update(to); }

  void remove() override {
    try {
      pool_.open();
    } catch (const Error &e) {
      // Nothing can be looked at. The caller knows of no volume that is on it.
      context_.log->warning("pool {} is removed without what is on it: {}", context_.pool, e.what());
    }
    if (pool_.is_open()) {
      for (auto type : {VolumeType::container, VolumeType::custom})
        if (auto names = TreeDriver::list(type); !names.empty())
          fail(ErrorCode::conflict, "pool {} cannot be removed: {} is on it; delete it first", base::quoted(context_.pool), base::quoted(names[0]));
    }
    clear(false);
  }

  void abandon() override { clear(true); }
  using TreeDriver::create;
  using TreeDriver::remove;

protected:
  void ready() const override { pool_.open(); }
  mode_t volume_mode(VolumeType type) const override { return type == VolumeType::custom ? 0711 : 0100; } // a snapshot of an image is an instance then
  bool whole(VolumeType) const override { return true; }

  Fd begin(int parent, const std::string &name, mode_t mode) const override {
    sys::create_subvolume(parent, name);
    Fd dir = sys::open_child(parent, name);
    if (::fchmod(dir.get(), mode) != 0) base::fail_errno(errno, fmt::format("cannot set the mode of subvolume {}", base::quoted(name)));
    return dir;
  }

  void seal(int dirfd) const override { sys::set_read_only(dirfd, true); }

  bool erase(int parent, const std::string &name) const override {
    if (sys::remove_subvolume(parent, name)) return true;
    // A directory of volumes or snapshots, or of no meaning here.
    if (Fd dir = sys::try_open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
      for (auto &entry : sys::list_directory(dir.get()))
        if (Fd one = sys::try_open_beneath(dir.get(), entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)) {
          one.reset();
          if (sys::remove_subvolume(dir.get(), entry)) continue;
          if (Fd deeper = sys::try_open_beneath(dir.get(), entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
            for (auto &e : sys::list_directory(deeper.get())) sys::remove_subvolume(deeper.get(), e);
        }
    return sys::remove_tree(parent, name);
  }

  bool clone(int from, int parent, const std::string &name, mode_t mode, bool sealed) const override {
    if (!sys::is_subvolume(from)) return false;
    if (mode_of(from) == mode && sys::nested_subvolumes(from).empty()) {
      sys::snapshot_subvolume(from, parent, name, sealed);
      if (!sealed) forget_record(sys::open_child(parent, name).get());
      return true;
    }
    std::string fresh = name + "~new";
    erase(parent, fresh);
    try {
      sys::snapshot_subvolume(from, parent, fresh, false);
      Fd dir = sys::open_child(parent, fresh);
      if (::fchmod(dir.get(), mode) != 0) base::fail_errno(errno, fmt::format("cannot set the mode of subvolume {}", base::quoted(name)));
      if (!sealed) forget_record(dir.get());
      if (sealed) seal(dir.get());
      FaultScope fault("publish volume");
      sys::rename_at(parent, fresh, parent, name);
    } catch (...) {
      try {
        erase(parent, fresh);
      } catch (...) {
      }
      throw;
    }
    sys::sync_filesystem(parent);
    return true;
  }

  /// What describes the source is not the copy's.
  static void forget_record(int dirfd) {
    FaultScope fault("remove record");
    if (::unlinkat(dirfd, "backup.yaml", 0) != 0 && errno != ENOENT) base::fail_errno(errno, "cannot remove the record of the source");
  }

  void take_snapshot(int parent, const std::string &name) const override {
    std::string plain = name + "~plain";
    sys::rename_at(parent, name, parent, plain);
    Fd from = sys::open_child(parent, plain), to = begin(parent, name, 0700);
    sys::copy_tree(from.get(), to.get(), {});
    seal(to.get());
    sys::remove_tree(parent, plain);
  }

private:
  void clear(bool abandoned) {
    if (pool_.is_open()) {
      Fd dir = sys::open_directory(context_.directory);
      for (auto *name : {"containers", "containers-snapshots", "images", "custom", "custom-snapshots", transfers_name}) {
        FaultScope fault("remove pool directory");
        erase(dir.get(), name);
      }
    }
    pool_.close(false);
    pool_.remove_storage(abandoned);
  }

  // BtrfsVolumes
  Fd part(const VolumeRef &vol, const std::optional<std::string> &snapshot) const override { return snapshot ? open_snapshot(vol, *snapshot) : volume(vol); }
  Fd pool_directory() const override { return TreeDriver::pool(); }
  Fd volumes(VolumeType type) const override { return type_directory(type); }
  Fd snapshots_root(VolumeType type) const override { return sys::make_directory(TreeDriver::pool().get(), snapshots_directory(type), type == VolumeType::custom ? 0700 : 0711); }
  bool erase_entry(int parent, const std::string &name) const override { return erase(parent, name); }
  void new_snapshot(const VolumeRef &vol, const std::string &snapshot, const std::function<void(int)> &put) override { place_snapshot(vol, snapshot, put); }
  void forget_prepared(const VolumeRef &vol) override { erase_prepared(type_directory(vol.type).get(), vol); }
  void remove_everything(const VolumeRef &vol) override { remove_volume(vol); }
  void about(const char *verb, const VolumeRef &vol, const std::function<void()> &work) const override { explain(verb, describe(vol), work); }

  mutable BtrfsPool pool_;
  BtrfsStreams streams_;
};

constexpr schema::Key keys[] = {
    {"btrfs.mount_options", "string", nullptr, "user_subvol_rm_allowed", true, "Mount options of a pool on a disk or a loop file."},
    {"size", "size", schema::is_size, "", true, "Of the loop file: a fifth of the free space unless said, from 5 GiB to 30 GiB. It can grow."},
    {"source.wipe", "bool", schema::is_bool, "false", false, "Whether what is on the disk is lost when the pool is made."},
    {"volatile.initial_source", "string", nullptr, "", false, "The source that was asked for when the pool was made."},
};

} // namespace

const DriverInfo btrfs_driver = {
    "btrfs",
    "Subvolumes: instances from images, copies and snapshots are made at once and share what is the same. On a loop file, a disk or a directory of a Btrfs file system.",
    [](const DriverContext &context) -> std::unique_ptr<Driver> { return std::make_unique<Btrfs>(context); },
    [](const Config &config) { validate_pool(config, keys); },
    true,
    BtrfsPool::prepare,
    keys,
    []() -> std::string {
      if (!sys::kernel_has_filesystem("btrfs")) return "the kernel has no Btrfs";
      if (btrfs_maker().empty()) return "the program mkfs.btrfs is missing";
      return {};
    },
};

} // namespace incus::storage
