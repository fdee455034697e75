// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace incus::sys {

namespace {

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto at = text.find(by);
    if (auto part = text.substr(0, at); !part.empty()) out.emplace_back(part);
    if (at == text.npos) break;
    text.remove_prefix(at + 1);
  }
  return out;
}

/// mountinfo writes blanks as \040.
std::string unescape(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); i++) {
    if (s[i] == '\\' && i + 3 < s.size()) {
      out += static_cast<char>((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
      i += 3;
    } else {
      out += s[i];
    }
  }
  return out;
}

void pause_ms(int ms) {
  timespec t{ms / 1000, (ms % 1000) * 1000000L};
  ::nanosleep(&t, nullptr);
}

std::int64_t now_ms() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1000000;
}

/// Takes the descriptor; none are in what cannot be opened.
std::vector<std::string> directories_of(int fd) {
  std::vector<std::string> out;
  DIR *d = fd < 0 ? nullptr : ::fdopendir(fd);
  if (!d) {
    if (fd >= 0) ::close(fd);
    return out;
  }
  while (dirent *e = ::readdir(d))
    if (e->d_type == DT_DIR && std::string_view(e->d_name) != "." && std::string_view(e->d_name) != "..") out.emplace_back(e->d_name);
  ::closedir(d);
  return out;
}

std::vector<std::string> directories(const std::string &path) { return directories_of(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
std::vector<std::string> directories_at(int dir) { return directories_of(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }

/// One descriptor in a tree: a guest can nest groups deeper than paths may be long.
class Place {
public:
  explicit Place(const std::string &path) : fd_(::open(path.c_str(), flags)) {}
  ~Place() {
    if (fd_ >= 0) ::close(fd_);
  }
  Place(const Place &) = delete;
  Place &operator=(const Place &) = delete;
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  /// False, and still where it was, when there is no such directory.
  bool go(const char *name) {
    int next = ::openat(fd_, name, flags);
    if (next < 0) return false;
    ::close(fd_);
    fd_ = next;
    return true;
  }

private:
  static constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd_;
};

/// Calls `visit` with a descriptor of each directory of a tree, parents first.
template <class F> void each_directory(const std::string &path, F visit) {
  struct Level {
    std::vector<std::string> names;
    std::size_t next = 0;
  };
  Place at(path);
  if (!at) return;
  std::vector<Level> levels;
  visit(at.get());
  levels.push_back({directories_at(at.get())});
  while (!levels.empty()) {
    auto &l = levels.back();
    if (l.next < l.names.size()) {
      if (!at.go(l.names[l.next++].c_str())) continue;
      visit(at.get());
      levels.push_back({directories_at(at.get())});
    } else {
      levels.pop_back();
      if (!levels.empty() && !at.go("..")) return;
    }
  }
}

/// Removes the directories below, deepest first; waits while groups are busy, which they stay a moment after their last process is gone.
int empty_directory(const std::string &path, std::int64_t until) {
  Place at(path);
  if (!at) return errno == ENOENT ? 0 : errno;
  std::vector<std::string> names;
  for (int pause = 1;;) {
    std::string deeper;
    for (auto &d : directories_at(at.get())) {
      if (::unlinkat(at.get(), d.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
      if (errno != EBUSY && errno != ENOTEMPTY) return errno;
      deeper = d;
      break;
    }
    if (!deeper.empty()) {
      if (at.go(deeper.c_str())) names.push_back(deeper);
      else if (errno != ENOENT) return errno;
      continue;
    }
    if (names.empty()) return 0;
    if (!at.go("..")) return errno;
    if (::unlinkat(at.get(), names.back().c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      if (errno != EBUSY && errno != ENOTEMPTY) return errno;
      if (now_ms() >= until) return EBUSY;
      pause_ms(pause);
      pause = std::min(pause * 2, 20);
    }
    names.pop_back();
  }
}

int remove_directory(const std::string &path, std::int64_t until) {
  for (int pause = 1;;) {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return 0;
    if (errno != EBUSY && errno != ENOTEMPTY) return errno;
    if (int e = empty_directory(path, until)) return e;
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return 0;
    if (now_ms() >= until) return EBUSY;
    pause_ms(pause);
    pause = std::min(pause * 2, 20);
  }
}

std::optional<std::string> read_fd(int fd, std::size_t limit) {
  if (fd < 0) return std::nullopt;
  std::string out;
  char buf[4096];
  for (;;) {
    ssize_t n = ::read(fd, buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      ::close(fd);
      return std::nullopt;
    }
    if (n == 0) break;
    out.append(buf, static_cast<std::size_t>(n));
    if (out.size() >= limit) break;
  }
  ::close(fd);
  return out;
}

int write_fd(int fd, std::string_view value) {
  if (fd < 0) return errno;
  ssize_t n;
  do n = ::write(fd, value.data(), value.size());
  while (n < 0 && errno == EINTR);
  int e = n < 0 ? errno : 0;
  ::close(fd);
  return e;
}

void collect(const std::string &path, std::vector<int> &out) {
  each_directory(path, [&](int dir) {
    if (auto text = read_fd(::openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC), 16 << 20))
      for (auto &line : split(*text, '\n'))
        if (int pid = std::atoi(line.c_str()); pid > 0) out.push_back(pid);
  });
}

/// The guest may have frozen groups of its own below.
int thaw_tree(const std::string &path) {
  int first = write_small_file(path + "/freezer.state", "THAWED");
  each_directory(path, [&](int dir) { write_fd(::openat(dir, "freezer.state", O_WRONLY | O_CLOEXEC), "THAWED"); });
  return first;
}

bool has(const std::vector<std::string> &list, std::string_view word) { return std::find(list.begin(), list.end(), word) != list.end(); }

bool is_dir(const std::string &path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

} // namespace

std::optional<std::string> read_small_file(const std::string &path, std::size_t limit) { return read_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC), limit); }

int write_small_file(const std::string &path, std::string_view value) { return write_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC), value); }

std::vector<CgroupRoot> parse_cgroup_roots(std::string_view mountinfo, std::string_view proc_cgroup) {
  struct Base {
    std::vector<std::string> controllers;
    std::string path;
  };
  std::vector<Base> bases;
  for (auto &line : split(proc_cgroup, '\n')) {
    auto a = line.find(':'), b = a == line.npos ? a : line.find(':', a + 1);
    if (b == line.npos) continue;
    std::string path = line.substr(b + 1);
    if (path.ends_with("/init.scope")) path.resize(path.size() - 11);
    if (path == "/") path.clear();
    bases.push_back({split(line.substr(a + 1, b - a - 1), ','), path});
  }
  std::vector<CgroupRoot> out;
  for (auto &line : split(mountinfo, '\n')) {
    auto dash = line.find(" - ");
    if (dash == line.npos) continue;
    auto left = split(std::string_view(line).substr(0, dash), ' '), right = split(std::string_view(line).substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    bool v2 = right[0] == "cgroup2";
    if (!v2 && right[0] != "cgroup") continue;
    CgroupRoot r{unescape(left[4]), v2, {}};
    std::string mount_root = unescape(left[3]);
    if (mount_root == "/") mount_root.clear();
    auto options = split(right[2], ',');
    for (auto &b : bases) {
      if (v2 ? !b.controllers.empty() : b.controllers.empty() || !has(options, b.controllers.front())) continue;
      if (!b.path.starts_with(mount_root)) break;
      r.path += b.path.substr(mount_root.size());
      if (!v2) r.controllers = b.controllers;
      bool seen = std::any_of(out.begin(), out.end(), [&](auto &o) { return v2 ? o.v2 : o.controllers == r.controllers; });
      if (!seen) out.push_back(std::move(r));
      break;
    }
  }
  return out;
}

std::vector<CgroupRoot> cgroup_roots() {
  auto mounts = read_small_file("/proc/self/mountinfo", 16 << 20);
  auto groups = read_small_file("/proc/1/cgroup");
  if (!groups) groups = read_small_file("/proc/self/cgroup");
  if (!mounts || !groups) return {};
  auto roots = parse_cgroup_roots(*mounts, *groups);
  for (auto &r : roots)
    if (r.v2)
      if (auto c = read_small_file(r.path + "/cgroup.controllers")) {
        while (!c->empty() && c->back() == '\n') c->pop_back();
        r.controllers = split(*c, ' ');
      }
  return roots;
}

bool CgroupTree::exists() const {
  return std::any_of(roots_.begin(), roots_.end(), [&](auto &r) { return is_dir(r.path + "/" + name_); });
}

std::vector<std::string> CgroupTree::children() const {
  std::vector<std::string> out;
  for (auto &r : roots_)
    for (auto &d : directories(r.path + "/" + name_))
      if (!has(out, d)) out.push_back(d);
  return out;
}

int CgroupTree::remove(int ms) const {
  std::int64_t until = now_ms() + ms;
  int first = 0;
  for (auto &r : roots_) {
    std::string dir = r.path + "/" + name_;
    // What is there most often; listing a group reads through dozens of files.
    for (auto *n : {"/lxc.pivot", "/payload", "/monitor"}) ::rmdir((dir + n).c_str());
    if (int e = remove_directory(dir, until); e && !first) first = e;
  }
  return first;
}

void CgroupTree::remove_if_empty() const {
  for (auto &r : roots_) ::rmdir((r.path + "/" + name_).c_str());
}

std::vector<int> CgroupTree::processes() const {
  std::vector<int> out;
  for (auto &r : roots_) collect(r.path + "/" + name_, out);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

int CgroupTree::kill_all(int ms) const {
  std::int64_t until = now_ms() + ms;
  for (int pause = 1;; pause = std::min(pause * 2, 20)) {
    auto pids = processes();
    if (pids.empty()) return 0;
    for (int pid : pids) {
      // The number may have passed on to another process since: hold it, then look again whether it is one of ours.
      int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
      if (fd < 0) continue;
      bool ours = false;
      if (auto text = read_small_file("/proc/" + std::to_string(pid) + "/cgroup"))
        for (auto &line : split(*text, '\n'))
          if (auto at = line.find("/" + name_); at != line.npos) {
            auto end = at + 1 + name_.size();
            if (end == line.size() || line[end] == '/') ours = true;
          }
      if (ours) ::syscall(SYS_pidfd_send_signal, fd, SIGKILL, nullptr, 0);
      ::close(fd);
    }
    thaw();
    if (now_ms() >= until) return ETIMEDOUT;
    pause_ms(pause);
  }
}

int CgroupTree::freeze(int ms) const {
  std::int64_t until = now_ms() + ms;
  bool v2 = false;
  auto dir = directory("freezer", &v2);
  if (dir.empty()) return EOPNOTSUPP;
  for (int pause = 0;; pause = std::min(pause + 1, 10)) {
    int e = v2 ? write_small_file(dir + "/cgroup.freeze", "1") : write_small_file(dir + "/freezer.state", "FROZEN");
    if (e && e != EBUSY) return e;
    if (frozen()) return 0;
    if (now_ms() >= until) {
      thaw();
      return ETIMEDOUT;
    }
    if (pause) pause_ms(pause);
  }
}

int CgroupTree::thaw() const {
  bool v2 = false;
  auto dir = directory("freezer", &v2);
  if (dir.empty()) return 0;
  if (v2) return write_small_file(dir + "/cgroup.freeze", "0");
  return thaw_tree(dir);
}

bool CgroupTree::frozen() const {
  bool v2 = false;
  auto dir = directory("freezer", &v2);
  if (dir.empty()) return false;
  auto text = read_small_file(v2 ? dir + "/cgroup.events" : dir + "/freezer.state");
  return text && (v2 ? text->find("frozen 1") != text->npos : text->starts_with("FROZEN"));
}

std::string CgroupTree::directory(std::string_view controller, bool *v2) const {
  // Freezing is no controller in v2 but part of every group; a v1 freezer goes first because liblxc uses that one then.
  for (auto &r : roots_)
    if (!r.v2 && has(r.controllers, controller)) {
      if (v2) *v2 = false;
      std::string dir = r.path + "/" + name_;
      return is_dir(dir) ? dir : "";
    }
  for (auto &r : roots_)
    if (r.v2 && (controller == "freezer" || has(r.controllers, controller) || (controller == "cpuacct" && has(r.controllers, "cpu")))) {
      if (v2) *v2 = true;
      std::string dir = r.path + "/" + name_;
      return is_dir(dir) ? dir : "";
    }
  return "";
}

std::optional<std::string> CgroupTree::read(std::string_view controller, std::string_view file) const {
  auto dir = directory(controller);
  if (dir.empty()) return std::nullopt;
  auto text = read_small_file(dir + "/" + std::string(file));
  while (text && !text->empty() && text->back() == '\n') text->pop_back();
  return text;
}

int CgroupTree::write(std::string_view controller, std::string_view file, std::string_view value) const {
  auto dir = directory(controller);
  if (dir.empty()) return EOPNOTSUPP;
  int e = write_small_file(dir + "/" + std::string(file), value);
  if (e == EBUSY && file == "cpuset.cpus") {
    // v1: a child may not have more than its parent; give the children the new set first.
    std::vector<std::string> all{dir};
    for (std::size_t i = 0; i < all.size(); i++)
      for (auto &d : directories(all[i])) all.push_back(all[i] + "/" + d);
    e = 0;
    for (auto it = all.rbegin(); it != all.rend(); ++it)
      if (int x = write_small_file(*it + "/" + std::string(file), value)) e = x;
  }
  return e;
}

} // namespace incus::sys
