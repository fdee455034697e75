/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Events (REST: GET /1.0/events). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_EVENT_H
#define INCUS_EVENT_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Subscribes to events.
 *
 * \param types comma-separated, of "lifecycle", "operation" and "logging"; NULL or "": all
 * \param capacity how many events are kept for a slow reader; 0 means 1024. When more come the oldest are dropped, see
 *   incus_listener_overflowed().
 * \param listener receives the handle; free it with incus_listener_free()
 */
INCUS_API incus_status incus_host_listen(incus_host *host, const char *types, size_t capacity, incus_listener **listener, incus_error **err);

/**
 * The next event, as JSON.
 *
 * \param timeout milliseconds to wait for one; 0 does not wait
 * \param json receives the event, or NULL when none came in time or the listener or its host was closed: that is INCUS_OK
 */
INCUS_API incus_status incus_listener_next(incus_listener *listener, int64_t timeout, char **json, incus_error **err);

/** `*overflowed` becomes 1 when events were dropped since it was last asked, else 0: then list again what you watch. */
INCUS_API incus_status incus_listener_overflowed(incus_listener *listener, int *overflowed, incus_error **err);

/** Ends the subscription; a waiting incus_listener_next() returns. Idempotent. */
INCUS_API incus_status incus_listener_close(incus_listener *listener, incus_error **err);

/** Closes and frees the handle. NULL is allowed. */
INCUS_API void incus_listener_free(incus_listener *listener);

#ifdef __cplusplus
}
#endif
#endif
