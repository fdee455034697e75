// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

using Owner = std::vector<std::string>;

Owner instance_of(const char *instance) { return {text(instance, "instance")}; }
Owner volume_of(const char *pool, const char *volume) { return {text(pool, "pool"), "custom", text(volume, "volume")}; }

api::Request one(const char *project, Owner owner, const char *backup) {
  owner.push_back(text(backup, "backup"));
  return named(project, std::move(owner));
}

void backups(incus_host *host, const char *project, Owner owner, int recursion, char **json) {
  auto row = api::backup_rows(owner).list;
  query(host, row, list(project, recursion, std::move(owner)), json);
}
void create(incus_host *host, const char *project, Owner owner, const char *request, incus_operation **op) {
  auto row = api::backup_rows(owner).create;
  begin(host, row, api::with_body(named(project, std::move(owner)), optional_object(request, "request")), op);
}
void get(incus_host *host, const char *project, Owner owner, const char *backup, char **json) {
  auto row = api::backup_rows(owner).get;
  query(host, row, one(project, std::move(owner), backup), json);
}
void rename_to(incus_host *host, const char *project, Owner owner, const char *backup, const char *new_name, incus_operation **op) {
  auto row = api::backup_rows(owner).rename;
  begin(host, row, api::with_body(one(project, std::move(owner), backup), api::to_json(api::Rename{text(new_name, "new_name")})), op);
}
void remove_one(incus_host *host, const char *project, Owner owner, const char *backup, incus_operation **op) {
  auto row = api::backup_rows(owner).remove;
  begin(host, row, one(project, std::move(owner), backup), op);
}
void give(incus_host *host, const char *project, Owner owner, const char *backup, int to_fd, std::int64_t *size) {
  auto done = api::export_backup(session(host), optional(project), std::move(owner), text(backup, "backup"), to_fd);
  if (size) *size = done;
}
void take_volume(incus_host *host, const char *project, const char *pool, int from_fd, const std::string &name, const char *type, incus_operation **op) {
  hand_out(api::import_volume(session(host), optional(project), text(pool, "pool"), from_fd, name, type), op);
}

} // namespace

extern "C" {

incus_status incus_backup_list(incus_host *host, const char *project, const char *instance, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { backups(host, project, instance_of(instance), recursion, json); });
}
incus_status incus_backup_create(incus_host *host, const char *project, const char *instance, const char *request, incus_operation **op, incus_error **err) {
  return guard(err, [&] { create(host, project, instance_of(instance), request, op); });
}
incus_status incus_backup_get(incus_host *host, const char *project, const char *instance, const char *backup, char **json, incus_error **err) {
  return guard(err, [&] { get(host, project, instance_of(instance), backup, json); });
}
incus_status incus_backup_rename(incus_host *host, const char *project, const char *instance, const char *backup, const char *new_name,
                                 incus_operation **op, incus_error **err) {
  return guard(err, [&] { rename_to(host, project, instance_of(instance), backup, new_name, op); });
}
incus_status incus_backup_delete(incus_host *host, const char *project, const char *instance, const char *backup, incus_operation **op, incus_error **err) {
  return guard(err, [&] { remove_one(host, project, instance_of(instance), backup, op); });
}
incus_status incus_backup_export(incus_host *host, const char *project, const char *instance, const char *backup, int to_fd, int64_t *size,
                                 incus_error **err) {
  return guard(err, [&] { give(host, project, instance_of(instance), backup, to_fd, size); });
}
incus_status incus_backup_import(incus_host *host, const char *project, int from_fd, const char *name, const char *pool, incus_operation **op,
                                 incus_error **err) {
  return guard(err, [&] { hand_out(api::import_instance(session(host), optional(project), from_fd, {optional(name), optional(pool)}), op); });
}

incus_status incus_volume_backup_list(incus_host *host, const char *project, const char *pool, const char *volume, int recursion, char **json,
                                      incus_error **err) {
  return guard(err, [&] { backups(host, project, volume_of(pool, volume), recursion, json); });
}
incus_status incus_volume_backup_create(incus_host *host, const char *project, const char *pool, const char *volume, const char *request,
                                        incus_operation **op, incus_error **err) {
  return guard(err, [&] { create(host, project, volume_of(pool, volume), request, op); });
}
incus_status incus_volume_backup_get(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup, char **json,
                                     incus_error **err) {
  return guard(err, [&] { get(host, project, volume_of(pool, volume), backup, json); });
}
incus_status incus_volume_backup_rename(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup,
                                        const char *new_name, incus_operation **op, incus_error **err) {
  return guard(err, [&] { rename_to(host, project, volume_of(pool, volume), backup, new_name, op); });
}
incus_status incus_volume_backup_delete(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup,
                                        incus_operation **op, incus_error **err) {
  return guard(err, [&] { remove_one(host, project, volume_of(pool, volume), backup, op); });
}
incus_status incus_volume_backup_export(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup, int to_fd,
                                        int64_t *size, incus_error **err) {
  return guard(err, [&] { give(host, project, volume_of(pool, volume), backup, to_fd, size); });
}
incus_status incus_volume_backup_import(incus_host *host, const char *project, const char *pool, int from_fd, const char *name, incus_operation **op,
                                        incus_error **err) {
  return guard(err, [&] { take_volume(host, project, pool, from_fd, optional(name), "", op); });
}
incus_status incus_volume_import_iso(incus_host *host, const char *project, const char *pool, int from_fd, const char *name, incus_operation **op,
                                     incus_error **err) {
  return guard(err, [&] { take_volume(host, project, pool, from_fd, text(name, "name"), "iso", op); });
}

incus_status incus_recover_validate(incus_host *host, const char *request, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::recover_validate_post, api::with_body({}, optional_object(request, "request")), json); });
}
incus_status incus_recover_import(incus_host *host, const char *request, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::recover_import_post, api::with_body({}, optional_object(request, "request")), nullptr); });
}

} // extern "C"
