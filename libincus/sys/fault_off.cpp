// SPDX-License-Identifier: Apache-2.0
#include "sys/fault.hpp"

namespace incus::sys {
void fault_point(const char *) noexcept {}
void fault_set_helper(int) noexcept {}
} // namespace incus::sys
