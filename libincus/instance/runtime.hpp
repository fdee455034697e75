// SPDX-License-Identifier: Apache-2.0
// What runs an instance: liblxc through its helper (instance/lxc), or memory (mock). The policy in instance/ decides,
// records and locks; a runtime only acts. Thread-safe; calls on one instance are serialised by the caller except exec,
// state, signal and waiting.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <incus/instance.hpp>

#include "base/fd.hpp"
#include "device/items.hpp"
#include "storage/rootfs.hpp"

namespace incus::instance {

/// Identifies an instance to a runtime: `id` is unique in the state directory, never reused; `name` is its store name
/// (PROJECT_NAME outside the default project).
struct Key {
  std::int64_t id = 0;
  std::string name;
  bool operator==(const Key &) const = default;
};

struct StartSpec {
  Key key;
  std::string hostname;              ///< the instance's own name
  Config config;                     ///< expanded
  device::RunItems items;            ///< what its devices want
  storage::RootfsPlan rootfs;
  storage::IdMap idmap;              ///< empty: privileged
  std::string architecture;
  bool auto_destroy = false;
};

struct Started {
  std::int64_t init_pid = 0, monitor_pid = 0;
  Time started_at;
};

enum class Power { stopped, running, frozen };

/// What a command run gets and gives.
struct ExecSpec {
  Key key;
  Config config;                     ///< expanded: environment.* and limits apply
  ExecRequest request;
  base::Fd in, out, err;             ///< not interactive: the command's own; interactive: pumped to and from the pty
};

class Exec {
public:
  virtual ~Exec() = default;
  /// Blocks; exit code as in ExecResult. False when `timeout` ran out.
  virtual bool wait(std::optional<std::chrono::milliseconds> timeout, int &exit_code) = 0;
  virtual void signal(int number) = 0;
  virtual void resize(int width, int height) = 0;
  /// Kills it when it still runs.
  virtual void close() = 0;
};

/// Who attaches to a console. Given descriptors that end detach it.
struct ConsoleSpec {
  Key key;
  base::Fd in, out;
  int width = 0, height = 0;
};

/// Told from a runtime's own thread; must return soon and may call back into the runtime.
struct RuntimeEvents {
  /// The instance stopped, by itself or by kill(): processes, mounts, veths and cgroups are gone.
  std::function<void(const Key &)> stopped;
  /// Rebooted from inside: still running, with a new init pid.
  std::function<void(const Key &, const Started &)> rebooted;
};

class Runtime {
public:
  virtual ~Runtime() = default;
  virtual void set_events(RuntimeEvents events) = 0;

  /// A start follows soon: what can go on meanwhile, begins.
  virtual void expect_start() noexcept {}
  /// Starts it and returns when its init runs. Throws with the container log's own words when it could not; nothing is left then.
  virtual Started start(const StartSpec &spec) = 0;
  /// Finds out whether it runs (after an open); adopts it if so: events come for it from now on.
  virtual std::optional<Started> adopt(const Key &key) = 0;
  /// Removes whatever a start that did not finish or an instance that is gone left: cgroups, host interfaces named in
  /// `host_interfaces`, run files. Kills processes of it that are left. Idempotent.
  virtual void clean(const Key &key, const std::vector<std::string> &host_interfaces) = 0;
  /// Asks the guest to stop (its halt signal); returns at once.
  virtual void request_shutdown(const Key &key) = 0;
  virtual void request_reboot(const Key &key) = 0;
  /// Kills it; returns when processes, mounts, veths and cgroups are gone.
  virtual void kill(const Key &key) = 0;
  /// Waits until it is stopped and cleaned; false when `timeout` ran out.
  virtual bool wait_stopped(const Key &key, std::optional<std::chrono::milliseconds> timeout) = 0;
  virtual void freeze(const Key &key) = 0;
  virtual void unfreeze(const Key &key) = 0;
  virtual Power power(const Key &key) = 0;
  virtual std::optional<Started> running(const Key &key) = 0;
  /// A descriptor of its init, for who enters its namespaces; none in memory. Throws conflict when it does not run.
  virtual base::Fd init(const Key &key) = 0;
  /// cpu, memory, processes, network, pid, started_at; status and disk are the caller's.
  virtual InstanceState state(const Key &key) = 0;
  virtual std::unique_ptr<Exec> exec(ExecSpec spec) = 0;
  /// Carries bytes between the guest's console and the caller's descriptors until one of these ends, the instance stops or it is closed; wait() tells
  /// of that. Takes no signals.
  virtual std::unique_ptr<Exec> console(ConsoleSpec spec) = 0;
  /// False when `timeout` ran out; throws conflict when it stops meanwhile.
  virtual bool wait_ready(const Key &key, ReadyLevel level, std::chrono::milliseconds timeout) = 0;
  virtual std::string console_log(const Key &key) = 0;
  virtual void clear_console_log(const Key &key) = 0;
  /// Applies changed keys to a running instance; returns those that only take effect at the next start.
  virtual std::vector<std::string> apply(const Key &key, const Config &expanded, const std::vector<std::string> &changed) = 0;
  /// Brings the interfaces of a running instance to these: what it has not is made, what it had besides or otherwise is removed. `rebooted`: it has those
  /// of its start again.
  virtual void set_nics(const Key &key, const std::vector<device::NicItem> &nics, bool rebooted) = 0;
  /// Brings the directories and files of the host in a running instance to these, as above. Throws what could not
  /// be mounted and leaves what it had, but for those that were to go.
  virtual void set_disks(const Key &key, const std::vector<device::MountItem> &wanted, bool rebooted) = 0;
  /// Checks raw.lxc: throws invalid_argument that names line and reason.
  virtual void validate_raw(const std::string &raw) = 0;
  /// Renames run, log and cgroup traces of a stopped instance.
  virtual void rename(const Key &from, const Key &to) = 0;
  /// Removes run and log traces of a deleted instance. Idempotent.
  virtual void forget(const Key &key) = 0;
  /// Kernel objects of this state directory's instances that are there: keys of running ones by name, and leftovers as text
  /// (cgroups, interfaces, processes that no running instance owns). For check.
  virtual std::vector<std::string> leftovers(const std::vector<Key> &known_running) = 0;
  virtual void close() = 0;
};

} // namespace incus::instance
