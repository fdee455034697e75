// SPDX-License-Identifier: Apache-2.0
// When snapshots are made and when they go: snapshots.schedule and snapshots.expiry.
#pragma once
#include <ctime>
#include <string>
#include <string_view>

#include <incus/types.hpp>

namespace incus::instance {

/// The rule a schedule breaks, or "". Cron expressions of five fields and words such as @daily, separated by commas.
std::string is_schedule(std::string_view text);
/// Whether it is time in this minute of local time.
bool schedule_due(std::string_view text, const std::tm &minute);
/// Whether @startup is in it.
bool schedule_at_start(std::string_view text);

/// The rule an expiry breaks, or "": numbers with M (minutes), H, d, w, m (months) or y, as in "1d 12H".
std::string is_expiry(std::string_view text);
/// The time that lies as far after `from`; Time{} when the text is empty.
Time expiry_after(std::string_view text, Time from);

} // namespace incus::instance
