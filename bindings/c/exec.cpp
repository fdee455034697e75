// SPDX-License-Identifier: Apache-2.0
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

ExecResult run(incus_host *host, const char *project, const char *name, json::value request, std::string input) {
  return api::run_exec(session(host), optional(project), text(name, "name"), std::move(request), input);
}

} // namespace

extern "C" {

incus_status incus_exec_run(incus_host *host, const char *project, const char *name, const char *request, const char *input, size_t input_size,
                            int *exit_code, char **out, size_t *out_size, char **errors, size_t *errors_size, incus_error **err) {
  return guard(err, [&] {
    need(exit_code, "exit_code");
    if (!input && input_size > 0) missing("input");
    auto r = run(host, project, name, object(request, "request"), input ? std::string(input, input_size) : std::string());
    Text o(r.stdout_data), e(r.stderr_data);
    *exit_code = r.exit_code;
    o.give(out);
    e.give(errors);
    if (out_size) *out_size = r.stdout_data.size();
    if (errors_size) *errors_size = r.stderr_data.size();
  });
}

incus_status incus_exec_run_argv(incus_host *host, const char *project, const char *name, const char *const *argv, int *exit_code, char **out,
                                 char **errors, incus_error **err) {
  return guard(err, [&] {
    need(exit_code, "exit_code");
    need(argv, "argv");
    json::array command;
    for (auto *a = argv; *a; a++) command.emplace_back(*a);
    auto r = run(host, project, name, {{"command", std::move(command)}}, {});
    Text o(r.stdout_data), e(r.stderr_data);
    *exit_code = r.exit_code;
    o.give(out);
    e.give(errors);
  });
}

incus_status incus_exec_start(incus_host *host, const char *project, const char *name, const char *request, int stdin_fd, int stdout_fd,
                              int stderr_fd, incus_exec **exec, incus_error **err) {
  return guard(err, [&] {
    need(exec, "exec");
    ExecSession s(
        api::begin_exec(session(host), optional(project), text(name, "name"), object(request, "request"), {stdin_fd, stdout_fd, stderr_fd}));
    *exec = new incus_exec{std::move(s)};
  });
}

incus_status incus_exec_wait(incus_exec *exec, int64_t timeout, int *exit_code, incus_error **err) {
  return guard(err, [&] {
    need(exit_code, "exit_code");
    auto &s = need(exec, "exec").session;
    if (timeout < 0) {
      *exit_code = s.wait();
    } else if (auto code = s.wait_for(std::chrono::milliseconds(timeout))) {
      *exit_code = *code;
    } else {
      base::fail(ErrorCode::timeout, "the command did not end within {} ms; it goes on", timeout);
    }
  });
}

incus_status incus_exec_signal(incus_exec *exec, int number, incus_error **err) {
  return guard(err, [&] { need(exec, "exec").session.signal(number); });
}
incus_status incus_exec_resize(incus_exec *exec, int width, int height, incus_error **err) {
  return guard(err, [&] { need(exec, "exec").session.resize(width, height); });
}
void incus_exec_close(incus_exec *exec) {
  if (exec) exec->session.close();
}
void incus_exec_free(incus_exec *exec) { delete exec; }

} // extern "C"
