// SPDX-License-Identifier: Apache-2.0
// The host's interfaces as networks that nobody here manages. Managed ones are for later.
#include <boost/json.hpp>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "api/access.hpp"
#include "embed/network_records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"
#include "network/host.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

/// Ends of the guests' own cables are no networks.
bool is_listed(const sys::Link &l) { return !l.name.starts_with("veth"); }

bool uses(const Devices &devices, const std::string &network) {
  for (auto &[name, d] : devices) {
    auto get = [&device = d](const char *k) {
      auto it = device.find(k);
      return it == device.end() ? std::string() : it->second;
    };
    if (get("type") == "nic" && (get("network") == network || get("parent") == network)) return true;
  }
  return false;
}

[[noreturn]] void not_there(const std::string &name) { base::fail(ErrorCode::not_found, "network {} not found", base::quoted(name)); }

/// The interface of that name; networks of projects with their own are not there yet.
sys::Link find(const std::string &project, const std::string &name) {
  if (project == "default")
    for (auto &l : network::host_links())
      if (l.name == name && is_listed(l)) return l;
  not_there(name);
}

struct Users {
  std::vector<std::pair<std::string, Devices>> all; ///< URL and devices

  explicit Users(db::Connection &c, const std::function<Devices(const db::InstanceRow &)> &expand) {
    std::lock_guard lock(c.mutex());
    for (auto &p : db::project_names(c)) {
      auto tail = p == "default" ? std::string() : "?project=" + p;
      for (auto &i : db::instances(c, p)) all.emplace_back("/1.0/instances/" + i.name + tail, expand(i));
      for (auto &f : db::profiles(c, p)) all.emplace_back("/1.0/profiles/" + f.name + tail, f.devices);
    }
  }
  std::vector<std::string> of(const std::string &network) const {
    std::vector<std::string> out;
    for (auto &[url, devices] : all)
      if (uses(devices, network)) out.push_back(url);
    return out;
  }
};

api::NetworkInfo to_info(const sys::Link &l, const Users &users) {
  api::NetworkInfo n;
  n.name = l.name;
  n.type = network::type_of(l.name, l.flags);
  n.project = "default";
  if (n.type != "loopback") n.used_by = users.of(l.name);
  return n;
}

} // namespace

api::Reply Engine::networks_get(api::Request &q) {
  db::project_id(*global_, q.project());
  json::array out;
  if (q.project() != "default") return {std::move(out), {}, {}};
  auto links = network::host_links();
  std::erase_if(links, [](auto &l) { return !is_listed(l); });
  if (q.recursion() == 0) {
    for (auto &l : links) out.emplace_back("/1.0/networks/" + l.name);
    return {std::move(out), {}, {}};
  }
  Users users(*global_, [&](auto &row) { return instances_->expand(row).devices; });
  for (auto &l : links) {
    auto n = to_info(l, users);
    api::filter_used_by(q, n.used_by);
    out.push_back(api::to_json(n));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::network_get(api::Request &q) {
  auto l = find(q.project(), q.path[0]);
  auto n = to_info(l, Users(*global_, [&](auto &row) { return instances_->expand(row).devices; }));
  api::filter_used_by(q, n.used_by);
  return {api::to_json(n), etag_of({n.name, n.managed, n.type, n.description, api::to_json(n.config)}), {}};
}

api::Reply Engine::network_state_get(api::Request &q) {
  auto l = find(q.project(), q.path[0]);
  api::NetworkState s;
  for (auto &a : l.addresses) {
    bool local = a.scope == RT_SCOPE_HOST || a.address == "::1" || a.address.starts_with("127.");
    const char *scope = local ? "local" : a.scope == RT_SCOPE_LINK ? "link" : "global";
    s.addresses.push_back({a.family == AF_INET6 ? "inet6" : "inet", a.address, std::to_string(a.prefix), scope});
  }
  s.counters = {l.rx_bytes, l.tx_bytes, l.rx_packets, l.tx_packets};
  s.hwaddr = l.flags & IFF_LOOPBACK ? "" : l.hwaddr;
  s.mtu = l.mtu;
  s.state = l.flags & IFF_UP ? "up" : "down";
  s.type = l.flags & IFF_LOOPBACK ? "loopback" : l.flags & IFF_POINTOPOINT ? "point-to-point" : l.flags & IFF_BROADCAST ? "broadcast" : "unknown";
  s.bond = network::bond_of(l.name);
  s.bridge = network::bridge_of(l.name);
  s.vlan = network::vlan_of(l.name);
  return {api::to_json(s), {}, {}};
}

} // namespace incus::embed
