// SPDX-License-Identifier: Apache-2.0
// start, stop, restart, pause and resume.
#include <future>

#include "create.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

json::object request_of(Context &c, const std::string &action, bool stateful) {
  return {{"action", action}, {"timeout", c.given("timeout") ? c.number("timeout") : -1}, {"force", c.flag("force")}, {"stateful", stateful}};
}

int act_on_all(Context &c, const std::string &action) {
  Strings remotes;
  if (c.args.empty()) remotes.push_back(c.settings.default_remote);
  for (auto &a : c.args) {
    auto [remote, name] = c.split(a);
    if (!name.empty()) fail("Both --all and instance name given");
    remotes.push_back(remote);
  }
  for (auto &r : remotes) {
    json::object body{{"state", request_of(c, action, c.flag("stateful"))}};
    c.server(r).finish("PUT", url({"instances"}), body);
  }
  return 0;
}

int act_on(Context &c, std::string action, const std::string &argument) {
  auto [remote, name] = c.split(argument);
  if (name.empty()) fail("Must supply instance name for: \"{}\"", argument);
  auto &server = c.server(remote);
  bool stateful = action == "stop" && c.flag("stateful");
  auto console = c.text("console");
  if (action == "stop" && c.flag("force") && !console.empty()) fail("--console can't be used while forcing instance shutdown");
  if (action == "start") {
    auto now = server.get(url({"instances", name}));
    if (str(now, "status") == "Frozen")
      action = "unfreeze";
    else
      stateful = truth(now, "stateful") && !c.flag("stateless");
  }
  auto op = server.start("PUT", url({"instances", name, "state"}), request_of(c, action, stateful));
  if (action == "stop" && !console.empty()) return attach_console(c, server, name, console);
  if (op) {
    try {
      wait_for(c, *op);
    } catch (const std::exception &e) {
      auto project = server.project().empty() || server.project() == "default" ? "" : " --project " + server.project();
      fail("{}\nTry `incus info --show-log {}:{}{}` for more info", e.what(), remote, name, project);
    }
  }
  if (!console.empty()) return attach_console(c, server, name, console);
  return 0;
}

int act(Context &c, const std::string &action) {
  if (c.flag("all")) return act_on_all(c, action);
  if (c.args.empty()) {
    print(help_text(c.command, c.path, false));
    return 0;
  }
  if (!c.text("console").empty() && c.args.size() != 1) fail("--console only works with a single instance");
  if (c.args.size() == 1) return act_on(c, action, c.args[0]);
  // All at once; every server is connected to before.
  for (auto &a : c.args) c.server(c.split(a).first).host();
  std::vector<std::future<std::string>> running;
  for (auto &a : c.args)
    running.push_back(std::async(std::launch::async, [&c, &action, a] {
      try {
        act_on(c, action, a);
      } catch (const std::exception &e) {
        return std::string(e.what());
      }
      return std::string();
    }));
  bool failed = false;
  for (std::size_t i = 0; i < running.size(); i++) {
    auto said = running[i].get();
    if (said.empty()) continue;
    failed = true;
    for (auto &line : split_text("error: " + said, '\n')) print_error(fmt::format("{}: {}\n", c.args[i], line));
  }
  if (failed) print_error("\n");
  if (failed) fail("Some instances failed to {}", std::string(c.command.name()));
  return 0;
}

Command verb(std::string_view names, std::string_view brief, Run run) {
  Command c;
  c.names = names;
  c.usage = "[<remote>:]<instance> [[<remote>:]<instance>...]";
  c.brief = brief;
  c.most = -1;
  c.run = run;
  c.flags = {{Flag::toggle, "all", 0, "", "Run against all instances"}};
  return c;
}
const Flag console_flag{Flag::text, "console", 0, "", "Immediately attach to the console", "console"};
void stopping(Command &c) {
  c.flags.push_back(console_flag);
  c.flags.push_back({Flag::toggle, "force", 'f', "", "Force the instance to stop"});
  c.flags.push_back({Flag::number, "timeout", 0, "-1", "Time to wait for the instance to shutdown cleanly"});
}

} // namespace

Command start_command() {
  auto c = verb("start", "Start instances", [](Context &x) { return act(x, "start"); });
  c.flags.push_back(console_flag);
  c.flags.push_back({Flag::toggle, "stateless", 0, "", "Ignore the instance state"});
  c.examples = "incus start c1\nincus start c1 c2\nincus start --all";
  return c;
}
Command stop_command() {
  auto c = verb("stop", "Stop instances", [](Context &x) { return act(x, "stop"); });
  stopping(c);
  c.flags.push_back({Flag::toggle, "stateful", 0, "", "Store the instance state"});
  c.examples = "incus stop c1\nincus stop c1 --force\nincus stop c1 --timeout 30";
  return c;
}
Command restart_command() {
  auto c = verb("restart", "Restart instances", [](Context &x) { return act(x, "restart"); });
  stopping(c);
  return c;
}
Command pause_command() {
  return verb("pause freeze", "Pause instances", [](Context &x) { return act(x, "freeze"); });
}
Command resume_command() {
  return verb("resume unfreeze", "Resume instances", [](Context &x) { return act(x, "unfreeze"); });
}

} // namespace cli
