// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

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
