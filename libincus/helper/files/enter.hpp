// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

namespace incus::files {

/// What failed, empty when nothing. After success the process' root is the guest's, and it acts as the guest's root.
/// A running guest, by a descriptor of its init.
std::string enter_guest(int pidfd);
/// The root of a stopped one: a directory; `map` ("u HOST GUEST COUNT", "g ...") says which ids its owners on disk have, empty: the guest's own.
std::string enter_directory(const std::string &path, const std::vector<std::string> &map);
/// As above, of layers.
std::string enter_overlay(const std::string &lower, const std::string &upper, const std::string &work);

} // namespace incus::files
