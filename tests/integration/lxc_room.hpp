// SPDX-License-Identifier: Apache-2.0
// A container runtime by itself, for tests of it: busybox guests on plain directories, no store, no pools. As root.
#pragma once
#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <fmt/format.h>
#include <map>
#include <net/if.h>
#include <poll.h>
#include <set>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "instance/lxc/runtime.hpp"
#include "sys/cgroup.hpp"
#include "sys/process.hpp"
#include "../support/testing.hpp"

namespace lxc_room {

using namespace incus;
using namespace incus::instance;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// As long as a guest may take.
inline const auto patience = 20s * testing::slowness();


inline std::string helper_path() {
  if (auto *p = std::getenv("INCUS_TEST_HELPER")) return p;
  return fs::canonical("/proc/self/exe").parent_path().parent_path().parent_path() / "libincus/helper/incus-lxc";
}

inline void make_rootfs(const fs::path &root) {
  for (auto *d : {"bin", "sbin", "etc/init.d", "proc", "sys", "dev", "tmp", "root", "run"}) fs::create_directories(root / d);
  fs::copy_file(fs::exists("/bin/busybox") ? "/bin/busybox" : "/usr/bin/busybox", root / "bin/busybox");
  for (auto *n : {"sh", "cat", "true", "false", "id", "pwd", "env", "echo", "sleep", "mknod", "ls", "mount", "umount", "reboot", "poweroff", "ip", "head",
                  "stty", "touch", "kill", "dd", "grep", "stat", "yes", "ps", "tty", "hostname", "chmod", "mkdir", "trap"})
    fs::create_symlink("busybox", root / "bin" / n);
  fs::create_symlink("../bin/busybox", root / "sbin/init");
  std::ofstream(root / "etc/passwd") << "root:x:0:0:root:/root:/bin/sh\n";
  std::ofstream(root / "etc/inittab") << "::sysinit:/etc/init.d/boot\n::ctrlaltdel:/bin/reboot\n";
  std::ofstream(root / "etc/init.d/boot") << "#!/bin/sh\necho hello from rcS\nsleep 0.2\ntouch /run/rcS-done\n";
  fs::permissions(root / "etc/init.d/boot", fs::perms(0755));
  ::chmod((root / "tmp").c_str(), 01777);
}

inline std::map<std::string, int> mount_table() {
  std::map<std::string, int> out;
  std::ifstream f("/proc/self/mounts");
  for (std::string line; std::getline(f, line);) out[line]++;
  return out;
}

struct Room {
  fs::path dir;
  std::string host_id = base::random_hex(4);
  std::map<std::string, int> mounts = mount_table();
  std::unique_ptr<Runtime> rt;
  bool check_on_exit = true;

  explicit Room(lxc::Options more = {}) {
    char t[] = "/tmp/incus-lxc-XXXXXX";
    dir = ::mkdtemp(t);
    for (auto *d : {"run", "logs", "security", "pool"}) fs::create_directory(dir / d);
    std::ofstream(dir / ".incus-host") << host_id << "\n";
    rt = open(more);
  }
  std::unique_ptr<Runtime> open(lxc::Options o = {}) {
    o.directory = dir;
    o.host_id = host_id;
    o.helper = helper_path();
    return lxc::make_runtime(o);
  }
  StartSpec spec(std::int64_t id, const std::string &name, bool privileged = false, bool overlay = false) {
    StartSpec s;
    s.key = {id, name};
    s.hostname = name;
    s.architecture = "x86_64";
    if (!privileged) s.idmap = {{true, true, 1000000, 0, 65536}};
    auto at = dir / "pool" / name;
    if (!fs::exists(at)) {
      fs::create_directories(at);
      make_rootfs(at / "rootfs");
      if (overlay) {
        fs::create_directories(at / "layer/upper");
        fs::create_directories(at / "layer/work");
      }
    }
    if (overlay) {
      s.rootfs.kind = storage::RootfsPlan::Kind::overlay;
      s.rootfs.lower = at / "rootfs";
      s.rootfs.upper = at / "layer/upper";
      s.rootfs.work = at / "layer/work";
    } else {
      s.rootfs.path = at / "rootfs";
    }
    return s;
  }
  ~Room() {
    if (rt) {
      for (int id = 1; id < 60; id++) rt->clean({id, "x"}, {});
      rt->close();
    }
    if (check_on_exit) {
      CHECK(mount_table() == mounts);
      CHECK_FALSE(sys::CgroupTree(sys::cgroup_roots(), "incus-" + host_id).exists());
    }
    fs::remove_all(dir);
  }
};

struct Result {
  int code = -1;
  std::string out, err;
};

inline std::string read_all(int fd, std::size_t limit = 1 << 20) {
  std::string s;
  char buf[4096];
  while (s.size() < limit) {
    ssize_t n = ::read(fd, buf, sizeof buf);
    if (n <= 0) break;
    s.append(buf, static_cast<std::size_t>(n));
  }
  return s;
}

inline Result run(Runtime &rt, const Key &key, ExecRequest request, const std::string &input = "", const Config &config = {}) {
  int i[2], o[2], e[2];
  REQUIRE(::pipe2(i, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(o, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(e, O_CLOEXEC) == 0);
  ExecSpec spec;
  spec.key = key;
  spec.config = config;
  spec.request = std::move(request);
  spec.in.reset(i[0]);
  spec.out.reset(o[1]);
  spec.err.reset(e[1]);
  auto x = rt.exec(std::move(spec));
  if (!input.empty()) CHECK(::write(i[1], input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  ::close(i[1]);
  Result r;
  r.out = read_all(o[0]);
  r.err = read_all(e[0]);
  ::close(o[0]);
  ::close(e[0]);
  REQUIRE(x->wait(30s * testing::slowness(), r.code));
  return r;
}
inline Result run(Runtime &rt, const Key &key, std::vector<std::string> argv) {
  ExecRequest r;
  r.command = std::move(argv);
  return run(rt, key, std::move(r));
}
inline Result sh(Runtime &rt, const Key &key, const std::string &script) { return run(rt, key, {"sh", "-c", script}); }

template <class F> bool eventually(F f, std::chrono::milliseconds limit = 10s) {
  auto end = std::chrono::steady_clock::now() + limit * testing::slowness();
  while (!f()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

inline std::string status_field(int pid, const std::string &name);
/// Ended; a first process of a pid namespace that does not reap leaves the number.
inline bool gone(std::int64_t pid) {
  auto state = status_field(static_cast<int>(pid), "State");
  return state.empty() || state[0] == 'Z' || state[0] == 'X';
}

inline std::string status_field(int pid, const std::string &name) {
  std::ifstream f(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(f, line);)
    if (line.starts_with(name + ":")) return line.substr(line.find_first_not_of(" \t", name.size() + 1));
  return "";
}

} // namespace lxc_room
