// SPDX-License-Identifier: Apache-2.0
// How a root file system is put together at start; carried to the container helper.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace incus::storage {

/// One range of a user namespace's map, as a line of /proc/PID/uid_map.
struct IdRange {
  bool uid = true, gid = true;  ///< which kinds it holds for
  std::uint32_t host = 0;       ///< first id on the host
  std::uint32_t guest = 0;      ///< first id in the guest
  std::uint32_t count = 0;
  bool operator==(const IdRange &) const = default;
};
/// Empty: no user namespace (privileged).
using IdMap = std::vector<IdRange>;

struct RootfsPlan {
  enum class Kind {
    directory, ///< `path` is the root
    overlay,   ///< `lower` (read-only) and `upper` with `work` beside it; merged by the helper in a private mount namespace
  };
  Kind kind = Kind::directory;
  std::string path;
  std::string lower, upper, work;
  /// Owners on disk are the guest's; the helper (overlay) or liblxc (directory) maps them by idmapped mounts. False:
  /// owners on disk are the host's already (shifted).
  bool idmapped = true;
};

} // namespace incus::storage
