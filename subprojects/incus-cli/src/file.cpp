// SPDX-License-Identifier: Apache-2.0
// file create, delete and edit, and what all file verbs use.
#include "file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include "create.hpp"
#include "object.hpp"

namespace cli {

RemotePath remote_path(Context &c, const std::string &argument) {
  RemotePath r;
  r.target = c.target(argument);
  auto slash = r.target.name.find('/');
  if (slash == std::string::npos || slash == 0) fail("Invalid path {}", argument);
  r.instance = r.target.name.substr(0, slash);
  r.path = r.target.name.substr(slash);
  return r;
}

std::string clean_path(const std::string &path) {
  Strings parts;
  for (auto &p : split_text(path, '/')) {
    if (p.empty() || p == ".") continue;
    if (p == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    parts.push_back(p);
  }
  return "/" + join(parts, "/");
}
std::string parent_of(const std::string &path) {
  auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}
std::string name_of(const std::string &path) {
  auto clean = path;
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  return clean.substr(clean.rfind('/') + 1);
}
int parse_mode(const std::string &text) {
  char *end = nullptr;
  auto n = std::strtol(text.c_str(), &end, 8);
  if (text.empty() || *end || n < 0 || n > 07777) fail("strconv.ParseUint: parsing \"{}\": invalid syntax", text);
  return static_cast<int>(n);
}

std::string Files::url_of(const std::string &path) const { return url({"instances", instance_, "files"}) + "?path=" + escape(path); }

FoundFile Files::get(const std::string &path) {
  incus::RawCall call;
  call.method = "GET";
  call.path = url_of(path);
  auto reply = server_.call(std::move(call));
  FoundFile f;
  auto header = [&](const char *name) {
    auto it = reply.headers.find(name);
    return it == reply.headers.end() ? std::string() : it->second;
  };
  f.facts.type = header("x-incus-type").empty() ? "file" : header("x-incus-type");
  f.facts.uid = std::atoll(header("x-incus-uid").c_str());
  f.facts.gid = std::atoll(header("x-incus-gid").c_str());
  if (!header("x-incus-mode").empty()) f.facts.mode = static_cast<int>(std::strtol(header("x-incus-mode").c_str(), nullptr, 8)) & 07777;
  if (!reply.bodies.empty()) {
    f.fd = reply.bodies[0].fd;
    f.size = reply.bodies[0].size;
  } else {
    auto list = parse_json(reply.metadata, path);
    if (list.is_array())
      for (auto &e : list.get_array()) f.entries.emplace_back(e.as_string());
  }
  return f;
}

std::optional<FoundFile> Files::look(const std::string &path) {
  try {
    auto f = get(path);
    if (f.fd >= 0) close(f.fd);
    f.fd = -1;
    return f;
  } catch (const incus::Error &e) {
    if (e.code() != incus::ErrorCode::not_found) throw;
    return std::nullopt;
  }
}

std::string Files::read_link(const std::string &path) {
  auto f = get(path);
  std::string text;
  char buffer[4096];
  for (ssize_t n; f.fd >= 0 && (n = read(f.fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  if (f.fd >= 0) close(f.fd);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void Files::put(const std::string &path, const FileFacts &facts, int fd, bool overwrite) {
  incus::RawCall call;
  call.method = "POST";
  call.path = url_of(path);
  call.headers = {{"X-Incus-type", facts.type},
                  {"X-Incus-uid", fmt::format("{}", facts.uid)},
                  {"X-Incus-gid", fmt::format("{}", facts.gid)},
                  {"X-Incus-mode", fmt::format("{:04o}", facts.mode)},
                  {"X-Incus-write", overwrite ? "overwrite" : "append"},
                  {"Content-Type", "application/octet-stream"}};
  int none = -1;
  if (fd < 0) fd = none = memfd_create("empty", MFD_CLOEXEC);
  call.streams = {{"body", fd}};
  try {
    server_.call(std::move(call));
  } catch (...) {
    if (none >= 0) close(none);
    throw;
  }
  if (none >= 0) close(none);
}

void Files::put_text(const std::string &path, const FileFacts &facts, const std::string &text) {
  int fd = memfd_create("content", MFD_CLOEXEC);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || lseek(fd, 0, SEEK_SET) != 0)
    fail("No memory for the content: {}", strerror(errno));
  try {
    put(path, facts, fd);
  } catch (...) {
    close(fd);
    throw;
  }
  close(fd);
}

void Files::remove(const std::string &path) { server_.send("DELETE", url_of(path)); }

void Files::remove_all(const std::string &path) {
  auto f = look(path);
  if (!f) return;
  if (f->facts.type == "directory")
    for (auto &e : f->entries) remove_all(path + (path.ends_with("/") ? "" : "/") + e);
  remove(path);
}

void Files::make_directories(const std::string &path, const FileFacts &facts) {
  auto clean = clean_path(path);
  if (clean == "/") return;
  if (auto there = look(clean)) {
    if (there->facts.type == "file") fail("{} is not a directory", clean);
    return;
  }
  make_directories(parent_of(clean), facts);
  auto directory = facts;
  directory.type = "directory";
  put(clean, directory, -1);
}

namespace {

int create(Context &c) {
  auto type = c.text("type");
  if (type != "file" && type != "symlink" && type != "directory") fail("Invalid type \"{}\"", type);
  if (type == "symlink" && c.args.size() != 2) fail("Symlink target path can only be used for type \"symlink\"");
  if (type != "symlink" && c.args.size() > 1) fail("Symlink target path can only be used for type \"symlink\"");
  auto r = remote_path(c, c.args[0]);
  auto path = r.path;
  if (path.ends_with("/") && type != "directory") type = "directory";
  path = clean_path(path);
  Files files(*r.target.server, r.instance);
  FileFacts facts;
  facts.type = type;
  facts.mode = type == "directory" ? 0755 : 0644;
  if (!c.text("mode").empty()) facts.mode = parse_mode(c.text("mode"));
  facts.uid = c.given("uid") ? c.number("uid") : 0;
  facts.gid = c.given("gid") ? c.number("gid") : 0;
  if (c.flag("create-dirs")) {
    FileFacts above = facts;
    above.mode = 0755;
    files.make_directories(parent_of(path), above);
  }
  if (!c.flag("force") && files.look(path)) fail("{} already exists", path);
  if (c.flag("force") && type == "symlink") files.remove_all(path);
  if (type == "symlink")
    files.put_text(path, facts, c.args[1]);
  else
    files.put(path, facts, -1);
  return 0;
}

int erase(Context &c) {
  for (auto &a : c.args) {
    auto r = remote_path(c, a);
    Files files(*r.target.server, r.instance);
    auto path = clean_path(r.path);
    if (c.flag("force"))
      files.remove_all(path);
    else
      files.remove(path);
  }
  return 0;
}

int edit(Context &c) {
  auto r = remote_path(c, c.args[0]);
  Files files(*r.target.server, r.instance);
  auto path = clean_path(r.path);
  FileFacts facts;
  if (auto text = piped_input()) {
    if (auto now = files.look(path)) facts = now->facts;
    facts.type = "file";
    files.put_text(path, facts, *text);
    return 0;
  }
  auto now = files.get(path);
  if (now.facts.type != "file") fail("{} is not a regular file", path);
  std::string text;
  char buffer[65536];
  for (ssize_t n; now.fd >= 0 && (n = read(now.fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  if (now.fd >= 0) close(now.fd);
  auto name = name_of(path);
  auto dot = name.rfind('.');
  auto edited = edit_text(text, dot == std::string::npos ? ".txt" : name.substr(dot));
  if (edited != text) files.put_text(path, now.facts, edited);
  return 0;
}

} // namespace

Command file_command() {
  Command c;
  c.names = "file";
  c.brief = "Manage files in instances";
  const Flag dirs{Flag::toggle, "create-dirs", 'p', "", "Create any directories necessary"};
  const Flag recursive{Flag::toggle, "recursive", 'r', "", "Recursively transfer files"};
  const Flag uid{Flag::number, "uid", 0, "-1", "Set the file's uid"}, gid{Flag::number, "gid", 0, "-1", "Set the file's gid"};
  const Flag mode{Flag::text, "mode", 0, "", "Set the file's perms"};
  c.children = {
      {"create",
       "[<remote>:]<instance>/<path> [<symlink target path>]",
       "Create files and directories in instances",
       1,
       2,
       create,
       {dirs,
        {Flag::toggle, "force", 'f', "", "Force creating files or directories"},
        gid,
        uid,
        mode,
        {Flag::text, "type", 0, "file", "The type to create (file, symlink, or directory)"}},
       {},
       {},
       "incus file create c1/srv/data/ \nincus file create --type=symlink c1/etc/current /srv/data"},
      {"delete rm",
       "[<remote>:]<instance>/<path> [[<remote>:]<instance>/<path>...]",
       "Delete files in instances",
       1,
       -1,
       erase,
       {{Flag::toggle, "force", 'f', "", "Force deleting files, directories, and subdirectories"}}},
      {"edit", "[<remote>:]<instance>/<path>", "Edit files in instances", 1, 1, edit},
      {"pull",
       "[<remote>:]<instance>/<path> [[<remote>:]<instance>/<path>...] <target path>",
       "Pull files from instances",
       2,
       -1,
       file_pull,
       {dirs, recursive},
       {},
       {},
       "incus file pull c1/etc/hosts .\nincus file pull c1/etc/hosts -\n    to standard output\nincus file pull -r c1/var/log logs/"},
      {"push",
       "<source path>... [<remote>:]<instance>/<path>",
       "Push files into instances",
       2,
       -1,
       file_push,
       {recursive, dirs, uid, gid, mode},
       {},
       {},
       "incus file push hosts c1/etc/hosts --mode 0644 --uid 0\necho hello | incus file push - c1/root/hello\nincus file push -r site c1/srv/"},
  };
  return c;
}

} // namespace cli
