// SPDX-License-Identifier: Apache-2.0
/// \file
/// Small types that records of several nouns share.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <incus/error.hpp>

namespace incus {
inline namespace v0 {

/// A point in time; the default (epoch) means "never" and travels as 0001-01-01T00:00:00Z.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;
/// Configuration keys and values of an object, as in the REST API (all values are strings).
using Config = std::map<std::string, std::string>;
/// Devices by name; each is a map of keys with at least `type`.
using Devices = std::map<std::string, Config>;
/// A JSON document whose shape depends on the object; empty text means null.
struct Json {
  std::string text;
};
/// Identifies one version of an object; opaque, compare for equality only. Empty: not known.
using Etag = std::string;

} // namespace v0
} // namespace incus
