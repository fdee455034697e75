// SPDX-License-Identifier: Apache-2.0
// Directories and files of the host that come and go while the guest runs. The run directory says what the guest has: `disks.start` what liblxc
// gave it, and gives it again when it reboots; `disks` what it has now, where that differs.
#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance::lxc {

namespace {

using device::MountItem;

/// What stands between the parts of a line; paths of devices have one line and no such character that matters: two lines are only compared.
constexpr char between = '\x1f';
/// Before a line: it may be there or not.
constexpr char in_doubt = '\x1e';

std::string line_of(const MountItem &m) {
  std::string out = m.target + between + m.source + between;
  for (auto &o : m.options) out += o + ",";
  if (m.shift) out += "shift,";
  if (m.is_file) out += "file,";
  return out;
}

std::string target_of(const std::string &line) { return line.substr(0, line.find(between)); }

bool has(const MountItem &m, const char *option) { return std::find(m.options.begin(), m.options.end(), option) != m.options.end(); }

} // namespace

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string disk_lines(const std::vector<MountItem> &mounts) {
  std::string out;
  for (auto &m : mounts) out += line_of(m) + "\n";
  return out;
}

void LxcRuntime::set_disks(const Key &key, const std::vector<MountItem> &wanted, bool rebooted) {
  auto e = need(key, "change the disks of");
  std::lock_guard one_at_a_time(e->disks_mutex);
  auto now = run_dir(key) + "/disks", at_start = run_dir(key) + "/disks.start";
  auto text = rebooted ? std::nullopt : sys::read_small_file(now, 1 << 20);
  auto had = lines_of(text ? *text : sys::read_small_file(at_start, 1 << 20).value_or(""));
  std::set<std::string> keep, want;
  for (auto &m : wanted) want.insert(line_of(m));
  std::vector<std::string> args, gone;
  for (auto &l : had) {
    bool doubtful = l.starts_with(in_doubt);
    if (!doubtful && want.count(l))
      keep.insert(l);
    else if (auto line = doubtful ? l.substr(1) : l; !want.count(line))
      gone.push_back(line);
  }
  // What lies deeper goes first.
  std::sort(gone.rbegin(), gone.rend());
  std::string kept, doubts, coming;
  for (auto &l : keep) kept += l + "\n";
  for (auto &l : gone) {
    args.insert(args.end(), {"gone", target_of(l)});
    doubts += in_doubt + l + "\n";
  }
  for (auto &m : wanted) {
    auto line = line_of(m);
    if (keep.count(line)) continue;
    args.insert(args.end(), {"come", m.device, m.source, m.target, has(m, "rbind") ? "1" : "0", m.shift ? "1" : "0", has(m, "ro") ? "1" : "0", m.is_file ? "1" : "0",
                             m.optional ? "1" : "0"});
    coming += in_doubt + line + "\n";
  }
  if (!args.empty()) {
    auto life = e->now();
    args.insert(args.begin(), std::to_string(life->pid));
    {
      // Whoever is killed from here on leaves a record that says what has to be looked at.
      sys::FaultScope fault("record disks to change");
      write_run_file(now, kept + doubts + coming, 0600);
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
      write_run_file(now, kept + doubts, 0600);
      base::fail(ErrorCode::invalid_argument, "cannot change the disks of instance {}: {}", base::quoted(key.name), reply->args.empty() ? "no reason given" : reply->args[0]);
    }
  } else if (!rebooted) {
    return;
  }
  sys::FaultScope fault("record disks");
  write_run_file(now, disk_lines(wanted), 0600);
}

} // namespace incus::instance::lxc
