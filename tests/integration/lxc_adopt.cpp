// SPDX-License-Identifier: Apache-2.0
// The container runtime by itself: engine, helper or monitor die, and what the next one finds.
#include "lxc_room.hpp"

using namespace lxc_room;

TEST_CASE("an engine killed: its successor adopts what runs") {
  Room room;
  room.rt.reset();
  auto spec = room.spec(1, "c1", false, true);
  device::NicItem nic;
  nic.guest_name = "eth0";
  nic.host_name = "vi" + room.host_id;
  spec.items.nics.push_back(nic);
  int ready[2];
  REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
  pid_t child = ::fork();
  if (child == 0) {
    auto rt = room.open();
    try {
      rt->start(spec);
      rt->wait_ready(spec.key, ReadyLevel::booted, patience);
      [[maybe_unused]] auto n = ::write(ready[1], "x", 1);
    } catch (const std::exception &e) {
      std::fprintf(stderr, "%s\n", e.what());
      _exit(1);
    }
    for (;;) ::pause();
  }
  ::close(ready[1]);
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  ::close(ready[0]);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  room.rt = room.open();
  CHECK_FALSE(room.rt->adopt({2, "c2"}));
  auto found = room.rt->adopt(spec.key);
  REQUIRE(found);
  CHECK(::kill(static_cast<int>(found->init_pid), 0) == 0);
  CHECK(std::chrono::system_clock::now() - found->started_at < 60s);
  CHECK(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
  CHECK(run(*room.rt, spec.key, {"true"}).code == 0);
  CHECK(room.rt->state(spec.key).network.count("eth0") == 1);
  std::atomic<int> stopped{0};
  room.rt->set_events({[&](const Key &) { stopped++; }, {}});
  sh(*room.rt, spec.key, "poweroff");
  CHECK(room.rt->wait_stopped(spec.key, patience));
  CHECK(eventually([&] { return stopped == 1; }));
  CHECK(room.rt->leftovers({}).empty());
  CHECK(::if_nametoindex(nic.host_name.c_str()) == 0);
}

TEST_CASE("clean removes what a killed monitor left, and a start works again") {
  Room room;
  auto spec = room.spec(1, "c1");
  auto started = room.rt->start(spec);
  std::atomic<int> stopped{0};
  room.rt->set_events({[&](const Key &) { stopped++; }, {}});
  ::kill(static_cast<int>(started.monitor_pid), SIGKILL);
  CHECK(room.rt->wait_stopped(spec.key, patience));
  CHECK(eventually([&] { return stopped == 1; }));
  CHECK(room.rt->leftovers({}).empty());
  room.rt->clean(spec.key, {"no-such-if"});
  room.rt->start(spec);
  auto second = room.open();
  // Not adopted: a guest of which nobody knows.
  second->clean(spec.key, {});
  CHECK(second->leftovers({}).empty());
  CHECK(room.rt->wait_stopped(spec.key, patience));
}

namespace {
/// The helpers that run, by their process groups.
std::set<int> helpers() {
  std::set<int> out;
  auto helper = fs::canonical(helper_path());
  for (auto &e : fs::directory_iterator("/proc")) {
    int pid = std::atoi(e.path().filename().c_str());
    std::error_code ec;
    // Monitors run the same program, in groups of their own.
    auto title = sys::read_small_file(e.path() / "cmdline", 64);
    if (pid > 0 && fs::read_symlink(e.path() / "exe", ec) == helper && !ec && ::getpgid(pid) == pid && title && !title->starts_with("[lxc")) out.insert(pid);
  }
  return out;
}
} // namespace

TEST_CASE("the helper killed at any moment of a start: nothing is left, and the next start works") {
  Room room;
  auto spec = room.spec(1, "c1", false, true);
  room.rt->start(spec);
  room.rt->kill(spec.key);
  int failed = 0, came_up = 0;
  for (int delay = 0; delay < 30; delay++) {
    CAPTURE(delay);
    auto now = helpers();
    REQUIRE_FALSE(now.empty());
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay * 2));
      for (int pid : now) ::kill(-pid, SIGKILL);
    });
    bool up = false;
    try {
      room.rt->start(spec);
      up = true;
    } catch (const Error &) {
    }
    killer.join();
    REQUIRE(eventually([&] { return std::all_of(now.begin(), now.end(), [](int pid) { return gone(pid); }); }));
    (up ? came_up : failed)++;
    if (up) {
      // Running is what needs no helper.
      CHECK(room.rt->power(spec.key) == Power::running);
      CHECK(run(*room.rt, spec.key, {"true"}).code == 0);
      room.rt->kill(spec.key);
    }
    CHECK(room.rt->leftovers({}).empty());
    // A helper for the next round.
    room.rt->validate_raw("lxc.sysctl.a.b = 1");
  }
  CHECK(failed > 0);
  room.rt->start(spec);
  CHECK(run(*room.rt, spec.key, {"true"}).code == 0);
}

TEST_CASE("a request that a helper was killed before it read goes to the next one") {
  Room room;
  const std::string raw = "lxc.sysctl.a.b = 1";
  room.rt->validate_raw(raw);
  auto now = helpers();
  REQUIRE(now.size() == 1);
  // The helper stands still, so the request waits in its socket.
  ::kill(*now.begin(), SIGSTOP);
  std::string error;
  std::thread asking([&] {
    try {
      room.rt->validate_raw(raw);
    } catch (const std::exception &e) {
      error = e.what();
    }
  });
  std::this_thread::sleep_for(100ms);
  ::kill(-*now.begin(), SIGKILL);
  asking.join();
  CHECK(error == "");
  CHECK(helpers() != now);
}

TEST_CASE("engine and helper killed at any moment of a start and a stop: the next open adopts or cleans") {
  Room room;
  room.rt.reset();
  auto spec = room.spec(1, "c1");
  for (int delay = 0; delay < 24; delay++) {
    CAPTURE(delay);
    pid_t child = ::fork();
    if (child == 0) {
      auto rt = room.open();
      for (;;) try {
          rt->start(spec);
          rt->kill(spec.key);
        } catch (const std::exception &) {
        }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + delay * 7));
    auto now = helpers();
    ::kill(child, SIGKILL);
    if (delay % 2)
      for (int pid : now) ::kill(-pid, SIGKILL);
    ::waitpid(child, nullptr, 0);
    // As the state directory's lock does: the next opener waits until the helper is gone.
    REQUIRE(eventually([&] {
      for (int pid : now)
        if (::kill(-pid, 0) == 0 && !gone(pid)) return false;
      return true;
    }, 40s));
    auto rt = room.open();
    if (rt->adopt(spec.key)) {
      CHECK(run(*rt, spec.key, {"true"}).code == 0);
      rt->kill(spec.key);
    } else {
      rt->clean(spec.key, {});
    }
    CHECK(rt->leftovers({}).empty());
    rt->start(spec);
    rt->kill(spec.key);
    CHECK(rt->leftovers({}).empty());
  }
  room.rt = room.open();
}

TEST_CASE("auto_destroy: nothing outlives the engine, even when that is killed") {
  for (bool killed : {true, false}) {
    CAPTURE(killed);
    Room room;
    room.rt.reset();
    int ready[2];
    REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
    auto a = room.spec(1, "c1"), b = room.spec(2, "c2", false, true);
    pid_t child = ::fork();
    if (child == 0) {
      lxc::Options o;
      o.auto_destroy = o.remove_directory = true;
      auto rt = room.open(o);
      std::vector<std::int64_t> pids;
      try {
        pids.push_back(rt->start(a).init_pid);
        pids.push_back(rt->start(b).init_pid);
        rt->freeze(b.key);
      } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        _exit(1);
      }
      [[maybe_unused]] auto n = ::write(ready[1], pids.data(), 16);
      // A child of the owner that keeps its descriptors must not keep the instances.
      if (::fork() == 0) {
        std::this_thread::sleep_for(15s * testing::slowness());
        _exit(0);
      }
      if (!killed) {
        rt->close();
        _exit(0);
      }
      for (;;) ::pause();
    }
    ::close(ready[1]);
    std::int64_t pids[2] = {};
    REQUIRE(::read(ready[0], pids, 16) == 16);
    ::close(ready[0]);
    if (killed) ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK(eventually([&] { return gone(pids[0]) && gone(pids[1]); }));
    CHECK(eventually([&] { return !fs::exists(room.dir); }));
    CHECK_FALSE(sys::CgroupTree(sys::cgroup_roots(), "incus-" + room.host_id).exists());
  }
}
