/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Status codes and error objects. An error object is immutable and may be shared between threads.
 */
#ifndef INCUS_ERROR_H
#define INCUS_ERROR_H

#include <incus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a call ended. The numbers are stable; each failure has one HTTP status (incus_status_http()). */
typedef enum incus_status {
  INCUS_OK = 0,
  INCUS_ERROR_INVALID_ARGUMENT = 1,    /**< a value breaks a rule; the message names the value and the rule */
  INCUS_ERROR_FORBIDDEN = 2,           /**< the caller may not do this */
  INCUS_ERROR_NOT_FOUND = 3,           /**< no such object */
  INCUS_ERROR_ALREADY_EXISTS = 4,      /**< an object of that name is there already */
  INCUS_ERROR_CONFLICT = 5,            /**< the object's state does not allow it (running, stopped, in use) */
  INCUS_ERROR_BUSY = 6,                /**< another operation holds the object; try again later */
  INCUS_ERROR_PRECONDITION_FAILED = 7, /**< the object changed since it was read (if_match) */
  INCUS_ERROR_TOO_LARGE = 8,           /**< input above a limit */
  INCUS_ERROR_NOT_SUPPORTED = 9,       /**< this host, kernel, driver or object cannot do it */
  INCUS_ERROR_UNAVAILABLE = 10,        /**< the host is closed, held by another process, or not reachable */
  INCUS_ERROR_TIMEOUT = 11,            /**< the given time ran out */
  INCUS_ERROR_CANCELLED = 12,          /**< the operation was cancelled */
  INCUS_ERROR_NO_SPACE = 13,           /**< no space or quota left on the pool or the store */
  INCUS_ERROR_PERMISSION_DENIED = 14,  /**< the process lacks the privilege (not root, read-only directory) */
  INCUS_ERROR_CORRUPT = 15,            /**< an image, backup or store is damaged or malformed */
  INCUS_ERROR_INTERNAL = 16            /**< a failure that is not the caller's */
} incus_status;

/** The code of an error; INCUS_OK for NULL. */
INCUS_API incus_status incus_error_code(const incus_error *error);

/** The whole text, causes included: what failed, on what, why, what to do. Belongs to the error; "" for NULL. */
INCUS_API const char *incus_error_message(const incus_error *error);

/** The code's name, such as "not_found". Static; "ok" for NULL. */
INCUS_API const char *incus_error_name(const incus_error *error);

/** Number of causes below the error's own message, which is message number 0. 0 for NULL. */
INCUS_API size_t incus_error_cause_count(const incus_error *error);

/** Cause number `index`, outermost first, counted from 0. Belongs to the error; NULL when there is none. */
INCUS_API const char *incus_error_cause(const incus_error *error, size_t index);

/** Frees an error. NULL is allowed. */
INCUS_API void incus_error_free(incus_error *error);

/** The name of a status, such as "not_found"; "ok" for INCUS_OK. Static, never NULL. */
INCUS_API const char *incus_status_name(incus_status status);

/** The HTTP status that a status is sent as: 200 for INCUS_OK, 404 for INCUS_ERROR_NOT_FOUND and so on. */
INCUS_API int incus_status_http(incus_status status);

#ifdef __cplusplus
}
#endif
#endif
