// SPDX-License-Identifier: Apache-2.0
#include "helper/lxc/worker.hpp"

namespace incus::helper::lxc {

void do_console(int reply, const std::vector<std::string> &args) {
  if (args.empty()) refuse(reply, "malformed request");
  lxc_container *c = lxc_container_new(args[0].c_str(), lxc_path);
  if (!c) refuse(reply, "liblxc cannot make the container object");
  int number = 0, terminal = -1;
  // The monitor holds the pair for as long as this connection to it is open, whoever has it.
  int connection = c->console_getfd(c, &number, &terminal);
  if (connection < 0 || terminal < 0) refuse(reply, "the container's monitor does not give its console: another program may be attached to it");
  send_reply(reply, ok, {}, {connection, terminal});
}

} // namespace incus::helper::lxc
