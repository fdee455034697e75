// SPDX-License-Identifier: Apache-2.0
#include "sys/fault.hpp"

namespace incus::sys {
void fault_point(const char *) noexcept {}
} // namespace incus::sys
