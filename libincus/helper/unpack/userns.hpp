// SPDX-License-Identifier: Apache-2.0
// User namespaces in which owners on disk show as a guest's.
#pragma once
#include <string>
#include <vector>

namespace incus::unpack {

/// A namespace with this map ("u HOST GUEST COUNT", "g ..."); -1 with errno. Needs the host's /proc.
int user_namespace(const std::vector<std::string> &map);
/// What failed, empty when nothing: root of the namespace this process is in, without further groups.
std::string become_root();
/// Host id of the guest's root, 0 without a map.
unsigned mapped_root(const std::vector<std::string> &map, char kind);

} // namespace incus::unpack
