// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

// C callers can pass any int as an enum; in C++ merely reading such a value is undefined, so its bytes are read.
const char *level_name(const incus_ready_level &level) {
  int value = 0;
  static_assert(sizeof value == sizeof level);
  std::memcpy(&value, &level, sizeof value);
  switch (value) {
  case INCUS_READY_EXEC:
    return "exec";
  case INCUS_READY_BOOTED:
    return "booted";
  case INCUS_READY_NETWORK:
    return "network";
  }
  base::fail(ErrorCode::invalid_argument, "invalid level of readiness {}", value);
}

api::Request one(const char *project, const char *name) { return named(project, {text(name, "name")}); }

void wait_ready(incus_host *host, api::Request r, const incus_ready_level &level, int64_t timeout) {
  if (timeout < 0) base::fail(ErrorCode::invalid_argument, "invalid timeout {}: must be 0 or more milliseconds", timeout);
  r.query["level"] = level_name(level);
  r.query["timeout"] = std::to_string(timeout);
  api::perform(session(host), RowId::instance_ready_get, std::move(r));
}

incus_status change(incus_host *host, const char *project, const char *name, const char *action, int force, int64_t timeout, incus_operation **op,
                    incus_error **err) {
  return guard(err, [&] {
    InstanceStateChange to;
    to.action = action;
    to.force = force != 0;
    to.timeout = timeout;
    begin(host, RowId::instance_state_put, api::with_body(one(project, name), api::to_json(to)), op);
  });
}

} // namespace

extern "C" {

incus_status incus_instance_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::instances_get, list(project, recursion, {}, 2), json); });
}

incus_status incus_instance_create(incus_host *host, const char *project, const char *request, incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::instances_post, api::with_body(named(project, {}), object(request, "request")), op); });
}

incus_status incus_instance_launch(incus_host *host, const char *project, const char *name, const char *image, const char *request,
                                   incus_ready_level level, int64_t timeout, char **made, incus_error **err) {
  return guard(err, [&] {
    level_name(level);
    auto body = optional_object(request, "request");
    body.get_object()["name"] = optional(name);
    body.get_object()["start"] = true;
    body.get_object()["source"] = api::to_json(api::image_source(session(host), text(image, "image"), optional(project)));
    auto done = api::begin(session(host), RowId::instances_post, api::with_body(named(project, {}), std::move(body))).wait();
    auto final_name = optional(name);
    if (final_name.empty()) final_name = api::resource_name(done, "instances");
    Text result(final_name);
    wait_ready(host, named(project, {final_name}), level, timeout);
    result.give(made);
  });
}

incus_status incus_instance_get(incus_host *host, const char *project, const char *name, char **json, char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::instance_get, one(project, name), json, etag); });
}
incus_status incus_instance_state(incus_host *host, const char *project, const char *name, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::instance_state_get, one(project, name), json); });
}

incus_status incus_instance_start(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err) {
  return change(host, project, name, "start", 0, -1, op, err);
}
incus_status incus_instance_stop(incus_host *host, const char *project, const char *name, int force, int64_t timeout, incus_operation **op,
                                 incus_error **err) {
  return change(host, project, name, "stop", force, timeout, op, err);
}
incus_status incus_instance_restart(incus_host *host, const char *project, const char *name, int force, int64_t timeout, incus_operation **op,
                                    incus_error **err) {
  return change(host, project, name, "restart", force, timeout, op, err);
}
incus_status incus_instance_pause(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err) {
  return change(host, project, name, "freeze", 0, -1, op, err);
}
incus_status incus_instance_resume(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err) {
  return change(host, project, name, "unfreeze", 0, -1, op, err);
}

incus_status incus_instance_wait_ready(incus_host *host, const char *project, const char *name, incus_ready_level level, int64_t timeout,
                                       incus_error **err) {
  return guard(err, [&] { wait_ready(host, one(project, name), level, timeout); });
}

incus_status incus_instance_update(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                   incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::instance_put, api::with_body(one(project, name), object(json, "json"), optional(if_match)), op); });
}
incus_status incus_instance_patch(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                  incus_error **err) {
  return guard(err,
               [&] { answer(host, RowId::instance_patch, api::with_body(one(project, name), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_instance_rename(incus_host *host, const char *project, const char *name, const char *new_name, incus_operation **op,
                                   incus_error **err) {
  return guard(
      err, [&] { begin(host, RowId::instance_post, api::with_body(one(project, name), api::to_json(api::Rename{text(new_name, "new_name")})), op); });
}
incus_status incus_instance_move(incus_host *host, const char *project, const char *name, const char *to, incus_operation **op, incus_error **err) {
  return guard(err, [&] {
    auto instance = text(name, "name");
    begin(host, RowId::instance_post, api::with_body(named(project, {instance}), api::move_body(object(to, "to").get_object(), instance)), op);
  });
}
incus_status incus_instance_delete(incus_host *host, const char *project, const char *name, incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::instance_delete, one(project, name), op); });
}
incus_status incus_instance_restore(incus_host *host, const char *project, const char *name, const char *snapshot, incus_operation **op,
                                    incus_error **err) {
  return guard(err, [&] { begin(host, RowId::instance_put, api::with_body(one(project, name), {{"restore", text(snapshot, "snapshot")}}), op); });
}

incus_status incus_instance_console_log(incus_host *host, const char *project, const char *name, char **out, size_t *size, incus_error **err) {
  return guard(err, [&] {
    need(out, "text");
    auto reply = api::perform(session(host), RowId::instance_console_get, api::with_query(one(project, name), "type", "log"));
    auto log = api::bytes_of(reply);
    Text t(log);
    t.give(out);
    if (size) *size = log.size();
  });
}
incus_status incus_instance_clear_console_log(incus_host *host, const char *project, const char *name, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::instance_console_delete, api::with_query(one(project, name), "type", "log"), nullptr); });
}

} // extern "C"
