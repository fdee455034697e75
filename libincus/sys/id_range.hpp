// SPDX-License-Identifier: Apache-2.0
// Ranges of ids that a user namespace maps.
#pragma once
#include <cstdint>
#include <vector>

namespace incus::sys {

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

} // namespace incus::sys
