// SPDX-License-Identifier: Apache-2.0
// What the engine asks incus-unpack to pack. Free of dependencies.
#pragma once
#include <string>
#include <vector>

namespace incus::unpack {

/// One volume or snapshot that is packed. Paths are below the pool's directory.
struct BackupPart {
  std::string prefix;    ///< "backup/container"
  std::string directory; ///< the volume's
  std::string kind;      ///< "tree": all that is in it; "directory": an instance whose root is `root`; "overlay": one whose root is `upper` over `root`;
                         ///< "image": the file `root` in it; "stream": of the subvolume, as the difference from `root` unless that is empty
  std::string root, upper;
  std::string ids;       ///< ranges of userns.hpp that owners on disk have, separated by ','
  std::string yaml;      ///< becomes backup.yaml; empty: none
};
struct BackupPlan {
  std::string pool; ///< absolute
  std::string compression, index;
  std::string header{}; ///< optimized_header.yaml; empty: none
  std::vector<BackupPart> parts;
};
/// As it goes to the helper: texts with a NUL after each.
inline std::string to_text(const BackupPlan &p) {
  std::string out;
  auto add = [&](const std::string &s) { (out += s) += '\0'; };
  add(p.pool);
  add(p.compression);
  add(p.index);
  add(p.header);
  for (auto &b : p.parts)
    for (auto *s : {&b.prefix, &b.directory, &b.kind, &b.root, &b.upper, &b.ids, &b.yaml}) add(*s);
  return out;
}
BackupPlan plan_from(const std::string &text);

} // namespace incus::unpack
