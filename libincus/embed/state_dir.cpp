// SPDX-License-Identifier: Apache-2.0
#include "embed/state_dir.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "sys/fs.hpp"

namespace incus::embed {

namespace {

constexpr const char *marker = ".incus-host", *lock_name = ".lock";
constexpr const char *magic = "libincus 1\n";

struct Holder {
  int pid = 0;
  std::string start;
};

/// Field 22 of /proc/PID/stat: tells a process from a later one of the same number.
std::string start_time(int pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string all((std::istreambuf_iterator<char>(in)), {});
  auto close = all.rfind(')');
  if (close == std::string::npos) return "";
  std::istringstream rest(all.substr(close + 2));
  std::string field, state;
  for (int i = 3; i <= 22; i++) {
    rest >> field;
    if (i == 3) state = field;
  }
  return state == "Z" || state == "X" ? "" : field;
}

Holder read_holder(int lock) {
  char buf[128] = {};
  ssize_t n = ::pread(lock, buf, sizeof buf - 1, 0);
  Holder h;
  char start[64] = {};
  if (n > 0 && std::sscanf(buf, "%d %63s", &h.pid, start) == 2) h.start = start;
  return h;
}

/// Our own helper programs that hold the lock file open.
std::vector<int> helper_holders(int lock) {
  struct stat want, st;
  std::vector<int> out;
  if (::fstat(lock, &want) != 0) return out;
  DIR *proc = ::opendir("/proc");
  if (!proc) return out;
  while (auto *e = ::readdir(proc)) {
    int pid = std::atoi(e->d_name);
    if (pid <= 0 || pid == ::getpid()) continue;
    auto base = "/proc/" + std::to_string(pid);
    std::ifstream comm(base + "/comm");
    std::string name;
    std::getline(comm, name);
    if (!name.starts_with("incus-")) continue;
    DIR *fds = ::opendir((base + "/fd").c_str());
    if (!fds) continue;
    while (auto *f = ::readdir(fds))
      if (f->d_name[0] != '.' && ::stat((base + "/fd/" + f->d_name).c_str(), &st) == 0 && st.st_dev == want.st_dev && st.st_ino == want.st_ino) {
        out.push_back(pid);
        break;
      }
    ::closedir(fds);
  }
  ::closedir(proc);
  return out;
}

/// What is in a directory, but for what may lie there before its first daemon: the socket that systemd listens on, log and pid files, certificates that
/// an administrator put there.
std::vector<std::string> entries(int dir) {
  auto all = sys::list_directory(dir);
  std::erase(all, lock_name);
  std::erase_if(all, [](const std::string &n) {
    return n == "unix.socket" || n == "lost+found" || n == "ca.crl" || n.starts_with("incus.") || n == "server.crt" || n == "server.key" || n == "server.ca";
  });
  return all;
}

} // namespace

StateDirectory::StateDirectory(const std::string &path, std::chrono::milliseconds takeover, const base::Log &log) : path_(path) {
  if (path.empty() || path[0] != '/') base::fail(ErrorCode::invalid_argument, "invalid state directory {}: must be an absolute path", base::quoted(path));
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  if (path_ == "/") base::fail(ErrorCode::invalid_argument, "the state directory must not be \"/\"");
  if (::geteuid() != 0)
    base::fail(ErrorCode::permission_denied, "cannot open {}: running containers needs root; run as root, or use test:// in unit tests", base::quoted(path_));
  dir_ = sys::mkdir_p(AT_FDCWD, path_, 0711);
  bool ours = sys::exists_at(dir_.get(), marker);
  if (!ours) {
    auto have = entries(dir_.get());
    if (std::find(have.begin(), have.end(), "database") != have.end())
      base::fail(ErrorCode::not_supported, "{} was made by another Incus daemon: it is left as it is; use another directory", base::quoted(path_));
    if (!have.empty())
      base::fail(ErrorCode::invalid_argument, "{} is not empty and not a state directory of libincus (it holds {}): use an empty or a new directory",
                 base::quoted(path_), base::quoted(have[0]));
  }
  take_lock(takeover, log);
  if (!sys::exists_at(dir_.get(), marker)) sys::atomic_write(dir_.get(), marker, magic + base::random_hex(4) + "\n", 0600);
  auto text = sys::read_file(dir_.get(), marker, 4096);
  if (!text.starts_with(magic)) base::fail(ErrorCode::not_supported, "{} is of another version of libincus: open it with that", base::quoted(path_));
  host_id_ = text.substr(std::strlen(magic));
  while (!host_id_.empty() && host_id_.back() == '\n') host_id_.pop_back();
  if (host_id_.size() != 8 || host_id_.find_first_not_of("0123456789abcdef") != std::string::npos)
    base::fail(ErrorCode::corrupt, "{}/{} is damaged: its second line must be 8 hexadecimal digits", path_, marker);
  struct Sub {
    const char *name;
    mode_t mode;
  };
  for (auto &s : {Sub{"database", 0700}, {"database/global", 0700}, {"containers", 0711}, {"containers-snapshots", 0700}, {"storage-pools", 0711},
                  {"images", 0700}, {"logs", 0700}, {"run", 0711}, {"security", 0700}, {"devices", 0711}, {"shmounts", 0711}, {"backups", 0700}, {"cache", 0700}})
    sys::mkdir_p(dir_.get(), s.name, s.mode);
}

void StateDirectory::take_lock(std::chrono::milliseconds takeover, const base::Log &log) {
  lock_.reset(::openat(dir_.get(), lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_) base::fail_errno(errno, fmt::format("cannot open {}/{}: the state directory must be writable", path_, lock_name));
  auto started = std::chrono::steady_clock::now();
  bool killed = false;
  while (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) base::fail_errno(errno, "cannot lock " + path_);
    auto h = read_holder(lock_.get());
    if (h.pid > 0 && !h.start.empty() && start_time(h.pid) == h.start)
      base::fail(ErrorCode::unavailable, "{} is held by {} {}: one process at a time may open it; close it there, or talk to it through its socket {}/unix.socket if it serves one",
                 base::quoted(path_), h.pid == ::getpid() ? "this process," : "process", h.pid, path_);
    auto waited = std::chrono::steady_clock::now() - started;
    if (waited > takeover) base::fail(ErrorCode::unavailable, "{} is held by helpers of a process that is gone, and they did not end in time", base::quoted(path_));
    if (waited > takeover / 2 && !killed) {
      for (int pid : helper_holders(lock_.get())) {
        log.warning("killing helper {} of a process that died while it held {}", pid, path_);
        ::kill(pid, SIGKILL);
      }
      killed = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  auto line = fmt::format("{} {}\n", ::getpid(), start_time(::getpid()));
  if (::ftruncate(lock_.get(), 0) != 0 || ::pwrite(lock_.get(), line.data(), line.size(), 0) != static_cast<ssize_t>(line.size()))
    base::fail_errno(errno, fmt::format("cannot write {}/{}", path_, lock_name));
}

std::string helper_path(const std::string &name) {
  std::vector<std::string> places;
  if (const char *dir = std::getenv("INCUS_LIBEXEC")) places.emplace_back(dir);
  Dl_info self;
  if (::dladdr(reinterpret_cast<void *>(&helper_path), &self) && self.dli_fname) {
    // A program that links the static library is its own "library", under whatever name it was started by.
    std::unique_ptr<char, decltype(&std::free)> real(::realpath(self.dli_fname[0] == '/' ? self.dli_fname : "/proc/self/exe", nullptr), &std::free);
    std::string lib = real ? real.get() : "";
    auto dir = lib.substr(0, lib.rfind('/'));
    for (auto *below : {"/helper", "/helper/unpack", "/../../libincus/helper", "/../../libincus/helper/unpack", "/../libincus/helper", "/../libincus/helper/unpack"})
      places.push_back(dir + below);
  }
  places.emplace_back(INCUS_LIBEXECDIR);
  for (auto &p : places)
    if (::access((p + "/" + name).c_str(), X_OK) == 0) return p + "/" + name;
  base::fail(ErrorCode::unavailable, "the helper program {} was not found in {}: install libincus completely, or set INCUS_LIBEXEC", name, INCUS_LIBEXECDIR);
}

std::string boot_id() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(in, id);
  return id;
}

} // namespace incus::embed
