// SPDX-License-Identifier: Apache-2.0
#include "remote/attached.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "api/convert.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "remote/door.hpp"
#include "remote/websocket.hpp"

namespace incus::remote {

namespace net = boost::asio;
using boost::system::error_code;

namespace {

constexpr std::size_t chunk = 32 * 1024;

/// A descriptor of the caller. Its flags belong to others too (a terminal, a pipe that the caller keeps), so it is never made non-blocking: it is
/// asked first and then given or taken no more than it has room for.
struct End {
  base::Fd fd;
  bool socket = false, pollable = false, armed = false;

  void set(base::Fd f) {
    fd = std::move(f);
    struct stat st;
    if (!fd || ::fstat(fd.get(), &st) < 0) return;
    socket = S_ISSOCK(st.st_mode);
  }
  bool ready(short what) const {
    pollfd p{fd.get(), what, 0};
    return ::poll(&p, 1, 0) == 1;
  }
};

/// The official server calls it a failure of the operation, with -1 for its exit code, when a command could not be found or run.
OperationInfo settled(OperationInfo i) {
  int code = i.status_code != 400 ? 0 : i.err == "Command not found" ? 127 : i.err == "Command not executable" ? 126 : 0;
  if (!code) return i;
  auto m = api::parse_json(i.metadata.text.empty() ? "{}" : i.metadata.text, "the operation's metadata");
  if (!m.is_object()) return i;
  m.get_object()["return"] = code;
  i.metadata.text = json::serialize(m);
  i.status = "Success";
  i.status_code = 200;
  i.err.clear();
  return i;
}

/// One command or console: its websockets and the caller's descriptors, carried by one thread.
class Attached final : public api::OperationBackend, public std::enable_shared_from_this<Attached> {
public:
  Attached(ClientPtr client, std::shared_ptr<RemoteOperation> op, std::map<std::string, std::string> secrets, std::vector<api::Stream> streams, bool terminal,
           bool console)
      : client_(std::move(client)), op_(std::move(op)), secrets_(std::move(secrets)), terminal_(terminal), console_(console) {
    for (auto &s : streams) {
      if (s.role == "stdin") in_.end.set(std::move(s.fd));
      if (s.role == "stdout") out_[0].end.set(std::move(s.fd));
      if (s.role == "stderr") out_[1].end.set(std::move(s.fd));
    }
  }

  void run();
  /// From any thread.
  void stop();

  OperationInfo info() override { return settled(op_->info()); }
  bool wait(std::optional<Milliseconds> timeout) override {
    std::unique_lock lock(mutex_);
    if (timeout) return changed_.wait_for(lock, *timeout, [&] { return ended_; });
    changed_.wait(lock, [&] { return ended_; });
    return true;
  }
  void rethrow() override {
    {
      std::lock_guard lock(mutex_);
      if (!ended_) return;
      if (failure_) throw *failure_;
    }
    auto i = info();
    throw_failure(i, i.err_name);
  }
  void cancel() override { op_->cancel(); }
  void control(const json::value &message) override;

private:
  struct Input {
    End end;
    std::shared_ptr<WebSocket> socket;
    bool over = false;
  };
  struct Output {
    End end;
    std::shared_ptr<WebSocket> socket;
    std::string pending;
    std::size_t done = 0;
    bool over = true;
  };

  void open_all();
  void open(const char *secret, std::shared_ptr<WebSocket> &socket, std::function<void()> begin);
  void watch(End &end, unsigned index);
  void arm(End &end, unsigned index, std::uint32_t events);
  void wait_events();
  void dispatch();
  void read_input();
  void input_ready();
  void end_input();
  void drain(const std::shared_ptr<WebSocket> &socket);
  void read_output(unsigned i);
  void flush(unsigned i);
  void output_over(unsigned i);
  void read_control();
  void give_up_soon();
  void look_for_end();
  void fail(const Error &e);
  void shut();

  const ClientPtr client_;
  const std::shared_ptr<RemoteOperation> op_;
  const std::map<std::string, std::string> secrets_;
  const bool terminal_, console_;
  net::io_context context_{1};
  net::steady_timer timer_{context_}, grace_{context_};
  std::uint64_t carried_ = 0; ///< bytes given to the caller's descriptors
  base::Fd epoll_;
  std::optional<net::posix::stream_descriptor> events_;
  Input in_;
  Output out_[2];
  std::shared_ptr<WebSocket> control_;
  bool control_over_ = false, shut_ = false;
  Milliseconds pause_{5};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::optional<Error> failure_;
};

void Attached::run() {
  try {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) base::fail_errno(errno, "cannot watch the command's descriptors");
    events_.emplace(context_, epoll_.get());
    epoll_.release();
    watch(in_.end, 0);
    watch(out_[0].end, 1);
    watch(out_[1].end, 2);
    wait_events();
    open_all();
  } catch (const Error &e) {
    fail(e);
  }
  for (;;) {
    try {
      context_.run();
      break;
    } catch (const Error &e) {
      fail(e);
    } catch (const std::exception &e) {
      fail(Error(ErrorCode::internal, e.what()));
    }
  }
  for (auto &o : out_) o.end.fd.reset();
  in_.end.fd.reset();
  bool known = false;
  {
    std::lock_guard lock(mutex_);
    known = failure_.has_value();
  }
  std::optional<Error> failure;
  try {
    if (!known) op_->wait(std::nullopt);
  } catch (const Error &e) {
    failure = e;
  }
  std::lock_guard lock(mutex_);
  if (failure && !failure_) failure_ = failure;
  ended_ = true;
  changed_.notify_all();
}

void Attached::stop() {
  // Held by the context, which may never run again, it must not hold us.
  net::post(context_, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->fail(Error(ErrorCode::unavailable, "the host was closed while the command ran"));
  });
}

void Attached::control(const json::value &message) {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
  }
  auto *o = message.if_object();
  auto *number = o ? o->if_contains("signal") : nullptr;
  bool kill = number && number->is_int64() && number->get_int64() == SIGKILL;
  net::post(context_, [weak = weak_from_this(), text = json::serialize(message), kill] {
    auto self = weak.lock();
    if (!self) return;
    if (self->control_ && !self->control_over_) self->control_->write(true, text, {});
    if (kill) self->give_up_soon();
  });
}

/// What a killed command had printed is carried on as long as somebody takes it; a full pipe that nobody reads must not keep us.
void Attached::give_up_soon() {
  if (shut_) return;
  auto before = carried_;
  grace_.expires_after(std::chrono::seconds(1));
  grace_.async_wait([this, before](error_code ec) {
    if (ec || shut_) return;
    bool blocked = !out_[0].pending.empty() || !out_[1].pending.empty();
    if (blocked && carried_ == before) return shut();
    give_up_soon();
  });
}

void Attached::open(const char *secret, std::shared_ptr<WebSocket> &socket, std::function<void()> begin) {
  auto it = secrets_.find(secret);
  if (it == secrets_.end()) base::fail(ErrorCode::internal, "the server gave no stream {} for operation {}", base::quoted(secret), base::quoted(op_->id()));
  socket = make_websocket(context_, client_->pool.target());
  socket->open("/1.0/operations/" + op_->id() + "/websocket?secret=" + escape(it->second), [this, begin = std::move(begin)](std::optional<Error> e) {
    if (shut_) return;
    if (e) return fail(*e);
    begin();
  });
}

void Attached::open_all() {
  if (secrets_.count("control")) open("control", control_, [this] { read_control(); });
  control_over_ = !control_;
  out_[0].over = false;
  if (terminal_) {
    open("0", out_[0].socket, [this] {
      read_output(0);
      read_input();
    });
    in_.socket = out_[0].socket;
    return;
  }
  out_[1].over = false;
  open("0", in_.socket, [this] {
    drain(in_.socket);
    read_input();
  });
  open("1", out_[0].socket, [this] { read_output(0); });
  open("2", out_[1].socket, [this] { read_output(1); });
}

void Attached::watch(End &end, unsigned index) {
  if (!end.fd) return;
  epoll_event e{};
  e.events = EPOLLONESHOT; // disarmed
  e.data.u32 = index;
  // Files and /dev/null cannot be watched; they never make anybody wait.
  end.pollable = ::epoll_ctl(events_->native_handle(), EPOLL_CTL_ADD, end.fd.get(), &e) == 0;
}

void Attached::arm(End &end, unsigned index, std::uint32_t events) {
  epoll_event e{};
  e.events = events | EPOLLONESHOT;
  e.data.u32 = index;
  end.armed = true;
  ::epoll_ctl(events_->native_handle(), EPOLL_CTL_MOD, end.fd.get(), &e);
}

void Attached::wait_events() {
  events_->async_wait(net::posix::stream_descriptor::wait_read, [this](error_code ec) {
    if (ec || shut_) return;
    dispatch();
    if (!shut_) wait_events();
  });
}

void Attached::dispatch() {
  epoll_event found[3];
  int n = ::epoll_wait(events_->native_handle(), found, 3, 0);
  for (int i = 0; i < n && !shut_; i++) {
    unsigned index = found[i].data.u32;
    // The other side's end is told also to who has not asked.
    if (!std::exchange(index == 0 ? in_.end.armed : out_[index - 1].end.armed, false)) continue;
    if (index == 0)
      input_ready();
    else
      flush(index - 1);
  }
}

void Attached::read_input() {
  if (in_.over || shut_) return;
  if (!in_.end.fd) return end_input();
  if (in_.end.pollable)
    arm(in_.end, 0, EPOLLIN);
  else
    input_ready();
}

void Attached::input_ready() {
  if (in_.over || shut_) return;
  if (in_.end.pollable && !in_.end.ready(POLLIN)) return read_input(); // somebody else took it
  std::string data(chunk, '\0');
  auto n = ::read(in_.end.fd.get(), data.data(), data.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return read_input();
  if (n <= 0) return end_input();
  data.resize(static_cast<std::size_t>(n));
  in_.socket->write(false, std::move(data), [this](bool sent) {
    if (sent)
      read_input();
    else
      in_.over = true;
  });
}

/// The end is an empty text message; the socket stays for what the server still has to say on it.
void Attached::end_input() {
  in_.over = true;
  bool given = bool(in_.end.fd);
  in_.end.fd.reset();
  if (!terminal_) {
    in_.socket->write(true, {}, {});
  } else if (console_ && given) {
    // The end of the input is the end of the session. (A command's terminal has no end: what else it prints is still wanted.)
    if (control_) control_->abort();
    in_.socket->abort();
  }
}

void Attached::drain(const std::shared_ptr<WebSocket> &socket) {
  socket->read([this, socket](bool more, bool, std::string) {
    if (more && !shut_) return drain(socket);
    if (socket == in_.socket) in_.over = true;
    socket->abort();
  });
}

void Attached::read_output(unsigned i) {
  if (out_[i].over || shut_) return;
  out_[i].socket->read([this, i](bool more, bool text, std::string data) {
    if (shut_) return;
    if (!more || text) return output_over(i);
    out_[i].pending = std::move(data);
    out_[i].done = 0;
    flush(i);
  });
}

void Attached::flush(unsigned i) {
  auto &o = out_[i];
  while (o.end.fd && o.done < o.pending.size()) {
    const char *data = o.pending.data() + o.done;
    std::size_t size = o.pending.size() - o.done;
    ssize_t n = 0;
    if (o.end.socket) {
      n = ::send(o.end.fd.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (!o.end.pollable) {
      n = ::write(o.end.fd.get(), data, size);
    } else if (o.end.ready(POLLOUT)) {
      // What is ready takes a page without blocking; the signal of a pipe nobody reads is blocked in this thread.
      n = ::write(o.end.fd.get(), data, std::min<std::size_t>(size, 4096));
    } else {
      n = -1;
      errno = EAGAIN;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return arm(o.end, i + 1, EPOLLOUT);
    if (n < 0) {
      // Nobody reads any more: the command is told in the same way, by its own stream being closed.
      o.end.fd.reset();
      if (!terminal_) o.socket->abort();
      return output_over(i);
    }
    o.done += static_cast<std::size_t>(n);
    carried_ += static_cast<std::uint64_t>(n);
  }
  o.pending.clear();
  read_output(i);
}

void Attached::output_over(unsigned i) {
  if (std::exchange(out_[i].over, true)) return;
  out_[i].end.fd.reset();
  if (terminal_) {
    // The server reads what is typed until we close.
    in_.over = true;
    out_[i].socket->abort();
  } else {
    drain(out_[i].socket);
  }
  if (out_[0].over && out_[1].over) look_for_end();
}

void Attached::read_control() {
  control_->read([this](bool more, bool, std::string) {
    if (shut_) return;
    if (more) return read_control();
    control_over_ = true;
    control_->abort();
    if (out_[0].over && out_[1].over) look_for_end();
  });
}

/// Everything that the command printed is out. It may have closed its streams before its end, so the server is asked.
void Attached::look_for_end() {
  if (shut_) return;
  timer_.cancel();
  if (control_over_) return shut(); // run() waits for the operation
  timer_.expires_after(pause_);
  pause_ = std::min(pause_ * 2, Milliseconds(500));
  timer_.async_wait([this](error_code ec) {
    if (ec || shut_) return;
    op_->refresh();
    if (op_->ended()) return shut();
    look_for_end();
  });
}

void Attached::fail(const Error &e) {
  {
    std::lock_guard lock(mutex_);
    if (!failure_ && !shut_) failure_ = e;
  }
  shut();
}

void Attached::shut() {
  if (std::exchange(shut_, true)) return;
  timer_.cancel();
  grace_.cancel();
  if (events_) events_->cancel();
  for (auto *s : {&control_, &in_.socket, &out_[0].socket, &out_[1].socket})
    if (*s) (*s)->abort();
}

} // namespace

bool wants_attachment(const api::Row &row, const api::Request &request) {
  auto *o = request.body.if_object();
  if (!request.streams.empty()) return true;
  // A call of the API alone says what it wants; it gets the secrets of its streams.
  if (row.id == api::RowId::instance_console_post) return false;
  return o && !o->contains("wait-for-websocket") && !o->contains("record-output");
}

api::Reply RemoteDoor::attach(const api::Row &row, api::Request &request) {
  if (request.body.is_null()) request.body = json::object();
  auto *o = request.body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "the request of a command must be a JSON object");
  bool console = row.id == api::RowId::instance_console_post, terminal = console;
  if (!console) {
    auto *i = o->if_contains("interactive");
    terminal = i && i->is_bool() && i->get_bool();
    (*o)["wait-for-websocket"] = true;
  }
  auto answer = client_->call(outgoing(row, request), Milliseconds(60000));
  if (answer.type != Answer::Type::async) base::fail(ErrorCode::internal, "the server began no operation for {}", row.path);
  auto op = std::make_shared<RemoteOperation>(client_, operation_from_json(answer.metadata));
  std::map<std::string, std::string> secrets;
  auto *m = answer.metadata.get_object().if_contains("metadata");
  auto *fds = m && m->is_object() ? m->get_object().if_contains("fds") : nullptr;
  if (fds && fds->is_object())
    for (auto &kv : fds->get_object())
      if (kv.value().is_string() && secrets.size() < 16) secrets[std::string(kv.key())] = std::string(kv.value().get_string());
  auto attached = std::make_shared<Attached>(client_, op, std::move(secrets), std::move(request.streams), terminal, console);
  client_->crew.start([attached] { attached->run(); }, [attached] { attached->stop(); });
  api::Reply reply;
  reply.metadata = std::move(answer.metadata);
  reply.operation = attached;
  return reply;
}

} // namespace incus::remote
