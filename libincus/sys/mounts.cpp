// SPDX-License-Identifier: Apache-2.0
#include "sys/mounts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <linux/loop.h>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"

namespace incus::sys {

using base::fail;
using base::fail_errno;
using base::Fd;

namespace {

struct Flag {
  const char *name;
  unsigned long set, clear;
};
constexpr Flag known[] = {
    {"defaults", 0, 0},        {"ro", MS_RDONLY, 0},       {"rw", 0, MS_RDONLY},           {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},    {"nodev", MS_NODEV, 0},     {"dev", 0, MS_NODEV},           {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},    {"sync", MS_SYNCHRONOUS, 0}, {"async", 0, MS_SYNCHRONOUS},  {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, 0}, {"atime", 0, MS_NOATIME},  {"nodiratime", MS_NODIRATIME, 0}, {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0}, {"norelatime", 0, MS_RELATIME}, {"strictatime", MS_STRICTATIME, 0}, {"lazytime", MS_LAZYTIME, 0},
};

/// In /proc/self/mountinfo a space, tab, newline or backslash is written in octal.
std::string unescaped(const std::string &text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); i++)
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  return out;
}

Fd open_file(const std::string &path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) fail_errno(errno, fmt::format("cannot open {}", base::quoted(path)));
  return fd;
}

/// One that is over this file already. Two of them over one file would be two disks that say to be the same.
LoopDevice find_loop(int file) {
  struct stat st;
  if (::fstat(file, &st) != 0) fail_errno(errno, "cannot look at the file of a loop device");
  for (int n = 0; n < 1024; n++) {
    std::string path = fmt::format("/dev/loop{}", n);
    if (::access(fmt::format("/sys/block/loop{}/loop", n).c_str(), F_OK) != 0) {
      if (::access(path.c_str(), F_OK) != 0) break;
      continue;
    }
    Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    loop_info64 info{};
    if (fd && ::ioctl(fd.get(), LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == st.st_ino && info.lo_device == st.st_dev &&
        info.lo_offset == 0 && info.lo_sizelimit == 0 && !(info.lo_flags & LO_FLAGS_READ_ONLY))
      return {path, std::move(fd)};
  }
  return {};
}

} // namespace

MountOptions parse_mount_options(const std::string &text) {
  MountOptions out;
  std::stringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    auto it = std::find_if(std::begin(known), std::end(known), [&](auto &f) { return word == f.name; });
    if (it != std::end(known))
      out.flags = (out.flags & ~it->clear) | it->set;
    else if (!word.empty())
      out.data += (out.data.empty() ? "" : ",") + word;
  }
  return out;
}

void mount(const std::string &source, const std::string &target, const char *type, unsigned long flags, const std::string &data) {
  FaultScope fault("mount");
  if (::mount(source.c_str(), target.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) != 0) {
    if (errno == EINVAL && !data.empty())
      fail(ErrorCode::invalid_argument, "cannot mount {} at {}: the kernel does not take it with the options {}", base::quoted(source), base::quoted(target), base::quoted(data));
    fail_errno(errno, fmt::format("cannot mount {} at {}", base::quoted(source), base::quoted(target)));
  }
}

void unmount(const std::string &target) {
  FaultScope fault("unmount");
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT) return;
  if (errno != EBUSY || ::umount2(target.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) != 0) fail_errno(errno, fmt::format("cannot unmount {}", base::quoted(target)));
}

bool unmount_unused(const std::string &target) {
  FaultScope fault("unmount");
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT) return true;
  if (errno != EBUSY) fail_errno(errno, fmt::format("cannot unmount {}", base::quoted(target)));
  return false;
}

bool is_mount_point(const std::string &path) {
  struct statx st {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) != 0) {
    if (errno == ENOENT) return false;
    fail_errno(errno, fmt::format("cannot look at {}", base::quoted(path)));
  }
  return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

std::string mounted_device(const std::string &path) {
  std::ifstream in("/proc/self/mountinfo");
  std::string found;
  for (std::string line; std::getline(in, line);) {
    std::stringstream words(line);
    std::string id, parent, dev, root, at, word, source;
    words >> id >> parent >> dev >> root >> at;
    if (unescaped(at) != path) continue;
    while (words >> word && word != "-") {
    }
    words >> word >> source; // the last that is mounted there is seen
    found = unescaped(source);
  }
  return found;
}

bool kernel_has_filesystem(const std::string &name) {
  std::ifstream in("/proc/filesystems");
  for (std::string word; in >> word;)
    if (word == name) return true;
  // One that is a module is loaded by the first mount.
  utsname u{};
  ::uname(&u);
  for (auto *list : {"modules.builtin", "modules.dep"}) {
    std::ifstream modules(fmt::format("/lib/modules/{}/{}", u.release, list));
    for (std::string line; std::getline(modules, line);) {
      auto file = line.substr(0, line.find(':'));
      if (file.substr(file.rfind('/') + 1).starts_with(name + ".ko")) return true;
    }
  }
  return false;
}

LoopDevice attach_loop(const std::string &file) {
  Fd backing = open_file(file, O_RDWR);
  if (auto there = find_loop(backing.get()); there.fd) return there;
  Fd control = open_file("/dev/loop-control", O_RDWR);
  unsigned flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
  for (int tries = 0; tries < 64; tries++) {
    int n = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (n < 0) fail_errno(errno, fmt::format("cannot get a loop device for {}", base::quoted(file)));
    LoopDevice loop{fmt::format("/dev/loop{}", n), {}};
    loop.fd = open_file(loop.path, O_RDWR);
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(backing.get());
    config.info.lo_flags = flags;
    std::strncpy(reinterpret_cast<char *>(config.info.lo_file_name), file.c_str(), LO_NAME_SIZE - 1);
    FaultScope fault("attach loop device");
    if (::ioctl(loop.fd.get(), LOOP_CONFIGURE, &config) == 0) return loop;
    if (errno == EINVAL && (flags & LO_FLAGS_DIRECT_IO))
      flags &= ~static_cast<unsigned>(LO_FLAGS_DIRECT_IO);
    else if (errno != EBUSY) // another one was faster
      fail_errno(errno, fmt::format("cannot attach {} to {}", base::quoted(file), loop.path));
  }
  fail(ErrorCode::busy, "cannot get a loop device for {}: others are always faster; try again", base::quoted(file));
}

void refresh_loop_size(const std::string &device) {
  Fd fd = open_file(device, O_RDWR);
  FaultScope fault("grow loop device");
  if (::ioctl(fd.get(), LOOP_SET_CAPACITY) != 0) fail_errno(errno, fmt::format("cannot tell {} that its file has grown", device));
}

} // namespace incus::sys
