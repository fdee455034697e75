// SPDX-License-Identifier: Apache-2.0
// Parts of incus-lxc. A worker is a fork of the helper that serves one request and exits.
#pragma once
#include <lxc/lxccontainer.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "helper/lxc_protocol.hpp"
#include "helper/protocol.hpp"

namespace incus::helper::lxc {

struct Settings {
  std::string host_id, directory;
  bool auto_destroy = false, remove_directory = false;
};

/// Sends the failure and ends the worker.
[[noreturn]] void refuse(int reply, const std::string &text);
[[noreturn]] void refuse_errno(int reply, int err, const std::string &text);
void send_reply(int reply, std::uint32_t op, std::vector<std::string> args = {}, std::vector<int> fds = {});
inline int pidfd_open(int pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

/// The requests; each runs in a worker, which exits when it returns.
void do_start(int reply, const std::vector<std::string> &args);
void do_query(int reply, const std::vector<std::string> &args);
void do_exec(int reply, const std::vector<std::string> &args, const std::vector<int> &fds);
void do_console(int reply, const std::vector<std::string> &args);
void do_disks(int reply, const std::vector<std::string> &args, const std::vector<int> &fds);
void do_validate(int reply, const std::vector<std::string> &args);
void do_warm();

/// Reply of a running container: state, pids, pidfds, a netlink socket of its network namespace.
bool reply_running(int reply, lxc_container *c, const std::string &state);

/// What a start puts together before liblxc runs.
struct Stage {
  struct Mount {
    std::string source, name;
    bool recursive = false, shift = false, optional = false, read_only = false;
  };
  std::vector<std::string> map;
  std::string lower, upper, work, bind;
  bool overlay = false, idmapped = false;
  std::vector<Mount> mounts;
};
/// In a mount namespace of the worker's own, which the monitor keeps; an error as text or "".
std::string put_together(const Stage &stage);

/// A copy of a mount, attached nowhere; follows no link at its end.
int open_tree_clone(const char *path, bool recursive);
/// Owners as `userns` (-1: none) maps them, and read-only on request.
int set_idmap(int tree, int userns, bool recursive, bool read_only);
/// Host id of the guest's root; `kind` is 'u' or 'g'.
bool mapped_root(const std::vector<std::string> &map, char kind, unsigned &id);
/// All permitted ones take effect: a change of the file system ids takes some away.
bool raise_capabilities();

/// Kills and removes everything of this host id; then the directory, when asked and marked.
void destroy_all(const Settings &settings);

} // namespace incus::helper::lxc
