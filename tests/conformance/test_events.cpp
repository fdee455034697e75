// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "suite.hpp"

using namespace suite;

TEST_CASE("events: what happens to an instance, in order") {
  World w;
  auto events = w.host.listen({"lifecycle"});
  std::string source;
  auto expect = [&](const char *action, const char *at) {
    CHECK(next_action(events, &source) == action);
    CHECK(source == at);
  };
  auto c = w.make("c1");
  expect("instance-created", "/1.0/instances/c1");
  c.start().wait();
  expect("instance-started", "/1.0/instances/c1");
  c.pause().wait();
  expect("instance-paused", "/1.0/instances/c1");
  c.resume().wait();
  expect("instance-resumed", "/1.0/instances/c1");
  c.patch({{"user.a", "1"}});
  expect("instance-updated", "/1.0/instances/c1");
  c.exec({"true"});
  expect("instance-exec", "/1.0/instances/c1");
  c.stop(true).wait();
  expect("instance-stopped", "/1.0/instances/c1");
  c.create_snapshot({"s0"}).wait();
  expect("instance-snapshot-created", "/1.0/instances/c1/snapshots/s0");
  c.snapshot("s0").set_expiry(Time(std::chrono::seconds(4000000000))).wait();
  expect("instance-snapshot-updated", "/1.0/instances/c1/snapshots/s0");
  c.restore("s0").wait();
  expect("instance-restored", "/1.0/instances/c1");
  auto s = c.snapshot("s0");
  s.rename("s1").wait();
  expect("instance-snapshot-renamed", "/1.0/instances/c1/snapshots/s1");
  s.remove().wait();
  expect("instance-snapshot-deleted", "/1.0/instances/c1/snapshots/s1");
  c.rename("c2").wait();
  expect("instance-renamed", "/1.0/instances/c2");
  c.start().wait();
  expect("instance-started", "/1.0/instances/c2");
  c.restart(true).wait();
  expect("instance-restarted", "/1.0/instances/c2");
  c.wait_ready(); // an init that has not come so far does not hear
  c.stop(false, 30s).wait();
  expect("instance-shutdown", "/1.0/instances/c2");
  c.remove().wait();
  expect("instance-deleted", "/1.0/instances/c2");
  CHECK_FALSE(events.next(0ms));
  CHECK_FALSE(events.overflowed());
}

TEST_CASE("events: who asked, and what for") {
  World w;
  auto events = w.host.listen({"lifecycle"});
  auto next = [&] {
    auto e = events.next(20s);
    REQUIRE(e);
    return boost::json::parse(e->metadata.text).as_object();
  };
  // A program that opened the host itself is nobody behind a socket.
  auto expect = [&](const boost::json::object &o) {
    CHECK(o.contains("requestor") == remote());
    if (!o.contains("requestor")) return;
    auto &r = o.at("requestor").as_object();
    bool https = w.host.uri().starts_with("https:");
    CHECK(r.at("protocol").as_string() == (https ? "tls" : "unix"));
    CHECK(r.at("address").as_string() == (https ? "127.0.0.1" : "@"));
    if (https)
      CHECK(r.at("username").as_string().size() == 64);
    else
      CHECK(r.at("username").as_string() == "root");
  };
  w.host.create_profile({"p1", {}, "", {}});
  expect(next());
  auto c = w.make("c1");
  auto created = next();
  CHECK(created.at("action").as_string() == "instance-created");
  CHECK(created.at("name").as_string() == "c1");
  CHECK(created.at("project").as_string() == "default");
  expect(created);
  c.start().wait();
  expect(next());
  c.create_snapshot({"s0"}).wait();
  auto snapshot = next();
  CHECK(snapshot.at("action").as_string() == "instance-snapshot-created");
  CHECK_FALSE(snapshot.contains("name"));
  expect(snapshot);
  c.stop(true).wait();
  expect(next());
}

TEST_CASE("events: of other objects") {
  World w;
  auto events = w.host.listen({"lifecycle"});
  std::string source;
  w.host.create_profile({"p1", {}, "", {}});
  CHECK(next_action(events, &source) == "profile-created");
  CHECK(source == "/1.0/profiles/p1");
  auto p = w.host.profile("p1");
  p.update({{{"user.a", "1"}}, "", {}});
  CHECK(next_action(events) == "profile-updated");
  p.rename("p2");
  CHECK(next_action(events) == "profile-renamed");
  p.remove();
  CHECK(next_action(events, &source) == "profile-deleted");
  CHECK(source == "/1.0/profiles/p2");
  w.host.create_storage_pool({"fast", "dir", "", {}});
  CHECK(next_action(events, &source) == "storage-pool-created");
  CHECK(source == "/1.0/storage-pools/fast");
  w.host.storage_pool("fast").remove();
  CHECK(next_action(events) == "storage-pool-deleted");
  w.host.import_image(small_image("event")).wait();
  CHECK(next_action(events, &source) == "image-created");
  auto print = sha256(scratch() + "/event.tar");
  CHECK(source == "/1.0/images/" + print);
  w.host.create_image_alias("ev", print);
  CHECK(next_action(events, &source) == "image-alias-created");
  CHECK(source == "/1.0/images/aliases/ev");
  w.host.delete_image_alias("ev");
  CHECK(next_action(events) == "image-alias-deleted");
  w.host.image(print).remove().wait();
  CHECK(next_action(events) == "image-deleted");
}

TEST_CASE("events: what fails makes none") {
  World w;
  auto c = w.make("c1");
  auto events = w.host.listen({"lifecycle"});
  CHECK(attempt([&] { c.stop().wait(); }).code == ErrorCode::conflict);
  CHECK(attempt([&] { c.rename("a/b").wait(); }).code == ErrorCode::invalid_argument);
  CHECK(attempt([&] { w.host.create_profile({"default", {}, "", {}}); }).code == ErrorCode::already_exists);
  CHECK_FALSE(events.next(0ms));
}

TEST_CASE("events: operations tell how they go") {
  World w;
  auto events = w.host.listen({"operation"});
  auto op = w.host.create_instance([] {
    InstanceCreate r;
    r.name = "c1";
    r.source.alias = "busy";
    return r;
  }());
  op.wait();
  std::vector<std::string> states;
  while (auto e = events.next(20s)) {
    CHECK(e->type == "operation");
    CHECK(e->project == "default");
    CHECK(e->timestamp > Time{});
    auto o = boost::json::parse(e->metadata.text).as_object();
    if (o.at("id").as_string() == op.id()) states.emplace_back(o.at("status").as_string());
    if (!states.empty() && states.back() == "Success") break;
  }
  REQUIRE(states.size() >= 2);
  CHECK(states.front() == "Running");
  CHECK(states.back() == "Success");
}

TEST_CASE("events: a slow listener is told so") {
  World w;
  auto slow = w.host.listen({"lifecycle"}, 2), other = w.host.listen({"operation"}), all = w.host.listen();
  for (int n = 0; n < 5; n++) w.host.create_profile({"p" + std::to_string(n), {}, "", {}});
  if (suite::remote()) {
    // On their way events arrive one by one: which of them a full queue drops is open, but that some are missing is told, and the rest stays in order.
    auto end = std::chrono::steady_clock::now() + 20s;
    bool told = false;
    while (!(told = slow.overflowed()) && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
    CHECK(told);
    int last = -1;
    for (std::string source; last < 4; last = source.back() - '0') {
      REQUIRE(next_action(slow, &source) == "profile-created");
      CHECK(source.back() - '0' > last);
    }
  } else {
    CHECK(slow.overflowed());
    CHECK_FALSE(slow.overflowed());
    std::string source;
    CHECK(next_action(slow, &source) == "profile-created");
    CHECK(source == "/1.0/profiles/p3");
    CHECK(next_action(slow, &source) == "profile-created");
    CHECK(source == "/1.0/profiles/p4");
  }
  CHECK_FALSE(slow.next(0ms));
  while (auto e = other.next(0ms)) CHECK(e->type == "operation"); // the end of an earlier one may come late
  CHECK_FALSE(all.overflowed());
  CHECK(all.next(0ms));
  all.close();
  all.close();
  while (all.next(0ms)) {} // what had come before
  CHECK_FALSE(all.next(20s));
  REFUSED(invalid_argument, "\"weather\"", w.host.listen({"weather"}));
  REFUSED(invalid_argument, "capacity", w.host.listen({}, 0));
}
