// SPDX-License-Identifier: Apache-2.0
#include "storage/custom.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "storage/backup_place.hpp"
#include "schema/schema.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

namespace json = boost::json;

VolumeName journal_name(const json::object &d) { return {journal_text(d, "pool"), journal_text(d, "project"), journal_text(d, "name")}; }
json::object journal_entry(const VolumeName &v) { return {{"pool", v.pool}, {"project", v.project}, {"name", v.name}}; }
std::string journal_text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }
VolumeRef custom_ref(const std::string &project, const std::string &name) { return {VolumeType::custom, CustomVolumes::store_name(project, name)}; }

namespace {

VolumeRef ref(const json::object &d) { return custom_ref(journal_text(d, "project"), journal_text(d, "name")); }

void check_name(const std::string &name) {
  if (name.find('/') != std::string::npos) base::fail(ErrorCode::invalid_argument, "invalid name {}: Storage volume names may not contain slashes", base::quoted(name));
  base::SnapshotName::parse(name);
}

std::string is_id(std::string_view v) {
  if (v.empty() || v.size() > 10 || v.find_first_not_of("0123456789") != v.npos || std::stoll(std::string(v)) > 4294967294) return "must be a user or group id";
  return {};
}
std::string is_mode(std::string_view v) {
  if (v.empty() || v.size() > 5 || v.find_first_not_of("01234567") != v.npos || std::stol(std::string(v), nullptr, 8) > 07777) return "must be an octal mode such as 0755";
  return {};
}

constexpr unsigned files = 1, disk = 2, medium = 4;
unsigned kind_of(db::VolumeContent c) { return c == db::VolumeContent::block ? disk : c == db::VolumeContent::iso ? medium : files; }

struct VolumeKey {
  const char *name;
  unsigned kinds;                         ///< of volumes that have it
  std::string (*check)(std::string_view); ///< null: anything
};
/// Of custom volumes; snapshots.expiry and snapshots.schedule are checked where their language is known.
constexpr VolumeKey keys[] = {
    {"initial.gid", files, is_id},
    {"initial.mode", files, is_mode},
    {"initial.uid", files, is_id},
    {"security.shifted", files, schema::is_bool},
    {"security.unmapped", files, schema::is_bool},
    {"size", files | disk | medium, schema::is_size},
    {"snapshots.expiry", files | disk, nullptr},
    {"snapshots.pattern", files | disk, nullptr},
    {"snapshots.schedule", files | disk, nullptr},
};

/// As initial.uid, initial.gid and initial.mode say.
void own(const storage::Place &p, const Config &config) {
  auto number = [&](const char *key, int base, long none) { return config.count(key) && !config.at(key).empty() ? std::stol(config.at(key), nullptr, base) : none; };
  long uid = number("initial.uid", 10, -1), gid = number("initial.gid", 10, -1), mode = number("initial.mode", 8, -1);
  if (uid < 0 && gid < 0 && mode < 0) return;
  sys::FaultScope fault("set owner of volume");
  base::Fd dir(p.driver->open_volume(p.volume));
  if (::fchown(dir.get(), static_cast<uid_t>(uid), static_cast<gid_t>(gid)) != 0 || (mode >= 0 && ::fchmod(dir.get(), static_cast<mode_t>(mode)) != 0))
    base::fail_errno(errno, fmt::format("cannot set the owner and mode of volume {}", base::quoted(p.volume.name)));
  sys::sync_directory(dir.get());
}

} // namespace

CustomVolumes::CustomVolumes(db::Connection &global, db::Journal &journal, Pools &pools, std::string state)
    : global_(global), journal_(journal), pools_(pools), state_(std::move(state)) {
  journal_.on("volume", [this](const json::object &d) { recover(d); });
  journal_.on("volume.rename", [this](const json::object &d) { recover_rename(d); });
  journal_.on("volume.snapshot", [this](const json::object &d) { recover_snapshot(d); });
  journal_.on("volume.snapshot.rename", [this](const json::object &d) { recover_snapshot_rename(d); });
  journal_.on("volume.size", [this](const json::object &d) { settle_size(journal_name(d)); });
  journal_.on("volume.restore", [this](const json::object &d) { recover_restore(d); });
}

CustomVolumes::Hold::Hold(CustomVolumes &v, const std::vector<VolumeName> &volumes) : v_(v) {
  for (auto &n : volumes) keys_.insert(n.pool + "/" + n.project + "/" + n.name);
  std::unique_lock lock(v_.mutex_);
  v_.free_.wait(lock, [&] { return std::none_of(keys_.begin(), keys_.end(), [&](auto &k) { return v_.held_.count(k) != 0; }); });
  v_.held_.insert(keys_.begin(), keys_.end());
}

CustomVolumes::Hold::~Hold() {
  std::lock_guard lock(v_.mutex_);
  for (auto &k : keys_) v_.held_.erase(k);
  v_.free_.notify_all();
}

bool CustomVolumes::has_key(const std::string &key, db::VolumeContent content) {
  return key.starts_with("user.") || std::any_of(std::begin(keys), std::end(keys), [&](auto &k) { return key == k.name && k.kinds & kind_of(content); });
}

void CustomVolumes::validate(const std::string &name, const Config &config, bool instance, std::optional<db::VolumeContent> content) {
  std::string known = "user.*";
  unsigned kinds = instance ? 0 : content ? kind_of(*content) : files | disk | medium;
  for (auto &k : keys)
    if (k.kinds & kinds) known += std::string(", ") + k.name;
  for (auto &[k, v] : config) {
    if (v.find('\0') != std::string::npos) base::fail(ErrorCode::invalid_argument, "option {} of volume {} may not hold NUL", base::quoted(k), base::quoted(name));
    if (v.empty() || (k.starts_with("user.") && k.size() > 5)) continue;
    auto *key = std::find_if(std::begin(keys), std::end(keys), [&](auto &i) { return k == i.name && i.kinds & kinds; });
    if (key == std::end(keys)) base::fail(ErrorCode::invalid_argument, "Invalid option for volume {} option {}: known are {}", base::quoted(name), base::quoted(k), known);
    if (auto rule = key->check ? key->check(v) : ""; !rule.empty())
      base::fail(ErrorCode::invalid_argument, "Invalid option for volume {} option {}, value {}: {}", base::quoted(name), base::quoted(k), base::quoted(v), rule);
  }
  auto set = [&](const char *key) { return config.count(key) && schema::truthy(config.at(key)); };
  if (set("security.shifted") && set("security.unmapped"))
    base::fail(ErrorCode::invalid_argument, "volume {}: security.unmapped and security.shifted are mutually exclusive; unset one of them", base::quoted(name));
}

db::VolumeFull CustomVolumes::volume(const std::string &pool, const std::string &project, const std::string &name) {
  auto v = db::volume(global_, pool, project, custom_volume_type, name);
  if (!v) base::fail(ErrorCode::not_found, "Storage pool volume not found: there is no custom volume {} in pool {}", base::quoted(name), base::quoted(pool));
  return *v;
}

storage::Place CustomVolumes::place(const VolumeName &n) { return {pools_.driver(n.pool), custom_ref(n.project, n.name), pools_.copy_rate(n.pool)}; }

void CustomVolumes::must_be_new(const VolumeName &n, const char *doing) {
  check_name(n.name);
  db::project_id(global_, n.project);
  if (db::volume(global_, n.pool, n.project, custom_volume_type, n.name))
    base::fail(ErrorCode::already_exists, "Volume by that name already exists: {} in pool {}", base::quoted(n.name), base::quoted(n.pool));
  auto p = place(n);
  if (p.driver->exists(p.volume))
    base::fail(ErrorCode::conflict, "cannot {} volume {}: pool {} holds one of that name that is not in the store", doing, base::quoted(n.name), base::quoted(n.pool));
}

void CustomVolumes::create(db::VolumeFull v, int medium) {
  VolumeName n{v.pool, v.project, v.name};
  check_name(v.name);
  prepare_image(v, medium);
  validate(v.name, v.config, false, v.content);
  Hold hold(*this, {n});
  must_be_new(n, "create");
  auto p = place(n);
  db::Intent intent(journal_, "volume", journal_entry(n));
  p.driver->create_empty(p.volume);
  if (v.content != db::VolumeContent::filesystem)
    fill_image(p, v, medium);
  else if (!pools_.directory(v.pool).empty())
    own(p, v.config);
  v.type = custom_volume_type;
  v.created_at = base::now();
  global_.transaction([&] { db::insert_volume(global_, v); });
  intent.done();
}

bool CustomVolumes::exists(const json::object &d) {
  return db::volume(global_, journal_text(d, "pool"), journal_text(d, "project"), custom_volume_type, journal_text(d, "name")).has_value();
}

void CustomVolumes::recover(const json::object &d) {
  // Creation and removal alike: what the store does not have goes from the disk.
  if (db::pools(global_, journal_text(d, "pool")).empty()) return;
  if (exists(d)) return settle_size(journal_name(d));
  auto backups = BackupPlace::of_volume(state_, journal_text(d, "pool"), ref(d).name);
  if (auto *moved = d.if_contains("moved_to"); moved && exists(moved->as_object()))
    backups.move_to(BackupPlace::of_volume(state_, journal_text(moved->as_object(), "pool"), ref(moved->as_object()).name));
  pools_.driver(journal_text(d, "pool"))->remove_volume(ref(d));
  backups.remove_all();
}

void CustomVolumes::remove(const std::string &pool, const std::string &project, const std::string &name) {
  VolumeName n{pool, project, name};
  Hold hold(*this, {n});
  volume(pool, project, name);
  pools_.driver(pool)->open(); // one whose disk is gone keeps its rows
  db::Intent intent(journal_, "volume", journal_entry(n));
  global_.transaction([&] { db::delete_volume(global_, pool, project, name, custom_volume_type); });
  recover(intent.data());
  intent.done();
}

void CustomVolumes::rename(const std::string &pool, const std::string &project, const std::string &name, const std::string &new_name) {
  VolumeName from{pool, project, name}, to{pool, project, new_name};
  check_name(new_name);
  Hold hold(*this, {from, to});
  auto v = volume(pool, project, name);
  if (name == new_name) return;
  must_be_new(to, "rename");
  auto data = journal_entry(from);
  data["new_name"] = new_name;
  auto p = place(from);
  db::Intent intent(journal_, "volume.rename", data);
  p.driver->rename(p.volume, custom_ref(project, new_name).name);
  BackupPlace::of_volume(state_, pool, p.volume.name).move_to(BackupPlace::of_volume(state_, pool, custom_ref(project, new_name).name));
  global_.transaction([&] {
    db::move_volume_users(global_, v, pool, new_name);
    global_.exec("UPDATE storage_volumes SET name = ? WHERE id = ?", {new_name, v.id});
  });
  intent.done();
}

void CustomVolumes::recover_rename(const json::object &d) {
  if (db::pools(global_, journal_text(d, "pool")).empty()) return;
  auto from = ref(d), to = custom_ref(journal_text(d, "project"), journal_text(d, "new_name"));
  auto driver = pools_.driver(journal_text(d, "pool"));
  if (exists(d)) std::swap(from, to);
  if (driver->exists(from)) driver->rename(from, to.name);
  BackupPlace::of_volume(state_, journal_text(d, "pool"), from.name).move_to(BackupPlace::of_volume(state_, journal_text(d, "pool"), to.name));
}

} // namespace incus::storage
