// SPDX-License-Identifier: Apache-2.0
// The events of a server over one websocket, taken up again when it breaks.
#pragma once
#include <condition_variable>
#include <mutex>

#include "remote/client.hpp"
#include "remote/operation.hpp"

namespace boost::asio {
class io_context;
}

namespace incus::remote {

class WebSocket;

class EventStream : public std::enable_shared_from_this<EventStream> {
public:
  EventStream(ClientPtr client, std::vector<std::string> types);
  ~EventStream();
  std::function<void(const json::value &)> on_event;
  /// true: not for the first time; something may have been missed.
  std::function<void(bool again)> on_connected;
  /// Returns after stop(); from a thread of its own.
  void run();
  void stop();
  /// Waits for the first attempt to connect; throws its failure.
  void wait_connected();

private:
  /// true: try again at once.
  bool connect_and_read();
  void tried(std::optional<Error> failure);
  void read_next();
  std::string path() const;

  const ClientPtr client_;
  const std::vector<std::string> types_;
  bool all_projects_ = true;
  const std::unique_ptr<boost::asio::io_context> context_;
  std::shared_ptr<WebSocket> socket_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stopped_{false};
  bool tried_ = false, connected_before_ = false;
  std::optional<Error> failure_; ///< of the first attempt
};

std::shared_ptr<api::ListenerBackend> listen(const ClientPtr &client, const std::vector<std::string> &types, std::size_t capacity);

} // namespace incus::remote
