// SPDX-License-Identifier: Apache-2.0
// The end of a host that asked for it: kill every instance, remove its groups, then the state directory.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "helper/lxc/worker.hpp"
#include "sys/cgroup.hpp"

namespace incus::helper::lxc {

namespace {

int open_beneath(int dir, const char *name, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dir, name, &how, sizeof how));
}

/// Clears the flags that make even root's unlink fail.
void make_mutable(int dir, const char *name) {
  int fd = ::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  unsigned flags = 0;
  if (fd >= 0 && ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
    flags &= ~static_cast<unsigned>(FS_IMMUTABLE_FL | FS_APPEND_FL);
    ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
  }
  if (fd >= 0) ::close(fd);
}

bool remove_name(int dir, const char *name, int flags) {
  if (::unlinkat(dir, name, flags) == 0) return true;
  if (errno != EPERM) return false;
  make_mutable(dir, ".");
  make_mutable(dir, name);
  return ::unlinkat(dir, name, flags) == 0;
}

std::vector<std::string> names_in(int dir) {
  std::vector<std::string> out;
  int again = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *d = again < 0 ? nullptr : ::fdopendir(again);
  if (!d) {
    if (again >= 0) ::close(again);
    return out;
  }
  while (dirent *e = ::readdir(d))
    if (std::strcmp(e->d_name, ".") && std::strcmp(e->d_name, "..")) out.emplace_back(e->d_name);
  ::closedir(d);
  return out;
}

/// Empties a directory; stays on its mount and follows no link. One descriptor however deep a guest nested: nobody is left who could move things.
void empty_directory(int root) {
  struct Level {
    std::vector<std::string> names;
    std::size_t next = 0;
  };
  int at = ::fcntl(root, F_DUPFD_CLOEXEC, 3);
  if (at < 0) return;
  std::vector<Level> levels;
  levels.push_back({names_in(at)});
  while (!levels.empty()) {
    auto &l = levels.back();
    int to = -1;
    if (l.next < l.names.size()) {
      const char *name = l.names[l.next++].c_str();
      if (remove_name(at, name, 0)) continue;
      to = open_beneath(at, name, O_RDONLY | O_DIRECTORY);
      if (to < 0) continue;
      levels.push_back({names_in(to)});
    } else {
      levels.pop_back();
      if (levels.empty()) break;
      to = ::openat(at, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      auto &above = levels.back();
      if (to >= 0) remove_name(to, above.names[above.next - 1].c_str(), AT_REMOVEDIR);
    }
    ::close(at);
    at = to;
    if (at < 0) return;
  }
  ::close(at);
}

/// What pools are mounted there; a loop device goes with its mount.
void unmount_below(const std::string &directory) {
  std::FILE *f = std::fopen("/proc/self/mountinfo", "re");
  if (!f) return;
  std::vector<std::string> found;
  char *line = nullptr;
  std::size_t size = 0;
  while (::getline(&line, &size, f) > 0) {
    char path[4096];
    if (std::sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1) continue;
    std::string at;
    for (const char *p = path; *p; p++) {
      unsigned c = 0;
      if (*p == '\\' && std::sscanf(p + 1, "%3o", &c) == 1) {
        at += static_cast<char>(c);
        p += 3;
      } else {
        at += *p;
      }
    }
    if (at.starts_with(directory + "/storage-pools/")) found.push_back(at);
  }
  std::free(line);
  std::fclose(f);
  for (auto it = found.rbegin(); it != found.rend(); ++it) ::umount2(it->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

bool marked(int dir, const std::string &host_id) {
  int fd = open_beneath(dir, ".incus-host", O_RDONLY);
  if (fd < 0) return false;
  char buf[256];
  ssize_t n = ::read(fd, buf, sizeof buf);
  ::close(fd);
  std::string text(buf, n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  // The host id is the marker's last line.
  return !host_id.empty() && text.substr(text.rfind('\n') + 1) == host_id;
}

} // namespace

void destroy_all(const Settings &s) {
  if (s.host_id.empty()) return;
  sys::CgroupTree all(sys::cgroup_roots(), "incus-" + s.host_id);
  // First the guests: their monitors then take the interfaces down and leave; then whoever is left.
  auto instances = all.children();
  for (auto &i : instances) all.child(i + "/payload").kill_all(5000);
  for (int waited = 0; waited < 15000 && !all.processes().empty(); waited += 5) {
    timespec t{0, 5'000'000};
    ::nanosleep(&t, nullptr);
  }
  all.kill_all(5000);
  all.remove(5000);
  // A monitor that was killed leaves its AppArmor profile.
  for (auto &i : instances) sys::write_small_file("/sys/kernel/security/apparmor/.remove", "lxc-" + s.host_id + "-" + i + "_<" + lxc_path + ">");

  if (!s.remove_directory) return;
  int dir = ::open(s.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (dir < 0) return;
  if (marked(dir, s.host_id)) {
    unmount_below(s.directory);
    empty_directory(dir);
    ::rmdir(s.directory.c_str());
  }
  ::close(dir);
}

} // namespace incus::helper::lxc
