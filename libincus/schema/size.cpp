// SPDX-License-Identifier: Apache-2.0
// Byte sizes: a whole number and a unit, as Incus writes them.
#include <charconv>

#include "base/error.hpp"
#include "base/names.hpp"
#include "schema/schema.hpp"

namespace incus::schema {

namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
// Spelled as Incus spells them: "kB" has a small k, "KiB" a large one.
constexpr Unit units[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"MB", 1000'000},
    {"GB", 1000'000'000},
    {"TB", 1000'000'000'000},
    {"PB", 1000'000'000'000'000},
    {"EB", 1000'000'000'000'000'000},
    {"KiB", 1ll << 10},
    {"MiB", 1ll << 20},
    {"GiB", 1ll << 30},
    {"TiB", 1ll << 40},
    {"PiB", 1ll << 50},
    {"EiB", 1ll << 60},
};

constexpr const char *rule = "must be a whole number of bytes with an optional unit (B, kB, MB, GB, TB, PB, EB, KiB, MiB, GiB, TiB, PiB, EiB)";

/// Empty text on success.
std::string read(std::string_view v, std::int64_t &out) {
  out = 0;
  if (v.empty()) return {};
  std::int64_t n = 0;
  auto [end, ec] = std::from_chars(v.data(), v.data() + v.size(), n);
  if (ec == std::errc::result_out_of_range) return "must be less than 8 EiB";
  if (ec != std::errc() || v[0] < '0' || v[0] > '9') return rule;
  std::string_view unit(end, static_cast<std::size_t>(v.data() + v.size() - end));
  for (auto &u : units) {
    if (unit != u.name) continue;
    if (__builtin_mul_overflow(n, u.factor, &out)) return "must be less than 8 EiB";
    return {};
  }
  return rule;
}

} // namespace

std::int64_t parse_size(std::string_view v) {
  std::int64_t n = 0;
  if (auto broken = read(v, n); !broken.empty()) base::fail(ErrorCode::invalid_argument, "invalid size {}: {}", base::quoted(v), broken);
  return n;
}

std::string is_size(std::string_view v) {
  std::int64_t n = 0;
  return read(v, n);
}

std::string is_size_or_percent(std::string_view v) {
  if (!v.ends_with('%')) return is_size(v);
  v.remove_suffix(1);
  unsigned n = 0;
  auto [end, ec] = std::from_chars(v.data(), v.data() + v.size(), n);
  if (ec != std::errc() || end != v.data() + v.size() || n < 1 || n > 100) return "a percentage must be 1% to 100%";
  return {};
}

} // namespace incus::schema
