// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "object.hpp"

namespace cli {
/// The verbs that change volumes of users.
std::vector<Command> storage_volume_changes();
/// Those that copy and move them.
std::vector<Command> storage_volume_copies();
/// "container/c1", or a custom volume without a type.
std::pair<std::string, std::string> type_and_name(const std::string &text);
} // namespace cli
