// SPDX-License-Identifier: Apache-2.0
// Btrfs subvolumes by descriptors. A guest may have made subvolumes in its own: they are found by the kernel's records and reached without following
// links, whatever the guest does to the way there meanwhile.
#pragma once
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace incus::sys {

bool is_btrfs(int fd);
/// Of a directory.
bool is_subvolume(int fd);
/// Subvolumes below this one, by their paths from it, parents first.
std::vector<std::string> nested_subvolumes(int fd);

void create_subvolume(int parent, const std::string &name);
/// The snapshot has the nested ones too; those that were read-only are so there. It is not in one step when there are such: make it under another name then.
void snapshot_subvolume(int source, int parent, const std::string &name, bool read_only);
bool is_read_only(int fd);
void set_read_only(int fd, bool on);
/// With those below it, read-only or not. False when `name` is no subvolume (or not there).
bool remove_subvolume(int parent, const std::string &name);
/// After its disk has grown.
void grow_btrfs(int fd);

} // namespace incus::sys
