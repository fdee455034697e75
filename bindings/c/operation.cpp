// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

extern "C" {

incus_status incus_operation_list(incus_host *host, char **json, incus_error **err) {
  return guard(err, [&] {
    need(json, "json");
    auto reply = api::perform(session(host), RowId::operations_get, list(nullptr, 1));
    Text all(json::serialize(api::operation_list(reply.metadata)));
    all.give(json);
  });
}

incus_status incus_operation_find(incus_host *host, const char *id, incus_operation **op, incus_error **err) {
  return guard(err, [&] {
    need(op, "op");
    *op = new incus_operation{api::find_operation(session(host), text(id, "id"))};
  });
}

incus_status incus_operation_id(incus_operation *op, char **id, incus_error **err) {
  return guard(err, [&] {
    need(id, "id");
    Text t(need(op, "op").op.id());
    t.give(id);
  });
}

incus_status incus_operation_info(incus_operation *op, char **json, incus_error **err) {
  return guard(err, [&] {
    need(json, "json");
    Text t(json::serialize(api::to_json(need(op, "op").op.info())));
    t.give(json);
  });
}

incus_status incus_operation_wait(incus_operation *op, int64_t timeout, char **json, incus_error **err) {
  return guard(err, [&] {
    auto &o = need(op, "op").op;
    Text t(json::serialize(api::to_json(timeout < 0 ? o.wait() : o.wait_for(std::chrono::milliseconds(timeout)))));
    t.give(json);
  });
}

incus_status incus_operation_done(incus_operation *op, int *done, incus_error **err) {
  return guard(err, [&] {
    need(done, "done");
    *done = need(op, "op").op.done();
  });
}

incus_status incus_operation_cancel(incus_operation *op, incus_error **err) {
  return guard(err, [&] { need(op, "op").op.cancel(); });
}

void incus_operation_free(incus_operation *op) { delete op; }

} // extern "C"
