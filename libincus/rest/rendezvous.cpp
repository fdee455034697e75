// SPDX-License-Identifier: Apache-2.0
#include "rest/rendezvous.hpp"

#include <boost/asio/write.hpp>
#include <fcntl.h>
#include <openssl/crypto.h>

#include "api/convert.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "rest/workers.hpp"

namespace incus::rest {

namespace asio = boost::asio;
namespace json = boost::json;
using boost::system::error_code;

namespace {
constexpr auto patience = std::chrono::seconds(10);
constexpr std::size_t most_early = 64;
constexpr std::size_t piece = 32768;

void make_pipe(base::Fd &read, base::Fd &write) {
  int p[2];
  if (::pipe2(p, O_CLOEXEC) < 0) base::fail_errno(errno, "cannot make a pipe for a stream of the client");
  read.reset(p[0]);
  write.reset(p[1]);
}
} // namespace

/// Between one websocket and its descriptors; lives on the websocket's strand.
struct LateStreams::Pump : std::enable_shared_from_this<Pump> {
  Pump(std::shared_ptr<Socket> s, std::weak_ptr<LateStreams> o, std::string n) : socket(std::move(s)), owner(std::move(o)), name(std::move(n)) {}

  std::shared_ptr<Socket> socket;
  std::weak_ptr<LateStreams> owner;
  const std::string name;
  std::shared_ptr<Descriptor> in, out; ///< shared with what is going on with them
  std::string buffer;
  bool command_ended = false, out_done = false;

  void start(base::Fd to_command, base::Fd from_command) {
    auto open = [&](base::Fd fd) {
      ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
      return std::make_shared<Descriptor>(socket->executor(), fd.release());
    };
    if (to_command) in = open(std::move(to_command));
    if (from_command) out = open(std::move(from_command));
    socket->read([self = shared_from_this()](std::string_view data, bool text) { self->took(data, text); },
                 [self = shared_from_this()] { self->gone(); });
    if (out) read_out();
  }

  /// From the client.
  void took(std::string_view data, bool text) {
    if (name == "control") {
      if (auto o = owner.lock()) o->control_message(data);
      return;
    }
    if (!in) return;
    // A text says that there is no more.
    if (text) return close_in();
    auto copy = std::make_shared<std::string>(data);
    socket->pause();
    asio::async_write(*in, asio::buffer(*copy), [self = shared_from_this(), copy, to = in](error_code ec, std::size_t) {
      // The command reads no more; what comes is taken and dropped, so that the client's own end is seen.
      if (ec) self->close_in();
      self->socket->resume();
    });
  }

  void close_in() {
    error_code ignored;
    if (in) in->close(ignored);
    in.reset();
  }

  void gone() {
    close_in();
    if (out) {
      error_code ignored;
      out->cancel(ignored);
      out_done = true;
      out.reset();
    }
    if (auto o = owner.lock()) o->gone(name);
  }

  /// From the command.
  void read_out() {
    if (!out) return;
    if (buffer.empty()) buffer.resize(piece);
    out->async_read_some(asio::buffer(buffer), [self = shared_from_this(), from = out](error_code ec, std::size_t n) {
      if (!self->out) return;
      if (ec == asio::error::operation_aborted && self->command_ended) return self->last_out();
      if (ec) return self->end_out();
      self->socket->send(self->buffer.substr(0, n), false, [self] {
        if (self->command_ended)
          self->last_out();
        else
          self->read_out();
      });
    });
  }

  /// What the command wrote before its end is in the pipe; what it left running may keep that open for ever.
  void last_out() {
    if (!out || out_done) return;
    buffer.resize(piece);
    ssize_t n;
    do
      n = ::read(out->native_handle(), buffer.data(), buffer.size());
    while (n < 0 && errno == EINTR);
    if (n <= 0) return end_out();
    socket->send(buffer.substr(0, static_cast<std::size_t>(n)), false, [self = shared_from_this()] { self->last_out(); });
  }

  void end_out() {
    if (out_done) return;
    out_done = true;
    out.reset();
    buffer = {};
    // An empty text tells clients that no more comes.
    socket->send("", true);
    if (command_ended) socket->close();
  }

  void ended() {
    command_ended = true;
    close_in();
    if (!out || out_done) return socket->close();
    error_code ignored;
    out->cancel(ignored);
    // Nothing was being waited for when a message is on its way; then its end goes on.
  }
};

LateStreams::LateStreams(Server::Impl &server, std::shared_ptr<const api::Caller> creator, bool interactive)
    : server_(server), log_(server.log), gate_(server.gate), creator_(std::move(creator)), interactive_(interactive) {
  std::vector<std::string> names{"0", "control"};
  if (!interactive) names = {"0", "1", "2", "control"};
  for (auto &n : names) {
    auto &s = slots_[n];
    s.secret = base::random_hex(32);
    s.required = n != "control" || interactive;
    if (n == "0") make_pipe(s.in_theirs, s.in_ours);
    if (n == "1" || n == "2" || (n == "0" && interactive)) make_pipe(s.out_ours, s.out_theirs);
  }
}

LateStreams::~LateStreams() = default;

json::object LateStreams::fds() const {
  std::lock_guard lock(mutex_);
  json::object o;
  for (auto &[name, s] : slots_) o[name] = s.secret;
  return o;
}

std::vector<api::Stream> LateStreams::wait() {
  std::unique_lock lock(mutex_);
  auto complete = [&] { return std::all_of(slots_.begin(), slots_.end(), [](auto &kv) { return kv.second.connected || !kv.second.required; }); };
  if (!changed_.wait_for(lock, patience, [&] { return cancelled_ || gone_ || complete(); }))
    base::fail(ErrorCode::timeout, "Timed out waiting for websockets to connect: the client opened not all of them within {} seconds", patience.count());
  if (cancelled_) base::fail(ErrorCode::cancelled, "the operation was cancelled before its websockets were connected");
  if (gone_) base::fail(ErrorCode::cancelled, "the client has gone before its websockets were connected");
  waited_ = true;
  std::vector<api::Stream> out;
  auto &first = slots_["0"];
  out.push_back({"stdin", std::move(first.in_theirs)});
  out.push_back({"stdout", std::move(interactive_ ? first.out_theirs : slots_["1"].out_theirs)});
  if (!interactive_) out.push_back({"stderr", std::move(slots_["2"].out_theirs)});
  return out;
}

void LateStreams::cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

void LateStreams::on_control(std::function<void(const json::value &)> handler) {
  std::deque<json::value> early;
  {
    std::lock_guard lock(mutex_);
    control_ = handler;
    if (handler) early.swap(early_);
  }
  for (auto &m : early) try {
      handler(m);
    } catch (const std::exception &e) {
      log_.debug("control message: {}", e.what());
    }
}

void LateStreams::on_gone(std::function<void()> handler) {
  {
    std::lock_guard lock(mutex_);
    on_gone_ = std::move(handler);
    if (!on_gone_ || !gone_) return;
  }
  call_gone();
}

void LateStreams::call_gone() {
  std::function<void()> f;
  {
    std::lock_guard lock(mutex_);
    if (gone_told_ || !on_gone_ || ended_) return;
    gone_told_ = true;
    f = on_gone_;
  }
  // It waits for the command's end. The engine may ask for it when the server has gone.
  gate_->run([&] { server_.workers->patient(Workers::Lane::stream, share_of(creator_.get()), std::move(f)); });
}

void LateStreams::control_message(std::string_view text) {
  json::value m;
  try {
    m = api::parse_json(text, "a control message");
  } catch (const std::exception &e) {
    log_.debug("control message: {}", e.what());
    return;
  }
  std::function<void(const json::value &)> handler;
  {
    std::lock_guard lock(mutex_);
    handler = control_;
    if (!handler && !ended_ && early_.size() < most_early) early_.push_back(std::move(m));
  }
  if (!handler) return;
  try {
    handler(m);
  } catch (const std::exception &e) {
    log_.debug("control message: {}", e.what());
  }
}

std::string LateStreams::claim(const std::string &secret) {
  std::lock_guard lock(mutex_);
  for (auto &[name, s] : slots_) {
    if (s.secret.size() != secret.size() || CRYPTO_memcmp(s.secret.data(), secret.data(), secret.size()) != 0) continue;
    if (s.claimed || ended_) break;
    s.claimed = true;
    return name;
  }
  base::fail(ErrorCode::forbidden, "not authorized: the secret is wrong or was used");
}

void LateStreams::connected(const std::string &name, std::shared_ptr<Socket> socket) {
  std::shared_ptr<Pump> pump;
  base::Fd in, out;
  {
    std::lock_guard lock(mutex_);
    auto &s = slots_[name];
    if (ended_ || cancelled_) {
      socket->close();
      return;
    }
    pump = s.pump = std::make_shared<Pump>(std::move(socket), weak_from_this(), name);
    in = std::move(s.in_ours);
    out = std::move(s.out_ours);
    s.connected = true;
    changed_.notify_all();
  }
  pump->start(std::move(in), std::move(out));
}

void LateStreams::lost(const std::string &name) { gone(name); }

/// A client's websocket has gone.
void LateStreams::gone(const std::string &name) {
  bool tell = false;
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    // The end of the control stream ends the command; so does that of its output where no control stream was opened. A client that waits for
    // nothing more of the output has closed it.
    bool controlled = slots_["control"].connected;
    if (name == "control" || (!controlled && (name == "1" || (interactive_ && name == "0"))) || (!waited_ && (interactive_ || name != "0"))) {
      gone_ = tell = true;
      changed_.notify_all();
    }
  }
  if (tell) call_gone();
}

void LateStreams::started(const std::shared_ptr<api::OperationBackend> &operation, const std::string &id) {
  {
    std::lock_guard lock(mutex_);
    id_ = id;
  }
  {
    std::lock_guard lock(server_.mutex);
    server_.late[id] = shared_from_this();
  }
  auto told = [gate = gate_, weak = weak_from_this(), executor = server_.workers->io().get_executor()] {
    gate->post(executor, [weak] {
      if (auto self = weak.lock()) self->ended();
    });
  };
  if (operation->on_end(told)) return;
  server_.workers->patient(Workers::Lane::stream, share_of(creator_.get()), [operation, told, gate = gate_] {
    try {
      while (!operation->wait(std::chrono::seconds(10)) && gate->open()) {
      }
    } catch (const std::exception &) {
    }
    told();
  });
}

void LateStreams::abandon() {
  {
    std::lock_guard lock(mutex_);
    // Nothing of the server's is touched from here on: the operation may outlive it.
    cancelled_ = ended_ = true;
    control_ = {};
    on_gone_ = {};
    early_.clear();
    for (auto &[n, s] : slots_) {
      s.pump.reset();
      s.in_ours.reset();
      s.in_theirs.reset();
      s.out_ours.reset();
      s.out_theirs.reset();
    }
    changed_.notify_all();
  }
}

void LateStreams::ended() {
  std::vector<std::shared_ptr<Pump>> pumps;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    control_ = {};
    on_gone_ = {};
    early_.clear();
    for (auto &[n, s] : slots_) {
      if (s.pump) pumps.push_back(std::move(s.pump));
      s.in_ours.reset();
      s.in_theirs.reset();
      s.out_ours.reset();
      s.out_theirs.reset();
    }
  }
  for (auto &p : pumps) asio::post(p->socket->executor(), [p] { p->ended(); });
  std::lock_guard lock(server_.mutex);
  server_.late.erase(id_);
}

} // namespace incus::rest
