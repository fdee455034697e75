// SPDX-License-Identifier: Apache-2.0
// incusd and real containers: daemons that end under load, machines that go down and come up, clients that vanish or are slow.
#include <algorithm>
#include <boost/json.hpp>
#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <set>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>

#include <incus/incus.hpp>

#include "raw_client.hpp"
#include "testing.hpp"

using namespace incus;
using namespace incus::testing;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

std::string slurp(const std::string &path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// incusd in a directory of its own, started as often as asked.
class Daemon {
public:
  Daemon() {
    make_busybox_image(dir_ / "image");
    // Who shuts down in peace leaves a mark.
    auto inittab = dir_ / "image/rootfs/etc/inittab";
    auto text = slurp(inittab);
    text.replace(text.find("::shutdown:/bin/true"), 20, "::shutdown:/bin/touch /root/in-peace");
    write_file(inittab, text);
    std::filesystem::create_directory(dir_ / "host");
    ::chmod((dir_ / "host").c_str(), 0711);
    start();
    auto h = open();
    ImageImport how;
    how.alias = "busy";
    h.import_image(dir_ / "image", how).wait();
  }
  ~Daemon() {
    try {
      if (pid_ <= 0) start();
      auto h = open();
      for (auto &i : h.instances()) {
        auto c = h.instance(i.name);
        if (i.status != "Stopped") c.stop(true).wait();
        c.remove().wait();
      }
    } catch (const std::exception &e) {
      FAIL_CHECK("cannot clean up: " << e.what() << "\n" << slurp(log()));
    }
    if (pid_ > 0) ::kill(pid_, SIGTERM);
    wait_end(60s);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait_end(20s);
    }
  }
  /// `socket`: a listening one that it is given, as by the system's init; -1: it makes its own. Returns when it is ready, or already when it answers.
  void start(int socket = -1, bool ready = true) {
    const char *libexec = std::getenv("INCUS_LIBEXEC");
    auto program = std::string(libexec && *libexec ? libexec : "build/bin") + "/incusd";
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      int fd = ::open(log().c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600), null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      ::dup2(null, 0);
      ::dup2(fd, 1);
      ::dup2(fd, 2);
      ::setsid();
      ::setenv("INCUS_DIR", (dir_ / "host").c_str(), 1);
      if (socket >= 0) {
        if (::dup2(socket, 3) == 3) ::fcntl(3, F_SETFD, 0); // it may have been 3 all along
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
      }
      ::execl(program.c_str(), "incusd", static_cast<char *>(nullptr));
      ::_exit(127);
    }
    for (int i = 0; i < 3000; i++) {
      try {
        open().request("GET", ready ? "/internal/ready" : "/1.0");
        return;
      } catch (const Error &) {
        std::this_thread::sleep_for(20ms);
      }
      REQUIRE_MESSAGE(::waitpid(pid_, nullptr, WNOHANG) == 0, "the daemon ended at its start:\n" << slurp(log()));
    }
    FAIL("the daemon does not become ready:\n" << slurp(log()));
  }
  void signal(int number) { ::kill(pid_, number); }
  bool wait_end(std::chrono::milliseconds limit) {
    for (auto end = std::chrono::steady_clock::now() + limit * slowness(); std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(10ms))
      if (pid_ <= 0 || ::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return true;
      }
    return false;
  }
  std::string socket() const { return dir_ / "host/unix.socket"; }
  std::string log() const { return dir_ / "log"; }
  const Dir &dir() const { return dir_; }
  pid_t pid() const { return pid_; }
  Host open() { return Host::open("unix://" + socket()); }

  std::size_t descriptors() const { return count("/proc/" + std::to_string(pid_) + "/fd"); }
  /// Programs that serve this daemon: its children.
  std::size_t children() const {
    std::size_t n = 0;
    for (auto &e : std::filesystem::directory_iterator("/proc")) {
      auto name = e.path().filename().string();
      if (name.find_first_not_of("0123456789") != name.npos) continue;
      auto stat = slurp(e.path() / "stat");
      auto paren = stat.rfind(')');
      if (paren == stat.npos || stat.size() < paren + 5 || stat[paren + 2] == 'Z') continue;
      if (std::atoi(stat.c_str() + paren + 4) == pid_) n++;
    }
    return n;
  }
  /// All files of the state directory that are no store, log or file of a guest.
  std::set<std::string> files() const {
    std::set<std::string> out;
    std::error_code ec;
    auto base = dir_ / "host";
    for (std::filesystem::recursive_directory_iterator it(base, ec), end; it != end; it.increment(ec)) {
      auto name = it->path().string().substr(base.size());
      if (name.find("/rootfs") != name.npos) {
        it.disable_recursion_pending();
        continue;
      }
      if (!name.starts_with("/database") && !name.starts_with("/logs")) out.insert(name);
    }
    return out;
  }

private:
  static std::size_t count(const std::string &d) {
    std::error_code ec;
    std::size_t n = 0;
    for (std::filesystem::directory_iterator it(d, ec), end; it != end; it.increment(ec)) n++;
    return n;
  }
  Dir dir_{"incus-daemon"};
  pid_t pid_ = -1;
};

InstanceCreate of_image(const std::string &name, Config config = {}, bool start = false) {
  InstanceCreate r;
  r.name = name;
  r.config = std::move(config);
  r.source.type = "image";
  r.source.alias = "busy";
  r.start = start;
  return r;
}

bool alive(std::int64_t pid) { return pid > 0 && ::kill(static_cast<pid_t>(pid), 0) == 0; }

template <class F> bool soon(F f, std::chrono::milliseconds limit = 30s) {
  for (auto end = std::chrono::steady_clock::now() + limit * slowness(); std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(20ms))
    if (f()) return true;
  return f();
}

/// What one instance must be after the operations that reported success; `open` names one whose end nobody reported.
struct Known {
  bool exists = false, running = false;
  std::set<std::string> snapshots;
  std::string open;
};

/// Creates, starts, snapshots, stops and deletes instances of its own until the daemon goes.
void work(const std::string &uri, const std::string &prefix, std::atomic<bool> &enough, std::map<std::string, Known> &known) {
  for (int n = 0; !enough; n++) {
    auto name = prefix + std::to_string(n);
    auto &k = known[name];
    try {
      auto h = Host::open(uri);
      auto step = [&](const char *what, auto &&f) {
        k.open = what;
        f();
        k.open.clear();
      };
      step("create", [&] { h.create_instance(of_image(name)).wait(); });
      k.exists = true;
      auto c = h.instance(name);
      step("start", [&] { c.start().wait(); });
      k.running = true;
      step("snapshot", [&] { c.create_snapshot({"s0"}).wait(); });
      k.snapshots.insert("s0");
      if (n % 3 == 1) continue; // stays as it is
      step("stop", [&] { c.stop(true).wait(); });
      k.running = false;
      step("snapshot", [&] { c.create_snapshot({"s1"}).wait(); });
      k.snapshots.insert("s1");
      if (n % 3 == 2) continue;
      step("delete", [&] { c.remove().wait(); });
      k.exists = false;
      k.snapshots.clear();
    } catch (const Error &) {
      // The daemon went, or is going: how far this one came is told by `open`.
      if (enough) return;
      std::this_thread::sleep_for(5ms);
    }
  }
}

void compare(Host &h, const std::map<std::string, Known> &known) {
  std::map<std::string, InstanceInfo> there;
  for (auto &i : h.instances()) there[i.name] = i;
  for (auto &[name, k] : known) {
    CAPTURE(name);
    CAPTURE(k.open);
    auto it = there.find(name);
    bool exists = it != there.end();
    if (k.open != "create" && k.open != "delete") CHECK(exists == k.exists);
    if (!exists) continue;
    if (k.open != "start" && k.open != "stop" && k.open != "delete" && k.exists) CHECK((it->second.status == "Running") == k.running);
    // Whatever was going on, it is whole: running or stopped, and may be used.
    CHECK((it->second.status == "Running" || it->second.status == "Stopped"));
    std::set<std::string> snapshots;
    for (auto &s : h.instance(name).snapshots()) snapshots.insert(s.name);
    if (k.open != "delete")
      for (auto &s : k.snapshots) CHECK(snapshots.count(s) == 1);
    CHECK(snapshots.size() <= k.snapshots.size() + (k.open == "snapshot" ? 1 : 0));
  }
}

} // namespace

TEST_CASE("a daemon that ends under load loses no container and no effect of what it reported") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  std::map<std::string, std::int64_t> keep;
  {
    auto h = d.open();
    for (auto *name : {"keep1", "keep2"}) {
      h.launch(name, "busy");
      keep[name] = h.instance(name).state().pid;
    }
  }
  std::mt19937_64 random(seed());
  std::map<std::string, Known> all;
  for (int round = 0; round < 6; round++) {
    int number = round % 2 ? SIGTERM : SIGKILL;
    CAPTURE(round);
    std::atomic<bool> enough = false;
    std::map<std::string, Known> known[3];
    std::vector<std::thread> clients;
    for (int t = 0; t < 3; t++)
      clients.emplace_back([&, t] { work("unix://" + d.socket(), "r" + std::to_string(round) + "-" + std::to_string(t) + "-", enough, known[t]); });
    std::this_thread::sleep_for(std::chrono::milliseconds(700 + random() % 1500));
    enough = true;
    d.signal(number);
    CHECK(d.wait_end(60s));
    for (auto &c : clients) c.join();
    for (auto &[name, pid] : keep) CHECK(alive(pid));
    d.start();
    auto h = d.open();
    std::size_t worked = 0;
    for (auto &k : known) {
      worked += k.size();
      all.insert(k.begin(), k.end());
    }
    CHECK(worked >= 3);
    compare(h, all);
    for (auto &[name, pid] : keep) {
      CHECK(h.instance(name).info().status == "Running");
      CHECK(h.instance(name).state().pid == pid);
      CHECK(h.instance(name).exec({"true"}).exit_code == 0);
    }
    CHECK(h.request("GET", "/internal/check") == R"({"problems":[]})");
    // Everything can be gone on with; then the next round begins with little.
    for (auto &[name, k] : all) {
      if (!std::count_if(keep.begin(), keep.end(), [&](auto &o) { return o.first == name; })) {
        auto names = h.instance_names();
        if (std::find(names.begin(), names.end(), name) == names.end()) continue;
        auto c = h.instance(name);
        if (c.info().status != "Stopped") c.stop(true).wait();
        c.remove().wait();
      }
    }
    all.clear();
    CHECK(h.instance_names().size() == keep.size());
    CHECK(h.request("GET", "/internal/check") == R"({"problems":[]})");
  }
}

TEST_CASE("a machine that goes down stops its instances in their time, and starts them again in their order") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  {
    auto h = d.open();
    h.launch("last", "busy", of_image("", {{"boot.autostart", "true"}, {"boot.autostart.priority", "1"}}));
    h.launch("first", "busy", of_image("", {{"boot.autostart", "true"}, {"boot.autostart.priority", "9"}, {"boot.autostart.delay", "1"}}));
    h.launch("stays", "busy", of_image("", {{"boot.autostart", "false"}}));
    h.launch("as-before", "busy");
    h.create_instance(of_image("stopped")).wait();
    h.create_instance(of_image("wished", {{"boot.autostart", "true"}})).wait();
    // One that does not hear: an init that ignores everything.
    h.create_instance(of_image("deaf", {{"boot.host_shutdown_timeout", "1"}})).wait();
    h.instance("deaf").write_file("/etc/inittab", "null::respawn:/bin/sleep 100000\n");
    FileOptions executable;
    executable.mode = 0755;
    h.instance("deaf").remove_file("/sbin/init");
    h.instance("deaf").write_file("/sbin/init", "#!/bin/sh\ntrap '' PWR INT TERM HUP QUIT USR1 USR2 RTMIN+3\nwhile true; do sleep 1000; done\n", executable);
    h.instance("deaf").start().wait();
    for (auto *n : {"last", "first", "stays", "as-before"}) h.instance(n).wait_ready(ReadyLevel::exec);
  }
  for (bool by_signal : {true, false}) {
    CAPTURE(by_signal);
    std::vector<std::int64_t> pids;
    {
      auto h = d.open();
      for (auto &i : h.instances())
        if (i.status == "Running") pids.push_back(h.instance(i.name).state().pid);
      CHECK(pids.size() >= 4);
      if (by_signal)
        d.signal(SIGPWR);
      else
        CHECK_NOTHROW(h.request("PUT", "/internal/shutdown"));
    }
    // The default is 30 seconds an instance: nobody needs that here, and the deaf one has one second.
    CHECK(d.wait_end(25s));
    for (auto pid : pids) CHECK_FALSE(alive(pid));
    d.start();
    auto h = d.open();
    auto running = [&](const char *n) { return h.instance(n).info().status == "Running"; };
    for (auto *n : {"first", "last", "as-before", "deaf", "wished"}) {
      CAPTURE(n);
      CHECK(soon([&] { return running(n); }));
    }
    CHECK_FALSE(running("stays"));
    CHECK_FALSE(running("stopped"));
    auto started = [&](const char *n) { return h.instance(n).info().last_used_at; };
    CHECK(started("last") - started("first") >= 1s); // the first one's delay
    for (auto *n : {"first", "last", "as-before"}) {
      CAPTURE(n);
      CHECK_NOTHROW(h.instance(n).remove_file("/root/in-peace"));
    }
    if (by_signal) CHECK(h.instance("stays").read_file("/root/in-peace").empty());
    CHECK_THROWS_AS(h.instance("deaf").read_file("/root/in-peace"), Error);
    CHECK(h.request("GET", "/internal/check") == R"({"problems":[]})");
    // An ordinary end touches nobody.
    auto pid = h.instance("first").state().pid;
    for (auto *n : {"first", "last", "as-before"}) h.instance(n).wait_ready(ReadyLevel::exec);
    d.signal(SIGTERM);
    CHECK(d.wait_end(25s));
    CHECK(alive(pid));
    d.start();
    CHECK(d.open().instance("first").state().pid == pid);
    CHECK_FALSE(d.open().instance("stays").info().status == "Running");
  }
}

TEST_CASE("a daemon that is told to end while it starts instances waits for no delay, and starts no others") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  auto h = d.open();
  h.launch("first", "busy", of_image("", {{"boot.autostart", "true"}, {"boot.autostart.priority", "9"}, {"boot.autostart.delay", "86400"}, {"boot.host_shutdown_timeout", "5"}}));
  h.create_instance(of_image("second", {{"boot.autostart", "true"}})).wait();
  h.instance("first").stop(true).wait();
  d.signal(SIGTERM);
  REQUIRE(d.wait_end(60s));
  auto running = [&](const char *n) { return d.open().instance(n).info().status == "Running"; };
  for (std::string how : {"SIGPWR", "PUT", "SIGTERM"}) {
    CAPTURE(how);
    d.start(-1, false);
    REQUIRE(soon([&] { return running("first"); }));
    CHECK_FALSE(running("second"));
    CHECK_THROWS_AS(d.open().request("GET", "/internal/ready"), Error);
    auto pid = d.open().instance("first").state().pid;
    CHECK(alive(pid));
    if (how == "PUT")
      CHECK_NOTHROW(d.open().request("PUT", "/internal/shutdown"));
    else
      d.signal(how == "SIGPWR" ? SIGPWR : SIGTERM);
    REQUIRE(d.wait_end(60s));
    CHECK(alive(pid) == (how == "SIGTERM"));
  }
  // The rest comes with the next start.
  d.start();
  CHECK(running("first"));
  CHECK(running("second"));
  CHECK(d.open().request("GET", "/internal/check") == R"({"problems":[]})");
}

TEST_CASE("clients that vanish leave no process, descriptor or half file") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  auto h = d.open();
  auto c = h.launch("c1", "busy");
  c.write_file("/root/large", std::string(4'000'000, 'x'));
  auto image = h.images().at(0).fingerprint;
  int status = 0;
  auto begin_exec = [&](const std::string &command, json::object *fds) {
    Client one(d.socket());
    auto body = one.send(request("POST", "/1.0/instances/c1/exec", fmt::format(R"({{"command":["sleep","{}"],"wait-for-websocket":true,"interactive":false}})", command)))
                    .answer(&status);
    REQUIRE(status == 202);
    auto v = json::parse(body);
    *fds = v.at("metadata").at("metadata").at("fds").as_object();
    return std::string(v.at("operation").as_string());
  };
  auto attach = [&](const std::string &op, const std::string &secret) {
    auto one = std::make_unique<Client>(d.socket());
    one->send(fmt::format("GET {}/websocket?secret={} HTTP/1.1\r\nHost: x\r\n{}\r\n", op, secret, websocket)).answer(&status);
    CHECK(status == 101);
    return one;
  };
  auto sleepers = [&] { return c.exec({"sh", "-c", "ps | grep -c '[s]leep 4242'"}).stdout_data; };
  auto ended = [&](const std::string &op) {
    Client one(d.socket());
    auto v = json::parse(one.send(request("GET", op + "/wait?timeout=60")).answer(&status));
    return v.at("metadata").at("status_code").as_int64() != 103;
  };
  // All of the ways once, so that what is kept for the next time is there before it is counted.
  auto vanish = [&](bool count) {
    for (int phase = 0; phase <= 5; phase++) {
      CAPTURE(phase);
      json::object fds;
      auto op = begin_exec("4242" + std::to_string(phase), &fds);
      std::vector<std::unique_ptr<Client>> all;
      int i = 0;
      for (auto *n : {"control", "0", "1", "2"})
        if (i++ < phase) all.push_back(attach(op, std::string(fds.at(n).as_string())));
      if (phase == 5) CHECK(soon([&] { return sleepers() == "1\n"; })); // it runs
      if (phase == 4) all[1]->send(std::string_view("\x82\xfe\xff", 3));  // in the middle of a frame
      all.clear();
      if (count) CHECK(ended(op));
    }
    for (std::size_t sent : {0UL, 1UL, 100'000UL, 999'999UL}) {
      CAPTURE(sent);
      Client(d.socket()).send("POST /1.0/instances/c1/files?path=/root/pushed HTTP/1.1\r\nHost: x\r\nX-Incus-type: file\r\nContent-Length: 1000000\r\n\r\n").send(std::string(sent, 'x'));
      Client(d.socket()).send("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n").send(std::string(sent, 'x'));
      Client(d.socket())
          .send("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\nTransfer-Encoding: chunked\r\n\r\n")
          .send(sent > 1 ? fmt::format("{:x}\r\n--XX\r\nContent-Disposition: form-data; name=metadata; filename=m\r\n\r\n{}", sent + 80, std::string(sent, 'x')) : "");
    }
    for (auto target : {"/1.0/images/" + image + "/export", std::string("/1.0/instances/c1/files?path=/root/large")})
      for (int bytes : {0, 1, 70'000}) {
        Client one(d.socket());
        one.send(request("GET", target));
        std::string some(static_cast<std::size_t>(bytes), '\0');
        for (std::size_t got = 0; got < some.size();) {
          auto n = ::recv(one.fd.get(), some.data() + got, some.size() - got, 0);
          REQUIRE(n > 0);
          got += static_cast<std::size_t>(n);
        }
      }
    Client sftp(d.socket());
    sftp.send("GET /1.0/instances/c1/sftp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: sftp\r\n\r\n").answer(&status);
    CHECK(status == 101);
    sftp.send(std::string_view("\0\0\0\x5\x1\0\0", 7));
  };
  vanish(false);
  CHECK(soon([&] { return sleepers() == "0\n"; }));
  CHECK(soon([&] { return h.request("GET", "/1.0/operations").find("running") == std::string::npos; }, 60s));
  std::this_thread::sleep_for(200ms);
  auto files = d.files();
  std::size_t descriptors = d.descriptors(), children = d.children();
  for (int round = 0; round < 2; round++) vanish(true);
  CHECK(soon([&] { return sleepers() == "0\n"; }));
  CHECK_MESSAGE(soon([&] { return d.descriptors() <= descriptors; }), d.descriptors() << " descriptors, " << descriptors << " before");
  CHECK_MESSAGE(soon([&] { return d.children() <= children; }), d.children() << " processes, " << children << " before");
  CHECK(soon([&] { return d.files() == files; }));
  CHECK(h.images().size() == 1);
  CHECK(c.exec({"true"}).exit_code == 0);
  CHECK(h.request("GET", "/internal/check") == R"({"problems":[]})");
}

TEST_CASE("a socket that somebody else holds: clients wait in it while no daemon runs") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  auto pid = d.open().launch("c1", "busy").state().pid;
  d.signal(SIGTERM);
  REQUIRE(d.wait_end(30s));
  CHECK_FALSE(std::filesystem::exists(d.socket())); // its own goes with it
  base::Fd held(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  d.socket().copy(a.sun_path, sizeof a.sun_path - 1);
  REQUIRE(::bind(held.get(), reinterpret_cast<sockaddr *>(&a), sizeof a) == 0);
  REQUIRE(::listen(held.get(), 16) == 0);
  for (int round = 0; round < 2; round++) {
    // Asks before there is anybody to answer.
    Client early(d.socket());
    early.send(request("GET", "/1.0/instances"));
    d.start(held.get());
    int status = 0;
    CHECK(early.answer(&status).find("/1.0/instances/c1") != std::string::npos);
    CHECK(status == 200);
    CHECK(d.open().instance("c1").state().pid == pid);
    d.signal(SIGTERM);
    REQUIRE(d.wait_end(30s));
    CHECK(std::filesystem::exists(d.socket())); // not its own
  }
  ::unlink(d.socket().c_str());
  held.reset();
  d.start();
}

TEST_CASE("slow clients hold nobody") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  auto h = d.open();
  auto c = h.launch("c1", "busy");
  c.write_file("/root/large", std::string(8'000'000, 'x'));
  auto image = h.images().at(0).fingerprint;
  std::vector<std::unique_ptr<Client>> slow;
  auto add = [&](std::string_view text) {
    slow.push_back(std::make_unique<Client>(d.socket()));
    slow.back()->send(text);
  };
  for (int i = 0; i < 40; i++) {
    add("GET /1.0/inst"); // half a line
    add("POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); // half a body
    add("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nxx");
    add(fmt::format("POST /1.0/instances/c1/files?path=/root/slow{} HTTP/1.1\r\nHost: x\r\nX-Incus-type: file\r\nContent-Length: 1000000\r\n\r\nxx", i));
    add(request("GET", "/1.0/instances/c1/files?path=/root/large")); // reads nothing
    add(request("GET", "/1.0/images/" + image + "/export"));
    add(fmt::format("GET /1.0/events HTTP/1.1\r\nHost: x\r\n{}\r\n", websocket));
    std::string many;
    for (int k = 0; k < 50; k++) many += request("GET", "/1.0/metadata/configuration"); // large answers, none read
    slow.push_back(std::make_unique<Client>(d.socket()));
    ::send(slow.back()->fd.get(), many.data(), many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  // Each of these would wait for its turn until the test's limit if the slow ones held what it needs.
  for (int i = 0; i < 20; i++) {
    int status = 0;
    Client one(d.socket());
    one.send(request("GET", "/1.0")).answer(&status);
    CHECK(status == 200);
  }
  CHECK(c.exec({"echo", "there"}).stdout_data == "there\n");
  c.write_file("/root/quick", "there");
  CHECK(c.read_file("/root/quick") == "there");
  auto other = h.launch("c2", "busy");
  other.create_snapshot({"s0"}).wait();
  auto events = h.listen({"lifecycle"});
  other.stop(true).wait();
  bool saw = false;
  while (auto e = events.next(20s))
    if ((saw = e->metadata.text.find("instance-stopped") != std::string::npos)) break;
  CHECK(saw);
  other.remove().wait();
  make_busybox_image(d.dir() / "image2");
  write_file(d.dir() / "image2/rootfs/etc/mark", "another image");
  h.import_image(d.dir() / "image2").wait();
  CHECK(h.images().size() == 2);
  slow.clear();
  CHECK(c.exec({"true"}).exit_code == 0);
  CHECK(h.images().size() == 2);
}

TEST_CASE("a daemon waits while the one before it closes, and is refused beside one that serves") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Daemon d;
  const char *libexec = std::getenv("INCUS_LIBEXEC");
  auto second = "INCUS_DIR=" + (d.dir() / "host") + " " + (libexec && *libexec ? libexec : "build/bin") + "/incusd >" + (d.dir() / "second") + " 2>&1 </dev/null";
  CHECK(std::system(second.c_str()) != 0);
  CHECK_MESSAGE(slurp(d.dir() / "second").find("is held by process " + std::to_string(d.pid())) != std::string::npos, slurp(d.dir() / "second"));
  CHECK(d.open().request("GET", "/1.0").find("api_extensions") != std::string::npos);
  for (int round = 0; round < 10; round++) {
    pid_t old = d.pid();
    d.signal(SIGTERM);
    // Nobody is served any more: to its clients it has ended.
    auto served = [&] {
      try {
        d.open();
        return true;
      } catch (const Error &) {
        return false;
      }
    };
    for (int i = 0; i < 30'000 && served(); i++) std::this_thread::sleep_for(1ms);
    d.start();
    int status = 0;
    CHECK(::waitpid(old, &status, 0) == old);
    CHECK(WIFEXITED(status));
  }
}
