/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Background operations (REST: /1.0/operations). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_OPERATION_H
#define INCUS_OPERATION_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** All operations, as a JSON list of their documents (GET /1.0/operations). */
INCUS_API incus_status incus_operation_list(incus_host *host, char **json, incus_error **err);

/** A handle of the operation with that id (GET /1.0/operations/{id}). Errors: NOT_FOUND. */
INCUS_API incus_status incus_operation_find(incus_host *host, const char *id, incus_operation **op, incus_error **err);

/** The operation's UUID. */
INCUS_API incus_status incus_operation_id(incus_operation *op, char **id, incus_error **err);

/** Where it stands, as JSON (GET /1.0/operations/{id}). */
INCUS_API incus_status incus_operation_info(incus_operation *op, char **json, incus_error **err);

/**
 * Waits until it ended (GET /1.0/operations/{id}/wait).
 *
 * \param timeout milliseconds; negative: for ever
 * \param json receives the final document; may be NULL
 * Errors: the operation's own failure, CANCELLED when it was cancelled, TIMEOUT when the time ran out (it goes on).
 */
INCUS_API incus_status incus_operation_wait(incus_operation *op, int64_t timeout, char **json, incus_error **err);

/** `*done` becomes 1 when it has ended, well or not, else 0. Its own failure is not reported here. */
INCUS_API incus_status incus_operation_done(incus_operation *op, int *done, incus_error **err);

/** Asks it to stop (DELETE /1.0/operations/{id}). Errors: NOT_SUPPORTED when it cannot be stopped. */
INCUS_API incus_status incus_operation_cancel(incus_operation *op, incus_error **err);

/** Frees the handle; the operation goes on. NULL is allowed. */
INCUS_API void incus_operation_free(incus_operation *op);

#ifdef __cplusplus
}
#endif
#endif
