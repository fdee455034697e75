// SPDX-License-Identifier: Apache-2.0
// What the handlers of instances share.
#pragma once
#include <string>

#include "embed/engine.hpp"

namespace incus::embed {

/// `rest`: the name, and what follows it.
std::string instance_url(const std::string &project, const std::string &rest);
OperationSpec instance_operation(const api::Request &q, const char *description, const std::string &name, bool may_cancel = false);
std::int64_t to_number(const std::string &text, const char *what);
/// Of an operation that changes the state; throws invalid_argument for an unknown action.
const char *state_change_description(const std::string &action);

} // namespace incus::embed
