// SPDX-License-Identifier: Apache-2.0
// The runtime's inside; split by verb over start.cpp, stop.cpp, watch.cpp, adopt.cpp, state.cpp, ready.cpp, exec.cpp.
#pragma once
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "instance/lxc/channel.hpp"
#include "instance/lxc/config.hpp"
#include "instance/lxc/pump.hpp"
#include "instance/lxc/runtime.hpp"
#include "sys/cgroup.hpp"

namespace incus::instance::lxc {

/// One life of the guest's init; a reboot brings another.
struct Life {
  int pid = 0;
  base::Fd init;  ///< pidfd
  base::Fd net;   ///< NETLINK_ROUTE socket of the guest's network namespace
};

/// An instance that runs, from its start or adoption until it is stopped and cleaned.
struct Entry {
  Key key;
  int monitor_pid = 0;
  base::Fd monitor; ///< pidfd

  std::mutex mutex;
  std::vector<std::string> interfaces; ///< of the host, to be removed with it
  std::condition_variable changed;
  std::shared_ptr<const Life> life;
  Time started_at;
  base::Fd notify;          ///< where the guest says READY=1
  bool adopted = false, booted = false, killing = false, finishing = false, stopped = false;
  std::mutex devices_mutex; ///< one change at a time
  std::mutex net_mutex;     ///< one dump at a time
  bool subscribed = false;

  std::shared_ptr<const Life> now() {
    std::lock_guard lock(mutex);
    return life;
  }
};
using EntryPtr = std::shared_ptr<Entry>;

class LxcRuntime final : public Runtime {
public:
  explicit LxcRuntime(Options options);
  ~LxcRuntime() override;
  void set_events(RuntimeEvents events) override;
  void expect_start() noexcept override { warm_up(); }
  Started start(const StartSpec &spec) override;
  std::optional<Started> adopt(const Key &key) override;
  void clean(const Key &key, const std::vector<std::string> &host_interfaces) override;
  void request_shutdown(const Key &key) override;
  void request_reboot(const Key &key) override;
  void kill(const Key &key) override;
  bool wait_stopped(const Key &key, std::optional<std::chrono::milliseconds> timeout) override;
  void freeze(const Key &key) override;
  void unfreeze(const Key &key) override;
  Power power(const Key &key) override;
  std::optional<Started> running(const Key &key) override;
  base::Fd init(const Key &key) override;
  InstanceState state(const Key &key) override;
  std::unique_ptr<Exec> exec(ExecSpec spec) override;
  std::unique_ptr<Exec> console(ConsoleSpec spec) override;
  bool wait_ready(const Key &key, ReadyLevel level, std::chrono::milliseconds timeout) override;
  std::string console_log(const Key &key) override;
  void clear_console_log(const Key &key) override;
  std::vector<std::string> apply(const Key &key, const Config &expanded, const std::vector<std::string> &changed) override;
  void set_nics(const Key &key, const std::vector<device::NicItem> &nics, bool rebooted) override;
  void set_disks(const Key &key, const std::vector<device::MountItem> &wanted, bool rebooted) override;
  void validate_raw(const std::string &raw) override;
  void rename(const Key &from, const Key &to) override;
  void forget(const Key &key) override;
  std::vector<std::string> leftovers(const std::vector<Key> &known_running) override;
  void close() override;

private:
  // runtime.cpp
  void check_process() const;
  EntryPtr find(const Key &key);
  EntryPtr need(const Key &key, const char *doing);
  std::string run_dir(const Key &key) const { return options_.directory + "/run/" + key.name; }
  std::string log_dir(const Key &key) const { return options_.directory + "/logs/" + key.name; }
  std::string seccomp_file(const Key &key) const { return options_.directory + "/security/seccomp/" + key.name; }
  std::string lxc_name(const Key &key) const { return options_.host_id + "-" + std::to_string(key.id); }
  std::string cgroup_name(const Key &key) const { return "incus-" + options_.host_id + "/" + std::to_string(key.id); }
  const HostFacts &facts();
  sys::CgroupTree cgroup(const Key &key) { return {facts().cgroups, cgroup_name(key)}; }
  Places places(const Key &key) const;
  // start.cpp
  void warm_up() noexcept;
  void prepare(const StartSpec &spec, const Places &places, const Rendered &rendered);
  base::Fd bind_notify(const StartSpec &spec);
  std::string log_errors(const Key &key) const;
  EntryPtr add(const Key &key, Reply &reply, Time started_at, std::vector<std::string> interfaces);
  // adopt.cpp
  bool monitor_present(const Key &key) const;
  void remove_remains(const Key &key, const std::vector<std::string> &interfaces);
  void remove_traces(const Key &key, const std::vector<std::string> &interfaces);
  void remove_run_files(const Key &key);
  // nics.cpp
  std::vector<std::string> recorded_interfaces(const Key &key) const;
  // stop.cpp
  void finish(Entry &e);
  // watch.cpp
  enum class Watched { monitor, init, notify, query };
  struct Watch {
    EntryPtr entry;
    Watched what;
    base::Fd fd;
  };
  void watch(const EntryPtr &entry, Watched what, base::Fd fd);
  void wake() noexcept;
  void run_watcher();
  void on_event(std::uint64_t token);
  void on_monitor_exit(const EntryPtr &e);
  void on_init_exit(const EntryPtr &e);
  void on_notify(const EntryPtr &e, int fd);
  void on_query(const EntryPtr &e, const base::Fd &socket);
  void ask_later(const EntryPtr &e);
  // ready.cpp
  bool wait_booted(const EntryPtr &e, std::chrono::steady_clock::time_point end);
  bool wait_network(const EntryPtr &e, std::chrono::steady_clock::time_point end);
  bool looks_booted(Entry &e, const Life &life) const;

  Options options_;
  int pid_;
  Channel channel_;
  std::once_flag facts_once_;
  HostFacts facts_;

  std::mutex mutex_;
  std::map<std::int64_t, EntryPtr> entries_;
  RuntimeEvents events_;
  bool closed_ = false; ///< written under both mutexes

  std::mutex watch_mutex_;
  std::unordered_map<std::uint64_t, Watch> watches_;
  std::multimap<std::chrono::steady_clock::time_point, EntryPtr> later_; ///< whose init ended: ask whether it rebooted
  std::uint64_t next_token_ = 1;
  base::Fd epoll_, wakeup_;
  std::thread watcher_;
  std::shared_ptr<Pump> pump_ = std::make_shared<Pump>(); ///< commands keep it
};

/// What the run directory keeps of devices (record.cpp): one a line, of parts between separators; lines are only compared, but for their first part.
std::string disk_lines(const std::vector<device::MountItem> &mounts);
std::string nic_lines(const std::vector<device::NicItem> &nics);
constexpr char record_separator = '\x1f';
std::string first_part(const std::string &line);
/// The lines of a run file.
std::vector<std::string> lines_of(std::string_view text);
/// Of use only as long as the kernel runs, so it need not reach the disk; never seen half-written.
void write_run_file(const std::string &path, const std::string &text, mode_t mode);
/// From what a guest has to what it shall have. A recorded line that may be there or not, because a change was cut off, is never kept.
struct Difference {
  std::vector<std::string> keep, gone, come;
  /// The record while the change is made: what goes and comes is in doubt.
  std::string text() const;
};
Difference difference(const std::vector<std::string> &had, const std::vector<std::string> &want);

/// The base name of what a process runs; empty when it is gone.
std::string program_of(int pid);

} // namespace incus::instance::lxc
