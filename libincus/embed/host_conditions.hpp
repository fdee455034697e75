// SPDX-License-Identifier: Apache-2.0
// What this machine lacks, as warnings.
#pragma once
#include <string>
#include <vector>

#include "db/connection.hpp"
#include "db/warnings.hpp"

namespace incus::embed {

struct Condition {
  db::WarningType type;
  std::string message; ///< empty: all is well
};
std::vector<Condition> host_conditions();

/// Raises the warnings of conditions that came, resolves those that went; writes nothing when all is as the store has it.
void tell_conditions(db::Connection &global, const std::vector<Condition> &conditions);

} // namespace incus::embed
