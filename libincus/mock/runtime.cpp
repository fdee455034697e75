// SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <csignal>
#include <deque>
#include <map>
#include <mutex>
#include <pthread.h>
#include <thread>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "instance/lxc/config.hpp"
#include "mock/exec.hpp"
#include "mock/mock.hpp"

namespace incus::mock {

namespace {

using instance::Key;
using instance::Power;
using instance::Started;

/// Above any pid that Linux gives out, so that nothing can be hit by mistake.
constexpr std::int64_t first_pid = 10'000'000;

struct Machine {
  Key key;
  Power power = Power::running;
  Started started;
  std::vector<device::NicItem> nics;
  /// A frozen guest takes these once it goes on.
  bool shutdown_asked = false, reboot_asked = false;
};

class MemoryRuntime : public Runtime {
public:
  MemoryRuntime() {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    teller_ = std::thread([this] { tell(); });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  ~MemoryRuntime() override { close(); }

  void set_events(instance::RuntimeEvents events) override {
    std::lock_guard lock(mutex_);
    events_ = std::move(events);
  }

  void on_exec(const std::string &instance, TestExecHandler handler) override {
    std::lock_guard lock(mutex_);
    if (handler)
      handlers_[instance] = std::move(handler);
    else
      handlers_.erase(instance);
  }

  Started start(const instance::StartSpec &spec) override {
    std::lock_guard lock(mutex_);
    if (machines_.count(spec.key.id)) base::fail(ErrorCode::conflict, "instance {} is running already", base::quoted(spec.key.name));
    Machine m;
    m.key = spec.key;
    m.started = fresh();
    m.nics = spec.items.nics;
    auto started = m.started;
    machines_.emplace(spec.key.id, std::move(m));
    return started;
  }

  std::optional<Started> adopt(const Key &key) override { return running(key); }

  void clean(const Key &key, const std::vector<std::string> &) override {
    {
      std::lock_guard lock(mutex_);
      machines_.erase(key.id);
      changed_.notify_all();
    }
    commands_.kill_all(key.id);
  }

  void request_shutdown(const Key &key) override {
    std::unique_lock lock(mutex_);
    auto &m = find(key);
    if (m.power == Power::frozen)
      m.shutdown_asked = true;
    else
      stop(lock, key);
  }

  void request_reboot(const Key &key) override {
    std::unique_lock lock(mutex_);
    auto &m = find(key);
    if (m.power == Power::frozen)
      m.reboot_asked = true;
    else
      reboot(lock, m);
  }

  void kill(const Key &key) override {
    std::unique_lock lock(mutex_);
    if (machines_.count(key.id)) stop(lock, key);
  }

  bool wait_stopped(const Key &key, std::optional<std::chrono::milliseconds> timeout) override {
    std::unique_lock lock(mutex_);
    auto gone = [&] { return !machines_.count(key.id); };
    if (timeout) return changed_.wait_for(lock, *timeout, gone);
    changed_.wait(lock, gone);
    return true;
  }

  void freeze(const Key &key) override {
    std::lock_guard lock(mutex_);
    find(key).power = Power::frozen;
  }

  void unfreeze(const Key &key) override {
    std::unique_lock lock(mutex_);
    auto &m = find(key);
    m.power = Power::running;
    if (m.shutdown_asked)
      stop(lock, key);
    else if (std::exchange(m.reboot_asked, false))
      reboot(lock, m);
  }

  Power power(const Key &key) override {
    std::lock_guard lock(mutex_);
    auto it = machines_.find(key.id);
    return it == machines_.end() ? Power::stopped : it->second.power;
  }

  std::optional<Started> running(const Key &key) override {
    std::lock_guard lock(mutex_);
    auto it = machines_.find(key.id);
    if (it == machines_.end()) return std::nullopt;
    return it->second.started;
  }

  base::Fd init(const Key &key) override {
    std::lock_guard lock(mutex_);
    find(key);
    return {};
  }

  InstanceState state(const Key &key) override {
    std::lock_guard lock(mutex_);
    InstanceState s;
    auto it = machines_.find(key.id);
    if (it == machines_.end()) return s;
    s.pid = it->second.started.init_pid;
    s.started_at = it->second.started.started_at;
    s.processes = 1;
    auto &lo = s.network["lo"];
    lo.addresses = {{"inet", "127.0.0.1", "8", "local"}, {"inet6", "::1", "128", "local"}};
    lo.mtu = 65536;
    lo.state = "up";
    lo.type = "loopback";
    for (auto &n : it->second.nics) {
      auto &net = s.network[n.guest_name];
      net.hwaddr = n.hwaddr;
      net.host_name = n.host_name;
      net.mtu = n.mtu.value_or(1500);
      net.state = "up";
      net.type = "broadcast";
    }
    return s;
  }

  std::unique_ptr<instance::Exec> exec(instance::ExecSpec spec) override {
    TestExecHandler handler;
    {
      std::lock_guard lock(mutex_);
      find(spec.key);
      auto it = handlers_.find(spec.key.name);
      if (it == handlers_.end()) it = handlers_.find("");
      if (it == handlers_.end())
        base::fail(ErrorCode::not_supported, "exec in {}: no handler is registered on this test host; register one with on_exec", base::quoted(spec.key.name));
      handler = it->second;
    }
    return commands_.start(std::move(spec), std::move(handler));
  }

  /// A console that says again what it is told, once it was told all.
  std::unique_ptr<instance::Exec> console(instance::ConsoleSpec spec) override {
    {
      std::lock_guard lock(mutex_);
      find(spec.key);
    }
    instance::ExecSpec e;
    e.key = spec.key;
    e.in = std::move(spec.in);
    e.out = std::move(spec.out);
    return commands_.start(std::move(e), [](const std::string &, const ExecRequest &, const std::string &input) { return ExecResult{0, input, {}}; });
  }

  bool wait_ready(const Key &key, ReadyLevel, std::chrono::milliseconds) override {
    std::lock_guard lock(mutex_);
    find(key);
    return true;
  }

  std::string console_log(const Key &) override { return {}; }
  void clear_console_log(const Key &) override {}
  std::vector<std::string> apply(const Key &, const Config &, const std::vector<std::string> &) override { return {}; }
  void set_nics(const Key &key, const std::vector<device::NicItem> &nics, bool) override {
    std::lock_guard lock(mutex_);
    find(key).nics = nics;
  }
  void set_disks(const Key &key, const std::vector<device::MountItem> &, bool) override {
    std::lock_guard lock(mutex_);
    find(key);
  }
  void validate_raw(const std::string &raw) override { instance::lxc::check_raw(raw); }

  void rename(const Key &from, const Key &to) override {
    std::lock_guard lock(mutex_);
    if (auto it = machines_.find(from.id); it != machines_.end()) it->second.key = to;
  }

  void forget(const Key &key) override { clean(key, {}); }
  std::vector<std::string> leftovers(const std::vector<Key> &known_running) override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (auto &[id, m] : machines_)
      if (std::find(known_running.begin(), known_running.end(), m.key) == known_running.end()) out.push_back(fmt::format("instance {} in memory", base::quoted(m.key.name)));
    return out;
  }

  void close() override {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      to_tell_.notify_all();
    }
    if (teller_.joinable()) teller_.join();
    commands_.join();
  }

private:
  Started fresh() {
    Started s;
    s.init_pid = next_pid_++;
    s.monitor_pid = next_pid_++;
    s.started_at = base::now();
    return s;
  }

  Machine &find(const Key &key) {
    auto it = machines_.find(key.id);
    if (it == machines_.end()) base::fail(ErrorCode::conflict, "instance {} is not running", base::quoted(key.name));
    return it->second;
  }

  void later(std::function<void(const instance::RuntimeEvents &)> news) {
    news_.push_back(std::move(news));
    to_tell_.notify_all();
  }

  void stop(std::unique_lock<std::mutex> &lock, const Key &key) {
    auto own = machines_.at(key.id).key;
    machines_.erase(own.id);
    lock.unlock();
    commands_.kill_all(own.id);
    lock.lock();
    changed_.notify_all();
    later([own](const instance::RuntimeEvents &e) {
      if (e.stopped) e.stopped(own);
    });
  }

  void reboot(std::unique_lock<std::mutex> &lock, Machine &m) {
    auto own = m.key;
    auto started = fresh();
    started.monitor_pid = m.started.monitor_pid;
    m.started = started;
    lock.unlock();
    commands_.kill_all(own.id);
    lock.lock();
    later([own, started](const instance::RuntimeEvents &e) {
      if (e.rebooted) e.rebooted(own, started);
    });
  }

  /// The runtime's own thread: nobody's lock is held while it tells.
  void tell() {
    std::unique_lock lock(mutex_);
    for (;;) {
      to_tell_.wait(lock, [&] { return closed_ || !news_.empty(); });
      if (news_.empty()) return;
      auto news = std::move(news_.front());
      news_.pop_front();
      auto events = events_;
      lock.unlock();
      news(events);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_, to_tell_;
  std::map<std::int64_t, Machine> machines_;
  std::map<std::string, TestExecHandler> handlers_;
  instance::RuntimeEvents events_;
  std::deque<std::function<void(const instance::RuntimeEvents &)>> news_;
  std::int64_t next_pid_ = first_pid;
  bool closed_ = false;
  Commands commands_;
  std::thread teller_;
};

} // namespace

std::unique_ptr<Runtime> make_runtime() { return std::make_unique<MemoryRuntime>(); }

} // namespace incus::mock
