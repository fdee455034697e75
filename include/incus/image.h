/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Images and aliases (REST: /1.0/images). `image` is a fingerprint, its unique beginning, or an alias.
 * The conventions of all functions stand in types.h.
 */
#ifndef INCUS_IMAGE_H
#define INCUS_IMAGE_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The images of a project, as a JSON list (GET /1.0/images). `recursion` 0: URLs; 1: the images. */
INCUS_API incus_status incus_image_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err);

/**
 * Imports an image (POST /1.0/images).
 *
 * \param path a unified image file, a directory with metadata.yaml and rootfs/, or the metadata tarball of a split image
 * \param rootfs_path the rootfs (tarball or squashfs) of a split image; else NULL
 * \param how NULL, or JSON: "alias", "aliases", "properties", "public", "filename", "reuse"
 * Errors: NOT_FOUND (file), INVALID_ARGUMENT, ALREADY_EXISTS (the same image, an alias), CORRUPT, TOO_LARGE, NO_SPACE.
 */
INCUS_API incus_status incus_image_import(incus_host *host, const char *project, const char *path, const char *rootfs_path, const char *how,
                                          incus_operation **op, incus_error **err);

/** One image, as JSON (GET /1.0/images/{fingerprint}); `etag` may be NULL. Errors: NOT_FOUND. */
INCUS_API incus_status incus_image_get(incus_host *host, const char *project, const char *image, char **json, char **etag, incus_error **err);

/** Replaces what can be changed of it (PUT /1.0/images/{fingerprint}); `if_match` may be NULL. Errors: NOT_FOUND, PRECONDITION_FAILED. */
INCUS_API incus_status incus_image_update(incus_host *host, const char *project, const char *image, const char *json, const char *if_match,
                                          incus_error **err);

/** Deletes it (DELETE /1.0/images/{fingerprint}); instances made from it stay. Errors: NOT_FOUND. */
INCUS_API incus_status incus_image_delete(incus_host *host, const char *project, const char *image, incus_operation **op, incus_error **err);

/**
 * Writes it back as it was imported (GET .../export): to `path`, and of a split image the rootfs to `path`.root or `path`.squashfs.
 *
 * \param files receives a JSON list of the names written; may be NULL
 * Errors: NOT_FOUND, ALREADY_EXISTS (a file is never replaced), NO_SPACE, PERMISSION_DENIED. On failure no file is left.
 */
INCUS_API incus_status incus_image_export(incus_host *host, const char *project, const char *image, const char *path, char **files, incus_error **err);

/** The aliases of a project, as a JSON list (GET /1.0/images/aliases). `recursion` 0: URLs; 1: the aliases. */
INCUS_API incus_status incus_image_alias_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err);

/** One alias, as JSON (GET /1.0/images/aliases/{name}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_image_alias_get(incus_host *host, const char *project, const char *name, char **json, incus_error **err);

/** Makes an alias (POST /1.0/images/aliases); `description` may be NULL. Errors: ALREADY_EXISTS, NOT_FOUND (image), INVALID_ARGUMENT. */
INCUS_API incus_status incus_image_alias_create(incus_host *host, const char *project, const char *name, const char *fingerprint,
                                                const char *description, incus_error **err);

/** Changes target and description of an alias (PUT /1.0/images/aliases/{name}); `json`: "target", "description". Errors: NOT_FOUND. */
INCUS_API incus_status incus_image_alias_update(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                                incus_error **err);

/** Renames an alias (POST /1.0/images/aliases/{name}). Errors: NOT_FOUND, ALREADY_EXISTS. */
INCUS_API incus_status incus_image_alias_rename(incus_host *host, const char *project, const char *name, const char *new_name, incus_error **err);

/** Deletes an alias (DELETE /1.0/images/aliases/{name}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_image_alias_delete(incus_host *host, const char *project, const char *name, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
