// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

TEST_CASE("host: what it says of itself") {
  World w;
  auto i = w.host.info();
  CHECK(i.api_version == "1.0");
  CHECK(i.api_status == "stable");
  CHECK(i.auth == "trusted");
  auto e = json::parse(i.environment.text).as_object();
  CHECK(e.at("kernel").as_string() == "Linux");
  CHECK(e.at("architectures").as_array().at(0).as_string() == architecture());
  CHECK(e.count("server_version") == 1);
  CHECK(e.count("storage_supported_drivers") == 1);
}

TEST_CASE("host: one project so far") {
  World w;
  CHECK(w.host.project_names() == std::vector<std::string>{"default"});
  auto p = w.host.project("default").info();
  CHECK(p.name == "default");
  w.make("c1");
  p = w.host.project("default").info();
  CHECK(contains(p.used_by, "/1.0/instances/c1"));
  REFUSED(not_found, "\"other\"", w.host.project("other").info());
  REFUSED(not_found, "\"other\"", w.host.instance("c1", "other").info());
  REFUSED(not_found, "\"other\"", w.host.request("GET", "/1.0/instances?project=other"));
  REFUSED(not_found, "\"other\"", w.host.request("GET", "/1.0/profiles?project=other"));
  REFUSED(not_found, "\"other\"", w.host.request("GET", "/1.0/images?project=other"));
}

TEST_CASE("host: operations") {
  World w;
  InstanceCreate r;
  r.name = "c1";
  r.source.alias = "busy";
  auto op = w.host.create_instance(r);
  CHECK(op.id().size() == 36);
  auto done = op.wait();
  CHECK(done.id == op.id());
  CHECK(done.class_ == "task");
  CHECK(done.description != "");
  CHECK(done.created_at <= done.updated_at);
  CHECK(done.err == "");
  CHECK(done.err_code == 0);
  CHECK(op.done());
  CHECK(op.wait_for(0ms).status == "Success");
  auto again = w.host.operation(op.id());
  CHECK(again.info().status == "Success");
  CHECK(again.wait().id == op.id());

  // A failure after its beginning is kept as text and code. Which refusals come at the beginning is the door's business.
  auto c = w.host.instance("c1");
  c.start().wait();
  std::string id;
  auto a = attempt([&] {
    auto failing = c.start();
    id = failing.id();
    failing.wait();
  });
  CHECK(a.code == ErrorCode::conflict);
  if (!id.empty()) {
    auto f = w.host.operation(id).info();
    CHECK(f.status == "Failure");
    CHECK(f.status_code == 400);
    CHECK(f.err == a.text);
    CHECK(f.err_code == http_status(ErrorCode::conflict));
    CHECK(w.host.operation(id).done());
    REFUSED(conflict, "running", w.host.operation(id).wait());
  }
  REFUSED(not_found, "00000000-0000", w.host.operation("00000000-0000-4000-8000-000000000000").info());
  REFUSED(invalid_argument, "empty", Operation().wait());
}

TEST_CASE("host: any request of the REST API") {
  World w;
  auto c = w.make("c1");
  auto get = [&](const std::string &path) { return json::parse(w.host.request("GET", path)); };
  CHECK(get("/1.0").as_object().at("api_version").as_string() == "1.0");
  CHECK(get("/1.0/instances") == json::array{"/1.0/instances/c1"});
  CHECK(get("/1.0/instances?recursion=1").as_array().at(0).at("name").as_string() == "c1");
  auto full = get("/1.0/instances?recursion=2").as_array().at(0).as_object();
  CHECK(full.at("name").as_string() == "c1");
  CHECK(full.at("state").at("status").as_string() == "Stopped");
  CHECK(full.count("snapshots") == 1);
  CHECK(get("/1.0/instances/c1").at("status_code").as_int64() == 102);
  CHECK(get("/1.0/instances/c1/snapshots") == json::value(json::array()));
  CHECK(get("/1.0/profiles") == json::array{"/1.0/profiles/default"});
  CHECK(get("/1.0/projects") == json::array{"/1.0/projects/default"});
  CHECK(get("/1.0/storage-pools") == json::array{"/1.0/storage-pools/default"});
  CHECK(get("/1.0/images").as_array().size() == 1);
  CHECK(get("/1.0/images/aliases") == json::array{"/1.0/images/aliases/busy"});

  auto op = json::parse(w.host.request("PUT", "/1.0/instances/c1/state", R"({"action":"start"})")).as_object();
  std::string id(op.at("id").as_string());
  CHECK(op.at("class").as_string() == "task");
  CHECK(get("/1.0/operations/" + id + "/wait").at("status_code").as_int64() == 200);
  CHECK(c.info().status == "Running");
  w.host.request("POST", "/1.0/profiles", R"({"name":"p1","config":null,"unknown":[1]})");
  CHECK(get("/1.0/profiles/p1").at("config") == json::value(json::object()));

  REFUSED(not_found, "/1.0/nonsense", w.host.request("GET", "/1.0/nonsense"));
  REFUSED(not_found, "ghost", w.host.request("GET", "/1.0/instances/ghost"));
  REFUSED(invalid_argument, "", w.host.request("POST", "/1.0/profiles", "{not json"));
  REFUSED(invalid_argument, "config", w.host.request("POST", "/1.0/profiles", R"({"name":"p2","config":"text"})"));
  REFUSED(invalid_argument, "config", w.host.request("POST", "/1.0/profiles", R"({"name":"p2","config":{"user.a":1}})"));
  REFUSED(invalid_argument, "name", w.host.request("POST", "/1.0/profiles", "{}"));
  auto method = attempt([&] { w.host.request("DELETE", "/1.0"); });
  CHECK((method.code == ErrorCode::not_supported || method.code == ErrorCode::not_found));
  CHECK(w.host.profiles().size() == 2);
}

TEST_CASE("host: store, disk and memory agree") {
  World w;
  auto c = w.run("c1");
  c.create_snapshot({}).wait();
  auto report = json::parse(suite::check(w.host));
  CHECK_MESSAGE(report.at("problems").as_array().empty(), json::serialize(report));
}

TEST_CASE("host: closed") {
  auto h = fresh();
  ImageImport how;
  how.alias = "busy";
  h.import_image(guest_image(), how).wait();
  auto c = h.launch("c1", "busy");
  auto image = h.image("busy");
  auto events = h.listen();
  auto uri = h.uri();
  c.stop(true).wait();
  h.close();
  h.close();
  REFUSED(unavailable, "closed", h.info());
  REFUSED(unavailable, "closed", h.instances());
  REFUSED(unavailable, "closed", c.info());
  REFUSED(unavailable, "closed", c.start());
  REFUSED(unavailable, "closed", image.info());
  REFUSED(unavailable, "closed", h.listen());
  while (events.next(20s)) {}

  Host moved = fresh();
  Host to = std::move(moved);
  CHECK(to.instance_names().empty());
  if (!real()) {
    // Each test host is a world of its own.
    auto other = reopen("test://");
    CHECK(other.images().empty());
    return;
  }
  auto again = reopen(uri);
  CHECK(again.instance_names() == std::vector<std::string>{"c1"});
  if (remote())
    CHECK(reopen(uri).instance_names().size() == 1); // a server takes any number
  else
    REFUSED(unavailable, std::to_string(::getpid()), reopen(uri));
  again.instance("c1").start().wait();
  again.instance("c1").stop(true).wait();
  again.instance("c1").remove().wait();
}

TEST_CASE("host: an instance outlives the host object") {
  auto h = fresh();
  auto uri = h.uri();
  ImageImport how;
  how.alias = "busy";
  h.import_image(guest_image(), how).wait();
  auto pid = h.launch("c1", "busy").state().pid;
  h.close();
  auto again = reopen(uri);
  auto c = again.instance("c1");
  CHECK(c.info().status == "Running");
  CHECK(c.state().pid == pid);
  CHECK(c.exec({"true"}).exit_code == 0);
  c.stop(true).wait();
  c.remove().wait();
}

TEST_CASE("host: a forked child is told to open its own") {
  World w;
  auto c = w.make("c1");
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    bool ok = attempt([&] { w.host.info(); }).code == ErrorCode::unavailable && attempt([&] { c.start(); }).code == ErrorCode::unavailable;
    ::_exit(ok ? 0 : 1);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(c.info().status == "Stopped");
}

TEST_CASE("host: URIs that cannot be opened") {
  for (auto *uri : {"", "nonsense", "test", "ftp://x", "embed:relative/dir"}) {
    CAPTURE(uri);
    REFUSED(invalid_argument, "", Host::open(uri));
  }
}
