// SPDX-License-Identifier: Apache-2.0
// What drivers share that keep volumes as directory trees on any file system. A driver says what an instance's root consists of; names, half-made
// volumes, snapshots, restores and durability are here.
//
// Layout below the pool's directory (mode):
//   containers/ (0711)            NAME/ (0100)       the driver's root, metadata.yaml, templates/, backup.yaml
//   containers-snapshots/ (0711)  NAME/ (0700) SNAP/ (0100)
//   images/ (0700)                FINGERPRINT/ (0700)  metadata.yaml, templates/, rootfs/
//   custom/ (0700)                NAME/ (0711)       what the user keeps there
//   custom-snapshots/ (0700)      NAME/ (0700) SNAP/ (0711)
// An instance's directory is 0100, and custom/ 0700, so that no user of the host reaches a set-uid file that a guest made.
//
// A volume (or snapshot) is made as NAME~new and renamed when it is whole and on disk; it is removed as NAME~old. A volume that is restored or
// refreshed as a whole (a custom one; every one where volumes are subvolumes) has its next content in NAME~restore. '~' is in no name, so list() reports these as NAME and remove_volume(NAME) removes them. Calls on one volume are serialised, so there is at most one of each.
//
// Durable: what create, copy, snapshot and restore made outlasts a power loss once they return. Contents are synced before the rename
// (sync_tree in sys/copy.hpp), the directory that holds the name after it: one journal commit where file systems allow it.
#pragma once
#include <mutex>

#include "base/fd.hpp"
#include "storage/driver.hpp"

namespace incus::storage {

class TreeDriver : public Driver, public SnapshotOps {
public:
  explicit TreeDriver(const DriverContext &context) : context_(context) {}

  void create() override;
  void remove() override;
  StoragePoolResources resources() override;
  bool exists(const VolumeRef &vol) override;
  std::vector<std::string> list(VolumeType type) override;
  void create_empty(const VolumeRef &vol) override;
  void create_image(const VolumeRef &image, const std::function<void(int dirfd)> &fill) override;
  void create_from_image(const VolumeRef &vol, const VolumeRef &image, const Progress &progress) override;
  void create_copy(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const Progress &progress) override;
  void create_from_backup(const VolumeRef &vol, bool snapshots, const std::function<void(int dirfd, int snapshots)> &fill) override;
  std::unique_ptr<Content> open_content(const VolumeRef &vol, const std::optional<std::string> &snapshot) override;
  void create_from_content(const VolumeRef &vol, const Content &content, const Progress &progress) override;
  void remove_volume(const VolumeRef &vol) override;
  void rename(const VolumeRef &vol, const std::string &new_name) override;
  std::uint64_t usage(const VolumeRef &vol) override;
  std::string directory(const VolumeRef &vol) override;
  int open_volume(const VolumeRef &vol) override;
  SnapshotOps *snapshots() override { return this; }

  // SnapshotOps
  void create(const VolumeRef &vol, const std::string &snapshot, const Progress &progress) override;
  void copy(const VolumeRef &vol, const VolumeRef &source, const std::string &snapshot, const Progress &progress) override;
  void create_from_content(const VolumeRef &vol, const std::string &snapshot, const Content &content, const Progress &progress) override;
  void remove(const VolumeRef &vol, const std::string &snapshot) override;
  void rename(const VolumeRef &vol, const std::string &snapshot, const std::string &new_name) override;
  std::vector<std::string> list(const VolumeRef &vol) override;
  std::uint64_t usage(const VolumeRef &vol, const std::string &snapshot) override;
  std::string snapshot_place(const VolumeRef &vol, const std::string &snapshot) override;
  void restore_prepare(const VolumeRef &vol, const std::string &snapshot, const Progress &progress) override;
  void restore_commit(const VolumeRef &vol) override;
  void restore_abandon(const VolumeRef &vol) override;
  void refresh_prepare(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const Progress &progress) override;
  void refresh_prepare(const VolumeRef &vol, const Content &content, const Progress &progress) override;

protected:
  using Fill = std::function<void(int dirfd)>;

  /// The directory of a volume that holds an instance's files: "rootfs", or "upper".
  virtual const char *root_name() const = 0;
  /// Small files beside it that belong to it: copied, snapshotted and restored with it.
  virtual std::vector<std::string> root_files() const = 0;
  /// Makes the parts of an instance's new volume; `image` is a descriptor of the image volume's directory.
  virtual void fill_empty(int dirfd) = 0;
  virtual void fill_from_image(int dirfd, int image, const VolumeRef &ref, const Progress &progress) = 0;
  /// An instance's volume or snapshot as what another driver can copy: sets `root`, keeps what that needs.
  class TreeContent : public Content {
  public:
    base::Fd volume, files;      ///< behind `directory` and `root`
    std::vector<base::Fd> other; ///< what `root` consists of
  };
  virtual void open_root(int dirfd, TreeContent &content) = 0;
  /// What the small files beside a root say (by name, as root_files() has them) that came from another pool.
  virtual std::string root_file(const std::string &file, const Content &content) = 0;
  /// Makes what a volume that can be started has and a snapshot has not; may be repeated.
  virtual void finish_root(int) {}
  /// Makes the driver's root of a rootfs/ that came from a backup.
  virtual void take_root(int dirfd) = 0;
  /// Images that are there but not the store's any more.
  virtual bool image_hidden(int /*images*/, const std::string & /*name*/) { return false; }
  /// Before an image is removed: false keeps it.
  virtual bool release_image(int /*images*/, const std::string & /*name*/) { return true; }
  /// True: the image is there again by this, nothing is to be made.
  virtual bool revive_image(int /*images*/, const std::string & /*name*/) { return false; }
  /// After volumes or snapshots that stood on something have gone; `was` is what their root files said.
  virtual void roots_removed(const std::vector<std::string> & /*was*/) {}
  /// What a volume's or snapshot's directory stands on, for roots_removed.
  virtual void note_root(int /*dirfd*/, std::vector<std::string> & /*was*/) {}

  base::Fd pool() const;
  base::Fd type_directory(VolumeType type) const;
  /// Empty when the pool has none.
  base::Fd type_directory_if_exists(const char *name) const;
  base::Fd volume(const VolumeRef &vol) const;
  base::Fd snapshot_directory(const VolumeRef &vol) const;
  /// `from` (or -1) is what it is a copy of.
  void add_snapshot(const VolumeRef &vol, const std::string &snapshot, mode_t mode, int from, const Fill &fill);
  /// Calls `put` with the directory of the volume's snapshots, where it makes that one.
  void place_snapshot(const VolumeRef &vol, const std::string &snapshot, const std::function<void(int of)> &put);
  void copy_custom(int from, int to, const Progress &progress, int earlier = -1);
  void fill_from_content(int dirfd, const Content &content, const Progress &progress);
  /// The next root, or content, beside the present one.
  /// `beside`: the directory that has the source's metadata.yaml and templates/.
  void prepare_root(const VolumeRef &vol, int from, int beside, const std::function<std::string(const std::string &file)> &file, const Progress &progress, bool refresh);
  void prepare_whole(const VolumeRef &vol, int from, const Progress &progress, bool refresh);
  base::Fd open_snapshot(const VolumeRef &vol, const std::string &snapshot) const;
  /// What `volume()` and all others look into is there; throws unavailable.
  virtual void ready() const {}
  virtual mode_t volume_mode(VolumeType type) const;
  /// The directory of a volume or snapshot that is begun.
  virtual base::Fd begin(int parent, const std::string &name, mode_t mode) const;
  /// An image or snapshot that is whole: nothing changes it from here on.
  virtual void seal(int) const {}
  /// A tree with all volumes that it consists of; false when it was not there.
  virtual bool erase(int parent, const std::string &name) const;
  /// Makes `name` as a copy of volume or snapshot `from` in one durable step; false: by files, then. `sealed`: nothing will change it.
  virtual bool clone(int /*from*/, int /*parent*/, const std::string & /*name*/, mode_t, bool /*sealed*/) const { return false; }
  /// A snapshot that a backup's reader made as a plain directory becomes what it is here.
  virtual void take_snapshot(int /*parent*/, const std::string & /*name*/) const {}
  /// Restored and refreshed as a whole (NAME~restore), not root and root files alone.
  virtual bool whole(VolumeType type) const { return type == VolumeType::custom; }
  void erase_prepared(int parent, const VolumeRef &vol) const;
  void commit_whole(const VolumeRef &vol);
  void abandon_whole(const VolumeRef &vol);
  void keep_record(int parent, const VolumeRef &vol, const std::string &ready) const;

  enum class Made { plain, volume, sealed };
  /// Makes NAME by way of NAME~new.
  void make(int parent, const std::string &name, mode_t mode, const Fill &fill, Made what = Made::volume);
  /// Removes NAME with what is half-made or half-removed of it, by way of NAME~old.
  void drop(int parent, const std::string &name);
  /// Copies the root, its files (not from an image, which could hold others of these names), metadata.yaml and templates/.
  enum class From { volume, image };
  void copy_root(int from, int to, From kind, const Progress &progress);
  /// Runs `work`; an error of it is told with pool and volume.
  void explain(const char *verb, const std::string &what, const std::function<void()> &work) const;
  std::string describe(const VolumeRef &vol) const;

  DriverContext context_;
};

/// Those whose instances have their files in a directory `rootfs`, all of them (trees_rootfs.cpp).
class RootfsTree : public TreeDriver {
public:
  using TreeDriver::TreeDriver;
  RootfsPlan rootfs(const VolumeRef &vol) override;
  RootfsPlan snapshot_root(const VolumeRef &vol, const std::string &snapshot) override;
  void shift(const VolumeRef &vol, const IdMap &from, const IdMap &to) override;

protected:
  const char *root_name() const override { return "rootfs"; }
  std::vector<std::string> root_files() const override;
  void fill_empty(int dirfd) override;
  void take_root(int) override {}
  void open_root(int dirfd, TreeContent &content) override;
  std::string root_file(const std::string &, const Content &content) override { return content.owners.value_or(""); }
  void fill_from_image(int dirfd, int image, const VolumeRef &, const Progress &progress) override { copy_root(image, dirfd, From::image, progress); }
};

/// Throws invalid_argument unless `name` is one path component without '~'.
void check_component(const std::string &name);
/// "containers-snapshots" or "custom-snapshots".
const char *snapshots_directory(VolumeType type) noexcept;
/// Of what is open. The directory of custom volumes is closed to the host's users, so one may have any.
mode_t mode_of(int fd);
/// NAME of "NAME", "NAME~new" and so on.
std::string base_name(const std::string &entry);

} // namespace incus::storage
