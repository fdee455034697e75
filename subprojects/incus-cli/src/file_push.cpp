// SPDX-License-Identifier: Apache-2.0
// push and pull.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "file.hpp"

namespace cli {

namespace {

struct stat status_of(const std::string &path) {
  struct stat s {};
  if (lstat(path.c_str(), &s) != 0) fail("stat {}: {}", path, strerror(errno));
  return s;
}
bool is_directory(const std::string &path) {
  struct stat s {};
  return stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

FileFacts facts_of(const struct stat &s) {
  FileFacts f;
  f.type = S_ISDIR(s.st_mode) ? "directory" : S_ISLNK(s.st_mode) ? "symlink" : "file";
  f.uid = s.st_uid;
  f.gid = s.st_gid;
  f.mode = static_cast<int>(s.st_mode & 07777);
  return f;
}

void push_one(Context &c, Files &files, const std::string &from, const std::string &to, const FileFacts &facts) {
  int fd = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open {}: {}", from, strerror(errno));
  struct stat s {};
  fstat(fd, &s);
  Progress progress(c, fmt::format("Pushing {} to {}: {{}}", from, to));
  std::atomic<bool> over{false};
  std::thread watch;
  // Small files are over before anybody could look.
  if (s.st_size > (4 << 20) && is_terminal(1) && !c.quiet())
    watch = std::thread([&] {
      while (!over) {
        progress.bytes(lseek(fd, 0, SEEK_CUR), s.st_size);
        usleep(100000);
      }
    });
  auto finish = [&] {
    over = true;
    if (watch.joinable()) watch.join();
    close(fd);
  };
  try {
    files.put(to, facts, fd);
  } catch (...) {
    finish();
    throw;
  }
  finish();
  progress.done();
}

void push_tree(Context &c, Files &files, const std::string &from, const std::string &to) {
  auto s = status_of(from);
  auto facts = facts_of(s);
  if (facts.type == "symlink") {
    std::string target(4096, 0);
    auto n = readlink(from.c_str(), target.data(), target.size());
    if (n < 0) fail("readlink {}: {}", from, strerror(errno));
    target.resize(static_cast<std::size_t>(n));
    return files.put_text(to, facts, target);
  }
  if (facts.type == "file") {
    if (!S_ISREG(s.st_mode)) fail("'{}' isn't a supported file type", from);
    return push_one(c, files, from, to, facts);
  }
  auto there = files.look(to);
  if (!there) files.put(to, facts, -1);
  Strings names;
  auto *d = opendir(from.c_str());
  if (!d) fail("open {}: {}", from, strerror(errno));
  while (auto *e = readdir(d))
    if (std::string_view(e->d_name) != "." && std::string_view(e->d_name) != "..") names.emplace_back(e->d_name);
  closedir(d);
  std::sort(names.begin(), names.end());
  for (auto &n : names) push_tree(c, files, from + "/" + n, to + "/" + n);
}

} // namespace

int file_push(Context &c) {
  auto r = remote_path(c, c.args.back());
  Strings sources(c.args.begin(), c.args.end() - 1);
  bool to_directory = r.path.ends_with("/") || r.path.ends_with("/.");
  auto target = clean_path(r.path);
  Files files(*r.target.server, r.instance);
  bool owner = c.given("uid") || c.given("gid") || !c.text("mode").empty();
  if (c.flag("recursive")) {
    if (owner) fail("Can't supply uid/gid/mode in recursive mode");
    if (c.flag("create-dirs")) files.make_directories(target, facts_of(status_of(sources[0])));
    for (auto &s : sources) {
      auto source = s;
      while (source.size() > 1 && source.back() == '/') source.pop_back();
      push_tree(c, files, source, (target == "/" ? "" : target) + "/" + name_of(source));
    }
    return 0;
  }
  if (!to_directory) {
    auto there = files.look(target);
    to_directory = there && there->facts.type == "directory";
    if (!to_directory && sources.size() > 1) fail("Missing target directory");
  }
  for (auto &s : sources) {
    FileFacts facts;
    bool input = s == "-";
    if (!input) {
      struct stat st {};
      if (stat(s.c_str(), &st) != 0) fail("stat {}: {}", s, strerror(errno));
      if (S_ISDIR(st.st_mode)) fail("'{}' is a directory: use -r to push it", s);
      facts = facts_of(st);
      facts.type = "file";
    }
    if (c.given("uid")) facts.uid = c.number("uid");
    if (c.given("gid")) facts.gid = c.number("gid");
    if (!c.text("mode").empty()) facts.mode = parse_mode(c.text("mode"));
    if (input && to_directory) fail("Target path must be a file when pushing from stdin");
    auto path = to_directory ? (target == "/" ? "" : target) + "/" + name_of(s) : target;
    if (c.flag("create-dirs")) {
      auto above = facts;
      above.mode = 0755;
      files.make_directories(parent_of(path), above);
    }
    push_one(c, files, input ? "/dev/stdin" : s, path, facts);
  }
  return 0;
}

namespace {

void write_file(Context &c, FoundFile &f, const std::string &from, const std::string &to) {
  int fd = to == "-" ? dup(1) : open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) {
    auto why = errno;
    if (f.fd >= 0) close(f.fd);
    fail("open {}: {}", to, strerror(why));
  }
  std::optional<Progress> progress;
  if (to != "-") progress.emplace(c, fmt::format("Pulling {} from {}: {{}}", to, from));
  if (f.fd >= 0) copy_stream(f.fd, fd, progress ? &*progress : nullptr, f.size);
  if (f.fd >= 0) close(f.fd);
  // Only the bits for reading, writing and running: a set-uid file of a guest must not become one of whoever pulls it.
  if (to != "-") fchmod(fd, static_cast<mode_t>(f.facts.mode) & 0777);
  if (close(fd) != 0) fail("Failed to write {}: {}", to, strerror(errno));
}

/// A name that a server sends must not lead out of the directory it is written into.
void check_entry(const std::string &name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
    fail("The server sent a file name that is none: \"{}\"", name);
}

void pull_tree(Context &c, Files &files, const std::string &from, const std::string &to) {
  auto f = files.get(from);
  if (f.facts.type == "symlink") {
    if (f.fd >= 0) close(f.fd);
    auto target = files.read_link(from);
    unlink(to.c_str());
    if (symlink(target.c_str(), to.c_str()) != 0) fail("symlink {}: {}", to, strerror(errno));
    return;
  }
  if (f.facts.type == "file") {
    // What stands there as a link is replaced, not followed.
    struct stat s {};
    if (lstat(to.c_str(), &s) == 0 && S_ISLNK(s.st_mode)) unlink(to.c_str());
    return write_file(c, f, from, to);
  }
  if (mkdir(to.c_str(), 0755) != 0 && errno != EEXIST) fail("mkdir {}: {}", to, strerror(errno));
  if (struct stat s{}; lstat(to.c_str(), &s) != 0 || !S_ISDIR(s.st_mode)) fail("{} is not a directory", to);
  for (auto &e : f.entries) {
    check_entry(e);
    pull_tree(c, files, (from == "/" ? "" : from) + "/" + e, to + "/" + e);
  }
  chmod(to.c_str(), (static_cast<mode_t>(f.facts.mode) & 0777) | S_IRWXU);
}

void make_local(const std::string &path) {
  std::string made;
  for (auto &part : split_text(path, '/')) {
    made += part + "/";
    if (made != "/" && mkdir(made.c_str(), 0755) != 0 && errno != EEXIST) fail("mkdir {}: {}", made, strerror(errno));
  }
}

} // namespace

int file_pull(Context &c) {
  auto target = c.args.back();
  Strings sources(c.args.begin(), c.args.end() - 1);
  bool directory = is_directory(target);
  if (target != "-" && !directory) {
    if (c.flag("create-dirs")) {
      bool wanted = target.ends_with("/") || sources.size() > 1 || c.flag("recursive");
      make_local(wanted ? target : target.find('/') == std::string::npos ? std::string(".") : parent_of(target));
      directory = wanted;
    } else if (target.ends_with("/") || sources.size() > 1) {
      fail("open {}: no such directory", target);
    }
  }
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  for (auto &s : sources) {
    auto r = remote_path(c, s);
    Files files(*r.target.server, r.instance);
    auto path = clean_path(r.path);
    if (c.flag("recursive")) {
      if (target == "-") fail("Can't pull a directory to standard output");
      if (!directory && !is_directory(target)) {
        if (mkdir(target.c_str(), 0755) != 0) fail("mkdir {}: {}", target, strerror(errno));
      }
      pull_tree(c, files, path, path == "/" ? target : target + "/" + name_of(path));
      continue;
    }
    auto f = files.get(path);
    for (int hops = 0; f.facts.type == "symlink"; hops++) {
      if (f.fd >= 0) close(f.fd);
      if (hops == 16) fail("Too many links in {}", path);
      auto next = files.read_link(path);
      path = clean_path(next.rfind('/', 0) == 0 ? next : parent_of(path) + "/" + next);
      f = files.get(path);
    }
    if (f.facts.type == "directory") fail("Can't pull a directory without --recursive");
    write_file(c, f, s, target == "-" ? target : directory ? target + "/" + name_of(clean_path(r.path)) : target);
  }
  return 0;
}

} // namespace cli
