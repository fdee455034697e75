// SPDX-License-Identifier: Apache-2.0
#include "embed/operations.hpp"

#include <csignal>
#include <system_error>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "embed/events.hpp"

namespace incus::embed {

namespace {
constexpr int running = 103, success = 200, failure = 400, cancelled = 401;
constexpr auto remembered = std::chrono::seconds(5);
} // namespace

OperationInfo TaskOperation::info() {
  std::lock_guard lock(mutex_);
  OperationInfo i = info_;
  i.metadata.text = metadata_.empty() ? "" : boost::json::serialize(metadata_);
  return i;
}

bool TaskOperation::wait(std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  if (timeout) return ended_.wait_for(lock, *timeout, [&] { return told_; });
  ended_.wait(lock, [&] { return told_; });
  return true;
}

void TaskOperation::rethrow() {
  std::lock_guard lock(mutex_);
  if (done_ && failure_) std::rethrow_exception(failure_);
}

void TaskOperation::cancel() {
  std::function<void()> tell;
  {
    std::lock_guard lock(mutex_);
    if (done_) return;
    if (!info_.may_cancel)
      base::fail(ErrorCode::not_supported, "operation {} ({}) cannot be cancelled: wait for it", info_.id, info_.description);
    tell = on_cancel;
    cancel_ = true;
  }
  if (tell) tell();
}

void TaskOperation::control(const boost::json::value &message) {
  std::function<void(const boost::json::value &)> tell;
  {
    std::lock_guard lock(mutex_);
    if (done_) return;
    tell = on_control;
  }
  if (!tell) base::fail(ErrorCode::not_supported, "operation {} takes no control messages", info().id);
  tell(message);
}

bool TaskOperation::on_end(std::function<void()> told) {
  {
    std::lock_guard lock(mutex_);
    if (!told_) {
      to_tell_.push_back(std::move(told));
      return true;
    }
  }
  told();
  return true;
}

void TaskOperation::set_handlers(std::function<void(const boost::json::value &)> control, std::function<void()> cancel) {
  std::function<void()> late;
  {
    std::lock_guard lock(mutex_);
    on_control.swap(control);
    on_cancel.swap(cancel);
    // Asked for before there was anything to end.
    if (cancel_) late = on_cancel;
  }
  if (late) late();
}

void TaskOperation::set_metadata(const std::string &key, boost::json::value value) {
  {
    std::lock_guard lock(mutex_);
    metadata_[key] = std::move(value);
    info_.updated_at = base::now();
  }
  publish();
}

void TaskOperation::add_resource(const std::string &kind, const std::string &url) {
  std::lock_guard lock(mutex_);
  info_.resources[kind].push_back(url);
}

void TaskOperation::check_cancelled() {
  if (cancel_) base::fail(ErrorCode::cancelled, "operation {} was cancelled", info().id);
}

void TaskOperation::progress(const std::string &stage, std::uint64_t done, std::uint64_t total) {
  check_cancelled();
  auto now = std::chrono::steady_clock::now();
  {
    std::lock_guard lock(mutex_);
    if (now - last_progress_ < std::chrono::milliseconds(100)) return;
    last_progress_ = now;
  }
  boost::json::object o;
  o["stage"] = stage;
  o["processed"] = std::to_string(done);
  if (total) o["percent"] = std::to_string(done * 100 / total);
  set_metadata("progress", std::move(o));
}

void TaskOperation::publish() {
  hub_->publish("operation", project_, [this] { return api::to_json(info()); });
}

void TaskOperation::finish(std::exception_ptr f) {
  // What the task held (descriptors of a command) goes before its end is told.
  {
    std::unique_lock lock(mutex_);
    auto control = std::exchange(on_control, {});
    auto cancel = std::exchange(on_cancel, {});
    lock.unlock();
  }
  std::vector<std::function<void()>> tell;
  {
    std::lock_guard lock(mutex_);
    // A token may be used in the moment in which it is taken back: the first end counts.
    if (done_) return;
    failure_ = f;
    info_.may_cancel = false;
    info_.updated_at = base::now();
    if (!f) {
      info_.status = "Success";
      info_.status_code = success;
    } else {
      info_.status = "Failure";
      info_.status_code = failure;
      try {
        std::rethrow_exception(f);
      } catch (const Error &e) {
        info_.err = e.what();
        info_.err_code = http_status(e.code());
        info_.err_name = error_code_name(e.code());
        if (e.code() == ErrorCode::cancelled) {
          info_.status = "Cancelled";
          info_.status_code = cancelled;
        }
      } catch (const std::exception &e) {
        info_.err = e.what();
        info_.err_code = 500;
        info_.err_name = error_code_name(ErrorCode::internal);
        failure_ = std::make_exception_ptr(Error(ErrorCode::internal, e.what()));
      }
    }
    done_ = true;
    ended_at_ = std::chrono::steady_clock::now();
  }
  // Whoever waited finds the event of the end already sent: what it listens to from here on is not about this operation.
  publish();
  {
    std::lock_guard lock(mutex_);
    told_ = true;
    tell.swap(to_tell_);
    ended_.notify_all();
  }
  for (auto &t : tell) t();
}

std::shared_ptr<TaskOperation> Operations::start(OperationSpec spec, Body body) { return start(std::move(spec), {}, std::move(body)); }

std::shared_ptr<TaskOperation> Operations::make(OperationSpec &spec) {
  auto op = std::make_shared<TaskOperation>();
  op->hub_ = &hub_;
  op->project_ = spec.project;
  op->for_whom_ = WorksFor::now();
  auto &i = op->info_;
  i.id = base::uuid();
  i.class_ = spec.class_;
  i.description = spec.description;
  i.created_at = i.updated_at = base::now();
  i.status = "Running";
  i.status_code = running;
  i.resources = std::move(spec.resources);
  i.may_cancel = spec.may_cancel;
  op->metadata_ = std::move(spec.metadata);
  i.location = "none";
  return op;
}

std::shared_ptr<TaskOperation> Operations::hold(OperationSpec spec, const std::function<void(TaskOperation &)> &setup) {
  auto op = make(spec);
  setup(*op);
  {
    std::lock_guard lock(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "cannot start \"{}\": the host is closing", spec.description);
    prune();
    all_[op->info_.id] = op;
  }
  op->publish();
  return op;
}

std::shared_ptr<TaskOperation> Operations::start(OperationSpec spec, const std::function<void(TaskOperation &)> &setup, Body body) {
  auto op = make(spec);
  auto &i = op->info_;
  if (setup) setup(*op);
  {
    std::lock_guard lock(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "cannot start \"{}\": the host is closing", spec.description);
    prune();
    all_[i.id] = op;
    running_++;
  }
  op->publish();
  // Threads of the library take no signals of the program.
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  try {
    std::thread([this, op, body = std::move(body)]() mutable {
      std::exception_ptr failed;
      WorksFor scope(op->for_whom_);
      try {
        body(*op);
      } catch (...) {
        failed = std::current_exception();
      }
      body = {};
      op->finish(failed);
      std::lock_guard lock(mutex_);
      running_--;
      idle_.notify_all();
    }).detach();
  } catch (const std::system_error &e) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    {
      std::lock_guard lock(mutex_);
      running_--;
      all_.erase(op->info_.id);
    }
    base::fail(ErrorCode::unavailable, "cannot start a thread for \"{}\": {}", spec.description, e.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return op;
}

void Operations::prune() {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(all_, [&](auto &kv) {
    std::lock_guard lock(kv.second->mutex_);
    return kv.second->done_ && now - kv.second->ended_at_ > remembered;
  });
}

std::vector<std::shared_ptr<TaskOperation>> Operations::all() {
  std::vector<std::shared_ptr<TaskOperation>> out;
  {
    std::lock_guard lock(mutex_);
    prune();
    for (auto &[id, op] : all_) out.push_back(op);
  }
  std::sort(out.begin(), out.end(), [](auto &a, auto &b) { return a->info_.created_at < b->info_.created_at; });
  return out;
}

std::vector<std::pair<OperationInfo, std::string>> Operations::list() {
  std::vector<std::pair<OperationInfo, std::string>> out;
  for (auto &op : all()) out.emplace_back(op->info(), op->project());
  return out;
}

std::shared_ptr<TaskOperation> Operations::find(const std::string &id) {
  std::lock_guard lock(mutex_);
  prune();
  auto it = all_.find(id);
  if (it == all_.end()) base::fail(ErrorCode::not_found, "operation {} not found", base::quoted(id));
  return it->second;
}

void Operations::close() {
  std::vector<std::shared_ptr<TaskOperation>> ops;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    for (auto &[id, op] : all_) ops.push_back(op);
  }
  for (auto &op : ops) {
    try {
      op->cancel();
    } catch (const std::exception &e) {
      log_.debug("closing: {}", e.what());
    }
  }
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return running_ == 0; });
}

} // namespace incus::embed
