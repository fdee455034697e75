/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Profiles (REST: /1.0/profiles). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_PROFILE_H
#define INCUS_PROFILE_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The profiles of a project, as a JSON list (GET /1.0/profiles). `recursion` 0: URLs; 1: the profiles. */
INCUS_API incus_status incus_profile_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err);

/** Makes a profile (POST /1.0/profiles); `request`: "name", "config", "devices", "description". Errors: ALREADY_EXISTS, INVALID_ARGUMENT. */
INCUS_API incus_status incus_profile_create(incus_host *host, const char *project, const char *request, incus_error **err);

/** One profile, as JSON (GET /1.0/profiles/{name}); `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_profile_get(incus_host *host, const char *project, const char *name, char **json, char **etag, incus_error **err);

/** Replaces config, devices and description (PUT /1.0/profiles/{name}); `if_match` may be NULL. Errors: NOT_FOUND, INVALID_ARGUMENT, PRECONDITION_FAILED. */
INCUS_API incus_status incus_profile_update(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                            incus_error **err);

/** Merges `json` into it (PATCH /1.0/profiles/{name}). Errors as incus_profile_update(). */
INCUS_API incus_status incus_profile_patch(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                           incus_error **err);

/** Renames it (POST /1.0/profiles/{name}); not "default". Errors: NOT_FOUND, ALREADY_EXISTS, FORBIDDEN. */
INCUS_API incus_status incus_profile_rename(incus_host *host, const char *project, const char *name, const char *new_name, incus_error **err);

/** Deletes it (DELETE /1.0/profiles/{name}); not "default". Errors: NOT_FOUND, CONFLICT while an instance applies it, FORBIDDEN. */
INCUS_API incus_status incus_profile_delete(incus_host *host, const char *project, const char *name, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
