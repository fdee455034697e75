// SPDX-License-Identifier: Apache-2.0
// Events to listeners with bounded queues.
#pragma once
#include <boost/json/value.hpp>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "api/door.hpp"

namespace incus::embed {

/// For whom this thread works, from the begin to the end of its scope: told in lifecycle events as their requestor. Operations work for who began them.
class WorksFor {
public:
  using Who = std::shared_ptr<const api::Caller>;
  explicit WorksFor(Who who);
  ~WorksFor();
  WorksFor(const WorksFor &) = delete;
  WorksFor &operator=(const WorksFor &) = delete;
  static Who now();

private:
  Who before_;
};

class EventHub {
public:
  std::shared_ptr<api::ListenerBackend> listen(const std::vector<std::string> &types, std::size_t capacity);
  /// Does not serialise anything while nobody listens.
  void publish(const std::string &type, const std::string &project, const std::function<boost::json::value()> &metadata);
  /// action such as "instance-started", source such as "/1.0/instances/c1".
  void lifecycle(const std::string &action, const std::string &source, const std::string &project, boost::json::object context = {});
  void close();

private:
  class Listener;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Listener>> listeners_;
  bool closed_ = false;
};

} // namespace incus::embed
