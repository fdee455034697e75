// SPDX-License-Identifier: Apache-2.0
// One thread sees monitors and inits end and guests get ready.
#include <csignal>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/time.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"

namespace incus::instance::lxc {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

void LxcRuntime::wake() noexcept {
  std::uint64_t one = 1;
  if (wakeup_) [[maybe_unused]]
    auto n = ::write(wakeup_.get(), &one, sizeof one);
}

void LxcRuntime::watch(const EntryPtr &entry, Watched what, base::Fd fd) {
  std::lock_guard lock(watch_mutex_);
  if (closed_) base::fail(ErrorCode::unavailable, "the host is closed");
  if (!epoll_) {
    base::Fd epoll(::epoll_create1(EPOLL_CLOEXEC)), wakeup(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    epoll_event ev{EPOLLIN, {.u64 = 0}};
    if (!epoll || !wakeup || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wakeup.get(), &ev) < 0) base::fail_errno(errno, "cannot watch instances");
    epoll_ = std::move(epoll);
    wakeup_ = std::move(wakeup);
    // The caller's signals are not for this thread.
    sigset_t all, old;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      watcher_ = std::thread([this] { run_watcher(); });
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
      throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  auto token = next_token_++;
  int n = fd.get();
  watches_.emplace(token, Watch{entry, what, std::move(fd)});
  epoll_event ev{EPOLLIN, {.u64 = token}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, n, &ev) < 0) {
    int e = errno;
    watches_.erase(token);
    base::fail_errno(e, "cannot watch an instance");
  }
}

void LxcRuntime::run_watcher() {
  for (;;) {
    int ms = -1;
    std::vector<EntryPtr> due;
    {
      std::lock_guard lock(watch_mutex_);
      auto now = Clock::now();
      while (!later_.empty() && later_.begin()->first <= now) {
        due.push_back(later_.begin()->second);
        later_.erase(later_.begin());
      }
      if (!later_.empty()) ms = static_cast<int>(std::chrono::ceil<milliseconds>(later_.begin()->first - now).count());
    }
    for (auto &e : due) ask_later(e);
    due.clear(); // their descriptors are not for the time that follows: it may be long
    epoll_event events[32];
    int n = ::epoll_wait(epoll_.get(), events, 32, ms);
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
    }
    for (int i = 0; i < n; i++) {
      if (events[i].data.u64 == 0) {
        std::uint64_t count;
        [[maybe_unused]] auto r = ::read(wakeup_.get(), &count, sizeof count);
        continue;
      }
      try {
        on_event(events[i].data.u64);
      } catch (const std::exception &x) {
        if (options_.log) options_.log->error("watching instances: {}", x.what());
      }
    }
  }
}

void LxcRuntime::on_event(std::uint64_t token) {
  EntryPtr e;
  Watched what;
  int fd;
  {
    std::lock_guard lock(watch_mutex_);
    auto it = watches_.find(token);
    if (it == watches_.end()) return;
    e = it->second.entry;
    what = it->second.what;
    fd = it->second.fd.get();
  }
  auto done = [&] {
    std::lock_guard lock(watch_mutex_);
    if (auto it = watches_.find(token); it != watches_.end()) {
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.fd.get(), nullptr);
      watches_.erase(it);
    }
  };
  switch (what) {
  case Watched::notify: return on_notify(e, fd);
  case Watched::init:
    done();
    return on_init_exit(e);
  case Watched::query: {
    base::Fd socket = base::dup_fd(fd);
    done();
    return on_query(e, socket);
  }
  case Watched::monitor:
    done();
    return on_monitor_exit(e);
  }
}

void LxcRuntime::on_monitor_exit(const EntryPtr &e) {
  finish(*e);
  std::function<void(const Key &)> tell;
  {
    std::lock_guard lock(mutex_);
    if (auto it = entries_.find(e->key.id); it != entries_.end() && it->second == e) entries_.erase(it);
    tell = events_.stopped;
  }
  {
    std::lock_guard lock(watch_mutex_);
    for (auto it = watches_.begin(); it != watches_.end();) {
      if (it->second.entry != e) {
        ++it;
        continue;
      }
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.fd.get(), nullptr);
      it = watches_.erase(it);
    }
  }
  if (tell) tell(e->key);
}

void LxcRuntime::on_init_exit(const EntryPtr &e) {
  // Most often its monitor follows at once: then it was a stop. Only a reboot leaves the monitor.
  std::lock_guard lock(watch_mutex_);
  later_.emplace(Clock::now() + milliseconds(60), e);
}

void LxcRuntime::ask_later(const EntryPtr &e) {
  {
    std::lock_guard lock(e->mutex);
    if (e->killing || e->finishing || e->stopped) return;
  }
  try {
    if (sys::wait_exit(e->monitor.get(), milliseconds(0))) return;
    watch(e, Watched::query, channel_.send(helper::lxc::query, {lxc_name(e->key), std::to_string(e->now()->pid), "30000"}));
  } catch (const std::exception &x) {
    if (options_.log) options_.log->error("cannot find out whether instance {} rebooted: {}", e->key.name, x.what());
    std::lock_guard lock(watch_mutex_);
    later_.emplace(Clock::now() + milliseconds(1000), e);
  }
}

void LxcRuntime::on_query(const EntryPtr &e, const base::Fd &socket) {
  std::optional<Reply> reply;
  try {
    reply = Channel::receive(socket, milliseconds(0));
  } catch (const Error &) {
    // The helper died; ask its successor.
    std::lock_guard lock(watch_mutex_);
    later_.emplace(Clock::now() + milliseconds(100), e);
    return;
  }
  if (!reply || reply->op != helper::lxc::ok || reply->fds.size() < 3) {
    // Stopped: its monitor's end tells. Else it hangs on its way up, and whatever becomes of it must not be missed.
    if (reply && reply->op == helper::lxc::ok && reply->args.at(0) == "STOPPED") return;
    std::lock_guard lock(watch_mutex_);
    later_.emplace(Clock::now() + milliseconds(1000), e);
    return;
  }
  auto life = std::make_shared<Life>();
  life->pid = std::stoi(reply->args.at(1));
  life->init = std::move(reply->fds[0]);
  life->net = std::move(reply->fds[2]);
  auto init = life->init.dup();
  Started started{life->pid, e->monitor_pid, base::now()};
  {
    std::lock_guard lock(e->mutex);
    if (e->finishing || e->stopped) return;
    e->life = life;
    e->started_at = started.started_at;
    e->booted = false;
    e->subscribed = false;
    e->changed.notify_all();
  }
  {
    sys::FaultScope fault("forget readiness");
    ::unlink((run_dir(e->key) + "/booted").c_str());
  }
  watch(e, Watched::init, std::move(init));
  std::function<void(const Key &, const Started &)> tell;
  {
    std::lock_guard lock(mutex_);
    tell = events_.rebooted;
  }
  if (tell) tell(e->key, started);
}

void LxcRuntime::on_notify(const EntryPtr &e, int fd) {
  char buf[4096];
  // A guest that talks without end gets no more than its turn.
  for (int i = 0; i < 16; i++) {
    // Longer ones are cut; descriptors are not taken.
    ssize_t n = ::recv(fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0) return;
    std::string_view text(buf, static_cast<std::size_t>(n));
    bool ready = false;
    while (!text.empty()) {
      auto line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      ready = ready || line == "READY=1";
    }
    if (!ready) continue;
    {
      // For an engine that opens this directory later: the guest says it once.
      sys::FaultScope fault("note readiness");
      base::Fd mark(::open((run_dir(e->key) + "/booted").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    }
    std::lock_guard lock(e->mutex);
    e->booted = true;
    e->changed.notify_all();
  }
}

} // namespace incus::instance::lxc
