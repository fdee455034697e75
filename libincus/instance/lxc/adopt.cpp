// SPDX-License-Identifier: Apache-2.0
// What other engines left: instances that run, and remains of those that do not.
#include <algorithm>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/netlink.hpp"

namespace incus::instance::lxc {

namespace {

using std::chrono::milliseconds;

struct Monitor {
  int pid;
  std::string name;
};

/// liblxc's monitors by their title: "[lxc monitor] PATH NAME".
std::vector<Monitor> monitors(const std::string &prefix) {
  std::vector<Monitor> out;
  DIR *d = ::opendir("/proc");
  if (!d) return out;
  std::string title = fmt::format("[lxc monitor] {} {}", helper::lxc::lxc_path, prefix);
  while (dirent *e = ::readdir(d)) {
    int pid = std::atoi(e->d_name);
    if (pid <= 0) continue;
    auto text = sys::read_small_file(fmt::format("/proc/{}/cmdline", pid), 4096);
    if (!text || !text->starts_with(title)) continue;
    auto name = text->substr(title.size() - prefix.size());
    name.resize(std::min(name.size(), name.find_first_of(std::string_view("\0 ", 2))));
    out.push_back({pid, name});
  }
  ::closedir(d);
  return out;
}

Time start_time(int pid) {
  auto text = sys::read_small_file(fmt::format("/proc/{}/stat", pid), 4096);
  auto at = text ? text->rfind(')') : std::string::npos;
  if (at == std::string::npos) return {};
  unsigned long long ticks = 0;
  // Field 22; the one after the parenthesis is the third.
  std::size_t pos = at + 1;
  for (int field = 2; field < 21 && pos != std::string::npos; field++) pos = text->find(' ', pos + 1);
  if (pos == std::string::npos || std::sscanf(text->c_str() + pos, "%llu", &ticks) != 1) return {};
  timespec real{}, boot{};
  ::clock_gettime(CLOCK_REALTIME, &real);
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  auto ns = [](timespec t) { return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec); };
  auto since = std::chrono::nanoseconds(ticks * 1'000'000'000ULL / static_cast<unsigned long long>(::sysconf(_SC_CLK_TCK)));
  return Time(ns(real) - ns(boot) + since);
}

} // namespace

bool LxcRuntime::monitor_present(const Key &key) const {
  // liblxc's command socket is there from before the monitor forks until it is done.
  base::Fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) base::fail_errno(errno, "cannot look for monitors");
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  auto name = fmt::format("{}/{}/command", helper::lxc::lxc_path, lxc_name(key));
  name.copy(a.sun_path + 1, sizeof a.sun_path - 2);
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  // Its queue being full means it is there, too.
  return ::connect(s.get(), reinterpret_cast<sockaddr *>(&a), length) == 0 || errno == EAGAIN;
}

std::optional<Started> LxcRuntime::adopt(const Key &key) {
  if (auto r = running(key)) return r;
  if (!monitor_present(key)) return std::nullopt;
  auto reply = channel_.call(helper::lxc::query, {lxc_name(key), "0", "10000"}, std::chrono::seconds(30),
                             fmt::format("cannot find out whether instance {} runs", base::quoted(key.name)).c_str());
  if (reply.args.at(0) == "STOPPED") return std::nullopt;
  if (reply.fds.size() < 3) {
    // It hangs on its way up or down and nobody waits for it any more.
    clean(key, {});
    return std::nullopt;
  }
  auto e = add(key, reply, start_time(std::stoi(reply.args.at(1))), recorded_interfaces(key));
  {
    std::lock_guard lock(e->mutex);
    e->adopted = true;
    e->booted = ::access((run_dir(key) + "/booted").c_str(), F_OK) == 0;
  }
  watch(e, Watched::init, e->now()->init.dup());
  watch(e, Watched::monitor, e->monitor.dup());
  return Started{e->now()->pid, e->monitor_pid, e->started_at};
}

void LxcRuntime::remove_run_files(const Key &key) {
  auto dir = run_dir(key);
  if (::access(dir.c_str(), F_OK) == 0) {
    sys::FaultScope fault("remove run directory");
    auto run = sys::open_directory(options_.directory + "/run");
    sys::remove_tree(run.get(), key.name);
  }
  ::unlink(seccomp_file(key).c_str());
}

void LxcRuntime::remove_traces(const Key &key, const std::vector<std::string> &interfaces) {
  auto tree = cgroup(key);
  {
    sys::FaultScope fault("remove cgroups");
    if (tree.remove(0) != 0) {
      tree.kill_all(5000);
      int e = tree.remove(5000);
      if (e && options_.log) options_.log->warning("cannot remove the control groups of instance {}: {}", key.name, base::errno_text(e));
    }
    // The host's own directory goes with its last instance.
    sys::CgroupTree(facts().cgroups, "incus-" + options_.host_id).remove_if_empty();
  }
  for (auto &name : interfaces) {
    sys::FaultScope fault("delete interface");
    if (int e = sys::delete_link(name); e && options_.log) options_.log->warning("cannot delete interface {}: {}", name, base::errno_text(e));
  }
  if (facts().apparmor) {
    // A monitor unloads its profile itself, unless it was killed.
    sys::write_small_file("/sys/kernel/security/apparmor/.remove", fmt::format("lxc-{}_<{}>", lxc_name(key), helper::lxc::lxc_path));
  }
  remove_run_files(key);
}

void LxcRuntime::clean(const Key &key, const std::vector<std::string> &host_interfaces) {
  kill(key);
  remove_remains(key, host_interfaces);
}

void LxcRuntime::remove_remains(const Key &key, const std::vector<std::string> &interfaces) {
  {
    sys::FaultScope fault("kill leftover processes");
    // The guest first: its monitor then ends by itself and in order.
    cgroup(key).child("payload").kill_all(5000);
    for (int i = 0; monitor_present(key) && i < 600; i++) {
      std::this_thread::sleep_for(milliseconds(5));
      if (i < 200 || i % 50) continue;
      cgroup(key).child("payload").kill_all(1000);
      for (auto &m : monitors(lxc_name(key)))
        if (m.name == lxc_name(key)) ::kill(m.pid, SIGKILL);
    }
  }
  remove_traces(key, interfaces);
}

std::vector<std::string> LxcRuntime::leftovers(const std::vector<Key> &known) {
  check_process();
  std::vector<std::string> out;
  auto is_known = [&](const std::string &id) { return std::any_of(known.begin(), known.end(), [&](auto &k) { return std::to_string(k.id) == id; }); };
  sys::CgroupTree all(facts().cgroups, "incus-" + options_.host_id);
  for (auto &id : all.children()) {
    if (is_known(id)) continue;
    out.push_back(fmt::format("cgroup {}/{}", all.name(), id));
    for (int pid : all.child(id).processes()) out.push_back(fmt::format("process {} in cgroup {}/{}", pid, all.name(), id));
  }
  if (known.empty() && out.empty() && all.exists()) out.push_back("cgroup " + all.name());
  for (auto &m : monitors(options_.host_id + "-"))
    if (!is_known(m.name.substr(std::min(m.name.size(), options_.host_id.size() + 1)))) out.push_back(fmt::format("process {}, monitor of {}", m.pid, m.name));
  return out;
}

} // namespace incus::instance::lxc
