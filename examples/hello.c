/* SPDX-License-Identifier: Apache-2.0 */
/* hello URI IMAGE: one container from C. Build: cc hello.c $(pkg-config --cflags --libs incus) */
#include <incus/incus.h>

#include <stdio.h>

/* Prints the error of a step that failed and frees it. */
static int failed(incus_status status, incus_error *err) {
  if (status != INCUS_OK) fprintf(stderr, "%s: %s\n", incus_status_name(status), incus_error_message(err));
  incus_error_free(err);
  return status != INCUS_OK;
}

int main(int argc, char **argv) {
  incus_host *host = NULL;
  incus_error *err = NULL;
  incus_status ok;
  int exit_code = -1;
  char *out = NULL;
  if (argc != 3) {
    fprintf(stderr, "usage: hello URI IMAGE, such as: hello embed:///var/tmp/demo image.tar.gz\n");
    return 2;
  }
  /* [readme] */
  const char *uname[] = {"uname", "-a", NULL};
  ok = incus_host_open(argv[1], NULL, &host, &err); /* "embed:///var/tmp/demo" */
  if (!ok) ok = incus_image_import(host, NULL, argv[2], NULL, "{\"alias\":\"busy\"}", NULL, &err);
  if (!ok) ok = incus_instance_launch(host, NULL, "c1", "busy", NULL, INCUS_READY_BOOTED, 60000, NULL, &err);
  if (!ok) ok = incus_exec_run_argv(host, NULL, "c1", uname, &exit_code, &out, NULL, &err);
  if (!ok) printf("%d %s", exit_code, out);
  if (!ok) ok = incus_snapshot_create(host, NULL, "c1", "s0", NULL, &err);
  if (!ok) ok = incus_instance_restore(host, NULL, "c1", "s0", NULL, &err);
  if (!ok) ok = incus_instance_stop(host, NULL, "c1", 1, -1, NULL, &err);
  if (!ok) ok = incus_instance_delete(host, NULL, "c1", NULL, &err);
  /* [/readme] */
  incus_string_free(out);
  incus_host_free(host);
  return failed(ok, err) ? 1 : exit_code;
}
