// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

int run(Context &c) {
  say("Client version: {}\n", program_version);
  std::string version = "unreachable";
  try {
    auto remote = c.arg(0);
    if (!remote.empty() && remote.back() != ':') remote += ':';
    version = str(at(c.target(remote).server->info(), "environment"), "server_version");
  } catch (const std::exception &) {
    // That is what is printed.
  }
  say("Server version: {}\n", version);
  return 0;
}

} // namespace

Command version_command() {
  Command c;
  c.names = "version";
  c.usage = "[<remote>:]";
  c.brief = "Show local and remote versions";
  c.most = 1;
  c.run = run;
  return c;
}

} // namespace cli
