// SPDX-License-Identifier: Apache-2.0
// A client's byte stream: a unix or TCP socket, or TLS over one. One type, so that what is built on it is compiled once.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>
#include <memory>

namespace incus::rest {

class Stream {
public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using Tls = boost::asio::ssl::stream<Socket>;
  using executor_type = boost::asio::any_io_executor;

  explicit Stream(Socket socket) : socket_(std::make_unique<Socket>(std::move(socket))) {}
  Stream(Socket socket, boost::asio::ssl::context &context) : tls_(std::make_unique<Tls>(std::move(socket), context)) {}

  executor_type get_executor() { return socket().get_executor(); }
  Socket &socket() { return tls_ ? tls_->next_layer() : *socket_; }
  Tls *tls() { return tls_.get(); }

  template <class Buffers, class Handler> auto async_read_some(const Buffers &b, Handler &&h) {
    return tls_ ? tls_->async_read_some(b, std::forward<Handler>(h)) : socket_->async_read_some(b, std::forward<Handler>(h));
  }
  template <class Buffers, class Handler> auto async_write_some(const Buffers &b, Handler &&h) {
    return tls_ ? tls_->async_write_some(b, std::forward<Handler>(h)) : socket_->async_write_some(b, std::forward<Handler>(h));
  }
  // Never used; the traits of synchronous streams ask for them.
  template <class Buffers> std::size_t read_some(const Buffers &b, boost::system::error_code &ec) {
    return tls_ ? tls_->read_some(b, ec) : socket_->read_some(b, ec);
  }
  template <class Buffers> std::size_t write_some(const Buffers &b, boost::system::error_code &ec) {
    return tls_ ? tls_->write_some(b, ec) : socket_->write_some(b, ec);
  }
  void close() {
    boost::system::error_code ignored;
    socket().shutdown(Socket::shutdown_both, ignored);
    socket().close(ignored);
  }

private:
  std::unique_ptr<Socket> socket_;
  std::unique_ptr<Tls> tls_;
};

// How the websocket layer ends a connection.
inline void beast_close_socket(Stream &s) { s.close(); }
inline void teardown(boost::beast::role_type, Stream &s, boost::system::error_code &ec) {
  ec = {};
  s.close();
}
template <class Handler> void async_teardown(boost::beast::role_type, Stream &s, Handler &&handler) {
  auto executor = s.get_executor();
  s.close();
  boost::asio::post(executor, [h = std::forward<Handler>(handler)]() mutable { h(boost::system::error_code()); });
}

} // namespace incus::rest
