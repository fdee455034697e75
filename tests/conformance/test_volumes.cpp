// SPDX-License-Identifier: Apache-2.0
// Volumes of instances and of users' own, and their snapshots.
#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

namespace {

const std::string volumes = "/1.0/storage-pools/default/volumes";

bool lists(const json::value &list, const std::string &url) {
  for (auto &v : list.as_array())
    if (v.as_string() == url) return true;
  return false;
}

} // namespace

TEST_CASE("volumes: of an instance") {
  World w;
  auto c = w.make("c1");
  c.create_snapshot({"s1", false, {}}).wait();
  auto list = ask(w.host, "GET", volumes);
  CHECK(lists(list, volumes + "/container/c1"));
  CHECK(lists(list, volumes + "/container/c1/snapshots/s1"));
  CHECK(ask(w.host, "GET", volumes + "/container?recursion=1").as_array().size() == 2);
  auto v = ask(w.host, "GET", volumes + "/container/c1");
  CHECK(text(v.at("name")) == "c1");
  CHECK(text(v.at("type")) == "container");
  CHECK(text(v.at("content_type")) == "filesystem");
  CHECK(text(v.at("location")) == "none");
  CHECK(text(v.at("used_by").at(0)) == "/1.0/instances/c1");
  w.host.request("PUT", volumes + "/container/c1", R"({"description":"mine","config":{"user.a":"b"}})");
  v = ask(w.host, "GET", volumes + "/container/c1");
  CHECK(text(v.at("description")) == "mine");
  CHECK(text(v.at("config").at("user.a")) == "b");
  w.host.request("PATCH", volumes + "/container/c1", R"({"config":{"user.c":"d"}})");
  v = ask(w.host, "GET", volumes + "/container/c1");
  CHECK(text(v.at("description")) == "mine");
  CHECK(v.at("config").as_object().size() == 2);
  REFUSED(invalid_argument, "bogus", w.host.request("PATCH", volumes + "/container/c1", R"({"config":{"bogus":"1"}})"));
  REFUSED(invalid_argument, "size", w.host.request("PATCH", volumes + "/container/c1", R"({"config":{"size":"1GiB"}})"));
  CHECK(ask(w.host, "GET", volumes + "/container/c1/state").at("usage").at("used").is_int64());
  CHECK(text(ask(w.host, "GET", volumes + "/container/c1/snapshots").at(0)) == volumes + "/container/c1/snapshots/s1");
  w.host.request("PUT", volumes + "/container/c1/snapshots/s1", R"({"description":"then"})");
  auto s = ask(w.host, "GET", volumes + "/container/c1/snapshots/s1");
  CHECK(text(s.at("description")) == "then");
  CHECK(text(s.at("name")) == "s1");
  REFUSED(invalid_argument, "custom", w.host.request("DELETE", volumes + "/container/c1"));
  REFUSED(not_found, "Storage pool volume not found", ask(w.host, "GET", volumes + "/container/none"));
  REFUSED(invalid_argument, "Invalid storage volume type", ask(w.host, "GET", volumes + "/bogus/c1"));
  REFUSED(not_found, "", ask(w.host, "GET", "/1.0/storage-pools/none/volumes"));
  CHECK(ask(w.host, "GET", "/1.0/storage-pools/default/buckets").as_array().empty());
}

TEST_CASE("volumes: of a user's own") {
  World w;
  w.make("c1");
  w.host.request("POST", volumes + "/custom", R"({"name":"v1","description":"data","config":{"user.a":"b"}})");
  auto v = ask(w.host, "GET", volumes + "/custom/v1");
  CHECK(text(v.at("description")) == "data");
  CHECK(text(v.at("config").at("user.a")) == "b");
  CHECK(v.at("used_by").as_array().empty());
  CHECK(lists(ask(w.host, "GET", volumes + "/custom"), volumes + "/custom/v1"));
  CHECK(contains(w.host.storage_pool("default").info().used_by, volumes + "/custom/v1"));
  REFUSED(already_exists, "already exists", w.host.request("POST", volumes + "/custom", R"({"name":"v1"})"));
  REFUSED(invalid_argument, "slashes", w.host.request("POST", volumes + "/custom", R"({"name":"v/1"})"));
  REFUSED(invalid_argument, "", w.host.request("POST", volumes + "/custom", R"({"name":".."})"));
  REFUSED(invalid_argument, "", w.host.request("POST", volumes + "/custom", R"({"name":""})"));
  REFUSED(invalid_argument, "content type", w.host.request("POST", volumes, R"({"name":"v2","type":"custom","content_type":"bogus"})"));
  REFUSED(invalid_argument, "bogus", w.host.request("POST", volumes + "/custom", R"({"name":"v2","config":{"bogus":"1"}})"));
  REFUSED(invalid_argument, "custom", w.host.request("POST", volumes + "/container", R"({"name":"v2"})"));

  finish(w.host, "POST", volumes + "/custom/v1/snapshots", "{}");
  finish(w.host, "POST", volumes + "/custom/v1/snapshots", R"({"name":"two"})");
  REFUSED(already_exists, "two", finish(w.host, "POST", volumes + "/custom/v1/snapshots", R"({"name":"two"})"));
  CHECK(lists(ask(w.host, "GET", volumes), volumes + "/custom/v1/snapshots/snap0"));
  const std::string snap = volumes + "/custom/v1/snapshots/snap0", when = "2024-03-23T17:38:37.753398689-04:00";
  CHECK(text(ask(w.host, "GET", snap).at("expires_at")) == "0001-01-01T00:00:00Z");
  w.host.request("PATCH", snap, R"({"expires_at":")" + when + "\"}");
  CHECK(text(ask(w.host, "GET", snap).at("expires_at")) == when);
  w.host.request("PUT", snap, R"({"description":"then"})");
  CHECK(text(ask(w.host, "GET", snap).at("expires_at")) == "0001-01-01T00:00:00Z");
  CHECK(text(ask(w.host, "GET", snap).at("description")) == "then");
  finish(w.host, "POST", volumes + "/custom/v1/snapshots/two", R"({"name":"three"})");
  REFUSED(not_found, "two", ask(w.host, "GET", volumes + "/custom/v1/snapshots/two"));

  w.host.request("POST", volumes + "/custom/v1", R"({"name":"v2"})");
  REFUSED(not_found, "v1", ask(w.host, "GET", volumes + "/custom/v1"));
  CHECK(ask(w.host, "GET", volumes + "/custom/v2/snapshots?recursion=1").as_array().size() == 2);
  finish(w.host, "DELETE", volumes + "/custom/v2/snapshots/three");
  CHECK(ask(w.host, "GET", volumes + "/custom/v2/snapshots").as_array().size() == 1);
  CHECK(boost::json::parse(suite::check(w.host)).at("problems").as_array().empty());
  w.host.request("DELETE", volumes + "/custom/v2");
  CHECK(ask(w.host, "GET", volumes + "/custom").as_array().empty());
  CHECK(boost::json::parse(suite::check(w.host)).at("problems").as_array().empty());
}

TEST_CASE("storage pools: a change of parts") {
  World w;
  w.make("c1");
  w.host.request("PATCH", "/1.0/storage-pools/default", R"({"config":{"user.a":"b"}})");
  w.host.request("PATCH", "/1.0/storage-pools/default", R"({"description":"text"})");
  auto p = w.host.storage_pool("default").info();
  CHECK(p.config.at("user.a") == "b");
  CHECK(p.description == "text");
  w.host.request("PATCH", "/1.0/storage-pools/default", R"({"config":{"user.a":""},"description":""})");
  CHECK(w.host.storage_pool("default").info().config.count("user.a") == 0);
}
