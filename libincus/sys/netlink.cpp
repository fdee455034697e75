// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink.hpp"

#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace incus::sys {

namespace {

std::atomic<std::uint32_t> sequence{1};

/// Sends a dump request and calls `f` for each answer; notifications in between are dropped.
template <class F> int dump(int socket, int type, F f) {
  struct {
    nlmsghdr head;
    rtgenmsg gen;
    char pad[16];
  } request{};
  std::uint32_t seq = sequence++;
  request.head.nlmsg_len = NLMSG_LENGTH(type == RTM_GETLINK ? sizeof(ifinfomsg) : sizeof(ifaddrmsg));
  request.head.nlmsg_type = static_cast<std::uint16_t>(type);
  request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.head.nlmsg_seq = seq;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(socket, &request, request.head.nlmsg_len, 0, reinterpret_cast<sockaddr *>(&kernel), sizeof kernel) < 0) return errno;
  alignas(nlmsghdr) char buf[32768];
  for (;;) {
    pollfd p{socket, POLLIN, 0};
    int r = ::poll(&p, 1, 5000);
    if (r < 0 && errno == EINTR) continue;
    if (r <= 0) return ETIMEDOUT;
    ssize_t n = ::recv(socket, buf, sizeof buf, MSG_DONTWAIT);
    // ENOBUFS: notifications were lost, which nobody waits for here.
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOBUFS)) continue;
    if (n < 0) return errno;
    auto left = static_cast<unsigned>(n);
    for (auto *h = reinterpret_cast<nlmsghdr *>(buf); NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
      if (h->nlmsg_seq != seq) continue;
      if (h->nlmsg_type == NLMSG_DONE) return 0;
      if (h->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr *>(NLMSG_DATA(h))->error;
      f(h);
    }
  }
}

std::string hex_address(const rtattr *a) {
  std::string out;
  auto *b = static_cast<const unsigned char *>(RTA_DATA(a));
  for (unsigned i = 0; i < RTA_PAYLOAD(a); i++) out += fmt::format("{}{:02x}", i ? ":" : "", b[i]);
  return out;
}

void read_link(nlmsghdr *h, std::vector<Link> &out) {
  auto *i = static_cast<ifinfomsg *>(NLMSG_DATA(h));
  Link l;
  l.index = i->ifi_index;
  l.flags = i->ifi_flags;
  int length = static_cast<int>(h->nlmsg_len - NLMSG_LENGTH(sizeof *i));
  for (auto *a = IFLA_RTA(i); RTA_OK(a, length); a = RTA_NEXT(a, length)) {
    switch (a->rta_type) {
    case IFLA_IFNAME: l.name = static_cast<const char *>(RTA_DATA(a)); break;
    case IFLA_ADDRESS: l.hwaddr = hex_address(a); break;
    case IFLA_MTU: l.mtu = *static_cast<std::uint32_t *>(RTA_DATA(a)); break;
    case IFLA_LINK: l.peer = *static_cast<int *>(RTA_DATA(a)); break;
    case IFLA_STATS64: {
      rtnl_link_stats64 s{};
      std::memcpy(&s, RTA_DATA(a), std::min(sizeof s, static_cast<std::size_t>(RTA_PAYLOAD(a))));
      l.rx_bytes = static_cast<std::int64_t>(s.rx_bytes);
      l.tx_bytes = static_cast<std::int64_t>(s.tx_bytes);
      l.rx_packets = static_cast<std::int64_t>(s.rx_packets);
      l.tx_packets = static_cast<std::int64_t>(s.tx_packets);
      l.rx_errors = static_cast<std::int64_t>(s.rx_errors);
      l.tx_errors = static_cast<std::int64_t>(s.tx_errors);
      l.rx_dropped = static_cast<std::int64_t>(s.rx_dropped);
      l.tx_dropped = static_cast<std::int64_t>(s.tx_dropped);
      break;
    }
    default: break;
    }
  }
  out.push_back(std::move(l));
}

void read_address(nlmsghdr *h, std::vector<Link> &links) {
  auto *i = static_cast<ifaddrmsg *>(NLMSG_DATA(h));
  LinkAddress out;
  out.family = i->ifa_family;
  out.prefix = i->ifa_prefixlen;
  out.scope = i->ifa_scope;
  char text[64] = "";
  int length = static_cast<int>(h->nlmsg_len - NLMSG_LENGTH(sizeof *i));
  for (auto *a = IFA_RTA(i); RTA_OK(a, length); a = RTA_NEXT(a, length))
    // Point-to-point links carry the peer's in IFA_ADDRESS; the own one is in IFA_LOCAL where there is one.
    if ((a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !*text)) && (out.family == AF_INET || out.family == AF_INET6))
      ::inet_ntop(out.family, RTA_DATA(a), text, sizeof text);
  out.address = text;
  for (auto &l : links)
    if (l.index == static_cast<int>(i->ifa_index) && *text) l.addresses.push_back(out);
}

} // namespace

std::vector<Link> list_links(int socket) {
  std::vector<Link> out;
  int e = dump(socket, RTM_GETLINK, [&](nlmsghdr *h) {
    if (h->nlmsg_type == RTM_NEWLINK) read_link(h, out);
  });
  if (!e)
    e = dump(socket, RTM_GETADDR, [&](nlmsghdr *h) {
      if (h->nlmsg_type == RTM_NEWADDR) read_address(h, out);
    });
  if (e) base::fail_errno(e, "cannot read the network interfaces");
  return out;
}

void subscribe_addresses(int socket) {
  for (int group : {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR})
    if (::setsockopt(socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) base::fail_errno(errno, "cannot watch the network interfaces");
}

namespace {

/// A request that is put together attribute by attribute.
class Request {
public:
  Request(int type, int flags) {
    nlmsghdr h{};
    h.nlmsg_type = static_cast<std::uint16_t>(type);
    h.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    append(&h, sizeof h);
  }
  void append(const void *data, std::size_t size) {
    data_.append(static_cast<const char *>(data), size);
    data_.resize(NLMSG_ALIGN(data_.size()), '\0');
  }
  void add(int type, const void *data, std::size_t size) {
    auto at = begin(type);
    append(data, size);
    // The length tells of the bytes, not of what fills up after them.
    attribute(at)->rta_len = static_cast<std::uint16_t>(RTA_LENGTH(size));
  }
  void add(int type, const std::string &text) { add(type, text.c_str(), text.size() + 1); }
  void add(int type, std::uint32_t number) { add(type, &number, sizeof number); }
  std::size_t begin(int type) {
    auto at = data_.size();
    rtattr a{sizeof a, static_cast<std::uint16_t>(type)};
    append(&a, sizeof a);
    return at;
  }
  void end(std::size_t at) { attribute(at)->rta_len = static_cast<std::uint16_t>(data_.size() - at); }
  /// Sends it and waits for the answer; an errno.
  int ask() {
    base::Fd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!s) return errno;
    reinterpret_cast<nlmsghdr *>(data_.data())->nlmsg_len = static_cast<std::uint32_t>(data_.size());
    if (::send(s.get(), data_.data(), data_.size(), 0) < 0) return errno;
    alignas(nlmsghdr) char buf[8192];
    ssize_t n;
    do n = ::recv(s.get(), buf, sizeof buf, 0);
    while (n < 0 && errno == EINTR);
    if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) return n < 0 ? errno : EIO;
    return -static_cast<nlmsgerr *>(NLMSG_DATA(reinterpret_cast<nlmsghdr *>(buf)))->error;
  }

private:
  rtattr *attribute(std::size_t at) { return reinterpret_cast<rtattr *>(data_.data() + at); }
  std::string data_;
};

} // namespace

int create_veth(const NewVeth &v) {
  unsigned char mac[6];
  if (v.name.size() >= IFNAMSIZ || v.peer_name.size() >= IFNAMSIZ) return EINVAL;
  if (std::sscanf(v.hwaddr.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6) return EINVAL;
  unsigned bridge = v.bridge.empty() ? 0 : ::if_nametoindex(v.bridge.c_str());
  if (!v.bridge.empty() && bridge == 0) return ENODEV;
  Request r(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  ifinfomsg own{}, peer{};
  own.ifi_flags = own.ifi_change = IFF_UP;
  r.append(&own, sizeof own);
  r.add(IFLA_IFNAME, v.name);
  if (v.mtu) r.add(IFLA_MTU, *v.mtu);
  if (bridge) r.add(IFLA_MASTER, bridge);
  auto info = r.begin(IFLA_LINKINFO);
  r.add(IFLA_INFO_KIND, "veth", 4);
  auto data = r.begin(IFLA_INFO_DATA);
  auto other = r.begin(VETH_INFO_PEER);
  r.append(&peer, sizeof peer);
  r.add(IFLA_IFNAME, v.peer_name);
  r.add(IFLA_ADDRESS, mac, sizeof mac);
  if (v.mtu) r.add(IFLA_MTU, *v.mtu);
  r.add(IFLA_NET_NS_FD, static_cast<std::uint32_t>(v.peer_namespace));
  r.end(other);
  r.end(data);
  r.end(info);
  return r.ask();
}

int delete_link(const std::string &name) {
  unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return 0;
  base::Fd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!s) return errno;
  struct {
    nlmsghdr head;
    ifinfomsg info;
  } request{};
  request.head.nlmsg_len = sizeof request;
  request.head.nlmsg_type = RTM_DELLINK;
  request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.info.ifi_index = static_cast<int>(index);
  if (::send(s.get(), &request, sizeof request, 0) < 0) return errno;
  alignas(nlmsghdr) char buf[4096];
  ssize_t n;
  do n = ::recv(s.get(), buf, sizeof buf, 0);
  while (n < 0 && errno == EINTR);
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) return n < 0 ? errno : EIO;
  int e = -static_cast<nlmsgerr *>(NLMSG_DATA(reinterpret_cast<nlmsghdr *>(buf)))->error;
  return e == ENODEV ? 0 : e;
}

} // namespace incus::sys
