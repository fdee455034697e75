// SPDX-License-Identifier: Apache-2.0
// The mechanisms of test://: a runtime and storage drivers in memory. Policy, records and errors are those of the embedding door.
#pragma once
#include <memory>
#include <span>

#include <incus/host.hpp>

#include "instance/runtime.hpp"
#include "storage/driver.hpp"

namespace incus::mock {

/// A runtime that keeps power states in memory and answers exec by registered handlers only.
class Runtime : public instance::Runtime {
public:
  virtual void on_exec(const std::string &instance, TestExecHandler handler) = 0;
};
std::unique_ptr<Runtime> make_runtime();

/// Drivers "dir" and "overlay" that keep volumes in memory; each open() call shares nothing with another pool.
std::span<const storage::DriverInfo *const> drivers() noexcept;

} // namespace incus::mock
