// SPDX-License-Identifier: Apache-2.0
// Copy of a directory tree with everything that a root file system holds.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace incus::sys {

struct CopyOptions {
  unsigned threads = 0; ///< 0: by the machine, at most 4
  bool reflink = true;  ///< share blocks where the file system can
  /// Contents are on their way to the disk as soon as a file is done, so that sync_tree() has little to wait for.
  bool write_out = true;
  /// When set, only names directly in the source that it says yes to.
  std::function<bool(const char *name)> only;
  /// Bytes copied so far; called from worker threads, one at a time. What it throws ends the copy.
  std::function<void(std::uint64_t bytes)> progress;
  /// When set: an earlier copy on the target's file system, which goes away in favour of this one. A file that is the same there (size, time, owner,
  /// mode, attributes) becomes one more name of it and is not read.
  int earlier = -1;
};

struct CopyResult {
  std::uint64_t files = 0;  ///< names made
  std::uint64_t bytes = 0;  ///< of regular files
  bool reflinked = false;   ///< at least one file shares its blocks with its source
};

/// Copies what is in directory `source` into the empty directory `target`, and the directory's own attributes: owners, modes, times, hard
/// links, symbolic links, xattrs (file capabilities and ACLs among them), device nodes, fifos, holes. Sockets are left out. Links are never followed, mounts never
/// crossed (the directory below one comes out empty). The source may change meanwhile: what vanishes is left out; any other failure is an Error that
/// names the path, and leaves a partial copy for the caller to remove.
CopyResult copy_tree(int source, int target, const CopyOptions &options = {});

/// The whole of a regular file into an empty one, sharing blocks where the file system can. Throws Error; `what` names it there ("image file \"x\"").
void copy_content(int from, int to, const std::string &what);

/// Sees to it that a new tree outlasts a power loss once the caller has made a name for it durable: renamed it and synced the directory of
/// the new name. On ext4 and XFS that commits every change of names and inodes made before, so the contents of the tree's files are enough here, and the
/// writes of others are not waited for; elsewhere it is a syncfs.
void sync_tree(int dirfd);

/// Owner, mode, times and xattrs of one open directory or file to another.
void copy_attributes(int source, int target);

} // namespace incus::sys
