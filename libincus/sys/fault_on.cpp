// SPDX-License-Identifier: Apache-2.0
// Test build only: INCUS_FAULT=WHO:N kills WHO ("owner", "helper" or "both") with SIGKILL at the Nth fault point that this
// process passes after fault_arm(); INCUS_FAULT_COUNT=FILE writes how many there were.
#include "sys/fault.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace incus::sys {

namespace {
std::atomic<long> seen{0};
std::atomic<bool> armed{false};
std::atomic<pid_t> helper{0};
} // namespace

void fault_set_helper(pid_t pid) noexcept { helper = pid; }
void fault_arm(bool on) noexcept {
  if (on) seen = 0;
  armed = on;
}
long fault_count() noexcept { return seen; }

void fault_point(const char *what) noexcept {
  if (!armed) return;
  long n = ++seen;
  const char *spec = std::getenv("INCUS_FAULT");
  if (!spec) return;
  const char *colon = std::strchr(spec, ':');
  if (!colon || std::atol(colon + 1) != n) return;
  if (std::getenv("INCUS_FAULT_VERBOSE")) std::fprintf(stderr, "fault %ld at %s\n", n, what);
  bool owner = std::strncmp(spec, "owner", 5) == 0, both = std::strncmp(spec, "both", 4) == 0;
  // The helper leads a process group of its own with all its workers.
  if (!owner && helper > 0) ::kill(-helper, SIGKILL);
  if (owner || both) ::kill(::getpid(), SIGKILL);
}

} // namespace incus::sys
