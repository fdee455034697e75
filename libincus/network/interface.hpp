// SPDX-License-Identifier: Apache-2.0
// What the host has of network interfaces, seen from the network namespace of the calling thread.
#pragma once
#include <string>

namespace incus::network {

enum class Interface { missing, bridge, other };
/// What there is by that name: a bridge of the kernel, something else, or nothing.
Interface look_up(const std::string &name);

} // namespace incus::network
