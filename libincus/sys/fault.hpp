// SPDX-License-Identifier: Apache-2.0
// Every mutation of the host or the store passes a fault point before and after it. In the shipped library the
// function does nothing (fault_off.cpp); a test build links fault_on.cpp instead, which can kill owner, helper or
// both at the Nth point.
#pragma once

namespace incus::sys {

void fault_point(const char *what) noexcept;
/// Names the process group of the helper, for faults that kill it.
void fault_set_helper(int pgid) noexcept;

/// Points around a mutation: one when it is made, one when the scope is left.
struct FaultScope {
  explicit FaultScope(const char *what) noexcept : what_(what) { fault_point(what); }
  ~FaultScope() { fault_point(what_); }
  FaultScope(const FaultScope &) = delete;
  FaultScope &operator=(const FaultScope &) = delete;

private:
  const char *what_;
};

} // namespace incus::sys
