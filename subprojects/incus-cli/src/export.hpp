// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "app.hpp"

namespace cli {

int volume_export(Context &c);
int volume_import(Context &c);

} // namespace cli
