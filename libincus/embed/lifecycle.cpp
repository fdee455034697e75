// SPDX-License-Identifier: Apache-2.0
// What a daemon asks for: instances that start with it and stop with the machine, and what happens by the clock.
#include <csignal>

#include "base/time.hpp"
#include "db/warnings.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

void Engine::start_instances() {
  {
    std::lock_guard lock(background_mutex_);
    if (closed_) return;
    if (!minutes_.joinable()) {
      // Threads of the library take no signals of the program.
      sigset_t every, before;
      sigfillset(&every);
      pthread_sigmask(SIG_SETMASK, &every, &before);
      try {
        minutes_ = std::thread([this] { run_minutes(); });
      } catch (...) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
      }
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    background_++; // closing waits for the one that starts now; the others are left
  }
  auto end = [this] {
    std::lock_guard lock(background_mutex_);
    background_--;
    background_idle_.notify_all();
  };
  try {
    instances_->start_all();
  } catch (...) {
    end();
    throw;
  }
  end();
}

void Engine::stop_instances(std::optional<std::chrono::milliseconds> limit) { instances_->stop_all(limit); }

void Engine::run_minutes() {
  using namespace std::chrono;
  Time pruned{};
  for (;;) {
    try {
      expire_backups(base::now());
    } catch (const std::exception &e) {
      log_.error("backups: {}", e.what());
    }
    try {
      run_image_tasks(base::now());
    } catch (const std::exception &e) {
      log_.error("images: {}", e.what());
    }
    auto now = base::now();
    auto next = floor<minutes>(now) + minutes(1);
    if (!instances_->pause(duration_cast<milliseconds>(next - now) + milliseconds(1))) return;
    try {
      instances_->expire_snapshots(next);
      instances_->run_schedules(next);
      expire_volume_snapshots(next);
      run_volume_schedules(next);
      // Once a day: what was resolved a week ago is of no interest any more.
      if (next - pruned >= hours(24)) {
        db::prune_warnings(*global_, next - hours(24 * 7));
        pruned = next;
      }
    } catch (const std::exception &e) {
      log_.error("schedules: {}", e.what());
    }
  }
}

} // namespace incus::embed
