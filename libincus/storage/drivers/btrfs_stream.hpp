// SPDX-License-Identifier: Apache-2.0
// Volumes of the btrfs driver as streams of the file system: copies between pools, and optimised backups.
//
// A subvolume that is sent must be read-only: snapshots are, of anything else a read-only snapshot is made for as long as it takes. What is received is
// read-only too and remembers what it was received from, so that a later stream may build on it. That holds of the snapshots that stay; a volume is made as a
// writable snapshot of what was received, which remembers nothing. Both kinds of passing subvolumes lie in POOL/transfers/SOMETHING/ (0700), which a process
// empties before it first uses it: one that was killed leaves nothing beyond the next start.
#pragma once
#include <mutex>

#include "base/fd.hpp"
#include "storage/driver.hpp"

namespace incus::storage {

inline constexpr const char *transfers_name = "transfers";

/// What is needed of a pool of that driver.
class BtrfsVolumes {
public:
  virtual ~BtrfsVolumes() = default;
  virtual base::Fd part(const VolumeRef &vol, const std::optional<std::string> &snapshot) const = 0;
  virtual base::Fd pool_directory() const = 0;
  virtual base::Fd volumes(VolumeType type) const = 0;
  /// The directory of all snapshots of volumes of a type.
  virtual base::Fd snapshots_root(VolumeType type) const = 0;
  virtual bool erase_entry(int parent, const std::string &name) const = 0;
  /// Makes a snapshot by `put`, which gets the directory in which it is to be.
  virtual void new_snapshot(const VolumeRef &vol, const std::string &snapshot, const std::function<void(int of)> &put) = 0;
  /// NAME~restore and what is half-made of it.
  virtual void forget_prepared(const VolumeRef &vol) = 0;
  virtual void remove_everything(const VolumeRef &vol) = 0;
  /// Errors of `work` are told with what it was about.
  virtual void about(const char *verb, const VolumeRef &vol, const std::function<void()> &work) const = 0;
};

class BtrfsStreams : public Replication {
public:
  explicit BtrfsStreams(BtrfsVolumes &me) : me_(me) {}

  bool create(const VolumeRef &vol, Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot, const std::optional<std::string> &since,
              const Progress &progress) override;
  bool create_snapshot(const VolumeRef &vol, const std::string &snapshot, Driver &pool, const VolumeRef &source, const std::optional<std::string> &since,
                       const Progress &progress) override;
  bool refresh_prepare(const VolumeRef &vol, Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot, const std::optional<std::string> &since,
                       const Progress &progress) override;
  std::unique_ptr<Outgoing> open_streams(const VolumeRef &vol, const std::vector<std::string> &snapshots, const std::function<void(int dirfd)> &prepare) override;
  void create_from_streams(const VolumeRef &vol, const std::vector<StreamPart> &parts, const std::map<std::string, IdMap> &owners,
                           const std::function<void(int dirfd)> &fill) override;

  /// Removes what a killed process has left, once.
  void sweep();
  /// A directory of its own below POOL/transfers, which goes with it.
  class Passing {
  public:
    explicit Passing(BtrfsStreams &of);
    ~Passing();
    Passing(const Passing &) = delete;
    int fd() const { return dir_.get(); }
    const std::string &name() const { return name_; }

  private:
    BtrfsStreams &of_;
    std::string name_;
    base::Fd all_, dir_;
  };

private:
  friend class Passing;
  struct Received {
    std::string name, path; ///< in the passing directory; below the volume, empty: itself
    bool read_only = false;
  };
  std::optional<std::vector<Received>> receive(Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot, const VolumeRef &vol,
                                               const std::optional<std::string> &since, int into, const Progress &progress);
  bool make_volume(Driver &pool, const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const std::optional<std::string> &since,
                   const std::string &name, const Progress &progress);

  BtrfsVolumes &me_;
  std::mutex mutex_;
  bool swept_ = false;
};

} // namespace incus::storage
