// SPDX-License-Identifier: Apache-2.0
// incus-files: the files of one instance, for the engine's file verbs and for SFTP. Descriptor 0 is the socket to the engine
// (helper/protocol.hpp), 3 the state directory's lock. The first message says where to work:
//   enter "guest", [0] pidfd of the guest's init | enter "directory", path, ids... | enter "overlay", lower, upper, work
// and is answered by ok or error. Each further one is a request with a socket of its own, answered in a thread. The process ends with the engine's
// socket, or when it had nothing to do for a while.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fcntl.h>
#include <list>
#include <mutex>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <system_error>
#include <sys/stat.h>
#include <thread>

#include "helper/files/enter.hpp"
#include "helper/files/sftp.hpp"
#include "helper/files/system.hpp"
#include "helper/files/verbs.hpp"
#include "helper/unpack/common.hpp"
#include "helper/unpack/sandbox.hpp"

using namespace incus;
using namespace incus::files;

namespace {

constexpr int sock = 0;
constexpr int idle_limit = 10;   ///< seconds without a request
constexpr int stuck_limit = 120; ///< seconds that one system call may take

std::atomic<int> busy{0};
std::mutex slots_mutex;
std::list<Slow::Slot> slots;

void reply(Answer a, std::vector<std::string> args) {
  helper::Message m;
  m.op = static_cast<std::uint32_t>(a);
  m.args = std::move(args);
  if (helper::send_message(sock, m)) ::_exit(1); // nobody listens any more
}

std::int64_t seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1;
}

/// A guest can have file systems that answer never; only this process is lost to them.
void end_if_stuck() {
  std::lock_guard lock(slots_mutex);
  for (auto &s : slots)
    if (auto since = s.since.load(); since && seconds() - since > stuck_limit) ::_exit(3);
}

std::string enter(const helper::Message &m) {
  auto &a = m.args;
  if (a.size() == 1 && a[0] == "guest" && m.fds.size() == 1) return enter_guest(m.fds[0]);
  if (a.size() >= 2 && a[0] == "directory") return enter_directory(a[1], {a.begin() + 2, a.end()});
  if (a.size() == 4 && a[0] == "overlay") return enter_overlay(a[1], a[2], a[3]);
  return "a malformed request";
}

void work(System &vfs, helper::Message m) {
  std::list<Slow::Slot>::iterator slot;
  {
    std::lock_guard lock(slots_mutex);
    slot = slots.emplace(slots.end());
  }
  Slow::slot = &*slot;
  try {
    if (static_cast<Op>(m.op) == Op::sftp) {
      serve_sftp(vfs, m.fds[0]);
      for (int fd : m.fds) ::close(fd);
    } else {
      serve_verb(vfs, m);
    }
  } catch (const std::exception &) { // out of memory: the client sees the end of its socket
  }
  Slow::slot = nullptr;
  std::lock_guard lock(slots_mutex);
  slots.erase(slot);
  busy--;
}

void start(System &vfs, helper::Message m) {
  if (m.fds.empty()) return;
  busy++;
  auto fds = m.fds;
  try {
    std::thread(work, std::ref(vfs), std::move(m)).detach();
  } catch (const std::system_error &) {
    for (int fd : fds) ::close(fd);
    busy--;
  }
}

void serve(System &vfs) {
  std::int64_t last = seconds();
  bool leaving = false;
  for (;;) {
    pollfd p{sock, POLLIN, 0};
    int r = leaving ? 1 : ::poll(&p, 1, 2000);
    end_if_stuck();
    if (busy > 0) last = seconds();
    if (r > 0) {
      helper::Message m;
      int e = helper::receive_message(sock, m);
      if (e == 0) {
        start(vfs, std::move(m));
        last = seconds();
        continue;
      }
      if (!leaving) ::_exit(0); // the engine is gone, and with it whoever asked
      while (busy > 0) {
        end_if_stuck();
        ::poll(nullptr, 0, 50);
      }
      ::_exit(0);
    }
    if (busy == 0 && seconds() - last > idle_limit) {
      // From now on the engine cannot send; what it had sent before is still answered.
      ::shutdown(sock, SHUT_RD);
      leaving = true;
    }
  }
}

} // namespace

int main() {
  ::umask(0);
  ::signal(SIGPIPE, SIG_IGN);
  helper::Message m;
  if (int e = helper::receive_message(sock, m)) {
    if (e == ENOTSOCK) std::fputs("incus-files is started by libincus; it has no use on its own\n", stderr);
    return 2;
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  int self = ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (self < 0) {
    reply(Answer::error, {std::to_string(errno), "cannot open /proc/self/fd"});
    return 1;
  }
  if (auto problem = enter(m); !problem.empty()) {
    reply(Answer::error, {"", problem});
    return 1;
  }
  for (int fd : m.fds) ::close(fd);
  try {
    unpack::drop_privileges(unpack::Keep::write);
  } catch (const unpack::Failure &f) {
    reply(Answer::error, {"", f.text});
    return 1;
  }
  reply(Answer::ok, {});
  static System vfs(self);
  serve(vfs);
}
