// SPDX-License-Identifier: Apache-2.0
#include "remote/websocket.hpp"

#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <deque>

#include "api/convert.hpp"
#include "remote/stream.hpp"

namespace incus::remote {

namespace {

namespace websocket = beast::websocket;

constexpr std::size_t message_limit = 16u << 20;

template <class Stream> class Socket final : public WebSocket, public std::enable_shared_from_this<Socket<Stream>> {
public:
  template <class... A> Socket(net::io_context &context, const Target &target, A &&...a) : target_(target), ws_(context, std::forward<A>(a)...) {}

  void open(const std::string &path, std::function<void(std::optional<Error>)> done) override {
    auto fd = dial(target_);
    adopt(lowest(), std::move(fd));
    path_ = path;
    if constexpr (std::is_same_v<Stream, Secure>) {
      prepare_handshake(ws_.next_layer(), target_);
      lowest().expires_after(target_.connect_timeout);
      ws_.next_layer().async_handshake(net::ssl::stream_base::client, [self = this->shared_from_this(), done](error_code ec) {
        if (ec) return done(handshake_error(self->target_, ec));
        self->upgrade(done);
      });
    } else {
      upgrade(done);
    }
  }

  void read(std::function<void(bool, bool, std::string)> done) override {
    ws_.async_read(buffer_, [self = this->shared_from_this(), done](error_code ec, std::size_t) {
      if (ec) return done(false, false, {});
      auto data = beast::buffers_to_string(self->buffer_.data());
      self->buffer_.consume(self->buffer_.size());
      done(true, self->ws_.got_text(), std::move(data));
    });
  }

  void write(bool text, std::string data, std::function<void(bool)> done) override {
    if (aborted_) {
      if (done) done(false);
      return;
    }
    out_.push_back({text, std::move(data), std::move(done)});
    if (open_ && out_.size() == 1) next();
  }

  void abort() override {
    aborted_ = true;
    // Its timer would keep the context running.
    ws_.set_option(websocket::stream_base::timeout{websocket::stream_base::none(), websocket::stream_base::none(), false});
    lowest().close();
    // What was never begun has nobody else to tell its end.
    if (!open_) fail_writes();
  }

private:
  struct Item {
    bool text;
    std::string data;
    std::function<void(bool)> done;
  };

  Plain &lowest() { return beast::get_lowest_layer(ws_); }

  void upgrade(std::function<void(std::optional<Error>)> done) {
    // From here the websocket counts the time itself; pings find a peer that vanished.
    lowest().expires_never();
    ws_.set_option(websocket::stream_base::timeout{target_.connect_timeout, std::chrono::seconds(60), true});
    ws_.set_option(websocket::stream_base::decorator([](websocket::request_type &q) { q.set(beast::http::field::user_agent, "libincus/" INCUS_VERSION); }));
    ws_.read_message_max(message_limit);
    ws_.auto_fragment(false);
    ws_.async_handshake(response_, target_.authority(), path_, [self = this->shared_from_this(), done](error_code ec) {
      if (ec) return done(self->refusal(ec));
      self->open_ = true;
      if (!self->out_.empty()) self->next();
      done(std::nullopt);
    });
  }

  Error refusal(const error_code &ec) {
    int status = static_cast<int>(response_.result_int());
    if (ec == websocket::error::upgrade_declined && status >= 400) {
      auto text = fmt::format("status {}", status);
      try {
        auto v = api::parse_json(response_.body(), "the answer");
        text = std::string(v.at("error").as_string());
      } catch (const std::exception &) {
        // The status must do.
      }
      return Error(error_code_from(status), fmt::format("the server {} refuses a websocket: {}", base::quoted(target_.name()), text));
    }
    return Error(ec == beast::error::timeout ? ErrorCode::timeout : ErrorCode::unavailable,
                 fmt::format("cannot open a websocket to {}: {}", base::quoted(target_.name()), ec.message()));
  }

  void next() {
    auto &item = out_.front();
    ws_.text(item.text);
    ws_.async_write(net::buffer(item.data), [self = this->shared_from_this()](error_code ec, std::size_t) {
      if (ec) return self->fail_writes();
      auto done = std::move(self->out_.front().done);
      self->out_.pop_front();
      if (!self->out_.empty()) self->next();
      if (done) done(true);
    });
  }

  void fail_writes() {
    auto all = std::exchange(out_, {});
    for (auto &i : all)
      if (i.done) i.done(false);
  }

  const Target target_;
  std::string path_;
  websocket::stream<Stream> ws_;
  websocket::response_type response_;
  beast::flat_buffer buffer_{message_limit + 1};
  std::deque<Item> out_;
  bool open_ = false, aborted_ = false;
};

} // namespace

std::shared_ptr<WebSocket> make_websocket(net::io_context &context, const Target &target) {
  if (!target.tls) return std::make_shared<Socket<Plain>>(context, target);
  auto tls = borrowed_context(*target.tls);
  return std::make_shared<Socket<Secure>>(context, target, tls);
}

} // namespace incus::remote
