// SPDX-License-Identifier: Apache-2.0
#include "subject.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace bench {

double milliseconds(const std::function<void()> &work) {
  auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> v) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  std::size_t n = v.size();
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

void run(const std::vector<std::string> &args, bool bare_path, bool quiet) {
  std::vector<char *> argv;
  for (auto &a : args) argv.push_back(const_cast<char *>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  if (quiet) posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  // liblxc finds neither newuidmap nor hook scripts with this PATH.
  const char *bare[] = {"PATH=/nonexistent", nullptr};
  pid_t pid = 0;
  int rc = bare_path ? posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), const_cast<char **>(bare))
                     : posix_spawnp(&pid, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (rc) throw std::runtime_error("cannot run " + args[0] + ": " + std::strerror(rc));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw std::runtime_error(args[0] + " failed");
}

std::string read_file(const std::string &path) {
  std::ifstream in(path);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

namespace {

std::set<std::string> links() {
  std::set<std::string> out;
  for (auto &e : std::filesystem::directory_iterator("/sys/class/net")) out.insert(e.path().filename());
  return out;
}

std::size_t mounts() {
  std::string m = read_file("/proc/self/mountinfo");
  return static_cast<std::size_t>(std::count(m.begin(), m.end(), '\n'));
}

pid_t parent(pid_t pid) {
  std::istringstream in(read_file("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(in, line);)
    if (line.rfind("PPid:", 0) == 0) return static_cast<pid_t>(std::atoi(line.c_str() + 5));
  return 0;
}

/// The directory of a line of /proc/PID/cgroup, under its hierarchy.
std::string cgroup_directory(const std::string &line) {
  auto first = line.find(':'), second = line.find(':', first + 1);
  if (second == std::string::npos) return {};
  std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
  if (path == "/") return {};
  if (controllers.rfind("name=", 0) == 0) controllers = controllers.substr(5);
  for (std::string base : {"/sys/fs/cgroup/" + controllers, std::string("/sys/fs/cgroup/unified"), std::string("/sys/fs/cgroup")})
    if (::access((base + path).c_str(), F_OK) == 0) return base + path;
  return {};
}

} // namespace

Traces::Traces() : links_before_(links()), mounts_before_(mounts()) {}

void Traces::take(pid_t init) {
  pids_ = {init};
  // The process that watches over it, unless that is this program or the first process.
  if (pid_t p = parent(init); p > 1 && p != ::getpid() && read_file("/proc/" + std::to_string(p) + "/comm").find("incusd") == std::string::npos) pids_.push_back(p);
  std::istringstream in(read_file("/proc/" + std::to_string(init) + "/cgroup"));
  for (std::string line; std::getline(in, line);)
    if (auto d = cgroup_directory(line); !d.empty()) cgroups_.push_back(d);
  for (auto &l : links())
    if (!links_before_.count(l)) links_.push_back(l);
}

std::string Traces::left() const {
  for (pid_t p : pids_)
    if (::kill(p, 0) == 0 && read_file("/proc/" + std::to_string(p) + "/status").find("State:\tZ") == std::string::npos) return "process " + std::to_string(p);
  for (auto &l : links_)
    if (::access(("/sys/class/net/" + l).c_str(), F_OK) == 0) return "link " + l;
  for (auto &c : cgroups_)
    if (::access(c.c_str(), F_OK) == 0) return "cgroup " + c;
  if (mounts() > mounts_before_) return "a mount";
  return {};
}

bool Traces::gone() const { return left().empty(); }

} // namespace bench
