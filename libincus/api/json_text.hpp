// SPDX-License-Identifier: Apache-2.0
// Long lists as JSON text straight from their records: what a server sends needs no tree in between.
#pragma once
#include <any>
#include <string>

namespace incus::api {

/// last_used_at of an instance that never ran: "never" is another day there than everywhere else.
inline constexpr const char *never_used = "1970-01-01T00:00:00Z";

/// The text of what Reply::record holds: a list of instances, short or full. Same text as that of to_json_instance() and to_json_full().
std::string list_text(const std::any &record);

} // namespace incus::api
