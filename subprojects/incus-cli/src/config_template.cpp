// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "create.hpp"
#include "object.hpp"

namespace cli {

namespace {

std::string path_of(const Target &t, const std::string &file = {}) {
  if (t.name.empty()) fail("Missing instance name");
  return url({"instances", t.name, "metadata", "templates"}) + (file.empty() ? "" : "?path=" + escape(file));
}

void write_template(const Target &t, const std::string &file, const std::string &text) {
  int fd = memfd_create("template", MFD_CLOEXEC);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || lseek(fd, 0, SEEK_SET) != 0)
    fail("No memory for the template: {}", strerror(errno));
  incus::RawCall call;
  call.method = "POST";
  call.path = path_of(t, file);
  call.headers["Content-Type"] = "application/octet-stream";
  call.streams = {{"body", fd}};
  try {
    t.server->call(std::move(call));
  } catch (...) {
    close(fd);
    throw;
  }
  close(fd);
}

std::string read_template(const Target &t, const std::string &file) {
  incus::RawCall call;
  call.method = "GET";
  call.path = path_of(t, file);
  return read_bodies(t.server->call(std::move(call)));
}

int create(Context &c) {
  auto text = piped_input().value_or("");
  write_template(c.target(c.args[0]), c.args[1], text);
  return 0;
}

int edit(Context &c) {
  auto t = c.target(c.args[0]);
  if (auto text = piped_input()) {
    write_template(t, c.args[1], *text);
    return 0;
  }
  edit_loop(read_template(t, c.args[1]), [&](const std::string &text) { write_template(t, c.args[1], text); });
  return 0;
}

int list(Context &c) {
  check_format(c.text("format"));
  auto t = c.target(c.args[0]);
  auto names = t.server->get(path_of(t));
  Rows rows;
  if (names.is_array())
    for (auto &n : names.get_array()) rows.push_back({std::string(n.as_string())});
  sort_rows(rows);
  show_table(c.text("format"), {"FILENAME"}, rows, names, "[s");
  return 0;
}

} // namespace

Command config_template_command() {
  Command c;
  c.names = "template";
  c.brief = "Manage instance file templates";
  c.children = {
      {"create",
       "[<remote>:]<instance> <template>",
       "Create new instance file templates",
       2,
       2,
       create,
       {},
       {},
       {},
       "incus config template create c1 hosts.tpl < hosts.tpl"},
      {"delete rm", "[<remote>:]<instance> <template>", "Delete instance file templates", 2, 2,
       [](Context &x) {
         auto t = x.target(x.args[0]);
         t.server->send("DELETE", path_of(t, x.args[1]));
         return 0;
       }},
      {"edit", "[<remote>:]<instance> <template>", "Edit instance file templates", 2, 2, edit},
      {"list ls", "[<remote>:]<instance>", "List instance file templates", 1, 1, list, {format_flag}},
      {"show", "[<remote>:]<instance> <template>", "Show content of instance file templates", 2, 2,
       [](Context &x) {
         print(read_template(x.target(x.args[0]), x.args[1]));
         return 0;
       }},
  };
  return c;
}

} // namespace cli
