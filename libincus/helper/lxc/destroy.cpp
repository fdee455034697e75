// SPDX-License-Identifier: Apache-2.0
// The end of a host that asked for it: kill every instance, remove its groups, then the state directory.
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
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

/// Empties a directory; stays on its mount and follows no link. One descriptor a level, hence the bound.
void empty_directory(int dir, int depth) {
  int again = ::fcntl(dir, F_DUPFD_CLOEXEC, 3);
  DIR *d = again < 0 ? nullptr : ::fdopendir(again);
  if (!d) {
    if (again >= 0) ::close(again);
    return;
  }
  while (dirent *e = ::readdir(d)) {
    if (!std::strcmp(e->d_name, ".") || !std::strcmp(e->d_name, "..")) continue;
    if (::unlinkat(dir, e->d_name, 0) == 0) continue;
    if (depth <= 0) continue;
    int sub = open_beneath(dir, e->d_name, O_RDONLY | O_DIRECTORY);
    if (sub < 0) continue;
    empty_directory(sub, depth - 1);
    ::close(sub);
    ::unlinkat(dir, e->d_name, AT_REMOVEDIR);
  }
  ::closedir(d);
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
    empty_directory(dir, 512);
    ::rmdir(s.directory.c_str());
  }
  ::close(dir);
}

} // namespace incus::helper::lxc
