// SPDX-License-Identifier: Apache-2.0
// Directory trees for tests: made at random, and described so that two can be compared.
#pragma once
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace incus::test {

inline void must(bool ok, const std::string &what) {
  if (!ok) throw std::runtime_error(what + ": " + std::strerror(errno));
}

/// A directory that goes with the object.
struct TempDir {
  std::string path;
  TempDir() {
    const char *below = std::getenv("TMPDIR");
    std::string t = std::string(below && *below ? below : "/var/tmp") + "/incus-test-XXXXXX";
    must(::mkdtemp(t.data()) != nullptr, "mkdtemp");
    path = t;
  }
  ~TempDir() {
    std::error_code e;
    std::filesystem::remove_all(path, e);
  }
  TempDir(const TempDir &) = delete;
};

inline void write_file(const std::string &path, const std::string &data, mode_t mode = 0644) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must(fd >= 0, path);
  must(::write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size()), path);
  must(::fchmod(fd, mode) == 0, path);
  ::close(fd);
}
inline std::string slurp(const std::string &path) {
  std::ifstream f(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

/// path -> everything that a copy must keep.
using Manifest = std::map<std::string, std::string>;

inline void describe(const std::string &root, const std::string &relative, Manifest &out, std::map<std::pair<dev_t, ino_t>, std::string> &links) {
  std::string path = relative.empty() ? root : root + "/" + relative;
  struct stat st;
  must(::lstat(path.c_str(), &st) == 0, path);
  std::string d = std::to_string(st.st_mode) + " " + std::to_string(st.st_uid) + ":" + std::to_string(st.st_gid) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                  std::to_string(st.st_mtim.tv_nsec);
  if (S_ISREG(st.st_mode)) d += " size " + std::to_string(st.st_size) + " hash " + std::to_string(std::hash<std::string>{}(slurp(path)));
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) d += " dev " + std::to_string(major(st.st_rdev)) + ":" + std::to_string(minor(st.st_rdev));
  if (S_ISLNK(st.st_mode)) d += " -> " + std::filesystem::read_symlink(path).string();
  if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) d += " same as " + links.emplace(std::make_pair(st.st_dev, st.st_ino), relative).first->second;
  char names[8192];
  ssize_t n = ::llistxattr(path.c_str(), names, sizeof names);
  std::map<std::string, std::string> attributes;
  for (ssize_t at = 0; at < n; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
    char value[8192];
    ssize_t size = ::lgetxattr(path.c_str(), names + at, value, sizeof value);
    must(size >= 0, path);
    attributes[names + at] = std::string(value, static_cast<std::size_t>(size));
  }
  for (auto &[k, v] : attributes) {
    d += " " + k + "=";
    char hex[3];
    for (unsigned char c : v) d += (std::snprintf(hex, sizeof hex, "%02x", c), hex);
  }
  out[relative] = d;
  if (!S_ISDIR(st.st_mode)) return;
  std::vector<std::string> entries;
  for (auto &e : std::filesystem::directory_iterator(path)) entries.push_back(e.path().filename());
  std::sort(entries.begin(), entries.end());
  for (auto &e : entries) describe(root, relative.empty() ? e : relative + "/" + e, out, links);
}

inline Manifest manifest(const std::string &root) {
  Manifest m;
  std::map<std::pair<dev_t, ino_t>, std::string> links;
  describe(root, "", m, links);
  return m;
}

/// The first difference, or an empty text.
inline std::string difference(const Manifest &a, const Manifest &b) {
  for (auto &[k, v] : a) {
    auto it = b.find(k);
    if (it == b.end()) return "missing: " + k + " (" + v + ")";
    if (it->second != v) return k + ": " + v + " is now " + it->second;
  }
  for (auto &[k, v] : b)
    if (!a.contains(k)) return "new: " + k + " (" + v + ")";
  return {};
}

/// An ACL as the kernel takes it, with one named user and one named group.
inline std::string acl_value(std::uint32_t user, std::uint32_t group) {
  std::string v("\2\0\0\0", 4);
  auto entry = [&](std::uint16_t tag, std::uint16_t perm, std::uint32_t id) {
    v.append(reinterpret_cast<const char *>(&tag), 2).append(reinterpret_cast<const char *>(&perm), 2).append(reinterpret_cast<const char *>(&id), 4);
  };
  entry(1, 7, -1u);
  entry(2, 5, user);
  entry(4, 5, -1u);
  entry(8, 6, group);
  entry(16, 7, -1u);
  entry(32, 0, -1u);
  return v;
}

/// A tree with every kind of file below the existing directory `root`. With `privileged`, also what only root can make; `whiteouts`: what overlayfs would take for a removed file, too.
inline void random_tree(const std::string &root, unsigned seed, bool privileged, int count = 250, bool whiteouts = true) {
  std::mt19937 r(seed);
  auto upto = [&](unsigned n) { return static_cast<unsigned>(r() % n); };
  std::vector<std::string> dirs{root}, files;
  std::vector<std::pair<std::string, timespec>> times;
  auto attributes = [&](const std::string &path, bool link, bool directory) {
    if (privileged) {
      must(::lchown(path.c_str(), upto(3) ? upto(70000) : 0, upto(70000)) == 0, path);
      if (!upto(5)) must(::lsetxattr(path.c_str(), "trusted.note", "t", 1, 0) == 0, path);
    }
    if (link) return;
    mode_t mode = upto(01000);
    if (!upto(4)) mode |= 1u << (9 + upto(3)); // sticky, set-gid, set-uid
    if (directory && !privileged) mode |= 0700;
    if (!privileged) mode |= 0600;
    must(::chmod(path.c_str(), mode) == 0, path);
  };
  auto extras = [&](const std::string &path, bool directory) {
    if (!upto(4)) {
      std::string v(upto(300), 'v');
      must(::setxattr(path.c_str(), "user.some", v.data(), v.size(), 0) == 0, path);
    }
    if (!privileged) return;
    if (!directory && !upto(5)) {
      unsigned char cap[20] = {1, 0, 0, 2, 0, 4};
      must(::setxattr(path.c_str(), "security.capability", cap, sizeof cap, 0) == 0, path);
    }
    if (!upto(5)) {
      std::string acl = acl_value(upto(60000), upto(60000));
      must(::setxattr(path.c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0) == 0, path);
      if (directory) must(::setxattr(path.c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0) == 0, path);
    }
  };
  for (int i = 0; i < count; i++) {
    std::string path = dirs[upto(static_cast<unsigned>(dirs.size()))] + "/";
    switch (upto(6)) {
    case 0: path += "n" + std::to_string(i); break;
    case 1: path += "with space \n" + std::to_string(i); break;
    case 2: path += "\xff\xfe" + std::to_string(i); break;
    case 3: path += std::string(200, 'l') + std::to_string(i); break;
    default: path += "." + std::to_string(i);
    }
    unsigned kind = upto(12);
    if (kind < 3) {
      must(::mkdir(path.c_str(), 0755) == 0, path);
      dirs.push_back(path);
      continue; // attributes when it is filled
    }
    if (kind < 7 || (kind >= 10 && files.empty())) {
      std::string data;
      switch (upto(5)) {
      case 0: break;
      case 1: data = std::string(upto(200000), 'x'); break;
      default:
        data.resize(upto(5000));
        for (auto &c : data) c = static_cast<char>(r());
      }
      write_file(path, data);
      if (!upto(6)) { // holes
        int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        must(fd >= 0 && ::pwrite(fd, "end", 3, 1 << 18) == 3 && ::ftruncate(fd, (1 << 18) + static_cast<off_t>(upto(1 << 18))) == 0, path);
        ::close(fd);
      }
      attributes(path, false, false);
      extras(path, false);
      files.push_back(path);
    } else if (kind == 7) {
      static const char *targets[] = {"/etc/passwd", "../../../..", "nowhere", "."};
      must(::symlink(targets[upto(4)], path.c_str()) == 0, path);
      attributes(path, true, false);
      files.push_back(path);
    } else if (kind == 8) {
      must(::mkfifo(path.c_str(), 0600) == 0, path);
      attributes(path, false, false);
      files.push_back(path);
    } else if (kind == 9) {
      if (!privileged) continue;
      static const mode_t types[] = {S_IFCHR, S_IFBLK};
      bool whiteout = whiteouts && !upto(2);
      must(::mknod(path.c_str(), (whiteout ? S_IFCHR : types[upto(2)]) | 0600, whiteout ? makedev(0, 0) : makedev(upto(200), upto(2000))) == 0, path);
      attributes(path, false, false);
      files.push_back(path);
    } else {
      must(::link(files[upto(static_cast<unsigned>(files.size()))].c_str(), path.c_str()) == 0, path);
      continue; // it has its attributes
    }
    timespec t{static_cast<time_t>(upto(2000000000)), static_cast<long>(upto(1000000000))};
    timespec both[2] = {t, t};
    must(::utimensat(AT_FDCWD, path.c_str(), both, AT_SYMLINK_NOFOLLOW) == 0, path);
  }
  for (auto it = dirs.rbegin(); it != dirs.rend(); ++it) {
    attributes(*it, false, true);
    extras(*it, true);
    timespec t{static_cast<time_t>(upto(2000000000)), static_cast<long>(upto(1000000000))};
    timespec both[2] = {t, t};
    must(::utimensat(AT_FDCWD, it->c_str(), both, 0) == 0, *it);
  }
}

} // namespace incus::test
