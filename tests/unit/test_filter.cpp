// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <incus/error.hpp>

#include "api/filter.hpp"

using incus::api::Filter;
namespace json = boost::json;

namespace {
const json::object record = json::parse(R"({"name":"c1","status":"Running","ephemeral":false,"status_code":103,"type":"container",
  "config":{"user.x":"y","image.os":"Debian GNU/Linux","limits.cpu":"2"},"devices":{"eth0":{"type":"nic","network":"br0"}},
  "profiles":["default","p2"],"description":"a (b) c","snapshots":null})").as_object();

bool hit(const char *text) { return Filter::parse(text).matches(record); }
} // namespace

TEST_CASE("filter: clauses") {
  CHECK(hit(""));
  CHECK(hit("name eq c1"));
  CHECK(hit("name eq C1"));
  CHECK_FALSE(hit("name eq c"));
  CHECK(hit("name eq c.*"));
  CHECK(hit("name eq ^c"));
  CHECK(hit("name ne c2"));
  CHECK(hit("status eq running and type eq container"));
  CHECK_FALSE(hit("status eq running and not type eq container"));
  CHECK(hit("status eq stopped or name eq c1"));
  // From left to right, as Incus does.
  CHECK_FALSE(hit("name eq c1 or name eq c2 and status eq stopped"));
  CHECK(hit("name eq c1 or (name eq c2 and status eq stopped)"));
  CHECK_FALSE(hit("not (name eq c1 or name eq c2)"));
  CHECK(hit("(name eq c1)"));
  CHECK(hit("((name eq c1) and (status eq (running|stopped)))"));
}

TEST_CASE("filter: fields") {
  CHECK(hit("config.user.x eq y"));
  CHECK(hit("config.image.os eq \"debian gnu/linux\""));
  CHECK(hit("config.user.absent eq \"\""));
  CHECK_FALSE(hit("config.user.absent eq z"));
  CHECK(hit("devices.eth0.network eq br0"));
  CHECK(hit("status_code eq 103"));
  CHECK(hit("status_code gt 102 and status_code le 103 and status_code lt 104 and status_code ge 103"));
  CHECK(hit("ephemeral eq false"));
  CHECK(hit("ephemeral ne 1"));
  CHECK(hit("profiles eq [\"default\",\"p2\"]"));
  CHECK(hit("description eq \"a (b) c\"") == false); // brackets are an expression's
  CHECK(hit("description eq \"a .b. c\""));
}

TEST_CASE("filter: mistakes are told") {
  for (auto *wrong : {"name", "name eq", "name is c1", "not", "name eq c1 and", "name eq c1 name eq c2", "(name eq c1", "name eq c1 )", "name eq \"c1", "()"})
    CHECK_THROWS_AS(Filter::parse(wrong), incus::Error);
  CHECK_THROWS_AS(hit("nothing eq x"), incus::Error);
  CHECK_THROWS_AS(hit("status_code eq x"), incus::Error);
  CHECK_THROWS_AS(hit("ephemeral eq perhaps"), incus::Error);
  CHECK_THROWS_AS(hit("name gt c"), incus::Error);
  CHECK_THROWS_AS(hit("devices eq x"), incus::Error);
  CHECK_THROWS_AS(Filter::parse(std::string(100, '(') + "name eq c1"), incus::Error);
  CHECK_THROWS_AS(Filter::parse(std::string(20000, 'x')), incus::Error);
}
