/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Storage pools (REST: /1.0/storage-pools). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_STORAGE_H
#define INCUS_STORAGE_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The pools, as a JSON list (GET /1.0/storage-pools). `recursion` 0: URLs; 1: the pools. */
INCUS_API incus_status incus_storage_pool_list(incus_host *host, int recursion, char **json, incus_error **err);

/** Makes a pool (POST /1.0/storage-pools); `request`: "name", "driver" ("dir" or "overlay"), "config", "description". Errors: ALREADY_EXISTS, INVALID_ARGUMENT. */
INCUS_API incus_status incus_storage_pool_create(incus_host *host, const char *request, incus_error **err);

/** One pool, as JSON (GET /1.0/storage-pools/{name}); `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_storage_pool_get(incus_host *host, const char *name, char **json, char **etag, incus_error **err);

/** Replaces config and description (PUT /1.0/storage-pools/{name}); `if_match` may be NULL. Errors: NOT_FOUND, INVALID_ARGUMENT, PRECONDITION_FAILED. */
INCUS_API incus_status incus_storage_pool_update(incus_host *host, const char *name, const char *json, const char *if_match, incus_error **err);

/** Space in bytes and inodes, as JSON (GET .../resources). Errors: NOT_FOUND. */
INCUS_API incus_status incus_storage_pool_resources(incus_host *host, const char *name, char **json, incus_error **err);

/** The volumes of a pool, of all types and in the default project, as a JSON list (GET .../volumes). `recursion` 0: URLs; 1: the volumes. Errors: NOT_FOUND. */
INCUS_API incus_status incus_storage_pool_volumes(incus_host *host, const char *name, int recursion, char **json, incus_error **err);

/** Deletes a pool (DELETE /1.0/storage-pools/{name}). Errors: NOT_FOUND, CONFLICT while anything but cached images uses it. */
INCUS_API incus_status incus_storage_pool_delete(incus_host *host, const char *name, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
