// SPDX-License-Identifier: Apache-2.0
#include "common.hpp"

using namespace incus;
using namespace incus::c;

extern "C" {

incus_status incus_project_list(incus_host *host, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::projects_get, list(nullptr, recursion), json); });
}
incus_status incus_project_get(incus_host *host, const char *name, char **json, char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::project_get, named(nullptr, {text(name, "name")}), json, etag); });
}

} // extern "C"
