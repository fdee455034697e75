// SPDX-License-Identifier: Apache-2.0
// No set-up on a new machine: without a daemon, root's first command starts one that ends by itself.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "output.hpp"
#include "server.hpp"

extern char **environ;

namespace cli {

namespace {

std::string find_daemon() {
  char self[4096];
  auto n = readlink("/proc/self/exe", self, sizeof self - 1);
  Strings places;
  if (n > 0) {
    self[n] = 0;
    std::string here(self);
    here.resize(here.rfind('/'));
    places = {here + "/incusd", here + "/../libexec/incus/incusd", here + "/../subprojects/incusd/incusd", here + "/../incusd/incusd"};
  }
  if (auto *path = getenv("PATH"))
    for (auto &p : split_text(path, ':'))
      if (!p.empty()) places.push_back(p + "/incusd");
  places.emplace_back("/usr/local/libexec/incus/incusd");
  places.emplace_back("/usr/libexec/incus/incusd");
  for (auto &p : places)
    if (access(p.c_str(), X_OK) == 0) return p;
  return {};
}

} // namespace

void start_daemon(const std::string &socket) {
  auto program = find_daemon();
  if (program.empty()) fail("The local server isn't running at {} and no incusd was found beside this program or on PATH to start one", socket);
  char log[] = "/tmp/incusd-start.XXXXXX";
  int out = mkostemp(log, O_CLOEXEC);
  if (out >= 0) unlink(log);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  if (out >= 0)
    posix_spawn_file_actions_adddup2(&actions, out, 2);
  else
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t usual;
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  sigaddset(&usual, SIGINT);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string transient = "--transient";
  char *argv[] = {program.data(), transient.data(), nullptr};
  pid_t pid = 0;
  int error = posix_spawn(&pid, program.c_str(), &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error) fail("Failed to start {}: {}", program, strerror(error));
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool ended = false;
  while (!socket_answers(socket)) {
    int status = 0;
    if (!ended && waitpid(pid, &status, WNOHANG) == pid) {
      ended = true;
      // Another command may have started one at the same moment: then that one serves us.
      until = std::min(until, std::chrono::steady_clock::now() + std::chrono::seconds(2));
    }
    if (std::chrono::steady_clock::now() > until) {
      std::string said;
      if (out >= 0) {
        char buffer[2048];
        auto n = pread(out, buffer, sizeof buffer, 0);
        if (n > 0) said.assign(buffer, static_cast<std::size_t>(n));
        while (!said.empty() && said.back() == '\n') said.pop_back();
      }
      fail("{} {} and does not serve {}{}{}", program, ended ? "ended" : "was started", socket, said.empty() ? "" : ": ", said);
    }
    usleep(5000);
  }
  if (out >= 0) close(out);
}

} // namespace cli
