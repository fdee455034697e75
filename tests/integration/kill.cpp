// SPDX-License-Identifier: Apache-2.0
// Killed at every step: an owner process performs one operation and is killed, or its helper, or both, at the Nth passage of a fault
// point (test build), or at a random time (shipped build). A new process then opens the directory: everything must agree, a
// bystander must still run, and the operation must have happened wholly or not at all.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <incus/incus.hpp>

#include "sys/fault.hpp"
#include "testing.hpp"

using namespace incus;
using namespace incus::testing;

extern char **environ;

#ifdef INCUS_FAULT_BUILD
namespace incus::sys {
void fault_arm(bool on) noexcept;
long fault_count() noexcept;
}
#endif

namespace {

constexpr int broken = 3, refused = 4;

void arm(bool on) {
#ifdef INCUS_FAULT_BUILD
  sys::fault_arm(on);
#else
  (void)on;
#endif
}

bool exists(Host &h, const std::string &name) {
  for (auto &n : h.instance_names())
    if (n == name) return true;
  return false;
}
bool has_snapshot(Host &h, const std::string &instance, const std::string &name) {
  for (auto &s : h.instance(instance).snapshots())
    if (s.name == name) return true;
  return false;
}
InstanceCreate from_image() {
  InstanceCreate r;
  r.source.type = "image";
  r.source.alias = "busy";
  return r;
}
void create(Host &h, const std::string &name) {
  auto r = from_image();
  r.name = name;
  h.create_instance(r).wait();
}
void kill_and_delete(Host &h, const std::string &name) {
  if (!exists(h, name)) return;
  auto i = h.instance(name);
  if (i.info().status != "Stopped") i.stop(true).wait();
  i.remove().wait();
}

const std::string volumes = "/1.0/storage-pools/default/volumes/custom";
void operate(Host &h, const std::string &method, const std::string &path, const std::string &body = {}) {
  RawCall c;
  c.method = method;
  c.path = path;
  c.body = body;
  h.call(c).operation->wait();
}
bool has_volume(Host &h, const std::string &name) { return h.request("GET", volumes).find("/custom/" + name + "\"") != std::string::npos; }

const std::string second = "/1.0/storage-pools/p2/volumes/custom";
void second_pool(Host &h) { h.create_storage_pool({"p2", "dir", "", {}}); }
bool has_volume(Host &h, const std::string &base, const std::string &name) { return h.request("GET", base).find("/custom/" + name + "\"") != std::string::npos; }

/// One operation: how to get ready for it, what it does, what may be found afterwards, how to get back.
struct Scenario {
  const char *name;
  void (*prepare)(Host &);
  void (*act)(Host &);
  void (*check)(Host &); ///< throws when what is there is neither before nor after
  void (*restore)(Host &);
};

void must(bool ok, const std::string &what) {
  if (!ok) throw std::runtime_error(what);
}

const Scenario scenarios[] = {
    {"create", [](Host &) {}, [](Host &h) { create(h, "new"); },
     [](Host &h) {
       if (exists(h, "new")) {
         h.instance("new").start().wait();
         must(h.instance("new").exec({"true"}).exit_code == 0, "a created instance does not work");
       }
     },
     [](Host &h) { kill_and_delete(h, "new"); }},
    {"start", [](Host &h) { create(h, "s"); }, [](Host &h) { h.instance("s").start().wait(); },
     [](Host &h) {
       if (h.instance("s").info().status == "Running") must(h.instance("s").exec({"true"}).exit_code == 0, "a running instance does not answer");
     },
     [](Host &h) { kill_and_delete(h, "s"); }},
    {"ephemeral",
     [](Host &h) {
       auto r = from_image();
       r.name = "e";
       r.ephemeral = true;
       r.start = true;
       h.create_instance(r).wait();
     },
     [](Host &h) { h.instance("e").stop(true).wait(); },
     [](Host &h) {
       // It runs, or it has never been.
       if (exists(h, "e")) must(h.instance("e").info().status == "Running" && h.instance("e").exec({"true"}).exit_code == 0, "an ephemeral instance that stopped is still there");
     },
     [](Host &h) {
       if (exists(h, "e")) h.instance("e").stop(true).wait();
     }},
    {"limits",
     [](Host &h) {
       create(h, "l");
       h.instance("l").start().wait();
     },
     [](Host &h) {
       h.instance("l").patch({{"limits.memory", "256MiB"}}, {});
       h.instance("l").patch({{"limits.memory", "128MiB"}}, {});
     },
     [](Host &h) {
       auto config = h.instance("l").info().config;
       auto limit = h.instance("l").state().memory.total;
       bool agrees = config.count("limits.memory") ? limit == (config.at("limits.memory") == "256MiB" ? 256 << 20 : 128 << 20) : limit > 256 << 20;
       must(agrees, "the limit is not the one of the configuration");
     },
     [](Host &h) { kill_and_delete(h, "l"); }},
    {"snapshot", [](Host &h) { create(h, "n"); }, [](Host &h) { h.instance("n").create_snapshot({"s0", false, {}}).wait(); },
     [](Host &h) {
       if (has_snapshot(h, "n", "s0")) h.instance("n").restore("s0").wait();
       h.instance("n").create_snapshot({"later", false, {}}).wait();
     },
     [](Host &h) { kill_and_delete(h, "n"); }},
    {"restore",
     [](Host &h) {
       create(h, "r");
       auto i = h.instance("r");
       i.start().wait();
       must(i.exec({"sh", "-c", "echo old > /root/mark; sync"}).exit_code == 0, "mark");
       i.create_snapshot({"s0", false, {}}).wait();
       must(i.exec({"sh", "-c", "echo new > /root/mark; sync"}).exit_code == 0, "mark");
       i.stop(true).wait();
     },
     [](Host &h) { h.instance("r").restore("s0").wait(); },
     [](Host &h) {
       auto i = h.instance("r");
       i.start().wait();
       auto mark = i.exec({"cat", "/root/mark"}).stdout_data;
       must(mark == "old\n" || mark == "new\n", "the root is neither the old nor the new one: " + mark);
     },
     [](Host &h) { kill_and_delete(h, "r"); }},
    {"copy",
     [](Host &h) {
       create(h, "from");
       h.instance("from").create_snapshot({"s0", false, {}}).wait();
     },
     [](Host &h) {
       InstanceCreate r;
       r.name = "to";
       r.source.type = "copy";
       r.source.source = "from";
       h.create_instance(r).wait();
     },
     [](Host &h) {
       if (!exists(h, "to")) return;
       must(has_snapshot(h, "to", "s0"), "a copy without its snapshot");
       h.instance("to").start().wait();
       must(h.instance("to").exec({"true"}).exit_code == 0, "a copied instance does not work");
     },
     [](Host &h) {
       kill_and_delete(h, "to");
       kill_and_delete(h, "from");
     }},
    {"rename", [](Host &h) { create(h, "a"); h.instance("a").create_snapshot({"s0", false, {}}).wait(); }, [](Host &h) { h.instance("a").rename("b").wait(); },
     [](Host &h) {
       must(exists(h, "a") != exists(h, "b"), "neither the old name nor the new one, or both");
       auto i = h.instance(exists(h, "a") ? "a" : "b");
       must(has_snapshot(h, i.name(), "s0"), "the snapshot is lost");
       i.start().wait();
       must(i.exec({"true"}).exit_code == 0, "a renamed instance does not work");
     },
     [](Host &h) {
       kill_and_delete(h, "a");
       kill_and_delete(h, "b");
     }},
    {"delete", [](Host &h) { create(h, "d"); h.instance("d").create_snapshot({"s0", false, {}}).wait(); }, [](Host &h) { h.instance("d").remove().wait(); },
     [](Host &h) {
       if (exists(h, "d")) must(has_snapshot(h, "d", "s0"), "half deleted");
       else create(h, "d");
     },
     [](Host &h) { kill_and_delete(h, "d"); }},
    {"rebuild",
     [](Host &h) {
       create(h, "w");
       auto i = h.instance("w");
       i.start().wait();
       must(i.exec({"sh", "-c", "echo old > /root/mark; sync"}).exit_code == 0, "mark");
       i.stop(true).wait();
     },
     [](Host &h) { operate(h, "POST", "/1.0/instances/w/rebuild", R"({"source":{"type":"image","alias":"busy"}})"); },
     [](Host &h) {
       auto i = h.instance("w");
       auto config = i.info().config;
       bool fresh = config.at("volatile.uuid") != config.at("volatile.uuid.generation");
       i.start().wait();
       must((i.exec({"test", "-e", "/root/mark"}).exit_code != 0) == fresh, "the root is not the one that the store tells of");
     },
     [](Host &h) { kill_and_delete(h, "w"); }},
    {"devices",
     [](Host &h) {
       create(h, "w");
       h.instance("w").start().wait();
     },
     [](Host &h) {
       auto i = h.instance("w");
       i.patch({}, {{"n", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "net0"}}}, {"d", {{"type", "disk"}, {"path", "/srv/d"}, {"source", "/etc"}, {"readonly", "true"}}}});
       i.patch({}, {{"d", {{"type", "disk"}, {"path", "/srv/d"}, {"source", "/usr"}, {"readonly", "true"}}}});
       i.patch({}, {{"n", {{"type", "nic"}, {"nictype", "p2p"}, {"name", "net0"}, {"mtu", "1400"}}}});
       auto now = i.info();
       auto devices = now.devices;
       devices.erase("d");
       devices.erase("n");
       i.update({now.architecture, now.config, now.description, devices, now.ephemeral, now.profiles, "", false}).wait();
     },
     [](Host &h) {
       // The guest has what the store tells of.
       auto i = h.instance("w");
       auto devices = i.info().devices;
       auto d = devices.find("d");
       bool etc = i.exec({"test", "-e", "/srv/d/passwd"}).exit_code == 0, usr = i.exec({"test", "-d", "/srv/d/bin"}).exit_code == 0;
       must(etc == (d != devices.end() && d->second.at("source") == "/etc"), "the disk is not the one of the configuration: /etc");
       must(usr == (d != devices.end() && d->second.at("source") == "/usr"), "the disk is not the one of the configuration: /usr");
       auto network = i.state().network;
       must(network.count("net0") == devices.count("n"), "the interfaces are not those of the configuration");
       if (network.count("net0")) must(network["net0"].mtu == (devices["n"].count("mtu") ? 1400 : 1500), "the interface is not as the configuration has it");
     },
     [](Host &h) { kill_and_delete(h, "w"); }},
    {"volume", [](Host &) {},
     [](Host &h) {
       h.request("POST", volumes, R"({"name":"v1"})");
       operate(h, "POST", volumes + "/v1/snapshots", R"({"name":"s0"})");
       operate(h, "POST", volumes + "/v1/snapshots/s0", R"({"name":"s1"})");
       h.request("POST", volumes + "/v1", R"({"name":"v2"})");
       operate(h, "DELETE", volumes + "/v2/snapshots/s1");
     },
     [](Host &h) {
       // What is there can be used and removed.
       for (auto *v : {"v1", "v2"})
         if (has_volume(h, v)) operate(h, "POST", volumes + "/" + v + "/snapshots", R"({"name":"later"})");
     },
     [](Host &h) {
       for (auto *v : {"v1", "v2"})
         if (has_volume(h, v)) h.request("DELETE", volumes + "/" + v);
     }},
    {"disk",
     [](Host &h) {
       h.request("POST", volumes, R"({"name":"v1","content_type":"block","config":{"size":"1MiB"}})");
       operate(h, "POST", volumes + "/v1/snapshots", R"({"name":"s0"})");
     },
     [](Host &h) {
       h.request("POST", volumes, R"({"name":"v2","content_type":"block","config":{"size":"4MiB"}})");
       h.request("PATCH", volumes + "/v1", R"({"config":{"size":"3MiB"}})");
       h.request("PUT", volumes + "/v1", R"({"restore":"s0"})");
       operate(h, "POST", volumes, R"({"name":"v3","config":{"size":"5MiB"},"source":{"type":"copy","name":"v1","pool":"default"}})");
     },
     [](Host &h) {
       // Each is as large as the store says.
       for (auto *v : {"v1", "v2", "v3"}) {
         if (!has_volume(h, v)) continue;
         bool grown = h.request("GET", volumes + "/" + v).find("3MiB") != std::string::npos;
         auto file = h.storage_pool("default").info().config.at("source") + "/custom/default_" + v + "/root.img";
         auto wanted = (v[1] == '3' ? 5u : v[1] == '2' ? 4u : grown ? 3u : 1u) << 20;
         must(std::filesystem::file_size(file) == wanted, file + " is not of " + std::to_string(wanted) + " bytes");
       }
     },
     [](Host &h) {
       for (auto *v : {"v1", "v2", "v3"})
         if (has_volume(h, v)) h.request("DELETE", volumes + "/" + v);
     }},
    {"volumes between pools",
     [](Host &h) {
       second_pool(h);
       h.request("POST", volumes, R"({"name":"v1"})");
       operate(h, "POST", volumes + "/v1/snapshots", R"({"name":"s0"})");
     },
     [](Host &h) {
       operate(h, "POST", second, R"({"name":"v2","source":{"type":"copy","pool":"default","name":"v1"}})");
       h.request("PUT", second + "/v2", R"({"restore":"s0"})");
       operate(h, "POST", volumes + "/v1/snapshots", R"({"name":"s1"})");
       operate(h, "POST", second, R"({"name":"v2","source":{"type":"copy","pool":"default","name":"v1","refresh":true}})");
       operate(h, "POST", volumes + "/v1", R"({"name":"v3","pool":"p2"})");
     },
     [](Host &h) {
       must(has_volume(h, volumes, "v1") != has_volume(h, second, "v3"), "neither the old volume nor the moved one, or both");
       auto moved = has_volume(h, second, "v3");
       must(h.request("GET", (moved ? second + "/v3" : volumes + "/v1") + "/snapshots").find("/s0\"") != std::string::npos, "the snapshot is lost");
       for (auto *v : {"v2", "v3"})
         if (has_volume(h, second, v)) operate(h, "POST", second + "/" + v + "/snapshots", R"({"name":"later"})");
     },
     [](Host &h) {
       for (auto *v : {"v2", "v3"})
         if (has_volume(h, second, v)) h.request("DELETE", second + "/" + v);
       if (has_volume(h, "v1")) h.request("DELETE", volumes + "/v1");
       h.storage_pool("p2").remove();
     }},
    {"move",
     [](Host &h) {
       second_pool(h);
       create(h, "m");
       h.instance("m").write_file("/root/mark", "mine");
       h.instance("m").create_snapshot({"s0", false, {}}).wait();
     },
     [](Host &h) {
       operate(h, "POST", "/1.0/instances/m", R"({"name":"m2","pool":"p2","migration":true})");
       operate(h, "POST", "/1.0/instances/m2", R"({"name":"m2","pool":"default","migration":true,"instance_only":true})");
       h.instance("m2").create_snapshot({"s1", false, {}}).wait();
       operate(h, "POST", "/1.0/instances/m2", R"({"name":"m3","pool":"default","migration":true,"instance_only":true})");
     },
     [](Host &h) {
       must(exists(h, "m") + exists(h, "m2") + exists(h, "m3") == 1, "not under one of its names");
       auto i = h.instance(exists(h, "m") ? "m" : exists(h, "m2") ? "m2" : "m3");
       must(i.read_file("/root/mark") == "mine", "the root is another one");
       must(has_snapshot(h, i.name(), "s0") || i.info().expanded_devices.at("root").at("pool") == "default", "the snapshot is lost");
       i.start().wait();
       must(i.exec({"true"}).exit_code == 0, "a moved instance does not work");
     },
     [](Host &h) {
       kill_and_delete(h, "m");
       kill_and_delete(h, "m2");
       kill_and_delete(h, "m3");
       h.storage_pool("p2").remove();
     }},
    {"refresh",
     [](Host &h) {
       second_pool(h);
       create(h, "f");
       h.instance("f").write_file("/root/mark", "old");
       operate(h, "POST", "/1.0/instances", R"({"name":"t","devices":{"root":{"type":"disk","path":"/","pool":"p2"}},"source":{"type":"copy","source":"f"}})");
       h.instance("t").create_snapshot({"goes", false, {}}).wait();
       h.instance("f").write_file("/root/mark", "new");
       h.instance("f").create_snapshot({"s0", false, {}}).wait();
     },
     [](Host &h) { operate(h, "POST", "/1.0/instances", R"({"name":"t","source":{"type":"copy","source":"f","refresh":true}})"); },
     [](Host &h) {
       auto i = h.instance("t");
       auto mark = i.read_file("/root/mark");
       must(mark == "old" || mark == "new", "the root is neither the old nor the new one: " + mark);
       operate(h, "POST", "/1.0/instances", R"({"name":"t","source":{"type":"copy","source":"f","refresh":true}})");
       must(i.read_file("/root/mark") == "new" && has_snapshot(h, "t", "s0") && !has_snapshot(h, "t", "goes"), "a second refresh does not do it");
       i.start().wait();
       must(i.exec({"true"}).exit_code == 0, "a refreshed instance does not work");
     },
     [](Host &h) {
       kill_and_delete(h, "t");
       kill_and_delete(h, "f");
       h.storage_pool("p2").remove();
     }},
};

const Scenario &scenario(const std::string &name) {
  for (auto &s : scenarios)
    if (name == s.name) return s;
  throw std::runtime_error("no scenario " + name);
}

OpenOptions options(const std::string &driver) {
  OpenOptions o;
  o.storage_driver = driver;
  if (std::getenv("INCUS_TEST_LOG"))
    o.log = [](LogLevel, const std::string &l) { std::fprintf(stderr, "    %s\n", l.c_str()); };
  return o;
}

void agree(Host &h) {
  auto text = h.request("GET", "/internal/check");
  must(text == "{\"problems\":[]}", "store, disk and kernel differ: " + text);
  must(h.instance("keep").info().status == "Running", "the bystander does not run any more");
  must(h.instance("keep").exec({"cat", "/root/name"}).stdout_data == "keep\n", "the bystander is not the same");
}

/// Steps that run in processes of their own.
int child(const std::string &step, const std::string &dir, const std::string &driver, const std::string &name) {
  try {
    auto h = Host::open("embed://" + dir, options(driver));
    if (step == "setup") {
      ImageImport how;
      how.alias = "busy";
      h.import_image(name, how).wait();
      create(h, "keep");
      h.instance("keep").start().wait();
      must(h.instance("keep").exec({"sh", "-c", "echo keep > /root/name"}).exit_code == 0, "keep");
    } else if (step == "prepare") {
      scenario(name).prepare(h);
    } else if (step == "act") {
      // The helper is up, and known to the fault points, before they count.
      must(h.instance("keep").exec({"true"}).exit_code == 0, "the bystander does not answer");
      arm(true);
      try {
        scenario(name).act(h);
      } catch (const Error &e) {
        arm(false);
        // Its helper was killed: the operation may fail, but must have cleaned up or say so at the next open.
        std::fprintf(stderr, "    %s: %s\n", name.c_str(), e.what());
        return refused;
      }
      arm(false);
#ifdef INCUS_FAULT_BUILD
      std::printf("%ld\n", sys::fault_count());
#endif
    } else if (step == "verify") {
      agree(h);
      scenario(name).check(h);
      scenario(name).restore(h);
      agree(h);
    } else if (step == "end") {
      h.instance("keep").stop(true).wait();
      h.instance("keep").remove().wait();
    }
    return 0;
  } catch (const std::exception &e) {
    std::fprintf(stderr, "    %s %s: %s\n", step.c_str(), name.c_str(), e.what());
    return broken;
  }
}

/// Runs this program again for one step; its exit code, or 128 + signal. `kill_after`: microseconds, negative: never.
int run(const std::vector<std::string> &args, const std::string &fault, std::string *out = nullptr, long kill_after = -1) {
  std::vector<char *> argv;
  std::string self = "/proc/self/exe";
  argv.push_back(self.data());
  std::vector<std::string> copy = args;
  for (auto &a : copy) argv.push_back(a.data());
  argv.push_back(nullptr);
  std::vector<std::string> env;
  for (char **e = environ; *e; e++)
    if (std::strncmp(*e, "INCUS_FAULT=", 12) != 0) env.emplace_back(*e);
  if (!fault.empty()) env.push_back("INCUS_FAULT=" + fault);
  std::vector<char *> envp;
  for (auto &e : env) envp.push_back(e.data());
  envp.push_back(nullptr);
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], 1);
  pid_t pid = 0;
  REQUIRE(::posix_spawn(&pid, self.c_str(), &actions, nullptr, argv.data(), envp.data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  REQUIRE(pidfd >= 0);
  pollfd p{pidfd, POLLIN, 0};
  if (kill_after >= 0) {
    timespec t{kill_after / 1000000, (kill_after % 1000000) * 1000};
    if (::ppoll(&p, 1, &t, nullptr) == 0) ::kill(pid, SIGKILL);
  }
  if (::poll(&p, 1, 120000) == 0) {
    std::fprintf(stderr, "    %s hangs, killed\n", args[1].c_str());
    ::kill(pid, SIGKILL);
  }
  ::close(pidfd);
  int status = 0;
  ::waitpid(pid, &status, 0);
  char buf[64];
  ssize_t n = ::read(pipe[0], buf, sizeof buf - 1);
  ::close(pipe[0]);
  if (out && n > 0) *out = std::string(buf, static_cast<std::size_t>(n));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct Place {
  explicit Place(const std::string &d) : dir("incus-kill"), driver(d) {
    make_busybox_image(dir / "image");
    REQUIRE(run({"--child", "setup", path(), driver, dir / "image"}, "") == 0);
  }
  ~Place() { CHECK(run({"--child", "end", path(), driver, "-"}, "") == 0); }
  std::string path() const { return dir / "host"; }
  Dir dir;
  std::string driver;
};

} // namespace

#ifdef INCUS_FAULT_BUILD

TEST_CASE("killed before and after every mutation") {
  long done = 0;
  for (std::string driver : {"dir", "overlay"}) {
    Place place(driver);
    for (auto &s : scenarios) {
      // One undisturbed run tells how many points there are.
      REQUIRE(run({"--child", "prepare", place.path(), driver, s.name}, "") == 0);
      std::string count;
      REQUIRE(run({"--child", "act", place.path(), driver, s.name}, "", &count) == 0);
      REQUIRE(run({"--child", "verify", place.path(), driver, s.name}, "") == 0);
      long points = std::atol(count.c_str());
      REQUIRE(points > 3);
      for (std::string who : {"owner", "helper", "both"})
        for (long n : sample(points, 10, driver + s.name + who)) {
          auto fault = who + ":" + std::to_string(n);
          CAPTURE(driver);
          CAPTURE(s.name);
          CAPTURE(fault);
          REQUIRE(run({"--child", "prepare", place.path(), driver, s.name}, "") == 0);
          int rc = run({"--child", "act", place.path(), driver, s.name}, fault);
          if (who == "helper")
            CHECK((rc == 0 || rc == refused));
          else
            CHECK(rc == 128 + SIGKILL);
          REQUIRE(run({"--child", "verify", place.path(), driver, s.name}, "") == 0);
          done++;
        }
    }
  }
  MESSAGE("kills: " << done);
  CHECK(done > 0);
}

#else

TEST_CASE("killed at random times") {
  std::mt19937_64 random(seed());
  int rounds = all() ? 40 : 4;
  for (std::string driver : {"dir", "overlay"}) {
    Place place(driver);
    for (auto &s : scenarios)
      for (int i = 0; i < rounds; i++) {
        long after = static_cast<long>(random() % 60000);
        CAPTURE(driver);
        CAPTURE(s.name);
        CAPTURE(after);
        REQUIRE(run({"--child", "prepare", place.path(), driver, s.name}, "") == 0);
        int rc = run({"--child", "act", place.path(), driver, s.name}, "", nullptr, after);
        CHECK((rc == 0 || rc == 128 + SIGKILL));
        REQUIRE(run({"--child", "verify", place.path(), driver, s.name}, "") == 0);
      }
  }
}

#endif

int main(int argc, char **argv) {
  if (argc >= 6 && std::strcmp(argv[1], "--child") == 0) return child(argv[2], argv[3], argv[4], argv[5]);
  doctest::Context context(argc, argv);
  return context.run();
}
