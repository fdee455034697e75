// SPDX-License-Identifier: Apache-2.0
// The backups that a host keeps: rows and files together, by intents.
#pragma once
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "db/backups.hpp"
#include "db/journal.hpp"
#include "storage/backup_place.hpp"

namespace incus::backup {

class Files {
public:
  Files(db::Connection &global, db::Journal &journal, std::string state);

  struct Owner {
    db::BackupKind kind = db::BackupKind::instance;
    std::int64_t id = 0;
    std::string place; ///< storage/backup_place.hpp
  };
  std::vector<db::BackupRow> list(const Owner &owner) { return db::backups(global_, owner.kind, owner.id); }
  /// Throws not_found.
  db::BackupRow get(const Owner &owner, const std::string &name);
  /// The name it gets when `wanted` is empty, checked.
  std::string name_for(const Owner &owner, const std::string &wanted);
  /// `write` fills the file.
  void create(const Owner &owner, const db::BackupRow &row, const std::function<void(int fd)> &write);
  void rename(const Owner &owner, const std::string &name, const std::string &to);
  void remove(const Owner &owner, const std::string &name);
  base::Fd open(const Owner &owner, const std::string &name);
  void check(std::vector<std::string> &problems);

private:
  storage::BackupPlace place(const Owner &o) const { return {state_, o.place}; }
  void recover(const boost::json::object &data);
  void recover_make(const boost::json::object &data);
  /// A backup that is being made, renamed or removed; throws busy when somebody has it already.
  class Hold {
  public:
    Hold(Files &me, const Owner &o, const std::string &name);
    ~Hold();
    Hold(const Hold &) = delete;
    Hold &operator=(const Hold &) = delete;

  private:
    Files &me_;
    std::string key_;
  };
  void must_be_free(const std::string &key, const std::string &name) const;
  void recover_rename(const boost::json::object &data);
  boost::json::object where(const Owner &o, const std::string &name) const;
  bool have(const Owner &o, const std::string &name);

  db::Connection &global_;
  db::Journal &journal_;
  std::string state_;
  std::mutex mutex_;
  std::set<std::string> held_; ///< PLACE/NAME
};

} // namespace incus::backup
