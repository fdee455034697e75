// SPDX-License-Identifier: Apache-2.0
// What a state directory that nobody holds waits for.
#include <sys/stat.h>

#include "db/connection.hpp"
#include "rest/server.hpp"

namespace incus {
inline namespace v0 {

std::string Server::wants_to_run(const std::string &directory) {
  auto there = [&](const std::string &file) {
    struct stat st;
    return ::stat((directory + file).c_str(), &st) == 0;
  };
  auto any = [](db::Connection &c, const char *sql) {
    bool found = false;
    c.query(sql, {}, [&](const db::Row &) { found = true; });
    return found;
  };
  for (auto *file : {"/database/local.db", "/database/global/db.bin"}) {
    if (!there(file)) continue;
    auto c = db::open_sqlite(directory + file);
    if (any(*c, "SELECT 1 FROM config WHERE key IN ('core.https_address', 'core.metrics_address') AND value <> '' LIMIT 1")) return "core.https_address set";
  }
  if (!there("/database/global/db.bin")) return {};
  auto c = db::open_sqlite(directory + "/database/global/db.bin");
  if (any(*c, "SELECT 1 FROM instances_config WHERE (key = 'boot.autostart' AND value IN ('true', '1', 'yes', 'on')) OR "
              "(key = 'volatile.last_state.power' AND value = 'RUNNING') LIMIT 1") ||
      any(*c, "SELECT 1 FROM profiles_config WHERE key = 'boot.autostart' AND value IN ('true', '1', 'yes', 'on') LIMIT 1"))
    return "auto-started instances";
  if (any(*c, "SELECT 1 FROM instances_config WHERE key = 'snapshots.schedule' AND value <> '' LIMIT 1") ||
      any(*c, "SELECT 1 FROM profiles_config WHERE key = 'snapshots.schedule' AND value <> '' LIMIT 1"))
    return "scheduled instance snapshots";
  if (any(*c, "SELECT 1 FROM storage_volumes_config k JOIN storage_volumes v ON v.id = k.storage_volume_id WHERE v.type = 2 AND k.key = 'snapshots.schedule' "
              "AND k.value <> '' LIMIT 1"))
    return "scheduled volume snapshots";
  return {};
}

} // namespace v0
} // namespace incus
