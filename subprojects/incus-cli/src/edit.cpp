// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "output.hpp"
#include "server.hpp"

extern char **environ;

namespace cli {

namespace {

std::string read_all(const std::string &path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("Failed to read {}: {}", path, strerror(errno));
  std::string all;
  char buffer[65536];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(n));
  close(fd);
  return all;
}

std::string editor() {
  for (auto *name : {"VISUAL", "EDITOR"})
    if (auto *v = getenv(name); v && *v) return v;
  auto *path = getenv("PATH");
  for (auto *name : {"editor", "vi", "emacs", "nano"})
    for (auto &p : split_text(path ? path : "", ':'))
      if (access((p + "/" + name).c_str(), X_OK) == 0) return name;
  fail("No text editor found, please set the EDITOR environment variable");
}

struct Removed {
  std::string path;
  ~Removed() { unlink(path.c_str()); }
};

} // namespace

std::string edit_text(const std::string &text, const std::string &suffix) {
  auto *tmp = getenv("TMPDIR");
  std::string path = std::string(tmp && *tmp ? tmp : "/tmp") + "/incus_editor_XXXXXX" + suffix;
  int fd = mkostemps(path.data(), static_cast<int>(suffix.size()), O_CLOEXEC);
  if (fd < 0) fail("Failed to make a file to edit: {}", strerror(errno));
  Removed file{path};
  if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) fail("Failed to write {}", path);
  close(fd);
  Strings words;
  for (auto &w : split_text(editor(), ' '))
    if (!w.empty()) words.push_back(w);
  words.push_back(path);
  std::vector<char *> argv;
  for (auto &w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (int error = posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ))
    fail("Failed to run the editor {}: {}", words[0], strerror(error));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("exit status {}", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  return read_all(path);
}

void edit_loop(const std::string &text, const std::function<void(const std::string &)> &apply) {
  if (auto input = piped_input()) return apply(*input);
  auto now = edit_text(text);
  for (;;) {
    try {
      return apply(now);
    } catch (const Failure &e) {
      print_error(fmt::format("Config parsing error: {}\n", e.what()));
    } catch (const incus::Error &e) {
      print_error(fmt::format("Config parsing error: {}\n", e.what()));
    }
    ask("Press enter to open the editor again or ctrl+c to abort change\n", "");
    now = edit_text(now);
  }
}

} // namespace cli
