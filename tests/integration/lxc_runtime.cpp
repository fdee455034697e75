// SPDX-License-Identifier: Apache-2.0
// The container runtime by itself: what a guest gets and how it is worked with.
#include "lxc_room.hpp"

#include "sys/netlink.hpp"

using namespace lxc_room;

TEST_CASE("start, state, commands and stop on both kinds of root, with and without id map") {
  for (bool overlay : {false, true})
    for (bool privileged : {false, true}) {
      CAPTURE(overlay);
      CAPTURE(privileged);
      Room room;
      auto spec = room.spec(1, "c1", privileged, overlay);
      auto started = room.rt->start(spec);
      CHECK(started.init_pid > 1);
      CHECK(room.rt->power(spec.key) == Power::running);
      CHECK_THROWS_AS(room.rt->start(spec), Error);
      CHECK(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
      CHECK(run(*room.rt, spec.key, {"ls", "/run/rcS-done"}).code == 0);

      auto r = sh(*room.rt, spec.key, "id -u; hostname; stat -c %u /bin/busybox; touch /etc/new && echo written; cat /proc/self/uid_map");
      CHECK(r.err == "");
      CHECK(r.out.starts_with("0\nc1\n0\nwritten\n"));
      CHECK((r.out.find("1000000") != r.out.npos) == !privileged);
      // On disk it is the guest's root that owns it.
      struct stat st;
      auto made = overlay ? room.dir / "pool/c1/layer/upper/etc/new" : room.dir / "pool/c1/rootfs/etc/new";
      REQUIRE(::stat(made.c_str(), &st) == 0);
      CHECK(st.st_uid == 0);
      CHECK(fs::exists(room.dir / "pool/c1/rootfs/etc/new") == !overlay);

      auto s = room.rt->state(spec.key);
      CHECK(s.pid == started.init_pid);
      CHECK(s.processes >= 1);
      CHECK(s.memory.usage > 0);
      CHECK(s.cpu.usage > 0);
      CHECK(s.network.count("lo") == 1);
      CHECK(room.rt->console_log(spec.key).find("hello from rcS") != std::string::npos);
      CHECK(room.rt->leftovers({spec.key}).empty());
      CHECK_FALSE(room.rt->leftovers({}).empty());

      std::vector<Key> stopped;
      std::mutex m;
      room.rt->set_events({[&](const Key &k) {
                             std::lock_guard lock(m);
                             stopped.push_back(k);
                           },
                           {}});
      room.rt->kill(spec.key);
      CHECK(gone(started.init_pid));
      CHECK(gone(started.monitor_pid));
      CHECK(room.rt->power(spec.key) == Power::stopped);
      CHECK(room.rt->leftovers({}).empty());
      CHECK_FALSE(fs::exists(room.dir / "run/c1"));
      CHECK(eventually([&] {
        std::lock_guard lock(m);
        return stopped.size() == 1;
      }));
    }
}

TEST_CASE("exit codes, environment, directory, user, input and output") {
  Room room;
  auto spec = room.spec(1, "c1");
  spec.config["environment.FROM_CONFIG"] = "yes";
  room.rt->start(spec);
  auto &rt = *room.rt;
  CHECK(run(rt, spec.key, {"true"}).code == 0);
  CHECK(run(rt, spec.key, {"false"}).code == 1);
  CHECK(run(rt, spec.key, {"no-such-command"}).code == 127);
  CHECK(run(rt, spec.key, {"/no/such"}).code == 127);
  CHECK(run(rt, spec.key, {"/etc/passwd"}).code == 126);
  CHECK(run(rt, spec.key, {"/etc"}).code == 126);
  CHECK(sh(rt, spec.key, "exit 42").code == 42);
  CHECK(sh(rt, spec.key, "kill -9 $$").code == 137);
  CHECK(sh(rt, spec.key, "kill -TERM $$").code == 143);
  ExecRequest r;
  r.command = {"sh", "-c", "pwd; id -u; id -g; id -G; env"};
  r.environment = {{"A", "1 2"}, {"FROM_CONFIG2", "x"}};
  r.user = 1000;
  r.group = 1001;
  r.cwd = "/tmp";
  auto out = run(rt, spec.key, r, "", spec.config).out;
  CHECK(out.starts_with("/tmp\n1000\n1001\n1001\n"));
  CHECK(out.find("A=1 2\n") != out.npos);
  CHECK(out.find("FROM_CONFIG=yes\n") != out.npos);
  CHECK(out.find("PATH=/usr/local/sbin") != out.npos);
  CHECK(run(rt, spec.key, {"pwd"}).out == "/root\n");
  r.cwd = "/nowhere";
  CHECK(run(rt, spec.key, r).code == 126);
  r = {};
  r.command = {"cat"};
  std::string big(60000, 'x');
  auto c = run(rt, spec.key, r, big);
  CHECK(c.out == big);
  CHECK(sh(rt, spec.key, "echo out; echo err >&2").err == "err\n");
  // The environment of init holds nothing of the host's.
  auto env = sh(rt, spec.key, "cat /proc/1/environ").out;
  CHECK(env.find("FROM_CONFIG=yes") != env.npos);
  CHECK(env.find("LD_") == env.npos);
  CHECK(env.find("HOME=/home") == env.npos);
  // Nothing of the library's stays open in the command.
  CHECK(sh(rt, spec.key, "for i in 0 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$i ] && echo $i; done; true").out == "0\n1\n2\n");
  CHECK_THROWS_AS(run(rt, {99, "none"}, {"true"}), Error);
}

TEST_CASE("signals, closing and fifty at once") {
  Room room;
  auto spec = room.spec(1, "c1");
  room.rt->start(spec);
  auto begin = [&](std::vector<std::string> argv) {
    ExecSpec s;
    s.key = spec.key;
    s.request.command = std::move(argv);
    return room.rt->exec(std::move(s));
  };
  auto x = begin({"sleep", "100"});
  int code = -1;
  CHECK_FALSE(x->wait(50ms, code));
  x->signal(SIGTERM);
  REQUIRE(x->wait(10s * testing::slowness(), code));
  CHECK(code == 143);
  begin({"sleep", "1234"})->close();
  CHECK(eventually([&] { return sh(*room.rt, spec.key, "ps").out.find("sleep 1234") == std::string::npos; }));
  // A shell's child goes with it, and so does its hold on the output.
  {
    int p[2];
    REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
    ExecSpec s;
    s.key = spec.key;
    s.request.command = {"sh", "-c", "echo begun; sleep 4321; true"};
    s.out.reset(p[1]);
    auto y = room.rt->exec(std::move(s));
    char line[6];
    REQUIRE(::read(p[0], line, 6) == 6);
    y->close();
    CHECK(read_all(p[0]) == "");
    ::close(p[0]);
    REQUIRE(y->wait(0ms, code));
    CHECK(code == 137);
    CHECK(eventually([&] { return sh(*room.rt, spec.key, "ps").out.find("sleep 4321") == std::string::npos; }));
  }
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 50; i++)
    threads.emplace_back([&, i] {
      ExecSpec s;
      s.key = spec.key;
      int p[2];
      if (::pipe2(p, O_CLOEXEC) != 0) return;
      s.request.command = {"sh", "-c", fmt::format("sleep 0.3; echo {}; exit {}", i, i)};
      s.out.reset(p[1]);
      auto y = room.rt->exec(std::move(s));
      auto text = read_all(p[0]);
      ::close(p[0]);
      int c = -1;
      if (y->wait(60s * testing::slowness(), c) && c == i && text == fmt::format("{}\n", i)) good++;
    });
  for (auto &t : threads) t.join();
  CHECK(good == 50);
}

TEST_CASE("a terminal: size, echo, resize, end of input") {
  Room room;
  auto spec = room.spec(1, "c1");
  room.rt->start(spec);
  int i[2], o[2];
  REQUIRE(::pipe2(i, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(o, O_CLOEXEC) == 0);
  ExecSpec s;
  s.key = spec.key;
  s.request.command = {"sh", "-c", "tty; stty size; read x; stty size; echo got $x; cat; stat -c %u $(tty)"};
  s.request.interactive = true;
  s.request.width = 91;
  s.request.height = 33;
  s.in.reset(i[0]);
  s.out.reset(o[1]);
  auto x = room.rt->exec(std::move(s));
  std::string out;
  auto until = [&](const std::string &what) {
    return eventually([&] {
      pollfd p{o[0], POLLIN, 0};
      char buf[4096];
      if (::poll(&p, 1, 20) > 0)
        if (auto n = ::read(o[0], buf, sizeof buf); n > 0) out.append(buf, static_cast<std::size_t>(n));
      return out.find(what) != out.npos;
    });
  };
  CHECK(until("33 91"));
  CHECK(out.find("/dev/pts/") != out.npos);
  x->resize(120, 40);
  CHECK(::write(i[1], "word\n", 5) == 5);
  CHECK(until("40 120"));
  CHECK(until("got word"));
  ::close(i[1]);
  int code = -1;
  REQUIRE(x->wait(10s * testing::slowness(), code));
  CHECK(code == 0);
  CHECK(until("\r\n0\r\n"));
  ::close(o[0]);
}

TEST_CASE("pause, resume, kill while paused") {
  Room room;
  auto spec = room.spec(1, "c1");
  room.rt->start(spec);
  room.rt->freeze(spec.key);
  CHECK(room.rt->power(spec.key) == Power::frozen);
  CHECK_THROWS_AS(run(*room.rt, spec.key, {"true"}), Error);
  room.rt->unfreeze(spec.key);
  CHECK(room.rt->power(spec.key) == Power::running);
  CHECK(run(*room.rt, spec.key, {"true"}).code == 0);
  room.rt->freeze(spec.key);
  room.rt->kill(spec.key);
  CHECK(room.rt->power(spec.key) == Power::stopped);
  room.rt->start(spec);
  CHECK(run(*room.rt, spec.key, {"true"}).code == 0);
}

TEST_CASE("asked to stop, powered off from inside, rebooted from inside") {
  Room room;
  auto spec = room.spec(1, "c1", false, true);
  std::mutex m;
  int stopped = 0;
  std::vector<Started> rebooted;
  room.rt->set_events({[&](const Key &) {
                         std::lock_guard lock(m);
                         stopped++;
                       },
                       [&](const Key &, const Started &s) {
                         std::lock_guard lock(m);
                         rebooted.push_back(s);
                       }});
  auto first = room.rt->start(spec);
  REQUIRE(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
  sh(*room.rt, spec.key, "reboot");
  REQUIRE(eventually([&] {
    std::lock_guard lock(m);
    return rebooted.size() == 1;
  }));
  CHECK(rebooted[0].init_pid != first.init_pid);
  CHECK(rebooted[0].monitor_pid == first.monitor_pid);
  CHECK(room.rt->running(spec.key)->init_pid == rebooted[0].init_pid);
  CHECK(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
  CHECK(run(*room.rt, spec.key, {"true"}).code == 0);
  room.rt->request_shutdown(spec.key);
  CHECK(room.rt->wait_stopped(spec.key, patience));
  CHECK(room.rt->leftovers({}).empty());
  room.rt->start(spec);
  REQUIRE(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
  sh(*room.rt, spec.key, "poweroff");
  CHECK(room.rt->wait_stopped(spec.key, patience));
  CHECK(eventually([&] {
    std::lock_guard lock(m);
    return stopped == 2;
  }));
  CHECK(rebooted.size() == 1);
}

TEST_CASE("READY=1 on NOTIFY_SOCKET, and a guest that ends before it is ready") {
  Room room;
  auto spec = room.spec(1, "c1");
  auto root = room.dir / "pool/c1/rootfs";
  fs::remove(root / "sbin/init");
  // No inittab and no known name: such an init counts as booted once it runs, so the socket is tried by hand.
  fs::remove(root / "etc/inittab");
  std::ofstream(root / "sbin/init") << "#!/bin/sh\nwhile :; do sleep 1; done\n";
  fs::permissions(root / "sbin/init", fs::perms(0755));
  fs::remove_all(root / "etc/init.d");
  auto started = room.rt->start(spec);
  auto r = sh(*room.rt, spec.key, "stat -c '%F %u' /dev/.incus-notify; cat /proc/1/environ");
  CHECK(r.out.find("socket 0") == 0);
  CHECK(r.out.find("NOTIFY_SOCKET=/dev/.incus-notify") != r.out.npos);
  // From the guest's own view of the socket.
  pid_t pid = ::fork();
  if (pid == 0) {
    int s = ::socket(AF_UNIX, SOCK_DGRAM, 0);
    struct {
      sa_family_t family;
      char path[108];
    } a{AF_UNIX, {}};
    std::snprintf(a.path, sizeof a.path, "/proc/%d/root/dev/.incus-notify", static_cast<int>(started.init_pid));
    const char text[] = "STATUS=up\nREADY=1\n";
    _exit(::sendto(s, text, sizeof text - 1, 0, reinterpret_cast<sockaddr *>(&a), sizeof a) < 0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  CHECK(status == 0);
  CHECK(eventually([&] { return fs::exists(room.dir / "run/c1/booted"); }));
  CHECK(room.rt->wait_ready(spec.key, ReadyLevel::booted, 5s));
  room.rt->kill(spec.key);

  auto hangs = room.spec(2, "c2");
  std::ofstream(room.dir / "pool/c2/rootfs/etc/init.d/boot") << "#!/bin/sh\nsleep 1000\n";
  room.rt->start(hangs);
  CHECK_FALSE(room.rt->wait_ready(hangs.key, ReadyLevel::booted, 200ms));
  CHECK_FALSE(room.rt->wait_ready(hangs.key, ReadyLevel::network, 100ms));
  std::thread killer([&] {
    std::this_thread::sleep_for(100ms);
    room.rt->kill(hangs.key);
  });
  CHECK_THROWS_AS(room.rt->wait_ready(hangs.key, ReadyLevel::booted, patience), Error);
  killer.join();
}

TEST_CASE("veth: point to point, address seen by state and wait_ready") {
  Room room;
  auto spec = room.spec(1, "c1");
  device::NicItem nic;
  nic.guest_name = "eth0";
  nic.host_name = "vi" + room.host_id;
  nic.hwaddr = "10:66:6a:01:02:03";
  nic.mtu = 1400;
  spec.items.nics.push_back(nic);
  room.rt->start(spec);
  CHECK(::if_nametoindex(nic.host_name.c_str()) != 0);
  CHECK_FALSE(room.rt->wait_ready(spec.key, ReadyLevel::network, 50ms));
  std::thread later([&] {
    std::this_thread::sleep_for(100ms);
    sh(*room.rt, spec.key, "ip addr add 192.0.2.7/24 dev eth0");
  });
  CHECK(room.rt->wait_ready(spec.key, ReadyLevel::network, patience));
  later.join();
  auto s = room.rt->state(spec.key);
  REQUIRE(s.network.count("eth0") == 1);
  auto &n = s.network["eth0"];
  CHECK(n.hwaddr == nic.hwaddr);
  CHECK(n.mtu == 1400);
  CHECK(n.state == "up");
  CHECK(n.host_name == nic.host_name);
  bool found = false;
  for (auto &a : n.addresses) found = found || (a.address == "192.0.2.7" && a.netmask == "24" && a.family == "inet" && a.scope == "global");
  CHECK(found);
  // Changed while it runs: so it stays over a reboot, which gives it back what it had at its start.
  auto changed = nic;
  changed.hwaddr = "10:66:6a:01:02:04";
  auto hwaddr = [&] { return room.rt->state(spec.key).network["eth0"].hwaddr; };
  room.rt->set_nics(spec.key, {changed}, false);
  CHECK(hwaddr() == changed.hwaddr);
  auto init = room.rt->running(spec.key)->init_pid;
  room.rt->request_reboot(spec.key);
  REQUIRE(eventually([&] { return room.rt->running(spec.key)->init_pid != init; }, 30s));
  room.rt->set_nics(spec.key, {changed}, true);
  CHECK(hwaddr() == changed.hwaddr);
  // One that was lost on the host comes back.
  CHECK(sys::delete_link(nic.host_name) == 0);
  room.rt->set_nics(spec.key, {changed}, false);
  CHECK(hwaddr() == changed.hwaddr);
  auto index = ::if_nametoindex(nic.host_name.c_str());
  room.rt->set_nics(spec.key, {changed}, false);
  CHECK(::if_nametoindex(nic.host_name.c_str()) == index);
  // A successor knows what is there, and what is to be.
  auto second = room.open();
  REQUIRE(second->adopt(spec.key));
  second->set_nics(spec.key, {nic}, false);
  CHECK(second->state(spec.key).network["eth0"].hwaddr == nic.hwaddr);
  second->set_nics(spec.key, {}, false);
  CHECK(::if_nametoindex(nic.host_name.c_str()) == 0);
  second.reset();
  room.rt->kill(spec.key);
  CHECK(::if_nametoindex(nic.host_name.c_str()) == 0);
}

TEST_CASE("host directories: bound, read-only, owners shifted") {
  Room room;
  auto spec = room.spec(1, "c1");
  auto share = room.dir / "a share";
  fs::create_directory(share);
  std::ofstream(share / "file") << "text\n";
  auto add = [&](const char *target, std::vector<std::string> options, bool shift) {
    device::MountItem m;
    m.source = share;
    m.target = target;
    m.options = std::move(options);
    m.shift = shift;
    spec.items.mounts.push_back(m);
  };
  add("mnt/with space", {"bind"}, false);
  add("mnt/ro", {"bind", "ro"}, false);
  add("mnt/shifted", {"bind"}, true);
  room.rt->start(spec);
  auto r = sh(*room.rt, spec.key, "cat '/mnt/with space/file' /mnt/ro/file; touch /mnt/ro/x || echo refused; stat -c %u '/mnt/with space/file' "
                                  "/mnt/shifted/file; touch /mnt/shifted/new");
  CHECK(r.out == "text\ntext\nrefused\n65534\n0\n");
  struct stat st;
  REQUIRE(::stat((share / "new").c_str(), &st) == 0);
  CHECK(st.st_uid == 0);
}

TEST_CASE("host directories come and go while it runs, and stay so over a reboot and for a successor") {
  Room room;
  auto spec = room.spec(1, "c1", false, true);
  auto share = room.dir / "share";
  fs::create_directories(share);
  std::ofstream(share / "file") << "text\n";
  auto item = [&](const char *target, bool shift) {
    device::MountItem m;
    m.device = "d";
    m.source = share;
    m.target = target;
    m.options = {"bind"};
    m.shift = shift;
    return m;
  };
  spec.items.mounts = {item("mnt/start", false)};
  std::atomic<int> reboots{0};
  room.rt->set_events({{}, [&](const Key &, const Started &) { reboots++; }});
  room.rt->start(spec);
  REQUIRE(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
  auto count = [&](const char *path) { return sh(*room.rt, spec.key, std::string("grep -c ' /mnt/") + path + " ' /proc/self/mounts").out; };
  const std::vector<device::MountItem> later = {item("mnt/later", true)};
  room.rt->set_disks(spec.key, later, false);
  CHECK(count("start") == "0\n");
  CHECK(count("later") == "1\n");
  CHECK(sh(*room.rt, spec.key, "stat -c %u /mnt/later/file; touch /mnt/later/new").out == "0\n");
  struct stat st;
  REQUIRE(::stat((share / "new").c_str(), &st) == 0);
  CHECK(st.st_uid == 0);
  // Again: nothing is mounted twice, also when the record of it was lost.
  room.rt->set_disks(spec.key, later, false);
  CHECK(fs::remove(room.dir / "run/c1/disks"));
  room.rt->set_disks(spec.key, later, false);
  CHECK(count("later") == "1\n");

  // What somebody who was killed left in doubt is there when it is wanted, and gone when not.
  auto doubt = [&] {
    std::ifstream in(room.dir / "run/c1/disks");
    std::string line;
    REQUIRE(std::getline(in, line));
    std::ofstream(room.dir / "run/c1/disks") << '\x1e' << line << "\n";
  };
  doubt();
  room.rt->set_disks(spec.key, later, false);
  CHECK(count("later") == "1\n");
  doubt();
  room.rt->set_disks(spec.key, {}, false);
  CHECK(count("later") == "0\n");
  room.rt->set_disks(spec.key, later, false);

  sh(*room.rt, spec.key, "reboot");
  REQUIRE(eventually([&] { return reboots == 1; }));
  REQUIRE(room.rt->wait_ready(spec.key, ReadyLevel::booted, patience));
  CHECK(count("start") == "1\n");
  room.rt->set_disks(spec.key, later, true);
  CHECK(count("start") == "0\n");
  CHECK(count("later") == "1\n");

  room.rt->close();
  room.rt.reset();
  room.rt = room.open();
  REQUIRE(room.rt->adopt(spec.key));
  room.rt->set_disks(spec.key, later, false);
  CHECK(count("later") == "1\n");
  auto wrong = item("mnt/wrong", false);
  wrong.source = share / "none";
  CHECK_THROWS_AS(room.rt->set_disks(spec.key, {later[0], wrong}, false), Error);
  CHECK(count("later") == "1\n");
  room.rt->set_disks(spec.key, {}, false);
  CHECK(count("later") == "0\n");
  room.rt->kill(spec.key);
  CHECK_THROWS_AS(room.rt->set_disks(spec.key, later, false), Error);
}

TEST_CASE("protection is really on") {
  for (bool privileged : {false, true}) {
    CAPTURE(privileged);
    Room room;
    auto spec = room.spec(1, "c1", privileged);
    spec.config["security.syscalls.deny"] = "mkdir errno 71\nmkdirat errno 71";
    auto started = room.rt->start(spec);
    auto pid = static_cast<int>(started.init_pid);
    CHECK(status_field(pid, "Seccomp") == "2");
    auto bounding = std::stoull(status_field(pid, "CapBnd"), nullptr, 16);
    for (int cap : {16, 17, 25, 32, 33}) CHECK((bounding & (1ULL << cap)) == 0); // module, rawio, time, mac_override, mac_admin
    CHECK((bounding & (1ULL << 21)) != 0);
    auto r = sh(*room.rt, spec.key, "grep Seccomp: /proc/self/status; mkdir /tmp/x; cat /proc/kcore | head -c 1; echo; cat /proc/keys; ls /sys/firmware; "
                                    "echo b > /proc/sysrq-trigger; mknod /tmp/disk b 8 0 && cat /tmp/disk; mknod /tmp/mem c 1 1 && cat /tmp/mem; "
                                    "cat /dev/null && echo null works");
    CHECK(r.out.find("Seccomp:\t2\n\nnull works\n") == 0);
    CHECK(r.err.find("mkdir: can't create directory '/tmp/x'") != r.err.npos);
    if (privileged) {
      CHECK(r.err.find("can't open '/tmp/disk': Operation not permitted") != r.err.npos);
      CHECK(r.err.find("can't open '/tmp/mem': Operation not permitted") != r.err.npos);
    } else {
      CHECK(r.err.find("mknod: /tmp/disk: Operation not permitted") != r.err.npos);
    }
  }
}

TEST_CASE("a container that asks for no filter of system calls has none, and one again when it asks") {
  Room room;
  auto spec = room.spec(1, "c1");
  for (auto *deny : {"true", "false", "true"}) {
    CAPTURE(deny);
    spec.config["security.syscalls.deny_default"] = deny;
    auto started = room.rt->start(spec);
    std::string want = std::string(deny) == "true" ? "2" : "0";
    CHECK(status_field(static_cast<int>(started.init_pid), "Seccomp") == want);
    CHECK(sh(*room.rt, spec.key, "grep Seccomp: /proc/self/status").out == "Seccomp:\t" + want + "\n");
    room.rt->kill(spec.key);
  }
}

TEST_CASE("limits at start and on the fly") {
  Room room;
  auto spec = room.spec(1, "c1");
  spec.config = {{"limits.processes", "100"}, {"limits.memory", "64MiB"}, {"limits.cpu", "1"}, {"limits.cpu.allowance", "20ms/100ms"}, {"limits.kernel.nofile", "77:88"}};
  room.rt->start(spec);
  sys::CgroupTree tree(sys::cgroup_roots(), fmt::format("incus-{}/1/payload", room.host_id));
  CHECK(tree.read("pids", "pids.max") == "100");
  bool v2 = false;
  REQUIRE_FALSE(tree.directory("memory", &v2).empty());
  CHECK(tree.read("memory", v2 ? "memory.max" : "memory.limit_in_bytes") == "67108864");
  CHECK(tree.read("cpuset", "cpuset.cpus")->find_first_of(",-") == std::string::npos);
  CHECK(sh(*room.rt, spec.key, "ulimit -Sn; ulimit -Hn").out == "77\n88\n");
  auto s = room.rt->state(spec.key);
  CHECK(s.memory.total == 64 << 20);
  CHECK(s.cpu.allocated_time == 200'000'000);

  auto now = spec.config;
  now["limits.memory"] = "128MiB";
  now.erase("limits.processes");
  now.erase("limits.cpu.allowance");
  now["limits.kernel.nofile"] = "50";
  auto later = room.rt->apply(spec.key, now, {"limits.memory", "limits.processes", "limits.kernel.nofile", "limits.cpu.allowance", "user.x"});
  CHECK(later == std::vector<std::string>{"limits.kernel.nofile"});
  CHECK(tree.read("memory", v2 ? "memory.max" : "memory.limit_in_bytes") == "134217728");
  CHECK(tree.read("pids", "pids.max") == "max");
  CHECK(room.rt->state(spec.key).cpu.allocated_time == 1'000'000'000);
}

TEST_CASE("a start that fails says why and leaves nothing") {
  Room room;
  auto spec = room.spec(1, "c1");
  fs::remove(room.dir / "pool/c1/rootfs/sbin/init");
  std::string what;
  try {
    room.rt->start(spec);
  } catch (const Error &e) {
    what = e.what();
  }
  CHECK(what == "cannot start instance \"c1\": the container did not start: No such file or directory - Failed to exec \"/sbin/init\"");
  CHECK(room.rt->leftovers({}).empty());
  CHECK_FALSE(fs::exists(room.dir / "run/c1"));
  auto bad = room.spec(2, "c2");
  bad.rootfs.path = room.dir / "pool/none";
  try {
    room.rt->start(bad);
  } catch (const Error &e) {
    what = e.what();
  }
  CHECK(what.find("cannot start instance \"c2\"") == 0);
  CAPTURE(what);
  CHECK(what.find("pool/none") != what.npos);
  CHECK(room.rt->leftovers({}).empty());
  auto line = room.spec(3, "c3");
  line.config["environment.X"] = "a\nlxc.include = /etc/passwd";
  CHECK_THROWS_AS(room.rt->start(line), Error);
}

TEST_CASE("raw.lxc is looked through") {
  Room room;
  room.rt->validate_raw("# nothing\n\nlxc.sysctl.net.ipv4.ip_forward = 1\nlxc.net.0.ipv4.address = 10.0.0.2/24\nlxc.hook.clone = /bin/true\n");
  for (auto *bad : {"lxc.include = /etc/x", "lxc.no.such = 1", "lxc.cap.dropp = x", "nonsense", "lxc.hook.start = /bin/sh", "lxc.hook.clone.x = /bin/sh", "lxc.idmap = u 0 0 1",
                    "lxc.rootfs.path = /", "lxc.net.0.script.up = /bin/sh", "lxc.autodev = 0", "lxc.cap.drop =", "lxc.cap.drop = \"\"", "lxc.mount.entry = ''",
                    "lxc.proc.../sys/kernel/x = 1", "lxc.cgroup2.../../x = 1", "lxc.environment.runtime = NOTIFY_SOCKET=/x"}) {
    CAPTURE(bad);
    std::string what;
    try {
      room.rt->validate_raw(std::string("lxc.sysctl.a.b = 1\n") + bad);
    } catch (const Error &e) {
      CHECK(e.code() == ErrorCode::invalid_argument);
      what = e.what();
    }
    CHECK(what.find("line 2") != what.npos);
  }
}
