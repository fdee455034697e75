/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * The host: what a program opens (REST: /1.0). The conventions of all functions stand in types.h.
 */
#ifndef INCUS_HOST_H
#define INCUS_HOST_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Severity of a log line. */
typedef enum incus_log_level { INCUS_LOG_DEBUG = 0, INCUS_LOG_INFO = 1, INCUS_LOG_WARNING = 2, INCUS_LOG_ERROR = 3 } incus_log_level;

/** Receives log lines. Called from any thread, also several at once; must not call back into the host. */
typedef void (*incus_log_fn)(incus_log_level level, const char *line, void *data);

/**
 * Opens an engine. All state hangs off the handle; several in one process do not know of each other.
 *
 * \param uri "embed:///dir" (in this process; "embed:" is $INCUS_DIR or /var/lib/incus), "test://" (in memory), or what a daemon
 *   serves: "unix:///path/unix.socket" ("unix:" is $INCUS_SOCKET, $INCUS_DIR/unix.socket, /run/incus/unix.socket or /var/lib/incus/unix.socket) or
 *   "https://host:8443"
 * \param options NULL, or a JSON object with any of: "auto_destroy" (true: instances die with this process, even when it is killed),
 *   "remove_directory" (true: with auto_destroy, the state directory goes too), "storage_driver" ("dir" or "overlay" for the default pool), "takeover_timeout"
 *   (milliseconds to wait for the helpers of a process that died while it held the directory); for https: "client_certificate" and "client_key" (PEM or paths; else client.crt
 *   and client.key in $INCUS_CONF or ~/.config/incus), "server_certificate" (fingerprint, PEM or path), "trust_token"; "connect_timeout" (milliseconds).
 *   An unknown option is refused.
 * \param host receives the handle; free it with incus_host_free()
 * Errors: INVALID_ARGUMENT (URI, options), PERMISSION_DENIED (not root, read-only), UNAVAILABLE (held by another process: the message
 * names its pid; no server answers), NOT_SUPPORTED (newer schema, or a directory of the official daemon), FORBIDDEN (the server's certificate is
 * not the one expected), TIMEOUT.
 */
INCUS_API incus_status incus_host_open(const char *uri, const char *options, incus_host **host, incus_error **err);

/** As incus_host_open(), with log lines going to `log` (may be NULL) together with `data` until the host is closed. */
INCUS_API incus_status incus_host_open_logged(const char *uri, const char *options, incus_log_fn log, void *data, incus_host **host, incus_error **err);

/**
 * Ends the session: waits for operations that write and leaves instances running (unless auto_destroy). Idempotent. Everything made
 * from the host fails with UNAVAILABLE afterwards; its handles still have to be freed.
 */
INCUS_API incus_status incus_host_close(incus_host *host, incus_error **err);

/** Closes the host if it is open and frees the handle. NULL is allowed. */
INCUS_API void incus_host_free(incus_host *host);

/** The URI it was opened with. Belongs to the host; NULL for NULL. */
INCUS_API const char *incus_host_uri(const incus_host *host);

/** What the host is and can do, as JSON (GET /1.0). */
INCUS_API incus_status incus_host_info(incus_host *host, char **json, incus_error **err);

/**
 * Any call of the REST API.
 *
 * \param method "GET", "PUT", "POST", "PATCH" or "DELETE"
 * \param path path and query, such as "/1.0/instances/c1?project=p"
 * \param body JSON, or NULL for none
 * \param json receives the reply's metadata; may be NULL. An asynchronous call gives its operation's document and goes on in the
 *   background: GET /1.0/operations/{id}/wait waits for it.
 * Errors: NOT_FOUND (no such path, no such object), NOT_SUPPORTED (method), INVALID_ARGUMENT (body), and what the call gives.
 */
INCUS_API incus_status incus_host_request(incus_host *host, const char *method, const char *path, const char *body, char **json, incus_error **err);

/**
 * As incus_host_request(), with versions and a handle of the operation: what bindings of other languages build on.
 *
 * \param if_match an etag that the object must still have (PUT, PATCH), or NULL; else PRECONDITION_FAILED
 * \param json receives the reply's metadata, or the operation's document; may be NULL
 * \param etag receives the version of what was read, "" when it has none; may be NULL
 * \param op receives a handle of the operation that an asynchronous call began, NULL for other calls. Unlike elsewhere it must not be NULL.
 */
INCUS_API incus_status incus_host_call(incus_host *host, const char *method, const char *path, const char *body, const char *if_match, char **json,
                                       char **etag, incus_operation **op, incus_error **err);

/** What an exec handler of a test:// host fills in. Valid only during the handler's call. */
typedef struct incus_test_reply incus_test_reply;

/**
 * Answers a command in a test:// host. `request` is the JSON of POST /1.0/instances/{name}/exec, `input` the `input_size` bytes of its
 * stdin. Called from a thread of the library, also several at once; must not call back into the host.
 */
typedef void (*incus_test_exec_fn)(const char *instance, const char *request, const char *input, size_t input_size, incus_test_reply *reply,
                                   void *data);

/** Sets the exit code and the output of the command; `out` and `errors` are copied and may be NULL when their size is 0. NULL `reply`: does nothing. */
INCUS_API void incus_test_reply_set(incus_test_reply *reply, int exit_code, const char *out, size_t out_size, const char *errors, size_t errors_size);

/**
 * Registers the handler for commands in `instance` of a test:// host (NULL or "": in any instance); NULL `handler` removes it.
 * Errors: NOT_SUPPORTED on other hosts.
 */
INCUS_API incus_status incus_host_on_exec(incus_host *host, const char *instance, incus_test_exec_fn handler, void *data, incus_error **err);

#ifdef __cplusplus
}
#endif
#endif
