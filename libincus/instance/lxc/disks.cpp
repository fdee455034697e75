// SPDX-License-Identifier: Apache-2.0
// Directories and files of the host that come and go while the guest runs.
#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance::lxc {

namespace {

using device::MountItem;

std::string line_of(const MountItem &m) {
  std::string out = m.target + record_separator + m.source + record_separator;
  for (auto &o : m.options) out += o + ",";
  if (m.shift) out += "shift,";
  if (m.is_file) out += "file,";
  return out;
}

bool has(const MountItem &m, const char *option) { return std::find(m.options.begin(), m.options.end(), option) != m.options.end(); }

} // namespace

std::string disk_lines(const std::vector<MountItem> &mounts) {
  std::string out;
  for (auto &m : mounts) out += line_of(m) + "\n";
  return out;
}

void LxcRuntime::set_disks(const Key &key, const std::vector<MountItem> &wanted, bool rebooted) {
  auto e = need(key, "change the disks of");
  std::lock_guard one_at_a_time(e->devices_mutex);
  auto now = run_dir(key) + "/disks", at_start = run_dir(key) + "/disks.start";
  auto text = rebooted ? std::nullopt : sys::read_small_file(now, 1 << 20);
  std::map<std::string, const MountItem *> items;
  std::vector<std::string> want;
  for (auto &m : wanted) {
    want.push_back(line_of(m));
    items[want.back()] = &m;
  }
  auto d = difference(lines_of(text ? *text : sys::read_small_file(at_start, 1 << 20).value_or("")), want);
  // What lies deeper goes first.
  std::sort(d.gone.rbegin(), d.gone.rend());
  std::vector<std::string> args;
  for (auto &l : d.gone) args.insert(args.end(), {"gone", first_part(l)});
  for (auto &l : d.come) {
    auto &m = *items.at(l);
    args.insert(args.end(), {"come", m.device, m.source, m.target, has(m, "rbind") ? "1" : "0", m.shift ? "1" : "0", has(m, "ro") ? "1" : "0", m.is_file ? "1" : "0",
                             m.optional ? "1" : "0"});
  }
  if (!args.empty()) {
    auto life = e->now();
    args.insert(args.begin(), std::to_string(life->pid));
    {
      // Whoever is killed from here on leaves a record that says what has to be looked at.
      sys::FaultScope fault("record disks to change");
      write_run_file(now, d.text(), 0600);
    }
    std::optional<Reply> reply;
    {
      sys::FaultScope fault("change disks");
      auto socket = channel_.send(helper::lxc::disks, std::move(args), {life->init.get()});
      reply = Channel::receive(socket, std::chrono::seconds(60));
    }
    if (!reply) base::fail(ErrorCode::timeout, "cannot change the disks of instance {}: no answer in 60 s", base::quoted(key.name));
    if (reply->op != helper::lxc::ok) {
      if (sys::wait_exit(life->init.get(), std::chrono::milliseconds(0)))
        base::fail(ErrorCode::conflict, "cannot change the disks of instance {}: it is not running", base::quoted(key.name));
      // The helper has taken back what it put there; of what was to go it may have removed some.
      d.come.clear();
      write_run_file(now, d.text(), 0600);
      base::fail(ErrorCode::invalid_argument, "cannot change the disks of instance {}: {}", base::quoted(key.name), reply->args.empty() ? "no reason given" : reply->args[0]);
    }
  } else if (!rebooted) {
    return;
  }
  sys::FaultScope fault("record disks");
  write_run_file(now, disk_lines(wanted), 0600);
}

} // namespace incus::instance::lxc
