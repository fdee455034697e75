// SPDX-License-Identifier: Apache-2.0
// Configuration keys as rows. The rows stand with their owner; this is the row type and the checks over them.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <incus/types.hpp>

namespace incus::schema {

/// A check of one value: returns an empty text, or the rule that the value breaks.
using Check = std::string (*)(std::string_view value);

struct Key {
  /// The name; one ending in ".*" stands for every key with that beginning.
  const char *name;
  const char *type;      ///< "string", "bool", "integer", "size", "duration": for documentation
  Check check;           ///< null: any one-line text
  const char *fallback;  ///< value when unset, "" for none
  bool live;             ///< takes effect on a running instance
  const char *doc;
  bool multi_line = false;
};

/// The row for a key; null when none is.
const Key *find(std::span<const Key> keys, std::string_view name) noexcept;
/// Throws invalid_argument that names the key (or the value and its rule). `what` such as "instance \"c1\"".
void validate(std::span<const Key> keys, const Config &config, const std::string &what);
/// The value of a key, or its fallback.
std::string value(std::span<const Key> keys, const Config &config, std::string_view name);

// Checks.
std::string is_bool(std::string_view v);        // true/false/1/0/yes/no/on/off, any case
std::string is_uint(std::string_view v);        // 0..2^63-1
std::string is_int(std::string_view v);
std::string is_uint32(std::string_view v);
std::string is_size(std::string_view v);        // 10, 10MB, 10MiB, ...
std::string is_size_or_percent(std::string_view v);
std::string is_priority(std::string_view v);    // 0..10
std::string is_uuid(std::string_view v);
std::string is_mac(std::string_view v);
std::string is_absolute_path(std::string_view v);
std::string is_any(std::string_view v);

bool truthy(std::string_view v) noexcept;
/// Bytes; throws invalid_argument. Empty gives 0.
std::int64_t parse_size(std::string_view v);

} // namespace incus::schema
