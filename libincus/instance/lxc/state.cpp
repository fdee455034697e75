// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/netlink.hpp"
#include "sys/usage.hpp"

namespace incus::instance::lxc {

namespace {

std::int64_t number(const std::optional<std::string> &text, std::int64_t otherwise = 0) {
  std::uint64_t n = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), n).ec != std::errc()) return otherwise;
  return n > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(n);
}

std::int64_t field(const std::optional<std::string> &text, std::string_view name) {
  if (!text) return 0;
  auto at = text->find(name);
  return at == text->npos ? 0 : number(text->substr(at + name.size() + 1));
}

/// The guest may choose any bytes; what is told of it is text.
std::string printable(const std::string &name) {
  std::string out;
  for (unsigned char c : name)
    if (c >= 0x20 && c < 0x7f)
      out += static_cast<char>(c);
    else
      out += fmt::format("\\x{:02x}", c);
  return out;
}

InstanceStateNetwork network_of(const sys::Link &l) {
  InstanceStateNetwork n;
  for (auto &a : l.addresses) {
    const char *scope = a.scope == RT_SCOPE_LINK ? "link" : a.scope == RT_SCOPE_HOST ? "local" : "global";
    n.addresses.push_back({a.family == AF_INET6 ? "inet6" : "inet", a.address, std::to_string(a.prefix), scope});
  }
  n.counters = {l.rx_bytes, l.tx_bytes, l.rx_packets, l.tx_packets, l.rx_errors, l.tx_errors, l.tx_dropped, l.rx_dropped};
  n.hwaddr = l.flags & IFF_LOOPBACK ? "" : l.hwaddr;
  if (char name[IF_NAMESIZE]; l.peer > 0 && ::if_indextoname(static_cast<unsigned>(l.peer), name)) n.host_name = name;
  n.mtu = l.mtu;
  n.state = l.flags & IFF_UP ? "up" : "down";
  n.type = l.flags & IFF_LOOPBACK ? "loopback" : l.flags & IFF_POINTOPOINT ? "point-to-point" : "broadcast";
  return n;
}

} // namespace

InstanceState LxcRuntime::state(const Key &key) {
  InstanceState s;
  auto e = find(key);
  if (!e) return s;
  std::shared_ptr<const Life> life;
  {
    std::lock_guard lock(e->mutex);
    life = e->life;
    s.started_at = e->started_at;
  }
  s.pid = life->pid;
  auto tree = cgroup(key).child("payload");

  bool v2 = false;
  if (!tree.directory("cpuacct", &v2).empty())
    s.cpu.usage = v2 ? field(tree.read("cpuacct", "cpu.stat"), "usage_usec") * 1000 : number(tree.read("cpuacct", "cpuacct.usage"));
  if (!tree.directory("cpu", &v2).empty()) {
    std::int64_t quota = -1, period = 0;
    if (v2) {
      if (auto max = tree.read("cpu", "cpu.max"); max && !max->starts_with("max")) {
        quota = number(max);
        period = number(max->substr(std::min(max->size(), max->find(' ') + 1)));
      }
    } else {
      quota = number(tree.read("cpu", "cpu.cfs_quota_us"), -1);
      period = number(tree.read("cpu", "cpu.cfs_period_us"));
    }
    // Nanoseconds a second.
    s.cpu.allocated_time = quota > 0 && period > 0 ? quota * 1'000'000'000 / period : sys::effective_cpus(tree) * std::int64_t(1'000'000'000);
  }
  if (!tree.directory("memory", &v2).empty()) {
    auto read = [&](const char *one, const char *two) { return number(tree.read("memory", v2 ? two : one)); };
    s.memory.usage = read("memory.usage_in_bytes", "memory.current");
    s.memory.usage_peak = read("memory.max_usage_in_bytes", "memory.peak");
    auto limit = tree.read("memory", v2 ? "memory.max" : "memory.limit_in_bytes");
    auto whole = static_cast<std::int64_t>(facts().memory);
    s.memory.total = limit && *limit != "max" ? std::min(number(limit, whole), whole) : whole;
    if (v2) {
      s.memory.swap_usage = number(tree.read("memory", "memory.swap.current"));
      s.memory.swap_usage_peak = number(tree.read("memory", "memory.swap.peak"));
    } else if (auto both = tree.read("memory", "memory.memsw.usage_in_bytes")) {
      s.memory.swap_usage = std::max<std::int64_t>(0, number(both) - s.memory.usage);
      s.memory.swap_usage_peak = std::max<std::int64_t>(0, number(tree.read("memory", "memory.memsw.max_usage_in_bytes")) - s.memory.usage_peak);
    }
  }
  auto pids = tree.read("pids", "pids.current");
  s.processes = pids ? number(pids, -1) : static_cast<std::int64_t>(tree.processes().size());
  {
    std::lock_guard lock(e->net_mutex);
    for (auto &l : sys::list_links(life->net.get())) s.network[printable(l.name)] = network_of(l);
  }
  return s;
}

} // namespace incus::instance::lxc
