// SPDX-License-Identifier: Apache-2.0
// What the integration tests share: what tests/run asks for, private directories, a small guest.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace incus::testing {

/// Ends the test case as skipped: tests/run counts it so, never as passed.
#define INCUS_SKIP(reason)                             \
  do {                                                 \
    std::printf("\nSKIPPED: %s\n", std::string(reason).c_str()); \
    std::fflush(stdout);                               \
    return;                                            \
  } while (0)

/// The seed of this run (INCUS_TEST_SEED), to choose samples by.
inline std::uint64_t seed() {
  const char *s = std::getenv("INCUS_TEST_SEED");
  return s && *s ? std::strtoull(s, nullptr, 10) : 1;
}
/// True when tests/run was given --all: no sampling.
inline bool all() {
  const char *s = std::getenv("INCUS_TEST_ALL");
  return s && std::string_view(s) == "1";
}
/// By how much slower than a plain machine this one is (INCUS_TEST_SLOW): limits of waiting are so many times longer.
inline int slowness() {
  const char *s = std::getenv("INCUS_TEST_SLOW");
  int n = s ? std::atoi(s) : 1;
  return n > 1 ? n : 1;
}
/// About one in `one_in` of 1..n, chosen by the seed and `salt`, at least one; with --all every one.
inline std::vector<long> sample(long n, long one_in, std::string_view salt = {}) {
  std::vector<long> out;
  std::mt19937_64 random(seed() ^ std::hash<std::string_view>{}(salt));
  for (long i = 1; i <= n; i++)
    if (all() || random() % static_cast<std::uint64_t>(one_in) == 0) out.push_back(i);
  if (out.empty() && n > 0) out.push_back(1 + static_cast<long>(random() % static_cast<std::uint64_t>(n)));
  return out;
}

/// A private directory that goes with the object.
class Dir {
public:
  explicit Dir(const std::string &name = "incus-test") {
    const char *tmp = std::getenv("TMPDIR");
    std::string p = std::string(tmp && *tmp ? tmp : "/var/tmp") + "/" + name + ".XXXXXX";
    if (!::mkdtemp(p.data())) throw std::runtime_error("mkdtemp " + p + " failed");
    ::chmod(p.c_str(), 0711); // an unprivileged guest must reach its root below it
    path_ = p;
  }
  ~Dir() {
    std::error_code e;
    std::filesystem::remove_all(path_, e);
  }
  Dir(const Dir &) = delete;
  Dir &operator=(const Dir &) = delete;
  const std::string &path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

private:
  std::string path_;
};

inline void write_file(const std::string &path, std::string_view text, int mode = 0644) {
  std::ofstream(path) << text;
  ::chmod(path.c_str(), static_cast<mode_t>(mode));
}

/// The static busybox of the machine, or nothing.
inline std::string busybox() {
  for (const char *p : {"/bin/busybox", "/usr/bin/busybox"})
    if (::access(p, X_OK) == 0) return p;
  return {};
}

/// Fills `rootfs` (made here) with a busybox guest: its init reaps, reboots and halts on request.
inline void make_busybox_rootfs(const std::string &rootfs) {
  namespace fs = std::filesystem;
  for (const char *d : {"bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "var/log", "usr"}) fs::create_directories(rootfs + "/" + d);
  fs::permissions(rootfs + "/tmp", fs::perms::all | fs::perms::sticky_bit);
  fs::copy_file(busybox(), rootfs + "/bin/busybox", fs::copy_options::overwrite_existing);
  for (const char *a : {"sh", "ls", "cat", "echo", "true", "false", "sleep", "id", "ps", "mount", "umount", "uname", "touch", "mkdir", "rm", "ln", "cp", "mv",
                        "chmod", "chown", "stat", "kill", "env", "pwd", "hostname", "grep", "head", "tail", "wc", "dd", "df", "du", "tty", "stty", "test", "ip",
                        "ifconfig", "seq", "yes", "sync", "readlink", "find", "mknod", "od", "tar"})
    fs::create_symlink("busybox", rootfs + "/bin/" + a);
  for (const char *a : {"init", "reboot", "poweroff", "halt"}) fs::create_symlink("../bin/busybox", rootfs + "/sbin/" + a);
  write_file(rootfs + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n");
  write_file(rootfs + "/etc/group", "root:x:0:\nuser:x:1000:\n");
  write_file(rootfs + "/etc/inittab", "::sysinit:/etc/rc\n::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/true\nnull::respawn:/bin/sleep 100000\n");
  write_file(rootfs + "/etc/rc", "#!/bin/sh\necho guest is up\n", 0755);
}

/// An image as a directory: metadata.yaml and rootfs/.
inline void make_busybox_image(const std::string &dir) {
  std::filesystem::create_directories(dir);
  make_busybox_rootfs(dir + "/rootfs");
  write_file(dir + "/metadata.yaml", "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: busybox\n  description: busybox guest\n");
}

} // namespace incus::testing
