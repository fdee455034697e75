// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

int run(Context &c) {
  std::vector<Target> targets;
  for (auto &a : c.args) targets.push_back(c.target(a));
  Strings missing;
  for (auto &t : targets) {
    if (t.name.empty()) fail("Missing instance name");
    try {
      t.server->get(url({"instances", t.name}));
    } catch (const incus::Error &e) {
      missing.push_back(fmt::format("Failed checking instance exists \"{}:{}\": {}", t.remote, t.name, e.what()));
    }
  }
  if (!missing.empty()) throw Failure(join(missing, "\n"));
  for (auto &t : targets) {
    if (c.flag("interactive") && lower(ask(fmt::format("Remove {} (yes/no): ", t.name), "")) != "yes") fail("User aborted delete operation");
    auto now = t.server->get(url({"instances", t.name}));
    if (str(now, "status") != "Stopped" && num(now, "status_code") != 0) {
      if (!c.flag("force")) fail("The instance is currently running, stop it first or pass --force");
      json::object stop{{"action", "stop"}, {"timeout", -1}, {"force", true}};
      try {
        t.server->finish("PUT", url({"instances", t.name, "state"}), stop);
      } catch (const incus::Error &e) {
        fail("Stopping the instance failed: {}", e.what());
      }
      if (truth(now, "ephemeral")) continue;
    }
    try {
      t.server->finish("DELETE", url({"instances", t.name}));
    } catch (const incus::Error &e) {
      fail("Failed deleting instance \"{}\" in project \"{}\": {}", t.name, t.server->project().empty() ? "default" : t.server->project(), e.what());
    }
  }
  return 0;
}

} // namespace

Command delete_command() {
  Command c;
  c.names = "delete rm";
  c.usage = "[<remote>:]<instance> [[<remote>:]<instance>...]";
  c.brief = "Delete instances";
  c.least = 1;
  c.most = -1;
  c.run = run;
  c.flags = {{Flag::toggle, "force", 'f', "", "Force the removal of running instances"},
             {Flag::toggle, "interactive", 'i', "", "Require user confirmation"}};
  c.examples = "incus delete c1\nincus delete c1 c2 --force";
  return c;
}

} // namespace cli
