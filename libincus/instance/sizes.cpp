// SPDX-License-Identifier: Apache-2.0
// Instance sizes such as "c2-m4": so many CPUs, so many GiB of memory.
#include <charconv>
#include <cmath>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/keys.hpp"

namespace incus::instance {

Config limits_of_size(const std::string &size) {
  auto bad = [&]() {
    base::fail(ErrorCode::invalid_argument, "unknown instance type {}: must be cCPUS, mGIB or both as in c2-m4; decimal fractions are allowed", base::quoted(size));
  };
  float cpus = 0, memory = 0;
  std::string_view rest = size;
  for (;;) {
    auto cut = rest.find('-');
    auto part = rest.substr(0, cut);
    if (part.size() < 2 || (part[0] != 'c' && part[0] != 'm')) bad();
    float n = 0;
    auto [end, ec] = std::from_chars(part.data() + 1, part.data() + part.size(), n);
    if (ec != std::errc() || end != part.data() + part.size() || !(n >= 0) || n > 1e6f) bad();
    (part[0] == 'c' ? cpus : memory) = n;
    if (cut == std::string_view::npos) break;
    rest.remove_prefix(cut + 1);
  }
  Config out;
  if (cpus > 0) {
    auto whole = std::ceil(cpus);
    auto share = static_cast<int>(cpus / whole * 100);
    out["limits.cpu"] = std::to_string(static_cast<int>(whole));
    if (share < 100) out["limits.cpu.allowance"] = fmt::format("{}%", std::max(share, 1));
  }
  if (auto mib = static_cast<std::int64_t>(memory * 1024); mib > 0) out["limits.memory"] = fmt::format("{}MiB", mib);
  return out;
}

} // namespace incus::instance
