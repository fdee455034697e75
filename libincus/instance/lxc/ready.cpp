// SPDX-License-Identifier: Apache-2.0
// When a guest is ready. An init that knows NOTIFY_SOCKET says so. For one that does not: if it has an inittab (busybox, sysvinit,
// OpenRC), the commands that this runs before anything else have ended and init sleeps; any other has come as far as can be told
// once it runs. An adopted guest that may have said it to an engine now gone: systemd forbids logins by /run/nologin until
// its start has ended.
#include <algorithm>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/netlink.hpp"

namespace incus::instance::lxc {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

/// Finds a path of the guest as the guest would, but never outside its root. What it is must be looked at before it is opened.
base::Fd find_in_guest(int pid, const char *path) {
  base::Fd root(::open(fmt::format("/proc/{}/root", pid).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return {};
  open_how how{};
  how.flags = static_cast<std::uint64_t>(O_PATH | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return base::Fd(static_cast<int>(::syscall(SYS_openat2, root.get(), path, &how, sizeof how)));
}

std::optional<std::string> read_in_guest(int pid, const char *path) {
  auto fd = find_in_guest(pid, path);
  struct stat st;
  if (!fd || ::fstat(fd.get(), &st) < 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  // The same file again, by descriptor: opening a device that the guest puts there meanwhile could do anything.
  fd.reset(::open(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string out(64 * 1024, '\0');
  ssize_t n = ::pread(fd.get(), out.data(), out.size(), 0);
  if (n < 0) return std::nullopt;
  out.resize(static_cast<std::size_t>(n));
  return out;
}

/// What must have ended, from lines "id:runlevels:action:process".
std::vector<std::string> boot_commands(const std::string &inittab) {
  std::vector<std::string> out;
  std::string_view rest = inittab;
  while (!rest.empty()) {
    auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.empty() || line[0] == '#') continue;
    std::string_view field[4];
    for (int i = 0; i < 4; i++) {
      auto colon = i == 3 ? line.npos : line.find(':');
      field[i] = line.substr(0, colon);
      line.remove_prefix(colon == line.npos ? line.size() : colon + 1);
    }
    if (field[2] != "sysinit" && field[2] != "wait" && field[2] != "boot" && field[2] != "bootwait") continue;
    auto command = field[3];
    while (!command.empty() && (command[0] == ' ' || command[0] == '-')) command.remove_prefix(1);
    while (!command.empty() && command.back() == ' ') command.remove_suffix(1);
    if (!command.empty()) out.emplace_back(command);
  }
  return out;
}

std::string command_line(int pid) {
  auto text = sys::read_small_file(fmt::format("/proc/{}/cmdline", pid), 4096).value_or("");
  while (!text.empty() && text.back() == '\0') text.pop_back();
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

std::vector<int> children_of(int pid) {
  std::vector<int> out;
  if (auto text = sys::read_small_file(fmt::format("/proc/{0}/task/{0}/children", pid))) {
    std::size_t at = 0;
    while (at < text->size()) {
      out.push_back(std::atoi(text->c_str() + at));
      at = text->find(' ', at);
      if (at == text->npos) break;
      at++;
    }
    while (!out.empty() && out.back() <= 0) out.pop_back();
    return out;
  }
  // Kernels without that file.
  DIR *d = ::opendir("/proc");
  if (!d) return out;
  while (dirent *e = ::readdir(d)) {
    int child = std::atoi(e->d_name), parent = 0;
    if (child <= 0) continue;
    auto text = sys::read_small_file(fmt::format("/proc/{}/stat", child), 4096);
    auto at = text ? text->rfind(')') : std::string::npos;
    if (at != std::string::npos && std::sscanf(text->c_str() + at + 1, " %*c %d", &parent) == 1 && parent == pid) out.push_back(child);
  }
  ::closedir(d);
  return out;
}

char process_state(int pid) {
  auto text = sys::read_small_file(fmt::format("/proc/{}/stat", pid), 4096);
  auto at = text ? text->rfind(')') : std::string::npos;
  return at == std::string::npos || at + 2 >= text->size() ? '?' : (*text)[at + 2];
}

} // namespace

bool LxcRuntime::looks_booted(Entry &e, const Life &life) const {
  auto program = program_of(life.pid);
  if (program == "systemd") {
    // The directory and the file are made by the same early step.
    return e.adopted && find_in_guest(life.pid, "/run/systemd/users") && !find_in_guest(life.pid, "/run/nologin");
  }
  auto inittab = read_in_guest(life.pid, "/etc/inittab");
  std::vector<std::string> commands;
  if (inittab) commands = boot_commands(*inittab);
  else if (program == "busybox") commands = {"/etc/init.d/rcS"};
  else return true;
  if (process_state(life.pid) != 'S') return false;
  auto own = command_line(life.pid);
  for (int child : children_of(life.pid)) {
    auto line = command_line(child);
    // A zombie's is empty: it is about to be reaped, then the next is started.
    if (line.empty() || line == own) return false;
    for (auto &c : commands)
      if (line.find(c) != line.npos) return false;
  }
  return true;
}

bool LxcRuntime::wait_booted(const EntryPtr &e, Clock::time_point end) {
  int seen = 0;
  auto pause = milliseconds(2);
  for (;;) {
    std::shared_ptr<const Life> life;
    {
      std::unique_lock lock(e->mutex);
      if (e->booted) return true;
      if (e->stopped || e->finishing) base::fail(ErrorCode::conflict, "instance {} stopped before it was ready", base::quoted(e->key.name));
      life = e->life;
    }
    seen = looks_booted(*e, *life) ? seen + 1 : 0;
    std::unique_lock lock(e->mutex);
    if (seen >= 2 && life == e->life && !sys::wait_exit(life->init.get(), milliseconds(0))) {
      e->booted = true;
      return true;
    }
    auto now = Clock::now();
    if (now >= end) return false;
    e->changed.wait_until(lock, std::min(end, now + (seen ? milliseconds(5) : pause)), [&] { return e->booted || e->stopped; });
    if (!seen) pause = std::min(pause * 2, milliseconds(20));
  }
}

bool LxcRuntime::wait_network(const EntryPtr &e, Clock::time_point end) {
  for (;;) {
    std::shared_ptr<const Life> life;
    {
      std::lock_guard lock(e->mutex);
      if (e->stopped || e->finishing) base::fail(ErrorCode::conflict, "instance {} stopped before it was ready", base::quoted(e->key.name));
      life = e->life;
    }
    {
      std::lock_guard lock(e->net_mutex);
      // Before the look, so that nothing is missed between look and wait.
      if (!e->subscribed) sys::subscribe_addresses(life->net.get());
      e->subscribed = true;
      for (auto &l : sys::list_links(life->net.get()))
        if (!(l.flags & IFF_LOOPBACK))
          for (auto &a : l.addresses)
            if (a.scope == RT_SCOPE_UNIVERSE) return true;
    }
    auto now = Clock::now();
    if (now >= end) return false;
    // Another caller's look may take the news from the socket: look again in any case after a while.
    auto ms = std::min<std::int64_t>(100, std::chrono::ceil<milliseconds>(end - now).count());
    pollfd p[2] = {{life->net.get(), POLLIN, 0}, {e->monitor.get(), POLLIN, 0}};
    ::poll(p, 2, static_cast<int>(ms));
  }
}

bool LxcRuntime::wait_ready(const Key &key, ReadyLevel level, milliseconds timeout) {
  auto e = need(key, "wait for");
  auto end = Clock::now() + std::min(timeout, milliseconds(std::chrono::hours(24 * 365)));
  // A start returns when init runs, and then commands can be run.
  if (level == ReadyLevel::exec) return true;
  return level == ReadyLevel::network ? wait_network(e, end) : wait_booted(e, end);
}

} // namespace incus::instance::lxc
