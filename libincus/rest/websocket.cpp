// SPDX-License-Identifier: Apache-2.0
#include "rest/websocket.hpp"

#include <boost/asio/post.hpp>

namespace incus::rest {

namespace {
constexpr std::size_t piece = 32768;
constexpr std::size_t most_text = 1 << 20;
} // namespace

Socket::Socket(Stream stream, std::shared_ptr<void> keep) : next_(std::move(stream)), keep_(std::move(keep)) {
  boost::beast::websocket::stream_base::timeout t{};
  t.handshake_timeout = std::chrono::seconds(5); // also of closing
  t.idle_timeout = boost::beast::websocket::stream_base::none();
  t.keep_alive_pings = false;
  next_.set_option(t);
  next_.read_message_max(0);
  next_.auto_fragment(false);
  next_.write_buffer_bytes(4096);
}

Socket::~Socket() = default;

void Socket::accept(Request request, std::function<void(boost::system::error_code)> then) {
  opening_ = true;
  auto asked = std::make_shared<Request>(std::move(request));
  next_.async_accept(*asked, [self = shared_from_this(), asked, then = std::move(then)](boost::system::error_code ec) {
    self->opening_ = false;
    if (self->dropped_ && !ec) ec = boost::asio::error::operation_aborted;
    if (ec) self->drop();
    then(ec);
    if (!self->writing_) self->write_next();
  });
}

void Socket::read(Message message, std::function<void()> gone) {
  message_ = std::move(message);
  gone_ = std::move(gone);
  read_next();
}

void Socket::resume() {
  if (!paused_) return;
  paused_ = false;
  read_next();
}

void Socket::read_next() {
  if (reading_ || dropped_ || !message_) return;
  reading_ = true;
  next_.async_read_some(buffer_, piece, [self = shared_from_this()](boost::system::error_code ec, std::size_t) {
    self->reading_ = false;
    if (ec) {
      self->drop();
      return;
    }
    auto data = self->buffer_.cdata();
    std::string_view view(static_cast<const char *>(data.data()), data.size());
    if (self->next_.got_text() && !self->next_.is_message_done()) {
      if (view.size() > most_text) return self->drop();
      return self->read_next();
    }
    // An empty piece of binary data says nothing; an empty text does.
    if (self->message_ && (!view.empty() || self->next_.got_text())) self->message_(view, self->next_.got_text());
    self->buffer_.consume(view.size());
    if (!self->paused_) self->read_next();
  });
}

void Socket::send(std::string data, bool text, std::function<void()> then) {
  if (closed()) {
    // Also when it cannot be sent, so that who waits goes on to find out.
    if (then) boost::asio::post(executor(), std::move(then));
    return;
  }
  unsent_ += data.size();
  out_.push_back({std::move(data), text, std::move(then)});
  if (!writing_) write_next();
}

void Socket::write_next() {
  // The end of the opening resets the locks of the stream's operations: none may be under way by then.
  if (opening_) return;
  if (out_.empty() || dropped_) {
    if (closing_ && !close_sent_ && !dropped_) {
      close_sent_ = true;
      next_.async_close(boost::beast::websocket::close_reason(code_), [self = shared_from_this()](boost::system::error_code) { self->drop(); });
    }
    return;
  }
  writing_ = true;
  next_.text(out_.front().text);
  next_.async_write(boost::asio::buffer(out_.front().data), [self = shared_from_this()](boost::system::error_code ec, std::size_t) {
    self->writing_ = false;
    auto done = std::move(self->out_.front());
    self->out_.pop_front();
    self->unsent_ -= done.data.size();
    if (ec) self->drop();
    if (done.then) done.then();
    if (!self->writing_) self->write_next();
  });
}

void Socket::close(std::uint16_t code) {
  if (closing_ || dropped_) return;
  closing_ = true;
  code_ = code;
  if (!writing_) write_next();
}

void Socket::drop() {
  if (dropped_) return;
  dropped_ = true;
  next_.next_layer().close();
  auto gone = std::exchange(gone_, {});
  // What they hold may be this socket; not while one of them runs.
  boost::asio::post(executor(), [self = shared_from_this(), gone] {
    if (gone) gone();
    self->message_ = {};
    // The one on its way belongs to the socket until that says so.
    std::deque<Out> waiting;
    for (; self->out_.size() > (self->writing_ ? 1U : 0U); self->out_.pop_back()) waiting.push_front(std::move(self->out_.back()));
    for (auto &o : waiting) {
      self->unsent_ -= o.data.size();
      if (o.then) o.then();
    }
  });
}

} // namespace incus::rest
