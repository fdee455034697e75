// SPDX-License-Identifier: Apache-2.0
// A door that records what it was asked and answers what the test says. It has no behaviour of an engine.
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>

#include "api/door.hpp"
#include "api/records.hpp"

namespace incus::test {

class FakeOperation final : public api::OperationBackend {
public:
  explicit FakeOperation(std::string id) {
    info_.id = std::move(id);
    info_.status_code = 103;
  }
  OperationInfo info() override {
    std::lock_guard lock(mutex_);
    return info_;
  }
  bool wait(std::optional<std::chrono::milliseconds> timeout) override {
    std::unique_lock lock(mutex_);
    auto ended = [&] { return done_; };
    if (timeout) return changed_.wait_for(lock, *timeout, ended);
    changed_.wait(lock, ended);
    return true;
  }
  void rethrow() override {
    std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }
  void cancel() override { cancels++; }
  void control(const boost::json::value &m) override { controls.push_back(boost::json::serialize(m)); }

  void finish(const boost::json::value &info) {
    std::lock_guard lock(mutex_);
    info_ = api::from_json<OperationInfo>(info);
    done_ = true;
    changed_.notify_all();
  }
  void fail(const Error &e) {
    std::lock_guard lock(mutex_);
    failure_ = std::make_exception_ptr(e);
    done_ = true;
    changed_.notify_all();
  }
  int cancels = 0;
  std::vector<std::string> controls;

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  OperationInfo info_;
  std::exception_ptr failure_;
  bool done_ = false;
};

class FakeListener final : public api::ListenerBackend {
public:
  std::optional<Event> next(std::chrono::milliseconds) override {
    if (events.empty()) return std::nullopt;
    auto e = events.front();
    events.pop_front();
    return e;
  }
  bool overflowed() override { return false; }
  void close() override { closes++; }
  std::deque<Event> events;
  int closes = 0;
};

class FakeDoor final : public api::Door {
public:
  struct Call {
    api::RowId id;
    api::Request request;
  };
  ~FakeDoor() override { destroyed = true; }

  api::Reply perform(const api::Row &row, api::Request request) override {
    if (auto f = failures_.find(row.id); f != failures_.end()) throw Error(f->second, "made to fail");
    if (on_call) on_call(row.id, request);
    api::Reply r;
    r.metadata = reply;
    if (auto c = canned_.find(row.id); c != canned_.end()) r.metadata = c->second;
    r.etag = "etag-1";
    if (row.kind == api::Kind::async) {
      auto op = std::make_shared<FakeOperation>("op-" + std::to_string(operations.size() + 1));
      operations.push_back(op);
      r.operation = op;
      if (row.id == api::RowId::instance_exec_post && on_exec_call)
        on_exec_call(request, *op);
      else if (finish_operations)
        op->finish(operation_result.is_null() ? boost::json::value{{"id", op->info().id}, {"status_code", 200}} : operation_result);
    }
    // The streams are closed as a door closes them that has done its work.
    request.streams.clear();
    calls.push_back({row.id, std::move(request)});
    return r;
  }
  std::shared_ptr<api::ListenerBackend> listen(const std::vector<std::string> &types, std::size_t) override {
    listened = types;
    listener = std::make_shared<FakeListener>();
    return listener;
  }
  void close() override { closes++; }

  void on(api::RowId id, boost::json::value metadata) { canned_[id] = std::move(metadata); }
  void fail(api::RowId id, ErrorCode code) { failures_[id] = code; }
  void forgive() { failures_.clear(); }

  boost::json::value reply, operation_result;
  bool finish_operations = true;
  int closes = 0;
  std::vector<Call> calls;
  std::vector<std::shared_ptr<FakeOperation>> operations;
  std::function<void(api::RowId, api::Request &)> on_call;
  std::function<void(api::Request &, FakeOperation &)> on_exec_call;
  std::vector<std::string> listened;
  std::shared_ptr<FakeListener> listener;
  static inline bool destroyed = false;

private:
  std::map<api::RowId, boost::json::value> canned_;
  std::map<api::RowId, ErrorCode> failures_;
};

/// A Host over a fake door; `door` is set to it and lives as long as the Host's session.
inline Host fake_host(FakeDoor *&door) {
  auto d = std::make_unique<FakeDoor>();
  door = d.get();
  FakeDoor::destroyed = false;
  return api::Session::host(std::make_shared<api::Session>("fake:", std::move(d)));
}

} // namespace incus::test
