// SPDX-License-Identifier: Apache-2.0
// Rows that are more than a question to the host: waits, websockets, upgrades, the server's own state.
#include <boost/asio/write.hpp>
#include <boost/beast/http/write.hpp>
#include <fcntl.h>
#include <sys/socket.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "api/access.hpp"
#include "rest/connection.hpp"
#include "rest/events.hpp"
#include "rest/rendezvous.hpp"
#include "rest/upload.hpp"

namespace incus::rest {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
using boost::system::error_code;

bool Connection::special() {
  switch (routed_.row->id) {
  case api::RowId::operation_wait_get: wait_operation(); return true;
  case api::RowId::operation_get: show_operation(); return true;
  case api::RowId::operation_websocket_get: operation_websocket(); return true;
  case api::RowId::events_get: events(); return true;
  case api::RowId::instance_sftp_get: upgrade_raw(); return true;
  case api::RowId::internal_shutdown_put: shutdown(); return true;
  case api::RowId::internal_ready_get:
    if (server_.is_going_down) base::fail(ErrorCode::unavailable, "Daemon is shutting down");
    if (!server_.is_ready) base::fail(ErrorCode::unavailable, "Daemon not ready yet");
    send(sync(nullptr));
    return true;
  case api::RowId::root_get: send(sync(json::array{"/1.0"})); return true;
  default: return false;
  }
}

namespace {
std::optional<std::chrono::milliseconds> timeout_of(const api::Request &q) {
  auto it = q.query.find("timeout");
  if (it == q.query.end() || it->second.empty() || it->second == "-1") return {};
  if (it->second.size() > 9 || it->second.find_first_not_of("0123456789") != std::string::npos)
    base::fail(ErrorCode::invalid_argument, "invalid timeout {}: must be a number of seconds, or -1", base::quoted(it->second));
  return std::chrono::seconds(std::stol(it->second));
}
} // namespace

/// Who waits for the end of one operation. It is asked once however many wait, and those that have gone are forgotten: a client that looks every second at
/// an operation that lasts for days leaves nothing with it.
class Waiters {
public:
  using Told = std::shared_ptr<std::function<void()>>;
  /// False: it has ended.
  bool add(const boost::asio::any_io_executor &where, const Told &told) {
    std::lock_guard lock(mutex_);
    if (ended_) return false;
    std::erase_if(all_, [](auto &w) { return w.told.expired(); });
    all_.push_back({where, told});
    return true;
  }
  void end() {
    std::vector<One> all;
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      all.swap(all_);
    }
    for (auto &w : all)
      if (auto f = w.told.lock()) asio::post(w.where, [f] { (*f)(); });
  }

private:
  struct One {
    boost::asio::any_io_executor where;
    std::weak_ptr<std::function<void()>> told;
  };
  std::mutex mutex_;
  std::vector<One> all_;
  bool ended_ = false;
};

namespace {
/// Calls `told` on `where` when the operation has ended.
void wait_for_end(Server::Impl &server, const std::shared_ptr<api::OperationBackend> &op, const boost::asio::any_io_executor &where, const Waiters::Told &told) {
  auto id = op->info().id;
  std::shared_ptr<Waiters> all;
  bool fresh = false;
  {
    std::lock_guard lock(server.mutex);
    auto &w = server.waiters[id];
    fresh = !w;
    if (!w) w = std::make_shared<Waiters>();
    all = w;
  }
  if (!all->add(where, told)) return asio::post(where, [told] { (*told)(); });
  if (!fresh) return;
  // The operation may outlive this server: it holds nothing of it, nor who waits, because their executors are the server's.
  auto ended = [&server, gate = server.gate, id] {
    gate->run([&] {
      std::shared_ptr<Waiters> who;
      {
        std::lock_guard lock(server.mutex);
        if (auto it = server.waiters.find(id); it != server.waiters.end()) {
          who = std::move(it->second);
          server.waiters.erase(it);
        }
      }
      if (who) who->end();
    });
  };
  if (op->on_end(ended)) return;
  server.workers->patient(Workers::Lane::stream, share_of(nullptr), [op, ended, gate = server.gate] {
    try {
      while (!op->wait(std::chrono::seconds(10)) && gate->open()) {
      }
    } catch (const std::exception &) {
    }
    ended();
  });
}
} // namespace

/// GET /1.0/operations/{id}/wait without a thread.
void Connection::wait_operation() {
  struct Wait {
    explicit Wait(const Executor &e) : timer(e) {}
    asio::steady_timer timer;
    bool done = false;
  };
  auto timeout = timeout_of(routed_.request);
  auto found = server_.session->perform(api::RowId::operation_get, std::move(routed_.request));
  auto op = found.operation;
  if (!op) return send(sync(found.metadata));
  auto w = std::make_shared<Wait>(strand_);
  auto finish = [self = shared_from_this(), w, op] {
    if (w->done) return;
    w->done = true;
    w->timer.cancel();
    error_code ignored;
    self->stream_.socket().cancel(ignored);
    self->waiting_.reset();
    self->send(sync(operation_json(op->info(), {})));
  };
  waiting_ = std::make_shared<std::function<void()>>([finish] { finish(); });
  if (timeout) {
    w->timer.expires_after(*timeout);
    w->timer.async_wait([which = std::weak_ptr(waiting_)](error_code ec) {
      auto f = ec ? nullptr : which.lock();
      if (f) (*f)();
    });
  }
  // A client that goes is noticed; what it sends already is its next request.
  stream_.async_read_some(buffer_.prepare(4096), [self = shared_from_this(), w](error_code ec, std::size_t n) {
    self->buffer_.commit(n);
    if (!ec || w->done) return;
    w->done = true;
    w->timer.cancel();
    self->close();
  });
  wait_for_end(server_, op, strand_, waiting_);
}

/// GET /1.0/operations/{id}: who made it sees the secrets of its websockets.
void Connection::show_operation() {
  auto id = routed_.request.path.at(0);
  auto who = routed_.request.caller;
  auto r = server_.session->perform(api::RowId::operation_get, std::move(routed_.request));
  std::shared_ptr<LateStreams> late;
  {
    std::lock_guard lock(server_.mutex);
    if (auto it = server_.late.find(id); it != server_.late.end()) late = it->second;
  }
  if (late && api::same_caller(late->creator().get(), who.get()))
    if (auto *o = r.metadata.if_object()) {
      auto &m = (*o)["metadata"];
      if (!m.is_object()) m = json::object();
      m.as_object()["fds"] = late->fds();
    }
  send(sync(r.metadata));
}

void Connection::shutdown() {
  std::function<void(bool)> handler;
  std::function<void()> done;
  bool again = false;
  {
    std::lock_guard lock(server_.mutex);
    if (!server_.shutdown_handler) base::fail(ErrorCode::not_supported, "this server cannot be shut down by a request");
    again = std::exchange(server_.shutting_down, true);
    handler = server_.shutdown_handler;
    done = server_.shutdown_done;
  }
  // Not under the lock, which the answer's headers need too.
  if (again) return send(failure(429, "Shutdown already in progress"));
  bool force = routed_.request.flag("force");
  server_.workers->patient(Workers::Lane::change, "shutdown", [self = shared_from_this(), handler, done, force] {
    Answer a;
    try {
      handler(force);
      a = sync(nullptr);
    } catch (const std::exception &e) {
      a = failure(e);
    }
    asio::post(self->strand_, [self, done, a = std::move(a)]() mutable {
      self->head_.keep_alive = false;
      self->after_ = done;
      // The client may have gone; the process ends all the same.
      if (self->closed_) return self->written({});
      self->send(std::move(a));
    });
  });
}

void Connection::upgrade(std::function<void(std::shared_ptr<Socket>)> then) {
  auto request = head_parser_->release();
  head_parser_.reset();
  if (buffer_.size()) base::fail(ErrorCode::invalid_argument, "a client must not send before its websocket is open");
  upgraded_ = true;
  auto socket = std::make_shared<Socket>(std::move(stream_), shared_from_this());
  socket_ = socket;
  socket->accept(std::move(request), [self = shared_from_this(), socket, then = std::move(then)](error_code ec) {
    if (ec) self->server_.log.debug("websocket with {}: {}", self->address_, ec.message());
    then(ec ? nullptr : socket);
  });
}

void Connection::operation_websocket() {
  auto id = routed_.request.path.at(0);
  if (!head_.upgrade_to("websocket")) base::fail(ErrorCode::invalid_argument, "a websocket is needed: the request has no upgrade to one");
  std::shared_ptr<LateStreams> late;
  {
    std::lock_guard lock(server_.mutex);
    if (auto it = server_.late.find(id); it != server_.late.end()) late = it->second;
  }
  if (!late) {
    if (!routed_.request.from_trusted()) base::fail(ErrorCode::forbidden, "not authorized");
    server_.session->perform(api::RowId::operation_get, std::move(routed_.request));
    base::fail(ErrorCode::invalid_argument, "operation {} has no websocket that could be opened", base::quoted(id));
  }
  auto it = routed_.request.query.find("secret");
  if (it == routed_.request.query.end() || it->second.empty()) base::fail(ErrorCode::invalid_argument, "missing secret");
  auto name = late->claim(it->second);
  try {
    upgrade([late, name](std::shared_ptr<Socket> socket) {
      if (!socket) return late->lost(name);
      late->connected(name, std::move(socket));
    });
  } catch (...) {
    late->lost(name);
    throw;
  }
}

void Connection::exec(bool console) {
  auto *o = routed_.request.body.if_object();
  auto flag = [&](const char *key) {
    auto *v = o ? o->if_contains(key) : nullptr;
    return v && v->is_bool() && v->get_bool();
  };
  if (!console && !flag("wait-for-websocket")) return ask();
  auto late = std::make_shared<LateStreams>(server_, routed_.request.caller, console || flag("interactive"));
  routed_.request.rendezvous = late;
  server_.workers->quick(share_, [self = shared_from_this(), late] {
    std::optional<Answer> a;
    std::exception_ptr failed;
    try {
      auto r = self->server_.session->perform(self->routed_.row->id, std::move(self->routed_.request));
      if (!r.operation) base::fail(ErrorCode::internal, "the host began no operation");
      auto info = r.operation->info();
      late->started(r.operation, info.id);
      a = async(info, {{"fds", late->fds()}});
    } catch (...) {
      failed = std::current_exception();
    }
    asio::dispatch(self->strand_, [self, a = std::move(a), failed]() mutable {
      try {
        if (failed) std::rethrow_exception(failed);
        self->send(std::move(*a));
      } catch (const std::exception &e) {
        self->refuse(e);
      }
    });
  });
}

void Connection::events() {
  if (!head_.upgrade_to("websocket")) base::fail(ErrorCode::invalid_argument, "events come by a websocket: the request has no upgrade to one");
  auto &q = routed_.request;
  auto wish = std::make_shared<EventWish>();
  wish->all_projects = q.flag("all-projects");
  if (wish->all_projects && q.query.contains("project") && !q.query.at("project").empty())
    base::fail(ErrorCode::invalid_argument, "Cannot specify a project when requesting all projects");
  wish->project = q.project();
  wish->caller = q.caller;
  if (!wish->all_projects && !q.may_use(wish->project)) base::fail(ErrorCode::forbidden, "not authorized");
  if (auto it = q.query.find("type"); it != q.query.end()) {
    std::string_view rest = it->second;
    while (!rest.empty()) {
      auto cut = rest.find(',');
      if (cut != 0) wish->types.emplace_back(rest.substr(0, cut));
      if (cut == std::string_view::npos) break;
      rest.remove_prefix(cut + 1);
    }
  }
  // What the daemon logs is not for tenants.
  bool logging = std::find(wish->types.begin(), wish->types.end(), "logging") != wish->types.end();
  if (logging && !q.from_admin()) base::fail(ErrorCode::forbidden, "not authorized");
  if (wish->types.empty()) wish->types = q.from_admin() ? std::vector<std::string>{"lifecycle", "logging", "operation"} : std::vector<std::string>{"lifecycle", "operation"};
  // From here on nothing is missed: the client counts on it once it sees the upgrade.
  auto listener = server_.session->door().listen(wish->types, 1024);
  upgrade([self = shared_from_this(), listener, wish](std::shared_ptr<Socket> socket) {
    if (!socket) return listener->close();
    serve_events(self->server_, std::move(socket), listener, wish);
  });
}

namespace {
/// Bytes both ways between a client and a descriptor; ends when either side does.
struct Relay : std::enable_shared_from_this<Relay> {
  Relay(Stream s, base::Fd fd, std::shared_ptr<void> k) : client(std::move(s)), local(client.get_executor(), fd.release()), keep(std::move(k)) {}
  Stream client;
  asio::posix::basic_stream_descriptor<asio::any_io_executor> local;
  std::shared_ptr<void> keep;
  std::vector<char> up = std::vector<char>(65536), down = std::vector<char>(65536);
  bool ended = false;

  void end() {
    if (ended) return;
    ended = true;
    error_code ignored;
    client.close();
    local.close(ignored);
  }
  void read_client() {
    client.async_read_some(asio::buffer(up), [self = shared_from_this()](error_code ec, std::size_t n) {
      if (ec) return self->end();
      asio::async_write(self->local, asio::buffer(self->up.data(), n), [self](error_code e, std::size_t) {
        if (e) return self->end();
        self->read_client();
      });
    });
  }
  void read_local() {
    local.async_read_some(asio::buffer(down), [self = shared_from_this()](error_code ec, std::size_t n) {
      if (ec) return self->end();
      asio::async_write(self->client, asio::buffer(self->down.data(), n), [self](error_code e, std::size_t) {
        if (e) return self->end();
        self->read_local();
      });
    });
  }
};
} // namespace

/// GET /1.0/instances/{name}/sftp: the connection itself becomes the stream.
void Connection::upgrade_raw() {
  if (!head_.upgrade_to("sftp")) base::fail(ErrorCode::invalid_argument, "Missing or invalid upgrade header: must be sftp");
  if (buffer_.size()) base::fail(ErrorCode::invalid_argument, "a client must not send before its stream is open");
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) base::fail_errno(errno, "cannot make a socket pair");
  auto ours = std::make_shared<base::Fd>(pair[0]);
  routed_.request.streams.push_back({"sftp", base::Fd(pair[1])});
  ::fcntl(ours->get(), F_SETFL, O_NONBLOCK);
  server_.workers->patient(Workers::Lane::stream, share_, [self = shared_from_this(), ours] {
    std::exception_ptr failed;
    try {
      self->server_.session->perform(self->routed_.row->id, std::move(self->routed_.request));
    } catch (...) {
      failed = std::current_exception();
    }
    asio::post(self->strand_, [self, ours, failed] {
      try {
        if (failed) std::rethrow_exception(failed);
      } catch (const std::exception &e) {
        return self->refuse(e);
      }
      static const std::string go_on = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: sftp\r\nConnection: Upgrade\r\n\r\n";
      self->upgraded_ = true;
      auto relay = std::make_shared<Relay>(std::move(self->stream_), std::move(*ours), self);
      self->relay_ = [weak = std::weak_ptr(relay)] {
        if (auto r = weak.lock()) r->end();
      };
      asio::async_write(relay->client, asio::buffer(go_on), [relay](error_code ec, std::size_t) {
        if (ec) return relay->end();
        relay->read_client();
        relay->read_local();
      });
    });
  });
}

} // namespace incus::rest
