// SPDX-License-Identifier: Apache-2.0
// Bytes that a guest or a client chose, as text: JSON is UTF-8, and readers of it refuse what is not.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace incus::base {

/// Bytes of the character that `text` begins with; 0 when that is none.
std::size_t utf8_length(std::string_view text) noexcept;
/// With U+FFFD for every byte that belongs to no character.
std::string utf8(std::string_view text);

} // namespace incus::base
