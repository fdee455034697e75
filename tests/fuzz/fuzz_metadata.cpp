// SPDX-License-Identifier: Apache-2.0
// parse_metadata: no crash, and what it lets through keeps the rules.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.hpp"
#include "image/image.hpp"

namespace {
void must(bool ok) {
  if (!ok) std::abort();
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  try {
    auto m = incus::image::parse_metadata(std::string(reinterpret_cast<const char *>(data), size));
    must(incus::image::canonical_architecture(m.architecture) == m.architecture && !m.architecture.empty());
    must(m.creation_date > incus::Time());
    for (auto &[target, t] : m.templates) {
      must(target[0] == '/' && (target + "/").find("/../") == std::string::npos && target.find('\0') == std::string::npos);
      must(!t.source.empty() && t.source.find('/') == std::string::npos && t.source != ".." && t.source != ".");
      must(t.source.find_first_of(std::string("\0\n", 2)) == std::string::npos);
    }
  } catch (const incus::Error &e) {
    must(e.code() == incus::ErrorCode::corrupt);
  }
  return 0;
}
