// SPDX-License-Identifier: Apache-2.0
// How a root file system is put together at start; carried to the container helper.
#pragma once
#include <string>

#include "sys/id_range.hpp"

namespace incus::storage {

using sys::IdMap;
using sys::IdRange;

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
