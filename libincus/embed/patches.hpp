// SPDX-License-Identifier: Apache-2.0
// What happens to the stores when a state directory is opened: a copy before anything changes them, an administrator's own
// statements (database/patch.global.sql, patch.local.sql), the steps of the schema, and changes that run once.
#pragma once
#include <memory>
#include <string>

#include "base/log.hpp"
#include "db/connection.hpp"

namespace incus::embed {

/// Opens DIR/database/global/db.bin and DIR/database/local.db, brought to the newest schema. When a patch fails, or a step, this throws and
/// that store is as it was; the copies made before (database/global.bak, database/local.db.bak) stay.
void open_stores(const std::string &directory, const base::Log &log, std::unique_ptr<db::Connection> &global, std::unique_ptr<db::Connection> &local);

/// Changes that run once in the life of a store, by name in the local store's table `patches`; one whose row was taken away runs again.
void run_once(db::Connection &global, db::Connection &local, const base::Log &log);

} // namespace incus::embed
