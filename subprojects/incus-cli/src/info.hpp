// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "app.hpp"

namespace cli {
/// GET /1.0/resources as text.
void show_resources(const json::value &resources);
} // namespace cli
