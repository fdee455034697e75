/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Instances (REST: /1.0/instances). An instance is addressed by host, project and name; there is no handle to free.
 * The conventions of all functions stand in types.h.
 */
#ifndef INCUS_INSTANCE_H
#define INCUS_INSTANCE_H

#include <incus/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How far a start must have come. */
typedef enum incus_ready_level {
  INCUS_READY_EXEC = 0,   /**< a command can be run in it */
  INCUS_READY_BOOTED = 1, /**< its init said it is ready, or reached the end of its start */
  INCUS_READY_NETWORK = 2 /**< an interface other than loopback has a global address */
} incus_ready_level;

/**
 * The instances of a project, as a JSON list (GET /1.0/instances).
 *
 * \param recursion 0: URLs; 1: the instances; 2: also their state and snapshots
 */
INCUS_API incus_status incus_instance_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err);

/**
 * Makes an instance (POST /1.0/instances).
 *
 * \param request JSON: "name", "source" ({"type":"image","alias":...}, {"type":"copy","source":...} or {"type":"none"}), "config",
 *   "devices", "profiles", "ephemeral", "start" and so on. Without a name it gets a random one, found in the operation's resources.
 * Errors: INVALID_ARGUMENT (the message names key and rule), ALREADY_EXISTS, NOT_FOUND (image, profile, pool), NO_SPACE.
 */
INCUS_API incus_status incus_instance_create(incus_host *host, const char *project, const char *request, incus_operation **op, incus_error **err);

/**
 * Makes an instance from an image, starts it and waits until it is ready.
 *
 * \param name NULL or "": a random one
 * \param image alias or fingerprint
 * \param request JSON as for incus_instance_create(), or NULL; name, source and start are filled in
 * \param timeout milliseconds to become ready once it started
 * \param made receives the name; may be NULL
 * Errors: as incus_instance_create(); TIMEOUT when it was not ready in time (it is there and runs), CONFLICT when it stopped.
 */
INCUS_API incus_status incus_instance_launch(incus_host *host, const char *project, const char *name, const char *image, const char *request,
                                             incus_ready_level level, int64_t timeout, char **made, incus_error **err);

/**
 * One instance, as JSON (GET /1.0/instances/{name}).
 *
 * \param etag receives its version for a later `if_match`; may be NULL
 * Errors: NOT_FOUND.
 */
INCUS_API incus_status incus_instance_get(incus_host *host, const char *project, const char *name, char **json, char **etag, incus_error **err);

/** Status, pid, cpu, memory, disks, networks, as JSON (GET /1.0/instances/{name}/state). Errors: NOT_FOUND. */
INCUS_API incus_status incus_instance_state(incus_host *host, const char *project, const char *name, char **json, incus_error **err);

/** Starts it (PUT /1.0/instances/{name}/state). Errors: NOT_FOUND, CONFLICT when it runs. */
INCUS_API incus_status incus_instance_start(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err);

/**
 * Stops it (PUT /1.0/instances/{name}/state).
 *
 * \param force non-zero: killed at once; 0: the guest is asked
 * \param timeout seconds (not milliseconds, as in REST) that the guest has; -1: the default of 600
 * Errors: NOT_FOUND, CONFLICT when it does not run, TIMEOUT when the guest did not stop (it still runs).
 */
INCUS_API incus_status incus_instance_stop(incus_host *host, const char *project, const char *name, int force, int64_t timeout, incus_operation **op,
                                           incus_error **err);

/** Stops it and starts it again; parameters and errors as incus_instance_stop(). */
INCUS_API incus_status incus_instance_restart(incus_host *host, const char *project, const char *name, int force, int64_t timeout, incus_operation **op,
                                              incus_error **err);

/** Freezes all its processes (PUT .../state, "freeze"). Errors: NOT_FOUND, CONFLICT when it does not run. */
INCUS_API incus_status incus_instance_pause(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err);

/** Ends a pause (PUT .../state, "unfreeze"). Errors: NOT_FOUND, CONFLICT when it is not frozen. */
INCUS_API incus_status incus_instance_resume(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err);

/**
 * Blocks until it is ready; nothing polls.
 *
 * \param timeout milliseconds
 * Errors: NOT_FOUND, TIMEOUT, CONFLICT when it does not run or stopped meanwhile.
 */
INCUS_API incus_status incus_instance_wait_ready(incus_host *host, const char *project, const char *name, incus_ready_level level, int64_t timeout,
                                                 incus_error **err);

/**
 * Replaces what can be changed of it (PUT /1.0/instances/{name}): what is absent in `json` is removed.
 *
 * \param if_match an etag, or NULL; when the instance changed since, PRECONDITION_FAILED
 * Errors: NOT_FOUND, INVALID_ARGUMENT, PRECONDITION_FAILED.
 */
INCUS_API incus_status incus_instance_update(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                             incus_operation **op, incus_error **err);

/** Merges `json` into it (PATCH /1.0/instances/{name}): an empty value unsets a key. Errors as incus_instance_update(). */
INCUS_API incus_status incus_instance_patch(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                            incus_error **err);

/** Renames it (POST /1.0/instances/{name}). Errors: NOT_FOUND, ALREADY_EXISTS, CONFLICT while it runs, INVALID_ARGUMENT. */
INCUS_API incus_status incus_instance_rename(incus_host *host, const char *project, const char *name, const char *new_name, incus_operation **op,
                                             incus_error **err);

/**
 * Moves it to another pool, project or name, with its snapshots (POST /1.0/instances/{name}).
 *
 * \param to JSON: "name", "pool", "project", "instance_only" (without its snapshots), "config", "devices", "profiles"; what is absent stays
 * Errors: NOT_FOUND, ALREADY_EXISTS, CONFLICT while it runs, FORBIDDEN (limits of the project), NO_SPACE.
 */
INCUS_API incus_status incus_instance_move(incus_host *host, const char *project, const char *name, const char *to, incus_operation **op,
                                           incus_error **err);

/** Deletes it (DELETE /1.0/instances/{name}). Errors: NOT_FOUND, CONFLICT while it runs, FORBIDDEN when it is protected. */
INCUS_API incus_status incus_instance_delete(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err);

/** Puts disk and configuration back to a snapshot (PUT /1.0/instances/{name} with "restore"). Errors: NOT_FOUND. */
INCUS_API incus_status incus_instance_restore(incus_host *host, const char *project, const char *name, const char *snapshot, incus_operation **op,
                                              incus_error **err);

/**
 * What its console printed since it started, the last 128 KiB at most (GET .../console).
 *
 * \param text receives the bytes and a NUL behind them; `size` (may be NULL) their number
 */
INCUS_API incus_status incus_instance_console_log(incus_host *host, const char *project, const char *name, char **text, size_t *size, incus_error **err);

/** Empties the console log (DELETE .../console). Errors: NOT_FOUND. */
INCUS_API incus_status incus_instance_clear_console_log(incus_host *host, const char *project, const char *name, incus_error **err);

/**
 * Runs a command and captures what it writes (POST .../exec). Blocks until it ends.
 *
 * \param request JSON: "command" (list), "environment", "user", "group", "cwd"
 * \param input, input_size the command's stdin; `input` may be NULL when the size is 0
 * \param exit_code the command's; 126 not executable, 127 not found, 128+n killed by signal n
 * \param out, out_size, errors, errors_size what it wrote, each with a NUL behind it; each may be NULL
 * Errors: NOT_FOUND, CONFLICT when the instance does not run, INVALID_ARGUMENT. An exit code other than 0 is not an error.
 */
INCUS_API incus_status incus_exec_run(incus_host *host, const char *project, const char *name, const char *request, const char *input, size_t input_size,
                                      int *exit_code, char **out, size_t *out_size, char **errors, size_t *errors_size, incus_error **err);

/** As incus_exec_run() for a plain command: `argv` ends with NULL, nothing on stdin, outputs are text. */
INCUS_API incus_status incus_exec_run_argv(incus_host *host, const char *project, const char *name, const char *const *argv, int *exit_code, char **out,
                                           char **errors, incus_error **err);

/**
 * Starts a command on the caller's descriptors (POST .../exec).
 *
 * \param request JSON as for incus_exec_run(); with "interactive":true, "width" and "height" the command gets a terminal: its bytes come
 *   on stdin and stdout, stderr is not used
 * \param stdin_fd, stdout_fd, stderr_fd duplicated, the caller keeps its own; -1: /dev/null
 * \param exec receives the handle; freeing it kills the command
 */
INCUS_API incus_status incus_exec_start(incus_host *host, const char *project, const char *name, const char *request, int stdin_fd, int stdout_fd,
                                        int stderr_fd, incus_exec **exec, incus_error **err);

/** Waits until the command ended; `timeout` in milliseconds, negative: for ever. Errors: TIMEOUT (it goes on). */
INCUS_API incus_status incus_exec_wait(incus_exec *exec, int64_t timeout, int *exit_code, incus_error **err);

/** Sends a signal number of Linux to the command. Errors: INVALID_ARGUMENT, CONFLICT when it has ended. */
INCUS_API incus_status incus_exec_signal(incus_exec *exec, int number, incus_error **err);

/** New size of the terminal in characters. Errors: INVALID_ARGUMENT, CONFLICT when there is no terminal or the command has ended. */
INCUS_API incus_status incus_exec_resize(incus_exec *exec, int width, int height, incus_error **err);

/** Kills the command if it still runs. Idempotent. Does nothing for NULL. */
INCUS_API void incus_exec_close(incus_exec *exec);

/** Closes and frees the handle. NULL is allowed. */
INCUS_API void incus_exec_free(incus_exec *exec);

#ifdef __cplusplus
}
#endif
#endif
