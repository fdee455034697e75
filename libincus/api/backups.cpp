// SPDX-License-Identifier: Apache-2.0
// Backup, and what becomes of one.
#include <cerrno>
#include <unistd.h>

#include <incus/backup.hpp>

#include "api/call.hpp"
#include "api/new_file.hpp"
#include "api/records.hpp"

namespace incus {
namespace api {

const BackupRows &backup_rows(const std::vector<std::string> &owner) {
  static constexpr BackupRows instance{RowId::backups_get, RowId::backups_post, RowId::backup_get, RowId::backup_post, RowId::backup_delete, RowId::backup_export_get};
  static constexpr BackupRows volume{RowId::volume_backups_get, RowId::volume_backups_post,  RowId::volume_backup_get,
                                     RowId::volume_backup_post, RowId::volume_backup_delete, RowId::volume_backup_export_get};
  return owner.size() == 1 ? instance : volume;
}

std::int64_t export_backup(const SessionPtr &session, const std::string &project, std::vector<std::string> owner, const std::string &backup, int to) {
  auto row = backup_rows(owner).bytes;
  owner.push_back(backup);
  auto reply = perform(session, row, at(std::move(owner), project));
  if (reply.bodies.empty()) base::fail(ErrorCode::internal, "the server sent no backup {}", base::quoted(backup));
  return drain(reply, "backup " + base::quoted(backup), "", [&](std::string_view piece) {
    while (!piece.empty()) {
      auto n = ::write(to, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) base::fail_errno(errno, fmt::format("cannot write backup {} to the given descriptor", base::quoted(backup)));
      piece.remove_prefix(static_cast<std::size_t>(n));
    }
  });
}

base::Fd open_backup(const std::string &path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    base::fail(ErrorCode::invalid_argument, "invalid path {} of a backup: it must not be empty or hold a NUL", base::quoted(path));
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) base::fail_errno(errno, fmt::format("cannot open backup {}", base::quoted(path)));
  struct stat st;
  if (::fstat(fd.get(), &st) < 0) base::fail_errno(errno, fmt::format("cannot read backup {}", base::quoted(path)));
  if (!S_ISREG(st.st_mode)) base::fail(ErrorCode::invalid_argument, "invalid backup {}: must be a regular file; give a pipe as a descriptor", base::quoted(path));
  return fd;
}

namespace {

Request with_bytes(Request r, int from) {
  r.streams.push_back({"body", base::dup_fd(from)});
  return r;
}

void add(Request &r, const char *header, const std::string &value) {
  if (!value.empty()) r.headers[header] = value;
}

} // namespace

Operation import_instance(const SessionPtr &session, const std::string &project, int from, const BackupImport &how) {
  auto r = with_bytes(at({}, project), from);
  add(r, "x-incus-name", how.name);
  add(r, "x-incus-pool", how.pool);
  return begin(session, RowId::instances_post, std::move(r));
}

Operation import_volume(const SessionPtr &session, const std::string &project, const std::string &pool, int from, const std::string &name, const char *type) {
  auto r = with_bytes(at({pool, "custom"}, project), from);
  add(r, "x-incus-name", name);
  add(r, "x-incus-type", type);
  return begin_or_done(session, RowId::pool_volumes_type_post, std::move(r));
}

} // namespace api

inline namespace v0 {

using namespace api;

namespace {

std::vector<std::string> path_of(std::vector<std::string> owner, const std::string &name) {
  owner.push_back(name);
  return owner;
}

} // namespace

Backup::Backup(std::shared_ptr<api::Session> session, std::string project, std::vector<std::string> owner, std::string name)
    : session_(std::move(session)), project_(std::move(project)), owner_(std::move(owner)), name_(std::move(name)) {
  if (owner_.size() != 1 && owner_.size() != 3) base::fail(ErrorCode::invalid_argument, "invalid owner of backup {}: must be an instance, or pool, type and volume", base::quoted(name_));
}

BackupInfo Backup::info() const { return from_json<BackupInfo>(perform(session_, backup_rows(owner_).get, at(path_of(owner_, name_), project_)).metadata); }
Operation Backup::rename(const std::string &new_name) {
  auto op = begin(session_, backup_rows(owner_).rename, with_body(at(path_of(owner_, name_), project_), to_json(Rename{new_name})));
  name_ = new_name;
  return op;
}
Operation Backup::remove() { return begin(session_, backup_rows(owner_).remove, at(path_of(owner_, name_), project_)); }

std::int64_t Backup::export_to(int to_fd) const { return export_backup(session_, project_, owner_, name_, to_fd); }
std::int64_t Backup::export_to(const std::string &path) const {
  if (path.empty() || path.back() == '/' || path.find('\0') != std::string::npos)
    base::fail(ErrorCode::invalid_argument, "invalid path {} for a backup: must name a file", base::quoted(path));
  must_not_exist("backup", path);
  NewFile file("backup", path);
  auto size = export_to(file.fd.get());
  file.publish(path);
  return size;
}

} // namespace v0
} // namespace incus
