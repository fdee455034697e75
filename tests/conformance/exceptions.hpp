// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

namespace suite {

struct Exception {
  const char *door; ///< "memory", "remote" (every daemon), "https", "official"
  const char *test_case, *reason;
};
/// Why a refusal of the official daemon with this message may have another code than ours; empty: it may not.
std::string reason_to_differ(const std::string &message);
std::vector<Exception> exceptions(const std::string &door);

} // namespace suite
