// SPDX-License-Identifier: Apache-2.0
// A command on test://: a registered handler behind the same descriptors, signals and exit codes as a real command.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include <incus/host.hpp>

#include "instance/runtime.hpp"

namespace incus::mock {

class Command;

/// Owns the threads that handlers run in. A handler cannot be interrupted: when its command is killed, the command ends at once and what
/// the handler returns later is dropped; join() waits for handlers that are still at it.
class Commands {
public:
  ~Commands() { join(); }
  std::unique_ptr<instance::Exec> start(instance::ExecSpec spec, TestExecHandler handler);
  /// The instance stopped: its commands end as by SIGKILL.
  void kill_all(std::int64_t instance);
  void join();

private:
  struct Running {
    std::int64_t instance;
    std::weak_ptr<Command> command; ///< with its descriptors it goes when its thread and its session have
    std::shared_ptr<std::atomic<bool>> finished;
    std::thread thread;
  };
  std::mutex mutex_;
  std::vector<Running> running_;
};

} // namespace incus::mock
