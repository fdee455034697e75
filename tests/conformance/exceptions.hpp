// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

namespace suite {

struct Exception {
  const char *door; ///< "remote" (every daemon), "https", "official"
  const char *test_case, *reason;
};
std::vector<Exception> exceptions(const std::string &door);

} // namespace suite
