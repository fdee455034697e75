// SPDX-License-Identifier: Apache-2.0
#include "remote/http.hpp"

#include <atomic>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/http.hpp>
#include <poll.h>
#include <sys/socket.h>

#include "remote/stream.hpp"

namespace incus::remote {

namespace {

namespace http = beast::http;

constexpr std::size_t head_limit = 64 * 1024;
constexpr std::size_t idle_connections = 16;

/// Every operation is asynchronous for Asio and run to its end by the calling thread: that gives timeouts and a way in for interrupt(), without
/// a thread of our own.
template <class Stream> class Wire final : public Connection {
public:
  template <class... A> explicit Wire(const Target &target, A &&...a) : target_(target), stream_(ioc_, std::forward<A>(a)...) {}

  void open() override {
    auto fd = dial(target_);
    {
      std::lock_guard lock(socket_mutex_);
      handle_ = fd.dup();
      adopt(lowest(), std::move(fd));
    }
    check_interrupted();
    if constexpr (std::is_same_v<Stream, Secure>) {
      prepare_handshake(stream_, target_);
      auto ec = run(target_.connect_timeout, [&](auto done) { stream_.async_handshake(net::ssl::stream_base::client, [done](error_code e) { done(e, 0); }); });
      if (ec) {
        check_interrupted();
        throw handshake_error(target_, ec);
      }
    }
  }

  Head exchange(const Outgoing &o, Patience patience) override {
    answered_ = false;
    write(o, patience);
    for (;;) {
      parser_.emplace();
      parser_->header_limit(head_limit);
      parser_->body_limit(boost::none);
      if (o.method == "HEAD") parser_->skip(true);
      parser_->get().body().data = nullptr;
      auto ec = run(patience, [&](auto done) { http::async_read_header(stream_, buffer_, *parser_, done); });
      if (ec) broken("read the answer of", ec);
      answered_ = true;
      // An interim answer comes before the real one.
      int status = parser_->get().result_int();
      if (status >= 200 || status == 101) break;
    }
    Head h;
    h.status = static_cast<int>(parser_->get().result_int());
    for (auto &f : parser_->get()) {
      std::string name(f.name_string());
      for (auto &c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      h.headers[name] = std::string(f.value());
    }
    if (auto n = parser_->content_length()) h.length = static_cast<std::int64_t>(*n);
    return h;
  }

  std::size_t read(char *to, std::size_t size, Patience patience) override {
    auto &body = parser_->get().body();
    for (;;) {
      if (parser_->is_done()) return 0;
      body.data = to;
      body.size = size;
      body.more = true;
      auto ec = run(patience, [&](auto done) { http::async_read_some(stream_, buffer_, *parser_, done); });
      if (ec == http::error::need_buffer) ec = {};
      if (ec) broken("read the answer of", ec);
      if (auto n = size - body.size) return n;
    }
  }

  bool reusable() override {
    if (interrupted_ || failed_ || !parser_ || !parser_->is_done() || !parser_->get().keep_alive() || !written_ || buffer_.size()) return false;
    // Readable without a request: closed by the server, or something that was not asked for.
    pollfd p{lowest().socket().native_handle(), POLLIN, 0};
    return ::poll(&p, 1, 0) == 0;
  }

  void interrupt() override {
    interrupted_ = true;
    // What waits for the socket then finds it at its end.
    std::lock_guard lock(socket_mutex_);
    if (handle_) ::shutdown(handle_.get(), SHUT_RDWR);
  }

  void tunnel(base::Fd socket) override {
    check_interrupted();
    failed_ = true; // never used for a call again
    lowest().expires_never();
    Plain local(ioc_);
    adopt(local, std::move(socket));
    std::vector<char> in(64 * 1024), out(64 * 1024);
    // What came together with the head of the answer goes first.
    std::string early = beast::buffers_to_string(buffer_.data());
    buffer_.consume(buffer_.size());
    if (!early.empty()) net::async_write(local, net::buffer(early), [](error_code, std::size_t) {});
    auto over = [&] {
      local.close();
      lowest().close();
    };
    auto carry = [&over](auto &self, auto &from, auto &to, std::vector<char> &buffer) -> void {
      from.async_read_some(net::buffer(buffer), [&self, &from, &to, &buffer, &over](error_code ec, std::size_t n) {
        if (ec) return over();
        net::async_write(to, net::buffer(buffer.data(), n), [&self, &from, &to, &buffer, &over](error_code e, std::size_t) {
          if (e) return over();
          self(self, from, to, buffer);
        });
      });
    };
    ioc_.restart();
    if (!early.empty()) ioc_.run();
    carry(carry, stream_, local, in);
    carry(carry, local, stream_, out);
    ioc_.restart();
    ioc_.run();
  }

private:
  Plain &lowest() { return beast::get_lowest_layer(stream_); }

  template <class F> error_code run(Patience patience, F start) {
    check_interrupted();
    if (patience)
      lowest().expires_after(*patience);
    else
      lowest().expires_never();
    error_code out = net::error::operation_aborted;
    start([this, &out](error_code ec, std::size_t n) {
      out = ec;
      moved_ = n;
    });
    ioc_.restart();
    ioc_.run();
    if (out && out != http::error::need_buffer) failed_ = true;
    return out;
  }

  void check_interrupted() {
    if (interrupted_) base::fail(ErrorCode::unavailable, "the call to {} was given up: the host is closed", base::quoted(target_.name()));
  }

  [[noreturn]] void broken(const char *what, const error_code &ec) {
    failed_ = true;
    check_interrupted();
    if (ec == beast::error::timeout) base::fail(ErrorCode::timeout, "cannot {} the server {}: it did not answer in time", what, base::quoted(target_.name()));
    if (ec == http::error::end_of_stream || ec == net::error::eof || ec == http::error::partial_message)
      base::fail(ErrorCode::unavailable, "cannot {} the server {}: it closed the connection early", what, base::quoted(target_.name()));
    base::fail(ErrorCode::unavailable, "cannot {} the server {}: {}", what, base::quoted(target_.name()), ec.message());
  }

  void write(const Outgoing &o, Patience patience) {
    written_ = false;
    http::request<http::buffer_body> q;
    q.version(11);
    q.method_string(o.method);
    q.target(o.target);
    q.set(http::field::host, target_.authority());
    q.set(http::field::user_agent, "libincus/" INCUS_VERSION);
    for (auto &[k, v] : o.headers) q.set(k, v);
    if (o.source && o.size < 0)
      q.chunked(true);
    else if (o.source)
      q.content_length(static_cast<std::uint64_t>(o.size));
    else if (!o.body.empty() || (o.method != "GET" && o.method != "HEAD"))
      q.content_length(o.body.size());
    auto &body = q.body();
    std::vector<char> piece;
    auto next = [&] {
      if (!o.source) {
        body = {const_cast<char *>(o.body.data()), o.body.size(), false};
        if (o.body.empty()) body.data = nullptr;
        return;
      }
      piece.resize(256 * 1024);
      auto n = o.source(piece.data(), piece.size());
      body = {n ? piece.data() : nullptr, n, n != 0};
    };
    next();
    http::request_serializer<http::buffer_body> out(q);
    for (;;) {
      auto ec = run(patience, [&](auto done) { http::async_write(stream_, out, done); });
      if (ec == http::error::need_buffer) {
        next();
        continue;
      }
      if (!ec) {
        written_ = true;
        return;
      }
      check_interrupted();
      // A server that refuses an upload answers and closes before it has read all: its answer says why.
      if (o.source && ec != beast::error::timeout) return;
      broken("send a request to", ec);
    }
  }

  const Target target_;
  net::io_context ioc_{1};
  Stream stream_;
  beast::flat_buffer buffer_{1 << 20};
  std::optional<http::response_parser<http::buffer_body>> parser_;
  std::size_t moved_ = 0;
  std::mutex socket_mutex_; ///< guards handle_
  base::Fd handle_;         ///< the socket again: interrupt() may come while the stream closes its own
  std::atomic<bool> interrupted_{false};
  bool failed_ = false, written_ = false, answered_ = false;
};


} // namespace

std::unique_ptr<Connection> make_connection(const Target &target) {
  if (!target.tls) return std::make_unique<Wire<Plain>>(target);
  auto context = borrowed_context(*target.tls);
  return std::make_unique<Wire<Secure>>(target, context);
}

Pool::Lease::~Lease() {
  if (connection_) pool_->give_back(std::move(connection_));
}

Pool::Lease Pool::take(bool fresh) {
  {
    std::lock_guard lock(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "the connection to {} is closed: open the host again", base::quoted(target_.name()));
    while (!fresh && !idle_.empty()) {
      auto c = std::move(idle_.back());
      idle_.pop_back();
      if (!c->reusable()) continue;
      busy_.insert(c.get());
      return Lease(*this, std::move(c), false);
    }
  }
  auto c = make_connection(target_);
  {
    std::lock_guard lock(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "the connection to {} is closed: open the host again", base::quoted(target_.name()));
    busy_.insert(c.get());
  }
  Lease lease(*this, std::move(c), true);
  lease->open();
  return lease;
}

void Pool::give_back(std::unique_ptr<Connection> c) {
  std::lock_guard lock(mutex_);
  busy_.erase(c.get());
  if (!closed_ && idle_.size() < idle_connections && c->reusable()) idle_.push_back(std::move(c));
}

void Pool::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  idle_.clear();
  for (auto *c : busy_) c->interrupt();
}

bool Pool::closed() {
  std::lock_guard lock(mutex_);
  return closed_;
}

} // namespace incus::remote
