// SPDX-License-Identifier: Apache-2.0
#include "rest/connection.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <openssl/bio.h>
#include <openssl/pem.h>

#include "api/access.hpp"
#include "api/convert.hpp"
#include "api/json_text.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "rest/upload.hpp"

namespace incus::rest {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {
constexpr std::uint32_t most_head = 64 << 10;
/// Nobody in particular has little to say.
constexpr std::uint64_t most_json = 16 << 20, most_json_unknown = 256 << 10;
constexpr std::size_t worth_gzip = 4096;
/// Between requests, for a request's head, for each next piece of a body or of an answer.
constexpr auto patience = std::chrono::seconds(30), body_patience = std::chrono::seconds(60);

std::string peer_certificate(Stream &stream) {
  if (!stream.tls()) return {};
  X509 *x = SSL_get1_peer_certificate(stream.tls()->native_handle());
  if (!x) return {};
  std::string pem;
  if (BIO *b = BIO_new(BIO_s_mem())) {
    char *data = nullptr;
    if (PEM_write_bio_X509(b, x))
      if (auto n = BIO_get_mem_data(b, &data); n > 0) pem.assign(data, static_cast<std::size_t>(n));
    BIO_free(b);
  }
  X509_free(x);
  return pem;
}

/// What keeps a row waiting. Reading answers soon (nullopt). What changes something, or asks a guest, a disk (how much is used is counted) or the clock, may
/// not: it must not take the place of others.
std::optional<Workers::Lane> waits_for(const api::Row &row, const api::Request &q) {
  using Lane = Workers::Lane;
  switch (row.id) {
  case api::RowId::instance_get:
    return q.recursion() == 0 ? std::nullopt : std::optional(Lane::guest);
  case api::RowId::instance_files_get:
  case api::RowId::instance_files_head:
  case api::RowId::instance_files_delete:
  case api::RowId::instance_ready_get:
  case api::RowId::instance_templates_get:
  case api::RowId::instance_state_get:
  case api::RowId::snapshots_get:
  case api::RowId::snapshot_get:
  case api::RowId::volume_state_get:
  case api::RowId::metrics_get:
  case api::RowId::resources_get:
  case api::RowId::check_get:
    return Lane::guest;
  default:
    return row.method == std::string_view("GET") ? std::nullopt : std::optional(Lane::change);
  }
}

bool lists_word(std::string_view list, std::string_view word) {
  auto at = list.find(word);
  return at != std::string_view::npos && (at + word.size() == list.size() || list[at + word.size()] == ',' || list[at + word.size()] == ';' || list[at + word.size()] == ' ');
}
} // namespace

bool malformed(const error_code &ec) {
  return ec.category() == http::make_error_code(http::error::body_limit).category() && ec != http::error::partial_message && ec != http::error::end_of_stream;
}

Connection::Connection(Server::Impl &server, Stream stream, std::shared_ptr<const api::Caller> caller, std::string address, bool metrics_only)
    : server_(server), gate_(server.gate), strand_(stream.get_executor()), stream_(std::move(stream)), local_caller_(std::move(caller)),
      address_(std::move(address)), metrics_only_(metrics_only), timer_(strand_) {}

Connection::~Connection() { server_.connection_ended(this); }

void Connection::start() {
  asio::dispatch(strand_, [self = shared_from_this()] {
    self->deadline(patience);
    if (self->stream_.tls())
      self->handshake();
    else
      self->read_head();
  });
}

void Connection::handshake() {
  stream_.tls()->async_handshake(asio::ssl::stream_base::server, [self = shared_from_this()](error_code ec) {
    if (ec) {
      self->server_.log.debug("TLS with {}: {}", self->address_, ec.message());
      return self->close();
    }
    self->certificate_ = peer_certificate(self->stream_);
    self->read_head();
  });
}

void Connection::deadline(std::chrono::seconds in) {
  deadline_ = in.count() ? Clock::now() + in : Clock::time_point::max();
  if (!watching_ && in.count()) watch();
}

/// One timer, set again only when it ran out: a request more costs no timer.
void Connection::watch() {
  if (closed_ || deadline_ == Clock::time_point::max()) {
    watching_ = false;
    return;
  }
  watching_ = true;
  timer_.expires_at(deadline_);
  timer_.async_wait([weak = weak_from_this()](error_code ec) {
    auto self = weak.lock();
    if (!self || ec) return;
    if (Clock::now() >= self->deadline_) return self->close();
    self->watch();
  });
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  deadline_ = Clock::time_point::max();
  timer_.cancel();
  waiting_.reset();
  if (!upgraded_) stream_.close();
}

void Connection::finish(bool hard) {
  gate_->post(strand_, [self = shared_from_this(), hard] {
    self->finishing_ = true;
    if (self->relay_) return self->relay_();
    if (auto s = self->socket_.lock()) {
      if (hard)
        s->drop();
      else
        s->close(1001);
    } else if (hard || self->idle_) {
      self->close();
    }
  });
}

std::shared_ptr<const api::Caller> Connection::caller() {
  return local_caller_ ? local_caller_ : server_.identify(certificate_, address_);
}

void Connection::read_head() {
  if (closed_) return;
  if (finishing_) return close();
  idle_ = true;
  head_parser_.emplace();
  head_parser_->header_limit(most_head);
  head_parser_->body_limit(boost::none);
  deadline(patience);
  http::async_read_header(stream_, buffer_, *head_parser_, [self = shared_from_this()](error_code ec, std::size_t) {
    if (!ec) return self->on_head();
    if (ec == http::error::end_of_stream || ec == asio::error::eof || ec == asio::error::connection_reset || ec == asio::error::operation_aborted ||
        self->buffer_.size() == 0 || ec.category() == asio::error::get_ssl_category())
      return self->close();
    self->head_ = {};
    self->head_.keep_alive = false;
    self->routed_ = {};
    bool long_head = ec == http::error::header_limit || ec == http::error::buffer_overflow;
    self->send(failure(long_head ? 431 : 400, fmt::format("cannot read the request: {}", ec.message())));
  });
}

void Connection::on_head() {
  idle_ = false;
  auto &m = head_parser_->get();
  head_ = {};
  head_.method = std::string(m.method_string());
  head_.target = std::string(m.target());
  head_.http_1_0 = m.version() < 11;
  head_.keep_alive = m.keep_alive();
  for (auto &f : m) {
    std::string name(f.name_string());
    for (auto &c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    auto [it, fresh] = head_.headers.emplace(std::move(name), std::string(f.value()));
    if (!fresh) it->second += (it->first == "x-incus-properties" || it->first == "x-incus-aliases" || it->first == "x-incus-profiles" ? "&" : ", ") + std::string(f.value());
  }
  body_pending_ = !head_parser_->is_done();
  deadline(std::chrono::seconds(0));
  try {
    dispatch();
  } catch (const std::exception &e) {
    refuse(e);
  }
}

void Connection::dispatch() {
  if (head_.method == "OPTIONS") {
    Answer a;
    a.json = false;
    return send(std::move(a));
  }
  auto who = caller();
  routed_ = {};
  routed_ = route(head_);
  // A host behind a door of its own does not know who asks: to it everybody is this server.
  if (server_.foreign && !who->is_admin()) base::fail(ErrorCode::forbidden, "not authorized: this server passes on what administrators ask for, and nothing else");
  auto &row = *routed_.row;
  routed_.request.caller = who;
  share_ = share_of(who.get());
  if (metrics_only_ && row.id != api::RowId::server_get && row.id != api::RowId::metrics_get && row.id != api::RowId::root_get)
    base::fail(ErrorCode::not_found, "Not Found: this listener serves metrics");
  {
    std::shared_ptr<const Server::Impl::Headers> cors_rules;
    {
      std::lock_guard lock(server_.mutex);
      cors_rules = server_.cors;
    }
    check_origin(head_, cors_rules ? cors_rules->origin : "");
  }
  // Who is nobody in particular may ask to be refused instead of getting the public view.
  if (!who->is_trusted() && who->kind != api::Caller::Kind::metrics && !head_.header("x-incus-authenticated").empty())
    base::fail(ErrorCode::forbidden, "not authorized");
  authorize();
  if (server_.is_going_down && head_.method != "GET" && head_.method != "HEAD" && !std::string_view(row.path).starts_with("/internal") &&
      !std::string_view(row.path).starts_with("/1.0/operations") && row.id != api::RowId::server_put && row.id != api::RowId::server_patch)
    base::fail(ErrorCode::unavailable, "the server is shutting down");
  if (special()) return;
  if (Upload::takes(row, head_)) {
    upload_ = std::make_shared<Upload>(*this);
    return upload_->start();
  }
  if (body_pending_) return read_json();
  take_body({});
}

void Connection::read_json() {
  json_parser_.emplace(std::move(*head_parser_));
  head_parser_.reset();
  auto most = routed_.request.from_trusted() ? most_json : most_json_unknown;
  json_parser_->body_limit(most);
  auto too_large = [self = shared_from_this(), most] { self->send(failure(413, fmt::format("the request's body is larger than {} bytes", most))); };
  if (auto n = json_parser_->content_length(); n && *n > most) return too_large();
  deadline(body_patience);
  auto read = [self = shared_from_this(), too_large] {
    http::async_read(self->stream_, self->buffer_, *self->json_parser_, [self, too_large](error_code ec, std::size_t) {
      self->deadline(std::chrono::seconds(0));
      if (ec == http::error::body_limit) return too_large();
      if (ec) {
        if (malformed(ec)) return self->send(failure(400, "cannot read the request's body: " + ec.message()));
        return self->close();
      }
      self->body_pending_ = false;
      auto body = std::move(self->json_parser_->get().body());
      self->json_parser_.reset();
      try {
        self->take_body(std::move(body));
      } catch (const std::exception &e) {
        self->refuse(e);
      }
    });
  };
  if (head_.header("expect") != "100-continue") return read();
  static const std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(stream_, asio::buffer(go_on), [self = shared_from_this(), read](error_code ec, std::size_t) {
    if (ec) return self->close();
    read();
  });
}

/// The gate. The host is asked whether metrics are for all only where that matters.
void Connection::authorize() {
  auto &who = *routed_.request.caller;
  bool asks = routed_.row->access == api::Access::metrics && !who.is_trusted() && who.kind != api::Caller::Kind::metrics;
  api::authorize(*routed_.row, routed_.request, asks && server_.trust->open_metrics());
}

void Connection::take_body(std::string body) {
  if (!body.empty()) routed_.request.body = api::parse_json(body, "the request's body");
  auto id = routed_.row->id;
  // Rows that read the body may be named by it; the rest of the gate is asked again with it.
  if (!body.empty()) authorize();
  if (id == api::RowId::instance_exec_post || id == api::RowId::instance_console_post) return exec(id == api::RowId::instance_console_post);
  ask();
}

void Connection::ask() {
  auto work = [self = shared_from_this()] {
    std::shared_ptr<api::Reply> r;
    std::exception_ptr failed;
    try {
      auto &request = self->routed_.request;
      request.want_record = self->routed_.row->id == api::RowId::instances_get && !request.query.contains("filter");
      r = std::make_shared<api::Reply>(perform(*self->server_.session, *self->routed_.row, std::move(request)));
      if (r->record.has_value()) r->record = api::list_text(r->record);
    } catch (...) {
      failed = std::current_exception();
    }
    // On the strand already when it was not put off.
    asio::dispatch(self->strand_, [self, r, failed] {
      try {
        if (failed) std::rethrow_exception(failed);
        self->reply(std::move(*r));
      } catch (const std::exception &e) {
        self->refuse(e);
      }
    });
  };
  if (auto lane = waits_for(*routed_.row, routed_.request))
    server_.workers->patient(*lane, share_, std::move(work));
  else
    server_.workers->quick(share_, std::move(work));
}

void Connection::reply(api::Reply r) {
  if (!r.bodies.empty()) return send_bodies(std::move(r));
  Answer a;
  // Some rows answer by an operation only sometimes (a certificate, or a token for one).
  if (r.operation && head_.method != "GET") {
    a = async(r.operation->info());
  } else if (routed_.row->kind == api::Kind::stream && r.metadata.is_string()) {
    a.json = false;
    a.body = std::string(r.metadata.get_string());
    a.headers["Content-Type"] = "text/plain";
  } else if (head_.method == "HEAD" && !routed_.head_only) {
    a.json = false;
  } else if (auto *text = std::any_cast<std::string>(&r.record)) {
    a = sync_text(*text);
  } else {
    a = sync(r.metadata, r.status ? r.status : r.location.empty() ? 200 : 201);
  }
  for (auto &[k, v] : r.headers) a.headers[k] = v;
  if (r.status) a.status = r.status;
  if (!r.location.empty()) a.headers["Location"] = r.location;
  if (!r.etag.empty()) a.headers["ETag"] = "\"" + r.etag + "\"";
  send(std::move(a));
}

void Connection::refuse(const std::exception &e) { send(failure(e)); }

void Connection::cors(Answer &a) {
  if (!head_.headers.contains("origin")) return;
  std::lock_guard lock(server_.mutex);
  if (!server_.cors) return;
  if (!server_.cors->origin.empty()) a.headers["Access-Control-Allow-Origin"] = server_.cors->origin;
  if (!server_.cors->methods.empty()) a.headers["Access-Control-Allow-Methods"] = server_.cors->methods;
  if (!server_.cors->headers.empty()) a.headers["Access-Control-Allow-Headers"] = server_.cors->headers;
  if (server_.cors->credentials) a.headers["Access-Control-Allow-Credentials"] = "true";
}

void Connection::send(Answer a) {
  if (closed_) return;
  // A body that was not read would be taken for the next request.
  if (body_pending_ || finishing_) head_.keep_alive = false;
  cors(a);
  if (!local_caller_ && a.body.size() >= worth_gzip && lists_word(head_.header("accept-encoding"), "gzip")) gzip(a);
  out_head_ = head(a, static_cast<std::int64_t>(a.body.size()), head_.keep_alive, head_.http_1_0);
  out_body_ = head_.method == "HEAD" ? std::string() : std::move(a.body);
  deadline(body_patience);
  std::array<asio::const_buffer, 2> both{asio::buffer(out_head_), asio::buffer(out_body_)};
  asio::async_write(
      stream_, both,
      // Slow is not dead: the time counts from the last piece that went.
      [self = shared_from_this()](error_code ec, std::size_t) -> std::size_t {
        if (ec) return 0;
        if (self->deadline_ != Clock::time_point::max()) self->deadline_ = Clock::now() + body_patience;
        return 1 << 20;
      },
      [self = shared_from_this()](error_code ec, std::size_t) { self->written(ec); });
}

void Connection::written(error_code ec) {
  out_body_ = {};
  routed_ = {};
  upload_.reset();
  if (auto after = std::exchange(after_, {})) after();
  if (ec || closed_) return close();
  if (!head_.keep_alive) return linger();
  next();
}

void Connection::next() { read_head(); }

/// The client may still be sending what was refused; closing at once could take the answer away from it.
void Connection::linger() {
  error_code ignored;
  if (!body_pending_) return close();
  stream_.socket().shutdown(Stream::Socket::shutdown_send, ignored);
  deadline(std::chrono::seconds(2));
  auto scratch = std::make_shared<std::array<char, 8192>>();
  auto drain = std::make_shared<std::function<void(error_code, std::size_t)>>();
  *drain = [self = shared_from_this(), scratch, weak = std::weak_ptr(drain)](error_code ec, std::size_t) {
    auto again = weak.lock();
    if (ec || !again || self->closed_) return self->close();
    // Of TLS, too, the bytes as they come: nobody reads them.
    self->stream_.socket().async_read_some(asio::buffer(*scratch), [again](error_code e, std::size_t n) { (*again)(e, n); });
  };
  (*drain)({}, 0);
}

} // namespace incus::rest
