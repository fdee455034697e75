// SPDX-License-Identifier: Apache-2.0
/// \file
/// Events (REST: GET /1.0/events).
#pragma once
#include <incus/types.hpp>

namespace incus {
namespace api {
class ListenerBackend;
}
inline namespace v0 {

/// One event as the websocket of GET /1.0/events sends it.
struct Event {
  std::string type; ///< "lifecycle", "operation" or "logging"
  Time timestamp;
  Json metadata;    ///< lifecycle: {action, source, context}; operation: an OperationInfo
  std::string location;
  std::string project;
};

/// A subscription with a bounded queue. When the owner does not call next() often enough the queue overflows:
/// older events are dropped and overflowed() turns true until it is read; list again what you watch.
/// Thread-safe; move-only; closing (or destroying) it ends the subscription.
class INCUS_EXPORT EventListener {
public:
  explicit EventListener(std::shared_ptr<api::ListenerBackend> backend);
  ~EventListener();
  EventListener(EventListener &&) noexcept;
  EventListener &operator=(EventListener &&) noexcept;
  /// The next event, or nothing when `timeout` ran out or the listener or its host was closed.
  std::optional<Event> next(std::chrono::milliseconds timeout);
  /// Reads and clears the overflow mark.
  bool overflowed();
  void close();

private:
  std::shared_ptr<api::ListenerBackend> backend_;
};

} // namespace v0
} // namespace incus
