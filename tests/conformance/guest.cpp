// SPDX-License-Identifier: Apache-2.0
#include "guest.hpp"

#include <condition_variable>
#include <mutex>

namespace suite::guest {

namespace {
std::mutex mutex;
std::condition_variable over;
bool is_over = false;
} // namespace

void release() {
  std::lock_guard lock(mutex);
  is_over = true;
  over.notify_all();
}

incus::ExecResult command(const std::string &instance, const incus::ExecRequest &r, const std::string &input) {
  std::string line;
  for (auto &a : r.command) line += (line.empty() ? "" : " ") + a;
  if (line == "true") return {0, "", ""};
  if (line == "false") return {1, "", ""};
  if (line == "cat") return {0, input, ""};
  if (line == "hostname") return {0, instance + "\n", ""};
  if (line == "pwd") return {0, (r.cwd.empty() ? r.user == 0 ? "/root" : "/" : r.cwd) + "\n", ""};
  if (line == "id -u") return {0, std::to_string(r.user) + "\n", ""};
  if (line == "id -g") return {0, std::to_string(r.group) + "\n", ""};
  if (line == "sh -c exit 7") return {7, "", ""};
  if (line == "sh -c kill -9 $$") return {137, "", ""};
  if (line == "sh -c echo out; echo err >&2; exit 3") return {3, "out\n", "err\n"};
  if (line == "/etc/passwd") return {126, "", ""};
  if (line == "no-such-command") return {127, "", ""};
  if (line == "head -c 1000000 /dev/zero") return {0, std::string(1000000, '\0'), ""};
  if (line == "tty") return r.interactive ? incus::ExecResult{0, "/dev/pts/0\r\n", ""} : incus::ExecResult{1, "not a tty\n", ""};
  if (r.command.front() == "echo") return {0, line.substr(std::min<std::size_t>(5, line.size())) + "\n", ""};
  if (line.starts_with("sh -c echo \"$")) {
    auto it = r.environment.find(line.substr(13, line.find('"', 13) - 13));
    return {0, (it == r.environment.end() ? "" : it->second) + "\n", ""};
  }
  if (r.command.front() == "sleep") {
    std::unique_lock lock(mutex);
    over.wait(lock, [] { return is_over; });
    return {0, "", ""};
  }
  return {127, "", "the guest in memory does not know: " + line + "\n"};
}

} // namespace suite::guest
