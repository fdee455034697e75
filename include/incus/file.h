/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Files of an instance, running or stopped (REST: /1.0/instances/{name}/files). Paths are the guest's, and links are resolved inside it. The
 * conventions of all functions stand in types.h. Errors of all: NOT_FOUND (instance or path), INVALID_ARGUMENT (a device, or a directory where a
 * file is meant), FORBIDDEN (a read-only file system).
 */
#ifndef INCUS_FILE_H
#define INCUS_FILE_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a path is, as JSON: "type" ("file", "directory", "symlink"), "uid", "gid", "mode", "size", "modified_at". A link is not followed. */
INCUS_API incus_status incus_file_info(incus_host *host, const char *project, const char *instance, const char *path, char **json, incus_error **err);

/** A file's content; `data` has a NUL behind it that does not count. `size` may be NULL. */
INCUS_API incus_status incus_file_read(incus_host *host, const char *project, const char *instance, const char *path, char **data, size_t *size,
                                       incus_error **err);

/** Writes a file's content to a descriptor; nothing is held in memory. `size`, how many bytes, may be NULL. */
INCUS_API incus_status incus_file_pull(incus_host *host, const char *project, const char *instance, const char *path, int to_fd, int64_t *size,
                                       incus_error **err);

/**
 * Makes or replaces a file.
 *
 * \param options JSON, may be NULL: "uid", "gid", "mode" (a number) of a new file, "append" (true: at the end of one that is there)
 */
INCUS_API incus_status incus_file_write(incus_host *host, const char *project, const char *instance, const char *path, const char *data, size_t size,
                                        const char *options, incus_error **err);

/** As incus_file_write(), of what a descriptor gives until its end. */
INCUS_API incus_status incus_file_push(incus_host *host, const char *project, const char *instance, const char *path, int from_fd, const char *options,
                                       incus_error **err);

/** The names in a directory, sorted, as a JSON list. */
INCUS_API incus_status incus_file_list(incus_host *host, const char *project, const char *instance, const char *path, char **json, incus_error **err);

/** Makes a directory; one that is there stays as it is. `options` as incus_file_write(). */
INCUS_API incus_status incus_file_make_directory(incus_host *host, const char *project, const char *instance, const char *path, const char *options,
                                                 incus_error **err);

/** Makes a symbolic link. Errors: ALREADY_EXISTS. */
INCUS_API incus_status incus_file_make_symlink(incus_host *host, const char *project, const char *instance, const char *path, const char *target,
                                               incus_error **err);

/** Removes a file, a link or an empty directory; `recursive` non-zero: a directory with all that is in it. Errors: CONFLICT (not empty). */
INCUS_API incus_status incus_file_remove(incus_host *host, const char *project, const char *instance, const char *path, int recursive, incus_error **err);

/** A connected socket with an SFTP server (version 3) of the instance behind it; the caller closes `fd`. */
INCUS_API incus_status incus_file_sftp(incus_host *host, const char *project, const char *instance, int *fd, incus_error **err);

#ifdef __cplusplus
}
#endif

#endif
