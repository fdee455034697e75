// SPDX-License-Identifier: Apache-2.0
// Configuration keys that pools of all drivers have.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "schema/schema.hpp"

namespace incus::storage {

std::span<const schema::Key> pool_keys() noexcept;
/// For a new pool. On a change pass the changed keys only: a pool in use has a `source` that is not empty.
void validate_pool(const Config &config);
/// Of a pool that is there without a row: throws when its source is no directory that can hold one, or holds none.
void check_pool_place(const std::string &source);
/// Bytes a second of what rsync.bwlimit says, 0: no limit; nothing when it says nothing.
std::optional<std::uint64_t> parse_rate(std::string_view text) noexcept;
/// For drivers with keys of their own, which look at the source themselves.
void validate_pool(const Config &config, std::span<const schema::Key> own);

} // namespace incus::storage
