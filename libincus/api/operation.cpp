// SPDX-License-Identifier: Apache-2.0
// Operation and EventListener, and the backends that stand between them and a door.
#include <incus/operation.hpp>

#include "api/call.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"

namespace incus {
namespace api {
namespace {

/// In a forked child the other side's threads are gone and its locks may be held for ever: neither call nor destroy it there.
template <class T> void abandon_if_forked(const SessionPtr &session, std::shared_ptr<T> &inner) {
  if (!session->same_process()) new std::shared_ptr<T>(std::move(inner));
}

class Finished final : public OperationBackend {
public:
  explicit Finished(const std::string &description) {
    info_.id = base::uuid();
    info_.class_ = "task";
    info_.description = description;
    info_.created_at = info_.updated_at = base::now();
    info_.status = "Success";
    info_.status_code = 200;
  }
  OperationInfo info() override { return info_; }
  bool wait(std::optional<std::chrono::milliseconds>) override { return true; }
  void rethrow() override {}
  void cancel() override {}
  void control(const json::value &) override {}

private:
  OperationInfo info_;
};

class GuardedOperation final : public OperationBackend {
public:
  GuardedOperation(SessionPtr session, std::shared_ptr<OperationBackend> inner) : session_(std::move(session)), inner_(std::move(inner)) {}
  ~GuardedOperation() override { abandon_if_forked(session_, inner_); }
  OperationInfo info() override { return inner().info(); }
  bool wait(std::optional<std::chrono::milliseconds> timeout) override { return inner().wait(timeout); }
  void rethrow() override { inner_->rethrow(); }
  void cancel() override { inner().cancel(); }
  void control(const json::value &message) override { inner().control(message); }

private:
  OperationBackend &inner() {
    session_->check();
    return *inner_;
  }
  SessionPtr session_;
  std::shared_ptr<OperationBackend> inner_;
};

class GuardedListener final : public ListenerBackend {
public:
  GuardedListener(SessionPtr session, std::shared_ptr<ListenerBackend> inner) : session_(std::move(session)), inner_(std::move(inner)) {}
  ~GuardedListener() override { abandon_if_forked(session_, inner_); }
  std::optional<Event> next(std::chrono::milliseconds timeout) override {
    session_->check_process();
    return inner_->next(timeout);
  }
  bool overflowed() override {
    session_->check_process();
    return inner_->overflowed();
  }
  void close() override {
    if (session_->same_process()) inner_->close();
  }

private:
  SessionPtr session_;
  std::shared_ptr<ListenerBackend> inner_;
};

/// An operation that this process did not begin, or of which the door gave no more than its document: through the rows alone.
class RowOperation final : public OperationBackend {
public:
  RowOperation(SessionPtr session, std::string id) : session_(std::move(session)), id_(std::move(id)) {}
  OperationInfo info() override { return from_json<OperationInfo>(perform(session_, RowId::operation_get, at({id_})).metadata); }
  bool wait(std::optional<std::chrono::milliseconds> timeout) override {
    auto r = at({id_});
    // REST counts this in whole seconds; a remainder is rounded up.
    if (timeout) r.query["timeout"] = std::to_string(std::chrono::ceil<std::chrono::seconds>(*timeout).count());
    auto last = from_json<OperationInfo>(perform(session_, RowId::operation_wait_get, std::move(r)).metadata);
    return last.status_code >= 200;
  }
  void rethrow() override {
    auto i = info();
    if (i.status_code >= 400) throw Error(i.status_code == 401 ? ErrorCode::cancelled : error_code_from(static_cast<int>(i.err_code), i.err_name), i.err);
  }
  void cancel() override { perform(session_, RowId::operation_delete, at({id_})); }
  void control(const json::value &) override {
    base::fail(ErrorCode::not_supported, "operation {} is controlled by the session that began it", base::quoted(id_));
  }

private:
  SessionPtr session_;
  std::string id_;
};

} // namespace

std::shared_ptr<OperationBackend> finished_operation(const std::string &description) { return std::make_shared<Finished>(description); }

Operation begin_or_done(const SessionPtr &session, RowId id, Request request) {
  request.want_operation = true;
  auto reply = perform(session, id, std::move(request));
  if (!reply.operation) reply.operation = finished_operation(fmt::format("{} {}", row(id).method, row(id).path));
  return guarded(session, std::move(reply.operation));
}

Operation guarded(const SessionPtr &session, std::shared_ptr<OperationBackend> backend) {
  if (!backend) base::fail(ErrorCode::internal, "the engine began an asynchronous request but gave no operation for it");
  return Operation(std::make_shared<GuardedOperation>(session, std::move(backend)));
}

std::shared_ptr<ListenerBackend> listen(const SessionPtr &session, const std::vector<std::string> &types, std::size_t capacity) {
  if (!session) base::fail(ErrorCode::unavailable, "this handle is empty: it was moved from");
  if (capacity == 0) base::fail(ErrorCode::invalid_argument, "invalid event capacity 0: must be at least 1");
  return std::make_shared<GuardedListener>(session, session->door().listen(types, capacity));
}

Operation find_operation(const SessionPtr &session, const std::string &id) {
  auto reply = perform(session, RowId::operation_get, at({id}));
  if (reply.operation) return guarded(session, std::move(reply.operation));
  return Operation(std::make_shared<RowOperation>(session, from_json<OperationInfo>(reply.metadata).id));
}

} // namespace api

inline namespace v0 {

namespace {

template <class T> T &live(const std::shared_ptr<T> &backend, const char *what) {
  if (!backend) base::fail(ErrorCode::invalid_argument, "this {} handle is empty", what);
  return *backend;
}

} // namespace

Operation::Operation() = default;
Operation::Operation(std::shared_ptr<api::OperationBackend> backend) : backend_(std::move(backend)) {}
Operation::~Operation() = default;
Operation::Operation(const Operation &) = default;
Operation &Operation::operator=(const Operation &) = default;

std::string Operation::id() const { return info().id; }
OperationInfo Operation::info() const { return live(backend_, "operation").info(); }

OperationInfo Operation::wait() const {
  auto &b = live(backend_, "operation");
  b.wait(std::nullopt);
  b.rethrow();
  return b.info();
}

OperationInfo Operation::wait_for(std::chrono::milliseconds timeout) const {
  auto &b = live(backend_, "operation");
  if (!b.wait(timeout)) {
    auto i = b.info();
    base::fail(ErrorCode::timeout, "operation {} ({}) did not end within {} ms; it goes on", base::quoted(i.id), i.description, timeout.count());
  }
  b.rethrow();
  return b.info();
}

bool Operation::done() const { return live(backend_, "operation").wait(std::chrono::milliseconds(0)); }
void Operation::cancel() const { live(backend_, "operation").cancel(); }

EventListener::EventListener(std::shared_ptr<api::ListenerBackend> backend) : backend_(std::move(backend)) {}
EventListener::~EventListener() {
  try {
    close();
  } catch (...) {
    // A destructor has nobody to tell.
  }
}
EventListener::EventListener(EventListener &&) noexcept = default;
EventListener &EventListener::operator=(EventListener &&o) noexcept {
  if (this != &o) {
    EventListener old(std::move(*this));
    backend_ = std::move(o.backend_);
  }
  return *this;
}
std::optional<Event> EventListener::next(std::chrono::milliseconds timeout) { return live(backend_, "event listener").next(timeout); }
bool EventListener::overflowed() { return live(backend_, "event listener").overflowed(); }
void EventListener::close() {
  if (backend_) backend_->close();
}

} // namespace v0
} // namespace incus
