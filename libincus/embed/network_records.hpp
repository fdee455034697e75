// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "api/convert.hpp"
#include "network/host.hpp"

namespace incus::api {

struct NetworkInfo {
  Config config;
  std::string description, name, type, status;
  std::vector<std::string> used_by;
  bool managed = false;
  std::optional<std::vector<std::string>> locations;
  std::string project;
};
struct NetworkAddress {
  std::string family, address, netmask, scope;
};
struct NetworkCounters {
  std::int64_t bytes_received = 0, bytes_sent = 0, packets_received = 0, packets_sent = 0;
};
struct NetworkState {
  std::vector<NetworkAddress> addresses;
  NetworkCounters counters;
  std::string hwaddr, state, type;
  std::int64_t mtu = 0;
  std::optional<network::Bond> bond;
  std::optional<network::Bridge> bridge;
  std::optional<network::Vlan> vlan;
  std::optional<std::string> ovn;
};

#define INCUS_F(member) field(#member, &T::member)
template <> struct Record<NetworkInfo> {
  using T = NetworkInfo;
  static constexpr auto fields = std::make_tuple(INCUS_F(config), INCUS_F(description), INCUS_F(name), INCUS_F(type), INCUS_F(used_by), INCUS_F(managed),
                                                 INCUS_F(status), INCUS_F(locations), INCUS_F(project));
};
template <> struct Record<NetworkAddress> {
  using T = NetworkAddress;
  static constexpr auto fields = std::make_tuple(INCUS_F(family), INCUS_F(address), INCUS_F(netmask), INCUS_F(scope));
};
template <> struct Record<NetworkCounters> {
  using T = NetworkCounters;
  static constexpr auto fields = std::make_tuple(INCUS_F(bytes_received), INCUS_F(bytes_sent), INCUS_F(packets_received), INCUS_F(packets_sent));
};
template <> struct Record<network::Bond> {
  using T = network::Bond;
  static constexpr auto fields = std::make_tuple(INCUS_F(mode), INCUS_F(transmit_policy), INCUS_F(up_delay), INCUS_F(down_delay), INCUS_F(mii_frequency),
                                                 INCUS_F(mii_state), INCUS_F(lower_devices));
};
template <> struct Record<network::Bridge> {
  using T = network::Bridge;
  static constexpr auto fields = std::make_tuple(INCUS_F(id), INCUS_F(stp), INCUS_F(forward_delay), INCUS_F(vlan_default), INCUS_F(vlan_filtering), INCUS_F(upper_devices));
};
template <> struct Record<network::Vlan> {
  using T = network::Vlan;
  static constexpr auto fields = std::make_tuple(INCUS_F(lower_device), INCUS_F(vid));
};
template <> struct Record<NetworkState> {
  using T = NetworkState;
  static constexpr auto fields = std::make_tuple(INCUS_F(addresses), INCUS_F(counters), INCUS_F(hwaddr), INCUS_F(mtu), INCUS_F(state), INCUS_F(type), INCUS_F(bond),
                                                 INCUS_F(bridge), INCUS_F(vlan), INCUS_F(ovn));
};
#undef INCUS_F

} // namespace incus::api
