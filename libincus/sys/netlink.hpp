// SPDX-License-Identifier: Apache-2.0
// The little of rtnetlink that instances need, on sockets that may belong to another network namespace.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace incus::sys {

struct LinkAddress {
  int family = 0;            ///< AF_INET or AF_INET6
  std::string address;
  int prefix = 0;
  int scope = 0;             ///< RT_SCOPE_*
};
struct Link {
  int index = 0, peer = 0;   ///< peer: the interface's other end in the parent namespace; 0: none
  std::string name, hwaddr;
  std::int64_t mtu = 0;
  unsigned flags = 0;        ///< IFF_*
  std::int64_t rx_bytes = 0, tx_bytes = 0, rx_packets = 0, tx_packets = 0;
  std::int64_t rx_errors = 0, tx_errors = 0, rx_dropped = 0, tx_dropped = 0;
  std::vector<LinkAddress> addresses;
};

/// Interfaces with addresses and counters of the namespace the NETLINK_ROUTE socket was made in. One caller at a time. Throws.
std::vector<Link> list_links(int socket);
/// Makes the socket hear of addresses and links that come and go.
void subscribe_addresses(int socket);
/// A pair of virtual Ethernet interfaces: one end stays with the caller and is up, the other is in another network namespace, down.
struct NewVeth {
  std::string name, peer_name;
  std::string hwaddr;        ///< of the peer
  int peer_namespace = -1;   ///< a descriptor of it
  std::string bridge;        ///< that the caller's end joins; empty: none
  std::optional<unsigned> mtu;
};
/// Makes it in one step. Returns an errno.
int create_veth(const NewVeth &veth);
/// Deletes an interface of the caller's namespace; gone already is success. Returns an errno.
int delete_link(const std::string &name);

} // namespace incus::sys
