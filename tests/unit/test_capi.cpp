// SPDX-License-Identifier: Apache-2.0
// The C face over a recording door: every function asks its row, hands out what came, and survives NULL.
#include <doctest/doctest.h>
#include <functional>
#include <unistd.h>

#include "../../bindings/c/common.hpp"
#include "fake_door.hpp"

using namespace incus;
using namespace incus::api;
using test::FakeDoor;

namespace {

struct CHost {
  FakeDoor *door = nullptr;
  incus_host *host = new incus_host{test::fake_host(door)};
  ~CHost() { incus_host_free(host); }
  std::string asked() {
    auto &c = door->calls.back();
    std::string s = std::string(row(c.id).method) + " " + row(c.id).path;
    for (auto &p : c.request.path) s += " " + p;
    for (auto &[k, v] : c.request.query) s += " " + k + "=" + v;
    if (!c.request.body.is_null()) s += " " + boost::json::serialize(c.request.body);
    if (!c.request.if_match.empty()) s += " if_match=" + c.request.if_match;
    return s;
  }
};

/// Frees what the C face returned.
std::string take(char *s) {
  std::string out = s ? s : "(null)";
  incus_string_free(s);
  return out;
}

struct Expect {
  std::string asked;
  std::function<incus_status(incus_host *, incus_error **)> call;
};

} // namespace

TEST_CASE("C functions without output ask their rows") {
  CHost h;
  Expect table[] = {
      {R"(PUT /1.0/instances/{name}/state c1 project=p {"action":"start","timeout":-1,"force":false,"stateful":false})",
       [](auto *t, auto **e) { return incus_instance_start(t, "p", "c1", nullptr, e); }},
      {R"(PUT /1.0/instances/{name}/state c1 {"action":"stop","timeout":7,"force":true,"stateful":false})",
       [](auto *t, auto **e) { return incus_instance_stop(t, nullptr, "c1", 5, 7, nullptr, e); }},
      {R"(PUT /1.0/instances/{name}/state c1 {"action":"restart","timeout":-1,"force":false,"stateful":false})",
       [](auto *t, auto **e) { return incus_instance_restart(t, "", "c1", 0, -1, nullptr, e); }},
      {R"(PUT /1.0/instances/{name}/state c1 {"action":"freeze","timeout":-1,"force":false,"stateful":false})",
       [](auto *t, auto **e) { return incus_instance_pause(t, "default", "c1", nullptr, e); }},
      {R"(PUT /1.0/instances/{name}/state c1 {"action":"unfreeze","timeout":-1,"force":false,"stateful":false})",
       [](auto *t, auto **e) { return incus_instance_resume(t, nullptr, "c1", nullptr, e); }},
      {R"(POST /1.0/instances {"name":"c1"})", [](auto *t, auto **e) { return incus_instance_create(t, nullptr, R"({"name":"c1"})", nullptr, e); }},
      {"GET /1.0/instances/{name}/ready c1 level=network timeout=5",
       [](auto *t, auto **e) { return incus_instance_wait_ready(t, nullptr, "c1", INCUS_READY_NETWORK, 5, e); }},
      {R"(PUT /1.0/instances/{name} c1 {"config":{}} if_match=e)",
       [](auto *t, auto **e) { return incus_instance_update(t, nullptr, "c1", R"({"config":{}})", "e", nullptr, e); }},
      {R"(PATCH /1.0/instances/{name} c1 {"config":{}})",
       [](auto *t, auto **e) { return incus_instance_patch(t, nullptr, "c1", R"({"config":{}})", nullptr, e); }},
      {R"(POST /1.0/instances/{name} c1 {"name":"c2"})", [](auto *t, auto **e) { return incus_instance_rename(t, nullptr, "c1", "c2", nullptr, e); }},
      {"DELETE /1.0/instances/{name} c1", [](auto *t, auto **e) { return incus_instance_delete(t, nullptr, "c1", nullptr, e); }},
      {R"(PUT /1.0/instances/{name} c1 {"restore":"s"})",
       [](auto *t, auto **e) { return incus_instance_restore(t, nullptr, "c1", "s", nullptr, e); }},
      {"DELETE /1.0/instances/{name}/console c1 type=log", [](auto *t, auto **e) { return incus_instance_clear_console_log(t, nullptr, "c1", e); }},
      {R"(POST /1.0/instances/{name}/snapshots c1 {"name":"s","stateful":false,"expires_at":null})",
       [](auto *t, auto **e) { return incus_snapshot_create(t, nullptr, "c1", "s", nullptr, e); }},
      {R"(PUT /1.0/instances/{name}/snapshots/{snapshot} c1 s {"expires_at":null} if_match=e)",
       [](auto *t, auto **e) { return incus_snapshot_update(t, nullptr, "c1", "s", R"({"expires_at":null})", "e", nullptr, e); }},
      {R"(POST /1.0/instances/{name}/snapshots/{snapshot} c1 s {"name":"t"})",
       [](auto *t, auto **e) { return incus_snapshot_rename(t, nullptr, "c1", "s", "t", nullptr, e); }},
      {"DELETE /1.0/instances/{name}/snapshots/{snapshot} c1 s",
       [](auto *t, auto **e) { return incus_snapshot_delete(t, nullptr, "c1", "s", nullptr, e); }},
      {R"(PUT /1.0/images/{fingerprint} f {"public":true})",
       [](auto *t, auto **e) { return incus_image_update(t, nullptr, "f", R"({"public":true})", nullptr, e); }},
      {"DELETE /1.0/images/{fingerprint} f", [](auto *t, auto **e) { return incus_image_delete(t, nullptr, "f", nullptr, e); }},
      {R"(POST /1.0/images/aliases {"description":"","target":"f","name":"a","type":""})",
       [](auto *t, auto **e) { return incus_image_alias_create(t, nullptr, "a", "f", nullptr, e); }},
      {R"(PUT /1.0/images/aliases/{name} a {"target":"f"})",
       [](auto *t, auto **e) { return incus_image_alias_update(t, nullptr, "a", R"({"target":"f"})", nullptr, e); }},
      {R"(POST /1.0/images/aliases/{name} a {"name":"b"})", [](auto *t, auto **e) { return incus_image_alias_rename(t, nullptr, "a", "b", e); }},
      {"DELETE /1.0/images/aliases/{name} a", [](auto *t, auto **e) { return incus_image_alias_delete(t, nullptr, "a", e); }},
      {R"(POST /1.0/storage-pools {"name":"p"})", [](auto *t, auto **e) { return incus_storage_pool_create(t, R"({"name":"p"})", e); }},
      {R"(PUT /1.0/storage-pools/{name} p {})", [](auto *t, auto **e) { return incus_storage_pool_update(t, "p", "{}", nullptr, e); }},
      {"DELETE /1.0/storage-pools/{name} p", [](auto *t, auto **e) { return incus_storage_pool_delete(t, "p", e); }},
      {R"(POST /1.0/profiles {"name":"p"})", [](auto *t, auto **e) { return incus_profile_create(t, nullptr, R"({"name":"p"})", e); }},
      {R"(PUT /1.0/profiles/{name} p {} if_match=e)", [](auto *t, auto **e) { return incus_profile_update(t, nullptr, "p", "{}", "e", e); }},
      {R"(PATCH /1.0/profiles/{name} p {})", [](auto *t, auto **e) { return incus_profile_patch(t, nullptr, "p", "{}", nullptr, e); }},
      {R"(POST /1.0/profiles/{name} p {"name":"q"})", [](auto *t, auto **e) { return incus_profile_rename(t, nullptr, "p", "q", e); }},
      {"DELETE /1.0/profiles/{name} p", [](auto *t, auto **e) { return incus_profile_delete(t, nullptr, "p", e); }},
  };
  for (auto &x : table) {
    incus_error *err = nullptr;
    CHECK(x.call(h.host, &err) == INCUS_OK);
    CHECK(err == nullptr);
    CHECK(h.asked() == x.asked);
    // The same without a host, and with a door that refuses.
    CHECK(x.call(nullptr, &err) == INCUS_ERROR_INVALID_ARGUMENT);
    CHECK(std::string(incus_error_message(err)) == "invalid argument host: must not be NULL");
    incus_error_free(err);
    CHECK(x.call(nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
    h.door->fail(h.door->calls.back().id, ErrorCode::busy);
    CHECK(x.call(h.host, &err) == INCUS_ERROR_BUSY);
    CHECK(std::string(incus_error_name(err)) == "busy");
    incus_error_free(err);
    h.door->forgive();
  }
}

TEST_CASE("C functions with JSON output ask their rows") {
  struct Query {
    std::string asked;
    std::function<incus_status(incus_host *, char **, incus_error **)> call;
  };
  Query table[] = {
      {"GET /1.0", [](auto *t, auto **j, auto **e) { return incus_host_info(t, j, e); }},
      {"GET /1.0/instances project=p recursion=2", [](auto *t, auto **j, auto **e) { return incus_instance_list(t, "p", 2, j, e); }},
      {"GET /1.0/instances/{name} c1", [](auto *t, auto **j, auto **e) { return incus_instance_get(t, nullptr, "c1", j, nullptr, e); }},
      {"GET /1.0/instances/{name}/state c1", [](auto *t, auto **j, auto **e) { return incus_instance_state(t, nullptr, "c1", j, e); }},
      {"GET /1.0/instances/{name}/snapshots c1 recursion=1",
       [](auto *t, auto **j, auto **e) { return incus_snapshot_list(t, nullptr, "c1", 1, j, e); }},
      {"GET /1.0/instances/{name}/snapshots/{snapshot} c1 s",
       [](auto *t, auto **j, auto **e) { return incus_snapshot_get(t, nullptr, "c1", "s", j, nullptr, e); }},
      {"GET /1.0/images", [](auto *t, auto **j, auto **e) { return incus_image_list(t, nullptr, 0, j, e); }},
      {"GET /1.0/images/{fingerprint} f", [](auto *t, auto **j, auto **e) { return incus_image_get(t, nullptr, "f", j, nullptr, e); }},
      {"GET /1.0/images/aliases recursion=1", [](auto *t, auto **j, auto **e) { return incus_image_alias_list(t, nullptr, 1, j, e); }},
      {"GET /1.0/images/aliases/{name} a", [](auto *t, auto **j, auto **e) { return incus_image_alias_get(t, nullptr, "a", j, e); }},
      {"GET /1.0/storage-pools", [](auto *t, auto **j, auto **e) { return incus_storage_pool_list(t, 0, j, e); }},
      {"GET /1.0/storage-pools/{name} p", [](auto *t, auto **j, auto **e) { return incus_storage_pool_get(t, "p", j, nullptr, e); }},
      {"GET /1.0/storage-pools/{name}/resources p", [](auto *t, auto **j, auto **e) { return incus_storage_pool_resources(t, "p", j, e); }},
      {"GET /1.0/storage-pools/{name}/volumes p recursion=1",
       [](auto *t, auto **j, auto **e) { return incus_storage_pool_volumes(t, "p", 1, j, e); }},
      {"GET /1.0/profiles recursion=1", [](auto *t, auto **j, auto **e) { return incus_profile_list(t, nullptr, 1, j, e); }},
      {"GET /1.0/profiles/{name} p", [](auto *t, auto **j, auto **e) { return incus_profile_get(t, nullptr, "p", j, nullptr, e); }},
      {"GET /1.0/projects", [](auto *t, auto **j, auto **e) { return incus_project_list(t, 0, j, e); }},
      {"GET /1.0/projects/{name} p", [](auto *t, auto **j, auto **e) { return incus_project_get(t, "p", j, nullptr, e); }},
      {"GET /1.0/operations recursion=1", [](auto *t, auto **j, auto **e) { return incus_operation_list(t, j, e); }},
      {"GET /1.0/instances/{name} c1 x=1",
       [](auto *t, auto **j, auto **e) { return incus_host_request(t, "GET", "/1.0/instances/c1?x=1", nullptr, j, e); }},
  };
  CHost h;
  for (auto &x : table) {
    h.door->reply = json::parse(R"([{"name":"x"}])");
    char *out = nullptr;
    incus_error *err = nullptr;
    CHECK(x.call(h.host, &out, &err) == INCUS_OK);
    CHECK(take(out) == R"([{"name":"x"}])");
    CHECK(h.asked() == x.asked);
    CHECK(x.call(nullptr, &out, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
    h.door->fail(h.door->calls.back().id, ErrorCode::not_found);
    out = nullptr;
    CHECK(x.call(h.host, &out, &err) == INCUS_ERROR_NOT_FOUND);
    CHECK(out == nullptr);
    incus_error_free(err);
    h.door->forgive();
    if (!x.asked.ends_with("x=1")) CHECK(x.call(h.host, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  }
  char *etag = nullptr, *out = nullptr;
  CHECK(incus_instance_get(h.host, nullptr, "c1", &out, &etag, nullptr) == INCUS_OK);
  take(out);
  CHECK(take(etag) == "etag-1");
  CHECK(incus_instance_list(h.host, nullptr, 3, &out, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_image_list(h.host, nullptr, 2, &out, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_image_list(h.host, nullptr, -1, &out, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
}

TEST_CASE("C operations are waited for, handed out and freed") {
  CHost h;
  h.door->finish_operations = false;
  incus_operation *op = nullptr;
  REQUIRE(incus_instance_start(h.host, nullptr, "c1", &op, nullptr) == INCUS_OK);
  char *id = nullptr;
  CHECK(incus_operation_id(op, &id, nullptr) == INCUS_OK);
  CHECK(take(id) == "op-1");
  int done = 7;
  CHECK(incus_operation_done(op, &done, nullptr) == INCUS_OK);
  CHECK(done == 0);
  incus_error *err = nullptr;
  CHECK(incus_operation_wait(op, 1, nullptr, &err) == INCUS_ERROR_TIMEOUT);
  incus_error_free(err);
  CHECK(incus_operation_cancel(op, nullptr) == INCUS_OK);
  CHECK(h.door->operations.back()->cancels == 1);
  h.door->operations.back()->fail(Error(ErrorCode::no_space, "full", Error(ErrorCode::internal, "pool")));
  CHECK(incus_operation_wait(op, -1, nullptr, &err) == INCUS_ERROR_NO_SPACE);
  CHECK(std::string(incus_error_message(err)) == "full: pool");
  CHECK(incus_error_cause_count(err) == 1);
  CHECK(std::string(incus_error_cause(err, 0)) == "pool");
  CHECK(incus_error_cause(err, 1) == nullptr);
  CHECK(incus_error_code(err) == INCUS_ERROR_NO_SPACE);
  incus_error_free(err);
  incus_operation_free(op);
  h.door->on(RowId::operation_get, json::parse(R"({"id":"9","status_code":200})"));
  h.door->on(RowId::operation_wait_get, json::parse(R"({"id":"9","status_code":200})"));
  REQUIRE(incus_operation_find(h.host, "9", &op, nullptr) == INCUS_OK);
  char *json = nullptr;
  CHECK(incus_operation_wait(op, 1000, &json, nullptr) == INCUS_OK);
  CHECK(take(json).find(R"("id":"9")") != std::string::npos);
  CHECK(incus_operation_info(op, &json, nullptr) == INCUS_OK);
  take(json);
  incus_operation_free(op);
}

TEST_CASE("C exec, events and launch") {
  CHost h;
  h.door->on_exec_call = [](Request &r, test::FakeOperation &op) {
    char buf[16];
    auto n = r.stream("stdin") < 0 ? 0 : ::read(r.stream("stdin"), buf, sizeof buf);
    CHECK(::write(r.stream("stdout"), "a\0b", 3) == 3);
    CHECK(::write(r.stream("stderr"), buf, static_cast<std::size_t>(n)) == n);
    r.streams.clear();
    op.finish(json::parse(R"({"id":"op","status_code":200,"metadata":{"return":2}})"));
  };
  int code = -1;
  char *out = nullptr, *errors = nullptr;
  std::size_t out_size = 0, errors_size = 0;
  REQUIRE(incus_exec_run(h.host, nullptr, "c1", R"({"command":["cat"]})", "in", 2, &code, &out, &out_size, &errors, &errors_size, nullptr) ==
          INCUS_OK);
  CHECK(code == 2);
  CHECK(std::string(out, out_size) == std::string("a\0b", 3));
  CHECK(out[3] == '\0');
  CHECK(std::string(errors, errors_size) == "in");
  take(out);
  take(errors);
  const char *argv[] = {"uname", "-a", nullptr};
  CHECK(incus_exec_run_argv(h.host, "p", "c1", argv, &code, nullptr, nullptr, nullptr) == INCUS_OK);
  CHECK(h.asked() == R"(POST /1.0/instances/{name}/exec c1 project=p {"command":["uname","-a"]})");
  CHECK(incus_exec_run(h.host, nullptr, "c1", "[]", nullptr, 0, &code, nullptr, nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_exec_run(h.host, nullptr, "c1", "{}", nullptr, 1, &code, nullptr, nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_exec_run_argv(h.host, nullptr, "c1", nullptr, &code, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);

  h.door->on_exec_call = [](Request &, test::FakeOperation &) {};
  incus_exec *exec = nullptr;
  REQUIRE(incus_exec_start(h.host, nullptr, "c1", R"({"command":["sleep"]})", -1, -1, -1, &exec, nullptr) == INCUS_OK);
  CHECK(incus_exec_wait(exec, 1, &code, nullptr) == INCUS_ERROR_TIMEOUT);
  CHECK(incus_exec_signal(exec, 2, nullptr) == INCUS_OK);
  CHECK(incus_exec_resize(exec, 10, 20, nullptr) == INCUS_OK);
  CHECK(incus_exec_resize(exec, -1, 20, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  incus_exec_close(exec);
  h.door->operations.back()->finish(json::parse(R"({"id":"op","status_code":200,"metadata":{"return":137}})"));
  CHECK(incus_exec_wait(exec, -1, &code, nullptr) == INCUS_OK);
  CHECK(code == 137);
  incus_exec_free(exec);

  incus_listener *listener = nullptr;
  REQUIRE(incus_host_listen(h.host, "lifecycle,operation", 0, &listener, nullptr) == INCUS_OK);
  CHECK(h.door->listened == std::vector<std::string>{"lifecycle", "operation"});
  char *event = out;
  CHECK(incus_listener_next(listener, 0, &event, nullptr) == INCUS_OK);
  CHECK(event == nullptr);
  Event e;
  e.type = "lifecycle";
  h.door->listener->events.push_back(e);
  CHECK(incus_listener_next(listener, 0, &event, nullptr) == INCUS_OK);
  CHECK(take(event).find("lifecycle") != std::string::npos);
  int lost = 5;
  CHECK(incus_listener_overflowed(listener, &lost, nullptr) == INCUS_OK);
  CHECK(lost == 0);
  CHECK(incus_listener_close(listener, nullptr) == INCUS_OK);
  incus_listener_free(listener);

  h.door->on(RowId::alias_get, json::parse(R"({"target":"f00"})"));
  char *made = nullptr;
  CHECK(incus_instance_launch(h.host, "p", "c9", "busy", R"({"ephemeral":true})", INCUS_READY_EXEC, 10, &made, nullptr) == INCUS_OK);
  CHECK(take(made) == "c9");
  CHECK(h.asked() == "GET /1.0/instances/{name}/ready c9 level=exec project=p timeout=10");
  auto &body = h.door->calls[h.door->calls.size() - 2].request.body;
  CHECK(json::serialize(body) == R"({"ephemeral":true,"name":"c9","start":true,"source":{"type":"image","fingerprint":"f00"}})");
  CHECK(incus_instance_launch(h.host, nullptr, "c9", "busy", nullptr, static_cast<incus_ready_level>(9), 10, nullptr, nullptr) ==
        INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_instance_wait_ready(h.host, nullptr, "c9", INCUS_READY_EXEC, -1, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  h.door->reply = "log";
  std::size_t size = 0;
  CHECK(incus_instance_console_log(h.host, nullptr, "c1", &made, &size, nullptr) == INCUS_OK);
  CHECK(take(made) == "log");
  CHECK(size == 3);
}

TEST_CASE("C calls reach any row with versions and operations") {
  CHost h;
  h.door->reply = json::parse(R"({"a":1})");
  char *json = nullptr, *etag = nullptr;
  incus_operation *op = reinterpret_cast<incus_operation *>(1);
  REQUIRE(incus_host_call(h.host, "GET", "/1.0/profiles/p", nullptr, nullptr, &json, &etag, &op, nullptr) == INCUS_OK);
  CHECK(take(json) == R"({"a":1})");
  CHECK(take(etag) == "etag-1");
  CHECK(op == nullptr);
  REQUIRE(incus_host_call(h.host, "PUT", "/1.0/instances/c1?project=p", "{}", "e", &json, nullptr, &op, nullptr) == INCUS_OK);
  CHECK(h.asked() == "PUT /1.0/instances/{name} c1 project=p {} if_match=e");
  CHECK(take(json).find(R"("id":"op-1")") != std::string::npos);
  CHECK(incus_operation_wait(op, -1, nullptr, nullptr) == INCUS_OK);
  incus_operation_free(op);
  CHECK(incus_host_call(h.host, "GET", "/1.0/x", nullptr, nullptr, nullptr, nullptr, &op, nullptr) == INCUS_ERROR_NOT_FOUND);
  CHECK(incus_host_call(h.host, "GET", "/1.0", nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
}

TEST_CASE("C functions survive NULL and wrong options") {
  CHost h;
  incus_error *err = nullptr;
  incus_host *host = nullptr;
  CHECK(incus_host_open(nullptr, nullptr, &host, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_host_open("test://", nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  for (auto *o : {"[]", "{", "{\"auto_destroy\":1}", "{\"autodestroy\":true}", "{\"takeover_timeout\":-1}"}) {
    CHECK(incus_host_open("test://", o, &host, &err) == INCUS_ERROR_INVALID_ARGUMENT);
    incus_error_free(err);
  }
  CHECK(host == nullptr);
  CHECK(incus_host_on_exec(h.host, nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_NOT_SUPPORTED);
  CHECK(std::string(incus_host_uri(h.host)) == "fake:");
  CHECK(incus_host_uri(nullptr) == nullptr);
  CHECK(incus_host_request(h.host, nullptr, "/1.0", nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_host_request(h.host, "GET", nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_host_request(h.host, "GET", "/1.0", nullptr, nullptr, nullptr) == INCUS_OK);
  CHECK(incus_instance_rename(h.host, nullptr, "c", nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_instance_delete(h.host, nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_image_import(h.host, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_image_import(h.host, nullptr, "/", nullptr, "{\"public\":3}", nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_image_export(h.host, nullptr, "f", nullptr, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_operation_wait(nullptr, 0, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_operation_find(h.host, "x", nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_operation_cancel(nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_exec_wait(nullptr, 0, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_exec_start(h.host, nullptr, "c", "{}", -1, -1, -1, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_listener_next(nullptr, 0, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_host_listen(nullptr, nullptr, 0, nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  CHECK(incus_host_close(nullptr, nullptr) == INCUS_ERROR_INVALID_ARGUMENT);
  incus_host_free(nullptr);
  incus_operation_free(nullptr);
  incus_exec_free(nullptr);
  incus_exec_close(nullptr);
  incus_listener_free(nullptr);
  incus_error_free(nullptr);
  incus_string_free(nullptr);
  incus_test_reply_set(nullptr, 0, nullptr, 0, nullptr, 0);
  CHECK(incus_error_code(nullptr) == INCUS_OK);
  CHECK(std::string(incus_error_message(nullptr)).empty());
  CHECK(std::string(incus_error_name(nullptr)) == "ok");
  CHECK(incus_error_cause(nullptr, 0) == nullptr);
  CHECK(std::string(incus_status_name(INCUS_ERROR_TIMEOUT)) == "timeout");
  CHECK(incus_status_http(INCUS_ERROR_NOT_FOUND) == 404);
  CHECK(incus_status_http(INCUS_OK) == 200);
  CHECK(std::string(incus_version()) == "0.1.0");
  CHECK(incus_host_close(h.host, nullptr) == INCUS_OK);
  char *json = nullptr;
  CHECK(incus_host_info(h.host, &json, nullptr) == INCUS_ERROR_UNAVAILABLE);
}

TEST_CASE("exceptions of every kind become one status") {
  using c::guard;
  incus_error *err = nullptr;
  CHECK(guard(&err, [] { throw std::bad_alloc(); }) == INCUS_ERROR_INTERNAL);
  CHECK(std::string(incus_error_message(err)) == "out of memory");
  incus_error_free(err);
  CHECK(guard(&err, [] { throw std::runtime_error("odd"); }) == INCUS_ERROR_INTERNAL);
  CHECK(std::string(incus_error_message(err)) == "internal error: odd");
  incus_error_free(err);
  CHECK(guard(&err, [] { throw 3; }) == INCUS_ERROR_INTERNAL);
  incus_error_free(err);
  CHECK(guard(&err, [] {}) == INCUS_OK);
  CHECK(err == nullptr);
}
