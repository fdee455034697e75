// SPDX-License-Identifier: Apache-2.0
// A state directory: made, recognised, and held by one process.
#pragma once
#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "base/log.hpp"

namespace incus::embed {

class StateDirectory {
public:
  /// Makes or checks it and takes its lock. A process that died while it held it may have left helpers that still do: they are waited
  /// for, then killed. Throws as Host::open says; nothing is changed in a directory that is not ours.
  StateDirectory(const std::string &path, std::chrono::milliseconds takeover, const base::Log &log);
  const std::string &path() const { return path_; }
  /// Short and unique to the directory; part of cgroup names.
  const std::string &host_id() const { return host_id_; }
  int lock_fd() const { return lock_.get(); }

private:
  void take_lock(std::chrono::milliseconds takeover, const base::Log &log);
  std::string path_, host_id_;
  base::Fd dir_, lock_;
};

/// Path of a helper program: beside this library in a build tree, or where it was installed. INCUS_LIBEXEC names another directory.
std::string helper_path(const std::string &name);
/// Identifies the running kernel's life.
std::string boot_id();

} // namespace incus::embed
