// SPDX-License-Identifier: Apache-2.0
// Client side of websockets without showing Beast. All calls and handlers in the thread that runs the io_context.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "remote/target.hpp"

namespace boost::asio {
class io_context;
}

namespace incus::remote {

class WebSocket {
public:
  virtual ~WebSocket() = default;
  /// Connects (blocking), then shakes hands; `done` gets the failure.
  virtual void open(const std::string &path, std::function<void(std::optional<Error>)> done) = 0;
  /// One message; an empty `data` and false: the socket's end, clean or not.
  virtual void read(std::function<void(bool more, bool text, std::string data)> done) = 0;
  /// Messages leave in order; `done` is told whether it could be sent.
  virtual void write(bool text, std::string data, std::function<void(bool sent)> done) = 0;
  /// Closes at once; what waits is told so.
  virtual void abort() = 0;
};

std::shared_ptr<WebSocket> make_websocket(boost::asio::io_context &context, const Target &target);

} // namespace incus::remote
