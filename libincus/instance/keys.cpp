// SPDX-License-Identifier: Apache-2.0
#include "instance/keys.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/schedule.hpp"

namespace incus::instance {

namespace {

template <class T> std::optional<T> number(std::string_view v) {
  T n{};
  auto [end, ec] = std::from_chars(v.data(), v.data() + v.size(), n);
  if (v.empty() || ec != std::errc() || end != v.data() + v.size()) return std::nullopt;
  return n;
}

bool one_of(std::string_view v, std::initializer_list<std::string_view> words) { return std::find(words.begin(), words.end(), v) != words.end(); }

/// Calls `f` with each part of `v` between separators; stops at the first that returns a rule.
template <class F> std::string each(std::string_view v, char separator, F f) {
  for (;;) {
    auto cut = v.find(separator);
    if (auto rule = f(v.substr(0, cut)); !rule.empty()) return rule;
    if (cut == std::string_view::npos) return {};
    v.remove_prefix(cut + 1);
  }
}

/// A first and last id, as in "3" or "3-5".
struct Range {
  std::uint64_t first, last;
};
std::optional<Range> range(std::string_view v) {
  auto dash = v.find('-');
  auto a = number<std::uint32_t>(v.substr(0, dash));
  auto b = dash == std::string_view::npos ? a : number<std::uint32_t>(v.substr(dash + 1));
  if (!a || !b || *a > *b) return std::nullopt;
  return Range{*a, *b};
}

std::string is_cpus(std::string_view v) {
  constexpr const char *rule = "must be a number of CPUs (2) or a set of CPU ids (0-3,7; 1-1 for one)";
  if (v.find_first_of(",-") == std::string_view::npos) {
    auto n = number<std::uint32_t>(v);
    return n && *n >= 1 ? "" : rule;
  }
  return each(v, ',', [&](std::string_view part) -> std::string {
    auto r = range(part);
    return r && r->last < 65536 ? "" : rule;
  });
}

std::string is_cpu_allowance(std::string_view v) {
  constexpr const char *rule = "must be a share (1% to 100%) or a time in a period (25ms/100ms, the period at most 1000ms)";
  if (v.ends_with('%')) {
    auto n = number<unsigned>(v.substr(0, v.size() - 1));
    return n && *n >= 1 && *n <= 100 ? "" : rule;
  }
  auto slash = v.find('/');
  if (slash == std::string_view::npos) return rule;
  auto ms = [](std::string_view t) { return t.ends_with("ms") ? number<unsigned>(t.substr(0, t.size() - 2)) : std::nullopt; };
  auto quota = ms(v.substr(0, slash)), period = ms(v.substr(slash + 1));
  return quota && period && *quota >= 1 && *period >= 1 && *period <= 1000 ? "" : rule;
}

std::string is_memory(std::string_view v) {
  if (auto rule = schema::is_size_or_percent(v); !rule.empty()) return rule;
  return !v.ends_with('%') && schema::parse_size(v) < 1 ? "must be more than 0" : "";
}

std::string is_bool_or_size(std::string_view v) {
  return schema::is_bool(v).empty() || schema::is_size(v).empty() ? "" : "must be true, false or a size such as 512MiB";
}

std::string is_enforce(std::string_view v) { return one_of(v, {"hard", "soft"}) ? "" : "must be hard or soft"; }

std::string is_shutdown_action(std::string_view v) { return one_of(v, {"stop", "force-stop"}) ? "" : "must be stop or force-stop"; }

std::string is_process_count(std::string_view v) {
  auto n = number<std::int64_t>(v);
  return n && *n >= 1 ? "" : "must be a whole number above 0";
}

std::string is_rlimit(std::string_view v) {
  constexpr const char *rule = "must be SOFT or SOFT:HARD, each a whole number or unlimited, the soft one not above the hard one";
  auto one = [](std::string_view t) -> std::optional<std::uint64_t> { return t == "unlimited" ? UINT64_MAX : number<std::uint64_t>(t); };
  auto colon = v.find(':');
  auto soft = one(v.substr(0, colon));
  auto hard = colon == std::string_view::npos ? soft : one(v.substr(colon + 1));
  return soft && hard && *soft <= *hard ? "" : rule;
}

std::string is_syscall_list(std::string_view v) {
  return each(v, '\n', [](std::string_view line) -> std::string {
    auto in = [](char c, std::string_view more) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != std::string_view::npos; };
    auto name = line.substr(0, line.find(' '));
    bool ok = line.empty() || (!name.empty() && std::all_of(name.begin(), name.end(), [&](char c) { return in(c, "_"); }));
    for (char c : line) ok = ok && (in(c, "_ ,[]|<>=!&") || (c >= 'A' && c <= 'Z'));
    return ok ? "" : fmt::format("line {} must be a system call's name, with an action and arguments as in seccomp policies if need be", base::quoted(line));
  });
}

std::string is_raw_idmap(std::string_view v) {
  return each(v, '\n', [](std::string_view line) -> std::string {
    if (line.empty()) return {};
    auto a = line.find(' '), b = a == std::string_view::npos ? a : line.find(' ', a + 1);
    if (b != std::string_view::npos && one_of(line.substr(0, a), {"uid", "gid", "both"})) {
      auto host = range(line.substr(a + 1, b - a - 1)), guest = range(line.substr(b + 1));
      if (host && guest && host->last - host->first == guest->last - guest->first) return {};
    }
    return fmt::format("line {} must be uid, gid or both, then an id or range (1000-1010) on the host and one of the same length in the instance", base::quoted(line));
  });
}

std::string is_snapshot_pattern(std::string_view v) {
  if (v.find("{{") != std::string_view::npos || v.find("{%") != std::string_view::npos) return "templates are not supported yet; use plain text with %d for a number";
  auto at = v.find("%d");
  try {
    base::SnapshotName::parse(at == std::string_view::npos ? std::string(v) : fmt::format("{}1{}", v.substr(0, at), v.substr(at + 2)));
  } catch (const Error &) {
    return "must give a snapshot name (letters, digits and - _ . : + @, at most 64) once one %d became a number";
  }
  return {};
}

std::string is_interface(std::string_view v) {
  try {
    base::InterfaceName::parse(v);
  } catch (const Error &) {
    return "must be an interface name of at most 15 characters";
  }
  return {};
}

// volatile.* rows come last, so that profile_keys() is a part of the table.
constexpr schema::Key table[] = {
    {"boot.autorestart", "bool", schema::is_bool, "false", true, "Start it again when it ends without having been told to: at most 10 times in a minute"},
    {"boot.autostart", "bool", schema::is_bool, "", true, "Start it when incusd starts; unset: as it was at the last shutdown"},
    {"boot.autostart.delay", "integer", schema::is_uint32, "0", true, "Seconds to wait after its start before the next one is started"},
    {"boot.autostart.priority", "integer", schema::is_int, "0", true, "Those with higher numbers start first"},
    {"boot.stop.priority", "integer", schema::is_int, "0", true, "Those with higher numbers are stopped first"},
    {"boot.host_shutdown_timeout", "integer", schema::is_uint32, "30", true, "Seconds a clean stop may take when the host goes down; it is killed then"},
    {"boot.host_shutdown_action", "string", is_shutdown_action, "stop", true, "What the host's shutdown does to it: stop or force-stop"},
    {"cloud-init.network-config", "string", nullptr, "", true, "Network configuration for cloud-init, which templates of the image hand on", true},
    {"cloud-init.user-data", "string", nullptr, "", true, "User data for cloud-init, which templates of the image hand on", true},
    {"cloud-init.vendor-data", "string", nullptr, "", true, "Vendor data for cloud-init, which templates of the image hand on", true},
    {"environment.*", "string", nullptr, "", true, "Environment variables of its init (at the next start) and of commands run in it (at once)"},
    {"image.*", "string", nullptr, "", true, "Properties of the image it was made from", true},
    {"limits.cpu", "string", is_cpus, "", true, "How many CPUs it may use, or which"},
    {"limits.cpu.allowance", "string", is_cpu_allowance, "", true, "A share of CPU time under load (50%), or a hard limit (25ms/100ms)"},
    {"limits.cpu.priority", "integer", schema::is_priority, "10", true, "Rank among instances that share CPUs, 0 to 10"},
    {"limits.kernel.as", "string", is_rlimit, "", false, "Bytes of address space a process may have"},
    {"limits.kernel.core", "string", is_rlimit, "", false, "Largest core dump in bytes"},
    {"limits.kernel.cpu", "string", is_rlimit, "", false, "Seconds of CPU time a process may use"},
    {"limits.kernel.data", "string", is_rlimit, "", false, "Bytes of data segment a process may have"},
    {"limits.kernel.fsize", "string", is_rlimit, "", false, "Largest file in bytes a process may write"},
    {"limits.kernel.locks", "string", is_rlimit, "", false, "File locks a process may hold"},
    {"limits.kernel.memlock", "string", is_rlimit, "", false, "Bytes a process may lock in memory"},
    {"limits.kernel.nice", "string", is_rlimit, "", false, "How far a process may raise its nice value"},
    {"limits.kernel.nofile", "string", is_rlimit, "", false, "Files a process may have open"},
    {"limits.kernel.nproc", "string", is_rlimit, "", false, "Processes a user may have"},
    {"limits.kernel.rtprio", "string", is_rlimit, "", false, "Highest real-time priority a process may take"},
    {"limits.kernel.sigpending", "string", is_rlimit, "", false, "Signals that may wait for a user's processes"},
    {"limits.memory", "string", is_memory, "", true, "Memory it may use: bytes, or a percentage of the host's"},
    {"limits.memory.enforce", "string", is_enforce, "hard", true, "hard: never above limits.memory; soft: above it while the host has memory to spare"},
    {"limits.memory.swap", "string", is_bool_or_size, "true", true, "Whether it may be swapped out, or how many bytes of swap it may use"},
    {"limits.processes", "integer", is_process_count, "", true, "How many processes it may have"},
    {"linux.sysctl.*", "string", nullptr, "", false, "Kernel parameters of its own namespaces"},
    {"raw.idmap", "blob", is_raw_idmap, "", false, "Host ids to map into it: lines such as both 1000 1000", true},
    {"raw.lxc", "blob", nullptr, "", false, "Lines added to its liblxc configuration", true},
    {"security.idmap.base", "integer", schema::is_uint32, "", false, "First host id of its id map, instead of one that is chosen"},
    {"security.idmap.isolated", "bool", schema::is_bool, "false", false, "Give it host ids that no other isolated instance has"},
    {"security.idmap.size", "integer", schema::is_uint32, "", false, "How many ids its id map has"},
    {"security.nesting", "bool", schema::is_bool, "false", false, "Allow containers inside it"},
    {"security.privileged", "bool", schema::is_bool, "false", false, "No user namespace: its root is the host's root"},
    {"security.protection.delete", "bool", schema::is_bool, "false", true, "Refuse to delete it"},
    {"security.protection.shift", "bool", schema::is_bool, "false", true, "Refuse to start it when that means to change the owners of its files"},
    {"security.syscalls.allow", "string", is_syscall_list, "", false, "The only system calls it may make, one a line", true},
    {"security.syscalls.deny", "string", is_syscall_list, "", false, "System calls it may not make, one a line", true},
    {"security.syscalls.deny_compat", "bool", schema::is_bool, "false", false, "Refuse 32-bit system calls (x86_64 only)"},
    {"security.syscalls.deny_default", "bool", schema::is_bool, "true", false, "Refuse the default list of dangerous system calls"},
    {"snapshots.expiry", "string", is_expiry, "", true, "How long snapshots are kept: 1d 12H; S, M (minutes), H, d, w, m (months), y"},
    {"snapshots.pattern", "string", is_snapshot_pattern, "snap%d", true, "Names of snapshots that are made without one; %d becomes the next free number"},
    {"snapshots.schedule", "string", is_schedule, "", true, "When a daemon makes snapshots: a cron expression, or words such as @daily, @startup, @never"},
    {"snapshots.schedule.stopped", "bool", schema::is_bool, "false", true, "Make them also while it is stopped"},
    {"user.*", "string", nullptr, "", true, "Free for the user's own purposes", true},
    {"volatile.uuid", "string", schema::is_uuid, "", true, "Its identity, the same for as long as it lives"},
    {"volatile.uuid.generation", "string", schema::is_uuid, "", true, "Changes when its past is put back by a restore"},
    {"volatile.idmap.base", "integer", schema::is_uint32, "", false, "First host id it was given"},
    {"volatile.*", "string", nullptr, "", true, "What the engine remembers of it"},
};

constexpr std::size_t volatile_rows = 4;
static_assert(std::string_view(std::end(table)[-static_cast<int>(volatile_rows)].name) == "volatile.uuid");

[[noreturn]] void bad_key(std::string_view key, const std::string &what, std::string_view rule) {
  base::fail(ErrorCode::invalid_argument, "invalid configuration key {} of {}: {}", base::quoted(key), what, rule);
}

/// What a row with a wildcard demands of the rest of the name, and of values by that name.
void validate_wildcard(const std::string &key, const std::string &value, const std::string &what) {
  std::string_view k = key;
  if (k.starts_with("environment.")) {
    k.remove_prefix(12);
    for (char c : k)
      if (c == '=' || c <= ' ' || c == 0x7f) bad_key(key, what, "the name of a variable must not hold '=', white space or control characters");
  } else if (k.starts_with("linux.sysctl.")) {
    k.remove_prefix(13);
    bool ok = k.find("..") == std::string_view::npos && k.front() != '.' && k.front() != '/';
    for (char c : k) ok = ok && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("._-/").find(c) != std::string_view::npos);
    if (!ok) bad_key(key, what, "the name of a kernel parameter may hold letters, digits and . _ - / only");
  } else if (k.starts_with("volatile.") && !value.empty()) {
    // These two reach the kernel.
    std::string rule = k.ends_with(".hwaddr") ? schema::is_mac(value) : k.ends_with(".host_name") ? is_interface(value) : "";
    if (!rule.empty()) base::fail(ErrorCode::invalid_argument, "invalid value {} of configuration key {} of {}: {}", base::quoted(value), base::quoted(key), what, rule);
  }
}

} // namespace

std::span<const schema::Key> instance_keys() noexcept { return table; }
std::span<const schema::Key> profile_keys() noexcept { return std::span(table).first(std::size(table) - volatile_rows); }

void validate_instance_config(const Config &config, const std::string &what, bool profile) {
  if (profile)
    for (auto &[k, v] : config)
      if (k.starts_with("volatile.")) bad_key(k, what, "volatile keys belong to one instance and cannot stand in a profile");
  schema::validate(profile ? profile_keys() : instance_keys(), config, what);
  for (auto &[k, v] : config) validate_wildcard(k, v, what);

  auto set = [&](const char *key) {
    auto it = config.find(key);
    return it != config.end() && !it->second.empty();
  };
  if (set("security.syscalls.allow"))
    for (auto *other : {"security.syscalls.deny", "security.syscalls.deny_compat", "security.syscalls.deny_default"})
      if (set(other) && !(std::string_view(other) != "security.syscalls.deny" && !schema::truthy(config.at(other))))
        bad_key("security.syscalls.allow", what, fmt::format("cannot be used together with {}", other));
}

void drop_host_names(Config &asked, const Config &own) {
  std::erase_if(asked, [&](auto &kv) {
    if (!kv.first.starts_with("volatile.") || !kv.first.ends_with(".host_name")) return false;
    if (!is_interface(kv.second).empty()) return false; // to be refused by name
    auto it = own.find(kv.first);
    return it == own.end() || it->second != kv.second;
  });
}

std::vector<std::string> changed_keys(const Config &before, const Config &after) {
  std::vector<std::string> out;
  auto a = before.begin(), b = after.begin();
  while (a != before.end() || b != after.end()) {
    if (b == after.end() || (a != before.end() && a->first < b->first)) {
      if (!a->second.empty()) out.push_back(a->first);
      ++a;
    } else if (a == before.end() || b->first < a->first) {
      if (!b->second.empty()) out.push_back(b->first);
      ++b;
    } else {
      if (a->second != b->second) out.push_back(a->first);
      ++a, ++b;
    }
  }
  return out;
}

} // namespace incus::instance
