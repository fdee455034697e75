// SPDX-License-Identifier: Apache-2.0
// raw.lxc and the seccomp policy: text of the user's that ends in files liblxc reads.
#include <algorithm>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/config.hpp"
#include "schema/schema.hpp"

namespace incus::instance::lxc {

namespace {

std::string_view trim(std::string_view s) {
  auto a = s.find_first_not_of(" \t"), b = s.find_last_not_of(" \t");
  return a == s.npos ? std::string_view() : s.substr(a, b - a + 1);
}

template <class F> void each_line(std::string_view text, F f) {
  for (std::size_t n = 1; !text.empty(); n++) {
    auto end = text.find('\n');
    f(n, trim(text.substr(0, end)));
    if (end == text.npos) break;
    text.remove_prefix(end + 1);
  }
}

/// Why a key may not be set, or null.
const char *owned(std::string_view key) {
  struct Row {
    std::string_view key;
    bool prefix;
    const char *why; ///< null: it may; the first row that fits counts
  };
  static constexpr Row rows[] = {
      {"lxc.include", false, "files must not be included"},
      {"lxc.rootfs", true, "the root file system comes from the storage pool"},
      {"lxc.idmap", true, "use raw.idmap and security.idmap.*"},
      {"lxc.uts.name", false, "the host name is the instance's name"},
      {"lxc.log", true, "the log is the library's"},
      {"lxc.console", true, "the console is the library's"},
      {"lxc.cgroup.dir", true, "the control groups' place is the library's"},
      {"lxc.cgroup.relative", false, "the control groups' place is the library's"},
      {"lxc.hook.clone", false, nullptr}, // of liblxc's own copying, which is never asked for
      {"lxc.hook", true, "hooks run on the host"},
      {"lxc.monitor", true, "the monitor is the library's"},
      {"lxc.execute", true, "the first program is the guest's init"},
      {"lxc.init", true, "the first program is the guest's init"},
      {"lxc.seccomp.profile", false, "use security.syscalls.*"},
      {"lxc.mount.auto", false, "use security.nesting"},
      {"lxc.mount.fstab", false, "files must not be included"},
      {"lxc.ephemeral", false, "use the instance's ephemeral field"},
      {"lxc.group", false, "groups of liblxc are not used"},
      {"lxc.start", true, "use boot.*"},
      {"lxc.namespace", true, "the namespaces are the library's"},
      {"lxc.pty.max", false, "the terminals are the library's"},
      {"lxc.tty", true, "the terminals are the library's"},
      {"lxc.autodev", false, "the guest's /dev is the library's"},
      {"lxc.signal", true, "the signals are the library's"},
  };
  for (auto &r : rows)
    if (key == r.key || (r.prefix && key.starts_with(r.key) && (key.size() == r.key.size() || key[r.key.size()] == '.'))) return r.why;
  if (key.starts_with("lxc.net.")) {
    auto rest = key.substr(8);
    auto dot = rest.find('.');
    bool index = dot != rest.npos && dot > 0 && std::all_of(rest.begin(), rest.begin() + static_cast<long>(dot), [](char c) { return c >= '0' && c <= '9'; });
    auto what = index ? rest.substr(dot + 1) : "";
    if (!what.starts_with("ipv4.") && !what.starts_with("ipv6.") && !what.starts_with("veth.ipv4.route") && !what.starts_with("veth.ipv6.route"))
      return "interfaces are nic devices; only their ipv4.* and ipv6.* may be set here";
  } else if (key == "lxc.net") {
    return "interfaces are nic devices";
  }
  return nullptr;
}

std::string value_of(const Config &c, const char *key) {
  auto it = c.find(key);
  return it == c.end() ? "" : it->second;
}
bool truth(const std::string &v, bool otherwise) { return v.empty() ? otherwise : schema::truthy(v); }

/// One rule a line, liblxc's own form; section headers and includes of files are not rules.
std::string rules(const char *key, const std::string &text) {
  std::string out;
  each_line(text, [&](std::size_t n, std::string_view line) {
    if (line.empty() || line[0] == '#') return;
    bool ok = std::all_of(line.begin(), line.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; }) && line[0] >= 'a' && line[0] <= 'z';
    if (!ok)
      base::fail(ErrorCode::invalid_argument, "invalid line {} of {}, {}: must be a system call's name, then an action", n, key, base::quoted(line));
    out += std::string(line) + "\n";
  });
  return out;
}

} // namespace

void check_raw(const std::string &raw) {
  if (raw.size() > 64 * 1024) base::fail(ErrorCode::too_large, "invalid raw.lxc: it has {} bytes, at most 65536 are taken", raw.size());
  each_line(raw, [](std::size_t n, std::string_view line) {
    if (line.empty() || line[0] == '#') return;
    auto refuse = [&](const char *why) {
      base::fail(ErrorCode::invalid_argument, "invalid raw.lxc, line {} {}: {}", n, base::quoted(line), why);
    };
    if (!base::is_one_line(line)) refuse("must not hold a carriage return or NUL");
    auto eq = line.find('=');
    if (eq == line.npos) refuse("must be \"key = value\"");
    auto key = trim(line.substr(0, eq)), value = trim(line.substr(eq + 1));
    if (!key.starts_with("lxc.")) refuse("the key must begin with \"lxc.\"");
    if (key.find_first_of(" \t") != key.npos) refuse("a key holds no blanks");
    // liblxc takes the rest of some keys for a path, below /proc or the control groups.
    if (key.find('/') != key.npos && !key.starts_with("lxc.sysctl.")) refuse("a key holds no '/'");
    if (auto *why = owned(key)) refuse(why);
    // It takes quotes away.
    if (value.size() > 1 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) value = value.substr(1, value.size() - 2);
    if (value.empty()) refuse("an empty value would clear what the library has set");
    if (key.starts_with("lxc.environment") && value.starts_with("NOTIFY_SOCKET")) refuse("NOTIFY_SOCKET is the library's");
  });
}

std::string seccomp_policy(const Config &config) {
  auto allow = value_of(config, "security.syscalls.allow"), deny = value_of(config, "security.syscalls.deny");
  if (allow.empty()) allow = value_of(config, "security.syscalls.whitelist");
  if (deny.empty()) deny = value_of(config, "security.syscalls.blacklist");
  if (!allow.empty()) return "2\nallowlist\n[all]\n" + rules("security.syscalls.allow", allow);
  std::string out = "2\ndenylist\n";
  const auto nothing = out + "[all]\n";
  if (truth(value_of(config, "security.syscalls.deny_default"), true))
    out += "reject_force_umount\n[all]\nkexec_load errno 38\nkexec_file_load errno 38\nopen_by_handle_at errno 38\ninit_module errno 38\n"
           "finit_module errno 38\ndelete_module errno 38\n";
  else
    out += "[all]\n";
  out += rules("security.syscalls.deny", deny);
  // liblxc always admits the second architecture of a 64-bit host; without these calls no program of it gets anywhere.
  if (truth(value_of(config, "security.syscalls.deny_compat"), false))
    for (auto *arch : {"[x86]", "[x32]"}) {
      out += std::string(arch) + "\n";
      for (auto *call : {"brk", "mmap", "mmap2", "open", "openat", "read", "write", "execve", "fork", "clone", "socketcall", "set_thread_area"})
        out += std::string(call) + " errno 38\n";
    }
  return out == nothing ? std::string() : out;
}

} // namespace incus::instance::lxc
