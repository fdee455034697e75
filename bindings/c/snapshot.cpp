// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

api::Request one(const char *project, const char *instance, const char *snapshot) {
  return named(project, {text(instance, "instance"), text(snapshot, "snapshot")});
}

} // namespace

extern "C" {

incus_status incus_snapshot_list(incus_host *host, const char *project, const char *instance, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::snapshots_get, list(project, recursion, {text(instance, "instance")}), json); });
}
incus_status incus_snapshot_create(incus_host *host, const char *project, const char *instance, const char *name, incus_operation **op,
                                   incus_error **err) {
  return guard(err, [&] {
    SnapshotCreate request;
    request.name = optional(name);
    begin(host, RowId::snapshots_post, api::with_body(named(project, {text(instance, "instance")}), api::to_json(request)), op);
  });
}
incus_status incus_snapshot_get(incus_host *host, const char *project, const char *instance, const char *snapshot, char **json, char **etag,
                                incus_error **err) {
  return guard(err, [&] { query(host, RowId::snapshot_get, one(project, instance, snapshot), json, etag); });
}
incus_status incus_snapshot_update(incus_host *host, const char *project, const char *instance, const char *snapshot, const char *json,
                                   const char *if_match, incus_operation **op, incus_error **err) {
  return guard(
      err, [&] { begin(host, RowId::snapshot_put, api::with_body(one(project, instance, snapshot), object(json, "json"), optional(if_match)), op); });
}
incus_status incus_snapshot_rename(incus_host *host, const char *project, const char *instance, const char *snapshot, const char *new_name,
                                   incus_operation **op, incus_error **err) {
  return guard(err, [&] {
    begin(host, RowId::snapshot_post, api::with_body(one(project, instance, snapshot), api::to_json(api::Rename{text(new_name, "new_name")})), op);
  });
}
incus_status incus_snapshot_delete(incus_host *host, const char *project, const char *instance, const char *snapshot, incus_operation **op,
                                   incus_error **err) {
  return guard(err, [&] { begin(host, RowId::snapshot_delete, one(project, instance, snapshot), op); });
}

} // extern "C"
