/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Projects (REST: /1.0/projects). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_PROJECT_H
#define INCUS_PROJECT_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The projects, as a JSON list (GET /1.0/projects). `recursion` 0: URLs; 1: the projects. */
INCUS_API incus_status incus_project_list(incus_host *host, int recursion, char **json, incus_error **err);

/** One project, as JSON (GET /1.0/projects/{name}); `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_project_get(incus_host *host, const char *name, char **json, char **etag, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
