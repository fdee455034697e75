// SPDX-License-Identifier: Apache-2.0
#include "instance/lxc/pump.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <termios.h>

#include "base/error.hpp"

namespace incus::instance::lxc {

namespace {
/// What a pipe takes without blocking once it is ready; the callers' descriptors keep their mode.
constexpr std::size_t piece = 4096;

ssize_t write_quietly(int fd, const char *data, std::size_t size) {
  // The callers' reader may be gone; that must not end the process by SIGPIPE.
  ssize_t n = ::send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n >= 0 || errno != ENOTSOCK) return n;
  return ::write(fd, data, size);
}
} // namespace

void Pump::wake() noexcept {
  std::uint64_t one = 1;
  if (wakeup_) [[maybe_unused]]
    auto n = ::write(wakeup_.get(), &one, sizeof one);
}

void Pump::add(Ptr session) {
  std::lock_guard lock(mutex_);
  if (stopping_) base::fail(ErrorCode::unavailable, "the host is closed");
  if (!wakeup_) {
    wakeup_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wakeup_) base::fail_errno(errno, "cannot serve terminals");
    // The thread inherits the mask: no signal of the caller's, and no SIGPIPE from writing.
    sigset_t all, old;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      thread_ = std::thread([this] { run(); });
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
      throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  if (!session->in) session->in_done = true;
  if (!session->out) session->out_done = true;
  sessions_.push_back(std::move(session));
  wake();
}

void Pump::drain(const Ptr &session, int ms) {
  {
    std::lock_guard lock(mutex_);
    session->closing = true;
    wake();
  }
  std::unique_lock lock(session->mutex);
  session->changed.wait_for(lock, std::chrono::milliseconds(ms), [&] { return session->drained; });
}

void Pump::remove(const Ptr &session) {
  std::lock_guard lock(mutex_);
  sessions_.erase(std::remove(sessions_.begin(), sessions_.end(), session), sessions_.end());
  wake();
}

void Pump::stop() noexcept {
  if (::getpid() != pid_) {
    if (thread_.joinable()) thread_.detach();
    return;
  }
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake();
  }
  if (thread_.joinable()) thread_.join();
  std::lock_guard lock(mutex_);
  sessions_.clear();
}

void Pump::step(Session &s, short terminal, short in, short out) {
  char buf[piece];
  if (terminal & (POLLIN | POLLHUP | POLLERR) && s.to_out.size() < piece) {
    ssize_t n = ::read(s.terminal.get(), buf, sizeof buf);
    if (n > 0) {
      if (!s.out_done) s.to_out.append(buf, static_cast<std::size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      // EIO: nobody holds the other end any more.
      s.terminal_done = true;
    }
  }
  if (out && !s.to_out.empty()) {
    ssize_t n = write_quietly(s.out.get(), s.to_out.data(), std::min(s.to_out.size(), piece));
    if (n > 0) s.to_out.erase(0, static_cast<std::size_t>(n));
    else if (n < 0 && errno != EAGAIN && errno != EINTR) {
      s.out_done = true;
      s.to_out.clear();
    }
  }
  if (in && !s.in_done && s.to_terminal.size() < piece) {
    ssize_t n = ::read(s.in.get(), buf, sizeof buf);
    if (n > 0) s.to_terminal.append(buf, static_cast<std::size_t>(n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      s.in_done = true;
      // The end of the input is told the way a terminal does, when the command reads it line by line.
      termios t;
      if (!s.console && ::tcgetattr(s.terminal.get(), &t) == 0 && (t.c_lflag & ICANON)) s.to_terminal += static_cast<char>(t.c_cc[VEOF]);
    }
  }
  if (!s.to_terminal.empty() && !s.terminal_done) {
    ssize_t n = ::write(s.terminal.get(), s.to_terminal.data(), s.to_terminal.size());
    if (n > 0) s.to_terminal.erase(0, static_cast<std::size_t>(n));
    else if (n < 0 && errno != EAGAIN && errno != EINTR) s.to_terminal.clear(); // nobody is there to read it
  }
}

void Pump::run() {
  for (;;) {
    std::vector<Ptr> now;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      now = sessions_;
    }
    std::vector<pollfd> p{{wakeup_.get(), POLLIN, 0}};
    for (auto &s : now) {
      short want = 0;
      if (s->to_out.size() < piece) want |= POLLIN;
      if (!s->to_terminal.empty()) want |= POLLOUT;
      // One that hung up says so all the time: not asked while there is no room for what it has left.
      p.push_back({s->terminal_done || !want ? -1 : s->terminal.get(), want, 0});
      p.push_back({s->in_done || s->to_terminal.size() >= piece || s->terminal_done ? -1 : s->in.get(), POLLIN, 0});
      p.push_back({s->out_done || s->to_out.empty() ? -1 : s->out.get(), POLLOUT, 0});
    }
    if (::poll(p.data(), p.size(), -1) < 0 && errno != EINTR) return;
    if (p[0].revents) {
      std::uint64_t count;
      [[maybe_unused]] auto r = ::read(wakeup_.get(), &count, sizeof count);
    }
    for (std::size_t i = 0; i < now.size(); i++) {
      auto &s = *now[i];
      step(s, p[1 + 3 * i].revents, p[2 + 3 * i].revents, p[3 + 3 * i].revents);
      bool drained = s.terminal_done && s.to_out.empty();
      if (drained || (s.ends_with_out && s.out_done) || (s.ends_with_in && s.in_done && s.to_terminal.empty())) {
        std::lock_guard lock(s.mutex);
        s.drained = s.drained || drained;
        s.ended = true;
        s.changed.notify_all();
      }
    }
  }
}

} // namespace incus::instance::lxc
