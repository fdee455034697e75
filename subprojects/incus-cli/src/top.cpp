// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <unistd.h>

#include "object.hpp"

namespace cli {

namespace {

int run(Context &c) {
  auto format = c.text("format");
  if (format != "table" && format != "compact") fail("Invalid value \"{}\" for flag \"--format\"", format);
  static const std::vector<Column<json::value>> known = {
      {'e', "PROJECT", [](auto &r) { return str(r, "project"); }},
      {'n', "INSTANCE NAME", [](auto &r) { return str(r, "name"); }},
      {'u', "CPU TIME(S)", [](auto &r) { return fmt::format("{:.2f}", static_cast<double>(num(at(at(r, "state"), "cpu"), "usage")) / 1e9); }},
      {'m', "MEMORY",
       [](auto &r) {
         auto n = num(at(at(r, "state"), "memory"), "usage");
         return n > 0 ? size_iec(n) : std::string();
       }},
      {'D', "DISK",
       [](auto &r) {
         std::int64_t n = 0;
         for (auto &d : object_at(at(r, "state"), "disk")) n += num(d.value(), "usage");
         return n > 0 ? size_iec(n) : std::string();
       }},
  };
  bool everywhere = c.flag("all-projects");
  auto columns = pick_columns(known, everywhere && !c.given("columns") ? "enumD" : c.text("columns"));
  auto &server = *c.target_at(0).server;
  auto delay = std::max<std::int64_t>(1, c.number("refresh"));
  bool tty = is_terminal(1);
  for (;;) {
    auto all = server.get(url({"instances"}) + "?recursion=2" + (everywhere ? "&all-projects=true" : ""));
    json::array running;
    for (auto &i : all.as_array())
      if (str(i, "status") == "Running" || str(i, "status") == "Frozen") running.push_back(i);
    std::stable_sort(running.begin(), running.end(),
                     [](auto &a, auto &b) { return num(at(at(a, "state"), "cpu"), "usage") > num(at(at(b, "state"), "cpu"), "usage"); });
    if (tty) print("\033[H\033[2J\033[3J");
    show_columns(format, columns, running, running, "[InstanceFull", false);
    if (!tty) return 0; // nobody watches
    say("Refreshed every {} s; Enter refreshes now, q and Enter ends\n", delay);
    pollfd p{0, POLLIN, 0};
    if (poll(&p, 1, static_cast<int>(delay * 1000)) > 0) {
      char line[64];
      auto n = read(0, line, sizeof line);
      if (n <= 0 || line[0] == 'q') return 0;
    }
  }
}

} // namespace

Command top_command() {
  Command c;
  c.names = "top";
  c.usage = "[<remote>:]";
  c.brief = "Display resource usage info per instance";
  c.most = 1;
  c.run = run;
  c.flags = {all_projects_flag,
             {Flag::text, "columns", 'c', "numD", "Columns"},
             {Flag::text, "format", 'f', "table", "Format (table|compact)"},
             {Flag::number, "refresh", 0, "10", "Configure the refresh delay in seconds"}};
  c.details = "Columns: D - Disk usage, e - Project, m - Memory usage, n - Instance name, u - CPU time (in seconds)";
  return c;
}

} // namespace cli
