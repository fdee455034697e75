// SPDX-License-Identifier: Apache-2.0
// Change of all owners in a tree from one id map to another, where idmapped mounts do not work.
//
// Killed in the middle, it is finished by the next call. Beside the tree, in the volume's directory, are:
//  - `idmap`: the map whose host ids the tree has now, as JSON (missing or empty: guest ids). It is right, whatever a caller believes.
//  - `shift`: a shift is under way: two lines, from and to. Its change time divides the tree: an inode that was changed later is done. (The ids alone would not tell: the guest may own ids that look like shifted ones.)
//  - `shift.log`: files whose change takes several steps (set-uid bits and capabilities, which a change of owner drops, and ACLs) as they were, each
//    written and synced before its first step.
#pragma once
#include <string>

#include "storage/rootfs.hpp"

namespace incus::storage {

/// Mode 0600 files beside the tree; see above.
inline constexpr const char *shift_map_file = "idmap";

/// `root` is a directory in `volume_dir`, which gets the mapped root as owner.
void shift_tree(int volume_dir, const std::string &root, IdMap from, const IdMap &to);

/// Whether the tree beside has the ids of a map, or is on the way there.
bool is_shifted(int volume_dir);

} // namespace incus::storage
