// SPDX-License-Identifier: Apache-2.0
// What a daemon does with instances when it starts and when the machine goes down.
#include <algorithm>
#include <boost/json.hpp>
#include <csignal>
#include <system_error>
#include <thread>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"
#include "schema/schema.hpp"

namespace incus::instance {

using std::chrono::milliseconds;

namespace {

constexpr const char *shut_down_mark = "core.instances_shut_down";
constexpr int attempts = 3;
constexpr auto between_attempts = std::chrono::seconds(5);
constexpr std::size_t most_at_once = 16;
constexpr auto longest_start = std::chrono::seconds(60);

std::int64_t number(const Config &c, const char *key) {
  try {
    return std::stoll(schema::value(instance_keys(), c, key));
  } catch (const std::exception &) {
    return 0;
  }
}

/// Calls `work` for each, some at a time.
template <class T, class F> void in_parallel(const std::vector<T> &all, F work) {
  std::atomic<std::size_t> next{0};
  auto run = [&] {
    for (std::size_t i; (i = next++) < all.size();) work(all[i]);
  };
  std::vector<std::thread> threads;
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  try {
    while (threads.size() + 1 < std::min(all.size(), most_at_once)) threads.emplace_back(run);
  } catch (const std::system_error &) {
    // With fewer then.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  run();
  for (auto &t : threads) t.join();
}

} // namespace

void Manager::halt() {
  std::lock_guard lock(mutex_);
  halted_ = true;
  released_.notify_all();
}

bool Manager::pause(milliseconds time) {
  std::unique_lock lock(mutex_);
  return !released_.wait_for(lock, time, [&] { return halted_; });
}

void Manager::start_all() {
  struct Candidate {
    std::int64_t priority, delay;
    std::string project, name;
  };
  std::vector<Candidate> all;
  for_all([&](const db::InstanceRow &r, const Expanded &e) {
    if (is_live(r.id)) return;
    auto wanted = schema::value(instance_keys(), e.config, "boot.autostart");
    auto last = r.config.find("volatile.last_state.power");
    if (wanted.empty() ? last == r.config.end() || last->second != "RUNNING" : !schema::truthy(wanted)) return;
    all.push_back({number(e.config, "boot.autostart.priority"), number(e.config, "boot.autostart.delay"), r.project, r.name});
  });
  std::stable_sort(all.begin(), all.end(), [](auto &a, auto &b) { return a.priority > b.priority; });
  for (auto &i : all) {
    for (int attempt = 1;; attempt++) {
      if (!pause(milliseconds(0))) return;
      try {
        InstanceStateChange c;
        c.action = "start";
        change_state(i.project, i.name, c);
        if (i.delay > 0 && !pause(std::chrono::seconds(i.delay))) return;
        break;
      } catch (const Error &e) {
        ctx_.log.warning("cannot start instance {} with the daemon (attempt {} of {}): {}", i.name, attempt, attempts, e.what());
        // Somebody else did, or took it away.
        if (e.code() == ErrorCode::conflict || e.code() == ErrorCode::not_found || attempt == attempts) break;
        if (!pause(between_attempts)) return;
      }
    }
  }
  // From now on one that does not run is one that ended.
  db::set_config(ctx_.local, shut_down_mark, "");
}

void Manager::shut_down(const Key &key, std::optional<milliseconds> limit) {
  auto r = db::instance(ctx_.global, key.id);
  if (!r) return;
  auto c = expand(*r).config;
  milliseconds time = std::chrono::seconds(number(c, "boot.host_shutdown_timeout"));
  if (limit) time = std::min(time, *limit);
  if (schema::value(instance_keys(), c, "boot.host_shutdown_action") == "force-stop") time = milliseconds(0);
  auto end = std::chrono::steady_clock::now() + time;
  // An operation on it may go on for as long as a clean stop could take.
  std::unique_ptr<Claim> claim;
  while (!claim) {
    try {
      claim = std::make_unique<Claim>(*this, r->project, r->name, "shutdown");
    } catch (const Error &) {
      if (std::chrono::steady_clock::now() >= end) break;
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  if (!is_live(key.id)) return;
  bool stopped = false;
  if (time.count() > 0 && claim) {
    try {
      if (ctx_.runtime.power(key) == Power::frozen) ctx_.runtime.unfreeze(key);
      ctx_.runtime.request_shutdown(key);
      auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
      stopped = ctx_.runtime.wait_stopped(key, std::max(left, milliseconds(1)));
    } catch (const Error &e) {
      ctx_.log.warning("cannot ask instance {} to stop: {}", r->name, e.what());
    }
  }
  if (!stopped) ctx_.runtime.kill(key);
  finish_stopped(key, stopped ? "instance-shutdown" : "instance-stopped", r->ephemeral ? After::removed : After::started);
  if (r->ephemeral)
    if (auto now = db::instance(ctx_.global, key.id)) remove_claimed(*now);
}

void Manager::stop_all(std::optional<milliseconds> limit) {
  halt();
  db::set_config(ctx_.local, shut_down_mark, "1");
  // Once more for those whose start had begun.
  for (int pass = 0; pass < 3 && stop_live(limit, pass > 0); pass++) {
  }
}

/// Stops what runs, highest priority first; `again`: what has been started since. False when there was nothing to stop.
bool Manager::stop_live(std::optional<milliseconds> limit, bool again) {
  std::map<std::int64_t, std::vector<Key>, std::greater<>> by_priority;
  std::map<std::int64_t, Live> live;
  {
    std::unique_lock lock(mutex_);
    ending_ = true;
    auto starting = [&] { return std::any_of(claims_.begin(), claims_.end(), [](auto &c) { return c.second == "start" || c.second == "restart"; }); };
    if (again) released_.wait_for(lock, longest_start, [&] { return !starting(); });
    live = live_;
    if (live.empty() && (again || !starting())) return false;
  }
  for (auto &[id, l] : live) {
    auto r = db::instance(ctx_.global, id);
    if (r) by_priority[number(expand(*r).config, "boot.stop.priority")].push_back(key_of(*r));
  }
  for (auto &[priority, keys] : by_priority)
    in_parallel(keys, [&](const Key &key) {
      try {
        shut_down(key, limit);
      } catch (const std::exception &e) {
        ctx_.log.error("cannot stop instance {}: {}", key.name, e.what());
      }
    });
  return true;
}

} // namespace incus::instance
