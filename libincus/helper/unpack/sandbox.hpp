// SPDX-License-Identifier: Apache-2.0
// Where the work on hostile data happens: a mount tree of only the target, no network, few capabilities.
#pragma once
#include <string>

namespace incus::unpack {

/// Makes `directory` this process' root, everything else unreachable; -1: an empty one. Descriptors to other directories must be closed by
/// the caller. Unprivileged callers (unit tests) only may ask for the empty one, and then stay where they are.
/// With `tools` the root holds the host's programs read-only and the target at /target.
void enter(int directory, bool readonly, bool tools = false);

/// What of the capabilities stays.
enum class Keep { nothing, read, write };
void drop_privileges(Keep keep);

/// A thread that ends the process when the other end of the socket is closed. Start it last: namespaces and capabilities are a thread's own.
void die_with(int sock);

} // namespace incus::unpack
