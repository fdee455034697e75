// SPDX-License-Identifier: Apache-2.0
// Interfaces that come and go while the guest runs. What liblxc made at the start and what is made here look the same, but for the guest: a new
// interface is down until it is set up.
#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <net/if.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/netlink.hpp"
#include "sys/process.hpp"

namespace incus::instance::lxc {

void LxcRuntime::set_nics(const Key &key, const std::vector<device::NicItem> &nics, const std::vector<std::string> &again) {
  auto e = need(key, "change the interfaces of");
  std::vector<std::string> had;
  {
    std::lock_guard lock(e->mutex);
    had = e->interfaces;
  }
  auto wanted = [&](const std::string &host_name) { return std::any_of(nics.begin(), nics.end(), [&](auto &n) { return n.host_name == host_name; }); };
  std::vector<std::string> gone = again;
  for (auto &name : had)
    if (!wanted(name)) gone.push_back(name);
  for (auto &name : gone) {
    sys::FaultScope fault("unplug nic");
    if (int err = sys::delete_link(name)) base::fail_errno(err, fmt::format("cannot remove interface {} of instance {}", base::quoted(name), base::quoted(key.name)));
  }
  std::string record;
  bool changed = false;
  {
    // Recorded before they are made: who ends the instance removes what is there, and so does a successor that wants them no more.
    std::lock_guard lock(e->mutex);
    // Names that we chose are nobody else's; they stay, because liblxc makes those of the start again when the guest reboots.
    std::erase_if(e->interfaces, [&](auto &n) { return !wanted(n) && !(n.size() == 12 && n.starts_with("veth")); });
    for (auto &n : nics)
      if (std::find(e->interfaces.begin(), e->interfaces.end(), n.host_name) == e->interfaces.end()) e->interfaces.push_back(n.host_name);
    changed = e->interfaces != had;
    for (auto &name : e->interfaces) record += name + "\n";
  }
  if (changed) {
    sys::FaultScope fault("record interfaces");
    write_run_file(run_dir(key) + "/interfaces", record, 0600);
  }
  for (auto &n : nics) {
    if (::if_nametoindex(n.host_name.c_str()) != 0) continue;
    auto life = e->now();
    base::Fd space(::open(fmt::format("/proc/{}/ns/net", life->pid).c_str(), O_RDONLY | O_CLOEXEC));
    // Still its process: then the number was its own when the namespace was opened.
    if (!space || sys::wait_exit(life->init.get(), std::chrono::milliseconds(0)))
      base::fail(ErrorCode::conflict, "cannot add interface {} to instance {}: it is not running", base::quoted(n.guest_name), base::quoted(key.name));
    sys::FaultScope fault("plug nic");
    if (int err = sys::create_veth({n.host_name, n.guest_name, n.hwaddr, space.get(), n.bridge, n.mtu}))
      base::fail_errno(err, fmt::format("cannot add interface {} (device {}) to instance {}", base::quoted(n.guest_name), base::quoted(n.device), base::quoted(key.name)));
  }
}

} // namespace incus::instance::lxc
