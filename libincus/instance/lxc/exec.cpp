// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"

namespace incus::instance::lxc {

using std::chrono::milliseconds;

namespace {

class LxcExec final : public Exec {
public:
  LxcExec(base::Fd reply, base::Fd pidfd, std::shared_ptr<Pump> pump, Pump::Ptr session)
      : reply_(std::move(reply)), pidfd_(std::move(pidfd)), pump_(std::move(pump)), session_(std::move(session)) {}
  ~LxcExec() override { close(); }

  bool wait(std::optional<milliseconds> timeout, int &exit_code) override {
    // Several may wait; each polls for itself, one reads.
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        if (code_) {
          exit_code = *code_;
          return true;
        }
      }
      if (!sys::wait_exit(reply_.get(), timeout)) return false;
      std::lock_guard lock(mutex_);
      if (!code_) collect();
    }
  }

  void signal(int number) override {
    std::lock_guard lock(mutex_);
    if (number < 1 || number > 64) base::fail(ErrorCode::invalid_argument, "invalid signal {}: must be from 1 to 64", number);
    if (!code_) sys::kill_pidfd(pidfd_.get(), number);
  }

  void resize(int width, int height) override {
    if (width < 1 || height < 1 || width > 65535 || height > 65535)
      base::fail(ErrorCode::invalid_argument, "invalid terminal size {}x{}: both must be from 1 to 65535", width, height);
    std::lock_guard lock(mutex_);
    if (code_) return;
    if (!session_) base::fail(ErrorCode::conflict, "cannot resize: the command has no terminal");
    winsize w{};
    w.ws_col = static_cast<unsigned short>(width);
    w.ws_row = static_cast<unsigned short>(height);
    if (::ioctl(session_->terminal.get(), TIOCSWINSZ, &w) < 0) base::fail_errno(errno, "cannot resize the terminal");
  }

  void close() override {
    std::lock_guard lock(mutex_);
    if (!code_) {
      // The worker then kills the command with its process group.
      ::shutdown(reply_.get(), SHUT_WR);
      try {
        if (!sys::wait_exit(reply_.get(), milliseconds(5000))) sys::kill_pidfd(pidfd_.get(), SIGKILL);
        if (sys::wait_exit(reply_.get(), milliseconds(1000))) collect();
      } catch (const std::exception &) {
      }
      if (!code_) code_ = 128 + SIGKILL;
    }
    if (session_) pump_->remove(session_);
  }

private:
  void collect() {
    int code = 128 + SIGKILL;
    try {
      // A worker that dies takes its command along.
      if (auto r = Channel::receive(reply_, milliseconds(0)); r && r->op == helper::lxc::exited) code = std::stoi(r->args.at(0));
    } catch (const std::exception &) {
      sys::kill_pidfd(pidfd_.get(), SIGKILL);
    }
    if (session_) {
      pump_->drain(session_, 200);
      // The caller's reader waits for the end of all copies of the descriptor.
      pump_->remove(session_);
      session_.reset();
    }
    code_ = code;
  }

  base::Fd reply_, pidfd_;
  std::shared_ptr<Pump> pump_;
  Pump::Ptr session_;
  std::mutex mutex_;
  std::optional<int> code_;
};

} // namespace

base::Fd LxcRuntime::init(const Key &key) { return need(key, "reach the files of")->now()->init.dup(); }

std::unique_ptr<Exec> LxcRuntime::exec(ExecSpec spec) {
  auto e = need(spec.key, "run a command in");
  auto &r = spec.request;
  if (r.command.empty() || r.command[0].empty()) base::fail(ErrorCode::invalid_argument, "cannot run an empty command");
  for (auto &word : r.command)
    if (word.find('\0') != word.npos) base::fail(ErrorCode::invalid_argument, "invalid word {} of the command: must not hold NUL", base::quoted(word));
  if (r.cwd.find('\0') != r.cwd.npos) base::fail(ErrorCode::invalid_argument, "invalid directory {}: must not hold NUL", base::quoted(r.cwd));
  std::vector<std::string> args{lxc_name(spec.key), run_dir(spec.key) + "/lxc.conf", std::to_string(r.user), std::to_string(r.group), r.cwd,
                                r.interactive ? "1" : "0", std::to_string(r.width), std::to_string(r.height), std::to_string(r.command.size())};
  args.insert(args.end(), r.command.begin(), r.command.end());
  for (auto &v : exec_environment(spec.config, r)) args.push_back(std::move(v));

  if (cgroup(spec.key).child("payload").frozen())
    base::fail(ErrorCode::conflict, "cannot run a command in instance {}: it is paused", base::quoted(spec.key.name));

  base::Fd null;
  std::vector<int> fds;
  if (!r.interactive)
    for (auto *fd : {&spec.in, &spec.out, &spec.err}) {
      if (!*fd && !null) null.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
      fds.push_back(*fd ? fd->get() : null.get());
    }
  auto socket = channel_.send(helper::lxc::exec, std::move(args), fds);
  // The command has them now; a reader of its output waits for the end of all copies.
  if (!r.interactive)
    for (auto *fd : {&spec.in, &spec.out, &spec.err}) fd->reset();
  auto reply = Channel::receive(socket, std::chrono::seconds(60));
  if (!reply) base::fail(ErrorCode::timeout, "cannot run a command in instance {}: no answer in 60 s", base::quoted(spec.key.name));
  if (reply->op != helper::lxc::ok) {
    if (!find(spec.key) || sys::wait_exit(e->now()->init.get(), milliseconds(0)))
      base::fail(ErrorCode::conflict, "cannot run a command in instance {}: it is not running", base::quoted(spec.key.name));
    base::fail(ErrorCode::internal, "cannot run a command in instance {}: {}", base::quoted(spec.key.name), reply->args.empty() ? "" : reply->args[0]);
  }
  if (reply->fds.size() != (r.interactive ? 2U : 1U)) base::fail(ErrorCode::internal, "the container helper gave a malformed answer");
  Pump::Ptr session;
  if (r.interactive) {
    session = std::make_shared<Pump::Session>();
    session->terminal = std::move(reply->fds[1]);
    ::fcntl(session->terminal.get(), F_SETFL, O_RDWR | O_NONBLOCK);
    session->in = std::move(spec.in);
    session->out = std::move(spec.out);
    pump_->add(session);
  }
  return std::make_unique<LxcExec>(std::move(socket), std::move(reply->fds[0]), pump_, std::move(session));
}

} // namespace incus::instance::lxc
