// SPDX-License-Identifier: Apache-2.0
#include "rest/events.hpp"

#include <boost/json.hpp>

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

struct Feed : std::enable_shared_from_this<Feed> {
  std::shared_ptr<Socket> socket;
  std::shared_ptr<api::ListenerBackend> listener;
  std::shared_ptr<EventWish> wish;
  bool sending = false, over = false;

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

  void stop() {
    if (over) return;
    over = true;
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
  server.workers->patient([listener, feed, gate = server.gate, executor = socket->executor()] {
    while (!feed->over) {
      auto e = listener->next(std::chrono::milliseconds(1000));
      if (!e) continue;
      gate->post(executor, [feed, e = std::move(*e)] {
        if (feed->wanted(e)) feed->socket->send(text_of(e), true);
      });
    }
  });
}

} // namespace incus::rest
