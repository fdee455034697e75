// SPDX-License-Identifier: Apache-2.0
#include "remote/operation.hpp"

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "remote/events.hpp"

namespace incus::remote {

OperationInfo operation_from_json(const json::value &document) {
  OperationInfo i;
  try {
    i = api::from_json<OperationInfo>(document);
  } catch (const Error &e) {
    throw Error(ErrorCode::internal, "the server sent an operation that cannot be read", e);
  }
  if (i.id.empty() || i.id.size() > 64 || i.id.find_first_not_of("0123456789abcdefABCDEF-") != i.id.npos)
    base::fail(ErrorCode::internal, "the server sent an operation with the invalid id {}", base::quoted(i.id));
  return i;
}

void RemoteOperation::take(OperationInfo now) {
  std::lock_guard lock(mutex_);
  if (last_.status_code >= 200 || now.id != id_) return;
  last_ = std::move(now);
  if (last_.status_code >= 200) changed_.notify_all();
}

bool RemoteOperation::ended() {
  std::lock_guard lock(mutex_);
  return last_.status_code >= 200;
}

void RemoteOperation::refresh() {
  if (!ended()) take(operation_from_json(client_->call("GET", "/1.0/operations/" + id_).metadata));
}

OperationInfo RemoteOperation::info() {
  try {
    refresh();
  } catch (const Error &e) {
    // It ended and the server forgot it; the tracker may know how.
    if (e.code() != ErrorCode::not_found || !ended()) throw;
  }
  std::lock_guard lock(mutex_);
  return last_;
}

/// Whether the end is known now: from the server, or when it has forgotten the operation, from the tracker, whose word may be on its way.
bool RemoteOperation::asked_again() {
  try {
    refresh();
    return ended();
  } catch (const Error &e) {
    if (e.code() != ErrorCode::not_found) return false;
  }
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(2), [&] { return last_.status_code >= 200; });
}

bool RemoteOperation::wait(std::optional<Milliseconds> timeout) {
  using Clock = std::chrono::steady_clock;
  auto end = timeout ? Clock::now() + *timeout : Clock::time_point::max();
  while (!ended()) {
    auto left = timeout ? std::chrono::ceil<Milliseconds>(end - Clock::now()) : Milliseconds::max();
    try {
      if (timeout && left.count() <= 0) {
        refresh();
        return ended();
      }
      auto target = "/1.0/operations/" + id_ + "/wait";
      Patience patience;
      if (timeout) {
        // REST counts in whole seconds; what is less is counted here.
        target += fmt::format("?timeout={}", std::chrono::ceil<std::chrono::seconds>(left).count());
        patience = left;
      }
      take(operation_from_json(client_->call("GET", target, nullptr, patience).metadata));
    } catch (const Error &e) {
      if (e.code() == ErrorCode::timeout && timeout && Clock::now() >= end) {
        refresh();
        return ended();
      }
      if (e.code() == ErrorCode::unavailable) throw;
      // The official server answers this call with the failure of the operation itself.
      if (asked_again()) continue;
      throw;
    }
  }
  return true;
}

void RemoteOperation::rethrow() {
  std::unique_lock lock(mutex_);
  auto i = last_;
  lock.unlock();
  throw_failure(i, i.err_name);
}

void RemoteOperation::cancel() {
  if (ended()) return;
  try {
    client_->call("DELETE", "/1.0/operations/" + id_);
  } catch (const Error &e) {
    if (e.code() == ErrorCode::not_found) return; // it has ended
    auto i = info();
    if (i.status_code >= 200) return;
    if (!i.may_cancel) throw Error(ErrorCode::not_supported, fmt::format("operation {} ({}) cannot be cancelled: wait for it", id_, i.description), e);
    throw;
  }
}

void RemoteOperation::control(const json::value &) {
  if (ended()) return;
  base::fail(ErrorCode::not_supported, "operation {} takes no control messages", id_);
}

void Tracker::add(const std::shared_ptr<RemoteOperation> &op) {
  std::lock_guard lock(mutex_);
  std::erase_if(all_, [](auto &kv) {
    auto p = kv.second.lock();
    return !p || p->ended();
  });
  all_[op->id()] = op;
  if (running_) return;
  auto events = std::make_shared<EventStream>(client_, std::vector<std::string>{"operation"});
  std::weak_ptr<Tracker> weak = weak_from_this();
  events->on_connected = [weak](bool) {
    if (auto self = weak.lock()) self->refresh_all();
  };
  events->on_event = [weak](const json::value &e) {
    auto self = weak.lock();
    if (!self) return;
    auto *o = e.if_object();
    auto *m = o ? o->if_contains("metadata") : nullptr;
    auto *id = m && m->is_object() ? m->get_object().if_contains("id") : nullptr;
    if (!id || !id->is_string()) return;
    std::shared_ptr<RemoteOperation> found;
    {
      std::lock_guard inner(self->mutex_);
      if (auto it = self->all_.find(std::string(id->get_string())); it != self->all_.end()) found = it->second.lock();
    }
    if (found) found->take(operation_from_json(*m));
  };
  try {
    client_->crew.start([events] { events->run(); }, [events] { events->stop(); });
    running_ = true;
  } catch (const Error &) {
    // No thread to be had: who waits in time still learns the end.
  }
}

void Tracker::refresh_all() {
  std::vector<std::shared_ptr<RemoteOperation>> now;
  {
    std::lock_guard lock(mutex_);
    for (auto &[id, weak] : all_)
      if (auto p = weak.lock()) now.push_back(std::move(p));
  }
  for (auto &op : now) {
    try {
      op->refresh();
    } catch (const Error &) {
      // Forgotten already, or the server is away.
    }
  }
}

} // namespace incus::remote
