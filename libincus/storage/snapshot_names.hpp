// SPDX-License-Identifier: Apache-2.0
// What snapshots are called that nobody gave a name.
#pragma once
#include <set>
#include <string>

namespace incus::storage {

/// `pattern` with a number for its %d (appended where it has none and is taken); empty: snap%d. One above the highest, so that a name is not used again
/// for another point in time while later ones exist.
std::string next_snapshot_name(std::string pattern, const std::set<std::string> &taken);

} // namespace incus::storage
