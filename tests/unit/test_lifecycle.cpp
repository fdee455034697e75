// SPDX-License-Identifier: Apache-2.0
// What a daemon does with instances at its start and end, over mechanisms in memory.
#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "api/records.hpp"
#include "embed/engine.hpp"

using namespace incus;

namespace {

struct Box {
  embed::Engine engine{OpenOptions{}};

  api::Reply perform(api::RowId row, std::vector<std::string> path, boost::json::value body = nullptr) {
    api::Request q;
    q.path = std::move(path);
    q.body = std::move(body);
    auto r = engine.perform(api::row(row), std::move(q));
    if (r.operation) {
      r.operation->wait({});
      r.operation->rethrow();
    }
    return r;
  }
  void make(const std::string &name, boost::json::object config = {}, bool start = false, bool ephemeral = false) {
    perform(api::RowId::instances_post, {},
            {{"name", name}, {"config", std::move(config)}, {"start", start}, {"ephemeral", ephemeral}, {"source", {{"type", "none"}}}});
  }
  std::string status(const std::string &name) {
    return std::string(perform(api::RowId::instance_get, {name}).metadata.at("status").as_string());
  }
  std::string config(const std::string &name, const char *key) {
    auto i = perform(api::RowId::instance_get, {name});
    auto *v = i.metadata.at("config").as_object().if_contains(key);
    return v ? std::string(v->as_string()) : "";
  }
};

} // namespace

TEST_CASE("lifecycle: what a daemon starts") {
  Box b;
  b.make("always", {{"boot.autostart", "true"}, {"boot.autostart.priority", "1"}});
  b.make("first", {{"boot.autostart", "true"}, {"boot.autostart.priority", "10"}});
  b.make("never", {{"boot.autostart", "false"}}, false);
  b.make("off");
  b.make("on", {}, true);
  auto events = b.engine.listen({"lifecycle"}, 100);
  b.engine.start_instances();
  CHECK(b.status("always") == "Running");
  CHECK(b.status("first") == "Running");
  CHECK(b.status("never") == "Stopped");
  CHECK(b.status("off") == "Stopped");
  CHECK(b.status("on") == "Running");
  std::vector<std::string> started;
  while (auto e = events->next(std::chrono::milliseconds(200))) {
    auto m = boost::json::parse(e->metadata.text);
    if (m.at("action").as_string() == "instance-started") started.emplace_back(m.at("source").as_string());
  }
  CHECK(started == std::vector<std::string>{"/1.0/instances/first", "/1.0/instances/always"});
}

TEST_CASE("lifecycle: what a daemon stops, it remembers") {
  Box b;
  b.make("on", {}, true);
  b.make("forced", {{"boot.host_shutdown_action", "force-stop"}}, true);
  b.make("frozen", {}, true);
  b.make("gone", {}, true, true);
  b.make("off");
  b.perform(api::RowId::instance_state_put, {"frozen"}, {{"action", "freeze"}});
  b.engine.stop_instances({});
  for (auto *n : {"on", "forced", "frozen", "off"}) CHECK(b.status(n) == "Stopped");
  for (auto *n : {"on", "forced", "frozen"}) CHECK(b.config(n, "volatile.last_state.power") == "RUNNING");
  CHECK(b.config("off", "volatile.last_state.power") == "");
  CHECK_THROWS_AS(b.status("gone"), Error);
  // That a mark and the truth differ is meant.
  CHECK(b.perform(api::RowId::check_get, {}).metadata.at("problems").as_array().empty());
  try {
    b.perform(api::RowId::instance_state_put, {"off"}, {{"action", "start"}});
    FAIL("it started");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::unavailable);
  }
}

TEST_CASE("lifecycle: killed at once when no time is given") {
  Box b;
  b.make("on", {{"boot.host_shutdown_timeout", "3600"}}, true);
  b.make("frozen", {}, true);
  b.perform(api::RowId::instance_state_put, {"frozen"}, {{"action", "freeze"}});
  b.engine.stop_instances(std::chrono::milliseconds(0));
  CHECK(b.status("on") == "Stopped");
  CHECK(b.status("frozen") == "Stopped");
}
