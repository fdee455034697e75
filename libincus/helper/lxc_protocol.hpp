// SPDX-License-Identifier: Apache-2.0
// What the engine asks of incus-lxc. Every request on the helper's socket carries its own reply socket as first descriptor; a
// reply that never comes shows as end of file. `taken` is the first reply to all but hello: a request whose end of file comes without it was
// never read, and may be sent again. Numbers travel as decimal text.
#pragma once
#include <cstdint>

namespace incus::helper::lxc {

/// Names of containers for liblxc: this is its path, the name is the host id, '-', the instance's id. Nothing of ours is kept there: it
/// names sockets, locks and the monitor's title. The container helper covers it with a private tmpfs to put roots and mount
/// sources together.
inline constexpr const char *lxc_path = "/run/lxc";
inline constexpr const char *staging = lxc_path;

enum Op : std::uint32_t {
  hello = 1,    ///< host id, directory, "1" to destroy at end of file, "1" to remove the directory then; fds: reply, pidfd of the owner
  start = 2,    ///< name, config file, then groups (see StartGroup)
  query = 3,    ///< name, old init pid that does not count (0: any), milliseconds to wait while it starts or reboots
  exec = 4,     ///< name, config file, uid, gid, cwd, interactive "1", width, height, count of argv, argv..., environment...; fds: reply[, in, out, err]
  validate = 5, ///< raw configuration
  console = 6,  ///< name; the reply's fds: connection to the monitor, which holds the console while it is open, and terminal
  disks = 8,    ///< init pid, then groups: "gone" TARGET; "come" DEVICE SOURCE TARGET RECURSIVE SHIFT READONLY FILE OPTIONAL ("1" or "0"); fds: reply, pidfd of init
  warm = 7,     ///< processes will be moved between control groups soon; answers nothing
};

/// After its first two arguments a start has groups, each a word and its arguments:
/// "map" LINE ("u HOSTID GUESTID COUNT" or "g ..."); "overlay" LOWER UPPER WORK IDMAPPED("1"); "bind" PATH IDMAPPED("1") (to the staged root);
/// "mount" SOURCE NAME RECURSIVE SHIFT OPTIONAL READONLY (staged under `staging`/NAME).
enum Reply : std::uint32_t {
  ok = 100,      ///< hello, validate, disks: nothing; start, query: state, init pid, monitor pid; fds: init pidfd, monitor pidfd, netlink socket. exec: pid; fds: pidfd[, pty]
  failed = 101,  ///< text
  exited = 102,  ///< exec: exit code
  taken = 103,   ///< the helper has read the request
};

} // namespace incus::helper::lxc
