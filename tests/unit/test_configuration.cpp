// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <set>

#include <incus/host.hpp>

#include "base/error.hpp"
#include "instance/keys.hpp"

using namespace incus;
namespace json = boost::json;

TEST_CASE("configuration: every key has its place and text") {
  auto h = Host::open("test://");
  auto doc = json::parse(h.request("GET", "/1.0/metadata/configuration"));
  auto &configs = doc.at("configs").as_object();
  std::set<std::string> instance;
  for (auto &entity : configs)
    for (auto &group : entity.value().as_object())
      for (auto &key : group.value().at("keys").as_array()) {
        REQUIRE(key.as_object().size() == 1);
        auto &one = *key.as_object().begin();
        CAPTURE(std::string(one.key()));
        CHECK(!one.value().at("type").as_string().empty());
        CHECK(!one.value().at("shortdesc").as_string().empty());
        CHECK(!one.value().at("shortdesc").as_string().ends_with("."));
        CHECK(one.value().at("longdesc").is_string());
        if (entity.key() == "instance") CHECK(instance.insert(std::string(one.key())).second);
      }
  for (auto &k : instance::instance_keys()) CHECK(instance.count(k.name) == 1);
  CHECK(instance.size() == instance::instance_keys().size());
  for (auto *entity : {"server", "project", "storage_pool"}) CHECK(!configs.at(entity).as_object().empty());
  CHECK(configs.at("server").as_object().contains("core"));
  for (auto *type : {"disk", "nic"}) CHECK(configs.at("devices").as_object().contains(type));
}

TEST_CASE("recovery: what the pools hold and the store does not") {
  auto h = Host::open("test://");
  auto none = json::parse(R"({"UnknownVolumes": null, "DependencyErrors": null})");
  CHECK(json::parse(h.request("POST", "/internal/recover/validate", R"({"pools": []})")) == none);
  StoragePoolCreate pool;
  pool.name = "p";
  pool.driver = "dir";
  h.create_storage_pool(pool);
  CHECK(json::parse(h.request("POST", "/internal/recover/validate", R"({"pools": [{"name": "p", "driver": "dir"}]})")) == none);
  h.request("POST", "/internal/recover/import", R"({"pools": []})");
  CHECK(json::parse(h.request("POST", "/internal/recover/validate", R"({"pools": [{"name": "other", "driver": "dir"}]})")) == none);
  CHECK_THROWS_AS(h.request("POST", "/internal/recover/validate", R"({"pools": [{"name": "other", "driver": "tape"}]})"), Error);
  // An instance whose row went by an administrator's hand.
  InstanceCreate c;
  c.name = "lost";
  c.source.type = "none";
  c.devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", "p"}};
  h.create_instance(c).wait();
  h.request("POST", "/internal/sql", R"({"database": "global", "query": "DELETE FROM instances; DELETE FROM storage_volumes"})");
  auto found = json::parse(h.request("POST", "/internal/recover/validate", R"({"pools": []})"));
  REQUIRE(found.at("UnknownVolumes").is_array());
  CHECK(found.at("UnknownVolumes").at(0).at("name") == "lost");
  CHECK(found.at("UnknownVolumes").at(0).at("project") == "default");
  // Volumes in memory have no backup.yaml.
  CHECK(found.at("DependencyErrors").as_array().size() == 1);
  CHECK_THROWS_AS(h.request("POST", "/internal/recover/import", R"({"pools": []})"), Error);
}

TEST_CASE("log lines are events, and still go to the program") {
  int lines = 0;
  OpenOptions o;
  o.log = [&](LogLevel, const std::string &line) { lines += line.find("administrator") != line.npos; };
  auto h = Host::open("test://", o);
  auto events = h.listen({"logging"});
  h.request("POST", "/internal/sql", R"({"database": "local", "query": "SELECT 1"})");
  CHECK(lines == 1);
  auto e = events.next(std::chrono::milliseconds(0));
  REQUIRE(e);
  CHECK(e->type == "logging");
  auto m = json::parse(e->metadata.text);
  CHECK(std::string(m.at("message").as_string()).find("local store") != std::string::npos);
  CHECK(m.at("level") == "info");
  CHECK(m.at("context").is_object());
}
