// SPDX-License-Identifier: Apache-2.0
// Network interfaces: a veth pair, alone (p2p) or with its host end in an existing bridge (bridged).
#include <algorithm>
#include <charconv>
#include <set>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "device/types.hpp"
#include "network/interface.hpp"

namespace incus::device {

namespace {

std::string is_interface(std::string_view v) {
  try {
    base::InterfaceName::parse(v);
  } catch (const Error &) {
    return "must be 1-15 letters, digits and - _ . @ +, not . or ..";
  }
  return {};
}

std::string is_station(std::string_view v) {
  if (auto rule = schema::is_mac(v); !rule.empty()) return rule;
  if (v == "00:00:00:00:00:00") return "must not be all zeros";
  unsigned first = 0;
  std::from_chars(v.data(), v.data() + 2, first, 16);
  return first & 1 ? "must not be a multicast address (its first byte is odd)" : "";
}

std::string is_mtu(std::string_view v) {
  unsigned n = 0;
  auto [end, ec] = std::from_chars(v.data(), v.data() + v.size(), n);
  return ec == std::errc() && end == v.data() + v.size() && n >= 68 && n <= 65535 ? "" : "must be a whole number from 68 to 65535";
}

std::string is_nictype(std::string_view v) { return v == "p2p" || v == "bridged" ? "" : "must be p2p or bridged; no other kind exists yet"; }

std::string no_network(std::string_view) { return "managed networks are not supported yet; use nictype=bridged with parent=BRIDGE, or nictype=p2p"; }

constexpr schema::Key keys[] = {
    {"host_name", "string", is_interface, "", false, "Name of the host's end; random when unset"},
    {"hwaddr", "string", is_station, "", false, "MAC address; random when unset"},
    {"mtu", "integer", is_mtu, "", false, "MTU of both ends"},
    {"name", "string", is_interface, "", false, "Name in the instance; the next free ethN when unset"},
    {"network", "string", no_network, "", false, "A managed network, to come"},
    {"nictype", "string", is_nictype, "", false, "p2p: the host's end stands alone; bridged: it joins parent"},
    {"parent", "string", is_interface, "", false, "The bridge that a bridged nic joins"},
};

std::string volatile_key(const std::string &device, const char *what) { return "volatile." + device + "." + what; }

/// The guest's name for an interface: its key, else what was chosen before, else empty.
std::string known_name(const std::string &device, const Config &c, const Config *volatiles) {
  if (auto &n = get(c, "name"); !n.empty() || !volatiles) return n;
  auto it = volatiles->find(volatile_key(device, "name"));
  return it == volatiles->end() ? "" : it->second;
}

/// As known_name, else the first ethN that no nic of the instance has; nics without a name get theirs in order of device names.
std::string guest_name(const Context &ctx) {
  if (auto n = known_name(ctx.name, ctx.config, ctx.volatiles); !n.empty()) return n;
  std::set<std::string> taken;
  std::vector<std::string> nameless;
  if (ctx.devices)
    for (auto &[device, c] : *ctx.devices) {
      if (get(c, "type") != "nic") continue;
      auto n = known_name(device, c, ctx.volatiles);
      if (n.empty())
        nameless.push_back(device);
      else
        taken.insert(n);
    }
  unsigned next = 0;
  for (auto &device : nameless) {
    while (taken.count(fmt::format("eth{}", next))) next++;
    if (device == ctx.name) break;
    next++;
  }
  while (taken.count(fmt::format("eth{}", next))) next++;
  return fmt::format("eth{}", next);
}

/// The shape of the names that prepare_nic() makes.
bool is_our_veth(const std::string &n) {
  return n.size() == 12 && n.starts_with("veth") && n.find_first_not_of("0123456789abcdef", 4) == std::string::npos;
}

void validate_nic(const Context &ctx) {
  auto &c = ctx.config;
  auto refuse = [&](const char *why) { base::fail(ErrorCode::invalid_argument, "invalid {}: {}", describe(ctx), why); };
  auto &type = get(c, "nictype");
  if (type.empty()) refuse("nictype is missing; set it to p2p or bridged");
  if (type == "bridged" && get(c, "parent").empty()) refuse("a bridged nic needs parent, the name of a bridge on the host");
  if (type != "bridged" && !get(c, "parent").empty()) refuse("only a bridged nic has parent");
}

void prepare_nic(Context &ctx) {
  if (!ctx.volatiles) return;
  auto &v = *ctx.volatiles;
  if (get(ctx.config, "hwaddr").empty()) {
    auto &mac = v[volatile_key(ctx.name, "hwaddr")];
    if (!is_station(mac).empty()) mac = base::random_mac();
  }
  // Recorded also when it is chosen by the user: what is recorded is removed from the host after a crash. For that reason a recorded name
  // that neither the user nor this function chose is not kept.
  auto &host = v[volatile_key(ctx.name, "host_name")];
  if (auto &chosen = get(ctx.config, "host_name"); !chosen.empty()) {
    if (host != chosen && network::look_up(chosen) != network::Interface::missing)
      base::fail(ErrorCode::conflict, "host_name {} of {}: the host has an interface of that name already; choose another", base::quoted(chosen), describe(ctx));
    host = chosen;
  } else if (!is_our_veth(host))
    host = "veth" + base::random_hex(4);
  if (get(ctx.config, "name").empty()) v[volatile_key(ctx.name, "name")] = guest_name(ctx);
}

void render_nic(const Context &ctx, RunItems &items) {
  auto recorded = [&](const char *key) {
    if (auto &own = get(ctx.config, key); !own.empty() || !ctx.volatiles) return own;
    auto it = ctx.volatiles->find(volatile_key(ctx.name, key));
    return it == ctx.volatiles->end() ? std::string() : it->second;
  };
  NicItem n;
  n.device = ctx.name;
  n.guest_name = guest_name(ctx);
  n.host_name = recorded("host_name");
  n.hwaddr = recorded("hwaddr");
  if (n.host_name.empty() || n.hwaddr.empty()) base::fail(ErrorCode::internal, "{} was not prepared before its start", describe(ctx));
  if (auto &mtu = get(ctx.config, "mtu"); !mtu.empty()) n.mtu = static_cast<unsigned>(schema::parse_size(mtu));
  if (get(ctx.config, "nictype") == "bridged") {
    n.bridge = get(ctx.config, "parent");
    auto there = network::look_up(n.bridge);
    if (there == network::Interface::missing)
      base::fail(ErrorCode::invalid_argument, "parent {} of {} does not exist on this host; make the bridge or choose another", base::quoted(n.bridge), describe(ctx));
    if (there != network::Interface::bridge)
      base::fail(ErrorCode::invalid_argument, "parent {} of {} is not a bridge; a bridged nic can only join one", base::quoted(n.bridge), describe(ctx));
  }
  items.nics.push_back(std::move(n));
}

} // namespace

const DeviceType nic_type = {"nic", "A network interface: one end of a veth pair", keys, validate_nic, prepare_nic, render_nic};

std::vector<std::string> host_interfaces(const Devices &devices, const Config &volatiles) {
  std::vector<std::string> out;
  for (auto &[device, c] : devices) {
    if (get(c, "type") != "nic") continue;
    auto it = volatiles.find(volatile_key(device, "host_name"));
    if (it != volatiles.end() && (is_our_veth(it->second) || it->second == get(c, "host_name"))) out.push_back(it->second);
  }
  return out;
}

} // namespace incus::device
