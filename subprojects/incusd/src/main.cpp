// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "daemon.hpp"

int main(int argc, char **argv) {
  incusd::Options o;
  std::string trace, ignored;
  int timeout = 0;
  bool force = false;

  CLI::App app("The Incus daemon: serves the containers in $INCUS_DIR (/var/lib/incus) to clients of the REST API.\n"
               "Started by the init system; signals: SIGTERM, SIGINT and SIGQUIT stop the daemon and leave instances running, SIGPWR stops them first.",
               "incusd");
  app.footer("Examples:\n  incusd --group incus-admin --logfile /var/log/incus/incusd.log\n  incusd waitready --timeout 60\n  incusd shutdown");
  app.set_version_flag("--version", INCUSD_VERSION, "Print the version");
  app.add_option("--group", o.group, "Group whose members may use the socket");
  app.add_option("--logfile", o.logfile, "Write log lines to this file too");
  app.add_flag("--syslog", o.syslog, "Write log lines to syslog too");
  app.add_option("--trace", trace, "Subsystems to log in full (accepted, has no effect)");
  app.add_flag("-d,--debug", o.debug, "Show all log lines");
  app.add_flag("-v,--verbose", o.verbose, "Show all log lines but those for debugging");
  app.add_flag("--transient", o.transient, "End when no client is connected and no instance runs");
  app.require_subcommand(0, 1);
  app.fallthrough();
  auto *wait = app.add_subcommand("waitready", "Wait until the daemon is ready");
  wait->add_option("-t,--timeout", timeout, "Seconds to wait at most (0: for ever)");
  auto *shutdown = app.add_subcommand("shutdown", "Stop all instances, then the daemon");
  shutdown->add_option("-t,--timeout", timeout, "Seconds to wait at most (0: for ever)");
  shutdown->add_flag("-f,--force", force, "Do not wait for running operations, kill instances");
  auto *activate = app.add_subcommand("activateifneeded", "Start the daemon by its socket, when instances or an address wait for it");
  auto *version = app.add_subcommand("version", "Print the version");

  // Init scripts pass an empty argument where an option is not set.
  std::vector<std::string> args;
  for (int i = argc - 1; i > 0; i--)
    if (*argv[i]) args.emplace_back(argv[i]);
  try {
    app.parse(args);
  } catch (const CLI::ParseError &e) {
    return app.exit(e);
  }
  try {
    if (*version) {
      fmt::print("{}\n", INCUSD_VERSION);
      return 0;
    }
    if (*wait) return incusd::wait_ready(timeout);
    if (*shutdown) return incusd::shut_down(force, timeout);
    if (*activate) return incusd::activate_if_needed(o.debug);
    if (::geteuid() != 0) {
      fmt::print(stderr, "Error: This must be run as root\n");
      return 1;
    }
    return incusd::run(o);
  } catch (const std::exception &e) {
    fmt::print(stderr, "Error: {}\n", e.what());
    return 1;
  }
}
