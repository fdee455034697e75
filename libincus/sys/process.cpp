// SPDX-License-Identifier: Apache-2.0
#include "sys/process.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/error.hpp"

extern "C" int __clone(int (*)(void *), void *, int, void *, ...);

namespace incus::sys {

namespace {

// Between clone and exec only raw system calls are made: memory is shared with the suspended caller, so neither locks nor
// the sanitizers' bookkeeping may run there.
#if defined(__clang__)
#define INCUS_RAW __attribute__((no_sanitize("address", "thread", "undefined", "memory"), noinline))
#else
#define INCUS_RAW __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined, noinline))
#endif

// ThreadSanitizer's clone() takes the child for a fork, with handlers of its own on both sides; libc's other name for it is let alone.
#if defined(__SANITIZE_THREAD__)
#define INCUS_CLONE ::__clone
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INCUS_CLONE ::__clone
#endif
#endif
#ifndef INCUS_CLONE
#define INCUS_CLONE ::clone
#endif

struct Plan {
  char *const *argv;
  char *const *env;
  const int *fds;
  int *high;          // room for as many numbers as fds
  int count;
  char *stack;        // of the grandchild
  std::size_t stack_size;
  int pid = -1;
  int pidfd = -1;
  int error = 0;      // errno of what failed
};

struct KernelSigaction {
  void *handler;
  unsigned long flags;
  void *restorer;
  std::uint64_t mask;
};

INCUS_RAW int run_grandchild(void *arg) {
  auto *p = static_cast<Plan *>(arg);
  KernelSigaction dfl{};
  for (int s = 1; s <= 64; s++)
    if (s != SIGKILL && s != SIGSTOP) ::syscall(SYS_rt_sigaction, s, &dfl, nullptr, sizeof(std::uint64_t));
  ::syscall(SYS_setsid);
  ::syscall(SYS_chdir, "/");
  ::syscall(SYS_umask, 022);
  // First out of the way, then into place: sources and targets may overlap.
  for (int i = 0; i < p->count; i++) {
    long n = ::syscall(SYS_fcntl, p->fds[i], F_DUPFD_CLOEXEC, p->count);
    if (n < 0) {
      p->error = errno;
      ::syscall(SYS_exit, 127);
    }
    p->high[i] = static_cast<int>(n);
  }
  for (int i = 0; i < p->count; i++)
    if (::syscall(SYS_dup3, p->high[i], i, 0) < 0) {
      p->error = errno;
      ::syscall(SYS_exit, 127);
    }
  if (::syscall(SYS_close_range, static_cast<unsigned>(p->count), ~0U, 0) < 0)
    for (int i = p->count; i < 65536; i++) ::syscall(SYS_close, i);
  std::uint64_t none = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
  ::syscall(SYS_execve, p->argv[0], p->argv, p->env);
  p->error = errno;
  ::syscall(SYS_exit, 127);
  return 127;
}

INCUS_RAW int run_intermediate(void *arg) {
  auto *p = static_cast<Plan *>(arg);
  // Its descriptor table is the caller's, so that the pidfd is the caller's too.
  int pid = INCUS_CLONE(run_grandchild, p->stack + p->stack_size, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, p, &p->pidfd);
  if (pid < 0) p->error = errno;
  p->pid = pid;
  ::syscall(SYS_exit, 0);
  return 0;
}

} // namespace

Child spawn(const std::vector<std::string> &argv, const std::vector<int> &fds, const std::vector<std::string> &env) {
  if (argv.empty()) base::fail(ErrorCode::internal, "cannot start a program without a name");
  std::vector<char *> a, e;
  for (auto &s : argv) a.push_back(const_cast<char *>(s.c_str()));
  a.push_back(nullptr);
  for (auto &s : env) e.push_back(const_cast<char *>(s.c_str()));
  e.push_back(nullptr);
  std::vector<int> high(fds.size() + 1);

  constexpr std::size_t stack = 256 * 1024;
  void *memory = ::mmap(nullptr, 2 * stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) base::fail_errno(errno, fmt::format("cannot start {}: no memory for its stack", argv[0]));
  char *low = static_cast<char *>(memory);
  Plan p{a.data(), e.data(), fds.data(), high.data(), static_cast<int>(fds.size()), low, stack};

  // No handler of the caller may run on the borrowed stacks.
  sigset_t all, old;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  int pid = INCUS_CLONE(run_intermediate, low + 2 * stack, CLONE_VM | CLONE_VFORK | CLONE_FILES, &p);
  int err = pid < 0 ? errno : 0;
  if (pid > 0)
    while (::waitpid(pid, nullptr, __WCLONE) < 0 && errno == EINTR) {
    }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ::munmap(memory, 2 * stack);

  base::Fd pidfd(p.pidfd);
  if (err == 0) err = p.error;
  if (err != 0) base::fail_errno(err, fmt::format("cannot start {}", argv[0]));
  return {p.pid, std::move(pidfd)};
}

std::string output_of(const std::vector<std::string> &argv, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) base::fail_errno(errno, "cannot make a pipe");
  base::Fd out(ends[0]), in(ends[1]), null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) base::fail_errno(errno, "cannot open /dev/null");
  auto child = spawn(argv, {null.get(), in.get(), in.get()}, {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"});
  in.reset();
  std::string text;
  auto end = Clock::now() + limit;
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) {
      kill_pidfd(child.pidfd.get(), SIGKILL);
      base::fail(ErrorCode::timeout, "{} did not end within {} s", argv[0], std::chrono::duration_cast<std::chrono::seconds>(limit).count());
    }
    pollfd p{out.get(), POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(left)) <= 0) continue;
    char buffer[4096];
    ssize_t n = ::read(out.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, std::min(static_cast<std::size_t>(n), std::size_t(64 * 1024) - text.size()));
  }
  // It may have closed its outputs before its end.
  if (!wait_exit(child.pidfd.get(), limit)) {
    kill_pidfd(child.pidfd.get(), SIGKILL);
    base::fail(ErrorCode::timeout, "{} did not end", argv[0]);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool wait_exit(int pidfd, std::optional<std::chrono::milliseconds> timeout) {
  using Clock = std::chrono::steady_clock;
  auto end = Clock::now() + timeout.value_or(std::chrono::milliseconds(0));
  for (;;) {
    int ms = -1;
    if (timeout) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
      ms = left < 0 ? 0 : static_cast<int>(std::min<std::int64_t>(left, 1'000'000'000));
    }
    pollfd f{pidfd, POLLIN, 0};
    int r = ::poll(&f, 1, ms);
    if (r > 0) return true;
    if (r == 0 && Clock::now() >= end) return false;
    if (r < 0 && errno != EINTR) base::fail_errno(errno, "cannot wait for a process");
  }
}

void kill_pidfd(int pidfd, int signal) noexcept { ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }

std::pair<base::Fd, base::Fd> seqpacket_pair() {
  int s[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) < 0) base::fail_errno(errno, "cannot make a socket pair");
  return {base::Fd(s[0]), base::Fd(s[1])};
}

} // namespace incus::sys
