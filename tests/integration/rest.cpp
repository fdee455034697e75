// SPDX-License-Identifier: Apache-2.0
// The server against clients that err, lie and vanish: raw HTTP over its socket; the host is in memory.
#include <dirent.h>
#include <doctest/doctest.h>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <poll.h>
#include <set>
#include <thread>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <incus/incus.hpp>

#include "api/door.hpp"
#include "raw_client.hpp"
#include "rest/workers.hpp"

using namespace incus;
using namespace incus::testing;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

std::size_t descriptors() {
  std::size_t n = 0;
  if (auto *d = ::opendir("/proc/self/fd")) {
    while (::readdir(d)) n++;
    ::closedir(d);
  }
  return n;
}

/// What a vanished client had open goes within a bounded time.
bool settles_at(std::size_t wanted) {
  for (int i = 0; i < 1000 && descriptors() > wanted; i++) std::this_thread::sleep_for(10ms);
  if (descriptors() <= wanted) return true;
  std::string all;
  for (auto &e : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    all += e.path().filename().string() + " " + std::filesystem::read_symlink(e.path(), gone).string() + "\n";
  }
  MESSAGE(wanted << " descriptors wanted, there are:\n" << all);
  return false;
}

struct World {
  World() : host(Host::open("test://")) {
    char name[] = "/tmp/incus-rest-XXXXXX";
    REQUIRE(::mkdtemp(name));
    dir = name;
    ServerOptions o;
    o.spool_directory = dir;
    server = std::make_unique<Server>(host, o);
    server->listen_unix(path());
    server->ready();
  }
  ~World() {
    server.reset();
    host.close();
    ::rmdir(dir.c_str());
  }
  std::string path() const { return dir + "/unix.socket"; }
  int status(const std::string &text) {
    int s = 0;
    Client c(path());
    c.send(text).answer(&s);
    return s;
  }
  json::value get(const std::string &target, int wanted = 200) {
    int s = 0;
    Client c(path());
    auto body = c.send(request("GET", target)).answer(&s);
    CHECK(s == wanted);
    return json::parse(body);
  }
  /// Connections that were left go within a bounded time.
  bool quiet() {
    for (int i = 0; i < 1000 && server->connections() > 0; i++) std::this_thread::sleep_for(10ms);
    return server->connections() == 0;
  }
  std::string dir;
  Host host;
  std::unique_ptr<Server> server;
};

void make_instance(World &w) {
  Client c(w.path());
  int s = 0;
  c.send(request("POST", "/1.0/instances", "{\"name\":\"c1\",\"start\":true,\"source\":{\"type\":\"none\"}}"));
  auto v = json::parse(c.answer(&s));
  REQUIRE(s == 202);
  auto url = std::string(v.at("operation").as_string());
  CHECK(json::parse(c.send(request("GET", url + "/wait")).answer(&s)).at("metadata").at("status_code").as_int64() == 200);
}


} // namespace

TEST_CASE("rest: envelope, keep-alive and methods") {
  World w;
  Client c(w.path());
  int s = 0;
  for (int i = 0; i < 3; i++) {
    auto body = c.send(request("GET", "/1.0")).answer(&s);
    CHECK(s == 200);
    auto v = json::parse(body);
    CHECK(v.at("type").as_string() == "sync");
    CHECK(v.at("metadata").at("api_version").as_string() == "1.0");
    CHECK(body.ends_with("}\n"));
  }
  CHECK(c.send(request("GET", "/")).answer(&s) == "{\"type\":\"sync\",\"status\":\"Success\",\"status_code\":200,\"operation\":\"\",\"error_code\":0,\"error\":\"\",\"metadata\":[\"/1.0\"]}\n");
  auto missing = c.send(request("GET", "/1.0/nothing")).answer(&s);
  CHECK(s == 404);
  CHECK(missing.find("\"error_code\":404") != std::string::npos);
  c.send(request("DELETE", "/1.0/instances")).answer(&s);
  CHECK(s == 501);
  c.send("HEAD /1.0/instances HTTP/1.1\r\nHost: x\r\n\r\n");
  c.send(request("GET", "/1.0/operations"));
  auto two = Client(w.path()).send("HEAD /1.0/instances HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").rest();
  CHECK(two.find("HTTP/1.1 200") == 0);
  CHECK(two.ends_with("\r\n\r\n"));
  // Two requests in one piece are answered one after the other.
  Client both(w.path());
  both.send(request("GET", "/1.0/instances") + request("GET", "/1.0/nothing"));
  both.answer(&s);
  CHECK(s == 200);
  both.answer(&s);
  CHECK(s == 404);
  // Old clients get the end of the connection.
  CHECK(Client(w.path()).send("GET /1.0/instances HTTP/1.0\r\n\r\n").rest().find("HTTP/1.1 200") == 0);
}

TEST_CASE("rest: malformed requests are told so and hurt nobody") {
  World w;
  auto before = descriptors();
  CHECK(w.status("nonsense\r\n\r\n") == 400);
  CHECK(w.status("GET /1.0 HTTP/9.9\r\n\r\n") == 400);
  CHECK(w.status("GET /1.0 HTTP/1.1\r\nbad header\r\n\r\n") == 400);
  CHECK(w.status("GET /1.0 HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n") == 431);
  CHECK(w.status("GET /" + std::string(100000, 'x') + " HTTP/1.1\r\n\r\n") == 431);
  CHECK(w.status("POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n") == 413);
  CHECK(w.status(request("POST", "/1.0/profiles", "{")) == 400);
  CHECK(w.status(request("POST", "/1.0/profiles", "[1]")) == 400);
  CHECK(w.status(request("POST", "/1.0/profiles", "{\"name\":1}")) == 400);
  CHECK(w.status(request("POST", "/1.0/profiles", std::string(1000, '[') + std::string(1000, ']'))) == 400);
  CHECK(w.status(request("GET", "/1.0/instances/%2f..%2f..")) >= 400);
  CHECK(w.status(request("GET", "/1.0/instances/..%2f..%2fetc/logs/passwd")) >= 400);
  CHECK(w.status(request("GET", "/1.0/instances/a%00b")) == 400);
  CHECK(w.status(request("GET", "/1.0/instances/%zz")) == 400);
  CHECK(w.status(request("GET", "/1.0/instances/" + std::string(5000, 'a'))) >= 400);
  CHECK(w.status(request("GET", "/1.0/instances?filter=name%20is%20c1")) == 400);
  CHECK(w.status(request("GET", "/1.0", "", "Origin: https://elsewhere\r\n")) == 403);
  CHECK(w.status(request("GET", "/1.0", "", "Origin: http://x\r\n")) == 200);
  CHECK(w.status("POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") == 400);
  CHECK(w.quiet());
  CHECK(settles_at(before));
}

TEST_CASE("rest: etags") {
  World w;
  Client c(w.path());
  int s = 0;
  c.send(request("POST", "/1.0/profiles", "{\"name\":\"p1\"}")).answer(&s);
  CHECK(s >= 200);
  CHECK(s < 300);
  c.send(request("GET", "/1.0/profiles/p1")).answer(&s);
  auto at = c.last_head.find("ETag: ");
  REQUIRE(at != std::string::npos);
  auto tag = c.last_head.substr(at + 6, c.last_head.find("\r\n", at) - at - 6);
  c.send(request("PUT", "/1.0/profiles/p1", "{\"description\":\"a\"}", "If-Match: " + tag + "\r\n")).answer(&s);
  CHECK(s == 200);
  c.send(request("PUT", "/1.0/profiles/p1", "{\"description\":\"b\"}", "If-Match: " + tag + "\r\n")).answer(&s);
  CHECK(s == 412);
}

TEST_CASE("rest: lists are filtered and answer URLs or records") {
  World w;
  Client c(w.path());
  int s = 0;
  for (auto *n : {"p1", "p2"}) c.send(request("POST", "/1.0/profiles", fmt::format("{{\"name\":\"{}\",\"config\":{{\"user.k\":\"v-{}\"}}}}", n, n))).answer(&s);
  auto urls = w.get("/1.0/profiles?filter=name%20eq%20p.*%20and%20config.user.k%20eq%20v-p2");
  CHECK(urls.at("metadata") == json::array{"/1.0/profiles/p2"});
  auto records = w.get("/1.0/profiles?recursion=1&filter=not%20name%20eq%20default");
  CHECK(records.at("metadata").as_array().size() == 2);
  w.get("/1.0/profiles?filter=nothing%20eq%20x", 400);
}

TEST_CASE("rest: websockets need their secret, once, and clients may vanish") {
  World w;
  w.host.on_exec("", [](const std::string &, const ExecRequest &, const std::string &input) { return ExecResult{3, "out:" + input, ""}; });
  make_instance(w);
  CHECK(w.quiet()); // what its client had open is not counted
  auto before = descriptors();
  auto begin = [&](json::object *fds) {
    Client c(w.path());
    int s = 0;
    auto body = c.send(request("POST", "/1.0/instances/c1/exec", "{\"command\":[\"x\"],\"wait-for-websocket\":true}")).answer(&s);
    INFO(body);
    REQUIRE(s == 202);
    auto v = json::parse(body);
    *fds = v.at("metadata").at("metadata").at("fds").as_object();
    return std::string(v.at("operation").as_string());
  };
  auto open = [&](const std::string &op, const std::string &secret) {
    auto c = std::make_unique<Client>(w.path());
    c->send(fmt::format("GET {}/websocket?secret={} HTTP/1.1\r\nHost: x\r\n{}\r\n", op, secret, websocket));
    return c;
  };
  SUBCASE("secrets") {
    json::object fds;
    auto op = begin(&fds);
    CHECK(fds.size() == 4);
    int s = 0;
    open(op, "wrong")->answer(&s);
    CHECK(s == 403);
    open(op, "")->answer(&s);
    CHECK(s == 400);
    auto first = open(op, std::string(fds.at("0").as_string()));
    first->answer(&s);
    CHECK(s == 101);
    open(op, std::string(fds.at("0").as_string()))->answer(&s);
    CHECK(s == 403);
    // Who made it sees them again.
    CHECK(w.get(op).at("metadata").at("metadata").as_object().contains("fds"));
    CHECK(w.status(request("GET", "/1.0/operations/0-0/websocket?secret=x", "", websocket)) == 404);
    CHECK(w.status(request("GET", op + "/websocket?secret=x")) == 400);
    CHECK(w.status(request("DELETE", op)) == 200);
    CHECK(w.get(op + "/wait?timeout=20").at("metadata").at("status_code").as_int64() == 401);
  }
  SUBCASE("a command with its streams") {
    json::object fds;
    auto op = begin(&fds);
    std::map<std::string, std::unique_ptr<Client>> all;
    int s = 0;
    for (auto *n : {"control", "0", "1", "2"}) {
      all[n] = open(op, std::string(fds.at(n).as_string()));
      all[n]->answer(&s);
      CHECK(s == 101);
    }
    // "hi" and an empty text, masked with zeros.
    all["0"]->send(std::string_view("\x82\x82\0\0\0\0hi", 8)).send(std::string_view("\x81\x80\0\0\0\0", 6));
    auto done = w.get(op + "/wait?timeout=20");
    auto out = all["1"]->rest();
    CHECK(out == std::string_view("\x82\x06out:hi\x81\x00\x88\x02\x03\xe8", 14));
    CHECK(done.at("metadata").at("metadata").at("return").as_int64() == 3);
    CHECK_FALSE(done.at("metadata").at("metadata").as_object().contains("fds"));
  }
  SUBCASE("the client goes in every phase") {
    for (int phase = 0; phase < 5; phase++) {
      json::object fds;
      auto op = begin(&fds);
      {
        std::vector<std::unique_ptr<Client>> all;
        int i = 0;
        for (auto *n : {"control", "0", "1", "2"}) {
          if (i++ >= phase) break;
          all.push_back(open(op, std::string(fds.at(n).as_string())));
          int s = 0;
          all.back()->answer(&s);
        }
        // A frame that is not whole.
        if (!all.empty()) all.back()->send(std::string_view("\x82\xfe\xff", 3));
      }
      auto end = w.get(op + "/wait?timeout=25");
      CHECK(end.at("metadata").at("status_code").as_int64() != 103);
    }
  }
  CHECK(w.quiet());
  CHECK(settles_at(before));
}

TEST_CASE("rest: a client that waits and goes leaves nothing") {
  World w;
  make_instance(w);
  Client c(w.path());
  int s = 0;
  auto v = json::parse(c.send(request("POST", "/1.0/instances/c1/exec", "{\"command\":[\"x\"],\"wait-for-websocket\":true}")).answer(&s));
  REQUIRE(s == 202);
  auto op = std::string(v.at("operation").as_string());
  {
    Client waits(w.path());
    waits.send(request("GET", op + "/wait"));
    std::this_thread::sleep_for(50ms);
  }
  for (int i = 0; i < 500 && w.server->connections() > 1; i++) std::this_thread::sleep_for(10ms);
  CHECK(w.server->connections() == 1);
  // What a client sends behind its wait is its next request.
  Client early(w.path());
  early.send(request("GET", op + "/wait?timeout=1") + request("GET", "/1.0/nothing"));
  early.answer(&s);
  CHECK(s == 200);
  early.answer(&s);
  CHECK(s == 404);
  CHECK(w.status(request("DELETE", op)) == 200);
}

TEST_CASE("rest: events reach many listeners without a thread each") {
  World w;
  std::vector<std::unique_ptr<Client>> all;
  for (int i = 0; i < 200; i++) {
    all.push_back(std::make_unique<Client>(w.path()));
    all.back()->send(fmt::format("GET /1.0/events?type=lifecycle HTTP/1.1\r\nHost: x\r\n{}\r\n", websocket));
    int s = 0;
    all.back()->answer(&s);
    REQUIRE(s == 101);
  }
  std::size_t threads = 0;
  if (auto *d = ::opendir("/proc/self/task")) {
    while (::readdir(d)) threads++;
    ::closedir(d);
  }
  CHECK(threads < 40);
  CHECK(w.status(request("POST", "/1.0/profiles", "{\"name\":\"p1\"}")) < 300);
  for (auto &c : all) {
    std::string got;
    char piece[2048];
    while (got.find("profile-created") == std::string::npos) {
      auto n = ::recv(c->fd.get(), piece, sizeof piece, 0);
      REQUIRE(n > 0);
      got.append(piece, static_cast<std::size_t>(n));
    }
  }
  CHECK(w.status(request("GET", "/1.0/events?type=nonsense", "", websocket)) == 400);
  CHECK(w.status(request("GET", "/1.0/events")) == 400);
  CHECK(w.status(request("GET", "/1.0/events?project=a&all-projects=true", "", websocket)) == 400);
}

TEST_CASE("rest: uploads that end early leave no file") {
  World w;
  auto before = descriptors();
  const std::string headers = "Content-Type: multipart/form-data; boundary=XX\r\n";
  CHECK(w.status(request("POST", "/1.0/images", "--XX\r\nContent-Disposition: form-data; name=evil\r\n\r\nabc\r\n--XX--", headers)) == 400);
  CHECK(w.status(request("POST", "/1.0/images", "--XX\r\nContent-Disposition: form-data; name=metadata\r\n\r\nabc", headers)) == 400);
  CHECK(w.status(request("POST", "/1.0/images", "abc", "Content-Type: multipart/form-data\r\n")) == 400);
  for (int cut : {0, 10, 60, 90}) {
    std::string body = "--XX\r\nContent-Disposition: form-data; name=metadata\r\n\r\n" + std::string(200, 'x');
    Client c(w.path());
    c.send(fmt::format("POST /1.0/images HTTP/1.1\r\nHost: x\r\n{}Content-Length: 100000\r\n\r\n{}", headers, body.substr(0, static_cast<std::size_t>(cut))));
  }
  CHECK(w.quiet());
  CHECK(settles_at(before));
}

TEST_CASE("rest: a server that is not ready, stops, and starts again") {
  auto host = Host::open("test://");
  char name[] = "/tmp/incus-rest-XXXXXX";
  REQUIRE(::mkdtemp(name));
  auto path = std::string(name) + "/unix.socket";
  for (int i = 0; i < 2; i++) {
    Server server(host);
    server.listen_unix(path);
    CHECK_THROWS_AS(server.listen_unix(path), Error);
    int s = 0;
    Client c(path);
    c.send(request("GET", "/internal/ready")).answer(&s);
    CHECK(s == 503);
    server.ready();
    c.send(request("GET", "/internal/ready")).answer(&s);
    CHECK(s == 200);
    c.send(request("PUT", "/internal/shutdown")).answer(&s);
    CHECK(s == 501);
    server.going_down();
    c.send(request("GET", "/internal/ready")).answer(&s);
    CHECK(s == 503);
    c.send(request("POST", "/1.0/profiles", "{\"name\":\"x\"}")).answer(&s);
    CHECK(s == 503);
    Client idle(path);
    server.stop();
    CHECK(::access(path.c_str(), F_OK) != 0);
    CHECK(idle.rest().empty());
  }
  ::rmdir(name);
}

namespace {

/// Opened once, by the test.
class Gate {
public:
  ~Gate() { open(); }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    waiting++;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  bool reached(int n, std::chrono::milliseconds limit = 20s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return waiting >= n; });
  }
  bool opened() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return open_; });
  }

private:
  int waiting = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

/// An operation that does not end, and counts who wants to hear of its end.
class Endless final : public api::OperationBackend {
public:
  OperationInfo info() override {
    OperationInfo i;
    i.id = "0a0a0a0a-0000-4000-8000-000000000000";
    i.status_code = 103;
    return i;
  }
  bool wait(std::optional<std::chrono::milliseconds>) override { return false; }
  void rethrow() override {}
  void cancel() override {}
  void control(const json::value &) override {}
  bool on_end(std::function<void()> told) override {
    std::lock_guard lock(mutex);
    all.push_back(std::move(told));
    return true;
  }
  std::mutex mutex;
  std::vector<std::function<void()>> all;
};

/// A host some of whose rows take as long as the test likes.
class Slow final : public api::Door {
public:
  Slow(std::shared_ptr<Gate> gate, std::shared_ptr<Endless> op, std::set<api::RowId> slow) : gate_(std::move(gate)), op_(std::move(op)), slow_(std::move(slow)) {}
  api::Reply perform(const api::Row &row, api::Request) override {
    if (slow_.contains(row.id)) gate_->pass();
    api::Reply r;
    r.metadata = json::object{};
    if (row.id == api::RowId::operation_get) r.operation = op_;
    return r;
  }
  std::shared_ptr<api::ListenerBackend> listen(const std::vector<std::string> &, std::size_t) override { return {}; }
  void close() override {}

private:
  const std::shared_ptr<Gate> gate_;
  const std::shared_ptr<Endless> op_;
  const std::set<api::RowId> slow_;
};

struct SlowWorld {
  explicit SlowWorld(std::set<api::RowId> slow = {}) : host(api::Session::host(std::make_shared<api::Session>("slow:", std::make_unique<Slow>(gate, op, std::move(slow))))) {
    char name[] = "/tmp/incus-rest-XXXXXX";
    REQUIRE(::mkdtemp(name));
    dir = name;
    ServerOptions o;
    o.spool_directory = dir;
    o.follow_config = false;
    server = std::make_unique<Server>(host, o);
    server->listen_unix(path());
  }
  ~SlowWorld() {
    gate->open();
    server.reset();
    ::rmdir(dir.c_str());
  }
  std::string path() const { return dir + "/unix.socket"; }
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::shared_ptr<Endless> op = std::make_shared<Endless>();
  Host host;
  std::string dir;
  std::unique_ptr<Server> server;
};

} // namespace

TEST_CASE("rest: what a guest, a disk or a change keeps waiting keeps nobody else waiting") {
  using R = api::RowId;
  struct Kind {
    R row;
    std::string method, target, body;
  };
  for (auto &k : {Kind{R::instance_files_get, "GET", "/1.0/instances/c1/files?path=/x", ""}, Kind{R::instance_files_head, "HEAD", "/1.0/instances/c1/files?path=/x", ""},
                  Kind{R::instance_patch, "PATCH", "/1.0/instances/c1", "{}"}, Kind{R::volume_delete, "DELETE", "/1.0/storage-pools/p/volumes/custom/v", ""},
                  Kind{R::metrics_get, "GET", "/1.0/metrics", ""}, Kind{R::instance_state_get, "GET", "/1.0/instances/c1/state", ""},
                  Kind{R::instance_get, "GET", "/1.0/instances/c1?recursion=1", ""}, Kind{R::project_delete, "DELETE", "/1.0/projects/p", ""}}) {
    CAPTURE(k.target);
    SlowWorld w({k.row});
    std::vector<std::unique_ptr<Client>> all;
    for (int i = 0; i < 60; i++) {
      all.push_back(std::make_unique<Client>(w.path()));
      all.back()->send(request(k.method, k.target, k.body));
    }
    REQUIRE(w.gate->reached(60));
    int s = 0;
    Client(w.path()).send(request("GET", "/1.0")).answer(&s);
    CHECK(s == 200);
    w.gate->open();
    for (auto &c : all) {
      c->answer(&s);
      CHECK(s == 200);
    }
  }
}

TEST_CASE("rest: more work than threads waits its turn, and sockets and other work are served meanwhile") {
  rest::Workers workers(8);
  using Lane = rest::Workers::Lane;
  Gate gate;
  std::atomic<int> done{0};
  for (int i = 0; i < 100; i++)
    workers.patient(Lane::stream, std::to_string(i), [&] {
      gate.pass();
      done++;
    });
  REQUIRE(gate.reached(8));
  for (bool socket : {true, false}) {
    Gate served;
    if (socket)
      boost::asio::post(workers.io(), [&] { served.open(); });
    else
      workers.patient(Lane::change, "other", [&] { served.open(); });
    REQUIRE(served.opened());
  }
  CHECK(done == 0);
  CHECK_FALSE(gate.reached(9, 0ms));
  gate.open();
  for (int i = 0; i < 2000 && done < 100; i++) std::this_thread::sleep_for(10ms);
  CHECK(done == 100);
}

TEST_CASE("rest: waits that ran out leave nothing with the operation") {
  SlowWorld w;
  Client c(w.path());
  int s = 0;
  for (int i = 0; i < 50; i++) {
    c.send(request("GET", "/1.0/operations/0a0a0a0a-0000-4000-8000-000000000000/wait?timeout=0")).answer(&s);
    CHECK(s == 200);
  }
  std::vector<Client> all;
  for (int i = 0; i < 3; i++) {
    all.emplace_back(w.path());
    all.back().send(request("GET", "/1.0/operations/0a0a0a0a-0000-4000-8000-000000000000/wait"));
  }
  // Those that wait when it ends are told, all of them.
  for (int i = 0; i < 200; i++) {
    c.send(request("GET", "/1.0/operations/0a0a0a0a-0000-4000-8000-000000000000/wait?timeout=0")).answer(&s);
    std::this_thread::sleep_for(1ms);
  }
  std::vector<std::function<void()>> told;
  {
    std::lock_guard lock(w.op->mutex);
    told.swap(w.op->all);
  }
  CHECK(told.size() == 1);
  for (auto &t : told) t();
  for (auto &one : all) {
    one.answer(&s);
    CHECK(s == 200);
  }
}

TEST_CASE("rest: a second request to shut down is refused, whatever headers it has, and blocks nobody") {
  SlowWorld w;
  w.server->on_shutdown([&](bool) { w.gate->pass(); }, [] {});
  Client first(w.path());
  first.send(request("PUT", "/internal/shutdown"));
  REQUIRE(w.gate->reached(1));
  int s = 0;
  Client(w.path()).send(request("PUT", "/internal/shutdown", "", "Origin: http://x\r\n")).answer(&s);
  CHECK(s == 429);
  Client(w.path()).send(request("GET", "/1.0")).answer(&s);
  CHECK(s == 200);
  w.gate->open();
  first.answer(&s);
  CHECK(s == 200);
}

TEST_CASE("rest: a body that is no HTTP is told so, also where it is read as it comes") {
  World w;
  make_instance(w);
  CHECK(w.quiet());
  auto before = descriptors();
  const std::string chunked = "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/octet-stream\r\n\r\n";
  for (std::string target : {"/1.0/images", "/1.0/instances/c1/files?path=/x", "/1.0/instances/c1/metadata/templates?path=t"}) {
    CAPTURE(target);
    CHECK(w.status("POST " + target + " HTTP/1.1\r\n" + chunked + "zz\r\n") == 400);
    CHECK(w.status("POST " + target + " HTTP/1.1\r\n" + chunked + "2\r\nabXX2\r\nab\r\n") == 400);
  }
  CHECK(w.quiet());
  CHECK(settles_at(before));
}

TEST_CASE("rest: what lies in the place of the socket is not removed") {
  World w;
  auto file = w.dir + "/precious";
  std::ofstream(file) << "words";
  CHECK_THROWS_AS(w.server->listen_unix(file), Error);
  CHECK(std::filesystem::file_size(file) == 5);
  std::filesystem::remove(file);
}
