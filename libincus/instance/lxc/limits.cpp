// SPDX-License-Identifier: Apache-2.0
// limits.* as files of control groups.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/config.hpp"
#include "schema/schema.hpp"

namespace incus::instance::lxc {

namespace {

const std::string *find(const Config &c, const char *key) {
  auto it = c.find(key);
  return it == c.end() || it->second.empty() ? nullptr : &it->second;
}

bool number(std::string_view t, std::uint64_t &out) {
  auto [end, err] = std::from_chars(t.data(), t.data() + t.size(), out);
  return err == std::errc() && end == t.data() + t.size() && !t.empty();
}

[[noreturn]] void bad(const std::string &key, const std::string &text, const char *rule) {
  base::fail(ErrorCode::invalid_argument, "invalid value {} of {}: {}", base::quoted(text), key, rule);
}

struct Writer {
  const HostFacts &facts;
  std::vector<CgroupValue> out;

  /// 1, 2 or 0 for none.
  int version(std::string_view controller) const {
    int v = 0;
    for (auto &r : facts.cgroups)
      if (std::find(r.controllers.begin(), r.controllers.end(), controller) != r.controllers.end()) v = r.v2 ? (v ? v : 2) : 1;
    return v;
  }
  void put(const char *controller, int v, const char *file, std::string value) { out.push_back({controller, file, std::move(value), v == 2}); }
};

void memory(Writer &w, const Config &c, const HostFacts &facts, bool defaults) {
  int v = w.version("memory");
  if (!v) return;
  auto *text = find(c, "limits.memory");
  auto *swap = find(c, "limits.memory.swap");
  if (!text && !swap && !defaults) return;
  bool soft = false;
  if (auto *e = find(c, "limits.memory.enforce")) soft = *e == "soft";
  std::uint64_t bytes = text ? parse_size("limits.memory", *text, facts.memory) : 0;
  std::string value = text ? std::to_string(bytes) : "";
  bool word = swap && schema::is_bool(*swap).empty();
  bool no_swap = word && !schema::truthy(*swap), sized = swap && !word;
  if (v == 1) {
    // Growing and shrinking need opposite orders; "no limit" first makes every order work.
    if (defaults) {
      w.put("memory", 1, "memory.memsw.limit_in_bytes", "-1");
      w.put("memory", 1, "memory.limit_in_bytes", "-1");
      w.put("memory", 1, "memory.soft_limit_in_bytes", "-1");
    }
    if (text) w.put("memory", 1, soft ? "memory.soft_limit_in_bytes" : "memory.limit_in_bytes", value);
    if (text && !soft && (no_swap || sized))
      w.put("memory", 1, "memory.memsw.limit_in_bytes",
            std::to_string(bytes + (sized ? parse_size("limits.memory.swap", *swap, facts.memory) : 0)));
    if (no_swap) w.put("memory", 1, "memory.swappiness", "0");
  } else {
    if (defaults || (text && !soft)) w.put("memory", 2, "memory.max", text && !soft ? value : "max");
    if (defaults || (text && soft)) w.put("memory", 2, "memory.high", text && soft ? value : "max");
    if (no_swap) w.put("memory", 2, "memory.swap.max", "0");
    else if (sized) w.put("memory", 2, "memory.swap.max", std::to_string(parse_size("limits.memory.swap", *swap, facts.memory)));
    else if (defaults) w.put("memory", 2, "memory.swap.max", "max");
  }
}

void cpu(Writer &w, const Config &c, const HostFacts &facts, std::int64_t seed, bool defaults) {
  if (auto *text = find(c, "limits.cpu"); (text || defaults) && w.version("cpuset")) {
    std::string list;
    for (int n : text ? parse_cpus(*text, facts.cpus, seed) : facts.cpus) list += (list.empty() ? "" : ",") + std::to_string(n);
    w.put("cpuset", w.version("cpuset"), "cpuset.cpus", list);
  }
  int v = w.version("cpu");
  if (!v) return;
  auto *allowance = find(c, "limits.cpu.allowance");
  auto *priority = find(c, "limits.cpu.priority");
  std::uint64_t shares = 1024, quota = 0, period = 100000;
  if (allowance) {
    std::uint64_t n = 0, m = 0;
    std::string_view t = *allowance;
    if (t.ends_with('%') && number(t.substr(0, t.size() - 1), n)) {
      shares = std::clamp<std::uint64_t>(n * 1024 / 100, 2, 262144);
    } else if (auto slash = t.find('/'); slash != t.npos && t.substr(0, slash).ends_with("ms") && t.ends_with("ms") &&
                                         number(t.substr(0, slash - 2), n) && number(t.substr(slash + 1, t.size() - slash - 3), m) && n && m && m <= 1000) {
      quota = n * 1000;
      period = m * 1000;
    } else {
      bad("limits.cpu.allowance", *allowance, "must be a percentage such as 50% or a time such as 25ms/100ms (the second at most 1000ms)");
    }
  }
  if (priority) {
    std::uint64_t p = 0;
    if (!number(*priority, p) || p > 10) bad("limits.cpu.priority", *priority, "must be a number from 0 to 10");
    shares = std::max<std::uint64_t>(2, shares - std::min(shares, (10 - p)));
  }
  bool hard = quota != 0;
  if (v == 1) {
    if (defaults || priority || (allowance && !hard)) w.put("cpu", 1, "cpu.shares", std::to_string(shares));
    if (hard) w.put("cpu", 1, "cpu.cfs_period_us", std::to_string(period));
    if (hard || defaults) w.put("cpu", 1, "cpu.cfs_quota_us", hard ? std::to_string(quota) : "-1");
  } else {
    // The kernel's own relation of the two scales: 1024 shares are a weight of 100.
    if (defaults || priority || (allowance && !hard))
      w.put("cpu", 2, "cpu.weight", std::to_string(std::clamp<std::uint64_t>(shares * 100 / 1024, 1, 10000)));
    if (hard || defaults) w.put("cpu", 2, "cpu.max", hard ? fmt::format("{} {}", quota, period) : "max 100000");
  }
}

} // namespace

std::uint64_t parse_size(const std::string &key, const std::string &text, std::uint64_t whole) {
  static constexpr std::pair<std::string_view, std::uint64_t> units[] = {
      {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}, {"TiB", 1ULL << 40}, {"PiB", 1ULL << 50}, {"EiB", 1ULL << 60},
      {"kB", 1000},        {"MB", 1000000},     {"GB", 1000000000},  {"TB", 1000000000000}, {"PB", 1000000000000000}, {"EB", 1000000000000000000},
      {"B", 1},            {"", 1}};
  std::string_view t = text;
  std::uint64_t n = 0;
  if (t.ends_with('%')) {
    if (!number(t.substr(0, t.size() - 1), n) || n > 100) bad(key, text, "must be a percentage up to 100%");
    return whole / 100 * n;
  }
  for (auto &[unit, factor] : units)
    if (t.ends_with(unit)) {
      t.remove_suffix(unit.size());
      if (t.ends_with(' ')) t.remove_suffix(1);
      if (!number(t, n)) break;
      if (n > UINT64_MAX / factor) bad(key, text, "is too large");
      return n * factor;
    }
  bad(key, text, "must be a size such as 512MiB");
}

std::vector<int> parse_cpus(const std::string &text, const std::vector<int> &online, std::int64_t seed) {
  std::uint64_t n = 0;
  std::vector<int> out;
  if (number(text, n)) {
    if (n == 0) bad("limits.cpu", text, "must be at least 1");
    // Different instances begin at different processors, so that small ones spread.
    auto count = std::min<std::size_t>(n, online.size());
    auto first = static_cast<std::size_t>(seed < 0 ? 0 : seed) * count % online.size();
    for (std::size_t i = 0; i < count; i++) out.push_back(online[(first + i) % online.size()]);
  } else {
    std::string_view t = text;
    while (!t.empty()) {
      auto part = t.substr(0, t.find(','));
      t.remove_prefix(std::min(t.size(), part.size() + 1));
      auto dash = part.find('-');
      std::uint64_t a = 0, b = 0;
      bool ok = number(part.substr(0, dash), a) && (dash == part.npos ? (b = a, true) : number(part.substr(dash + 1), b)) && a <= b && b < 8192;
      if (!ok) bad("limits.cpu", text, "must be a count or a list such as 0-3,8");
      for (auto i = a; i <= b; i++) {
        if (std::find(online.begin(), online.end(), static_cast<int>(i)) == online.end())
          base::fail(ErrorCode::invalid_argument, "invalid value {} of limits.cpu: the host has no processor {}", base::quoted(text), i);
        out.push_back(static_cast<int>(i));
      }
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<CgroupValue> cgroup_limits(const Config &config, const HostFacts &facts, std::int64_t seed, bool defaults) {
  Writer w{facts, {}};
  cpu(w, config, facts, seed, defaults);
  memory(w, config, facts, defaults);
  if (int v = w.version("pids")) {
    auto *text = find(config, "limits.processes");
    std::uint64_t n = 0;
    if (text && !number(*text, n)) bad("limits.processes", *text, "must be a number");
    if (text || defaults) w.put("pids", v, "pids.max", text ? *text : "max");
  }
  return w.out;
}

} // namespace incus::instance::lxc
