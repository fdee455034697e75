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

/// What of the capabilities stays.
enum class Keep { nothing, read, write };
void drop_privileges(Keep keep);

/// A thread that ends the process when the other end of the socket is closed. Start it last: namespaces and capabilities are a thread's own.
void die_with(int sock);

} // namespace incus::unpack
