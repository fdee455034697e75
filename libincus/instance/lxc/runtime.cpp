// SPDX-License-Identifier: Apache-2.0
#include "instance/lxc/runtime.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance::lxc {

std::unique_ptr<Runtime> make_runtime(Options options) { return std::make_unique<LxcRuntime>(std::move(options)); }

LxcRuntime::LxcRuntime(Options options) : options_(std::move(options)), pid_(::getpid()), channel_(options_) {
  if (options_.host_id.empty() || options_.host_id.size() > 40 || options_.host_id.find('/') != options_.host_id.npos || !base::is_one_line(options_.host_id))
    base::fail(ErrorCode::internal, "invalid host id {}", base::quoted(options_.host_id));
  // It must be there to clean up whenever this process dies.
  if (options_.auto_destroy) channel_.start();
}

LxcRuntime::~LxcRuntime() {
  // A copy of this object in a forked child has no threads to join and no right to end what runs.
  if (::getpid() != pid_) {
    if (watcher_.joinable()) watcher_.detach();
    return;
  }
  close();
}

void LxcRuntime::check_process() const {
  if (::getpid() != pid_) base::fail(ErrorCode::unavailable, "the host was opened by process {}; a forked child must open one of its own", pid_);
}

void LxcRuntime::set_events(RuntimeEvents events) {
  std::lock_guard lock(mutex_);
  events_ = std::move(events);
}

const HostFacts &LxcRuntime::facts() {
  std::call_once(facts_once_, [&] { facts_ = host_facts(); });
  return facts_;
}

Places LxcRuntime::places(const Key &key) const {
  return {run_dir(key) + "/lxc.conf", seccomp_file(key), log_dir(key) + "/console.log", log_dir(key) + "/lxc.log", run_dir(key) + "/notify", cgroup_name(key)};
}

EntryPtr LxcRuntime::find(const Key &key) {
  check_process();
  std::lock_guard lock(mutex_);
  if (closed_) base::fail(ErrorCode::unavailable, "the host is closed");
  auto it = entries_.find(key.id);
  if (it == entries_.end()) return nullptr;
  std::lock_guard inner(it->second->mutex);
  return it->second->stopped ? nullptr : it->second;
}

EntryPtr LxcRuntime::need(const Key &key, const char *doing) {
  if (auto e = find(key)) return e;
  base::fail(ErrorCode::conflict, "cannot {} instance {}: it is not running", doing, base::quoted(key.name));
}

void LxcRuntime::freeze(const Key &key) {
  need(key, "pause");
  sys::FaultScope fault("freeze container");
  int e = cgroup(key).child("payload").freeze(10000);
  if (e) base::fail_errno(e, fmt::format("cannot pause instance {}", base::quoted(key.name)));
}

void LxcRuntime::unfreeze(const Key &key) {
  need(key, "resume");
  sys::FaultScope fault("thaw container");
  int e = cgroup(key).child("payload").thaw();
  if (e) base::fail_errno(e, fmt::format("cannot resume instance {}", base::quoted(key.name)));
}

Power LxcRuntime::power(const Key &key) {
  if (!find(key)) return Power::stopped;
  return cgroup(key).child("payload").frozen() ? Power::frozen : Power::running;
}

std::optional<Started> LxcRuntime::running(const Key &key) {
  auto e = find(key);
  if (!e) return std::nullopt;
  std::lock_guard lock(e->mutex);
  return Started{e->life->pid, e->monitor_pid, e->started_at};
}

std::string LxcRuntime::console_log(const Key &key) {
  check_process();
  constexpr std::size_t limit = 128 * 1024;
  std::string out;
  // Full logs are turned over to NAME.1.
  for (auto *name : {"/console.log.1", "/console.log"})
    if (auto text = sys::read_small_file(log_dir(key) + name, 2 * limit)) out += *text;
  if (out.size() > limit) out.erase(0, out.size() - limit);
  return out;
}

void LxcRuntime::clear_console_log(const Key &key) {
  check_process();
  sys::FaultScope fault("clear console log");
  ::unlink((log_dir(key) + "/console.log.1").c_str());
  // The monitor goes on writing to the same file.
  if (::truncate((log_dir(key) + "/console.log").c_str(), 0) < 0 && errno != ENOENT)
    base::fail_errno(errno, fmt::format("cannot clear the console log of instance {}", base::quoted(key.name)));
}

void LxcRuntime::validate_raw(const std::string &raw) {
  check_process();
  check_raw(raw);
  auto socket = channel_.send(helper::lxc::validate, {raw});
  auto reply = Channel::receive(socket, std::chrono::seconds(30));
  if (!reply) base::fail(ErrorCode::timeout, "cannot check raw.lxc: the container helper gave no answer");
  if (reply->op == helper::lxc::ok) return;
  // Its number when it is a line, else what kept the helper from looking.
  std::size_t n = 0;
  auto &text = reply->args.empty() ? options_.helper : reply->args[0];
  for (char c : text)
    if (c < '0' || c > '9') base::fail(ErrorCode::internal, "cannot check raw.lxc: {}", text);
  n = std::stoul(text);
  std::string_view line = raw;
  for (std::size_t i = 1; i < n; i++) line.remove_prefix(line.find('\n') + 1);
  base::fail(ErrorCode::invalid_argument, "invalid raw.lxc, line {} {}: liblxc does not take this key or value", n,
             base::quoted(line.substr(0, line.find('\n'))));
}

void LxcRuntime::rename(const Key &from, const Key &to) {
  check_process();
  if (find(from)) base::fail(ErrorCode::conflict, "cannot rename instance {}: it is running", base::quoted(from.name));
  remove_run_files(from);
  if (::access(log_dir(from).c_str(), F_OK) != 0) return;
  sys::FaultScope fault("rename log directory");
  // What stands there is of an instance that is gone: names are unique.
  auto logs = sys::open_directory(options_.directory + "/logs");
  sys::remove_tree(logs.get(), to.name);
  sys::rename_at(logs.get(), from.name, logs.get(), to.name);
}

void LxcRuntime::forget(const Key &key) {
  check_process();
  remove_run_files(key);
  if (::access(log_dir(key).c_str(), F_OK) != 0) return;
  sys::FaultScope fault("remove log directory");
  auto logs = sys::open_directory(options_.directory + "/logs");
  sys::remove_tree(logs.get(), key.name);
}

std::vector<std::string> LxcRuntime::apply(const Key &key, const Config &expanded, const std::vector<std::string> &changed) {
  std::vector<std::string> later;
  if (!find(key)) return later;
  bool limits = false;
  for (auto &k : changed) {
    if (k.starts_with("limits.cpu") || k.starts_with("limits.memory") || k == "limits.processes") limits = true;
    else if (k.starts_with("limits.") || k.starts_with("raw.") || k.starts_with("linux.") || k == "security.nesting" || k == "security.privileged" ||
             k.starts_with("security.idmap.") || k.starts_with("security.syscalls."))
      later.push_back(k);
  }
  if (!limits) return later;
  auto tree = cgroup(key).child("payload");
  auto touched = [&](const CgroupValue &v) {
    for (auto &k : changed) {
      if (v.controller == "cpuset" && k == "limits.cpu") return true;
      if (v.controller == "cpu" && (k == "limits.cpu.allowance" || k == "limits.cpu.priority")) return true;
      if (v.controller == "memory" && k.starts_with("limits.memory")) return true;
      if (v.controller == "pids" && k == "limits.processes") return true;
    }
    return false;
  };
  sys::FaultScope fault("write container limits");
  std::vector<CgroupValue> was;
  for (auto &v : cgroup_limits(expanded, facts(), key.id, true)) {
    if (!touched(v)) continue;
    auto before = tree.read(v.controller, v.file);
    int e = tree.write(v.controller, v.file, v.value);
    if (!e && before) was.push_back({v.controller, v.file, *before, v.v2});
    // Kernels without swap accounting lack the file; what could not be set there needs no reset either.
    if (!e || v.file.starts_with("memory.memsw") || v.file == "memory.swap.max" || v.file == "memory.swappiness") continue;
    for (auto old = was.rbegin(); old != was.rend(); ++old) tree.write(old->controller, old->file, old->value);
    base::fail_errno(e, fmt::format("cannot set {} of instance {} to {}", v.file, base::quoted(key.name), base::quoted(v.value)));
  }
  return later;
}

void LxcRuntime::close() {
  if (::getpid() != pid_) return;
  {
    std::scoped_lock lock(mutex_, watch_mutex_);
    if (closed_) return;
    closed_ = true;
    events_ = {};
    wake();
  }
  if (watcher_.joinable()) watcher_.join();
  pump_->stop();
  // With auto_destroy the helper kills and removes everything now; otherwise it only ends.
  channel_.close(options_.auto_destroy ? std::chrono::seconds(60) : std::chrono::seconds(5));
  std::lock_guard lock(mutex_);
  for (auto &[id, e] : entries_) {
    std::lock_guard inner(e->mutex);
    e->stopped = true;
    e->changed.notify_all();
  }
  entries_.clear();
}

std::string program_of(int pid) {
  char buf[4096];
  ssize_t n = ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), buf, sizeof buf);
  if (n <= 0) return "";
  std::string_view s(buf, static_cast<std::size_t>(n));
  return std::string(s.substr(s.rfind('/') + 1));
}

} // namespace incus::instance::lxc
