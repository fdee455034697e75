// SPDX-License-Identifier: Apache-2.0
// The mechanisms of test://: a runtime and storage drivers in memory. Policy, records and errors are those of the embedding door.
#pragma once
#include <memory>
#include <span>

#include <incus/host.hpp>

#include "helper/files/vfs.hpp"
#include "instance/files.hpp"
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

/// A root file system in memory, with what a small system has.
std::shared_ptr<files::Vfs> make_tree(bool filled);
std::shared_ptr<files::Vfs> copy_tree(const std::shared_ptr<files::Vfs> &tree);

/// A role of the drivers here: the tree of a volume.
class Trees {
public:
  virtual ~Trees() = default;
  virtual std::shared_ptr<files::Vfs> tree(const storage::VolumeRef &vol) = 0;
};

/// File servers over such trees: the helper's own code in threads.
instance::FileServerMaker file_servers();

} // namespace incus::mock
