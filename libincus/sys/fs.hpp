// SPDX-License-Identifier: Apache-2.0
// Files by directory descriptors: nothing here follows a symbolic link below the descriptor it is given, except where a comment says so.
#pragma once
#include <cstdint>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "base/fd.hpp"

namespace incus::sys {

/// A directory by an absolute path of the host's administrator (links in it are followed). Throws Error naming the path.
base::Fd open_directory(const std::string &path);

/// openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS): `path` may have several components and links that stay below `dirfd`. Close-on-exec is
/// added. Pass O_NOFOLLOW when the last component must not be a link. Throws Error naming the path.
base::Fd open_beneath(int dirfd, const std::string &path, int flags, mode_t mode = 0);
/// As above, with an empty Fd (errno set) instead of an error.
base::Fd try_open_beneath(int dirfd, const std::string &path, int flags, mode_t mode = 0) noexcept;
/// One component that must be a directory, not a link and not a mount point. Throws Error.
base::Fd open_child(int dirfd, const std::string &name);

/// Whether `name` (one component) is there; a link counts, wherever it points. Throws on anything but ENOENT.
bool exists_at(int dirfd, const std::string &name);
/// Names in a directory, sorted, without "." and "..". Reads through a descriptor of its own.
std::vector<std::string> list_directory(int dirfd);
/// Calls `fn(name, d_type, inode)` for every entry, through the descriptor itself (from its current position).
void for_each_entry(int dirfd, const std::function<void(const char *name, unsigned char type, std::uint64_t inode)> &fn);

/// The content of a regular file of at most `limit` bytes (a larger one: too_large). Throws not_found, ...
std::string read_file(int dirfd, const std::string &name, std::size_t limit = 1 << 20);
/// Empty when it is not there.
std::optional<std::string> read_file_if_exists(int dirfd, const std::string &name, std::size_t limit = 1 << 20);
/// Replaces a file in one step, durably: temporary sibling NAME~tmp, fsync, rename, fsync of the directory. `mode` is exact
/// (the caller's umask does not count). A crash leaves the old content, or the new one, and at worst NAME~tmp, which the next write replaces.
void atomic_write(int dirfd, const std::string &name, std::string_view data, mode_t mode);

/// Makes a file in a tree that the caller syncs as a whole.
/// A file without a name that holds `data`, read from its beginning; `label` is for whoever looks at the process.
base::Fd memory_file(const char *label, std::string_view data);
void write_new_file(int dirfd, const std::string &name, std::string_view data, mode_t mode);

/// Makes one directory with exactly this mode, or sets the mode of the one that is there. Returns its descriptor.
base::Fd make_directory(int dirfd, const std::string &name, mode_t mode);
/// Makes the missing directories of a path of several components with exactly this mode; those that are there keep theirs.
/// With AT_FDCWD and an absolute path, links are followed (a path of the administrator's). Returns a descriptor of the last.
base::Fd mkdir_p(int dirfd, const std::string &path, mode_t mode);

/// Tells the file system that what is in this directory is not related (chattr(1) +T): ext4 then begins each new subdirectory in another
/// block group, where neither the others' writes nor the inodes of those just deleted are in its way. Elsewhere it does nothing.
void spread_children(int dirfd) noexcept;

/// renameat2 of single components; `replace` false: fails with EEXIST when the target is there. Throws Error naming both.
void rename_at(int from_dir, const std::string &from, int to_dir, const std::string &to, bool replace = false);

/// Removes a file, link or whole tree, in parallel when it is large. What vanishes meanwhile is no error, a mount point inside is
/// (nothing is removed across it). Immutable files are removed too. False when it was not there.
bool remove_tree(int dirfd, const std::string &name);

struct TreeUsage {
  std::uint64_t bytes = 0; ///< blocks on disk, hard links counted once
  std::uint64_t files = 0; ///< inodes
};
/// What a tree occupies, not crossing mounts and not deeper than a thousand levels; nothing when it is not there.
TreeUsage tree_usage(int dirfd, const std::string &name);

/// fsync of a directory, so that names made, renamed or removed in it last.
void sync_directory(int dirfd);
/// syncfs: everything written to this file system so far.
void sync_filesystem(int fd);

} // namespace incus::sys
