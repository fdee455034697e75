// SPDX-License-Identifier: Apache-2.0
// Children that never surface in the caller's wait(), and the sockets to them.
#pragma once
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"

namespace incus::sys {

/// Starts a program by argv as a grandchild (re-parented at once), with the given descriptors in place of 0..n and every other
/// closed, default signal handling, no controlling terminal, its own session and process group. Returns its pid and a pidfd. Does not use the
/// caller's signal state; safe in a multi-threaded process. Throws Error naming argv[0]. A caller that is process 1 of its pid
/// namespace or a child subreaper is whom orphans go to, so there alone the program can surface in wait().
struct Child {
  int pid = 0;
  base::Fd pidfd;
};
Child spawn(const std::vector<std::string> &argv, const std::vector<int> &fds, const std::vector<std::string> &env = {});

/// Polls a pidfd; false when `timeout` ran out.
bool wait_exit(int pidfd, std::optional<std::chrono::milliseconds> timeout);
void kill_pidfd(int pidfd, int signal) noexcept;

/// Runs a program by argv to its end without input; returns what it wrote to both of its outputs, its last newlines left out, at most 64 KiB. How it
/// ended cannot be told (it is nobody's child here): look at what it was to do. After `limit` it is killed, and an Error of code timeout thrown.
std::string output_of(const std::vector<std::string> &argv, std::chrono::milliseconds limit);

/// A connected pair of SOCK_SEQPACKET sockets, close-on-exec.
std::pair<base::Fd, base::Fd> seqpacket_pair();

} // namespace incus::sys
