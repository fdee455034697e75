// SPDX-License-Identifier: Apache-2.0
#include <csignal>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"

namespace incus::instance::lxc {

using std::chrono::milliseconds;

namespace {
/// What an init takes as "power off"; by number, since guests have the kernel's real-time signals, not this C library's.
int halt_signal(const std::string &program) {
  if (program == "systemd") return 34 + 3;
  if (program == "busybox") return SIGUSR2;
  return SIGPWR;
}
} // namespace

void LxcRuntime::request_shutdown(const Key &key) {
  auto life = need(key, "stop")->now();
  sys::FaultScope fault("signal container to halt");
  sys::kill_pidfd(life->init.get(), halt_signal(program_of(life->pid)));
}

void LxcRuntime::request_reboot(const Key &key) {
  auto life = need(key, "restart")->now();
  sys::FaultScope fault("signal container to reboot");
  sys::kill_pidfd(life->init.get(), program_of(life->pid) == "busybox" ? SIGTERM : SIGINT);
}

void LxcRuntime::kill(const Key &key) {
  auto e = find(key);
  if (!e) return;
  {
    std::lock_guard lock(e->mutex);
    e->killing = true;
  }
  // The monitor moves itself before it ends.
  warm_up();
  {
    sys::FaultScope fault("kill container");
    auto tree = cgroup(key).child("payload");
    // Without thaw a frozen process of version 1 does not get to die.
    sys::kill_pidfd(e->now()->init.get(), SIGKILL);
    if (tree.frozen()) tree.thaw();
    for (int round = 0; !sys::wait_exit(e->monitor.get(), milliseconds(1000)); round++) {
      // It may have been about to reboot: then another init runs now.
      tree.kill_all(1000);
      if (round >= 9) sys::kill_pidfd(e->monitor.get(), SIGKILL);
      if (round >= 19) base::fail(ErrorCode::timeout, "cannot stop instance {}: its monitor, process {}, does not end", base::quoted(key.name), e->monitor_pid);
    }
  }
  finish(*e);
}

void LxcRuntime::finish(Entry &e) {
  {
    std::unique_lock lock(e.mutex);
    if (e.stopped) return;
    if (e.finishing) {
      e.changed.wait(lock, [&] { return e.stopped; });
      return;
    }
    e.finishing = true;
  }
  try {
    auto life = e.now();
    // The kernel kills init with its monitor; this is for what is in between.
    sys::kill_pidfd(life->init.get(), SIGKILL);
    sys::wait_exit(life->init.get(), milliseconds(10000));
    std::vector<std::string> interfaces;
    {
      std::lock_guard lock(e.mutex);
      interfaces = e.interfaces;
    }
    remove_traces(e.key, interfaces);
  } catch (const std::exception &x) {
    if (options_.log) options_.log->error("cannot clean up after instance {}: {}", e.key.name, x.what());
  }
  std::lock_guard lock(e.mutex);
  e.stopped = true;
  e.changed.notify_all();
}

bool LxcRuntime::wait_stopped(const Key &key, std::optional<milliseconds> timeout) {
  auto e = find(key);
  if (!e) return true;
  // The watcher cleans and tells.
  std::unique_lock lock(e->mutex);
  if (!timeout) {
    e->changed.wait(lock, [&] { return e->stopped; });
    return true;
  }
  return e->changed.wait_for(lock, *timeout, [&] { return e->stopped; });
}

} // namespace incus::instance::lxc
