// SPDX-License-Identifier: Apache-2.0
// The headers of a file that is written.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace incus::embed {

struct FileHeaders {
  std::string type = "file"; ///< "file", "directory" or "symlink"
  std::optional<std::uint32_t> uid, gid;
  std::optional<std::uint32_t> mode;
  bool append = false;
};

/// Names in lower case. Throws invalid_argument that names header and rule.
FileHeaders parse_file_headers(const std::map<std::string, std::string> &headers);

} // namespace incus::embed
