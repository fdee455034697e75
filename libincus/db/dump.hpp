// SPDX-License-Identifier: Apache-2.0
// A store as SQL text, and the changes an administrator leaves for the next open.
#pragma once
#include <string>

#include "db/connection.hpp"

namespace incus::db {

/// Statements that make the same store again: tables with their rows, indices, views, triggers; `schema_only`: no rows.
std::string dump(Connection &c, bool schema_only);

/// A number for a patch's text, kept in the store by the transaction that applied it: a patch whose file outlived a crash is not applied twice.
std::int64_t patch_mark(Connection &c);
void set_patch_mark(Connection &c, std::int64_t mark);

} // namespace incus::db
