// SPDX-License-Identifier: Apache-2.0
#include "db/backups.hpp"

#include "base/time.hpp"
#include "db/common.hpp"

namespace incus::db {

namespace {
struct Table {
  const char *name, *owner, *alone;
};
constexpr Table tables[] = {{"instances_backups", "instance_id", "container_only"}, {"storage_volumes_backups", "storage_volume_id", "volume_only"}};
const Table &table(BackupKind kind) { return tables[static_cast<int>(kind)]; }
} // namespace

std::vector<BackupRow> backups(Connection &c, BackupKind kind, std::int64_t owner) {
  auto &t = table(kind);
  std::vector<BackupRow> out;
  c.query(std::string("SELECT id, ") + t.owner + ", name, creation_date, expiry_date, " + t.alone + ", optimized_storage FROM " + t.name +
              (owner ? std::string(" WHERE ") + t.owner + " = ?" : std::string()) + " ORDER BY " + t.owner + ", creation_date, id",
          owner ? std::vector<Value>{owner} : std::vector<Value>{}, [&](const Row &r) {
            BackupRow b;
            b.id = r.number(0);
            b.owner = r.number(1);
            b.name = r.text(2);
            b.created_at = time_of(r, 3);
            b.expires_at = time_of(r, 4);
            b.alone = r.flag(5);
            b.optimized = r.flag(6);
            out.push_back(std::move(b));
          });
  return out;
}

void insert_backup(Connection &c, BackupKind kind, const BackupRow &b) {
  auto &t = table(kind);
  c.exec(std::string("INSERT INTO ") + t.name + " (" + t.owner + ", name, creation_date, expiry_date, " + t.alone + ", optimized_storage) VALUES (?, ?, ?, ?, ?, ?)",
         {b.owner, b.name, base::format_time(b.created_at), b.expires_at == Time{} ? Value(nullptr) : Value(base::format_time(b.expires_at)), std::int64_t(b.alone),
          std::int64_t(b.optimized)});
}

void rename_backup(Connection &c, BackupKind kind, std::int64_t id, const std::string &name) {
  c.exec(std::string("UPDATE ") + table(kind).name + " SET name = ? WHERE id = ?", {name, id});
}

void delete_backup(Connection &c, BackupKind kind, std::int64_t id) { c.exec(std::string("DELETE FROM ") + table(kind).name + " WHERE id = ?", {id}); }

} // namespace incus::db
