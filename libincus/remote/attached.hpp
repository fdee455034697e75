// SPDX-License-Identifier: Apache-2.0
// Commands and consoles on the caller's descriptors.
#pragma once
#include "api/door.hpp"

namespace incus::remote {

/// Whether the call is one of handles that gave descriptors, and not one of the API alone.
bool wants_attachment(const api::Row &row, const api::Request &request);

} // namespace incus::remote
