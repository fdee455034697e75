// SPDX-License-Identifier: Apache-2.0
#include "schema/schema.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::schema {

namespace {

/// The beginning a "prefix.*" row stands for, with its dot; empty for an exact row.
std::string_view prefix_of(const Key &k) {
  std::string_view n = k.name;
  return n.ends_with(".*") ? n.substr(0, n.size() - 1) : std::string_view{};
}

/// Levenshtein distance, for hints only.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); i++) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); j++) {
      std::size_t up = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = up;
    }
  }
  return row[b.size()];
}

std::string hint(std::span<const Key> keys, std::string_view name) {
  if (name.size() > 100) return {}; // not a slip of the fingers, and the distance is quadratic
  std::string best;
  std::size_t least = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (auto &k : keys) {
    std::string candidate = k.name;
    // Against "environment.*" only the beginning is compared, and the rest is kept as it was written.
    if (auto p = prefix_of(k); !p.empty()) {
      auto dot = name.rfind('.');
      if (dot == std::string_view::npos || dot + 1 == name.size()) continue;
      candidate = std::string(p) + std::string(name.substr(dot + 1));
    }
    auto d = distance(name, candidate);
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}

} // namespace

const Key *find(std::span<const Key> keys, std::string_view name) noexcept {
  const Key *best = nullptr;
  std::size_t longest = 0;
  for (auto &k : keys) {
    if (name == k.name && !name.ends_with(".*")) return &k;
    auto p = prefix_of(k);
    if (!p.empty() && name.size() > p.size() && name.starts_with(p) && p.size() > longest) {
      best = &k;
      longest = p.size();
    }
  }
  return best;
}

void validate(std::span<const Key> keys, const Config &config, const std::string &what) {
  for (auto &[name, v] : config) {
    const Key *k = find(keys, name);
    if (!k) {
      auto near = hint(keys, name);
      base::fail(ErrorCode::invalid_argument, "unknown configuration key {} of {}{}", base::quoted(name), what,
                 near.empty() ? std::string() : fmt::format("; did you mean {}?", base::quoted(near)));
    }
    // Names reach generated files too: a row with a wildcard lets the caller choose them.
    if (!base::is_one_line(name)) base::fail(ErrorCode::invalid_argument, "invalid configuration key {} of {}: must be one line without NUL", base::quoted(name), what);
    if (v.empty()) continue; // unset
    auto refuse = [&, &key = name, &value = v](std::string_view rule) {
      base::fail(ErrorCode::invalid_argument, "invalid value {} of configuration key {} of {}: {}", base::quoted(value), base::quoted(key), what, rule);
    };
    if (v.find('\0') != std::string::npos) refuse("must not hold NUL");
    if (!k->multi_line && !base::is_one_line(v)) refuse("must be one line");
    if (k->check)
      if (auto rule = k->check(v); !rule.empty()) refuse(rule);
  }
}

std::string value(std::span<const Key> keys, const Config &config, std::string_view name) {
  if (auto it = config.find(std::string(name)); it != config.end() && !it->second.empty()) return it->second;
  const Key *k = find(keys, name);
  return k && k->fallback ? k->fallback : "";
}

} // namespace incus::schema
