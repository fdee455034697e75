// SPDX-License-Identifier: Apache-2.0
#include "storage/snapshot_names.hpp"

#include <algorithm>
#include <cstdint>

namespace incus::storage {

std::string next_snapshot_name(std::string pattern, const std::set<std::string> &taken) {
  if (pattern.empty()) pattern = "snap%d";
  auto at = pattern.find("%d");
  if (at == std::string::npos) {
    if (!taken.count(pattern)) return pattern;
    pattern += "-%d";
    at = pattern.find("%d");
  }
  std::int64_t next = 0;
  auto head = pattern.substr(0, at), tail = pattern.substr(at + 2);
  for (auto &n : taken) {
    if (n.size() <= head.size() + tail.size() || !n.starts_with(head) || !n.ends_with(tail)) continue;
    auto digits = n.substr(head.size(), n.size() - head.size() - tail.size());
    if (digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    next = std::max<std::int64_t>(next, std::stoll(digits) + 1);
  }
  return head + std::to_string(next) + tail;
}

} // namespace incus::storage
