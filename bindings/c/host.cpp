// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "base/names.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

struct incus_test_reply {
  ExecResult result;
};

namespace {

OpenOptions parse_options(const char *options) {
  OpenOptions o;
  auto all = optional_object(options, "options");
  for (auto &kv : all.get_object()) {
    std::string name(kv.key());
    if (name == "auto_destroy") {
      api::from_json(kv.value(), o.auto_destroy, name);
    } else if (name == "remove_directory") {
      api::from_json(kv.value(), o.remove_directory, name);
    } else if (name == "storage_driver") {
      api::from_json(kv.value(), o.storage_driver, name);
    } else if (name == "takeover_timeout") {
      std::int64_t ms = 0;
      api::from_json(kv.value(), ms, name);
      if (ms < 0) base::fail(ErrorCode::invalid_argument, "invalid value of \"takeover_timeout\": {} is below 0", ms);
      o.takeover_timeout = std::chrono::milliseconds(ms);
    } else if (name == "client_certificate") {
      api::from_json(kv.value(), o.client_certificate, name);
    } else if (name == "client_key") {
      api::from_json(kv.value(), o.client_key, name);
    } else if (name == "server_certificate") {
      api::from_json(kv.value(), o.server_certificate, name);
    } else if (name == "trust_token") {
      api::from_json(kv.value(), o.trust_token, name);
    } else if (name == "connect_timeout") {
      std::int64_t ms = 0;
      api::from_json(kv.value(), ms, name);
      if (ms <= 0) base::fail(ErrorCode::invalid_argument, "invalid value of \"connect_timeout\": {} is not above 0", ms);
      o.connect_timeout = std::chrono::milliseconds(ms);
    } else {
      base::fail(ErrorCode::invalid_argument,
                 "unknown option {}: the options are auto_destroy, remove_directory, storage_driver, takeover_timeout, client_certificate, client_key, "
                 "server_certificate, trust_token and connect_timeout",
                 base::quoted(name));
    }
  }
  return o;
}

} // namespace

extern "C" {

incus_status incus_host_open(const char *uri, const char *options, incus_host **host, incus_error **err) {
  return incus_host_open_logged(uri, options, nullptr, nullptr, host, err);
}

incus_status incus_host_open_logged(const char *uri, const char *options, incus_log_fn log, void *data, incus_host **host, incus_error **err) {
  return guard(err, [&] {
    need(host, "host");
    auto o = parse_options(options);
    if (log) o.log = [log, data](LogLevel level, const std::string &line) { log(static_cast<incus_log_level>(level), line.c_str(), data); };
    *host = new incus_host{Host::open(text(uri, "uri"), o)};
  });
}

incus_status incus_host_close(incus_host *host, incus_error **err) {
  return guard(err, [&] { need(host, "host").host.close(); });
}
void incus_host_free(incus_host *host) { delete host; }
const char *incus_host_uri(const incus_host *host) { return host ? host->host.uri().c_str() : nullptr; }
incus_status incus_host_info(incus_host *host, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::server_get, {}, json); });
}

incus_status incus_host_request(incus_host *host, const char *method, const char *path, const char *body, char **json, incus_error **err) {
  return guard(err, [&] {
    auto m = text(method, "method"), p = text(path, "path");
    Text reply(need(host, "host").host.request(m, p, optional(body)));
    reply.give(json);
  });
}

incus_status incus_host_call(incus_host *host, const char *method, const char *path, const char *body, const char *if_match, char **json, char **etag,
                             incus_operation **op, incus_error **err) {
  return guard(err, [&] {
    need(op, "op");
    auto [row, request] = api::route(text(method, "method"), text(path, "path"));
    if (body && *body) request.body = api::parse_json(body, "the request's body");
    request.if_match = optional(if_match);
    auto reply = api::perform(session(host), row->id, std::move(request));
    std::unique_ptr<incus_operation> handle;
    // Some rows answer by an operation only when there is work to wait for (a volume that is copied).
    if (row->kind == api::Kind::async || (reply.operation && row->id != RowId::operation_get)) {
      handle = std::make_unique<incus_operation>(incus_operation{api::guarded(session(host), std::move(reply.operation))});
      reply.metadata = api::to_json(handle->op.info());
    }
    Text document(json::serialize(reply.metadata)), version(reply.etag);
    document.give(json);
    version.give(etag);
    *op = handle.release();
  });
}

void incus_test_reply_set(incus_test_reply *reply, int exit_code, const char *out, size_t out_size, const char *errors, size_t errors_size) {
  if (!reply) return;
  // A C caller cannot be thrown at; without memory the command fails instead of looking like a success.
  try {
    reply->result.stdout_data.assign(out ? out : "", out ? out_size : 0);
    reply->result.stderr_data.assign(errors ? errors : "", errors ? errors_size : 0);
    reply->result.exit_code = exit_code;
  } catch (...) {
    reply->result.exit_code = 126;
  }
}

incus_status incus_host_on_exec(incus_host *host, const char *instance, incus_test_exec_fn handler, void *data, incus_error **err) {
  return guard(err, [&] {
    TestExecHandler h;
    if (handler)
      h = [handler, data](const std::string &name, const ExecRequest &request, const std::string &input) {
        incus_test_reply reply;
        reply.result.exit_code = 0;
        auto document = json::serialize(api::to_json(request));
        handler(name.c_str(), document.c_str(), input.data(), input.size(), &reply, data);
        return reply.result;
      };
    need(host, "host").host.on_exec(optional(instance), std::move(h));
  });
}

} // extern "C"
