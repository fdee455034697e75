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

void Workers::quick(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (quick_ >= most_quick) {
      waiting_.push_back(std::move(work));
      return;
    }
    quick_++;
    begin();
  }
  for (;;) {
    try {
      work();
    } catch (const std::exception &) {
      // Work answers its own failures; what is left is that of answering.
    }
    work = {};
    std::lock_guard lock(mutex_);
    if (waiting_.empty() || stopping_) {
      quick_--;
      end();
      return;
    }
    work = std::move(waiting_.front());
    waiting_.pop_front();
  }
}

void Workers::patient(Lane lane, std::function<void()> work) {
  boost::asio::post(io_, [this, lane, work = std::move(work)]() mutable { run_patient(lane, std::move(work)); });
}

void Workers::run_patient(Lane which, std::function<void()> work) {
  auto &lane = lanes_[static_cast<int>(which)];
  {
    std::lock_guard lock(mutex_);
    // The last thread that polls the sockets is not given away: neither to too much work, nor where no other thread can be had.
    bool put_off = lane.running >= most_patient_;
    if (!put_off) {
      begin();
      put_off = lane.running > 0 && threads_ - busy_ < 1 && !stopping_;
      if (put_off) end();
    }
    if (put_off) {
      lane.put_off.push_back(std::move(work));
      return;
    }
    lane.running++;
  }
  for (;;) {
    try {
      work();
    } catch (const std::exception &) {
      // As above.
    }
    work = {};
    std::lock_guard lock(mutex_);
    if (lane.put_off.empty() || stopping_) {
      lane.running--;
      end();
      return;
    }
    work = std::move(lane.put_off.front());
    lane.put_off.pop_front();
  }
}

void Workers::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  // They may hold the last of what ends by locks of its own.
  std::vector<std::deque<std::function<void()>>> dropped;
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
