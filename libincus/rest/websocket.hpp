// SPDX-License-Identifier: Apache-2.0
// A websocket of a client, and the pumps between websockets and descriptors.
#pragma once
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <functional>
#include <memory>

#include "base/fd.hpp"
#include "rest/stream.hpp"

namespace incus::rest {

/// Everything runs on the connection's strand. Handlers are kept until close() or the end of the stream.
class Socket : public std::enable_shared_from_this<Socket> {
public:
  using Next = boost::beast::websocket::stream<Stream, false>;
  using Message = std::function<void(std::string_view data, bool text)>;
  explicit Socket(Stream stream, std::shared_ptr<void> keep);
  ~Socket();

  using Request = boost::beast::http::request<boost::beast::http::empty_body>;

  /// Answers the upgrade that `request` asks for. `then` comes once, with the error of an opening that failed or was dropped. A close()
  /// before that waits for the opening's end.
  void accept(Request request, std::function<void(boost::system::error_code)> then);
  boost::asio::any_io_executor executor() { return next_.get_executor(); }
  /// Reads one message after another; `pause` stops after one until resume(). `gone` comes once, when nothing more will come.
  void read(Message message, std::function<void()> gone);
  void pause() { paused_ = true; }
  void resume();
  /// Sends a message; `then` when the socket took it. Messages are sent in order.
  void send(std::string data, bool text, std::function<void()> then = {});
  /// Sends what waits, then ends the websocket properly; drops it when the client does not answer.
  void close(std::uint16_t code = 1000);
  void drop();
  bool closed() const { return closing_ || dropped_; }
  std::size_t unsent() const { return unsent_; }

private:
  void read_next();
  void write_next();
  struct Out {
    std::string data;
    bool text;
    std::function<void()> then;
  };
  Next next_;
  std::shared_ptr<void> keep_;
  boost::beast::flat_buffer buffer_;
  Message message_;
  std::function<void()> gone_;
  std::deque<Out> out_;
  std::size_t unsent_ = 0;
  std::uint16_t code_ = 1000;
  bool opening_ = false, paused_ = false, reading_ = false, writing_ = false, closing_ = false, close_sent_ = false, dropped_ = false;
};

} // namespace incus::rest
