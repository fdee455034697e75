/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Backups of instances and custom volumes (REST: .../backups), and recovery (REST: /internal/recover). The conventions of all functions stand in
 * types.h. A host in memory (`test://`) has no files: what makes or reads a backup fails there with NOT_SUPPORTED.
 */
#ifndef INCUS_BACKUP_H
#define INCUS_BACKUP_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The backups of an instance, as a JSON list (GET .../backups). `recursion` 0: URLs; 1: the backups. Errors: NOT_FOUND. */
INCUS_API incus_status incus_backup_list(incus_host *host, const char *project, const char *instance, int recursion, char **json, incus_error **err);

/**
 * Makes a backup of an instance, a file that the host keeps (POST .../backups).
 *
 * \param request NULL, or JSON: "name" (absent or "": "backup%d"), "expires_at", "compression_algorithm" ("none", "gzip", "zstd -7", ...),
 *                "instance_only" (without its snapshots), "optimized_storage"
 * Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT, NO_SPACE.
 */
INCUS_API incus_status incus_backup_create(incus_host *host, const char *project, const char *instance, const char *request, incus_operation **op,
                                           incus_error **err);

/** One backup, as JSON (GET .../backups/{backup}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_backup_get(incus_host *host, const char *project, const char *instance, const char *backup, char **json,
                                        incus_error **err);

/** Renames it (POST .../backups/{backup}). Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT. */
INCUS_API incus_status incus_backup_rename(incus_host *host, const char *project, const char *instance, const char *backup, const char *new_name,
                                           incus_operation **op, incus_error **err);

/** Deletes it (DELETE .../backups/{backup}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_backup_delete(incus_host *host, const char *project, const char *instance, const char *backup, incus_operation **op,
                                           incus_error **err);

/**
 * Writes it to a descriptor, in pieces (GET .../backups/{backup}/export). The descriptor stays the caller's.
 *
 * \param size receives how many bytes; may be NULL
 * Errors: NOT_FOUND, NO_SPACE, UNAVAILABLE (it ended before its size).
 */
INCUS_API incus_status incus_backup_export(incus_host *host, const char *project, const char *instance, const char *backup, int to_fd, int64_t *size,
                                           incus_error **err);

/**
 * Makes an instance of a backup (POST /1.0/instances with its bytes). The descriptor is read to its end and stays the caller's.
 *
 * \param name NULL or "": as it was called
 * \param pool NULL or "": the pool that it was in
 * Errors: ALREADY_EXISTS, CORRUPT, INVALID_ARGUMENT (no backup of an instance), NOT_FOUND (pool, profile), NO_SPACE.
 */
INCUS_API incus_status incus_backup_import(incus_host *host, const char *project, int from_fd, const char *name, const char *pool,
                                           incus_operation **op, incus_error **err);

/** The backups of a custom volume; as incus_backup_list(). */
INCUS_API incus_status incus_volume_backup_list(incus_host *host, const char *project, const char *pool, const char *volume, int recursion,
                                                char **json, incus_error **err);

/** Makes a backup of a custom volume; as incus_backup_create(), with "volume_only" for "instance_only". */
INCUS_API incus_status incus_volume_backup_create(incus_host *host, const char *project, const char *pool, const char *volume, const char *request,
                                                  incus_operation **op, incus_error **err);

/** As incus_backup_get(). */
INCUS_API incus_status incus_volume_backup_get(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup,
                                               char **json, incus_error **err);

/** As incus_backup_rename(). */
INCUS_API incus_status incus_volume_backup_rename(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup,
                                                  const char *new_name, incus_operation **op, incus_error **err);

/** As incus_backup_delete(). */
INCUS_API incus_status incus_volume_backup_delete(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup,
                                                  incus_operation **op, incus_error **err);

/** As incus_backup_export(). */
INCUS_API incus_status incus_volume_backup_export(incus_host *host, const char *project, const char *pool, const char *volume, const char *backup,
                                                  int to_fd, int64_t *size, incus_error **err);

/** Makes a custom volume of a backup (POST .../volumes/custom with its bytes); as incus_backup_import(). */
INCUS_API incus_status incus_volume_backup_import(incus_host *host, const char *project, const char *pool, int from_fd, const char *name,
                                                  incus_operation **op, incus_error **err);

/** Makes a custom volume of content iso of what the descriptor gives until its end. Errors: ALREADY_EXISTS, INVALID_ARGUMENT, NO_SPACE. */
INCUS_API incus_status incus_volume_import_iso(incus_host *host, const char *project, const char *pool, int from_fd, const char *name,
                                               incus_operation **op, incus_error **err);

/**
 * What is on disk and not in the store (POST /internal/recover/validate), as JSON: "UnknownVolumes", "DependencyErrors".
 *
 * \param request NULL, or JSON: "pools", a list of further pools to look through, each with "name", "driver", "config"
 * Errors: INVALID_ARGUMENT, FORBIDDEN over https.
 */
INCUS_API incus_status incus_recover_validate(incus_host *host, const char *request, char **json, incus_error **err);

/** Gives rows to it (POST /internal/recover/import); `request` as of incus_recover_validate(). Errors: also CONFLICT while something is missing. */
INCUS_API incus_status incus_recover_import(incus_host *host, const char *request, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
