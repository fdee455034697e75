// SPDX-License-Identifier: Apache-2.0
#include "rest/workers.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <csignal>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace incus::rest {

namespace {
/// Threads that poll sockets when nothing blocks; beyond them come those that replace blocked ones.
constexpr int base_threads = 2;
constexpr int most_quick = 24;
} // namespace

Workers::Workers(int most_patient) : guard_(boost::asio::make_work_guard(io_)), most_patient_(most_patient) {
  try {
    std::lock_guard lock(mutex_);
    for (int i = 0; i < base_threads; i++) spawn();
  } catch (...) {
    stop(); // those that could be made
    throw;
  }
}

void Workers::spawn() {
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  try {
    std::thread([this] { run(); }).detach();
    threads_++;
  } catch (const std::system_error &e) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    // The ones there are go on; with none the server cannot be.
    if (threads_ < base_threads) base::fail(ErrorCode::unavailable, "cannot start a thread of the server: {}", e.what());
    return;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Workers::run() {
  for (;;) {
    try {
      if (io_.run_one() == 0) break;
    } catch (const std::exception &) {
      // One connection's failure (no memory): its handlers are gone, and it with them.
    }
    std::lock_guard lock(mutex_);
    // Two more than the base are kept, so that a blocking call now and then makes no threads.
    if (!stopping_ && threads_ - busy_ > base_threads + 2) {
      threads_--;
      gone_.notify_all();
      return;
    }
  }
  std::lock_guard lock(mutex_);
  threads_--;
  gone_.notify_all();
}

/// Counts the calling thread as blocked, and sees to it that another one polls.
void Workers::begin() {
  busy_++;
  if (threads_ - busy_ < 1 && !stopping_) spawn();
}

void Workers::end() { busy_--; }

void Workers::quick(const std::string &who, std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (quick_ >= most_quick) {
      waiting_.push(who, std::move(work));
      return;
    }
    quick_++;
    begin();
  }
  auto anybody = [](const std::string &) { return true; };
  std::string next;
  for (;;) {
    try {
      work();
    } catch (const std::exception &) {
      // Work answers its own failures; what is left is that of answering.
    }
    work = {};
    std::lock_guard lock(mutex_);
    if (stopping_ || !waiting_.pop(anybody, next, work)) {
      quick_--;
      end();
      return;
    }
  }
}

void Workers::patient(Lane which, const std::string &who, std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    lanes_[static_cast<int>(which)].put_off.push(who, std::move(work));
  }
  boost::asio::post(io_, [this, which] { run_patient(which); });
}

/// The more is taken, the less of it may be one client's; the last place is for somebody who has none.
bool Workers::may_run(const Patient &lane, const std::string &who) const {
  int free = most_patient_ - lane.running;
  auto it = lane.of.find(who);
  return free > 0 && (it == lane.of.end() || it->second < 3 * (free - 1));
}

/// Runs what waits in a lane, as long as there is something that may run.
void Workers::run_patient(Lane which) {
  auto &lane = lanes_[static_cast<int>(which)];
  auto may = [&](const std::string &who) { return may_run(lane, who); };
  std::string who;
  std::function<void()> work;
  auto take = [&] {
    if (stopping_ || !lane.put_off.pop(may, who, work)) return false;
    lane.running++;
    lane.of[who]++;
    return true;
  };
  {
    std::lock_guard lock(mutex_);
    if (!lane.put_off.any(may)) return;
    // The last thread that polls the sockets is not given away: neither to too much work, nor where no other thread can be had.
    begin();
    if ((lane.running > 0 && threads_ - busy_ < 1 && !stopping_) || !take()) return end();
  }
  for (;;) {
    try {
      work();
    } catch (const std::exception &) {
      // As above.
    }
    work = {};
    std::lock_guard lock(mutex_);
    lane.running--;
    if (auto it = lane.of.find(who); --it->second == 0) lane.of.erase(it);
    if (!take()) return end();
    // A place that is free again may have let in more than one.
    if (lane.put_off.any(may)) boost::asio::post(io_, [this, which] { run_patient(which); });
  }
}

void Workers::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  // They may hold the last of what ends by locks of its own.
  std::vector<FairQueue> dropped;
  dropped.push_back(std::exchange(waiting_, {}));
  for (auto &l : lanes_) dropped.push_back(std::exchange(l.put_off, {}));
  lock.unlock();
  dropped.clear();
  guard_.reset();
  io_.stop();
  lock.lock();
  gone_.wait(lock, [&] { return threads_ == 0; });
}

} // namespace incus::rest
