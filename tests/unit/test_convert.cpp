// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "api/json_text.hpp"
#include "api/records.hpp"
#include "api/rows.hpp"

using namespace incus;
using namespace incus::api;

TEST_CASE("absent, null and unknown fields behave as in Incus") {
  auto c = from_json<InstanceCreate>(parse_json(R"({"name":"c1","config":null,"unknown":[1,{"a":2}],"profiles":null,"start":true})", "test"));
  CHECK(c.name == "c1");
  CHECK(c.config.empty());
  CHECK(!c.profiles);
  CHECK(c.start);
  c = from_json<InstanceCreate>(parse_json(R"({"profiles":[]})", "test"));
  CHECK(c.profiles.has_value());
}

TEST_CASE("a wrong type names the field") {
  CHECK_THROWS_WITH_AS(from_json<InstanceCreate>(parse_json(R"({"devices":{"root":{"path":1}}})", "t")),
                       "invalid value of \"devices.root.path\": must be a string", Error);
  CHECK_THROWS_WITH_AS(from_json<InstanceStateChange>(parse_json(R"({"timeout":"x"})", "t")), "invalid value of \"timeout\": must be a whole number in range", Error);
  CHECK_THROWS_AS(from_json<ExecRequest>(parse_json(R"({"user":-1})", "t")), Error);
  CHECK_THROWS_AS(from_json<ExecRequest>(parse_json("[]", "t")), Error);
  CHECK_THROWS_AS(parse_json(std::string(100, '['), "t"), Error);
}

TEST_CASE("records round trip") {
  InstanceInfo i;
  i.name = "c1";
  i.config["a.b"] = "c";
  i.devices["root"]["path"] = "/";
  i.created_at = base::parse_time("2026-01-02T03:04:05.678Z");
  auto j = to_json(i);
  CHECK(j.at("created_at").as_string() == "2026-01-02T03:04:05.678Z");
  CHECK(j.at("last_used_at").as_string() == "0001-01-01T00:00:00Z");
  auto back = from_json<InstanceInfo>(j);
  CHECK(to_json(back) == j);
}

TEST_CASE("rows are found by method and path") {
  auto m = match("GET", "/1.0/instances/c1/snapshots/s%31");
  REQUIRE(m);
  CHECK(m->row->id == RowId::snapshot_get);
  CHECK(m->values == std::vector<std::string>{"c1", "s1"});
  bool known = false;
  CHECK(!match("POST", "/1.0/storage-pools/x/resources", &known));
  CHECK(known);
  CHECK(!match("GET", "/1.0/nothing", &known));
  CHECK(!known);
  CHECK(match("GET", "/1.0/images/aliases")->row->id == RowId::aliases_get);
  for (auto &r : rows()) CHECK(&row(r.id) == &r);
}

TEST_CASE("the text of a list says what its records' JSON says") {
  InstanceInfo never, ran;
  never.name = "e1";
  never.config["user.text"] = "a \"b\"\n\\ \x01 \u00e4";
  never.config["plain"] = "/";
  never.devices["root"] = {{"path", "/"}, {"pool", "default"}};
  never.profiles = {"default", "second"};
  never.created_at = base::parse_time("2026-01-02T03:04:05.678Z");
  ran = never;
  ran.last_used_at = base::parse_time("2026-02-02T03:04:05Z");
  ran.ephemeral = true;
  ran.status_code = 103;
  json::array brief{to_json_instance(never), to_json_instance(ran)};
  CHECK(parse_json(list_text(std::vector{never, ran}), "list") == brief);
  CHECK(list_text(std::vector{never, ran}) == json::serialize(brief));
  CHECK(list_text(std::vector<InstanceInfo>{}) == "[]");

  InstanceFull stopped, running;
  stopped.info = never;
  running.info = ran;
  running.state.emplace();
  running.state->pid = 42;
  running.state->processes = -1;
  running.state->disk["root"] = {};
  SnapshotInfo s;
  s.name = "s0";
  running.snapshots = {s, s};
  auto with_network = running;
  with_network.state->network["eth0"].addresses.emplace_back().address = "10.0.0.1";
  json::array full{to_json_full(stopped), to_json_full(running), to_json_full(with_network)};
  CHECK(list_text(std::vector{stopped, running, with_network}) == json::serialize(full));
  CHECK_THROWS_AS(list_text(std::string("x")), Error);
}
