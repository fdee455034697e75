// SPDX-License-Identifier: Apache-2.0
#include "rest/workers.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <csignal>
#include <system_error>
#include <thread>

#include "base/error.hpp"

namespace incus::rest {

namespace {
/// Threads that poll sockets when nothing blocks; beyond them come those that replace blocked ones.
constexpr int base_threads = 2;
constexpr int most_quick = 24;
constexpr int most_threads = 1100;
} // namespace

Workers::Workers() : guard_(boost::asio::make_work_guard(io_)) {
  std::lock_guard lock(mutex_);
  for (int i = 0; i < base_threads; i++) spawn();
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
    // One more than the base is kept, so that a blocking call now and then makes no threads.
    if (!stopping_ && threads_ - busy_ > base_threads + 1) {
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
  if (threads_ - busy_ < 1 && threads_ < most_threads && !stopping_) spawn();
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

void Workers::patient(std::function<void()> work) {
  boost::asio::post(io_, [this, work = std::move(work)] {
    {
      std::lock_guard lock(mutex_);
      begin();
    }
    try {
      work();
    } catch (const std::exception &) {
    }
    std::lock_guard lock(mutex_);
    end();
  });
}

void Workers::stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  waiting_.clear();
  lock.unlock();
  guard_.reset();
  io_.stop();
  lock.lock();
  gone_.wait(lock, [&] { return threads_ == 0; });
}

} // namespace incus::rest
