// SPDX-License-Identifier: Apache-2.0
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

api::Request pool(const char *name) { return named(nullptr, {text(name, "name")}); }

} // namespace

extern "C" {

incus_status incus_storage_pool_list(incus_host *host, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::pools_get, list(nullptr, recursion), json); });
}
incus_status incus_storage_pool_create(incus_host *host, const char *request, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::pools_post, api::with_body({}, object(request, "request")), nullptr); });
}
incus_status incus_storage_pool_get(incus_host *host, const char *name, char **json, char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::pool_get, pool(name), json, etag); });
}
incus_status incus_storage_pool_update(incus_host *host, const char *name, const char *json, const char *if_match, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::pool_put, api::with_body(pool(name), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_storage_pool_resources(incus_host *host, const char *name, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::pool_resources_get, pool(name), json); });
}
incus_status incus_storage_pool_volumes(incus_host *host, const char *name, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::pool_volumes_get, list(nullptr, recursion, {text(name, "name")}), json); });
}
incus_status incus_storage_pool_delete(incus_host *host, const char *name, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::pool_delete, pool(name), nullptr); });
}

} // extern "C"
