/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Instance snapshots (REST: /1.0/instances/{name}/snapshots). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_SNAPSHOT_H
#define INCUS_SNAPSHOT_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The snapshots of an instance, as a JSON list (GET .../snapshots). `recursion` 0: URLs; 1: the snapshots. Errors: NOT_FOUND. */
INCUS_API incus_status incus_snapshot_list(incus_host *host, const char *project, const char *instance, int recursion, char **json, incus_error **err);

/**
 * Makes a snapshot (POST .../snapshots).
 *
 * \param name NULL or "": named after the instance's `snapshots.pattern`
 * Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT, NO_SPACE.
 */
INCUS_API incus_status incus_snapshot_create(incus_host *host, const char *project, const char *instance, const char *name, incus_operation **op,
                                             incus_error **err);

/** One snapshot, as JSON (GET .../snapshots/{snapshot}); `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_snapshot_get(incus_host *host, const char *project, const char *instance, const char *snapshot, char **json, char **etag,
                                          incus_error **err);

/** Changes its expiry (PUT .../snapshots/{snapshot}): `json` is {"expires_at":"RFC 3339 time"}; `if_match` may be NULL. Errors: NOT_FOUND, PRECONDITION_FAILED. */
INCUS_API incus_status incus_snapshot_update(incus_host *host, const char *project, const char *instance, const char *snapshot, const char *json,
                                             const char *if_match, incus_operation **op, incus_error **err);

/** Renames it (POST .../snapshots/{snapshot}). Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT. */
INCUS_API incus_status incus_snapshot_rename(incus_host *host, const char *project, const char *instance, const char *snapshot, const char *new_name,
                                             incus_operation **op, incus_error **err);

/** Deletes it (DELETE .../snapshots/{snapshot}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_snapshot_delete(incus_host *host, const char *project, const char *instance, const char *snapshot, incus_operation **op,
                                             incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
