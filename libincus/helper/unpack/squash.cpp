// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/squash.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "helper/unpack/common.hpp"
#include "helper/unpack/sandbox.hpp"

namespace incus::unpack {

void check_squashfs(int fd) {
  unsigned char head[96];
  struct stat st;
  ssize_t n = ::pread(fd, head, sizeof head, 0);
  if (n < 0 || ::fstat(fd, &st) < 0) fail_errno(errno, "cannot read the rootfs file");
  if (n < static_cast<ssize_t>(sizeof head)) refuse("the squashfs is truncated: it has no whole superblock");
  std::uint16_t major;
  std::uint64_t used;
  std::memcpy(&major, head + 28, 2);
  std::memcpy(&used, head + 40, 8);
  major = le16toh(major);
  used = le64toh(used);
  if (major != 4) refuse("the squashfs has version " + std::to_string(major) + "; only 4 is known");
  if (used > static_cast<std::uint64_t>(st.st_size))
    refuse("the squashfs is truncated: it says " + std::to_string(used) + " bytes, the file has " + std::to_string(st.st_size));
}

namespace {

const char *program() {
  for (const char *p : {"/usr/bin/unsquashfs", "/usr/local/bin/unsquashfs", "/usr/sbin/unsquashfs", "/bin/unsquashfs"})
    if (::access(p, X_OK) == 0) return p;
  fail("not_supported", "unsquashfs is not installed; install squashfs-tools to unpack this image");
}

/// The first process of the pid namespace.
[[noreturn]] void child(const char *path, int image, int output, unsigned threads) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) {
    ::dprintf(output, "cannot mount /proc: %s", ::strerror(errno));
    ::_exit(127);
  }
  try {
    drop_privileges(Keep::write);
  } catch (const Failure &f) {
    ::dprintf(output, "%s", f.text.c_str());
    ::_exit(127);
  }
  (void)!::dup(1); // the pipe whose end tells the engine that nobody writes to the target any more
  ::dup2(output, 1);
  ::dup2(output, 2);
  ::fcntl(image, F_SETFD, 0);
  int null = ::open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC); // something harmless in place of the socket
  if (null >= 0) ::dup2(null, 0);
  std::string file = "/proc/self/fd/" + std::to_string(image), processors = std::to_string(threads);
  const char *argv[] = {path, "-no-progress", "-quiet", "-xattrs", "-processors", processors.c_str(), "-dest", "/target/rootfs", file.c_str(), nullptr};
  const char *env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", nullptr};
  ::execve(path, const_cast<char **>(argv), const_cast<char **>(env));
  ::dprintf(output, "cannot run unsquashfs: %s", ::strerror(errno));
  ::_exit(127);
}

} // namespace

void unsquash(int image, unsigned threads, int sock) {
  const char *path = program();
  int out[2];
  if (::pipe2(out, O_CLOEXEC) < 0) fail_errno(errno, "cannot make a pipe");
  // Not unshare and fork: a process that has unshared its pids cannot start threads. There are none yet, so a bare clone is as good.
  auto pid = static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid < 0) fail_errno(errno, "cannot start unsquashfs");
  if (pid == 0) child(path, image, out[1], threads);
  ::close(out[1]);
  std::string text;
  char piece[4096];
  for (;;) {
    pollfd p[2] = {{out[0], POLLIN, 0}, {sock, POLLRDHUP, 0}};
    if (::poll(p, 2, -1) < 0 && errno == EINTR) continue;
    if (p[1].revents) ::_exit(1); // the child gets its signal
    ssize_t n = ::read(out[0], piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (text.size() < 16 * 1024) text.append(piece, static_cast<std::size_t>(n));
  }
  ::close(out[0]);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    struct stat st;
    if (::lstat("/target/rootfs", &st) < 0 || !S_ISDIR(st.st_mode)) refuse("the squashfs holds no directory at its top");
    return;
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::string first = text.substr(0, 1000);
  std::string how = WIFEXITED(status) ? "code " + std::to_string(WEXITSTATUS(status)) : "signal " + std::to_string(WTERMSIG(status));
  const char *code = text.find("No space left on device") != std::string::npos ? "no_space" : "corrupt";
  fail(code, "unsquashfs ended with " + how + ": " + quoted(first));
}

} // namespace incus::unpack
