/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * What every header of the C face shares, and the conventions of all its functions:
 *
 * - A function that can fail returns `incus_status` (INCUS_OK is 0) and takes `incus_error **err` last. `err` may be NULL. When it is
 *   not, `*err` is set to NULL on success and to a new error on failure, to be freed with incus_error_free(); what it held before is
 *   not looked at. On failure no other output is changed.
 * - Strings are UTF-8 and end with NUL. Inputs belong to the caller and are copied. `char **` outputs belong to the caller, who frees
 *   them with incus_string_free(); `const char *` results belong to the object they came from.
 * - Complex input and output are JSON documents: the records of the REST API. Unknown fields of an input are ignored; later versions
 *   may add fields to an output but never take one away.
 * - A NULL where the documentation does not say "may be NULL" gives INCUS_ERROR_INVALID_ARGUMENT, never a crash.
 * - `project` may be NULL or "" and then means "default".
 * - Asynchronous calls take `incus_operation **op`. NULL means: wait until the operation ended, and return its failure. Otherwise `*op`
 *   receives a handle that the caller frees with incus_operation_free(); freeing it does not stop the work.
 * - Timeouts are milliseconds unless said otherwise; a negative one means "for ever" where that is said.
 * - Every function may be called from any thread, and on one handle from several threads at once, except that freeing a handle must
 *   not overlap with another use of it. After fork() every call in the child fails with INCUS_ERROR_UNAVAILABLE.
 * - Any function may also fail with INCUS_ERROR_INTERNAL (a fault of the library or the machine, out of memory among them) and, when
 *   the host was closed, with INCUS_ERROR_UNAVAILABLE; this is not repeated for each.
 */
#ifndef INCUS_TYPES_H
#define INCUS_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define INCUS_API __attribute__((visibility("default")))
#else
#define INCUS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** An open engine. See host.h. */
typedef struct incus_host incus_host;
/** A piece of background work. See operation.h. */
typedef struct incus_operation incus_operation;
/** A running command. See instance.h. */
typedef struct incus_exec incus_exec;
/** A subscription to events. See event.h. */
typedef struct incus_listener incus_listener;
/** Why a call failed. See error.h. */
typedef struct incus_error incus_error;

/** The library's version, such as "0.1.0". Never NULL; static. */
INCUS_API const char *incus_version(void);

/** Frees a string or buffer that a function of this library returned. NULL is allowed. */
INCUS_API void incus_string_free(char *text);

#ifdef __cplusplus
}
#endif
#endif
