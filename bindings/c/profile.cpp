// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

api::Request one(const char *project, const char *name) { return named(project, {text(name, "name")}); }

} // namespace

extern "C" {

incus_status incus_profile_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::profiles_get, list(project, recursion), json); });
}
incus_status incus_profile_create(incus_host *host, const char *project, const char *request, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::profiles_post, api::with_body(named(project, {}), object(request, "request")), nullptr); });
}
incus_status incus_profile_get(incus_host *host, const char *project, const char *name, char **json, char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::profile_get, one(project, name), json, etag); });
}
incus_status incus_profile_update(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                  incus_error **err) {
  return guard(err, [&] { answer(host, RowId::profile_put, api::with_body(one(project, name), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_profile_patch(incus_host *host, const char *project, const char *name, const char *json, const char *if_match, incus_error **err) {
  return guard(err,
               [&] { answer(host, RowId::profile_patch, api::with_body(one(project, name), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_profile_rename(incus_host *host, const char *project, const char *name, const char *new_name, incus_error **err) {
  return guard(err, [&] {
    answer(host, RowId::profile_post, api::with_body(one(project, name), api::to_json(api::Rename{text(new_name, "new_name")})), nullptr);
  });
}
incus_status incus_profile_delete(incus_host *host, const char *project, const char *name, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::profile_delete, one(project, name), nullptr); });
}

} // extern "C"
