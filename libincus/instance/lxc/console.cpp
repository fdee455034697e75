// SPDX-License-Identifier: Apache-2.0
// The container's console: the monitor copies between it and a pair of its own for whoever is attached, one at a time, until the connection to
// the monitor is closed.
#include <fcntl.h>
#include <sys/ioctl.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"

namespace incus::instance::lxc {

namespace {

class LxcConsole final : public Exec {
public:
  LxcConsole(base::Fd monitor, std::shared_ptr<Pump> pump, Pump::Ptr session)
      : monitor_(std::move(monitor)), pump_(std::move(pump)), session_(std::move(session)), attached_(session_) {}
  ~LxcConsole() override { close(); }

  bool wait(std::optional<std::chrono::milliseconds> timeout, int &exit_code) override {
    exit_code = 0;
    {
      std::unique_lock lock(session_->mutex);
      auto over = [&] { return session_->ended; };
      if (!timeout)
        session_->changed.wait(lock, over);
      else if (!session_->changed.wait_for(lock, *timeout, over))
        return false;
    }
    detach(100);
    return true;
  }

  void signal(int) override { base::fail(ErrorCode::not_supported, "a console takes no signals: its processes are the guest's"); }

  void resize(int width, int height) override {
    if (width < 1 || height < 1 || width > 65535 || height > 65535)
      base::fail(ErrorCode::invalid_argument, "invalid terminal size {}x{}: both must be from 1 to 65535", width, height);
    std::lock_guard lock(mutex_);
    if (!attached_) return;
    winsize w{};
    w.ws_col = static_cast<unsigned short>(width);
    w.ws_row = static_cast<unsigned short>(height);
    if (::ioctl(attached_->terminal.get(), TIOCSWINSZ, &w) < 0) base::fail_errno(errno, "cannot resize the console");
  }

  void close() override {
    {
      std::lock_guard lock(session_->mutex);
      session_->ended = true;
      session_->changed.notify_all();
    }
    detach(0);
  }

private:
  void detach(int ms) {
    std::lock_guard lock(mutex_);
    if (!attached_) return;
    // What the guest answered to the last input is still on its way.
    if (ms) pump_->drain(attached_, ms);
    pump_->remove(attached_);
    attached_.reset();
    monitor_.reset();
  }

  std::mutex mutex_;
  base::Fd monitor_;
  std::shared_ptr<Pump> pump_;
  Pump::Ptr session_, attached_;
};

} // namespace

std::unique_ptr<Exec> LxcRuntime::console(ConsoleSpec spec) {
  need(spec.key, "attach to the console of");
  auto socket = channel_.send(helper::lxc::console, {lxc_name(spec.key)});
  auto reply = Channel::receive(socket, std::chrono::seconds(30));
  if (!reply) base::fail(ErrorCode::timeout, "cannot attach to the console of instance {}: no answer in 30 s", base::quoted(spec.key.name));
  if (reply->op != helper::lxc::ok || reply->fds.size() != 2)
    base::fail(ErrorCode::conflict, "cannot attach to the console of instance {}: {}", base::quoted(spec.key.name), reply->args.empty() ? "" : reply->args[0]);
  auto session = std::make_shared<Pump::Session>();
  session->terminal = std::move(reply->fds[1]);
  ::fcntl(session->terminal.get(), F_SETFL, O_RDWR | O_NONBLOCK);
  session->console = true;
  session->ends_with_in = bool(spec.in);
  session->ends_with_out = bool(spec.out);
  session->in = std::move(spec.in);
  session->out = std::move(spec.out);
  pump_->add(session);
  auto out = std::make_unique<LxcConsole>(std::move(reply->fds[0]), pump_, std::move(session));
  if (spec.width > 0 && spec.height > 0) out->resize(spec.width, spec.height);
  return out;
}

} // namespace incus::instance::lxc
