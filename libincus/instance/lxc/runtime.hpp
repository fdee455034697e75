// SPDX-License-Identifier: Apache-2.0
// The runtime that runs containers by liblxc, through the helper program incus-lxc.
#pragma once
#include <memory>
#include <string>

#include "base/log.hpp"
#include "instance/runtime.hpp"

namespace incus::instance::lxc {

struct Options {
  std::string directory;        ///< the state directory; run/, logs/, security/ lie below it
  std::string host_id;          ///< short and unique to the state directory; part of cgroup names
  std::string helper;           ///< path of incus-lxc
  int lock_fd = -1;             ///< the state directory's lock, inherited by the helper, not by monitors; stays the caller's
  bool auto_destroy = false;    ///< the helper kills and cleans every instance when this process is gone
  bool remove_directory = false; ///< ... and then removes the state directory
  const base::Log *log = nullptr;
};

/// The helper is started at first need.
std::unique_ptr<Runtime> make_runtime(Options options);

} // namespace incus::instance::lxc
