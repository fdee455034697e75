// SPDX-License-Identifier: Apache-2.0
// Where the work on hostile data happens: a mount tree of only the target, no network, few capabilities.
#pragma once
#include <string>
#include <vector>

namespace incus::unpack {

/// Makes `directory` this process' root, everything else unreachable; -1: an empty one. Descriptors to other directories must be closed by
/// the caller. Unprivileged callers (unit tests) only may ask for the empty one, and then stay where they are.
/// With `tools` the root holds the host's programs read-only and the target at /target.
void enter(int directory, bool readonly, bool tools = false);

/// The root of an instance as an image shows it.
struct Composition {
  std::string volume; ///< directory that may hold templates/
  int metadata = -1; ///< file that becomes metadata.yaml
  std::string rootfs; ///< a directory; or layers:
  std::string lower, upper;
  std::vector<std::string> map; ///< ids that owners on disk have (userns.hpp); empty: the guest's
};
/// Makes it this process' root, read-only, everything else unreachable; owners show as the guest's.
void enter(const Composition &c);

/// An instance's root of layers; paths below the pool. Empty: none.
struct Layers {
  std::string lower, upper;
};
/// A root with the pool's directory at /pool, read-only, and the merged layers at /layers/N by their places in the list; everything else unreachable.
void enter(const std::string &pool, const std::vector<Layers> &layers);
/// A root with a volume's directory at /volume and, unless -1, the one for its snapshots at /snapshots, both for writing.
void enter(int volume, int snapshots);
/// A directory below another one, through no links; -1 with errno.
int open_below(int dir, const std::string &path, bool only_path = false);

/// What of the capabilities stays.
enum class Keep { nothing, read, write, send }; ///< `send`: to read, and to ask the kernel for streams of subvolumes
void drop_privileges(Keep keep);

/// A thread that ends the process when the other end of the socket is closed. Start it last: namespaces and capabilities are a thread's own.
void die_with(int sock);

} // namespace incus::unpack
