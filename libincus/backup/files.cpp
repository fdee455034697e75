// SPDX-License-Identifier: Apache-2.0
#include "backup/files.hpp"

#include <boost/json.hpp>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "db/volumes.hpp"
#include "storage/custom.hpp"
#include "storage/pools.hpp"

namespace incus::backup {

namespace json = boost::json;

namespace {
std::string text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }
Files::Owner owner_of(const json::object &d) { return {d.at("kind").as_int64() ? db::BackupKind::volume : db::BackupKind::instance, d.at("owner").as_int64(), text(d, "place")}; }
} // namespace

Files::Files(db::Connection &global, db::Journal &journal, std::string state) : global_(global), journal_(journal), state_(std::move(state)) {
  journal_.on("backup.make", [this](const json::object &d) { recover_make(d); });
  journal_.on("backup", [this](const json::object &d) { recover(d); });
  journal_.on("backup.rename", [this](const json::object &d) { recover_rename(d); });
}

json::object Files::where(const Owner &o, const std::string &name) const {
  return {{"kind", o.kind == db::BackupKind::volume ? 1 : 0}, {"owner", o.id}, {"place", o.place}, {"name", name}};
}

bool Files::have(const Owner &o, const std::string &name) {
  for (auto &b : list(o))
    if (b.name == name) return true;
  return false;
}

db::BackupRow Files::get(const Owner &o, const std::string &name) {
  if (o.id)
    for (auto &b : list(o))
      if (b.name == name) return b;
  base::fail(ErrorCode::not_found, "{} backup not found: there is no {}", o.kind == db::BackupKind::volume ? "Storage volume" : "Instance", base::quoted(name));
}

std::string Files::name_for(const Owner &o, const std::string &wanted) {
  if (wanted.find('/') != std::string::npos) base::fail(ErrorCode::invalid_argument, "invalid name {}: Backup names may not contain slashes", base::quoted(wanted));
  if (!wanted.empty()) {
    base::SnapshotName::parse(wanted);
    if (have(o, wanted)) base::fail(ErrorCode::already_exists, "Backup {} already exists", base::quoted(wanted));
    return wanted;
  }
  std::int64_t next = 0;
  auto take = [&](const std::string &name) {
    if (!name.starts_with("backup") || name.size() == 6 || name.size() > 20 || name.find_first_not_of("0123456789", 6) != std::string::npos) return;
    next = std::max<std::int64_t>(next, std::stoll(name.substr(6)) + 1);
  };
  for (auto &b : list(o)) take(b.name);
  std::lock_guard lock(mutex_);
  for (auto &m : held_)
    if (m.starts_with(o.place + "/")) take(m.substr(o.place.size() + 1));
  return fmt::format("backup{}", next);
}

Files::Hold::Hold(Files &me, const Owner &o, const std::string &name) : me_(me), key_(o.place + "/" + name) {
  std::lock_guard lock(me_.mutex_);
  me_.must_be_free(key_, name);
  me_.held_.insert(key_);
}

Files::Hold::~Hold() {
  std::lock_guard lock(me_.mutex_);
  me_.held_.erase(key_);
}

void Files::must_be_free(const std::string &key, const std::string &name) const {
  if (held_.count(key)) base::fail(ErrorCode::busy, "backup {} is being made, renamed or removed: wait for that operation", base::quoted(name));
}

void Files::create(const Owner &o, const db::BackupRow &row, const std::function<void(int)> &write) {
  Hold hold(*this, o, row.name);
  if (have(o, row.name)) base::fail(ErrorCode::already_exists, "Backup {} already exists", base::quoted(row.name));
  // Listed from the beginning, as clients of Incus expect; until the intent is done it is none.
  db::Intent intent(journal_, "backup.make", where(o, row.name));
  auto fresh = row;
  fresh.owner = o.id;
  global_.transaction([&] { db::insert_backup(global_, o.kind, fresh); });
  auto file = place(o).make(row.name);
  write(file.get());
  if (::fsync(file.get()) != 0) base::fail_errno(errno, fmt::format("cannot write backup {}", base::quoted(row.name)));
  intent.done();
}

void Files::recover_make(const json::object &d) {
  auto o = owner_of(d);
  for (auto &b : list(o))
    if (b.name == text(d, "name")) global_.transaction([&] { db::delete_backup(global_, o.kind, b.id); });
  place(o).remove(text(d, "name"));
}

void Files::recover(const json::object &d) {
  // What the store does not have goes from the disk.
  auto o = owner_of(d);
  if (!have(o, text(d, "name"))) place(o).remove(text(d, "name"));
}

void Files::rename(const Owner &o, const std::string &name, const std::string &to) {
  get(o, name);
  if (to == name) return;
  Hold hold(*this, o, name), target(*this, o, to);
  auto row = get(o, name);
  if (to.empty()) base::fail(ErrorCode::invalid_argument, "the new name of backup {} is missing", base::quoted(name));
  name_for(o, to);
  auto data = where(o, name);
  data["to"] = to;
  data["id"] = row.id;
  db::Intent intent(journal_, "backup.rename", data);
  place(o).rename(name, to);
  global_.transaction([&] { db::rename_backup(global_, o.kind, row.id, to); });
  intent.done();
}

void Files::recover_rename(const json::object &d) {
  auto o = owner_of(d);
  for (auto &b : list(o)) {
    if (b.id != d.at("id").as_int64()) continue;
    bool forward = b.name == text(d, "to");
    place(o).rename(text(d, forward ? "name" : "to"), b.name);
  }
}

void Files::remove(const Owner &o, const std::string &name) {
  Hold hold(*this, o, name);
  auto row = get(o, name);
  db::Intent intent(journal_, "backup", where(o, name));
  global_.transaction([&] { db::delete_backup(global_, o.kind, row.id); });
  place(o).remove(name);
  intent.done();
}

base::Fd Files::open(const Owner &o, const std::string &name) {
  get(o, name);
  {
    std::lock_guard lock(mutex_);
    must_be_free(o.place + "/" + name, name); // one that is being made is none yet
  }
  return place(o).open(name);
}

void Files::check(std::vector<std::string> &problems) {
  if (state_.empty()) return;
  auto compare = [&](const Owner &o) {
    std::set<std::string> rows;
    for (auto &b : list(o)) rows.insert(b.name);
    auto disk = place(o).list();
    for (auto &n : disk)
      if (!rows.count(n)) problems.push_back(fmt::format("backup {}/{} is on disk but not in the store", o.place, n));
    for (auto &n : rows)
      if (std::find(disk.begin(), disk.end(), n) == disk.end()) problems.push_back(fmt::format("backup {}/{} is in the store but not on disk", o.place, n));
  };
  for (auto &i : db::instances(global_, "")) compare({db::BackupKind::instance, i.id, storage::BackupPlace::of_instance(state_, storage::store_name(i.project, i.name)).owner()});
  for (auto &p : db::pools(global_))
    for (auto &v : db::volumes_full(global_, p.name))
      if (v.type == storage::custom_volume_type) compare({db::BackupKind::volume, v.id, storage::BackupPlace::of_volume(state_, p.name, storage::CustomVolumes::store_name(v.project, v.name)).owner()});
}

} // namespace incus::backup
