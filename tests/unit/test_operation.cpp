// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <thread>

#include "api/call.hpp"
#include "base/error.hpp"
#include "fake_door.hpp"

using namespace incus;
using namespace incus::api;
using test::FakeDoor;
using test::FakeOperation;

TEST_CASE("an operation waits, times out, fails and is cancelled") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  d->finish_operations = false;
  auto op = host.instance("c1").start();
  auto copy = op;
  CHECK(op.id() == "op-1");
  CHECK(!op.done());
  try {
    op.wait_for(std::chrono::milliseconds(1));
    FAIL("did not time out");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::timeout);
    CHECK(std::string(e.what()).find("op-1") != std::string::npos);
  }
  op.cancel();
  CHECK(d->operations.back()->cancels == 1);
  std::thread t([&] { d->operations.back()->finish(json::parse(R"({"id":"op-1","status_code":200,"status":"Success"})")); });
  CHECK(copy.wait().status == "Success");
  t.join();
  CHECK(op.done());
  CHECK(op.wait_for(std::chrono::milliseconds(0)).status_code == 200);

  auto bad = host.instance("c1").start();
  d->operations.back()->fail(Error(ErrorCode::no_space, "the pool is full"));
  CHECK(bad.done());
  CHECK_THROWS_WITH_AS(bad.wait(), "the pool is full", Error);
  CHECK_THROWS_WITH_AS(bad.wait_for(std::chrono::seconds(1)), "the pool is full", Error);
}

TEST_CASE("an empty operation says so") {
  Operation none;
  CHECK_THROWS_AS(none.wait(), Error);
  CHECK_THROWS_AS((void)none.id(), Error);
  ExecSession s{Operation()};
  CHECK_THROWS_AS(s.signal(9), Error);
  CHECK_THROWS_AS(s.wait_for(std::chrono::milliseconds(0)), Error);
}

TEST_CASE("an operation found by id works through the rows alone") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  d->on(RowId::operation_get, json::parse(R"({"id":"7","status_code":103,"description":"Making"})"));
  d->on(RowId::operation_wait_get, json::parse(R"({"id":"7","status_code":103})"));
  auto op = host.operation("7");
  CHECK(op.info().description == "Making");
  CHECK(!op.done());
  CHECK(d->calls.back().request.query.at("timeout") == "0");
  CHECK_THROWS_AS(op.wait_for(std::chrono::milliseconds(1500)), Error);
  d->on(RowId::operation_wait_get, json::parse(R"({"id":"7","status_code":400})"));
  d->on(RowId::operation_get, json::parse(R"({"id":"7","status_code":400,"err":"broken","error_code":422})"));
  try {
    op.wait();
    FAIL("did not fail");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::corrupt);
    CHECK(std::string(e.what()) == "broken");
  }
  d->on(RowId::operation_get, json::parse(R"({"id":"7","status_code":401,"err":"stopped"})"));
  CHECK_THROWS_AS(op.wait(), Error);
  op.cancel();
  CHECK(d->calls.back().id == RowId::operation_delete);
  d->fail(RowId::operation_get, ErrorCode::not_found);
  CHECK_THROWS_AS(host.operation("8"), Error);
}

TEST_CASE("events come in order until the listener is closed") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  auto l = host.listen({"lifecycle"}, 4);
  CHECK(d->listened == std::vector<std::string>{"lifecycle"});
  Event e;
  e.type = "lifecycle";
  d->listener->events.push_back(e);
  CHECK(l.next(std::chrono::milliseconds(0))->type == "lifecycle");
  CHECK(!l.next(std::chrono::milliseconds(0)));
  CHECK(!l.overflowed());
  EventListener m(std::move(l));
  l.close();
  CHECK(d->listener->closes == 0);
  CHECK_THROWS_AS(l.next(std::chrono::milliseconds(0)), Error);
  auto kept = d->listener;
  m = host.listen();
  CHECK(kept->closes == 1);
  CHECK_THROWS_AS(host.listen({}, 0), Error);
}
