/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Custom volumes and their snapshots (REST: /1.0/storage-pools/{pool}/volumes/custom). Their backups are in backup.h.
 * The conventions of all functions stand in types.h.
 */
#ifndef INCUS_VOLUME_H
#define INCUS_VOLUME_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The custom volumes of a pool, as a JSON list, snapshots among them. `recursion` 0: URLs; 1: the volumes. Errors: NOT_FOUND. */
INCUS_API incus_status incus_volume_list(incus_host *host, const char *project, const char *pool, int recursion, char **json, incus_error **err);

/**
 * Makes a custom volume (POST .../volumes/custom): an empty one, or a copy.
 *
 * \param request JSON: "name", "description", "config", "content_type" ("filesystem" or "block"); of a copy "source" with "type":"copy", "name"
 *                (VOLUME or VOLUME/SNAPSHOT), "pool", "project", "volume_only", "refresh", "refresh_exclude_older"
 * Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT, CONFLICT (refresh below a running instance), NO_SPACE.
 */
INCUS_API incus_status incus_volume_create(incus_host *host, const char *project, const char *pool, const char *request, incus_operation **op,
                                           incus_error **err);

/** One volume, as JSON; `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_volume_get(incus_host *host, const char *project, const char *pool, const char *volume, char **json, char **etag,
                                        incus_error **err);

/** Bytes used, as JSON (GET .../state). Errors: NOT_FOUND. */
INCUS_API incus_status incus_volume_state(incus_host *host, const char *project, const char *pool, const char *volume, char **json, incus_error **err);

/** Replaces config and description (PUT); `if_match` may be NULL. Errors: NOT_FOUND, INVALID_ARGUMENT, CONFLICT, PRECONDITION_FAILED. */
INCUS_API incus_status incus_volume_update(incus_host *host, const char *project, const char *pool, const char *volume, const char *json,
                                           const char *if_match, incus_error **err);

/** Changes the keys given; an empty value unsets one (PATCH); `if_match` may be NULL. Errors: as of incus_volume_update(). */
INCUS_API incus_status incus_volume_patch(incus_host *host, const char *project, const char *pool, const char *volume, const char *json,
                                          const char *if_match, incus_error **err);

/** Puts its content back to a snapshot and keeps its config (PUT with "restore"). Errors: NOT_FOUND, CONFLICT while a running instance uses it. */
INCUS_API incus_status incus_volume_restore(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                            incus_error **err);

/** Renames it (POST .../volumes/custom/{volume}). Errors: NOT_FOUND, ALREADY_EXISTS, CONFLICT while a running instance uses it. */
INCUS_API incus_status incus_volume_rename(incus_host *host, const char *project, const char *pool, const char *volume, const char *new_name,
                                           incus_error **err);

/**
 * Moves it with its snapshots (POST .../volumes/custom/{volume}).
 *
 * \param to JSON: "name" (required; may be its own), "pool", "project"
 * Errors: NOT_FOUND, ALREADY_EXISTS, CONFLICT (used by a running instance; used at all, to another project), NO_SPACE.
 */
INCUS_API incus_status incus_volume_move(incus_host *host, const char *project, const char *pool, const char *volume, const char *to,
                                         incus_operation **op, incus_error **err);

/** Deletes it with its snapshots and backups (DELETE). Errors: NOT_FOUND, CONFLICT while something uses it. */
INCUS_API incus_status incus_volume_delete(incus_host *host, const char *project, const char *pool, const char *volume, incus_error **err);

/** The snapshots of a volume, as a JSON list; names there are VOLUME/SNAPSHOT. `recursion` 0: URLs; 1: the snapshots. Errors: NOT_FOUND. */
INCUS_API incus_status incus_volume_snapshot_list(incus_host *host, const char *project, const char *pool, const char *volume, int recursion,
                                                  char **json, incus_error **err);

/**
 * Makes a snapshot (POST .../snapshots).
 *
 * \param request NULL, or JSON: "name" (absent or "": by `snapshots.pattern`), "description", "expires_at"
 * Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT, NO_SPACE.
 */
INCUS_API incus_status incus_volume_snapshot_create(incus_host *host, const char *project, const char *pool, const char *volume, const char *request,
                                                    incus_operation **op, incus_error **err);

/** One snapshot, as JSON; `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_volume_snapshot_get(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                                 char **json, char **etag, incus_error **err);

/** Replaces "description" and "expires_at" (PUT); `if_match` may be NULL. Errors: NOT_FOUND, INVALID_ARGUMENT, PRECONDITION_FAILED. */
INCUS_API incus_status incus_volume_snapshot_update(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                                    const char *json, const char *if_match, incus_error **err);

/** Renames it (POST .../snapshots/{snapshot}). Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT. */
INCUS_API incus_status incus_volume_snapshot_rename(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                                    const char *new_name, incus_operation **op, incus_error **err);

/** Deletes it (DELETE .../snapshots/{snapshot}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_volume_snapshot_delete(incus_host *host, const char *project, const char *pool, const char *volume, const char *snapshot,
                                                    incus_operation **op, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
