// SPDX-License-Identifier: Apache-2.0
// Checks of single values that several rows share. Each returns the rule that was broken, or nothing.
#include <algorithm>
#include <charconv>
#include <limits>

#include "schema/schema.hpp"

namespace incus::schema {

namespace {

bool same(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(), [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x - 'A' + 'a' : x) == y; });
}
bool hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

template <class T> bool whole(std::string_view v, T &out) {
  auto [end, ec] = std::from_chars(v.data(), v.data() + v.size(), out);
  return ec == std::errc() && end == v.data() + v.size() && !v.empty();
}

} // namespace

bool truthy(std::string_view v) noexcept { return v == "1" || same(v, "true") || same(v, "yes") || same(v, "on"); }

std::string is_bool(std::string_view v) {
  if (truthy(v) || v == "0" || same(v, "false") || same(v, "no") || same(v, "off")) return {};
  return "must be true or false";
}

std::string is_uint(std::string_view v) {
  std::int64_t n;
  return whole(v, n) && v[0] != '-' ? "" : "must be a whole number from 0 to 9223372036854775807";
}

std::string is_int(std::string_view v) {
  std::int64_t n;
  return whole(v, n) ? "" : "must be a whole number";
}

std::string is_uint32(std::string_view v) {
  std::uint32_t n;
  return whole(v, n) ? "" : "must be a whole number from 0 to 4294967295";
}

std::string is_priority(std::string_view v) {
  unsigned n;
  return whole(v, n) && n <= 10 ? "" : "must be a whole number from 0 to 10";
}

std::string is_uuid(std::string_view v) {
  bool ok = v.size() == 36;
  for (std::size_t i = 0; ok && i < v.size(); i++) ok = i == 8 || i == 13 || i == 18 || i == 23 ? v[i] == '-' : hex(v[i]);
  return ok ? "" : "must be a UUID such as 0f0e0d0c-0b0a-4908-8706-050403020100";
}

std::string is_mac(std::string_view v) {
  bool ok = v.size() == 17;
  for (std::size_t i = 0; ok && i < v.size(); i++) ok = i % 3 == 2 ? v[i] == ':' : hex(v[i]);
  return ok ? "" : "must be a MAC address such as 10:66:6a:00:00:01";
}

std::string is_absolute_path(std::string_view v) {
  if (!v.starts_with('/')) return "must be an absolute path";
  for (std::string_view rest = v; !rest.empty();) {
    auto cut = rest.find('/');
    if (rest.substr(0, cut) == "..") return "must not hold \"..\"";
    if (cut == std::string_view::npos) break;
    rest.remove_prefix(cut + 1);
  }
  return {};
}

std::string is_any(std::string_view) { return {}; }

} // namespace incus::schema
