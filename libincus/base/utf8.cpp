// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.hpp"

#include <cstdint>

namespace incus::base {

std::size_t utf8_length(std::string_view t) noexcept {
  if (t.empty()) return 0;
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(t[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  std::size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || t.size() < n) return 0;
  std::uint32_t c = first & (0xffU >> (n + 1));
  for (std::size_t i = 1; i < n; i++) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    c = c << 6 | (byte(i) & 0x3f);
  }
  // Longer than need be, a half of UTF-16, or beyond the last.
  if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff) return 0;
  return n;
}

std::string utf8(std::string_view t) {
  std::string out;
  while (!t.empty()) {
    auto n = utf8_length(t);
    if (n)
      out += t.substr(0, n);
    else
      out += "\xef\xbf\xbd";
    t.remove_prefix(n ? n : 1);
  }
  return out;
}

} // namespace incus::base
