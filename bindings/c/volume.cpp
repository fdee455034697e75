// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

api::Request in_pool(const char *project, const char *pool) { return named(project, {text(pool, "pool"), "custom"}); }
api::Request one(const char *project, const char *pool, const char *volume) { return named(project, {text(pool, "pool"), "custom", text(volume, "volume")}); }
api::Request one(const char *project, const char *pool, const char *volume, const char *snapshot) {
  return named(project, {text(pool, "pool"), "custom", text(volume, "volume"), text(snapshot, "snapshot")});
}
json::value renamed(const char *new_name) { return api::to_json(api::Rename{text(new_name, "new_name")}); }

} // namespace

extern "C" {

incus_status incus_volume_list(incus_host *host, const char *project, const char *pool, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::pool_volumes_type_get, list(project, recursion, {text(pool, "pool"), "custom"}), json); });
}
incus_status incus_volume_create(incus_host *host, const char *project, const char *pool, const char *request, incus_operation **op, incus_error **err) {
  return guard(err, [&] {
    hand_out(api::begin_or_done(session(host), RowId::pool_volumes_type_post, api::with_body(in_pool(project, pool), object(request, "request"))), op);
  });
}
incus_status incus_volume_get(incus_host *host, const char *project, const char *pool, const char *volume, char **json, char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::volume_get, one(project, pool, volume), json, etag); });
}
incus_status incus_volume_state(incus_host *host, const char *project, const char *pool, const char *volume, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::volume_state_get, one(project, pool, volume), json); });
}
incus_status incus_volume_update(incus_host *host, const char *project, const char *pool, const char *volume, const char *json, const char *if_match,
                                 incus_error **err) {
  return guard(err, [&] { answer(host, RowId::volume_put, api::with_body(one(project, pool, volume), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_volume_patch(incus_host *host, const char *project, const char *pool, const char *volume, const char *json, const char *if_match,
                                incus_error **err) {
  return guard(err, [&] { answer(host, RowId::volume_patch, api::with_body(one(project, pool, volume), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_volume_restore(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot, incus_error **err) {
  return guard(err, [&] {
    answer(host, RowId::volume_put, api::with_body(one(project, pool, volume), json::object{{"restore", text(snapshot, "snapshot")}}), nullptr);
  });
}
incus_status incus_volume_rename(incus_host *host, const char *project, const char *pool, const char *volume, const char *new_name, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::volume_post, api::with_body(one(project, pool, volume), renamed(new_name)), nullptr); });
}
incus_status incus_volume_move(incus_host *host, const char *project, const char *pool, const char *volume, const char *to, incus_operation **op,
                               incus_error **err) {
  return guard(err, [&] { hand_out(api::begin_or_done(session(host), RowId::volume_post, api::with_body(one(project, pool, volume), object(to, "to"))), op); });
}
incus_status incus_volume_delete(incus_host *host, const char *project, const char *pool, const char *volume, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::volume_delete, one(project, pool, volume), nullptr); });
}

incus_status incus_volume_snapshot_list(incus_host *host, const char *project, const char *pool, const char *volume, int recursion, char **json,
                                        incus_error **err) {
  return guard(err, [&] { query(host, RowId::volume_snapshots_get, list(project, recursion, {text(pool, "pool"), "custom", text(volume, "volume")}), json); });
}
incus_status incus_volume_snapshot_create(incus_host *host, const char *project, const char *pool, const char *volume, const char *request,
                                          incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::volume_snapshots_post, api::with_body(one(project, pool, volume), optional_object(request, "request")), op); });
}
incus_status incus_volume_snapshot_get(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot, char **json,
                                       char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::volume_snapshot_get, one(project, pool, volume, snapshot), json, etag); });
}
incus_status incus_volume_snapshot_update(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                          const char *json, const char *if_match, incus_error **err) {
  return guard(err, [&] {
    answer(host, RowId::volume_snapshot_put, api::with_body(one(project, pool, volume, snapshot), object(json, "json"), optional(if_match)), nullptr);
  });
}
incus_status incus_volume_snapshot_rename(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                          const char *new_name, incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::volume_snapshot_post, api::with_body(one(project, pool, volume, snapshot), renamed(new_name)), op); });
}
incus_status incus_volume_snapshot_delete(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                          incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::volume_snapshot_delete, one(project, pool, volume, snapshot), op); });
}

} // extern "C"
