// SPDX-License-Identifier: Apache-2.0
#include "rest/upload.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/url/parse_query.hpp>
#include <boost/json.hpp>
#include <boost/url/encoding_opts.hpp>
#include <boost/url/params_encoded_view.hpp>
#include <boost/url/params_view.hpp>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::rest {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
using boost::system::error_code;

namespace {
constexpr std::size_t piece = 128 << 10;
constexpr auto body_patience = std::chrono::seconds(60);

bool is_json(const Head &head) {
  auto t = head.header("content-type");
  return t.empty() || t.starts_with("application/json") || t.starts_with("text/json");
}

std::vector<std::pair<std::string, std::string>> pairs(const std::string &query) {
  std::vector<std::pair<std::string, std::string>> out;
  auto v = boost::urls::parse_query(query);
  if (!v) base::fail(ErrorCode::invalid_argument, "invalid header: {} is no list of key=value", base::quoted(query));
  boost::urls::encoding_opts plus;
  plus.space_as_plus = true;
  for (auto p : *v) {
    std::pair<std::string, std::string> kv;
    kv.first = p.key.decode(plus);
    kv.second = p.value.decode(plus);
    if (!kv.first.empty()) out.push_back(std::move(kv));
  }
  return out;
}
/// Rows that make something of a backup instead of a description.
bool is_backup(const api::Row &row) { return row.id == api::RowId::instances_post || row.id == api::RowId::pool_volumes_post || row.id == api::RowId::pool_volumes_type_post; }
} // namespace

json::object image_headers(const Head &head) {
  json::object o;
  if (auto v = head.header("x-incus-filename"); !v.empty()) o["filename"] = v;
  auto yes = head.header("x-incus-public");
  o["public"] = yes == "true" || yes == "1" || yes == "yes" || yes == "on";
  json::object properties;
  for (auto &[k, v] : pairs(head.header("x-incus-properties"))) properties[k] = v;
  if (!properties.empty()) o["properties"] = std::move(properties);
  json::array aliases, profiles;
  for (auto &[k, v] : pairs(head.header("x-incus-aliases")))
    if (k == "alias") aliases.emplace_back(v);
  for (auto &[k, v] : pairs(head.header("x-incus-profiles")))
    if (k == "profile") profiles.emplace_back(v);
  if (!aliases.empty()) o["aliases"] = std::move(aliases);
  if (!profiles.empty()) o["profiles"] = std::move(profiles);
  return o;
}

bool Upload::takes(const api::Row &row, const Head &head) {
  if (row.id == api::RowId::images_post) return !is_json(head);
  if (is_backup(row)) return head.header("content-type") == "application/octet-stream";
  return row.id == api::RowId::instance_files_post || row.id == api::RowId::instance_templates_post;
}

Upload::Upload(Connection &c) : c_(c) {}

void Upload::start() {
  parser_.emplace(std::move(*c_.head_parser_));
  c_.head_parser_.reset();
  parser_->body_limit(boost::none);
  buffer_.resize(piece);
  // Beast reads as much at a time as this buffer has room for: after a short head that would be some hundred bytes.
  c_.buffer_.reserve(c_.buffer_.size() + piece);
  auto &request = c_.routed_.request;
  if (c_.routed_.row->id == api::RowId::images_post) {
    if (!request.may_use(request.project())) {
      // Nobody fills the disk with what will not be taken.
      api::Request ask;
      ask.query = request.query;
      ask.headers = request.headers;
      ask.caller = request.caller;
      c_.server_.session->perform(api::RowId::images_post, std::move(ask));
    }
    request.body = image_headers(c_.head_);
    if (auto b = Multipart::boundary(c_.head_.header("content-type")); !b.empty())
      multipart_.emplace(b, Multipart::Handlers{[this](const Multipart::Part &p) { open_part(p.name); }, [this](std::string_view d) { write(d); }, [] {}});
    else
      open_part("image");
  } else if (is_backup(*c_.routed_.row)) {
    files_.push_back({"body", c_.server_.spool()});
  } else {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) base::fail_errno(errno, "cannot make a socket pair for the request's body");
    base::Fd ours(pair[0]), theirs(pair[1]);
    // Never read by us until the body is whole: if we close before, the reader gets an error and not an end.
    if (::send(theirs.get(), "", 1, MSG_NOSIGNAL) < 0) base::fail_errno(errno, "cannot use a socket pair for the request's body");
    ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
    ours_ = std::make_shared<asio::posix::basic_stream_descriptor<asio::any_io_executor>>(c_.strand_, ours.release());
    request.streams.push_back({"body", std::move(theirs)});
    by_handler_ = true;
    c_.server_.workers->patient(Workers::Lane::stream, c_.share_, [c = c_.shared_from_this(), self = shared_from_this()] {
      std::shared_ptr<api::Reply> r;
      std::exception_ptr failed;
      try {
        r = std::make_shared<api::Reply>(c->server_.session->perform(c->routed_.row->id, std::move(c->routed_.request)));
      } catch (...) {
        failed = std::current_exception();
      }
      asio::post(c->strand_, [c, self, r, failed] { self->handler_done(r, failed); });
    });
  }
  if (c_.head_.header("expect") == "100-continue") {
    static const std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(c_.stream_, asio::buffer(go_on), [c = c_.shared_from_this(), self = shared_from_this()](error_code ec, std::size_t) {
      if (ec) return c->close();
      self->read();
    });
    return;
  }
  read();
}

void Upload::read() {
  if (finished_ || body_done_) return;
  if (parser_->is_done()) return took(0, true);
  auto &body = parser_->get().body();
  body.data = buffer_.data();
  body.size = buffer_.size();
  body.more = true;
  c_.deadline(body_patience);
  http::async_read_some(c_.stream_, c_.buffer_, *parser_, [c = c_.shared_from_this(), self = shared_from_this()](error_code ec, std::size_t) {
    c->deadline(std::chrono::seconds(0));
    if (self->finished_) return;
    if (ec == http::error::need_buffer) ec = {};
    // The client has gone, or what it sends is no HTTP: whoever reads the body is told by an error.
    if (ec) return self->ended_early(ec);
    try {
      self->took(self->buffer_.size() - self->parser_->get().body().size, self->parser_->is_done());
    } catch (const std::exception &e) {
      self->fail(e);
    }
  });
}

void Upload::ended_early(error_code ec) {
  ours_.reset();
  files_.clear();
  if (!malformed(ec)) {
    finished_ = true;
    return c_.close();
  }
  broken_ = std::make_exception_ptr(Error(ErrorCode::invalid_argument, "cannot read the request's body: " + ec.message()));
  // The handler is told by the end of what it reads; it still holds the request.
  if (!by_handler_ || handled_) refuse_broken();
}

void Upload::refuse_broken() {
  finished_ = true;
  c_.body_pending_ = true;
  try {
    std::rethrow_exception(broken_);
  } catch (const std::exception &e) {
    c_.refuse(e);
  }
}

void Upload::took(std::size_t size, bool last) {
  if (last) {
    body_done_ = true;
    c_.body_pending_ = false;
  }
  if (ours_ || handled_) return pass(size, last);
  // Files are written where a slow disk holds up this client alone.
  c_.server_.workers->quick(c_.share_, [c = c_.shared_from_this(), self = shared_from_this(), size, last] {
    std::exception_ptr failed;
    try {
      std::string_view data(self->buffer_.data(), size);
      if (self->multipart_)
        self->multipart_->feed(data);
      else
        self->write(data);
      if (last && self->multipart_) self->multipart_->finish();
    } catch (...) {
      failed = std::current_exception();
    }
    asio::post(c->strand_, [c, self, failed, last] {
      try {
        if (failed) std::rethrow_exception(failed);
        if (last)
          self->spooled();
        else
          self->read();
      } catch (const std::exception &e) {
        self->fail(e);
      }
    });
  });
}

void Upload::open_part(const std::string &role) {
  auto name = role == "rootfs.img" ? std::string("rootfs") : role;
  if (name != "image" && name != "metadata" && name != "rootfs")
    base::fail(ErrorCode::invalid_argument, "invalid upload: unknown part {}: an image has metadata and rootfs", base::quoted(role));
  for (auto &f : files_)
    if (f.role == name) base::fail(ErrorCode::invalid_argument, "invalid upload: part {} comes twice", base::quoted(name));
  files_.push_back({name, c_.server_.spool()});
}

void Upload::write(std::string_view data) {
  while (!data.empty()) {
    auto n = ::write(files_.back().fd.get(), data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot keep the upload");
    data.remove_prefix(static_cast<std::size_t>(n));
  }
}

void Upload::spooled() {
  finished_ = true;
  for (auto &f : files_) {
    ::lseek(f.fd.get(), 0, SEEK_SET);
    c_.routed_.request.streams.push_back(std::move(f));
  }
  files_.clear();
  // A part alone is a whole image, whatever it was called.
  auto &s = c_.routed_.request.streams;
  if (s.size() == 1 && s[0].role != "body") s[0].role = "image";
  c_.ask();
}

void Upload::pass(std::size_t size, bool last) {
  auto self = shared_from_this();
  auto c = c_.shared_from_this();
  auto then = [c, self, last, to = ours_](error_code ec, std::size_t) {
    if (self->finished_) return;
    if (last && self->ours_ && !ec) {
      char mark;
      [[maybe_unused]] auto n = ::read(self->ours_->native_handle(), &mark, 1);
      self->ours_.reset();
    }
    // The handler took no more; it tells why.
    if (ec) {
      self->ours_.reset();
      return self->finish();
    }
    if (last) return self->finish();
    self->read();
  };
  if (!ours_ || size == 0) return then({}, 0);
  asio::async_write(*ours_, asio::buffer(buffer_.data(), size), then);
}

void Upload::handler_done(std::shared_ptr<api::Reply> reply, std::exception_ptr failed) {
  reply_ = std::move(reply);
  failed_ = failed;
  handled_ = true;
  if (finished_) return;
  if (broken_) return refuse_broken();
  // What is still to come of the body is not wanted.
  if (!body_done_) {
    if (ours_) ours_->close();
    ours_.reset();
    error_code ignored;
    c_.body_pending_ = true;
    finished_ = true;
    c_.stream_.socket().cancel(ignored);
    if (!failed_) return c_.reply(std::move(*reply_));
    return finish();
  }
  finish();
}

void Upload::finish() {
  if (!handled_ || (finished_ && !failed_)) return;
  finished_ = true;
  try {
    if (failed_) std::rethrow_exception(failed_);
    c_.reply(std::move(*reply_));
  } catch (const std::exception &e) {
    c_.refuse(e);
  }
}

void Upload::fail(const std::exception &e) {
  finished_ = true;
  files_.clear();
  if (!body_done_) c_.body_pending_ = true;
  c_.refuse(e);
}

} // namespace incus::rest
