// SPDX-License-Identifier: Apache-2.0
#include "instance/lxc/config.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "schema/schema.hpp"

namespace incus::instance::lxc {

namespace {

bool on(const Config &c, const char *key, bool otherwise = false) {
  auto it = c.find(key);
  if (it == c.end() || it->second.empty()) return otherwise;
  return schema::truthy(it->second);
}

/// Fields of a mount entry are separated by blanks, which octal escapes stand for.
std::string escaped(const std::string &s) {
  std::string out;
  for (char c : s) {
    if (c == ' ') out += "\\040";
    else if (c == '\t') out += "\\011";
    else if (c == '\\') out += "\\134";
    else if (c == '\n') out += "\\012";
    else out += c;
  }
  return out;
}

struct Builder {
  const StartSpec &spec;
  const HostFacts &facts;
  const Places &places;
  Rendered out;
  bool privileged = spec.idmap.empty();
  bool nesting = on(spec.config, "security.nesting");

  // Out of line: inlined by the hundred, gcc 12 warns about its own string copies.
  [[gnu::noinline]] void set(std::string_view key, std::string_view value) { out.lines.emplace_back(std::string(key), std::string(value)); }
  void stage(std::initializer_list<std::string> words) { out.stage.insert(out.stage.end(), words); }

  void identity() {
    static constexpr std::string_view known[] = {"x86_64", "i686", "aarch64", "armv7l", "armv6l", "ppc64le", "s390x", "riscv64"};
    if (std::find(std::begin(known), std::end(known), spec.architecture) != std::end(known)) {
      auto arch = spec.architecture == "armv7l" || spec.architecture == "armv6l" ? std::string("arm") : spec.architecture;
      set("lxc.arch", arch);
    }
    set("lxc.uts.name", spec.hostname);
    set("lxc.init.cmd", "/sbin/init");
    set("lxc.log.file", places.log);
    set("lxc.log.level", "warn");
    set("lxc.console.logfile", places.console_log);
    set("lxc.console.size", "128KB");
    set("lxc.console.rotate", "1");
    set("lxc.console.buffer.size", "128KB");
    set("lxc.tty.max", "0");
    set("lxc.pty.max", "1024");
    set("lxc.autodev", "1");
    set("lxc.cgroup.dir.monitor", places.cgroup + "/monitor");
    set("lxc.cgroup.dir.monitor.pivot", places.cgroup);
    set("lxc.cgroup.dir.container", places.cgroup + "/payload");
    for (auto &r : spec.idmap) {
      if (r.uid) set("lxc.idmap", fmt::format("u {} {} {}", r.guest, r.host, r.count));
      if (r.gid) set("lxc.idmap", fmt::format("g {} {} {}", r.guest, r.host, r.count));
      if (r.uid) stage({"map", fmt::format("u {} {} {}", r.host, r.guest, r.count)});
      if (r.gid) stage({"map", fmt::format("g {} {} {}", r.host, r.guest, r.count)});
    }
  }

  void root() {
    auto &p = spec.rootfs;
    const std::string staged = fmt::format("dir:{}/root", helper::lxc::staging);
    if (p.kind == storage::RootfsPlan::Kind::overlay) {
      stage({"overlay", p.lower, p.upper, p.work, p.idmapped && !privileged ? "1" : "0"});
      set("lxc.rootfs.path", staged);
    } else if (privileged) {
      set("lxc.rootfs.path", "dir:" + p.path);
    } else {
      // Not by lxc.rootfs.options = idmap=container: liblxc 5.0 forgets it when the guest reboots. And without an id map the guest's
      // root itself walks to its root, which the state directory does not let it.
      stage({"bind", p.path, p.idmapped ? "1" : "0"});
      set("lxc.rootfs.path", staged);
    }
  }

  void protection() {
    set("lxc.mount.auto", nesting ? "proc:rw sys:rw cgroup:mixed" : "proc:mixed sys:mixed cgroup:mixed");
    set("lxc.cap.drop", nesting ? "sys_time sys_module sys_rawio" : "mac_admin mac_override sys_time sys_module sys_rawio");
    out.seccomp = seccomp_policy(spec.config);
    if (!out.seccomp.empty()) set("lxc.seccomp.profile", places.seccomp);
    if (!out.seccomp.empty() && nesting) set("lxc.seccomp.allow_nesting", "1");
    if (facts.apparmor) {
      set("lxc.apparmor.profile", "generated");
      if (nesting) set("lxc.apparmor.allow_nesting", "1");
    }
    devices();
    if (nesting) {
      // With a /proc that has anything mounted over, the kernel lets nobody mount a fresh one; these are the clean ones.
      set("lxc.mount.entry", "proc dev/.lxc/proc proc create=dir,optional 0 0");
      set("lxc.mount.entry", "sys dev/.lxc/sys sysfs create=dir,optional 0 0");
      return;
    }
    for (auto *f : {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug", "proc/sysrq-trigger", "proc/timer_list", "proc/timer_stats"})
      set("lxc.mount.entry", fmt::format("/dev/null {} none bind,optional 0 0", f));
    for (auto *d : {"proc/acpi", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap"})
      set("lxc.mount.entry", fmt::format("none {} tmpfs ro,nosuid,nodev,noexec,size=0k,nr_inodes=2,optional 0 0", d));
  }

  void devices() {
    bool v1 = false;
    for (auto &r : facts.cgroups) v1 = v1 || std::find(r.controllers.begin(), r.controllers.end(), "devices") != r.controllers.end();
    bool v2 = std::all_of(facts.cgroups.begin(), facts.cgroups.end(), [](auto &r) { return r.v2; });
    std::string base = v1 ? "lxc.cgroup" : "lxc.cgroup2";
    if (!v1 && !v2) return;
    set(base + ".devices.deny", "a");
    // Making nodes harms nobody; opening them is what counts. null zero full random urandom tty console ptmx pts fuse tun.
    for (auto *d : {"b *:* m", "c *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm",
                    "c 136:* rwm", "c 10:229 rwm", "c 10:200 rwm"})
      set(base + ".devices.allow", d);
  }

  void mounts() {
    // What an unprivileged guest cannot make itself.
    for (auto *d : {"dev/fuse", "dev/net/tun"}) set("lxc.mount.entry", fmt::format("/{} {} none bind,create=file,optional 0 0", d, d));
    set("lxc.mount.entry", "mqueue dev/mqueue mqueue rw,relatime,create=dir,optional 0 0");
    for (auto &f : facts.lxcfs_files) {
      bool dir = f.starts_with("sys/");
      // The flags are what FUSE mounts have anyway; said here, liblxc need not mount each a second time.
      set("lxc.mount.entry", fmt::format("{}/{} {} none {},nosuid,nodev,optional 0 0", escaped(facts.lxcfs), f, f, dir ? "rbind" : "bind"));
    }
    if (!places.notify.empty()) {
      stage({"mount", places.notify, "notify", "0", "0", "0", "0"});
      set("lxc.mount.entry", fmt::format("{}/notify dev/.incus-notify none bind,create=file 0 0", helper::lxc::staging));
    }
    int n = 0;
    for (auto &m : spec.items.mounts) {
      auto has = [&](const char *o) { return std::find(m.options.begin(), m.options.end(), o) != m.options.end(); };
      bool recursive = has("rbind"), bind = recursive || has("bind") || m.fstype == "none" || m.fstype.empty();
      std::string options = bind ? (recursive ? "rbind" : "bind") : "";
      auto add = [&](const std::string &o) { options += (options.empty() ? "" : ",") + o; };
      for (auto &o : m.options)
        if (o != "bind" && o != "rbind") add(o);
      add(m.is_file ? "create=file" : "create=dir");
      if (m.optional) add("optional");
      std::string source = escaped(m.source);
      if (bind) {
        std::string name = fmt::format("m{}", n++);
        stage({"mount", m.source, name, recursive ? "1" : "0", m.shift && !privileged ? "1" : "0", m.optional ? "1" : "0", has("ro") ? "1" : "0"});
        source = fmt::format("{}/{}", helper::lxc::staging, name);
      }
      set("lxc.mount.entry", fmt::format("{} {} {} {} 0 0", source, escaped(m.target), bind ? "none" : m.fstype, escaped(options)));
    }
  }

  void nics() {
    if (spec.items.nics.empty()) set("lxc.net.0.type", "empty");
    for (std::size_t i = 0; i < spec.items.nics.size(); i++) {
      auto &nic = spec.items.nics[i];
      std::string p = fmt::format("lxc.net.{}.", i);
      set(p + "type", "veth");
      set(p + "flags", "up");
      if (!nic.guest_name.empty()) set(p + "name", nic.guest_name);
      if (!nic.hwaddr.empty()) set(p + "hwaddr", nic.hwaddr);
      if (!nic.host_name.empty()) set(p + "veth.pair", nic.host_name);
      if (!nic.bridge.empty()) set(p + "link", nic.bridge);
      if (nic.mtu) set(p + "mtu", std::to_string(*nic.mtu));
    }
  }

  void keys() {
    bool pure_v2 = std::all_of(facts.cgroups.begin(), facts.cgroups.end(), [](auto &r) { return r.v2; });
    for (auto &l : cgroup_limits(spec.config, facts, spec.key.id, false))
      // On a mixed host liblxc writes only what is of version 1.
      if (!l.v2 || pure_v2) set((l.v2 ? "lxc.cgroup2." : "lxc.cgroup.") + l.file, l.value);
    for (auto &[key, value] : spec.config) {
      if (key.starts_with("limits.kernel.")) set("lxc.prlimit." + key.substr(14), value);
      else if (key.starts_with("linux.sysctl.")) set("lxc.sysctl." + key.substr(13), value);
      else if (key.starts_with("environment.")) set("lxc.environment", key.substr(12) + "=" + value);
    }
    if (!places.notify.empty()) set("lxc.environment", "NOTIFY_SOCKET=/dev/.incus-notify");
  }
};

} // namespace

Rendered render(const StartSpec &spec, const HostFacts &facts, const Places &places) {
  Builder b{spec, facts, places, {}};
  b.identity();
  b.root();
  b.protection();
  b.mounts();
  b.nics();
  b.keys();
  return std::move(b.out);
}

std::string to_text(const Lines &lines, const std::string &raw) {
  std::string out;
  for (auto &[key, value] : lines) {
    if (!base::is_one_line(key) || !base::is_one_line(value))
      base::fail(ErrorCode::invalid_argument, "invalid value {} for {}: must not hold a line break or NUL", base::quoted(value), base::quoted(key));
    out += key + " = " + value + "\n";
  }
  if (!raw.empty()) {
    check_raw(raw);
    out += raw;
    if (out.back() != '\n') out += '\n';
  }
  return out;
}

std::vector<std::string> exec_environment(const Config &config, const ExecRequest &request) {
  Config all{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"LANG", "C.UTF-8"}, {"container", "lxc"}};
  if (request.user == 0) {
    all["HOME"] = "/root";
    all["USER"] = "root";
  } else {
    all["HOME"] = "/";
  }
  if (request.interactive) all["TERM"] = "xterm";
  for (auto &[key, value] : config)
    if (key.starts_with("environment.")) all[key.substr(12)] = value;
  for (auto &[key, value] : request.environment) all[key] = value;
  std::vector<std::string> out;
  for (auto &[key, value] : all) {
    if (key.empty() || key.find('=') != key.npos || key.find('\0') != key.npos || value.find('\0') != value.npos)
      base::fail(ErrorCode::invalid_argument, "invalid environment variable {}: a name must not be empty or hold '=', neither may hold NUL",
                 base::quoted(key));
    out.push_back(key + "=" + value);
  }
  return out;
}

} // namespace incus::instance::lxc
