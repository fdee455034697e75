// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "instance/lxc/config.hpp"

using namespace incus;
using namespace incus::instance;
using namespace incus::instance::lxc;

namespace {

HostFacts v1() {
  HostFacts f;
  f.cgroups = {{"/c/cpu", false, {"cpu"}}, {"/c/cpuset", false, {"cpuset"}}, {"/c/memory", false, {"memory"}},
               {"/c/pids", false, {"pids"}}, {"/c/devices", false, {"devices"}}, {"/c/unified", true, {}}};
  f.cpus = {0, 1, 2, 3};
  f.memory = 1000 << 20;
  return f;
}
HostFacts v2() {
  HostFacts f = v1();
  f.cgroups = {{"/c", true, {"cpu", "cpuset", "memory", "pids"}}};
  return f;
}

StartSpec spec() {
  StartSpec s;
  s.key = {5, "c1"};
  s.hostname = "c1";
  s.architecture = "x86_64";
  s.idmap = {{true, true, 1000000, 0, 65536}};
  s.rootfs.path = "/pool/c1/rootfs";
  return s;
}
const Places places{"/d/run/c1/lxc.conf", "/d/security/seccomp/c1", "/d/logs/c1/console.log", "/d/logs/c1/lxc.log", "/d/run/c1/notify", "incus-h/5"};

std::string text(const StartSpec &s, const HostFacts &f = v1()) { return to_text(render(s, f, places).lines, ""); }
bool has(const std::string &all, const std::string &line) { return ("\n" + all).find("\n" + line + "\n") != std::string::npos; }

std::string refusal(const std::function<void()> &f) {
  try {
    f();
  } catch (const Error &e) {
    return e.what();
  }
  return "";
}

} // namespace

TEST_CASE("an unprivileged container on a directory, whole") {
  CHECK(text(spec()) == R"(lxc.arch = x86_64
lxc.uts.name = c1
lxc.init.cmd = /sbin/init
lxc.log.file = /d/logs/c1/lxc.log
lxc.log.level = warn
lxc.console.logfile = /d/logs/c1/console.log
lxc.console.size = 128KB
lxc.console.rotate = 1
lxc.console.buffer.size = 128KB
lxc.tty.max = 0
lxc.pty.max = 1024
lxc.autodev = 1
lxc.cgroup.dir.monitor = incus-h/5/monitor
lxc.cgroup.dir.monitor.pivot = incus-h/5
lxc.cgroup.dir.container = incus-h/5/payload
lxc.idmap = u 0 1000000 65536
lxc.idmap = g 0 1000000 65536
lxc.rootfs.path = dir:/run/lxc/root
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.cap.drop = mac_admin mac_override sys_time sys_module sys_rawio
lxc.seccomp.profile = /d/security/seccomp/c1
lxc.cgroup.devices.deny = a
lxc.cgroup.devices.allow = b *:* m
lxc.cgroup.devices.allow = c *:* m
lxc.cgroup.devices.allow = c 1:3 rwm
lxc.cgroup.devices.allow = c 1:5 rwm
lxc.cgroup.devices.allow = c 1:7 rwm
lxc.cgroup.devices.allow = c 1:8 rwm
lxc.cgroup.devices.allow = c 1:9 rwm
lxc.cgroup.devices.allow = c 5:0 rwm
lxc.cgroup.devices.allow = c 5:1 rwm
lxc.cgroup.devices.allow = c 5:2 rwm
lxc.cgroup.devices.allow = c 136:* rwm
lxc.cgroup.devices.allow = c 10:229 rwm
lxc.cgroup.devices.allow = c 10:200 rwm
lxc.mount.entry = /dev/null proc/kcore none bind,optional 0 0
lxc.mount.entry = /dev/null proc/keys none bind,optional 0 0
lxc.mount.entry = /dev/null proc/latency_stats none bind,optional 0 0
lxc.mount.entry = /dev/null proc/sched_debug none bind,optional 0 0
lxc.mount.entry = /dev/null proc/sysrq-trigger none bind,optional 0 0
lxc.mount.entry = /dev/null proc/timer_list none bind,optional 0 0
lxc.mount.entry = /dev/null proc/timer_stats none bind,optional 0 0
lxc.mount.entry = none proc/acpi tmpfs ro,nosuid,nodev,noexec,size=0k,nr_inodes=2,optional 0 0
lxc.mount.entry = none proc/scsi tmpfs ro,nosuid,nodev,noexec,size=0k,nr_inodes=2,optional 0 0
lxc.mount.entry = none sys/firmware tmpfs ro,nosuid,nodev,noexec,size=0k,nr_inodes=2,optional 0 0
lxc.mount.entry = none sys/devices/virtual/powercap tmpfs ro,nosuid,nodev,noexec,size=0k,nr_inodes=2,optional 0 0
lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file,optional 0 0
lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file,optional 0 0
lxc.mount.entry = mqueue dev/mqueue mqueue rw,relatime,create=dir,optional 0 0
lxc.mount.entry = /run/lxc/notify dev/.incus-notify none bind,create=file 0 0
lxc.net.0.type = empty
lxc.environment = NOTIFY_SOCKET=/dev/.incus-notify
)");
  CHECK(render(spec(), v1(), places).stage ==
        std::vector<std::string>{"map", "u 1000000 0 65536", "map", "g 1000000 0 65536", "bind", "/pool/c1/rootfs", "1", "mount", "/d/run/c1/notify", "notify", "0", "0", "0", "0"});
}

TEST_CASE("kinds of root") {
  auto s = spec();
  s.idmap.clear();
  CHECK(text(s).find("idmap") == std::string::npos);
  s = spec();
  s.rootfs.idmapped = false;
  CHECK(has(text(s), "lxc.rootfs.path = dir:/run/lxc/root"));
  CHECK(text(s).find("lxc.rootfs.options") == std::string::npos);
  s.rootfs = {storage::RootfsPlan::Kind::overlay, "", "/l", "/x/u", "/x/w", true};
  CHECK(has(text(s), "lxc.rootfs.path = dir:/run/lxc/root"));
  auto stage = render(s, v1(), places).stage;
  auto at = std::find(stage.begin(), stage.end(), "overlay");
  REQUIRE(stage.end() - at > 5);
  CHECK(std::vector<std::string>(at, at + 5) == std::vector<std::string>{"overlay", "/l", "/x/u", "/x/w", "1"});
}

TEST_CASE("nesting, AppArmor, unified groups, lxcfs") {
  auto s = spec();
  s.config["security.nesting"] = "true";
  auto f = v2();
  f.apparmor = true;
  f.lxcfs = "/var/lib/lxcfs";
  f.lxcfs_files = {"proc/meminfo", "sys/devices/system/cpu"};
  auto t = text(s, f);
  CHECK(has(t, "lxc.apparmor.profile = generated"));
  CHECK(has(t, "lxc.apparmor.allow_nesting = 1"));
  CHECK(has(t, "lxc.mount.auto = proc:rw sys:rw cgroup:mixed"));
  CHECK(has(t, "lxc.cap.drop = sys_time sys_module sys_rawio"));
  CHECK(has(t, "lxc.cgroup2.devices.deny = a"));
  CHECK(t.find("proc/kcore") == t.npos);
  CHECK(has(t, "lxc.mount.entry = /var/lib/lxcfs/proc/meminfo proc/meminfo none bind,nosuid,nodev,optional 0 0"));
  CHECK(has(t, "lxc.mount.entry = /var/lib/lxcfs/sys/devices/system/cpu sys/devices/system/cpu none rbind,nosuid,nodev,optional 0 0"));
  CHECK(text(spec()).find("apparmor") == std::string::npos);
}

TEST_CASE("devices' items") {
  auto s = spec();
  device::MountItem m;
  m.source = "/srv/a b";
  m.target = "mnt/x y";
  m.options = {"rbind", "ro"};
  m.shift = true;
  s.items.mounts = {m};
  device::NicItem n;
  n.guest_name = "eth0";
  n.host_name = "veth1";
  n.hwaddr = "10:66:6a:00:00:01";
  n.bridge = "br0";
  n.mtu = 1400;
  s.items.nics = {n};
  auto t = text(s);
  CHECK(has(t, "lxc.mount.entry = /run/lxc/m0 mnt/x\\040y none rbind,ro,create=dir 0 0"));
  CHECK(has(t, "lxc.net.0.type = veth\nlxc.net.0.flags = up\nlxc.net.0.name = eth0\nlxc.net.0.hwaddr = 10:66:6a:00:00:01\nlxc.net.0.veth.pair = veth1\n"
               "lxc.net.0.link = br0\nlxc.net.0.mtu = 1400"));
  auto stage = render(s, v1(), places).stage;
  CHECK(std::vector<std::string>(stage.end() - 7, stage.end()) == std::vector<std::string>{"mount", "/srv/a b", "m0", "1", "1", "0", "1"});
}

TEST_CASE("keys of the configuration") {
  auto s = spec();
  s.config = {{"limits.processes", "10"}, {"limits.kernel.nofile", "1:2"}, {"linux.sysctl.net.ipv4.ip_forward", "1"}, {"environment.A", "b c"}};
  auto t = text(s);
  CHECK(has(t, "lxc.cgroup.pids.max = 10"));
  CHECK(has(t, "lxc.prlimit.nofile = 1:2"));
  CHECK(has(t, "lxc.sysctl.net.ipv4.ip_forward = 1"));
  CHECK(has(t, "lxc.environment = A=b c"));
  CHECK(has(text(s, v2()), "lxc.cgroup2.pids.max = 10"));
}

TEST_CASE("no key or value adds a line") {
  for (const auto &poison : {std::string("x\nlxc.include = /etc/passwd"), std::string("x\rlxc.include = /etc/passwd"), std::string("x\0y", 3)}) {
    auto check = [&](auto put) {
      auto s = spec();
      put(s);
      CHECK(refusal([&] { text(s); }).find("must not hold a line break or NUL") != std::string::npos);
    };
    check([&](StartSpec &s) { s.config["environment.A"] = poison; });
    check([&](StartSpec &s) { s.config["environment." + poison] = "x"; });
    check([&](StartSpec &s) { s.config["limits.kernel.nofile"] = poison; });
    check([&](StartSpec &s) { s.config["linux.sysctl." + poison] = "1"; });
    check([&](StartSpec &s) { s.hostname = poison; });
    check([&](StartSpec &s) {
      s.idmap.clear(); // with an id map the path travels to the helper and does not stand in the file
      s.rootfs.path = poison;
    });
    check([&](StartSpec &s) { s.items.nics = {{"n", poison, "h", "", "", {}}}; });
    auto s = spec();
    s.config["limits.processes"] = poison;
    CHECK(refusal([&] { text(s); }) != "");
  }
}

TEST_CASE("limits as control group files") {
  auto limits = [](Config c, const HostFacts &f) { return cgroup_limits(c, f, 0, false); };
  CHECK(limits({{"limits.memory", "1GiB"}}, v1()) == std::vector<CgroupValue>{{"memory", "memory.limit_in_bytes", "1073741824", false}});
  CHECK(limits({{"limits.memory", "50%"}, {"limits.memory.enforce", "soft"}}, v1()) ==
        std::vector<CgroupValue>{{"memory", "memory.soft_limit_in_bytes", "524288000", false}});
  CHECK(limits({{"limits.memory", "1MB"}, {"limits.memory.swap", "false"}}, v2()) ==
        std::vector<CgroupValue>{{"memory", "memory.max", "1000000", true}, {"memory", "memory.swap.max", "0", true}});
  CHECK(limits({{"limits.cpu", "0-1,3"}}, v2()) == std::vector<CgroupValue>{{"cpuset", "cpuset.cpus", "0,1,3", true}});
  CHECK(limits({{"limits.cpu.allowance", "25ms/100ms"}}, v1()) ==
        std::vector<CgroupValue>{{"cpu", "cpu.cfs_period_us", "100000", false}, {"cpu", "cpu.cfs_quota_us", "25000", false}});
  CHECK(limits({{"limits.cpu.allowance", "25ms/100ms"}}, v2()) == std::vector<CgroupValue>{{"cpu", "cpu.max", "25000 100000", true}});
  CHECK(limits({{"limits.cpu.allowance", "50%"}, {"limits.cpu.priority", "0"}}, v1()) == std::vector<CgroupValue>{{"cpu", "cpu.shares", "502", false}});
  CHECK(limits({}, v1()).empty());
  CHECK(parse_cpus("2", {0, 1, 2, 3}, 1) == std::vector<int>{2, 3});
  CHECK(parse_cpus("9", {0, 1}, 1) == std::vector<int>{0, 1});
  for (Config bad : {Config{{"limits.memory", "much"}}, {{"limits.memory", "101%"}}, {{"limits.memory", "-1"}}, {{"limits.cpu", "0"}}, {{"limits.cpu", "3-1"}},
                     {{"limits.cpu", "7-8"}}, {{"limits.cpu.allowance", "1/2"}}, {{"limits.cpu.priority", "11"}}, {{"limits.processes", "many"}}})
    CHECK(refusal([&] { limits(bad, v1()); }).find("invalid value") == 0);
}

TEST_CASE("seccomp policies") {
  auto d = seccomp_policy({});
  CHECK(d.starts_with("2\ndenylist\nreject_force_umount\n[all]\nkexec_load errno 38\n"));
  CHECK(seccomp_policy({{"security.syscalls.deny", "mount errno 13\n\nkeyctl"}}).ends_with("delete_module errno 38\nmount errno 13\nkeyctl\n"));
  for (auto *yes : {"true", "TRUE", "Yes", "1", "on"}) CHECK(seccomp_policy({{"security.syscalls.deny_default", yes}}) == d);
  CHECK(seccomp_policy({{"security.syscalls.deny_default", "False"}}) == ""); // no filter at all
  CHECK(seccomp_policy({{"security.syscalls.deny_default", "false"}, {"security.syscalls.deny", "# none"}}) == "");
  CHECK(seccomp_policy({{"security.syscalls.deny_default", "false"}, {"security.syscalls.deny", "keyctl"}}) == "2\ndenylist\n[all]\nkeyctl\n");
  CHECK(seccomp_policy({{"security.syscalls.allow", "read"}}) == "2\nallowlist\n[all]\nread\n");
  CHECK(seccomp_policy({{"security.syscalls.deny_compat", "true"}}).find("[x86]\n") != std::string::npos);
  for (auto *bad : {"[all]", "reject\tx", "UPPER", "a\rb"})
    CHECK(refusal([&] { seccomp_policy({{"security.syscalls.deny", bad}}); }).find("invalid line 1") == 0);
}

TEST_CASE("environment of commands") {
  ExecRequest r;
  r.environment = {{"A", "2"}, {"PATH", "/p"}};
  auto e = exec_environment({{"environment.A", "1"}, {"environment.B", "x"}, {"user.environment.C", "1"}}, r);
  CHECK(e == std::vector<std::string>{"A=2", "B=x", "HOME=/root", "LANG=C.UTF-8", "PATH=/p", "USER=root", "container=lxc"});
  r.environment = {{"A=B", "2"}};
  CHECK(refusal([&] { exec_environment({}, r); }).find("invalid environment variable \"A=B\"") == 0);
}
