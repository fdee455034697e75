// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "helper/lxc/worker.hpp"
#include "sys/cgroup.hpp"

namespace incus::helper::lxc {

namespace {

/// Field 4 of /proc/PID/stat.
int parent_of(int pid) {
  char path[64], buf[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = ::read(fd, buf, sizeof buf - 1);
  ::close(fd);
  if (n <= 0) return -1;
  buf[n] = 0;
  char *at = std::strrchr(buf, ')');
  int parent = -1;
  if (at) std::sscanf(at + 1, " %*c %d", &parent);
  return parent;
}

int netlink_in(int pidfd, int pid) {
  // setns() in a worker touches nobody else.
  if (::setns(pidfd, CLONE_NEWNET) < 0) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    int ns = ::open(path, O_RDONLY | O_CLOEXEC);
    int r = ns < 0 ? -1 : ::setns(ns, CLONE_NEWNET);
    if (ns >= 0) ::close(ns);
    if (r < 0) return -1;
  }
  return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

void sleep_ms(int ms) {
  timespec t{ms / 1000, (ms % 1000) * 1000000L};
  ::nanosleep(&t, nullptr);
}

/// Until the guest's init itself runs: liblxc counts it as running a moment before the exec.
void wait_for_init(int pid) {
  char own[4096], path[64], now[4096];
  std::snprintf(path, sizeof path, "/proc/%d/exe", pid);
  ssize_t mine = ::readlink("/proc/self/exe", own, sizeof own);
  for (int i = 0; i < 20000; i++) {
    ssize_t n = ::readlink(path, now, sizeof now);
    if (n != mine || std::memcmp(own, now, static_cast<std::size_t>(n)) != 0) return;
    timespec t{0, 100'000};
    ::nanosleep(&t, nullptr);
  }
}

} // namespace

namespace {
/// Whether a process is in the control group of the instance "HOST-ID": liblxc's monitor is asked by a socket that any process may have bound, and the
/// number that it told may be another's by now.
bool in_payload(int pid, const std::string &name) {
  auto dash = name.rfind('-');
  auto groups = sys::read_small_file("/proc/" + std::to_string(pid) + "/cgroup");
  if (!groups || dash == name.npos) return false;
  auto at = groups->find("/incus-" + name.substr(0, dash) + "/" + name.substr(dash + 1) + "/payload");
  return at != groups->npos;
}
} // namespace

bool reply_running(int reply, lxc_container *c, const std::string &state) {
  int pid = c->init_pid(c);
  if (pid <= 0) return false;
  int init = pidfd_open(pid);
  if (init >= 0 && !in_payload(pid, c->name)) return false;
  int monitor_pid = init < 0 ? -1 : parent_of(pid);
  int monitor = monitor_pid > 1 ? pidfd_open(monitor_pid) : -1;
  // Still its parent: then the number was the monitor's when it was opened.
  if (monitor < 0 || parent_of(pid) != monitor_pid) return false;
  int net = netlink_in(init, pid);
  if (net < 0) return false;
  send_reply(reply, ok, {state, std::to_string(pid), std::to_string(monitor_pid)}, {init, monitor, net});
  return true;
}

void do_start(int reply, const std::vector<std::string> &args) {
  if (args.size() < 2) refuse(reply, "malformed request");
  Stage stage;
  auto next = [&, i = std::size_t{2}]() mutable -> const std::string & {
    if (i >= args.size()) refuse(reply, "malformed request");
    return args[i++];
  };
  for (std::size_t at = 2; at < args.size();) {
    const std::string &word = next();
    if (word == "map") {
      stage.map.push_back(next());
      at += 2;
    } else if (word == "overlay") {
      stage.overlay = true;
      stage.lower = next();
      stage.upper = next();
      stage.work = next();
      stage.idmapped = next() == "1";
      at += 5;
    } else if (word == "bind") {
      stage.bind = next();
      stage.idmapped = next() == "1";
      at += 3;
    } else if (word == "mount") {
      Stage::Mount m;
      m.source = next();
      m.name = next();
      m.recursive = next() == "1";
      m.shift = next() == "1";
      m.optional = next() == "1";
      m.read_only = next() == "1";
      stage.mounts.push_back(std::move(m));
      at += 7;
    } else {
      refuse(reply, "malformed request");
    }
  }
  if (auto error = put_together(stage); !error.empty()) refuse(reply, error);

  lxc_container *c = lxc_container_new(args[0].c_str(), lxc_path);
  if (!c) refuse(reply, "liblxc cannot make the container object");
  c->clear_config(c);
  if (!c->load_config(c, args[1].c_str())) refuse(reply, "liblxc refuses the configuration " + args[1]);
  c->want_daemonize(c, true);
  c->want_close_all_fds(c, true);
  pollfd asker{reply, POLLRDHUP, 0};
  if (::poll(&asker, 1, 0) > 0) refuse(reply, "nobody waits for it any more");
  if (!c->start(c, 0, nullptr)) refuse(reply, "the container did not start");
  if (int pid = c->init_pid(c); pid > 0) wait_for_init(pid);
  if (!reply_running(reply, c, "RUNNING")) refuse(reply, "the guest's init ended at once; is there an /sbin/init that can run?");
}

void do_query(int reply, const std::vector<std::string> &args) {
  if (args.size() < 3) refuse(reply, "malformed request");
  int old = std::atoi(args[1].c_str()), left = std::atoi(args[2].c_str());
  lxc_container *c = lxc_container_new(args[0].c_str(), lxc_path);
  if (!c) refuse(reply, "liblxc cannot make the container object");
  for (;;) {
    const char *s = c->state(c);
    std::string state = s ? s : "STOPPED";
    if (state == "STOPPED") {
      send_reply(reply, ok, {state, "0", "0"});
      return;
    }
    bool up = state == "RUNNING" || state == "FROZEN" || state == "FREEZING" || state == "THAWED";
    if (up && (old == 0 || c->init_pid(c) != old) && reply_running(reply, c, state)) return;
    if (left <= 0) {
      // It hangs on its way up or down.
      send_reply(reply, ok, {state, "0", "0"});
      return;
    }
    sleep_ms(5);
    left -= 5;
  }
}

void do_validate(int reply, const std::vector<std::string> &args) {
  if (args.empty()) refuse(reply, "malformed request");
  lxc_container *c = lxc_container_new("incus-validate", lxc_path);
  if (!c) refuse(reply, "liblxc cannot make the container object");
  std::size_t number = 0, at = 0;
  const std::string &text = args[0];
  while (at < text.size()) {
    auto end = text.find('\n', at);
    std::string line = text.substr(at, end == text.npos ? text.npos : end - at);
    at = end == text.npos ? text.size() : end + 1;
    number++;
    auto trim = [](std::string s) {
      auto a = s.find_first_not_of(" \t"), b = s.find_last_not_of(" \t");
      return a == s.npos ? std::string() : s.substr(a, b - a + 1);
    };
    line = trim(line);
    auto eq = line.find('=');
    if (line.empty() || line[0] == '#' || eq == line.npos) continue;
    std::string key = trim(line.substr(0, eq)), value = trim(line.substr(eq + 1));
    // Only interfaces that exist can be given addresses.
    if (key.rfind("lxc.net.", 0) == 0) {
      auto dot = key.find('.', 8);
      std::string index = key.substr(8, dot == key.npos ? key.npos : dot - 8);
      c->set_config_item(c, ("lxc.net." + index + ".type").c_str(), "veth");
    }
    if (!c->set_config_item(c, key.c_str(), value.c_str())) {
      send_reply(reply, failed, {std::to_string(number)});
      return;
    }
  }
  send_reply(reply, ok);
}

/// The first move of a process between control groups after a while makes the kernel wait for an RCU grace period, 10 to 20 ms, and those
/// soon after do not. Moving this worker to where it is already gets that over with while others still prepare.
void do_warm() {
  auto mounts = sys::read_small_file("/proc/self/mountinfo"), own = sys::read_small_file("/proc/self/cgroup");
  if (!mounts || !own) return;
  for (auto &root : sys::parse_cgroup_roots(*mounts, *own))
    if (sys::write_small_file(root.path + "/cgroup.procs", std::to_string(::getpid())) == 0) return;
}

} // namespace incus::helper::lxc
