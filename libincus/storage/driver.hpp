// SPDX-License-Identifier: Apache-2.0
// What every storage driver must do, and the roles it may have. No code outside a driver asks its name.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <incus/storage.hpp>

#include "base/log.hpp"
#include "schema/schema.hpp"
#include "storage/rootfs.hpp"

namespace incus::storage {

enum class VolumeType { container, image, custom };
/// The directory a type lives in below the pool: "containers", "images", "custom".
const char *volume_directory(VolumeType type) noexcept;

/// A volume by its store name: PROJECT_NAME outside the default project for instances, FINGERPRINT for images.
/// Built only from typed names, so it is one safe path component.
struct VolumeRef {
  VolumeType type = VolumeType::container;
  std::string name;
};

/// Reports bytes done so far (of `total`, 0: not known); may be called from worker threads. May throw Error(cancelled).
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

class SnapshotOps;
class Replication;

/// What a volume or snapshot holds, as one tree whatever the driver: opened to be copied to another pool. Good for as long as it lives and the caller
/// sees to it that nobody removes the volume.
class Content {
public:
  virtual ~Content() = default;
  int directory = -1; ///< where an instance's metadata.yaml and templates/ are; the content of a custom volume
  int root = -1;      ///< an instance's files as the guest has them
  std::optional<std::string> owners; ///< the id map that they carry, when it is not the guest's (shift.hpp)
};

/// One open pool. Thread-safe; callers serialise calls on one volume. Every call is idempotent where its comment says
/// so, because reconciliation repeats it.
class Driver {
public:
  virtual ~Driver() = default;

  /// Makes the pool's directories (mode 0711; images and custom volumes 0700). Idempotent.
  virtual void create() = 0;
  /// Removes the pool's directories; refuses (conflict) when a volume other than images is left. Idempotent.
  virtual void remove() = 0;
  /// What create() did of a pool that is not to be, and nothing that was there before it.
  virtual void abandon() { remove(); }
  /// Where the pool's storage is not part of the host's tree by itself: puts it there. Throws unavailable with the reason. Idempotent;
  /// false: it was there already.
  virtual bool open() { return false; }
  /// Takes away what open() put there; `unused`: only when nobody uses it.
  virtual void close(bool unused = false) { (void)unused; }
  /// A pool that is there without a row: what is missing of its directories.
  virtual void adopt() { create(); }
  /// The configuration to be stored, once create() or update() has returned, of drivers that mount (DriverInfo).
  virtual Config config() { return {}; }
  /// Keys of the pool change; what cannot be done is refused before anything is. config() says what is to be stored then.
  virtual void update(const Config &) {}
  virtual StoragePoolResources resources() = 0;

  virtual bool exists(const VolumeRef &vol) = 0;
  /// Store names of all volumes of a type that are on disk, also half-made ones (for reconciliation and check).
  virtual std::vector<std::string> list(VolumeType type) = 0;
  /// An empty root (rootfs/ directory owned by the guest's root, mode 0755).
  virtual void create_empty(const VolumeRef &vol) = 0;
  /// Makes an image volume; `fill` gets a descriptor of the new volume's empty directory and unpacks
  /// metadata and rootfs below it ("metadata.yaml", "rootfs/", "templates/"). Removed again when fill throws.
  virtual void create_image(const VolumeRef &image, const std::function<void(int dirfd)> &fill) = 0;
  /// An instance's root from an image volume of this pool: copy (reflink where possible) or share.
  virtual void create_from_image(const VolumeRef &vol, const VolumeRef &image, const Progress &progress) = 0;
  /// A volume from another one of its type of this pool, or from a snapshot of it.
  virtual void create_copy(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const Progress &progress) = 0;
  /// An instance's or custom volume from a backup. `fill` gets a descriptor of the new volume's empty directory, which it fills as that of an image (an
  /// instance's) or with what the user keeps there, and, with `snapshots`, one of a directory in which it makes such a one for each, else -1. Everything
  /// is removed again when fill throws.
  virtual void create_from_backup(const VolumeRef &vol, bool snapshots, const std::function<void(int dirfd, int snapshots)> &fill) = 0;
  /// The volume, or a snapshot of it, to be copied to another pool.
  virtual std::unique_ptr<Content> open_content(const VolumeRef &vol, const std::optional<std::string> &snapshot) = 0;
  /// A volume from what one of another pool holds.
  virtual void create_from_content(const VolumeRef &vol, const Content &content, const Progress &progress) = 0;
  /// Idempotent: a volume or part of one that is not there is no error. Snapshots go with it.
  virtual void remove_volume(const VolumeRef &vol) = 0;
  /// With its snapshots. Idempotent: done already is no error.
  virtual void rename(const VolumeRef &vol, const std::string &new_name) = 0;
  /// How a container's root is reached when it starts.
  virtual RootfsPlan rootfs(const VolumeRef &vol) = 0;
  /// Bytes the volume occupies by itself (shared layers not counted).
  virtual std::uint64_t usage(const VolumeRef &vol) = 0;
  /// Where the volume's directory is on this host; for a custom volume that is its content.
  virtual std::string directory(const VolumeRef &vol) = 0;
  /// A directory descriptor of the volume's directory (holding rootfs/ or layers, backup.yaml, templates/, metadata.yaml).
  virtual int open_volume(const VolumeRef &vol) = 0;
  /// Changes owners on disk from one id map to another (shift); only needed where rootfs().idmapped cannot be used.
  /// Empty map: ids as in the image.
  virtual void shift(const VolumeRef &vol, const IdMap &from, const IdMap &to) = 0;

  /// Null when the driver has none.
  virtual SnapshotOps *snapshots() { return nullptr; }
  virtual Replication *replication() { return nullptr; }
};

/// What goes as a stream of its own: a volume or a snapshot, and every volume that a guest made in it.
struct StreamPart {
  std::string snapshot;   ///< empty: the volume itself
  std::string path = "/"; ///< in that
  bool read_only = false;
  std::string id{};
};

/// Volumes as streams that the file system makes and reads itself: what shares blocks goes once.
class Replication {
public:
  virtual ~Replication() = default;
  // From another pool. False: that one is of another kind, or it cannot be so just now; nothing is changed then. `since`: a snapshot that both volumes may
  // have; only what differs from it goes, where that is so.
  virtual bool create(const VolumeRef &vol, Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot, const std::optional<std::string> &since,
                      const Progress &progress) = 0;
  virtual bool create_snapshot(const VolumeRef &vol, const std::string &snapshot, Driver &pool, const VolumeRef &source, const std::optional<std::string> &since,
                               const Progress &progress) = 0;
  /// As SnapshotOps::refresh_prepare().
  virtual bool refresh_prepare(const VolumeRef &vol, Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot,
                               const std::optional<std::string> &since, const Progress &progress) = 0;

  /// What a backup sends, in this order. Nothing of it changes as long as this lives.
  class Outgoing {
  public:
    struct Part : StreamPart {
      std::string directory, base; ///< below the pool's directory; `base`: what it is told as the difference from
    };
    virtual ~Outgoing() = default;
    std::vector<Part> parts;
  };
  /// `prepare` may write to the copy of the volume that is sent.
  virtual std::unique_ptr<Outgoing> open_streams(const VolumeRef &vol, const std::vector<std::string> &snapshots, const std::function<void(int dirfd)> &prepare) = 0;
  /// A volume and its snapshots. `fill` receives all parts into the directory that it gets, each by its place in the list: "0", "1"... `owners`: id maps
  /// that files of the parts carry, by snapshot. Everything is removed again when something throws.
  virtual void create_from_streams(const VolumeRef &vol, const std::vector<StreamPart> &parts, const std::map<std::string, IdMap> &owners,
                                   const std::function<void(int dirfd)> &fill) = 0;
};

class SnapshotOps {
public:
  virtual ~SnapshotOps() = default;
  virtual void create(const VolumeRef &vol, const std::string &snapshot, const Progress &progress) = 0;
  /// Idempotent.
  virtual void remove(const VolumeRef &vol, const std::string &snapshot) = 0;
  /// Idempotent.
  virtual void rename(const VolumeRef &vol, const std::string &snapshot, const std::string &new_name) = 0;
  virtual std::vector<std::string> list(const VolumeRef &vol) = 0;
  /// Makes a snapshot of `vol` that is a copy of a snapshot of the same name of `source`, in this pool.
  virtual void copy(const VolumeRef &vol, const VolumeRef &source, const std::string &snapshot, const Progress &progress) = 0;
  /// Makes a snapshot of `vol` from what one of another pool holds.
  virtual void create_from_content(const VolumeRef &vol, const std::string &snapshot, const Content &content, const Progress &progress) = 0;
  virtual std::uint64_t usage(const VolumeRef &vol, const std::string &snapshot) = 0;
  /// Where the snapshot's directory is on this host, and how the root in an instance's is put together to be read.
  virtual std::string snapshot_place(const VolumeRef &vol, const std::string &snapshot) = 0;
  virtual RootfsPlan snapshot_root(const VolumeRef &vol, const std::string &snapshot) = 0;
  /// Restore in two steps around the caller's commit. prepare() makes the new root beside the old one; it may be
  /// repeated and undone by abandon(). commit() swaps and drops the old root; it is idempotent and can be repeated after a
  /// crash until it returns.
  virtual void restore_prepare(const VolumeRef &vol, const std::string &snapshot, const Progress &progress) = 0;
  virtual void restore_commit(const VolumeRef &vol) = 0;
  /// A refresh is a restore from elsewhere that writes only what differs: from another volume of this pool (or a snapshot of it), or from another pool's.
  virtual void refresh_prepare(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const Progress &progress) = 0;
  virtual void refresh_prepare(const VolumeRef &vol, const Content &content, const Progress &progress) = 0;
  virtual void restore_abandon(const VolumeRef &vol) = 0;
};

/// What a driver is made with.
struct DriverContext {
  std::string pool;
  std::string directory; ///< absolute: INCUS_DIR/storage-pools/POOL, or the pool's `source`
  Config config;
  const base::Log *log;
  std::string disks{}; ///< INCUS_DIR/disks, for loop files
};

/// A row of the registry (registry.cpp).
struct DriverInfo {
  const char *name;
  const char *doc;
  std::unique_ptr<Driver> (*open)(const DriverContext &);
  /// Checks pool configuration; throws invalid_argument naming key and rule.
  void (*validate)(const Config &);
  /// True: a pool lies at storage-pools/NAME, where open() puts it, and `source` says what that is made of. False: `source` is its directory.
  bool mounts = false;
  /// Before a pool is made: refuses a source that cannot be, touching nothing; returns the configuration with its defaults. Null: as it is.
  Config (*prepare)(const DriverContext &) = nullptr;
  /// Keys of its pools beside those that all have.
  std::span<const schema::Key> keys{};
  /// Why it cannot be used on this host; empty when it can. Null: always.
  std::string (*missing)() = nullptr;
};

std::span<const DriverInfo *const> drivers() noexcept;
/// Throws invalid_argument listing the known drivers.
const DriverInfo &driver(const std::string &name, std::span<const DriverInfo *const> among = drivers());

/// Whether the file system below `directory` and the kernel can do idmapped mounts. Probed once per call.
bool idmapped_mounts_work(int dirfd) noexcept;

} // namespace incus::storage
