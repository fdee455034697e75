// SPDX-License-Identifier: Apache-2.0
// RFC 3339 times, as they travel in JSON and stand in the store.
#pragma once
#include <string>
#include <string_view>

#include <incus/types.hpp>

namespace incus::base {

Time now() noexcept;
/// UTC with nanoseconds as needed; the epoch gives 0001-01-01T00:00:00Z.
std::string format_time(Time t);
/// Throws invalid_argument. Any year before 1970 gives the epoch ("never").
Time parse_time(std::string_view text);

} // namespace incus::base
