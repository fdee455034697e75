// SPDX-License-Identifier: Apache-2.0
// Interfaces that come and go while the guest runs. What liblxc made at the start and what is made here look the same, but for the guest: a new
// interface is down until it is set up.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <net/if.h>
#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/netlink.hpp"
#include "sys/process.hpp"

namespace incus::instance::lxc {

namespace {

std::string line_of(const device::NicItem &n) {
  constexpr char s = record_separator;
  return n.host_name + s + n.guest_name + s + n.hwaddr + s + n.bridge + s + (n.mtu ? std::to_string(*n.mtu) : "");
}

std::vector<std::string> lines_for(const std::vector<device::NicItem> &nics) {
  std::vector<std::string> out;
  for (auto &n : nics) out.push_back(line_of(n));
  return out;
}

/// Chosen by us, and so nobody else's.
bool is_ours(const std::string &name) { return name.size() == 12 && name.starts_with("veth"); }

void remove(const Key &key, const std::string &name) {
  sys::FaultScope fault("unplug nic");
  if (int err = sys::delete_link(name)) base::fail_errno(err, fmt::format("cannot remove interface {} of instance {}", base::quoted(name), base::quoted(key.name)));
}

} // namespace

std::string nic_lines(const std::vector<device::NicItem> &nics) {
  std::string out;
  for (auto &l : lines_for(nics)) out += l + "\n";
  return out;
}

std::vector<std::string> LxcRuntime::recorded_interfaces(const Key &key) const {
  auto now = sys::read_small_file(run_dir(key) + "/interfaces");
  std::vector<std::string> out;
  for (auto &l : lines_of(sys::read_small_file(run_dir(key) + "/interfaces.start").value_or("")))
    // One that was unplugged since comes back with a reboot; a name that we did not choose may be somebody else's by now.
    if (auto name = first_part(l); !now || is_ours(name)) out.push_back(name);
  for (auto &l : lines_of(now.value_or("")))
    if (auto name = first_part(l); std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
  return out;
}

void LxcRuntime::set_nics(const Key &key, const std::vector<device::NicItem> &nics, bool rebooted) {
  auto e = need(key, "change the interfaces of");
  std::lock_guard one_at_a_time(e->devices_mutex);
  auto now = run_dir(key) + "/interfaces";
  auto text = rebooted ? std::nullopt : sys::read_small_file(now, 1 << 20);
  auto d = difference(lines_of(text ? *text : sys::read_small_file(run_dir(key) + "/interfaces.start", 1 << 20).value_or("")), lines_for(nics));
  auto there = [](const device::NicItem &n) { return ::if_nametoindex(n.host_name.c_str()) != 0; };
  if (!rebooted && d.gone.empty() && d.come.empty() && std::all_of(nics.begin(), nics.end(), there)) return;
  std::set<std::string> anew, ours;
  for (auto &l : d.come) anew.insert(l);
  {
    std::lock_guard lock(e->mutex);
    ours.insert(e->interfaces.begin(), e->interfaces.end());
  }
  auto record = [&](const std::string &lines) {
    sys::FaultScope fault("record interfaces");
    write_run_file(now, lines, 0600);
    auto all = recorded_interfaces(key);
    std::lock_guard lock(e->mutex);
    e->interfaces = std::move(all);
  };
  // Whoever is killed from here on leaves a record of what has to be looked at; who ends the instance removes all of it.
  record(d.text());
  for (auto &l : d.gone) remove(key, first_part(l));
  for (auto &n : nics) {
    bool fresh = anew.count(line_of(n)) != 0;
    // Of a change that was cut off, or of the guest's life before its reboot.
    if (fresh && ours.count(n.host_name) && there(n)) remove(key, n.host_name);
    if (!fresh && there(n)) continue;
    auto life = e->now();
    base::Fd space(::open(fmt::format("/proc/{}/ns/net", life->pid).c_str(), O_RDONLY | O_CLOEXEC));
    // Still its process: then the number was its own when the namespace was opened.
    if (!space || sys::wait_exit(life->init.get(), std::chrono::milliseconds(0)))
      base::fail(ErrorCode::conflict, "cannot add interface {} to instance {}: it is not running", base::quoted(n.guest_name), base::quoted(key.name));
    int err = 0;
    {
      sys::FaultScope fault("plug nic");
      err = sys::create_veth({n.host_name, n.guest_name, n.hwaddr, space.get(), n.bridge, n.mtu});
    }
    if (err == EEXIST) {
      // Somebody else's, who came first: not ours to remove.
      std::erase(d.come, line_of(n));
      record(d.text());
    }
    if (err)
      base::fail_errno(err, fmt::format("cannot add interface {} (device {}) to instance {}", base::quoted(n.guest_name), base::quoted(n.device), base::quoted(key.name)));
  }
  record(nic_lines(nics));
}

} // namespace incus::instance::lxc
