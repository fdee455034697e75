// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/cgroup.hpp"

using namespace incus::sys;
namespace fs = std::filesystem;

TEST_CASE("roots of a unified host") {
  auto r = parse_cgroup_roots("25 30 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n24 30 0:21 / /proc rw - proc proc rw\n", "0::/init.scope\n");
  REQUIRE(r.size() == 1);
  CHECK(r[0].v2);
  CHECK(r[0].path == "/sys/fs/cgroup");
}

TEST_CASE("roots of a mixed host: bases per hierarchy, joint controllers, blanks, a second mount of the same") {
  const char *mounts = "1 0 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                       "2 0 0:2 / /sys/fs/cgroup/mem\\040ory rw shared:1 - cgroup cgroup rw,memory\n"
                       "3 0 0:3 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n"
                       "4 0 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
                       "5 0 0:4 / /mnt/again rw - cgroup2 cgroup2 rw\n"
                       "6 0 0:6 /base /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
                       "7 0 0:7 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb\n";
  const char *groups = "6:pids:/base/sub\n4:cpu,cpuacct:/\n3:memory:/some/where\n2:name=systemd:/init.scope\n0::/\n";
  auto r = parse_cgroup_roots(mounts, groups);
  REQUIRE(r.size() == 5);
  CHECK(r[0].path == "/sys/fs/cgroup/cpu,cpuacct");
  CHECK(r[0].controllers == std::vector<std::string>{"cpu", "cpuacct"});
  CHECK(r[1].path == "/sys/fs/cgroup/mem ory/some/where");
  CHECK(r[2].path == "/sys/fs/cgroup/systemd");
  CHECK(r[3].path == "/sys/fs/cgroup/unified");
  CHECK(r[3].v2);
  CHECK(r[4].path == "/sys/fs/cgroup/pids/sub");
}

TEST_CASE("garbage gives no roots") {
  CHECK(parse_cgroup_roots("", "").empty());
  CHECK(parse_cgroup_roots("1 2 3\n - cgroup\nx - cgroup2 y z\n", "::\n0\n:\n").empty());
}

TEST_CASE("trees are looked up by controller and removed bottom up") {
  auto dir = fs::temp_directory_path() / "incus-test-cgroup";
  fs::remove_all(dir);
  for (auto *d : {"v1/pids/incus-h/1/payload/a/b", "v2/incus-h/1/monitor"}) fs::create_directories(dir / d);
  CgroupTree t({{dir / "v1/pids", false, {"pids"}}, {dir / "v2", true, {"memory", "cpu"}}}, "incus-h/1");
  CHECK(t.exists());
  CHECK(t.children() == std::vector<std::string>{"payload", "monitor"});
  bool v2 = false;
  CHECK(t.directory("memory", &v2) == dir / "v2/incus-h/1");
  CHECK(v2);
  CHECK(t.directory("cpuacct", &v2) == dir / "v2/incus-h/1");
  CHECK(t.directory("pids", &v2) == dir / "v1/pids/incus-h/1");
  CHECK_FALSE(v2);
  CHECK(t.directory("cpuset") == "");
  CHECK(t.write("pids", "pids.max", "5") == ENOENT);
  std::ofstream(dir / "v1/pids/incus-h/1/payload/pids.max") << "7\n";
  CHECK(t.child("payload").read("pids", "pids.max") == "7");
  fs::remove(dir / "v1/pids/incus-h/1/payload/pids.max");
  CHECK(t.remove(100) == 0);
  CHECK_FALSE(t.exists());
  CHECK(fs::exists(dir / "v2/incus-h"));
  CHECK(t.remove(100) == 0);
  fs::remove_all(dir);
}

TEST_CASE("groups that a guest nested deeper than paths may be long") {
  auto dir = fs::temp_directory_path() / "incus-test-deep";
  fs::create_directories(dir / "incus-h/1/payload");
  int at = ::open((dir / "incus-h/1/payload").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(at >= 0);
  const std::string name(200, 'd');
  for (int i = 0; i < 40; i++) {
    REQUIRE(::mkdirat(at, (name + "x").c_str(), 0755) == 0);
    REQUIRE(::mkdirat(at, name.c_str(), 0755) == 0);
    int next = ::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(next >= 0);
    ::close(at);
    at = next;
  }
  int procs = ::openat(at, "cgroup.procs", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(::write(procs, "4194303\n", 8) == 8);
  ::close(procs);
  CgroupTree t({{dir, true, {"memory"}}}, "incus-h/1");
  CHECK(t.processes() == std::vector<int>{4194303});
  CHECK(::unlinkat(at, "cgroup.procs", 0) == 0);
  ::close(at);
  CHECK(t.remove(1000) == 0);
  CHECK_FALSE(t.exists());
  fs::remove_all(dir);
}
