// SPDX-License-Identifier: Apache-2.0
// A request's body of any size: an image goes to an unnamed file first (its parts to one each), what a row reads as it comes goes through a socket.
#pragma once
#include <boost/beast/http/buffer_body.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "rest/connection.hpp"
#include "rest/multipart.hpp"

namespace incus::rest {

/// Belongs to its connection, which every handler keeps.
class Upload : public std::enable_shared_from_this<Upload> {
public:
  static bool takes(const api::Row &row, const Head &head);
  explicit Upload(Connection &connection);
  void start();

private:
  using Body = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  void read();
  void took(std::size_t size, bool last);
  void spooled();
  void pass(std::size_t size, bool last);
  void handler_done(std::shared_ptr<api::Reply> reply, std::exception_ptr failed);
  void finish();
  void ended_early(boost::system::error_code ec);
  void refuse_broken();
  void fail(const std::exception &e);
  void open_part(const std::string &role);
  void write(std::string_view data);

  Connection &c_;
  std::optional<Body> parser_;
  std::vector<char> buffer_;
  std::optional<Multipart> multipart_;
  std::vector<api::Stream> files_;
  std::shared_ptr<boost::asio::posix::basic_stream_descriptor<boost::asio::any_io_executor>> ours_; ///< shared with a write that is going on
  bool by_handler_ = false; ///< who reads the body does so as it comes
  bool body_done_ = false, handled_ = false, finished_ = false;
  std::shared_ptr<api::Reply> reply_;
  std::exception_ptr failed_, broken_; ///< the handler's failure; what is wrong with the body itself
};

/// What the headers of an image upload say, as the record that a row reads.
api::json::object image_headers(const Head &head);

} // namespace incus::rest
