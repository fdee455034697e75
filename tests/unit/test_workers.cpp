// SPDX-License-Identifier: Apache-2.0
// The threads of a server, shared between clients.
#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "rest/workers.hpp"

using namespace incus::rest;
using Lane = Workers::Lane;

namespace {

/// Work that stays until it is let go, and a list of who came to run.
struct Stage {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> ran;
  int inside = 0;
  bool open = false;

  std::function<void()> stay(const std::string &who) {
    return [this, who] {
      std::unique_lock lock(mutex);
      ran.push_back(who);
      inside++;
      changed.notify_all();
      changed.wait(lock, [&] { return open; });
      inside--;
      changed.notify_all();
    };
  }
  /// Bounded only so that a failure ends.
  template <class F> bool until(F f) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(60), f);
  }
  void let_go() {
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  std::size_t count(const std::string &who) {
    std::size_t n = 0;
    for (auto &w : ran) n += w == who;
    return n;
  }
};

} // namespace

TEST_CASE("workers: who fills a lane leaves room for others") {
  Stage s;
  Workers w(4);
  for (int i = 0; i < 20; i++) w.patient(Lane::change, "greedy", s.stay("greedy"));
  REQUIRE(s.until([&] { return s.inside == 3; }));
  // Nothing of the greedy one's has ended, nor will it: the other gets in all the same.
  w.patient(Lane::change, "other", s.stay("other"));
  REQUIRE(s.until([&] { return s.inside == 4; }));
  {
    std::lock_guard lock(s.mutex);
    CHECK(s.count("greedy") == 3);
    CHECK(s.count("other") == 1);
  }
  // Another lane is not touched by it.
  w.patient(Lane::guest, "greedy", s.stay("guest"));
  REQUIRE(s.until([&] { return s.inside == 5; }));
  s.let_go();
  CHECK(s.until([&] { return s.ran.size() == 22 && s.inside == 0; }));
  w.stop();
}

TEST_CASE("workers: those who wait get their turns one after another") {
  Stage s;
  Workers w(1);
  w.patient(Lane::change, "first", s.stay("first"));
  REQUIRE(s.until([&] { return s.inside == 1; }));
  for (int i = 0; i < 3; i++) w.patient(Lane::change, "greedy", s.stay("greedy"));
  for (int i = 0; i < 2; i++) w.patient(Lane::change, "other", s.stay("other"));
  s.let_go();
  REQUIRE(s.until([&] { return s.ran.size() == 6 && s.inside == 0; }));
  CHECK(s.ran == std::vector<std::string>{"first", "greedy", "other", "greedy", "other", "greedy"});
  w.stop();
}

TEST_CASE("workers: a lane with one place still serves everybody, and one caller alone gets all done") {
  Stage s;
  s.open = true;
  Workers w(2);
  for (int i = 0; i < 200; i++) w.patient(i % 2 ? Lane::stream : Lane::guest, i % 3 ? "a" : "b", s.stay("x"));
  CHECK(s.until([&] { return s.ran.size() == 200 && s.inside == 0; }));
  w.stop();
}

TEST_CASE("workers: quick work beyond the limit takes turns too") {
  FairQueue q;
  std::string order;
  for (auto *who : {"a", "a", "a", "b", "b", "c"}) q.push(who, [&order, who] { order += who; });
  std::string who;
  FairQueue::Work work;
  auto anybody = [](const std::string &) { return true; };
  CHECK(q.any([](const std::string &n) { return n == "c"; }));
  CHECK_FALSE(q.any([](const std::string &n) { return n == "d"; }));
  CHECK(q.pop([](const std::string &n) { return n != "a"; }, who, work));
  CHECK(who == "b");
  work();
  while (q.pop(anybody, who, work)) work();
  CHECK(order == "bacbaa");
  CHECK(q.empty());
}
