// SPDX-License-Identifier: Apache-2.0
// Volumes from one place to another of this server: by the driver itself within a pool, as a stream of files between pools. Nothing of it passes a client.
#pragma once
#include "storage/driver.hpp"

namespace incus::storage {

struct Place {
  std::shared_ptr<Driver> driver;
  VolumeRef volume;
  std::uint64_t rate = 0; ///< bytes a second that are read of it for another pool at most; 0: as fast as it goes
};

/// Reports as `progress` does, and holds up who reports until no more than `rate` bytes a second have been copied.
Progress paced(const Progress &progress, std::uint64_t rate);

// `since`: a snapshot that both may have, so that between pools of one kind only what came after it goes.
using Since = std::optional<std::string>;
/// A new volume from another, or from a snapshot of it; snapshots do not come along.
void copy_volume(const Place &to, const Place &from, const std::optional<std::string> &snapshot, const Progress &progress, const Since &since = {});
/// A snapshot of `to` that is like the one of the same name of `from`.
void copy_snapshot(const Place &to, const Place &from, const std::string &snapshot, const Progress &progress, const Since &since = {});
/// Makes what restore_commit() of `to` then puts in place: the present content of `from`, or that of a snapshot.
void prepare_refresh(const Place &to, const Place &from, const std::optional<std::string> &snapshot, const Progress &progress, const Since &since = {});
/// A new volume with snapshots, named in the order in which they were made.
void copy_with_snapshots(const Place &to, const Place &from, const std::vector<std::string> &snapshots, const Progress &progress);
/// Throws not_supported.
SnapshotOps &snapshots_of(const Place &place);

/// A snapshot as refreshes compare it.
struct SnapshotMark {
  std::string name;
  Time created_at;
};
/// What brings a target's snapshots to those of the source: which are copied, which go. One that has the same name and time on both sides stays.
struct SnapshotChanges {
  std::vector<std::string> copy, remove;
};
/// `exclude_older`: of the source's, those older than the target's newest that both have are not copied.
SnapshotChanges compare_snapshots(const std::vector<SnapshotMark> &source, const std::vector<SnapshotMark> &target, bool exclude_older);

} // namespace incus::storage
