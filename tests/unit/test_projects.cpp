// SPDX-License-Identifier: Apache-2.0
// Projects and the server's configuration, on test://.
#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <incus/host.hpp>

#include "api/door.hpp"
#include "base/error.hpp"
#include "embed/certificates.hpp"
#include "embed/config_keys.hpp"

using namespace incus;
namespace json = boost::json;

namespace {

struct Server {
  Host host = Host::open("test://");
  json::value ask(const std::string &method, const std::string &path, const json::value &body = nullptr) {
    auto text = host.request(method, path, body.is_null() ? "" : json::serialize(body));
    return text.empty() ? json::value(nullptr) : json::parse(text);
  }
  ErrorCode error(const std::string &method, const std::string &path, const json::value &body = nullptr) {
    try {
      ask(method, path, body);
    } catch (const Error &e) {
      last = e.what();
      return e.code();
    }
    return ErrorCode{};
  }
  void create(const std::string &name, json::object config = {}) { ask("POST", "/1.0/projects", {{"name", name}, {"config", config}}); }
  std::string last;
};

void instance(Server &s, const std::string &name, const std::string &project) {
  InstanceCreate r;
  r.name = name;
  r.source.type = "none";
  r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}};
  auto op = s.host.create_instance(r, project);
  op.wait();
}

void pool(Server &s) {
  StoragePoolCreate p;
  p.name = "default";
  p.driver = "dir";
  for (auto &have : s.host.storage_pools())
    if (have.name == p.name) return;
  s.host.create_storage_pool(p);
}

} // namespace

TEST_CASE("projects: made with their features and default profile, changed, renamed, removed") {
  Server s;
  s.create("foo");
  auto foo = s.ask("GET", "/1.0/projects/foo");
  CHECK(foo.at("config") == json::value({{"features.images", "true"}, {"features.profiles", "true"}, {"features.storage.buckets", "true"}, {"features.storage.volumes", "true"}}));
  CHECK(foo.at("used_by") == json::array{"/1.0/profiles/default?project=foo"});
  CHECK(s.ask("GET", "/1.0/profiles/default?project=foo").at("description") == "Default Incus profile for project foo");

  CHECK(s.error("POST", "/1.0/projects", {{"name", "foo"}}) == ErrorCode::already_exists);
  for (auto *bad : {"", "a_b", "..", "a/b", "-a", "a\nb"}) CHECK(s.error("POST", "/1.0/projects", {{"name", bad}}) == ErrorCode::invalid_argument);
  CHECK(s.error("PATCH", "/1.0/projects/foo", {{"config", {{"garbage", "x"}}}}) == ErrorCode::invalid_argument);
  CHECK(s.last.find("garbage") != std::string::npos);
  CHECK(s.error("PATCH", "/1.0/projects/foo", {{"config", {{"features.images", "maybe"}}}}) == ErrorCode::invalid_argument);
  // What would be ignored is refused, and named; unsetting it is fine.
  for (auto *key : {"limits.memory", "restricted.devices.nic", "limits.disk.pool.x"}) {
    CHECK(s.error("PATCH", "/1.0/projects/foo", {{"config", {{key, "1"}}}}) == ErrorCode::not_supported);
    CHECK(s.last.find(key) != std::string::npos);
    s.ask("PATCH", "/1.0/projects/foo", {{"config", {{key, ""}}}});
  }
  CHECK(s.error("PATCH", "/1.0/projects/foo", {{"config", {{"restricted", "true"}}}}) == ErrorCode::not_supported);

  s.ask("PATCH", "/1.0/projects/foo", {{"config", {{"user.a", "1"}}}});
  foo = s.ask("GET", "/1.0/projects/foo");
  CHECK(foo.at("config").as_object().size() == 5);
  s.ask("PUT", "/1.0/projects/foo", {{"description", "Foo"}, {"config", foo.at("config")}});
  CHECK(s.ask("GET", "/1.0/projects/foo").at("description") == "Foo");
  // Absent from a PUT is unset.
  auto config = foo.at("config").as_object();
  config.erase("user.a");
  s.ask("PUT", "/1.0/projects/foo", {{"description", ""}, {"config", config}});
  CHECK(s.ask("GET", "/1.0/projects/foo").at("config").as_object().size() == 4);

  // Renaming is an operation.
  auto op = s.ask("POST", "/1.0/projects/foo", {{"name", "bar"}});
  s.ask("GET", "/1.0/operations/" + std::string(op.at("id").as_string()) + "/wait?timeout=10");
  CHECK(s.error("GET", "/1.0/projects/foo") == ErrorCode::not_found);
  CHECK(s.ask("GET", "/1.0/profiles/default?project=bar").at("name") == "default");
  s.ask("DELETE", "/1.0/projects/bar");
  CHECK(s.ask("GET", "/1.0/projects") == json::array{"/1.0/projects/default"});
  CHECK(s.error("DELETE", "/1.0/projects/default") == ErrorCode::forbidden);
  CHECK(s.error("POST", "/1.0/projects/default", {{"name", "x"}}) == ErrorCode::forbidden);
  CHECK(s.error("PATCH", "/1.0/projects/default", {{"config", {{"features.images", "false"}}}}) == ErrorCode::invalid_argument);
  CHECK(s.error("DELETE", "/1.0/projects/nix") == ErrorCode::not_found);
}

TEST_CASE("projects: an etag that was overtaken refuses the change") {
  Server s;
  s.create("foo");
  Etag tag;
  s.host.project("foo").info(&tag);
  auto put = [&](const Etag &match) {
    api::Request q;
    q.path = {"foo"};
    q.body = {{"description", "new"}};
    q.if_match = match;
    s.host.session()->perform(api::RowId::project_patch, std::move(q));
  };
  put(tag);
  CHECK_THROWS_AS(put(tag), Error);
}

TEST_CASE("projects: without the profiles feature those of the default project are used") {
  Server s;
  pool(s);
  s.create("foo", {{"features.profiles", "false"}});
  CHECK(s.ask("GET", "/1.0/projects/foo").at("used_by").as_array().empty());
  CHECK(s.ask("GET", "/1.0/profiles/default?project=foo").at("description") == "Default Incus profile");
  CHECK(s.ask("GET", "/1.0/profiles?project=foo") == json::array{"/1.0/profiles/default"});
  s.ask("PATCH", "/1.0/projects/foo", {{"config", {{"features.profiles", "true"}}}});
  CHECK(s.ask("GET", "/1.0/profiles/default?project=foo").at("description") == "Default Incus profile for project foo");
  s.ask("PATCH", "/1.0/projects/foo", {{"config", {{"features.profiles", "false"}}}});

  // A profile made there is one of "default", and an instance there may use it.
  s.ask("POST", "/1.0/profiles?project=foo", {{"name", "p"}, {"config", {{"user.x", "1"}}}});
  CHECK(s.ask("GET", "/1.0/profiles/p").at("project") == "default");
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "none";
  r.profiles = std::vector<std::string>{"default", "p"};
  r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}};
  s.host.create_instance(r, "foo").wait();
  CHECK(s.ask("GET", "/1.0/instances/c1?project=foo").at("expanded_config").at("user.x") == "1");
  CHECK(s.ask("GET", "/1.0/profiles/p").at("used_by") == json::array{"/1.0/instances/c1?project=foo"});
  s.ask("PATCH", "/1.0/profiles/p", {{"config", {{"user.x", "2"}}}});
  CHECK(s.ask("GET", "/1.0/instances/c1?project=foo").at("expanded_config").at("user.x") == "2");
  CHECK(s.error("DELETE", "/1.0/profiles/p") == ErrorCode::conflict);

  // Not empty: features stay, the project stays, its name stays.
  CHECK(s.error("PATCH", "/1.0/projects/foo", {{"config", {{"features.profiles", "true"}}}}) == ErrorCode::conflict);
  CHECK(s.error("DELETE", "/1.0/projects/foo") == ErrorCode::conflict);
  CHECK(s.last.find("c1") != std::string::npos);
  auto state = s.ask("GET", "/1.0/projects/foo/state");
  CHECK(state.at("resources").at("instances") == json::value({{"Limit", -1}, {"Usage", 1}}));
  s.ask("DELETE", "/1.0/projects/foo?force=true");
  CHECK(s.error("GET", "/1.0/instances/c1?project=foo") == ErrorCode::not_found);
}

TEST_CASE("projects: removed with everything in it by force, and with nothing of others") {
  Server s;
  pool(s);
  s.create("foo");
  s.create("bar");
  instance(s, "c1", "foo");
  for (auto *p : {"foo", "bar"}) s.ask("POST", "/1.0/storage-pools/default/volumes/custom?project=" + std::string(p), {{"name", "v"}});
  s.ask("POST", "/1.0/storage-pools/default/volumes/custom/v/snapshots?project=foo", {{"name", "s"}});
  CHECK(s.error("DELETE", "/1.0/projects/foo") == ErrorCode::conflict);
  s.ask("DELETE", "/1.0/projects/foo?force=true");
  CHECK(s.error("GET", "/1.0/projects/foo") == ErrorCode::not_found);
  CHECK(s.ask("GET", "/1.0/storage-pools/default/volumes/custom?project=bar") == json::array{"/1.0/storage-pools/default/volumes/custom/v?project=bar"});
}

TEST_CASE("projects: an instance is not moved by a word for a pool that is a project's name") {
  Server s;
  pool(s);
  s.ask("POST", "/1.0/storage-pools", {{"name", "other"}, {"driver", "dir"}});
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "none";
  r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "other"}}}};
  s.host.create_instance(r, "default").wait();
  auto move = [&](const char *path, const char *body) {
    RawCall c;
    c.method = "POST";
    c.path = path;
    c.body = body;
    s.host.call(c).operation->wait();
  };
  move("/1.0/instances/c1", R"({"name":"c1x","pool":"other","project":"default"})");
  move("/1.0/instances/c1x", R"({"name":"c1","pool":"default"})");
  auto i = s.host.instance("c1", "default").info();
  CHECK(i.project == "default");
  CHECK(i.expanded_devices.at("root").at("pool") == "default");
}

TEST_CASE("projects: the same name in two projects, and a limit on their number") {
  Server s;
  pool(s);
  s.create("a");
  s.create("b", {{"limits.instances", "1"}});
  instance(s, "c1", "a");
  instance(s, "c1", "b");
  CHECK(s.ask("GET", "/1.0/instances?project=a") == json::array{"/1.0/instances/c1?project=a"});
  CHECK(s.ask("GET", "/1.0/instances") == json::array{});
  CHECK_THROWS_AS(instance(s, "c2", "b"), Error);
  CHECK(s.ask("GET", "/1.0/projects/b/state").at("resources").at("instances") == json::value({{"Limit", 1}, {"Usage", 1}}));
}

TEST_CASE("server configuration: read, replaced, merged, refused") {
  Server s;
  CHECK(s.ask("GET", "/1.0").at("config") == json::object{});
  s.ask("PATCH", "/1.0", {{"config", {{"user.a", "1"}, {"images.auto_update_interval", "0"}}}});
  s.ask("PATCH", "/1.0", {{"config", {{"user.b", "2"}, {"user.a", ""}}}});
  CHECK(s.ask("GET", "/1.0").at("config") == json::value({{"user.b", "2"}, {"images.auto_update_interval", "0"}}));
  s.ask("PUT", "/1.0", {{"config", {{"core.https_address", "127.0.0.1:8443"}}}});
  auto info = s.ask("GET", "/1.0");
  CHECK(info.at("config") == json::value({{"core.https_address", "127.0.0.1:8443"}}));
  CHECK(info.at("environment").at("addresses") == json::array{"127.0.0.1:8443"});
  CHECK(info.at("auth") == "trusted");
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.https_adress", "x"}}}}) == ErrorCode::invalid_argument);
  CHECK(s.last.find("core.https_address") != std::string::npos);
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"oidc.issuer", "x"}}}}) == ErrorCode::not_supported);
  // What would be stored and not acted on is refused; its default is not.
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.syslog_socket", "true"}}}}) == ErrorCode::not_supported);
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.debug_address", ":8444"}}}}) == ErrorCode::not_supported);
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"instances.nic.host_name", "sideways"}}}}) == ErrorCode::invalid_argument);
  for (auto *fine : {"random", ""}) s.ask("PATCH", "/1.0", {{"config", {{"instances.nic.host_name", fine}}}});
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"storage.images_volume", "p/v"}}}}) == ErrorCode::not_supported);
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"backups.compression_algorithm", "rar"}}}}) == ErrorCode::invalid_argument);
  CHECK(s.error("POST", "/1.0/projects", {{"name", "x"}, {"config", {{"backups.compression_algorithm", "rar"}}}}) == ErrorCode::invalid_argument);
  for (auto *fine : {"xz", "zstd -3", "none", ""}) s.ask("PATCH", "/1.0", {{"config", {{"backups.compression_algorithm", fine}}}});
  for (auto *bad : {"http://", "h:0", "gopher://h", "h h"}) CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.proxy_https", bad}}}}) == ErrorCode::invalid_argument);
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.proxy_http", "https://h"}}}}) == ErrorCode::not_supported);
  CHECK(s.last.find("core.proxy_http") != std::string::npos);
  for (auto *bad : {"squeeze", "gzip -10", "zstd -3 -T0"}) CHECK(s.error("PATCH", "/1.0", {{"config", {{"images.compression_algorithm", bad}}}}) == ErrorCode::invalid_argument);
  for (auto *good : {"none", "zstd -19", ""}) s.ask("PATCH", "/1.0", {{"config", {{"images.compression_algorithm", good}}}});
  for (auto *key : {"images.auto_update_interval", "images.remote_cache_expiry"})
    for (auto *good : {"-1", "0", "9223372036854775807", ""}) s.ask("PATCH", "/1.0", {{"config", {{key, good}}}});
  for (auto *bad : {"a:b:c", "1.2.3.4:70000", "[::1", "[x]:1", "h st:1", "a:"}) CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.https_address", bad}}}}) == ErrorCode::invalid_argument);
  for (auto *good : {":8443", "[::]:8443", "::1", "localhost:1", "10.0.0.1"}) s.ask("PATCH", "/1.0", {{"config", {{"core.https_address", good}}}});
}

TEST_CASE("server configuration: who serves the host may refuse a change, and an old etag does") {
  Server s;
  std::vector<std::string> seen;
  s.host.session()->door().on_server_config([&](const Config &before, const Config &after) {
    auto get = [](const Config &c) { return c.count("core.https_address") ? c.at("core.https_address") : "-"; };
    seen.push_back(get(before) + " " + get(after));
    if (get(after) == ":1") base::fail(ErrorCode::invalid_argument, "port 1 is taken");
  });
  s.ask("PATCH", "/1.0", {{"config", {{"core.https_address", ":2"}}}});
  CHECK(s.error("PATCH", "/1.0", {{"config", {{"core.https_address", ":1"}, {"user.x", "1"}}}}) == ErrorCode::invalid_argument);
  CHECK(seen == std::vector<std::string>{"- :2", ":2 :1"});
  CHECK(s.ask("GET", "/1.0").at("config") == json::value({{"core.https_address", ":2"}}));
  auto generation = s.host.session()->door().trust_generation();
  auto tag = s.host.session()->perform(api::RowId::server_get, {}).etag;
  auto patch = [&] {
    api::Request q;
    q.body = {{"config", {{"user.x", "1"}}}};
    q.if_match = tag;
    s.host.session()->perform(api::RowId::server_patch, std::move(q));
  };
  patch();
  CHECK(s.host.session()->door().trust_generation() > generation);
  CHECK_THROWS_AS(patch(), Error);
}

TEST_CASE("server configuration: spans of time and addresses") {
  auto t0 = Time(std::chrono::seconds(1700000000)); // 2023-11-14 22:13:20
  auto after = [&](const char *span) {
    auto t = embed::time_after(t0, span);
    return t ? std::chrono::duration_cast<std::chrono::seconds>(*t - t0).count() : -1;
  };
  CHECK(after("5S") == 5);
  CHECK(after("1H 30M") == 5400);
  CHECK(after("1d") == 86400);
  CHECK(after("2w") == 14 * 86400);
  CHECK(after("1m") == 30 * 86400);
  CHECK(after("1y") == 366 * 86400);
  for (auto *bad : {"", " ", "5", "S", "5x", "5S5M", "-5S", "99999999999S", "1H,2M", "9999999y"}) CHECK(after(bad) == -1);
  CHECK(embed::listen_addresses("").empty());
  CHECK(embed::listen_addresses("10.0.0.1") == std::vector<std::string>{"10.0.0.1:8443"});
  CHECK(embed::listen_addresses("::1") == std::vector<std::string>{"[::1]:8443"});
  CHECK(embed::listen_addresses("[::1]:9") == std::vector<std::string>{"[::1]:9"});
}

TEST_CASE("a project without volumes of its own uses those of the default one") {
  Server s;
  s.ask("POST", "/1.0/projects", {{"name", "lent"}, {"config", {{"features.storage.volumes", "false"}}}});
  s.ask("POST", "/1.0/projects", {{"name", "own"}});
  s.ask("POST", "/1.0/storage-pools", {{"name", "p1"}, {"driver", "dir"}});
  const std::string all = "/1.0/storage-pools/p1/volumes/custom";
  auto count = [&](const std::string &project) { return s.ask("GET", all + "?project=" + project).as_array().size(); };
  s.ask("POST", all + "?project=lent", {{"name", "v1"}});
  CHECK(count("default") == 1);
  CHECK(count("lent") == 1);
  CHECK(count("own") == 0);
  s.ask("POST", all + "?project=own", {{"name", "v1"}});
  CHECK(count("own") == 1);
  s.ask("DELETE", all + "/v1?project=lent");
  CHECK(count("default") == 0);
  CHECK(count("own") == 1);
}
