// SPDX-License-Identifier: Apache-2.0
// incus-lxc: runs containers by liblxc for one open state directory. Descriptor 3 is the engine's socket, 4 (if open) the
// directory's lock, which it and its workers hold but the containers' monitors do not. It forks a worker per request.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "helper/lxc/worker.hpp"

namespace incus::helper::lxc {

void send_reply(int reply, std::uint32_t op, std::vector<std::string> args, std::vector<int> fds) {
  send_message(reply, {op, std::move(args), std::move(fds)});
}

void refuse(int reply, const std::string &text) {
  send_reply(reply, failed, {text});
  _exit(1);
}

void refuse_errno(int reply, int err, const std::string &text) { refuse(reply, text + ": " + std::strerror(err)); }

namespace {

constexpr int engine = 3, lock = 4;

bool has_lock = false; ///< else the number is anybody's

[[noreturn]] void serve(Message &m) {
  ::signal(SIGCHLD, SIG_DFL);
  ::close(engine);
  int reply = m.fds.front();
  std::vector<int> fds(m.fds.begin() + 1, m.fds.end());
  switch (m.op) {
  case start: do_start(reply, m.args); break;
  case query: do_query(reply, m.args); break;
  case exec:
    // A command changes nothing that the lock guards, and its processes must not see it.
    if (has_lock) ::close(lock);
    do_exec(reply, m.args, fds);
    break;
  case console:
    if (has_lock) ::close(lock);
    do_console(reply, m.args);
    break;
  case disks:
    if (has_lock) ::close(lock);
    do_disks(reply, m.args, fds);
    break;
  case validate: do_validate(reply, m.args); break;
  case warm:
    if (has_lock) ::close(lock);
    do_warm();
    break;
  default: refuse(reply, "request " + std::to_string(m.op) + " is not known to this helper");
  }
  _exit(0);
}

/// They need no reaping: SIGCHLD is ignored.
bool workers_ended(int ms) {
  for (;; ms -= 5) {
    if (::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD) return true;
    if (ms <= 0) return false;
    timespec t{0, 5'000'000};
    ::nanosleep(&t, nullptr);
  }
}

int run() {
  Settings settings;
  int owner = -1;
  // Workers need no reaping so; each sets it back for itself.
  ::signal(SIGCHLD, SIG_IGN);
  ::fcntl(engine, F_SETFD, FD_CLOEXEC);
  has_lock = ::fcntl(lock, F_SETFD, FD_CLOEXEC) == 0;
  for (;;) {
    pollfd p[2] = {{engine, POLLIN, 0}, {owner, POLLIN, 0}};
    if (::poll(p, 2, -1) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    // The owner's death counts even when a process that it forked still holds the socket.
    if (!(p[0].revents & POLLIN) && (p[0].revents || p[1].revents)) break;
    if (!p[0].revents) continue;
    Message m;
    int e = receive_message(engine, m);
    if (e == -1) break;
    if (e == EINTR) continue;
    if (e || m.fds.empty()) {
      // Another version or damage: say no to whom can hear it.
      for (int fd : m.fds) ::close(fd);
      if (e == EPROTO) return 2;
      continue;
    }
    if (m.op == hello && m.args.size() >= 4) {
      settings = {m.args[0], m.args[1], m.args[2] == "1", m.args[3] == "1"};
      if (m.fds.size() > 1) {
        owner = m.fds[1];
        m.fds.resize(1);
      }
      send_reply(m.fds[0], ok, {std::to_string(protocol_version)});
    } else {
      // Who has given up waiting has undone what it began, and must not find it done later. Nobody waits for a warming.
      bool wanted = send_message(m.fds[0], {taken, {}, {}}) == 0 || m.op == warm;
      pid_t pid = wanted ? ::fork() : -1;
      if (pid == 0) {
        if (owner >= 0) ::close(owner);
        serve(m);
      }
      if (wanted && pid < 0) send_reply(m.fds[0], failed, {std::string("cannot fork: ") + std::strerror(errno)});
    }
    for (int fd : m.fds) ::close(fd);
  }
  // Commands end by themselves now (their worker sees the end of file); starts get the time to come up or fail.
  if (!workers_ended(settings.auto_destroy ? 2000 : 30000)) {
    ::signal(SIGTERM, SIG_IGN);
    ::kill(0, SIGTERM);
    workers_ended(500);
    // A monitor may have been on its way into its groups when its worker was ended.
    timespec t{0, 300'000'000};
    ::nanosleep(&t, nullptr);
  }
  if (settings.auto_destroy) destroy_all(settings);
  if (!workers_ended(0)) ::kill(0, SIGKILL);
  return 0;
}

} // namespace
} // namespace incus::helper::lxc

int main() {
  if (::fcntl(incus::helper::lxc::engine, F_GETFD) < 0) {
    std::fputs("incus-lxc is started by libincus, not by hand\n", stderr);
    return 2;
  }
  return incus::helper::lxc::run();
}
