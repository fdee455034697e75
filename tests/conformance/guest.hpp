// SPDX-License-Identifier: Apache-2.0
// What the guest's commands do, for hosts in memory: the same as busybox does on real ones.
#pragma once
#include <string>

#include <incus/host.hpp>

namespace suite::guest {

incus::ExecResult command(const std::string &instance, const incus::ExecRequest &request, const std::string &input);
/// Lets every sleep end.
void release();

} // namespace suite::guest
