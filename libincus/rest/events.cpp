// SPDX-License-Identifier: Apache-2.0
#include "rest/events.hpp"

#include <atomic>
#include <boost/json.hpp>
#include <thread>

#include "api/access.hpp"
#include "base/time.hpp"

namespace incus::rest {

namespace {

std::string text_of(const Event &e) {
  auto quote = [](const std::string &t) { return boost::json::serialize(boost::json::value(t)); };
  auto out = fmt::format(R"({{"type":{},"timestamp":{},"metadata":{})", quote(e.type), quote(base::format_time(e.timestamp)),
                         e.metadata.text.empty() ? "null" : e.metadata.text);
  if (!e.location.empty()) out += ",\"location\":" + quote(e.location);
  if (!e.project.empty()) out += ",\"project\":" + quote(e.project);
  return out + "}";
}

/// A client that takes nothing for so long has to list again.
constexpr std::size_t most_unsent = 4 << 20;

struct Feed : std::enable_shared_from_this<Feed> {
  std::shared_ptr<Socket> socket;
  std::shared_ptr<api::ListenerBackend> listener;
  std::shared_ptr<EventWish> wish;
  bool sending = false;
  std::atomic<bool> over{false}; ///< also read by the thread that asks a door which cannot tell

  bool wanted(const Event &e) const {
    if (!e.project.empty() && !wish->all_projects && e.project != wish->project) return false;
    return api::may_see(wish->caller.get(), e);
  }

  void drain() {
    if (sending || over) return;
    if (listener->overflowed()) {
      // Events are missing: the client has to list again, which a new connection tells it to.
      socket->close(1013);
      return stop();
    }
    while (auto e = listener->next(std::chrono::milliseconds(0))) {
      if (!wanted(*e)) continue;
      sending = true;
      socket->send(text_of(*e), true, [self = shared_from_this()] {
        self->sending = false;
        self->drain();
      });
      return;
    }
  }

  /// From a door that cannot tell.
  void push(const Event &e) {
    if (over || !wanted(e)) return;
    if (listener->overflowed() || socket->unsent() > most_unsent) {
      socket->close(1013);
      return stop();
    }
    socket->send(text_of(e), true);
  }

  void stop() {
    if (over.exchange(true)) return;
    listener->on_ready({});
    listener->close();
  }
};

} // namespace

void serve_events(Server::Impl &server, std::shared_ptr<Socket> socket, std::shared_ptr<api::ListenerBackend> listener, std::shared_ptr<EventWish> wish) {
  auto feed = std::make_shared<Feed>();
  feed->socket = socket;
  feed->listener = listener;
  feed->wish = std::move(wish);
  socket->read([](std::string_view, bool) {}, [feed] { feed->stop(); });
  // The listener may outlive this server: it holds nothing of it.
  auto told = [gate = server.gate, weak = std::weak_ptr(feed)] {
    gate->run([&] {
      if (auto f = weak.lock()) boost::asio::post(f->socket->executor(), [f] { f->drain(); });
    });
  };
  if (listener->on_ready(told)) return;
  // A door that cannot tell is asked in a thread.
  server.workers->patient(Workers::Lane::stream, share_of(nullptr), [listener, feed, gate = server.gate, executor = socket->executor()] {
    while (!feed->over) {
      auto begun = std::chrono::steady_clock::now();
      auto e = listener->next(std::chrono::milliseconds(1000));
      if (e)
        gate->post(executor, [feed, e = std::move(*e)] { feed->push(e); });
      else if (std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(500))
        std::this_thread::sleep_for(std::chrono::milliseconds(200)); // it is closed; the client's end is still to come
    }
  });
}

} // namespace incus::rest
