// SPDX-License-Identifier: Apache-2.0
// Typed handles over a door that only records what it was asked.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "api/call.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "fake_door.hpp"

using namespace incus;
using namespace incus::api;
using test::FakeDoor;
using test::FakeOperation;
namespace fs = std::filesystem;

namespace {

struct TempDir {
  fs::path path;
  TempDir() {
    char t[] = "/tmp/incus-handles-XXXXXX";
    path = ::mkdtemp(t);
  }
  ~TempDir() { fs::remove_all(path); }
};

std::string read_all(const fs::path &p) {
  std::ifstream f(p, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

std::string read_fd(int fd) {
  std::string s;
  char buf[4096];
  for (ssize_t n; (n = ::read(fd, buf, sizeof buf)) > 0;) s.append(buf, static_cast<std::size_t>(n));
  return s;
}

ErrorCode code_of(const std::function<void()> &f) {
  try {
    f();
  } catch (const Error &e) {
    return e.code();
  }
  return static_cast<ErrorCode>(0);
}

/// What the fake was asked last, as one line: "PUT /1.0/instances/{name} [c1] project=p {body}".
std::string asked(FakeDoor &d) {
  auto &c = d.calls.back();
  std::string s = std::string(row(c.id).method) + " " + row(c.id).path;
  if (!c.request.path.empty()) {
    s += " [";
    for (std::size_t i = 0; i < c.request.path.size(); i++) s += (i ? "," : "") + c.request.path[i];
    s += "]";
  }
  for (auto &[k, v] : c.request.query) s += " " + k + "=" + v;
  if (!c.request.body.is_null()) s += " " + json::serialize(c.request.body);
  if (!c.request.if_match.empty()) s += " if_match=" + c.request.if_match;
  return s;
}

struct Fixture {
  FakeDoor *door = new FakeDoor;
  SessionPtr session = std::make_shared<Session>("fake:", std::unique_ptr<Door>(door));
  Instance c{session, "default", "c1"}, p{session, "p1", "c1"};
};

} // namespace

TEST_CASE("instance methods ask their rows") {
  Fixture f;
  f.door->reply = json::parse(R"({"name":"c1","status":"Running"})");
  Etag etag;
  CHECK(f.c.info(&etag).status == "Running");
  CHECK(etag == "etag-1");
  CHECK(asked(*f.door) == "GET /1.0/instances/{name} [c1]");
  f.p.info();
  CHECK(asked(*f.door) == "GET /1.0/instances/{name} [c1] project=p1");
  CHECK(f.c.state().status == "Running");
  CHECK(asked(*f.door) == "GET /1.0/instances/{name}/state [c1]");
  f.c.start();
  CHECK(asked(*f.door) == R"(PUT /1.0/instances/{name}/state [c1] {"action":"start","timeout":-1,"force":false,"stateful":false})");
  f.c.stop(true, std::chrono::seconds(5));
  CHECK(asked(*f.door) == R"(PUT /1.0/instances/{name}/state [c1] {"action":"stop","timeout":5,"force":true,"stateful":false})");
  f.c.restart();
  CHECK(asked(*f.door) == R"(PUT /1.0/instances/{name}/state [c1] {"action":"restart","timeout":-1,"force":false,"stateful":false})");
  f.c.pause();
  CHECK(asked(*f.door).find(R"("action":"freeze")") != std::string::npos);
  f.c.resume();
  CHECK(asked(*f.door).find(R"("action":"unfreeze")") != std::string::npos);
  f.c.wait_ready(ReadyLevel::network, std::chrono::milliseconds(1500));
  CHECK(asked(*f.door) == "GET /1.0/instances/{name}/ready [c1] level=network timeout=1500");
  f.p.wait_ready();
  CHECK(asked(*f.door) == "GET /1.0/instances/{name}/ready [c1] level=booted project=p1 timeout=60000");
  InstanceUpdate u;
  u.config["user.a"] = "b";
  f.c.update(u, "e9");
  CHECK(
      asked(*f.door) ==
      R"(PUT /1.0/instances/{name} [c1] {"architecture":"","config":{"user.a":"b"},"description":"","devices":{},"ephemeral":false,"profiles":[],"stateful":false} if_match=e9)");
  f.c.patch({{"a", ""}}, {}, "e9");
  CHECK(asked(*f.door) == R"(PATCH /1.0/instances/{name} [c1] {"config":{"a":""}} if_match=e9)");
  f.c.patch({}, {{"d", {{"type", "none"}}}});
  CHECK(asked(*f.door) == R"(PATCH /1.0/instances/{name} [c1] {"devices":{"d":{"type":"none"}}})");
  f.c.restore("s0");
  CHECK(asked(*f.door) == R"(PUT /1.0/instances/{name} [c1] {"restore":"s0"})");
  f.c.rename("c2");
  CHECK(asked(*f.door) == R"(POST /1.0/instances/{name} [c1] {"name":"c2"})");
  CHECK(f.c.name() == "c2");
  f.c.remove();
  CHECK(asked(*f.door) == "DELETE /1.0/instances/{name} [c2]");
  f.door->reply = "line\n";
  CHECK(f.c.console_log() == "line\n");
  CHECK(asked(*f.door) == "GET /1.0/instances/{name}/console [c2] type=log");
  f.c.clear_console_log();
  CHECK(asked(*f.door) == "DELETE /1.0/instances/{name}/console [c2] type=log");
}

TEST_CASE("snapshot methods ask their rows") {
  Fixture f;
  f.p.create_snapshot({"s0", false, {}});
  CHECK(asked(*f.door) == R"(POST /1.0/instances/{name}/snapshots [c1] project=p1 {"name":"s0","stateful":false,"expires_at":null})");
  f.door->reply = json::parse(R"([{"name":"s0"},{"name":"s1"}])");
  CHECK(f.c.snapshots().at(1).name == "s1");
  CHECK(asked(*f.door) == "GET /1.0/instances/{name}/snapshots [c1] recursion=1");
  auto s = f.p.snapshot("s0");
  f.door->reply = json::parse(R"({"name":"s0","size":7})");
  CHECK(s.info().size == 7);
  CHECK(asked(*f.door) == "GET /1.0/instances/{name}/snapshots/{snapshot} [c1,s0] project=p1");
  s.set_expiry(base::parse_time("2030-01-01T00:00:00Z"), "e");
  CHECK(asked(*f.door) == R"(PUT /1.0/instances/{name}/snapshots/{snapshot} [c1,s0] project=p1 {"expires_at":"2030-01-01T00:00:00Z"} if_match=e)");
  s.rename("s9");
  CHECK(asked(*f.door) == R"(POST /1.0/instances/{name}/snapshots/{snapshot} [c1,s0] project=p1 {"name":"s9"})");
  s.remove();
  CHECK(asked(*f.door) == "DELETE /1.0/instances/{name}/snapshots/{snapshot} [c1,s9] project=p1");
}

TEST_CASE("host methods ask their rows") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  CHECK(host.uri() == "fake:");
  d->reply = json::parse(R"({"api_version":"1.0","environment":{"kernel":"Linux"}})");
  CHECK(host.info().environment.text == R"({"kernel":"Linux"})");
  CHECK(asked(*d) == "GET /1.0");
  d->reply = json::parse(R"(["/1.0/instances/a","/1.0/instances/b?project=p1"])");
  CHECK(host.instance_names() == std::vector<std::string>{"a", "b"});
  CHECK(asked(*d) == "GET /1.0/instances");
  d->reply = json::parse(R"(["/1.0/projects/default"])");
  CHECK(host.project_names() == std::vector<std::string>{"default"});
  d->reply = json::parse(R"([{"name":"a","state":{"status":"Running","pid":5},"snapshots":[{"name":"s"}]},{"name":"b","state":null}])");
  auto full = host.instances_full();
  CHECK(asked(*d) == "GET /1.0/instances recursion=2");
  CHECK(full.at(0).state->pid == 5);
  CHECK(full.at(0).snapshots.size() == 1);
  CHECK(!full.at(1).state);
  CHECK(host.instances().size() == 2);
  CHECK(asked(*d) == "GET /1.0/instances recursion=1");
  d->reply = nullptr;
  CHECK(host.instances_full().empty());
  CHECK(host.images().empty());
  CHECK(asked(*d) == "GET /1.0/images recursion=1");
  InstanceCreate create;
  create.source.type = "none";
  host.create_instance(create, "p1");
  CHECK(asked(*d).starts_with("POST /1.0/instances project=p1 {\"name\":\"\""));
  host.create_image_alias("a", "f00", "d");
  CHECK(asked(*d) == R"(POST /1.0/images/aliases {"description":"d","target":"f00","name":"a","type":""})");
  host.rename_image_alias("a", "b");
  CHECK(asked(*d) == R"(POST /1.0/images/aliases/{name} [a] {"name":"b"})");
  host.delete_image_alias("deb/12");
  CHECK(asked(*d) == "DELETE /1.0/images/aliases/{name} [deb/12]");
  host.image_aliases();
  CHECK(asked(*d) == "GET /1.0/images/aliases recursion=1");
  host.image_alias("x");
  CHECK(asked(*d) == "GET /1.0/images/aliases/{name} [x]");
  host.profiles();
  CHECK(asked(*d) == "GET /1.0/profiles recursion=1");
  host.create_profile({"p", {}, "", {}});
  CHECK(asked(*d) == R"(POST /1.0/profiles {"name":"p","config":{},"description":"","devices":{}})");
  host.storage_pools();
  CHECK(asked(*d) == "GET /1.0/storage-pools recursion=1");
  host.create_storage_pool({"pool", "dir", "", {}});
  CHECK(asked(*d) == R"(POST /1.0/storage-pools {"config":{},"description":"","name":"pool","driver":"dir"})");
  d->reply = json::parse(R"({"running":[{"id":"1"}],"success":[{"id":"2"}]})");
  CHECK(host.operations().size() == 2);
  CHECK(asked(*d) == "GET /1.0/operations recursion=1");
}

TEST_CASE("images, profiles, pools and projects ask their rows") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  auto image = host.image("busy");
  CHECK(image.info().size == 0);
  CHECK(asked(*d) == "GET /1.0/images/{fingerprint} [busy]");
  image.update({}, "e");
  CHECK(
      asked(*d) ==
      R"(PUT /1.0/images/{fingerprint} [busy] {"auto_update":false,"properties":{},"public":false,"expires_at":"0001-01-01T00:00:00Z","profiles":[]} if_match=e)");
  image.remove();
  CHECK(asked(*d) == "DELETE /1.0/images/{fingerprint} [busy]");
  auto profile = host.profile("p");
  profile.info();
  CHECK(asked(*d) == "GET /1.0/profiles/{name} [p]");
  profile.update({{{"a", "b"}}, "d", {}}, "e");
  CHECK(asked(*d) == R"(PUT /1.0/profiles/{name} [p] {"config":{"a":"b"},"description":"d","devices":{}} if_match=e)");
  profile.rename("q");
  CHECK(asked(*d) == R"(POST /1.0/profiles/{name} [p] {"name":"q"})");
  profile.remove();
  CHECK(asked(*d) == "DELETE /1.0/profiles/{name} [q]");
  auto pool = host.storage_pool("default");
  pool.info();
  CHECK(asked(*d) == "GET /1.0/storage-pools/{name} [default]");
  pool.update({{}, "x"}, "e");
  CHECK(asked(*d) == R"(PUT /1.0/storage-pools/{name} [default] {"config":{},"description":"x"} if_match=e)");
  d->reply = json::parse(R"({"space":{"used":1,"total":18446744073709551615}})");
  CHECK(pool.resources().space.total == 18446744073709551615u);
  CHECK(asked(*d) == "GET /1.0/storage-pools/{name}/resources [default]");
  d->reply = nullptr;
  CHECK(pool.volumes().empty());
  CHECK(asked(*d) == "GET /1.0/storage-pools/{name}/volumes [default] recursion=1");
  pool.remove();
  CHECK(asked(*d) == "DELETE /1.0/storage-pools/{name} [default]");
  host.project("default").info();
  CHECK(asked(*d) == "GET /1.0/projects/{name} [default]");
}

TEST_CASE("volumes and backups ask their rows") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  auto v = host.storage_pool("default").volume("v1", "other");
  v.rename("v2");
  CHECK(asked(*d) == R"(POST /1.0/storage-pools/{name}/volumes/{type}/{volume} [default,custom,v1] project=other {"name":"v2"})");
  CHECK(!d->calls.back().request.want_operation);
  // A door that answered at once: an operation all the same.
  auto moved = v.move({"", "p2", "other"});
  CHECK(moved.done());
  CHECK(moved.wait().status_code == 200);
  CHECK(asked(*d) == R"(POST /1.0/storage-pools/{name}/volumes/{type}/{volume} [default,custom,v2] project=other {"name":"v2","pool":"p2"})");
  CHECK(d->calls.back().request.want_operation);
  CHECK(v.pool() == "p2");
  d->reply = json::parse(R"([{"name":"v2/s0","expires_at":null}])");
  CHECK(v.snapshots().at(0).name == "s0");
  d->reply = nullptr;
  v.backup("b").remove();
  CHECK(asked(*d) == "DELETE /1.0/storage-pools/{name}/volumes/{type}/{volume}/backups/{backup} [p2,custom,v2,b] project=other");
  auto c = host.instance("c1");
  c.backup("b").rename("d");
  CHECK(asked(*d) == R"(POST /1.0/instances/{name}/backups/{backup} [c1,b] {"name":"d"})");
  InstanceMove to;
  to.name = "c2";
  c.move(to);
  CHECK(asked(*d) == R"(POST /1.0/instances/{name} [c1] {"name":"c2"})");
  to.name.clear();
  to.pool = "p2";
  c.move(to);
  CHECK(asked(*d) == R"(POST /1.0/instances/{name} [c2] {"name":"c2","pool":"p2","migration":true})");
  TempDir dir;
  std::ofstream(dir.path / "b") << "bytes";
  std::string sent;
  d->on_call = [&](RowId, Request &r) { sent = read_fd(r.stream("body")); };
  host.import_instance((dir.path / "b").string(), {"c3", ""});
  CHECK(sent == "bytes");
  CHECK(d->calls.back().request.headers == std::map<std::string, std::string>{{"x-incus-name", "c3"}});
  d->on_call = nullptr;
  CHECK(code_of([&] { host.import_instance(dir.path.string()); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { host.import_instance((dir.path / "none").string()); }) == ErrorCode::not_found);
  // What does not come leaves no file.
  CHECK(code_of([&] { c.backup("b").export_to((dir.path / "out").string()); }) == ErrorCode::internal);
  CHECK(code_of([&] { c.backup("b").export_to((dir.path / "b").string()); }) == ErrorCode::already_exists);
  CHECK(!fs::exists(dir.path / "out"));
  CHECK(read_all(dir.path / "b") == "bytes");
}

TEST_CASE("launch finds the image, creates it started and waits until it is ready") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  d->on(RowId::alias_get, json::parse(R"({"name":"busy","target":"f00d"})"));
  InstanceCreate request;
  request.ephemeral = true;
  auto c = host.launch("c1", "busy", request, ReadyLevel::exec, std::chrono::seconds(3));
  CHECK(c.name() == "c1");
  REQUIRE(d->calls.size() == 3);
  CHECK(d->calls[0].id == RowId::alias_get);
  auto &body = d->calls[1].request.body.as_object();
  CHECK(body.at("start").as_bool());
  CHECK(body.at("ephemeral").as_bool());
  CHECK(json::serialize(body.at("source")) == R"({"type":"image","fingerprint":"f00d"})");
  CHECK(asked(*d) == "GET /1.0/instances/{name}/ready [c1] level=exec timeout=3000");

  d->fail(RowId::alias_get, ErrorCode::not_found);
  CHECK(code_of([&] { host.launch("c1", "no-such", {}); }) == ErrorCode::not_found);
  d->operation_result = json::parse(R"({"id":"op","status_code":200,"resources":{"instances":["/1.0/instances/calm-otter"]}})");
  CHECK(host.launch("", "f00d12").name() == "calm-otter");
  CHECK(json::serialize(d->calls[d->calls.size() - 2].request.body.at("source")) == R"({"type":"image","fingerprint":"f00d12"})");
  CHECK(code_of([&] { host.launch("c1", ""); }) == ErrorCode::invalid_argument);
}

TEST_CASE("request() reaches any row by method and path") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  d->reply = json::parse(R"({"a":1})");
  CHECK(host.request("GET", "/1.0/instances/c%2d1?project=a%20b&recursion=1&x=1+2&flag") == R"({"a":1})");
  CHECK(asked(*d) == "GET /1.0/instances/{name} [c-1] flag= project=a b recursion=1 x=1 2");
  CHECK(host.request("PUT", "/1.0/instances/c1", R"({"restore":"s"})").find(R"("id":"op-1")") != std::string::npos);
  CHECK(asked(*d) == R"(PUT /1.0/instances/{name} [c1] {"restore":"s"})");
  CHECK(code_of([&] { host.request("GET", "/1.0/nothing"); }) == ErrorCode::not_found);
  CHECK(code_of([&] { host.request("BREW", "/1.0/instances"); }) == ErrorCode::not_supported);
  CHECK(code_of([&] { host.request("POST", "/1.0/instances", "{"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { host.request("GET", "/1.0?x=%4"); }) == ErrorCode::invalid_argument);
}

TEST_CASE("exec captures both streams and the exit code") {
  Fixture f;
  f.door->on_exec_call = [](Request &r, FakeOperation &op) {
    auto in = r.stream("stdin") >= 0 ? read_fd(r.stream("stdin")) : std::string("none");
    CHECK(::write(r.stream("stdout"), in.data(), in.size()) == static_cast<ssize_t>(in.size()));
    CHECK(::write(r.stream("stderr"), "oops", 4) == 4);
    r.streams.clear();
    op.finish(json::parse(R"({"id":"op","status_code":200,"metadata":{"return":3}})"));
  };
  auto r = f.p.exec({"cat", "-"}, "hello");
  CHECK(r.exit_code == 3);
  CHECK(r.stdout_data == "hello");
  CHECK(r.stderr_data == "oops");
  CHECK(asked(*f.door).starts_with(R"(POST /1.0/instances/{name}/exec [c1] project=p1 {"command":["cat","-"],"environment":{},"user":0)"));
  CHECK(f.c.exec({"cat"}).stdout_data == "none");
}

TEST_CASE("exec captures much output, and input larger than a pipe that nobody reads") {
  Fixture f;
  f.door->on_exec_call = [](Request &r, FakeOperation &op) {
    std::thread([out = std::move(r.streams[1].fd), &op, streams = std::move(r.streams)]() mutable {
      std::string chunk(100000, 'x');
      for (int i = 0; i < 100; i++)
        for (std::size_t done = 0; done < chunk.size();)
          done += static_cast<std::size_t>(std::max<ssize_t>(0, ::write(out.get(), chunk.data() + done, chunk.size() - done)));
      out.reset();
      streams.clear();
      op.finish(json::parse(R"({"id":"op","status_code":200,"metadata":{"return":0}})"));
    }).detach();
  };
  auto r = f.c.exec({"yes"}, std::string(1 << 20, 'i'));
  CHECK(r.exit_code == 0);
  CHECK(r.stdout_data.size() == 10000000);
}

TEST_CASE("exec returns when the command ends though something in the background keeps its output open") {
  Fixture f;
  std::vector<Stream> kept;
  f.door->on_exec_call = [&](Request &r, FakeOperation &op) {
    CHECK(::write(r.stream("stdout"), "done", 4) == 4);
    kept = std::move(r.streams);
    op.finish(json::parse(R"({"id":"op","status_code":200,"metadata":{"return":0}})"));
  };
  CHECK(f.c.exec({"sh", "-c", "sleep 1000 &"}).stdout_data == "done");
  CHECK(kept.size() == 2);
}

TEST_CASE("a failing exec throws the operation's error") {
  Fixture f;
  f.door->on_exec_call = [](Request &, FakeOperation &op) { op.fail(Error(ErrorCode::conflict, "not running")); };
  CHECK(code_of([&] { f.c.exec({"true"}); }) == ErrorCode::conflict);
  f.door->on_exec_call = [](Request &r, FakeOperation &op) {
    r.streams.clear();
    op.finish(json::parse(R"({"id":"op","status_code":200,"metadata":null})"));
  };
  CHECK(code_of([&] { f.c.exec({"true"}); }) == ErrorCode::internal);
}

TEST_CASE("an exec session controls its command and ends it when it is closed") {
  Fixture f;
  int p[2];
  REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
  FakeOperation *op = nullptr;
  int out_fd = -1;
  f.door->on_exec_call = [&](Request &r, FakeOperation &o) {
    op = &o;
    out_fd = r.stream("stdout");
    CHECK(r.stream("stdin") == -1);
    CHECK(r.stream("stderr") == -1);
  };
  {
    auto s = f.c.exec_session({{"sleep", "9"}}, {-1, p[1], -1});
    CHECK(out_fd != p[1]);
    CHECK(::fcntl(p[1], F_GETFD) >= 0);
    s.signal(15);
    CHECK(op->controls.back() == R"({"command":"signal","signal":15})");
    s.resize(80, 24);
    CHECK(op->controls.back() == R"({"command":"window-resize","args":{"width":"80","height":"24"}})");
    CHECK(!s.wait_for(std::chrono::milliseconds(1)));
    CHECK(code_of([&] { s.signal(0); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { s.resize(0, 1); }) == ErrorCode::invalid_argument);
    ExecSession moved(std::move(s));
    s.close();
    CHECK(op->controls.size() == 2);
  }
  CHECK(op->controls.back() == R"({"command":"signal","signal":9})");
  CHECK(op->cancels == 1);
  {
    auto s = f.c.exec_session({{"true"}}, {});
    op->finish(json::parse(R"({"id":"op","status_code":200,"metadata":{"return":137}})"));
    CHECK(s.wait_for(std::chrono::seconds(5)) == 137);
  }
  CHECK(op->controls.empty());
  CHECK(code_of([&] { f.c.exec_session({{"true"}}, {999999, -1, -1}); }) == ErrorCode::invalid_argument);
  ::close(p[0]);
  ::close(p[1]);
}

TEST_CASE("images are imported from files and directories") {
  TempDir t;
  std::ofstream(t.path / "image.tar.gz") << "bytes";
  std::ofstream(t.path / "rootfs.squashfs") << "root";
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  std::vector<std::pair<std::string, std::string>> streams;
  d->on_call = [&](RowId, Request &r) {
    streams.clear();
    for (auto &s : r.streams) streams.emplace_back(s.role, s.role == "directory" ? "" : read_fd(s.fd.get()));
  };
  using Streams = std::vector<std::pair<std::string, std::string>>;
  ImageImport how;
  how.alias = "busy";
  host.import_image(t.path / "image.tar.gz", how);
  CHECK(streams == Streams{{"image", "bytes"}});
  CHECK(asked(*d) == R"(POST /1.0/images {"alias":"busy","aliases":[],"properties":{},"public":false,"filename":"image.tar.gz","reuse":false})");
  how.filename = "other";
  host.import_split_image((t.path / "image.tar.gz").string(), (t.path / "rootfs.squashfs").string(), how);
  CHECK(streams == Streams{{"metadata", "bytes"}, {"rootfs", "root"}});
  CHECK(d->calls.back().request.body.at("filename") == "other");
  host.import_image(t.path.string() + "/");
  CHECK(streams == Streams{{"directory", ""}});
  CHECK(d->calls.back().request.body.at("filename").as_string() == t.path.filename().string());
  REQUIRE(::mkfifo((t.path / "fifo").c_str(), 0600) == 0);
  CHECK(code_of([&] { host.import_image(t.path / "fifo"); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { host.import_image(t.path / "none"); }) == ErrorCode::not_found);
  CHECK(code_of([&] { host.import_image(""); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { host.import_split_image(t.path, t.path / "rootfs.squashfs"); }) == ErrorCode::invalid_argument);
}

TEST_CASE("images are exported to files that did not exist, or not at all") {
  TempDir t;
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  d->on_call = [&](RowId, Request &r) {
    CHECK(::write(r.stream("metadata"), "meta", 4) == 4);
    CHECK(::write(r.stream("rootfs"), "root", 4) == 4);
  };
  auto image = host.image("f00");
  auto out = (t.path / "a").string();
  d->reply = json::parse(R"({"split":false,"rootfs_squashfs":false})");
  CHECK(image.export_to(out) == std::vector<std::string>{out});
  CHECK(read_all(out) == "meta");
  CHECK(asked(*d) == "GET /1.0/images/{fingerprint}/export [f00]");
  CHECK(code_of([&] { image.export_to(out); }) == ErrorCode::already_exists);
  auto split = (t.path / "b").string();
  d->reply = json::parse(R"({"split":true,"rootfs_squashfs":true})");
  CHECK(image.export_to(split) == std::vector<std::string>{split, split + ".squashfs"});
  CHECK(read_all(split + ".squashfs") == "root");
  auto half = (t.path / "c").string();
  d->reply = json::parse(R"({"split":true,"rootfs_squashfs":false})");
  std::ofstream(half + ".root") << "mine";
  CHECK(code_of([&] { image.export_to(half); }) == ErrorCode::already_exists);
  CHECK(!fs::exists(half));
  CHECK(read_all(half + ".root") == "mine");
  d->fail(RowId::image_export_get, ErrorCode::not_found);
  CHECK(code_of([&] { image.export_to((t.path / "d").string()); }) == ErrorCode::not_found);
  CHECK(code_of([&] { image.export_to((t.path / "none" / "d").string()); }) == ErrorCode::not_found);
  CHECK(code_of([&] { image.export_to(t.path.string() + "/"); }) == ErrorCode::invalid_argument);
  CHECK(std::distance(fs::directory_iterator(t.path), {}) == 4);
}

TEST_CASE("a closed host, a moved-from host and a forked child are refused") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  auto c = host.instance("c1");
  auto op = c.start();
  auto listener = host.listen();
  int child = ::fork();
  if (child == 0) {
    bool ok = code_of([&] { c.info(); }) == ErrorCode::unavailable && code_of([&] { op.wait(); }) == ErrorCode::unavailable &&
              code_of([&] { listener.next(std::chrono::milliseconds(0)); }) == ErrorCode::unavailable;
    host.close();
    ok = ok && d->closes == 0;
    { auto gone = std::move(host); }
    ::_exit(ok && !FakeDoor::destroyed ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  auto moved = std::move(host);
  CHECK(code_of([&] { host.info(); }) == ErrorCode::unavailable);
  CHECK(code_of([&] { (void)host.uri(); }) == ErrorCode::unavailable);
  host.close();
  moved.info();
  moved.close();
  moved.close();
  CHECK(d->closes == 2);
  CHECK(code_of([&] { c.info(); }) == ErrorCode::unavailable);
  CHECK(code_of([&] { op.info(); }) == ErrorCode::unavailable);
  CHECK(code_of([&] { moved.listen(); }) == ErrorCode::unavailable);
  CHECK(!listener.next(std::chrono::milliseconds(0)));
}

TEST_CASE("exec handlers are refused where there is nothing to handle") {
  FakeDoor *d = nullptr;
  auto host = test::fake_host(d);
  CHECK(code_of([&] { host.on_exec("", {}); }) == ErrorCode::not_supported);
}
