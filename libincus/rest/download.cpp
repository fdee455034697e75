// SPDX-License-Identifier: Apache-2.0
// Answers whose bytes come from descriptors.
#include <boost/asio/write.hpp>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "rest/connection.hpp"
#include "rest/upload.hpp"

namespace incus::rest {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {
constexpr auto body_patience = std::chrono::seconds(60);
constexpr std::size_t piece = 128 << 10;

/// Bytes left of a regular file; -1 for what has no size.
std::int64_t size_of(int fd) {
  struct stat st;
  if (::fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) return -1;
  auto at = ::lseek(fd, 0, SEEK_CUR);
  return std::max<std::int64_t>(0, st.st_size - std::max<std::int64_t>(0, at));
}

std::string quoted_parameter(const std::string &t) {
  std::string out = "\"";
  for (char c : t) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 32) out += c;
  }
  return out + "\"";
}

std::string part_head(const std::string &boundary, const api::Reply::Body &b) {
  return fmt::format("--{}\r\nContent-Disposition: form-data; name={}; filename={}\r\nContent-Type: {}\r\n\r\n", boundary, quoted_parameter(b.name),
                     quoted_parameter(b.filename.empty() ? b.name : b.filename), b.content_type);
}
} // namespace

void Connection::send_bodies(api::Reply r) {
  bodies_ = std::make_unique<Bodies>();
  auto &all = r.bodies;
  std::int64_t length = 0;
  for (auto &b : all) {
    if (b.size < 0) b.size = size_of(b.fd.get());
    length = b.size < 0 || length < 0 ? -1 : length + b.size;
  }
  Answer a;
  a.json = false;
  a.status = r.status ? r.status : 200;
  if (all.size() == 1) {
    a.headers["Content-Type"] = all[0].content_type;
    if (auto &name = all[0].filename.empty() ? all[0].name : all[0].filename; !name.empty())
      a.headers["Content-Disposition"] = "inline;filename=" + (name.find_first_of(" \";\\") == std::string::npos ? name : quoted_parameter(name));
  } else {
    bodies_->boundary = base::random_hex(30);
    a.headers["Content-Type"] = "multipart/form-data; boundary=" + bodies_->boundary;
    for (std::size_t i = 0; i < all.size(); i++)
      if (length >= 0) length += static_cast<std::int64_t>(part_head(bodies_->boundary, all[i]).size() + (i ? 2 : 0));
    if (length >= 0) length += static_cast<std::int64_t>(bodies_->boundary.size() + 8);
  }
  for (auto &[k, v] : r.headers) a.headers[k] = v;
  if (!r.etag.empty()) a.headers["ETag"] = "\"" + r.etag + "\"";
  cors(a);
  if (body_pending_ || finishing_) head_.keep_alive = false;
  bodies_->chunked = length < 0 && !head_.http_1_0;
  // Old clients know the end of what has no length by the end of the connection.
  if (length < 0 && head_.http_1_0) head_.keep_alive = false;
  out_head_ = head(a, length, head_.keep_alive, head_.http_1_0);
  bodies_->reply = std::move(r);
  deadline(body_patience);
  asio::async_write(stream_, asio::buffer(out_head_), [self = shared_from_this()](error_code ec, std::size_t) {
    if (ec || self->head_.method == "HEAD") {
      self->bodies_.reset();
      return self->written(ec);
    }
    self->send_next_body();
  });
}

void Connection::write_chunk(std::string data, std::function<void()> then) {
  if (data.empty()) return then();
  auto out = std::make_shared<std::string>(bodies_->chunked ? fmt::format("{:x}\r\n", data.size()) + data + "\r\n" : std::move(data));
  deadline_ = Clock::now() + body_patience;
  asio::async_write(stream_, asio::buffer(*out), [self = shared_from_this(), out, then = std::move(then)](error_code ec, std::size_t) {
    if (ec) {
      self->bodies_.reset();
      return self->written(ec);
    }
    then();
  });
}

void Connection::send_next_body() {
  auto &b = *bodies_;
  auto &all = b.reply.bodies;
  bool multi = !b.boundary.empty();
  b.pipe.reset();
  if (b.at == all.size()) {
    auto finish = [self = shared_from_this()] {
      bool chunked = self->bodies_->chunked;
      self->bodies_.reset();
      if (!chunked) return self->written({});
      static const std::string last = "0\r\n\r\n";
      asio::async_write(self->stream_, asio::buffer(last), [self](error_code ec, std::size_t) { self->written(ec); });
    };
    return write_chunk(multi ? "\r\n--" + b.boundary + "--\r\n" : "", finish);
  }
  auto &body = all[b.at];
  b.left = body.size;
  std::string lead = multi ? (b.at ? "\r\n" : "") + part_head(b.boundary, body) : "";
  write_chunk(std::move(lead), [self = shared_from_this()] {
    auto &now = *self->bodies_;
    auto &one = now.reply.bodies[now.at];
    if (size_of(one.fd.get()) >= 0) return self->send_file();
    ::fcntl(one.fd.get(), F_SETFL, ::fcntl(one.fd.get(), F_GETFL) | O_NONBLOCK);
    now.pipe = std::make_unique<asio::posix::basic_stream_descriptor<Executor>>(self->strand_, one.fd.release());
    self->send_pipe();
  });
}

/// A regular file: the kernel copies it to a plain socket.
void Connection::send_file() {
  auto &b = *bodies_;
  auto fd = b.reply.bodies[b.at].fd.get();
  auto failed = [&] {
    // The length was promised: the client sees that it is not whole.
    server_.log.warning("cannot read what {} gets: it ended early", address_);
    bodies_.reset();
    written(asio::error::eof);
  };
  if (stream_.tls() || b.chunked) {
    if (b.left == 0) {
      b.at++;
      return send_next_body();
    }
    std::string data(piece, '\0');
    auto want = b.left < 0 ? piece : std::min<std::size_t>(piece, static_cast<std::size_t>(b.left));
    auto n = ::read(fd, data.data(), want);
    if (n < 0 || (n == 0 && b.left > 0)) return failed();
    if (n == 0) {
      b.at++;
      return send_next_body();
    }
    data.resize(static_cast<std::size_t>(n));
    if (b.left > 0) b.left -= n;
    return write_chunk(std::move(data), [self = shared_from_this()] { self->send_file(); });
  }
  error_code ignored;
  stream_.socket().native_non_blocking(true, ignored);
  // Other clients have their turn between two pieces.
  if (b.left > 0) {
    auto n = ::sendfile(stream_.socket().native_handle(), fd, nullptr, std::min<std::size_t>(static_cast<std::size_t>(b.left), 4 << 20));
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      bodies_.reset();
      return written(asio::error::broken_pipe);
    }
    if (n == 0) return failed();
    if (n > 0) {
      b.left -= n;
      deadline_ = Clock::now() + body_patience;
    }
  }
  if (b.left <= 0) {
    b.at++;
    return send_next_body();
  }
  stream_.socket().async_wait(Stream::Socket::wait_write, [self = shared_from_this()](error_code ec) {
    if (ec || !self->bodies_) {
      self->bodies_.reset();
      return self->written(ec);
    }
    self->send_file();
  });
}

void Connection::send_pipe() {
  auto &b = *bodies_;
  if (b.left == 0) {
    b.at++;
    return send_next_body();
  }
  b.buffer.resize(piece);
  auto want = b.left < 0 ? piece : std::min<std::size_t>(piece, static_cast<std::size_t>(b.left));
  // Who writes may take its time; that the client is there shows when it comes.
  deadline(std::chrono::seconds(0));
  b.pipe->async_read_some(asio::buffer(b.buffer.data(), want), [self = shared_from_this()](error_code ec, std::size_t n) {
    if (!self->bodies_) return;
    auto &now = *self->bodies_;
    if (ec && ec != asio::error::eof) {
      self->bodies_.reset();
      return self->written(ec);
    }
    if (ec) {
      if (now.left > 0) {
        self->bodies_.reset();
        return self->written(ec);
      }
      now.at++;
      return self->send_next_body();
    }
    if (now.left > 0) now.left -= static_cast<std::int64_t>(n);
    self->deadline(body_patience);
    self->write_chunk(now.buffer.substr(0, n), [self] { self->send_pipe(); });
  });
}

} // namespace incus::rest
