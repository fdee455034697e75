// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <lxc/attach_options.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "helper/lxc/worker.hpp"

namespace incus::helper::lxc {

namespace {

struct Command {
  std::vector<char *> argv, env;
  std::string cwd, path;
  uid_t uid = 0;
  gid_t gid = 0;
  bool interactive = false;
};

void complain(const char *what, const std::string &on, int err) {
  std::string text = std::string(what) + " " + on + ": " + std::strerror(err) + "\n";
  [[maybe_unused]] auto n = ::write(2, text.data(), text.size());
}

/// Runs inside the guest, after liblxc dropped what is to be dropped.
int run_command(void *payload) {
  auto &c = *static_cast<Command *>(payload);
  if (!c.interactive) ::setsid();
  ::umask(022);
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGQUIT, SIG_DFL);
  ::signal(SIGPIPE, SIG_DFL);
  if (::setgroups(0, nullptr) < 0 && errno != EPERM) {
    complain("cannot drop the groups of user", std::to_string(c.uid), errno);
    _exit(126);
  }
  if (::setresgid(c.gid, c.gid, c.gid) < 0 || ::setresuid(c.uid, c.uid, c.uid) < 0) {
    complain("cannot become user", std::to_string(c.uid) + " group " + std::to_string(c.gid), errno);
    _exit(126);
  }
  if (!c.cwd.empty()) {
    if (::chdir(c.cwd.c_str()) < 0) {
      complain("cannot enter directory", c.cwd, errno);
      _exit(126);
    }
  } else if (c.uid != 0 || ::chdir("/root") < 0) {
    [[maybe_unused]] int r = ::chdir("/");
  }
  ::syscall(SYS_close_range, 3U, ~0U, 0U);

  std::string name = c.argv[0];
  int err = ENOENT;
  if (name.find('/') != name.npos) {
    ::execve(name.c_str(), c.argv.data(), c.env.data());
    err = errno;
  } else if (!name.empty()) {
    for (std::size_t at = 0; at <= c.path.size();) {
      auto end = c.path.find(':', at);
      std::string dir = c.path.substr(at, end == c.path.npos ? c.path.npos : end - at);
      at = end == c.path.npos ? c.path.size() + 1 : end + 1;
      std::string file = (dir.empty() ? "." : dir) + "/" + name;
      ::execve(file.c_str(), c.argv.data(), c.env.data());
      if (errno != ENOENT && errno != ENOTDIR) err = errno;
      if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) break;
    }
  }
  complain("cannot run", name, err);
  _exit(err == ENOENT || err == ENOTDIR ? 127 : 126);
}

/// Host id of a guest's id, from a map of /proc.
long host_id(int pid, const char *file, unsigned long id) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  FILE *f = std::fopen(path, "re");
  if (!f) return -1;
  unsigned long guest = 0, host = 0, count = 0;
  long found = -1;
  while (std::fscanf(f, "%lu %lu %lu", &guest, &host, &count) == 3)
    if (id >= guest && id - guest < count) found = static_cast<long>(host + (id - guest));
  std::fclose(f);
  return found;
}

/// A pair from the container's own devpts.
bool open_pty(int reply, lxc_container *c, const Command &cmd, int width, int height, int &master, int &slave) {
  int devpts = c->devpts_fd ? c->devpts_fd(c) : -1;
  if (devpts < 0) refuse(reply, "the container has no devpts of its own");
  master = ::openat(devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
  if (master < 0) refuse_errno(reply, errno, "cannot open a terminal of the container");
  ::close(devpts);
  int unlock = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) < 0) refuse_errno(reply, errno, "cannot unlock a terminal of the container");
  slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) refuse_errno(reply, errno, "cannot open the other end of a terminal of the container");
  winsize w{};
  w.ws_col = static_cast<unsigned short>(width);
  w.ws_row = static_cast<unsigned short>(height);
  if (width > 0 && height > 0) ::ioctl(master, TIOCSWINSZ, &w);
  int init = c->init_pid(c);
  long uid = host_id(init, "uid_map", cmd.uid), tty = host_id(init, "gid_map", 5);
  if (uid >= 0 && tty >= 0 && ::fchown(slave, static_cast<uid_t>(uid), static_cast<gid_t>(tty)) < 0)
    refuse_errno(reply, errno, "cannot give the terminal to its user");
  return true;
}

/// Waits for the command; kills it, and what it started in its group, when the engine's end of the reply socket is gone or says no more.
int wait_for(int reply, int pid, int pidfd) {
  pollfd p[2] = {{pidfd, POLLIN, 0}, {reply, POLLRDHUP, 0}};
  for (;;) {
    if (::poll(p, 2, -1) < 0 && errno != EINTR) break;
    if (p[0].revents) break;
    if (p[1].revents) {
      // Not reaped yet, so the number is its own; a shell's children would else go on and hold its output open.
      ::kill(-pid, SIGKILL);
      ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
      p[1].fd = -1;
    }
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 255;
}

} // namespace

void do_exec(int reply, const std::vector<std::string> &args, const std::vector<int> &fds) {
  if (args.size() < 10) refuse(reply, "malformed request");
  Command cmd;
  cmd.uid = static_cast<uid_t>(std::strtoul(args[2].c_str(), nullptr, 10));
  cmd.gid = static_cast<gid_t>(std::strtoul(args[3].c_str(), nullptr, 10));
  cmd.cwd = args[4];
  cmd.interactive = args[5] == "1";
  int width = std::atoi(args[6].c_str()), height = std::atoi(args[7].c_str());
  std::size_t count = std::strtoul(args[8].c_str(), nullptr, 10);
  if (count == 0 || count > args.size() - 9 || fds.size() != (cmd.interactive ? 0 : 3)) refuse(reply, "malformed request");
  for (std::size_t i = 9; i < args.size(); i++) {
    (i - 9 < count ? cmd.argv : cmd.env).push_back(const_cast<char *>(args[i].c_str()));
    if (i - 9 >= count && args[i].rfind("PATH=", 0) == 0) cmd.path = args[i].substr(5);
  }
  cmd.argv.push_back(nullptr);
  cmd.env.push_back(nullptr);

  // Between entering the guest's namespaces and the exec the guest's root could otherwise look into the process.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  lxc_container *c = lxc_container_new(args[0].c_str(), lxc_path);
  if (!c) refuse(reply, "liblxc cannot make the container object");
  c->clear_config(c);
  if (!c->load_config(c, args[1].c_str())) refuse(reply, "liblxc refuses the configuration " + args[1]);

  lxc_attach_options_t o = LXC_ATTACH_OPTIONS_DEFAULT;
  o.env_policy = LXC_ATTACH_CLEAR_ENV;
  char root[] = "/";
  o.initial_cwd = root;
  int master = -1, slave = -1;
  if (cmd.interactive) {
    open_pty(reply, c, cmd, width, height, master, slave);
    o.stdin_fd = o.stdout_fd = o.stderr_fd = slave;
  } else {
    // In place before, so that liblxc neither moves them nor takes a terminal among them from its session.
    for (int i = 0; i < 3; i++) {
      ::dup2(fds[static_cast<std::size_t>(i)], i);
      ::close(fds[static_cast<std::size_t>(i)]);
    }
  }
  pid_t pid = -1;
  if (c->attach(c, run_command, &cmd, &o, &pid) < 0 || pid <= 0) refuse(reply, "liblxc cannot enter the container");
  if (slave >= 0) ::close(slave);
  int pidfd = pidfd_open(pid);
  std::vector<int> out{pidfd};
  if (master >= 0) out.push_back(master);
  send_reply(reply, ok, {std::to_string(pid)}, out);
  // Only the command may hold its descriptors: whoever reads its output waits for their end.
  if (master >= 0) ::close(master);
  for (int i = 0; i < 3; i++) ::close(i);
  int code = wait_for(reply, pid, pidfd);
  send_reply(reply, exited, {std::to_string(code)});
}

} // namespace incus::helper::lxc
