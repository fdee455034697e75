// SPDX-License-Identifier: Apache-2.0
#include "mock/exec.hpp"

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::mock {

class Command {
public:
  Command(instance::ExecSpec spec, TestExecHandler handler) : spec_(std::move(spec)), handler_(std::move(handler)), killed_(::eventfd(0, EFD_CLOEXEC)) {
    if (!killed_) base::fail_errno(errno, "cannot make an event descriptor");
  }

  /// The thread of the command.
  void run() {
    ExecResult r;
    std::exception_ptr failure;
    try {
      std::string input = read_input();
      for (auto &[k, v] : spec_.config)
        if (k.starts_with("environment.")) spec_.request.environment.emplace(k.substr(12), v);
      if (!ended()) r = handler_(spec_.key.name, spec_.request, input);
      write_all(spec_.out, r.stdout_data);
      write_all(spec_.request.interactive ? spec_.out : spec_.err, r.stderr_data);
    } catch (const std::exception &e) {
      auto *own = dynamic_cast<const Error *>(&e);
      failure = std::make_exception_ptr(Error(own ? own->code() : ErrorCode::internal, fmt::format("exec in {}: the handler of this test host failed", base::quoted(spec_.key.name)), e));
    } catch (...) {
      failure = std::make_exception_ptr(Error(ErrorCode::internal, fmt::format("exec in {}: the handler of this test host failed", base::quoted(spec_.key.name))));
    }
    end(r.exit_code, failure);
  }

  /// First caller decides. Closes the command's descriptors, so that readers see the end also while a handler is still at it.
  void end(int exit_code, std::exception_ptr failure = {}) {
    std::lock_guard lock(mutex_);
    if (done_) return;
    done_ = true;
    exit_code_ = exit_code;
    failure_ = failure;
    for (auto *fd : {&spec_.in, &spec_.out, &spec_.err}) fd->reset();
    std::uint64_t one = 1;
    while (::write(killed_.get(), &one, sizeof one) < 0 && errno == EINTR) {}
    ended_.notify_all();
  }

  bool ended() {
    std::lock_guard lock(mutex_);
    return done_;
  }

  bool wait(std::optional<std::chrono::milliseconds> timeout, int &exit_code) {
    std::unique_lock lock(mutex_);
    auto done = [&] { return done_; };
    if (!timeout)
      ended_.wait(lock, done);
    else if (!ended_.wait_for(lock, *timeout, done))
      return false;
    if (failure_) std::rethrow_exception(failure_);
    exit_code = exit_code_;
    return true;
  }

private:
  /// Waits for `fd`; false when the command was killed meanwhile.
  bool ready(int fd, short what) {
    for (;;) {
      pollfd p[2] = {{killed_.get(), POLLIN, 0}, {fd, what, 0}};
      if (::poll(p, 2, -1) < 0) {
        if (errno == EINTR) continue;
        return false;
      }
      if (p[0].revents) return false;
      if (p[1].revents) return true;
    }
  }

  /// One read or write of at most what polled ready, unless the command has ended and its descriptors are closed. 0 then, and at the end.
  template <class F> ssize_t transfer(const base::Fd &fd, short what, F call) {
    for (;;) {
      int n;
      {
        std::lock_guard lock(mutex_);
        n = fd.get();
      }
      if (n < 0 || !ready(n, what)) return 0;
      std::lock_guard lock(mutex_);
      if (done_) return 0;
      auto moved = call(n);
      if (moved >= 0) return moved;
      if (errno != EINTR && errno != EAGAIN) return 0; // the other end has gone
    }
  }

  /// All of stdin. A terminal has no end that one could wait for, so an interactive command gets none.
  std::string read_input() {
    std::string input;
    std::vector<char> buf(65536);
    if (spec_.request.interactive) return input;
    while (auto n = transfer(spec_.in, POLLIN, [&](int fd) { return ::read(fd, buf.data(), buf.size()); })) input.append(buf.data(), static_cast<std::size_t>(n));
    return input;
  }

  void write_all(const base::Fd &to, std::string_view data) {
    // Not more than fits a pipe that polls writable, so that a reader who stops reading cannot hold this thread.
    while (!data.empty()) {
      auto n = transfer(to, POLLOUT, [&](int fd) { return ::write(fd, data.data(), std::min<std::size_t>(data.size(), PIPE_BUF)); });
      if (n == 0) return;
      data.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  instance::ExecSpec spec_;
  TestExecHandler handler_;
  base::Fd killed_; ///< readable once the command has ended
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  int exit_code_ = -1;
  std::exception_ptr failure_;
};

namespace {

class MockExec : public instance::Exec {
public:
  explicit MockExec(std::shared_ptr<Command> c) : command_(std::move(c)) {}
  ~MockExec() override { close(); }
  bool wait(std::optional<std::chrono::milliseconds> timeout, int &exit_code) override { return command_->wait(timeout, exit_code); }
  void signal(int number) override {
    if (number < 0 || number > SIGRTMAX) base::fail(ErrorCode::invalid_argument, "invalid signal {}: must be 1 to {}", number, SIGRTMAX);
    // As a command without handlers of its own would take it.
    for (int harmless : {0, SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU})
      if (number == harmless) return;
    command_->end(128 + number);
  }
  void resize(int, int) override {}
  void close() override { command_->end(128 + SIGKILL); }

private:
  std::shared_ptr<Command> command_;
};

} // namespace

std::unique_ptr<instance::Exec> Commands::start(instance::ExecSpec spec, TestExecHandler handler) {
  auto id = spec.key.id;
  auto command = std::make_shared<Command>(std::move(spec), std::move(handler));
  std::lock_guard lock(mutex_);
  for (auto it = running_.begin(); it != running_.end();) {
    if (!*it->finished) {
      ++it;
      continue;
    }
    it->thread.join();
    it = running_.erase(it);
  }
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old); // the program's signals are for its own threads, and no write may raise SIGPIPE
  try {
    auto finished = std::make_shared<std::atomic<bool>>(false);
    running_.push_back({id, command, finished, std::thread([command, finished]() mutable {
                          command->run();
                          command.reset();
                          *finished = true;
                        })});
  } catch (const std::exception &e) {
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    throw Error(ErrorCode::unavailable, "cannot start a thread for the command", e);
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return std::make_unique<MockExec>(std::move(command));
}

void Commands::kill_all(std::int64_t instance) {
  std::lock_guard lock(mutex_);
  for (auto &r : running_)
    if (auto c = r.instance == instance ? r.command.lock() : nullptr) c->end(128 + SIGKILL);
}

void Commands::join() {
  std::vector<Running> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(running_);
  }
  for (auto &r : all)
    if (auto c = r.command.lock()) c->end(128 + SIGKILL);
  for (auto &r : all) r.thread.join();
}

} // namespace incus::mock
