// SPDX-License-Identifier: Apache-2.0
#include "embed/events.hpp"

#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"

namespace incus::embed {

namespace {

thread_local WorksFor::Who works_for;

boost::json::object requestor(const api::Caller &c) {
  using Kind = api::Caller::Kind;
  auto address = c.address;
  // Without the port: "192.0.2.1:40000", "[2001:db8::1]:40000".
  if (auto colon = address.rfind(':'); colon != address.npos) {
    auto host = address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']')
      address = host.substr(1, host.size() - 2);
    else if (host.find(':') == host.npos)
      address = host;
  }
  return {{"username", c.name}, {"protocol", c.kind == Kind::local ? "unix" : c.kind == Kind::trusted || c.kind == Kind::metrics ? "tls" : ""}, {"address", address}};
}

} // namespace

WorksFor::WorksFor(Who who) : before_(std::exchange(works_for, std::move(who))) {}
WorksFor::~WorksFor() { works_for = std::move(before_); }
WorksFor::Who WorksFor::now() { return works_for; }

class EventHub::Listener final : public api::ListenerBackend {
public:
  Listener(std::set<std::string> types, std::size_t capacity) : types_(std::move(types)), capacity_(capacity) {}

  std::optional<Event> next(std::chrono::milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [&] { return closed_ || !queue_.empty(); });
    if (queue_.empty()) return std::nullopt;
    Event e = std::move(queue_.front());
    queue_.pop_front();
    return e;
  }
  bool overflowed() override {
    std::lock_guard lock(mutex_);
    return std::exchange(overflowed_, false);
  }
  void close() override {
    std::lock_guard lock(mutex_);
    closed_ = true;
    ready_.notify_all();
    if (told_) told_();
  }
  bool on_ready(std::function<void()> told) override {
    std::lock_guard lock(mutex_);
    told_ = std::move(told);
    if (told_ && (closed_ || !queue_.empty())) told_();
    return true;
  }
  bool wants(const std::string &type) const { return types_.empty() || types_.count(type); }
  void push(const Event &e) {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    if (queue_.size() >= capacity_) {
      queue_.pop_front();
      overflowed_ = true;
    }
    queue_.push_back(e);
    ready_.notify_one();
    if (told_ && queue_.size() == 1) told_();
  }

private:
  const std::set<std::string> types_;
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Event> queue_;
  std::function<void()> told_;
  bool overflowed_ = false, closed_ = false;
};

std::shared_ptr<api::ListenerBackend> EventHub::listen(const std::vector<std::string> &types, std::size_t capacity) {
  for (auto &t : types)
    if (t != "lifecycle" && t != "operation" && t != "logging")
      base::fail(ErrorCode::invalid_argument, "unknown event type {}: must be lifecycle, operation or logging", base::quoted(t));
  if (capacity == 0) base::fail(ErrorCode::invalid_argument, "invalid event capacity 0: must be at least 1");
  auto l = std::make_shared<Listener>(std::set<std::string>(types.begin(), types.end()), capacity);
  std::lock_guard lock(mutex_);
  if (closed_)
    l->close();
  else
    listeners_.push_back(l);
  return l;
}

void EventHub::publish(const std::string &type, const std::string &project, const std::function<boost::json::value()> &metadata) {
  std::vector<std::shared_ptr<Listener>> to;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(listeners_, [](auto &w) { return w.expired(); });
    for (auto &w : listeners_)
      if (auto l = w.lock(); l && l->wants(type)) to.push_back(std::move(l));
  }
  if (to.empty()) return;
  Event e;
  e.type = type;
  e.timestamp = base::now();
  e.metadata.text = boost::json::serialize(metadata());
  e.location = "none";
  e.project = project;
  for (auto &l : to) l->push(e);
}

void EventHub::lifecycle(const std::string &action, const std::string &source, const std::string &project, boost::json::object context) {
  publish("lifecycle", project, [&]() -> boost::json::value {
    boost::json::object o;
    o["action"] = action;
    o["source"] = source;
    if (!context.empty()) o["context"] = std::move(context);
    if (works_for) o["requestor"] = requestor(*works_for);
    constexpr std::string_view instances = "/1.0/instances/";
    if (source.starts_with(instances)) {
      auto name = source.substr(instances.size(), source.find('?') - instances.size());
      if (name.find('/') == name.npos) {
        o["name"] = name;
        o["project"] = project;
      }
    }
    return o;
  });
}

void EventHub::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  for (auto &w : listeners_)
    if (auto l = w.lock()) l->close();
}

} // namespace incus::embed
