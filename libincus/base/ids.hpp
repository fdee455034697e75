// SPDX-License-Identifier: Apache-2.0
// Random identifiers and digests of them.
#pragma once
#include <cstddef>
#include <string>

namespace incus::base {

/// A random (version 4) UUID.
std::string uuid();
/// `bytes` random bytes in hex.
std::string random_hex(std::size_t bytes);
/// A random MAC address with the prefix Incus uses (10:66:6a).
std::string random_mac();
/// A random instance name of two words, such as "calm-otter".
std::string random_name();

} // namespace incus::base
