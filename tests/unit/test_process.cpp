// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "sys/process.hpp"

using namespace incus;
using namespace std::chrono_literals;

namespace {
std::string read_all(int fd) {
  std::string out;
  char buf[512];
  for (ssize_t n; (n = ::read(fd, buf, sizeof buf)) > 0;) out.append(buf, static_cast<std::size_t>(n));
  return out;
}
} // namespace

TEST_CASE("spawn: descriptors in place, others closed, a session of its own, nothing in wait()") {
  int p[2];
  REQUIRE(::pipe2(p, 0) == 0); // inheritable on purpose
  // Both places taken by the other's source: they must not overwrite each other.
  auto child = sys::spawn({"/bin/sh", "-c", "ls /proc/self/fd | wc -l; echo $FOO; ps -o sid= -p $$ 2>/dev/null || true; echo pid $$; exit 3"},
                          {p[0], p[1], p[1]}, {"FOO=bar", "PATH=/usr/bin:/bin"});
  ::close(p[1]);
  auto out = read_all(p[0]);
  ::close(p[0]);
  CHECK(out.starts_with("4\nbar\n")); // 0, 1, 2 and the listing's own
  CHECK(out.find("pid " + std::to_string(child.pid)) != out.npos);
  CHECK(sys::wait_exit(child.pidfd.get(), 10s));
  if (::getpid() != 1) {
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
    CHECK(errno == ECHILD);
  }
}

TEST_CASE("spawn: what cannot be started is an error that names it") {
  std::string what;
  try {
    sys::spawn({"/no/such/program"}, {});
  } catch (const Error &e) {
    what = e.what();
    CHECK(e.code() == ErrorCode::not_found);
  }
  CHECK(what == "cannot start /no/such/program: No such file or directory");
  CHECK_THROWS_AS(sys::spawn({"/bin/true"}, {12345}), Error);
}

TEST_CASE("spawn: signals are at their defaults and the caller's mask is kept") {
  struct sigaction ignore {}, old{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGUSR1, &ignore, &old);
  sigset_t block, before, after;
  sigemptyset(&block);
  sigaddset(&block, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &block, &before);
  int p[2];
  REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  auto child = sys::spawn({"/bin/grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"}, {null, p[1], null});
  ::close(p[1]);
  auto out = read_all(p[0]);
  ::close(p[0]);
  ::close(null);
  CHECK(out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  ::pthread_sigmask(SIG_SETMASK, &before, &after);
  CHECK(sigismember(&after, SIGUSR2) == 1);
  ::sigaction(SIGUSR1, &old, nullptr);
}

TEST_CASE("spawn from many threads at once; waiting with and without a limit; killing") {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; i++)
    threads.emplace_back([&] {
      for (int n = 0; n < 10; n++) {
        auto c = sys::spawn({"/bin/true"}, {});
        if (sys::wait_exit(c.pidfd.get(), 10s)) good++;
      }
    });
  for (auto &t : threads) t.join();
  CHECK(good == 80);
  auto c = sys::spawn({"/bin/sleep", "100"}, {});
  CHECK_FALSE(sys::wait_exit(c.pidfd.get(), 10ms));
  sys::kill_pidfd(c.pidfd.get(), SIGKILL);
  CHECK(sys::wait_exit(c.pidfd.get(), std::nullopt));
}

TEST_CASE("output_of: what a program said, all of it, and not for ever") {
  CHECK(sys::output_of({"/bin/sh", "-c", "echo one; echo two >&2; echo"}, 10s) == "one\ntwo");
  CHECK(sys::output_of({"/bin/cat"}, 10s) == ""); // there is no input
  CHECK(sys::output_of({"/bin/sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x"}, 10s) == std::string(65536, 'x'));
  // Its outputs closed early, but not yet at its end.
  auto mark = std::filesystem::temp_directory_path() / fmt::format("incus-output-{}", ::getpid());
  CHECK(sys::output_of({"/bin/sh", "-c", "echo on; exec >&- 2>&-; sleep 0.3; : > \"$0\"", mark}, 10s) == "on");
  CHECK(std::filesystem::remove(mark));
  CHECK_THROWS_WITH_AS(sys::output_of({"/bin/sleep", "60"}, 100ms), doctest::Contains("/bin/sleep did not end"), Error);
  CHECK_THROWS_AS(sys::output_of({"/no/such/program"}, 1s), Error);
}
