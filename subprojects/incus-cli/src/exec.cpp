// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <csignal>
#include <thread>
#include <unistd.h>

#include "exec.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

sigset_t forwarded() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGCONT}) sigaddset(&set, s);
  return set;
}

} // namespace

// Blocked before the library starts threads, so that none of them takes a signal that is meant for the command.
SignalPump::SignalPump() : set_(forwarded()) { pthread_sigmask(SIG_BLOCK, &set_, nullptr); }

void SignalPump::start(incus::ExecSession &session, bool pty, bool pass_on) {
  std::thread([this, &session, pty, pass_on] {
    for (;;) {
      int number = 0;
      if (sigwait(&set_, &number) != 0) continue;
      if (over_) return;
      try {
        if (number == SIGWINCH) {
          auto [width, height] = terminal_size(1);
          if (pty && width > 0) session.resize(width, height);
        } else if (pass_on) {
          session.signal(number);
        } else if (number == SIGTERM || number == SIGHUP || number == SIGINT || number == SIGQUIT) {
          session.close();
        }
      } catch (const incus::Error &) {
        // The command has ended meanwhile.
      }
    }
  }).detach();
}

void leave(Server &server, int code) {
  // Threads of the library may still read this program's input; at the far end everything is over.
  if (server.host().uri().rfind("embed:", 0) != 0 && server.host().uri().rfind("test:", 0) != 0) _exit(code);
}

namespace {

std::string refusal(Server &server, const std::string &operation) {
  try {
    return str(server.get(url({"operations", operation})), "err");
  } catch (const incus::Error &) {
    return {}; // forgotten already
  }
}

int run(Context &c) {
  if (c.flag("force-interactive") && c.flag("force-noninteractive")) fail("You can't pass -t and -T at the same time");
  auto mode = c.text("mode");
  if (mode != "auto" && (c.flag("force-interactive") || c.flag("force-noninteractive"))) fail("You can't pass -t or -T at the same time as --mode");
  auto t = c.target(c.args[0]);
  incus::ExecRequest request;
  request.command.assign(c.args.begin() + 1, c.args.end());
  if (auto *term = getenv("TERM")) request.environment["TERM"] = term;
  for (auto &e : c.list("env")) {
    auto equals = e.find('=');
    request.environment[e.substr(0, equals)] = equals == std::string::npos ? "" : e.substr(equals + 1);
  }
  for (auto *id : {"user", "group"})
    if (c.number(id) < 0 || c.number(id) > 0xffffffffLL) fail("invalid argument \"{}\" for \"--{}\" flag", c.text(id), id);
  request.user = static_cast<std::uint32_t>(c.number("user"));
  request.group = static_cast<std::uint32_t>(c.number("group"));
  request.cwd = c.text("cwd");
  bool in = is_terminal(0), out = is_terminal(1);
  if (c.flag("disable-stdin"))
    request.interactive = false;
  else if (mode == "interactive" || c.flag("force-interactive"))
    request.interactive = true;
  else if (mode == "non-interactive" || c.flag("force-noninteractive"))
    request.interactive = false;
  else
    request.interactive = in && out;
  if (out) std::tie(request.width, request.height) = terminal_size(1);
  SignalPump signals;
  auto &host = t.server->host();
  auto instance = host.instance(t.name, t.server->project().empty() ? "default" : t.server->project());
  incus::ExecIo io{c.flag("disable-stdin") ? -1 : 0, 1, request.interactive ? -1 : 2};
  int code = 0;
  std::string failure;
  {
    std::optional<RawMode> raw;
    if (request.interactive && in) raw.emplace();
    auto session = instance.exec_session(request, io);
    signals.start(session, request.interactive, true);
    try {
      code = session.wait();
      // Why it was not run, when the server says so.
      if (code == 126 || code == 127) failure = refusal(*t.server, session.operation().id());
    } catch (const incus::Error &e) {
      // A command that could not be run has an exit code all the same.
      auto metadata = metadata_of(session.operation().info());
      if (at(metadata, "return").is_null()) throw;
      code = static_cast<int>(num(metadata, "return"));
      failure = e.what();
    }
    signals.stop();
  }
  if (!failure.empty()) print_error("Error: " + failure + "\n");
  leave(*t.server, code);
  return code;
}

} // namespace

Command exec_command() {
  Command c;
  c.names = "exec";
  c.usage = "[<remote>:]<instance> [flags] [--] <command line>";
  c.brief = "Execute commands in instances";
  c.details = R"(The command is run as it stands, without a shell. For variables, patterns and redirections name the shell:
  incus exec c1 -- sh -c "cd /tmp && pwd"

It gets a terminal when both standard input and standard output are one; its exit code is ours.)";
  c.least = 2;
  c.most = -1;
  c.run = run;
  c.flags = {{Flag::list, "env", 0, "", "Environment variable to set (e.g. HOME=/home/foo)"},
             {Flag::text, "mode", 0, "auto", "Override the terminal mode (auto, interactive or non-interactive)"},
             {Flag::toggle, "force-interactive", 't', "", "Force pseudo-terminal allocation"},
             {Flag::toggle, "force-noninteractive", 'T', "", "Disable pseudo-terminal allocation"},
             {Flag::toggle, "disable-stdin", 'n', "", "Disable stdin (reads from /dev/null)"},
             {Flag::number, "user", 0, "0", "User ID to run the command as"},
             {Flag::number, "group", 0, "0", "Group ID to run the command as"},
             {Flag::text, "cwd", 0, "", "Directory to run the command in (default /root)"}};
  c.examples = R"(incus exec c1 bash
incus exec c1 -- ls -lh /
incus exec c1 --user 1000 --cwd /srv --env LANG=C.UTF-8 -- make)";
  return c;
}

} // namespace cli
