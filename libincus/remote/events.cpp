// SPDX-License-Identifier: Apache-2.0
#include "remote/events.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>

#include "api/records.hpp"
#include "base/names.hpp"
#include "remote/websocket.hpp"

namespace incus::remote {

EventStream::EventStream(ClientPtr client, std::vector<std::string> types)
    : client_(std::move(client)), types_(std::move(types)), context_(std::make_unique<boost::asio::io_context>(1)) {}
EventStream::~EventStream() = default;

std::string EventStream::path() const {
  std::string list;
  for (auto &t : types_) list += (list.empty() ? "" : ",") + t;
  std::map<std::string, std::string> query;
  if (!list.empty()) query["type"] = list;
  if (all_projects_) query["all-projects"] = "true";
  auto q = query_string(query);
  return "/1.0/events" + (q.empty() ? "" : "?" + q);
}

bool EventStream::connect_and_read() {
  std::optional<Error> failure;
  context_->restart();
  socket_ = make_websocket(*context_, client_->pool.target());
  auto opened = [&](std::optional<Error> e) {
    failure = std::move(e);
    if (failure) return socket_->abort();
    if (on_connected) on_connected(std::exchange(connected_before_, true));
    tried({});
    read_next();
  };
  try {
    socket_->open(path(), opened);
    context_->run(); // until the socket's end
  } catch (const Error &e) {
    failure = e;
    socket_->abort();
    context_->restart();
    context_->run();
  }
  socket_.reset();
  // A restricted client may not listen to all projects.
  if (failure && failure->code() == ErrorCode::forbidden && std::exchange(all_projects_, false)) return true;
  if (failure) tried(std::move(failure));
  return false;
}

void EventStream::tried(std::optional<Error> failure) {
  std::lock_guard lock(mutex_);
  if (std::exchange(tried_, true)) return;
  failure_ = std::move(failure);
  changed_.notify_all();
}

void EventStream::run() {
  auto pause = Milliseconds(100);
  while (!stopped_) {
    auto begun = std::chrono::steady_clock::now();
    if (connect_and_read()) continue;
    if (std::chrono::steady_clock::now() - begun > std::chrono::seconds(10)) pause = Milliseconds(100);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, pause, [&] { return stopped_.load(); });
    pause = std::min(pause * 2, Milliseconds(5000));
  }
}

void EventStream::read_next() {
  socket_->read([this](bool more, bool, std::string data) {
    if (!more || stopped_) return socket_->abort();
    try {
      if (on_event) on_event(api::parse_json(data, "an event"));
    } catch (const Error &e) {
      client_->log.warning("an event of the server {} cannot be read: {}", base::quoted(client_->pool.target().name()), e.what());
    }
    read_next();
  });
}

void EventStream::stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    if (!tried_) {
      tried_ = true;
      failure_ = Error(ErrorCode::unavailable, "the host was closed");
    }
    changed_.notify_all();
  }
  // Held by the context, which may never run again, it must not hold the stream.
  boost::asio::post(*context_, [weak = weak_from_this()] {
    if (auto self = weak.lock(); self && self->socket_) self->socket_->abort();
  });
}

void EventStream::wait_connected() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return tried_; });
  if (failure_) throw *failure_;
}

namespace {

struct Queue {
  std::mutex mutex;
  std::condition_variable ready;
  std::deque<Event> events;
  std::size_t capacity;
  bool overflowed = false, closed = false;

  void push(Event e) {
    std::lock_guard lock(mutex);
    if (closed) return;
    if (events.size() >= capacity) {
      events.pop_front();
      overflowed = true;
    }
    events.push_back(std::move(e));
    ready.notify_one();
  }
};

class Listener final : public api::ListenerBackend {
public:
  Listener(const ClientPtr &client, const std::vector<std::string> &types, std::size_t capacity)
      : queue_(std::make_shared<Queue>()), stream_(std::make_shared<EventStream>(client, types)) {
    queue_->capacity = capacity;
    stream_->on_connected = [queue = queue_](bool again) {
      if (!again) return;
      std::lock_guard lock(queue->mutex);
      queue->overflowed = true;
      queue->ready.notify_all();
    };
    stream_->on_event = [queue = queue_](const json::value &v) { queue->push(api::from_json<Event>(v)); };
    client->crew.start([stream = stream_, queue = queue_] {
      stream->run();
      std::lock_guard lock(queue->mutex);
      queue->closed = true;
      queue->ready.notify_all();
    }, [stream = stream_] { stream->stop(); });
    try {
      stream_->wait_connected();
    } catch (...) {
      stream_->stop();
      throw;
    }
  }
  ~Listener() override { close(); }

  std::optional<Event> next(Milliseconds timeout) override {
    std::unique_lock lock(queue_->mutex);
    queue_->ready.wait_for(lock, timeout, [&] { return queue_->closed || !queue_->events.empty(); });
    if (queue_->events.empty()) return std::nullopt;
    Event e = std::move(queue_->events.front());
    queue_->events.pop_front();
    return e;
  }
  bool overflowed() override {
    std::lock_guard lock(queue_->mutex);
    return std::exchange(queue_->overflowed, false);
  }
  void close() override {
    {
      std::lock_guard lock(queue_->mutex);
      queue_->closed = true;
      queue_->ready.notify_all();
    }
    stream_->stop();
  }

private:
  const std::shared_ptr<Queue> queue_;
  const std::shared_ptr<EventStream> stream_;
};

} // namespace

std::shared_ptr<api::ListenerBackend> listen(const ClientPtr &client, const std::vector<std::string> &types, std::size_t capacity) {
  for (auto &t : types)
    if (t != "lifecycle" && t != "operation" && t != "logging")
      base::fail(ErrorCode::invalid_argument, "unknown event type {}: must be lifecycle, operation or logging", base::quoted(t));
  return std::make_shared<Listener>(client, types, capacity);
}

} // namespace incus::remote
