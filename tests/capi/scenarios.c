/* SPDX-License-Identifier: Apache-2.0 */
/* What a C program does with the library, in strict C99. Each scenario returns NULL, or what went wrong. */
#include "scenarios.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char problem[2048];

static const char *wrong(int line, const char *what, incus_error *err) {
  snprintf(problem, sizeof problem, "line %d: %s: %s", line, what, incus_error_message(err));
  incus_error_free(err);
  return problem;
}

#define OK(call)                                           \
  do {                                                     \
    if ((call) != INCUS_OK) return wrong(__LINE__, #call, err); \
    if (err) return wrong(__LINE__, #call " set an error", err); \
  } while (0)
#define IS(condition)                                      \
  do {                                                     \
    if (!(condition)) return wrong(__LINE__, #condition, NULL); \
  } while (0)
/* A call that must fail with a status and a message that contains `word`. */
#define FAILS(status, word, call)                          \
  do {                                                     \
    incus_status got_ = (call);                            \
    if (got_ != (status) || incus_error_code(err) != got_ || !strstr(incus_error_message(err), (word))) return wrong(__LINE__, #call, err); \
    incus_error_free(err);                                 \
    err = NULL;                                            \
  } while (0)

/* True when the text has the part; frees the text. */
static int has(char *text, const char *part) {
  int found = text && strstr(text, part) != NULL;
  incus_string_free(text);
  return found;
}

/* The commands of these scenarios, for hosts in memory. */
static void guest(const char *instance, const char *request, const char *input, size_t size, incus_test_reply *reply, void *data) {
  int *calls = data;
  ++*calls;
  (void)instance;
  if (strstr(request, "\"cat\""))
    incus_test_reply_set(reply, 0, input, size, NULL, 0);
  else if (strstr(request, "exit 3"))
    incus_test_reply_set(reply, 3, "out\n", 4, "bad\n", 4);
  else
    incus_test_reply_set(reply, 0, "Linux\n", 6, NULL, 0);
}

static void count_lines(incus_log_level level, const char *line, void *data) {
  (void)level;
  if (line) ++*(int *)data;
}

static const char *prepare(const char *uri, const char *image, int *calls, int *lines, incus_host **out) {
  incus_error *err = NULL;
  incus_host *host = NULL;
  OK(incus_host_open_logged(uri, "{\"auto_destroy\":true}", count_lines, lines, &host, &err));
  *out = host;
  if (strcmp(uri, "test://") == 0) OK(incus_host_on_exec(host, NULL, guest, calls, &err));
  OK(incus_image_import(host, NULL, image, NULL, "{\"alias\":\"busy\"}", NULL, &err));
  return NULL;
}

static const char *instances(incus_host *host) {
  incus_error *err = NULL;
  char *text = NULL, *etag = NULL, *name = NULL, *errors = NULL;
  size_t size = 0;
  int code = -1;
  const char *script[] = {"sh", "-c", "echo out; echo bad >&2; exit 3", NULL};
  OK(incus_instance_launch(host, NULL, "c1", "busy", "{\"config\":{\"user.x\":\"1\"}}", INCUS_READY_EXEC, 30000, &name, &err));
  IS(has(name, "c1"));
  OK(incus_instance_get(host, NULL, "c1", &text, &etag, &err));
  IS(has(text, "\"user.x\":\"1\"") && etag[0]);
  OK(incus_instance_patch(host, NULL, "c1", "{\"config\":{\"user.y\":\"2\"}}", etag, &err));
  FAILS(INCUS_ERROR_PRECONDITION_FAILED, "", incus_instance_patch(host, NULL, "c1", "{\"config\":{\"user.y\":\"3\"}}", etag, &err));
  incus_string_free(etag);
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "no.such.key", incus_instance_patch(host, NULL, "c1", "{\"config\":{\"no.such.key\":\"3\"}}", NULL, &err));
  OK(incus_instance_state(host, NULL, "c1", &text, &err));
  IS(has(text, "\"Running\""));
  OK(incus_exec_run_argv(host, NULL, "c1", script, &code, &text, &errors, &err));
  IS(code == 3 && has(text, "out\n") && has(errors, "bad\n"));
  OK(incus_exec_run(host, NULL, "c1", "{\"command\":[\"cat\"]}", "a\0b", 3, &code, &text, &size, NULL, NULL, &err));
  IS(code == 0 && size == 3 && memcmp(text, "a\0b", 4) == 0);
  incus_string_free(text);
  OK(incus_snapshot_create(host, NULL, "c1", "s0", NULL, &err));
  FAILS(INCUS_ERROR_ALREADY_EXISTS, "s0", incus_snapshot_create(host, NULL, "c1", "s0", NULL, &err));
  OK(incus_snapshot_list(host, NULL, "c1", 1, &text, &err));
  IS(has(text, "\"s0\""));
  OK(incus_instance_restore(host, NULL, "c1", "s0", NULL, &err));
  OK(incus_snapshot_rename(host, NULL, "c1", "s0", "s1", NULL, &err));
  OK(incus_snapshot_delete(host, NULL, "c1", "s1", NULL, &err));
  OK(incus_instance_pause(host, NULL, "c1", NULL, &err));
  OK(incus_instance_resume(host, NULL, "c1", NULL, &err));
  OK(incus_instance_console_log(host, NULL, "c1", &text, &size, &err));
  incus_string_free(text);
  FAILS(INCUS_ERROR_CONFLICT, "c1", incus_instance_start(host, NULL, "c1", NULL, &err));
  OK(incus_instance_stop(host, NULL, "c1", 1, -1, NULL, &err));
  OK(incus_instance_rename(host, NULL, "c1", "c2", NULL, &err));
  FAILS(INCUS_ERROR_NOT_FOUND, "c1", incus_instance_get(host, NULL, "c1", &text, NULL, &err));
  OK(incus_instance_list(host, NULL, 2, &text, &err));
  IS(has(text, "\"c2\""));
  OK(incus_instance_delete(host, NULL, "c2", NULL, &err));
  return NULL;
}

static const char *files(incus_host *host) {
  incus_error *err = NULL;
  char *text = NULL;
  size_t size = 0;
  int64_t pulled = 0;
  int fd = -1, ends[2];
  char buffer[8];
  OK(incus_instance_launch(host, NULL, "f1", "busy", NULL, INCUS_READY_EXEC, 30000, NULL, &err));
  OK(incus_file_write(host, NULL, "f1", "/tmp/a", "a\0b", 3, "{\"uid\":7,\"mode\":416}", &err));
  OK(incus_file_write(host, NULL, "f1", "/tmp/a", "!", 1, "{\"append\":true}", &err));
  OK(incus_file_read(host, NULL, "f1", "/tmp/a", &text, &size, &err));
  IS(size == 4 && memcmp(text, "a\0b!", 5) == 0);
  incus_string_free(text);
  OK(incus_file_info(host, NULL, "f1", "/tmp/a", &text, &err));
  IS(strstr(text, "\"uid\":7") && strstr(text, "\"mode\":416") && has(text, "\"type\":\"file\""));
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "group", incus_file_write(host, NULL, "f1", "/tmp/a", "", 0, "{\"group\":1}", &err));
  FAILS(INCUS_ERROR_NOT_FOUND, "/none", incus_file_read(host, NULL, "f1", "/none", &text, NULL, &err));
  OK(incus_file_make_directory(host, NULL, "f1", "/tmp/d", NULL, &err));
  OK(incus_file_make_symlink(host, NULL, "f1", "/tmp/d/l", "../a", &err));
  OK(incus_file_list(host, NULL, "f1", "/tmp/d", &text, &err));
  IS(has(text, "[\"l\"]"));
  IS(pipe(ends) == 0 && write(ends[1], "pushed", 6) == 6);
  close(ends[1]);
  OK(incus_file_push(host, NULL, "f1", "/tmp/d/p", ends[0], NULL, &err));
  close(ends[0]);
  IS(pipe(ends) == 0);
  OK(incus_file_pull(host, NULL, "f1", "/tmp/d/p", ends[1], &pulled, &err));
  IS(pulled == 6 && read(ends[0], buffer, sizeof buffer) == 6 && memcmp(buffer, "pushed", 6) == 0);
  close(ends[0]);
  close(ends[1]);
  FAILS(INCUS_ERROR_CONFLICT, "not empty", incus_file_remove(host, NULL, "f1", "/tmp/d", 0, &err));
  OK(incus_file_remove(host, NULL, "f1", "/tmp/d", 1, &err));
  OK(incus_file_sftp(host, NULL, "f1", &fd, &err));
  IS(write(fd, "\0\0\0\5\1\0\0\0\3", 9) == 9 && read(fd, buffer, 5) == 5 && buffer[4] == 2);
  close(fd);
  OK(incus_instance_stop(host, NULL, "f1", 1, -1, NULL, &err));
  OK(incus_instance_delete(host, NULL, "f1", NULL, &err));
  return NULL;
}

static const char *exec_on_descriptors(incus_host *host) {
  incus_error *err = NULL;
  incus_exec *exec = NULL;
  int out[2], code = -1;
  char buffer[64];
  ssize_t got;
  OK(incus_instance_launch(host, NULL, "c3", "busy", NULL, INCUS_READY_EXEC, 30000, NULL, &err));
  IS(pipe(out) == 0);
  OK(incus_exec_start(host, NULL, "c3", "{\"command\":[\"uname\"]}", -1, out[1], -1, &exec, &err));
  close(out[1]);
  OK(incus_exec_wait(exec, 30000, &code, &err));
  incus_exec_free(exec);
  got = read(out[0], buffer, sizeof buffer);
  close(out[0]);
  IS(code == 0 && got == 6 && memcmp(buffer, "Linux\n", 6) == 0);
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "12345", incus_exec_start(host, NULL, "c3", "{\"command\":[\"uname\"]}", -1, 12345, -1, &exec, &err));
  OK(incus_instance_stop(host, NULL, "c3", 1, -1, NULL, &err));
  OK(incus_instance_delete(host, NULL, "c3", NULL, &err));
  return NULL;
}

static const char *operations_and_events(incus_host *host) {
  incus_error *err = NULL;
  incus_operation *op = NULL, *same = NULL;
  incus_listener *listener = NULL;
  char *text = NULL, *id = NULL;
  int done = 0, seen = 0, tries;
  OK(incus_host_listen(host, "lifecycle", 0, &listener, &err));
  OK(incus_instance_create(host, NULL, "{\"name\":\"c4\",\"source\":{\"type\":\"none\"}}", &op, &err));
  OK(incus_operation_id(op, &id, &err));
  OK(incus_operation_find(host, id, &same, &err));
  incus_string_free(id);
  OK(incus_operation_wait(same, 30000, &text, &err));
  IS(has(text, "\"Success\""));
  OK(incus_operation_done(op, &done, &err));
  IS(done == 1);
  incus_operation_free(same);
  incus_operation_free(op);
  for (tries = 0; tries < 20 && !seen; tries++) {
    OK(incus_listener_next(listener, 5000, &text, &err));
    seen = has(text, "instance-created");
  }
  IS(seen);
  incus_listener_free(listener);
  OK(incus_host_request(host, "DELETE", "/1.0/instances/c4", NULL, &text, &err));
  IS(has(text, "\"id\""));
  OK(incus_operation_list(host, &text, &err));
  IS(has(text, "["));
  for (tries = 0; tries < 3000; tries++) {
    if (incus_instance_get(host, NULL, "c4", &text, NULL, NULL) == INCUS_ERROR_NOT_FOUND) return NULL;
    incus_string_free(text);
    usleep(10000);
  }
  return wrong(__LINE__, "c4 is still there", NULL);
}

static const char *everything_else(incus_host *host, const char *folder) {
  incus_error *err = NULL;
  char *text = NULL;
  char file[512];
  OK(incus_host_info(host, &text, &err));
  IS(has(text, "\"api_version\":\"1.0\""));
  OK(incus_project_list(host, 0, &text, &err));
  IS(has(text, "/1.0/projects/default"));
  OK(incus_project_get(host, "default", &text, NULL, &err));
  incus_string_free(text);
  OK(incus_storage_pool_list(host, 1, &text, &err));
  IS(has(text, "\"default\""));
  OK(incus_storage_pool_resources(host, "default", &text, &err));
  IS(has(text, "\"space\""));
  OK(incus_storage_pool_volumes(host, "default", 1, &text, &err));
  incus_string_free(text);
  OK(incus_profile_create(host, NULL, "{\"name\":\"p1\",\"config\":{\"limits.memory\":\"1GiB\"}}", &err));
  OK(incus_profile_update(host, NULL, "p1", "{\"description\":\"d\"}", NULL, &err));
  OK(incus_profile_rename(host, NULL, "p1", "p2", &err));
  OK(incus_profile_get(host, NULL, "p2", &text, NULL, &err));
  IS(has(text, "\"d\""));
  OK(incus_profile_delete(host, NULL, "p2", &err));
  OK(incus_image_list(host, NULL, 1, &text, &err));
  IS(has(text, "\"busy\""));
  snprintf(file, sizeof file, "%s/export", folder);
  OK(incus_image_export(host, NULL, "busy", file, &text, &err));
  IS(has(text, "/export"));
  FAILS(INCUS_ERROR_ALREADY_EXISTS, "export", incus_image_export(host, NULL, "busy", file, NULL, &err));
  OK(incus_image_delete(host, NULL, "busy", NULL, &err));
  FAILS(INCUS_ERROR_NOT_FOUND, "busy", incus_image_get(host, NULL, "busy", &text, NULL, &err));
  return NULL;
}

static const char *volumes(incus_host *host) {
  incus_error *err = NULL;
  incus_operation *op = NULL;
  char *text = NULL, *etag = NULL;
  OK(incus_storage_pool_create(host, "{\"name\":\"p2\",\"driver\":\"dir\"}", &err));
  OK(incus_volume_create(host, NULL, "p2", "{\"name\":\"v1\",\"description\":\"data\"}", NULL, &err));
  FAILS(INCUS_ERROR_ALREADY_EXISTS, "v1", incus_volume_create(host, NULL, "p2", "{\"name\":\"v1\"}", NULL, &err));
  OK(incus_volume_list(host, NULL, "p2", 1, &text, &err));
  IS(has(text, "\"data\""));
  OK(incus_volume_get(host, NULL, "p2", "v1", &text, &etag, &err));
  IS(has(text, "\"v1\""));
  OK(incus_volume_update(host, NULL, "p2", "v1", "{\"description\":\"more\",\"config\":{\"user.a\":\"1\"}}", etag, &err));
  FAILS(INCUS_ERROR_PRECONDITION_FAILED, "v1", incus_volume_update(host, NULL, "p2", "v1", "{\"description\":\"late\"}", etag, &err));
  incus_string_free(etag);
  OK(incus_volume_patch(host, NULL, "p2", "v1", "{\"config\":{\"user.b\":\"2\"}}", NULL, &err));
  OK(incus_volume_state(host, NULL, "p2", "v1", &text, &err));
  IS(has(text, "\"used\""));
  OK(incus_volume_snapshot_create(host, NULL, "p2", "v1", NULL, NULL, &err));
  OK(incus_volume_snapshot_update(host, NULL, "p2", "v1", "snap0", "{\"description\":\"then\"}", NULL, &err));
  OK(incus_volume_snapshot_get(host, NULL, "p2", "v1", "snap0", &text, NULL, &err));
  IS(has(text, "\"then\""));
  OK(incus_volume_snapshot_rename(host, NULL, "p2", "v1", "snap0", "s1", NULL, &err));
  OK(incus_volume_snapshot_list(host, NULL, "p2", "v1", 1, &text, &err));
  IS(has(text, "v1/s1"));
  OK(incus_volume_restore(host, NULL, "p2", "v1", "s1", &err));
  OK(incus_volume_create(host, NULL, "p2", "{\"name\":\"v2\",\"source\":{\"type\":\"copy\",\"name\":\"v1\"}}", &op, &err));
  OK(incus_operation_wait(op, -1, NULL, &err));
  incus_operation_free(op);
  OK(incus_volume_snapshot_delete(host, NULL, "p2", "v2", "s1", NULL, &err));
  OK(incus_volume_rename(host, NULL, "p2", "v2", "v3", &err));
  OK(incus_volume_move(host, NULL, "p2", "v3", "{\"name\":\"v4\",\"pool\":\"default\"}", NULL, &err));
  OK(incus_volume_delete(host, NULL, "default", "v4", &err));
  FAILS(INCUS_ERROR_NOT_FOUND, "v4", incus_volume_delete(host, NULL, "default", "v4", &err));
  OK(incus_recover_validate(host, NULL, &text, &err));
  IS(has(text, "\"UnknownVolumes\":null"));
  OK(incus_recover_import(host, NULL, &err));
  return NULL;
}

/* `real`: the host has files. */
static const char *backups(incus_host *host, const char *folder, int real) {
  incus_error *err = NULL;
  char *text = NULL, file[512];
  int64_t size = 0;
  int fd;
  OK(incus_instance_create(host, NULL, "{\"name\":\"b1\",\"source\":{\"type\":\"image\",\"alias\":\"busy\"}}", NULL, &err));
  OK(incus_instance_move(host, NULL, "b1", "{\"pool\":\"p2\"}", NULL, &err));
  if (!real) {
    FAILS(INCUS_ERROR_NOT_SUPPORTED, "memory", incus_backup_create(host, NULL, "b1", NULL, NULL, &err));
    FAILS(INCUS_ERROR_NOT_SUPPORTED, "memory", incus_volume_backup_create(host, NULL, "p2", "v1", NULL, NULL, &err));
  } else {
    snprintf(file, sizeof file, "%s/backup", folder);
    fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    IS(fd >= 0);
    OK(incus_backup_create(host, NULL, "b1", "{\"compression_algorithm\":\"none\"}", NULL, &err));
    OK(incus_backup_rename(host, NULL, "b1", "backup0", "k", NULL, &err));
    OK(incus_backup_list(host, NULL, "b1", 1, &text, &err));
    IS(has(text, "\"k\""));
    OK(incus_backup_get(host, NULL, "b1", "k", &text, &err));
    IS(has(text, "\"instance_only\":false"));
    OK(incus_backup_export(host, NULL, "b1", "k", fd, &size, &err));
    IS(size > 0 && lseek(fd, 0, SEEK_CUR) == size && lseek(fd, 0, SEEK_SET) == 0);
    OK(incus_backup_import(host, NULL, fd, "b2", NULL, NULL, &err));
    OK(incus_backup_delete(host, NULL, "b1", "k", NULL, &err));
    OK(incus_instance_delete(host, NULL, "b2", NULL, &err));
    IS(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    OK(incus_volume_backup_create(host, NULL, "p2", "v1", "{\"name\":\"k\"}", NULL, &err));
    OK(incus_volume_backup_rename(host, NULL, "p2", "v1", "k", "l", NULL, &err));
    OK(incus_volume_backup_list(host, NULL, "p2", "v1", 1, &text, &err));
    IS(has(text, "\"l\""));
    OK(incus_volume_backup_get(host, NULL, "p2", "v1", "l", &text, &err));
    IS(has(text, "\"volume_only\":false"));
    OK(incus_volume_backup_export(host, NULL, "p2", "v1", "l", fd, NULL, &err));
    IS(lseek(fd, 0, SEEK_SET) == 0);
    OK(incus_volume_backup_import(host, NULL, "p2", fd, "v2", NULL, &err));
    OK(incus_volume_backup_delete(host, NULL, "p2", "v1", "l", NULL, &err));
    OK(incus_volume_delete(host, NULL, "p2", "v2", &err));
    IS(lseek(fd, 0, SEEK_SET) == 0);
    OK(incus_volume_import_iso(host, NULL, "p2", fd, "cd", NULL, &err));
    OK(incus_volume_delete(host, NULL, "p2", "cd", &err));
    close(fd);
  }
  OK(incus_instance_delete(host, NULL, "b1", NULL, &err));
  OK(incus_volume_delete(host, NULL, "p2", "v1", &err));
  OK(incus_storage_pool_delete(host, "p2", &err));
  return NULL;
}

const char *scenario_program(const char *uri, const char *image, const char *folder) {
  incus_host *host = NULL;
  incus_error *err = NULL;
  char *text = NULL;
  int calls = 0, lines = 0;
  const char *bad = prepare(uri, image, &calls, &lines, &host);
  if (!bad) bad = instances(host);
  if (!bad) bad = files(host);
  if (!bad) bad = exec_on_descriptors(host);
  if (!bad) bad = operations_and_events(host);
  if (!bad) bad = volumes(host);
  if (!bad) bad = backups(host, folder, strcmp(uri, "test://") != 0);
  if (!bad) bad = everything_else(host, folder);
  if (!bad && strcmp(uri, "test://") == 0 && calls != 3) bad = "the handler was not called three times";
  if (!bad) {
    OK(incus_host_close(host, &err));
    OK(incus_host_close(host, &err));
    FAILS(INCUS_ERROR_UNAVAILABLE, "closed", incus_host_info(host, &text, &err));
  }
  incus_host_free(host);
  return bad;
}

const char *scenario_refusals(const char *folder) {
  incus_host *host = NULL;
  incus_error *err = NULL;
  char uri[512];
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "gopher", incus_host_open("gopher://x", NULL, &host, &err));
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "embed://", incus_host_open("embed://relative", NULL, &host, &err));
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "floppy", incus_host_open("test://", "{\"floppy\":1}", &host, &err));
  IS(host == NULL);
  OK(incus_host_open("test://", NULL, &host, &err));
  FAILS(INCUS_ERROR_INVALID_ARGUMENT, "a/b", incus_instance_create(host, NULL, "{\"name\":\"a/b\",\"source\":{\"type\":\"none\"}}", NULL, &err));
  FAILS(INCUS_ERROR_NOT_FOUND, "none", incus_instance_launch(host, NULL, "c1", "none", NULL, INCUS_READY_EXEC, 1000, NULL, &err));
  FAILS(INCUS_ERROR_NOT_FOUND, "c1", incus_instance_start(host, NULL, "c1", NULL, &err));
  snprintf(uri, sizeof uri, "%s/missing", folder);
  FAILS(INCUS_ERROR_NOT_FOUND, "missing", incus_image_import(host, NULL, uri, NULL, NULL, NULL, &err));
  incus_host_free(host);
  return NULL;
}
