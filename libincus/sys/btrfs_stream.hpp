// SPDX-License-Identifier: Apache-2.0
// Subvolumes as streams of the kernel (btrfs-send), version 1: made by one system call, read here. Free of dependencies: incus-unpack reads streams of
// unknown origin with it.
//
// The reader makes exactly one subvolume, by the name that its caller says, and touches nothing but what is in it: every path goes from the subvolume's own
// descriptor by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV). What a stream may build on or clone from is what
// the caller hands over, nothing is looked up in the file system: a stream cannot reach another volume by guessing its id.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace incus::sys {

using SubvolumeId = std::array<unsigned char, 16>;

struct SubvolumeInfo {
  std::uint64_t tree = 0;
  SubvolumeId id{}, received{}; ///< `received`: of the subvolume that this one was received from; zeros: of none
  bool read_only = false;
  /// By which it is called in streams.
  const SubvolumeId &stream_id() const { return received == SubvolumeId{} ? id : received; }
};
/// Of the subvolume that a descriptor lies in; throws StreamFailure.
SubvolumeInfo subvolume_info(int fd);
std::string to_text(const SubvolumeId &id);

/// `error`: errno of what failed on this host; 0: the stream is damaged, or wants what it may not.
struct StreamFailure : std::runtime_error {
  StreamFailure(int e, const std::string &text) : std::runtime_error(text), error(e) {}
  int error;
};

/// Writes a read-only subvolume, as what differs from `parent` (another one; -1: from nothing). Blocks; a reader that goes away ends it (the caller blocks
/// SIGPIPE). Returns an errno.
int send_subvolume(int fd, int parent, int out) noexcept;

/// What a stream may build on: a read-only subvolume.
struct StreamBase {
  SubvolumeId id; ///< as the stream calls it
  int fd;
  std::vector<std::string> nested{}; ///< paths of subvolumes in it: streams know nothing of them, and a snapshot has empty directories in their places
};

struct StreamOptions {
  int parent = -1;  ///< the directory in which the subvolume is made
  std::string name; ///< whatever the stream calls it
  std::vector<StreamBase> bases;
  bool any_attribute = false; ///< also extended attributes that only the host's root may set; else they are left out
  std::function<void()> made; ///< called once the subvolume is there
};

/// Fills the buffer as far as it can; fewer bytes: the end.
using StreamSource = std::function<std::size_t(void *to, std::size_t n)>;

/// Makes the read-only subvolume and returns what the stream calls it. What is half-made stays when it throws (StreamFailure, or what source and `made` throw).
SubvolumeId receive_subvolume(const StreamSource &from, const StreamOptions &options);

} // namespace incus::sys
