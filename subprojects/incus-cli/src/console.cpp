// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

#include "create.hpp"
#include "exec.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

std::string read_bodies(incus::RawReply reply) {
  std::string all;
  for (auto &b : reply.bodies) {
    char buffer[65536];
    for (;;) {
      auto n = read(b.fd, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      all.append(buffer, static_cast<std::size_t>(n));
    }
    close(b.fd);
  }
  if (reply.bodies.empty()) {
    auto v = parse_json(reply.metadata, "the answer");
    if (v.is_string()) return std::string(v.get_string());
    return v.is_null() ? std::string() : reply.metadata;
  }
  return all;
}

int show_console_log(Server &server, const std::string &instance) {
  incus::RawCall call;
  call.method = "GET";
  call.path = url({"instances", instance, "console"});
  print(read_bodies(server.call(std::move(call))) + "\n");
  return 0;
}

namespace {

/// Standard input to the console until Ctrl-A q.
void type_in(int to, std::atomic<bool> &left, incus::ExecSession &session) {
  bool escape = false;
  char buffer[4096];
  for (;;) {
    auto n = read(0, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    std::string out;
    for (ssize_t i = 0; i < n; i++) {
      char k = buffer[i];
      if (escape && k == 'q') {
        left = true;
        break;
      }
      if (escape && k != 1) out += '\1';
      bool second = escape && k == 1;
      escape = k == 1 && !second;
      if (!escape) out += k;
    }
    for (std::size_t at = 0; at < out.size();) {
      auto w = write(to, out.data() + at, out.size() - at);
      if (w <= 0) break;
      at += static_cast<std::size_t>(w);
    }
    if (left) break;
  }
  close(to);
  if (left) {
    try {
      session.close();
    } catch (const incus::Error &) {
      // It has ended by itself.
    }
  }
}

} // namespace

int attach_console(Context &c, Server &server, const std::string &instance, const std::string &type) {
  if (type != "console") fail("Unknown console type \"{}\"", type);
  auto *signals = new SignalPump; // its thread may outlive this call
  auto [width, height] = terminal_size(0);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("No pipe for the console: {}", strerror(errno));
  incus::RawCall call;
  call.method = "POST";
  call.path = url({"instances", instance, "console"});
  bool force = c.flag("force") && c.command.is("console");
  call.body = json::serialize(json::object{{"width", width}, {"height", height}, {"type", "console"}, {"force", force}});
  call.streams = {{"stdin", ends[0]}, {"stdout", 1}};
  std::optional<RawMode> raw;
  if (is_terminal(0)) raw.emplace();
  auto reply = server.call(std::move(call));
  close(ends[0]);
  if (!reply.operation) fail("The server gave no console");
  print("To detach from the console, press: <ctrl>+a q\n\r");
  static std::atomic<bool> left{false};
  auto *session = new incus::ExecSession(*reply.operation); // the thread that reads the keyboard cannot be joined
  std::thread(type_in, ends[1], std::ref(left), std::ref(*session)).detach();
  signals->start(*session, true, false);
  std::string said;
  try {
    reply.operation->wait();
  } catch (const incus::Error &e) {
    if (!left) said = e.what();
  }
  signals->stop();
  raw.reset();
  if (left) print("\r\n");
  if (!said.empty()) fail("{}", said);
  leave(server, 0);
  return 0;
}

namespace {

int run(Context &c) {
  auto type = c.text("type");
  if (type != "console" && type != "vga") fail("Unknown output type \"{}\"", type);
  auto t = c.target(c.args[0]);
  if (c.flag("show-log")) {
    if (type != "console") fail("The --show-log flag is only supported for by 'console' output type");
    return show_console_log(*t.server, t.name);
  }
  return attach_console(c, *t.server, t.name, type);
}

} // namespace

Command console_command() {
  Command c;
  c.names = "console";
  c.usage = "[<remote>:]<instance>";
  c.brief = "Attach to instance consoles";
  c.details = "Ctrl-A q leaves the console; the instance goes on.";
  c.least = c.most = 1;
  c.run = run;
  c.flags = {{Flag::toggle, "force", 'f', "", "Forces a connection to the console, even if there is already an active session"},
             {Flag::toggle, "show-log", 0, "", "Retrieve the instance's console log"},
             {Flag::text, "type", 't', "console", "Type of connection to establish: 'console' for serial console, 'vga' for SPICE graphical output"}};
  c.examples = "incus console c1\nincus console c1 --show-log";
  return c;
}

} // namespace cli
