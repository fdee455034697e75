// SPDX-License-Identifier: Apache-2.0
#include "network/interface.hpp"

#include <cerrno>
#include <cstring>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/names.hpp"

namespace incus::network {

Interface look_up(const std::string &name) {
  ifreq r{};
  if (name.empty() || name.size() >= sizeof r.ifr_name) return Interface::missing;
  std::memcpy(r.ifr_name, name.data(), name.size());
  // By ioctl and not by /sys/class/net, which shows the namespace it was mounted in.
  base::Fd s(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!s) base::fail_errno(errno, "cannot make a socket to look for interface " + base::quoted(name));
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  r.ifr_data = reinterpret_cast<char *>(&driver);
  if (::ioctl(s.get(), SIOCETHTOOL, &r) == 0) return std::strcmp(driver.driver, "bridge") == 0 ? Interface::bridge : Interface::other;
  if (errno == ENODEV) return Interface::missing;
  if (errno == EOPNOTSUPP) return Interface::other; // no driver to name, as with some tunnels
  base::fail_errno(errno, "cannot look for interface " + base::quoted(name));
}

} // namespace incus::network
