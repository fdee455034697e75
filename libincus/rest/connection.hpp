// SPDX-License-Identifier: Apache-2.0
// One client's connection: requests in, answers out, one after another. Everything of it runs on its strand.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <memory>

#include "rest/answer.hpp"
#include "rest/route.hpp"
#include "rest/server.hpp"
#include "rest/stream.hpp"
#include <array>

#include "rest/websocket.hpp"

namespace incus::rest {

class Upload;

/// What a client sent is no HTTP, in contrast to a client that has gone.
bool malformed(const boost::system::error_code &ec);

class Connection : public std::enable_shared_from_this<Connection> {
public:
  Connection(Server::Impl &server, Stream stream, std::shared_ptr<const api::Caller> caller, std::string address, bool metrics_only);
  ~Connection();
  void start();
  /// From any thread: ends now when it waits for a request, else after the answer; `hard`: at once.
  void finish(bool hard);

private:
  friend class Upload;
  using Clock = std::chrono::steady_clock;
  using Executor = boost::asio::any_io_executor;

  void handshake();
  void read_head();
  void on_head();
  void dispatch();
  void authorize();
  void read_json();
  void take_body(std::string body);
  void ask();
  void reply(api::Reply reply);
  void refuse(const std::exception &e);
  void send(Answer answer);
  void written(boost::system::error_code ec);
  void next();
  void linger();

  // What is not simply asked of the host: connection_special.cpp.
  bool special();
  void wait_operation();
  void show_operation();
  void shutdown();
  void operation_websocket();
  void events();
  void upgrade_raw();
  void exec(bool console);
  void upgrade(std::function<void(std::shared_ptr<Socket>)> then);

  // download.cpp
  void send_bodies(api::Reply reply);
  void send_next_body();
  void send_file();
  void send_pipe();
  void write_chunk(std::string data, std::function<void()> then);

  void deadline(std::chrono::seconds in);
  void watch();
  void close();
  std::shared_ptr<const api::Caller> caller();
  void cors(Answer &a);

  Server::Impl &server_;
  std::shared_ptr<Gate> gate_;
  Executor strand_;
  Stream stream_;
  std::shared_ptr<const api::Caller> local_caller_;
  std::string certificate_, address_;
  const bool metrics_only_;
  boost::beast::flat_buffer buffer_;
  boost::asio::steady_timer timer_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool watching_ = false, closed_ = false, idle_ = true, finishing_ = false, upgraded_ = false;

  using HeadParser = boost::beast::http::request_parser<boost::beast::http::empty_body>;
  std::optional<HeadParser> head_parser_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> json_parser_;
  bool body_pending_ = false; ///< the request's body has not been read
  Head head_;
  Routed routed_;
  std::string share_; ///< whose request it is, for the threads
  std::string out_head_;
  std::string out_body_;

  struct Bodies {
    api::Reply reply;
    std::size_t at = 0;
    std::int64_t left = -1;
    bool chunked = false;
    std::string boundary;
    std::unique_ptr<boost::asio::posix::basic_stream_descriptor<Executor>> pipe;
    std::string buffer;
  };
  std::unique_ptr<Bodies> bodies_;
  std::shared_ptr<Upload> upload_;
  std::weak_ptr<Socket> socket_;
  std::shared_ptr<std::function<void()>> waiting_; ///< answers a wait for an operation
  std::function<void()> relay_; ///< ends a stream that the connection became
  std::function<void()> after_; ///< once the answer has gone
};

} // namespace incus::rest
