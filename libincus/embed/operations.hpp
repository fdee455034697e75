// SPDX-License-Identifier: Apache-2.0
// Operations of one Host: each runs on a thread of its own, tells listeners, and is remembered for a while after its end.
#pragma once
#include <boost/json.hpp>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/door.hpp"
#include "base/log.hpp"

namespace incus::embed {

class EventHub;
class Operations;

class TaskOperation final : public api::OperationBackend, public std::enable_shared_from_this<TaskOperation> {
public:
  OperationInfo info() override;
  bool wait(std::optional<std::chrono::milliseconds> timeout) override;
  void rethrow() override;
  void cancel() override;
  void control(const boost::json::value &message) override;
  bool on_end(std::function<void()> told) override;

  const std::string &project() const { return project_; }
  const std::string &kind() const { return info_.class_; } ///< "task", "websocket", "token"

  // For the task itself.
  void set_metadata(const std::string &key, boost::json::value value);
  void add_resource(const std::string &kind, const std::string &url);
  /// Throws Error(cancelled) once cancel was asked for.
  void check_cancelled();
  /// Reports bytes done; at most ten updates a second leave.
  void progress(const std::string &stage, std::uint64_t done, std::uint64_t total);
  std::function<void(const boost::json::value &)> on_control;
  std::function<void()> on_cancel;
  /// Both, once the operation runs.
  void set_handlers(std::function<void(const boost::json::value &)> control, std::function<void()> cancel);

private:
  friend class Operations;
  void publish();
  void finish(std::exception_ptr failure);

  std::mutex mutex_;
  std::condition_variable ended_;
  OperationInfo info_;
  std::string project_;
  boost::json::object metadata_;
  std::exception_ptr failure_;
  bool done_ = false;
  bool told_ = false; ///< the event of its end is sent: those who wait go on
  std::vector<std::function<void()>> to_tell_;
  std::atomic<bool> cancel_{false};
  std::chrono::steady_clock::time_point last_progress_{}, ended_at_{};
  EventHub *hub_ = nullptr;
  std::shared_ptr<const api::Caller> for_whom_;
};

struct OperationSpec {
  std::string description;   ///< "Creating instance"
  std::string class_ = "task";
  std::string project = "default";
  std::map<std::string, std::vector<std::string>> resources;
  bool may_cancel = false;
  boost::json::object metadata; ///< from the start on
};

class Operations {
public:
  using Body = std::function<void(TaskOperation &)>;
  Operations(EventHub &hub, const base::Log &log) : hub_(hub), log_(log) {}
  ~Operations() { close(); }
  std::shared_ptr<TaskOperation> start(OperationSpec spec, Body body);
  /// `setup` runs before the thread starts, so that control and cancel never miss their target.
  std::shared_ptr<TaskOperation> start(OperationSpec spec, const std::function<void(TaskOperation &)> &setup, Body body);
  /// One that no thread works on: it lasts until end(), which its on_cancel (set by `setup`) has to lead to.
  std::shared_ptr<TaskOperation> hold(OperationSpec spec, const std::function<void(TaskOperation &)> &setup);
  void end(const std::shared_ptr<TaskOperation> &op, std::exception_ptr failure = {}) { op->finish(failure); }
  /// Each with its project.
  std::vector<std::pair<OperationInfo, std::string>> list();
  std::vector<std::shared_ptr<TaskOperation>> all(); ///< oldest first
  std::shared_ptr<TaskOperation> find(const std::string &id); ///< throws not_found
  /// Cancels what can be cancelled, waits for the rest, starts nothing more.
  void close();

private:
  std::shared_ptr<TaskOperation> make(OperationSpec &spec);
  void prune();
  EventHub &hub_;
  const base::Log &log_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::map<std::string, std::shared_ptr<TaskOperation>> all_;
  int running_ = 0;
  bool closed_ = false;
};

} // namespace incus::embed
