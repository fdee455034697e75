// SPDX-License-Identifier: Apache-2.0
#include "remote/client.hpp"

#include <boost/json.hpp>
#include <csignal>
#include <pthread.h>

#include "api/convert.hpp"
#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::remote {

std::string escape(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    if (plain)
      out += static_cast<char>(c);
    else
      (((out += '%') += digits[c >> 4])) += digits[c & 15];
  }
  return out;
}

std::string query_string(const std::map<std::string, std::string> &query) {
  std::string out;
  for (auto &[k, v] : query) out += (out.empty() ? "" : "&") + escape(k) + "=" + escape(v);
  return out;
}

void Crew::start(std::function<void()> work, std::function<void()> stop) {
  auto member = std::make_shared<Member>(Member{std::move(stop)});
  {
    std::lock_guard lock(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "the host is closed: open it again");
    members_.insert(member);
  }
  auto leave = [this, member] {
    // What it holds may give a connection back: gone before close() can return.
    std::function<void()> stop_of_it;
    {
      std::lock_guard lock(mutex_);
      stop_of_it.swap(member->stop);
    }
    stop_of_it = {};
    std::lock_guard lock(mutex_);
    members_.erase(member);
    gone_.notify_all();
  };
  // The program's signals are for its own threads; SIGPIPE of a pipe nobody reads becomes an error of write().
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  try {
    std::thread([work = std::move(work), leave]() mutable {
      try {
        work();
      } catch (...) {
        // Each piece of work keeps its own failure.
      }
      work = {};
      leave();
    }).detach();
  } catch (const std::exception &e) {
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    leave();
    throw Error(ErrorCode::unavailable, "cannot start a thread", e);
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void Crew::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  std::vector<std::function<void()>> stops;
  for (auto &m : members_)
    if (m->stop) stops.push_back(m->stop);
  lock.unlock();
  for (auto &stop : stops) stop();
  stops.clear();
  lock.lock();
  gone_.wait(lock, [&] { return members_.empty(); });
}

ErrorCode code_of(int status, std::string_view name, std::string_view text) {
  if (!name.empty()) {
    auto code = error_code_from(0, name);
    if (code != ErrorCode::internal || name == "internal") return code;
  }
  auto has = [&](std::string_view part) { return text.find(part) != text.npos; };
  // The official server has fewer statuses than there are codes, and none for the end of an operation.
  if (status == 0 || status == 400 || status == 500) {
    if (has("already running") || has("is running") || has("not running") || has("is not frozen") || has("already stopped") || has("already frozen") ||
        has("in use") || has("used by"))
      return ErrorCode::conflict;
    if (has("already exists")) return ErrorCode::already_exists;
    if (has("not found")) return ErrorCode::not_found;
    if (has("No space left") || has("disk quota exceeded")) return ErrorCode::no_space;
    if (has("context deadline exceeded") || has("timed out") || has("Failed to shutdown")) return ErrorCode::timeout;
  }
  return status == 0 ? ErrorCode::internal : error_code_from(status);
}

namespace {

std::string text_field(const json::object &o, const char *name) {
  auto *v = o.if_contains(name);
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

/// A body whose length was given is whole even when the server then closes.
bool is_json(const Head &head) { return head.header("content-type").starts_with("application/json"); }

} // namespace

void throw_failure(const OperationInfo &info, const std::string &name) {
  if (info.status_code < 400) return;
  auto code = info.status_code == 401 ? ErrorCode::cancelled : code_of(static_cast<int>(info.err_code), name, info.err);
  throw Error(code, info.err.empty() ? fmt::format("operation {} ({}) failed; the server did not say why", base::quoted(info.id), info.description) : info.err);
}

std::string Client::read_all(Pool::Lease &lease, const Head &head, std::size_t limit, Patience patience) {
  std::string out;
  auto too_large = [&] {
    base::fail(ErrorCode::too_large, "the server {} answers with more than {} bytes", base::quoted(pool.target().name()), limit);
  };
  if (head.length > static_cast<std::int64_t>(limit)) too_large();
  std::size_t step = head.length >= 0 ? static_cast<std::size_t>(head.length) + 1 : 64 * 1024;
  for (;;) {
    auto at = out.size();
    if (at > limit) too_large();
    out.resize(at + std::min(step, std::size_t(1) << 20));
    auto n = lease->read(out.data() + at, out.size() - at, patience);
    out.resize(at + n);
    if (n == 0) return out;
    step = std::max(step, out.size());
  }
}

Answer Client::parse(Head head, const std::string &text, const Outgoing &request) {
  auto strange = [&](const std::string &why) {
    base::fail(ErrorCode::internal, "the server {} answers {} {} in a way that is not of the Incus API: {}", base::quoted(pool.target().name()), request.method,
               base::quoted(request.target), why);
  };
  Answer a;
  json::value v;
  try {
    v = api::parse_json(text, "the answer");
  } catch (const Error &e) {
    if (head.status >= 400) throw Error(error_code_from(head.status), fmt::format("the server {} answers {}: {}", base::quoted(pool.target().name()), head.status, base::quoted(text.substr(0, 200))));
    strange(e.what());
  }
  auto *o = v.if_object();
  if (!o) strange("no JSON object");
  auto type = text_field(*o, "type");
  if (type == "error" || head.status >= 400) {
    auto message = text_field(*o, "error");
    auto name = head.header("x-libincus-error");
    int status = head.status;
    if (auto *c = o->if_contains("error_code"); c && c->is_int64() && c->get_int64() >= 400 && c->get_int64() < 600) status = static_cast<int>(c->get_int64());
    throw Error(code_of(status, name, message),
                message.empty() ? fmt::format("the server refuses {} {} with status {}", request.method, base::quoted(request.target), status) : message);
  }
  if (type == "sync")
    a.type = Answer::Type::sync;
  else if (type == "async")
    a.type = Answer::Type::async;
  else
    strange(fmt::format("type {}", base::quoted(type)));
  a.operation = text_field(*o, "operation");
  if (auto *m = o->if_contains("metadata")) a.metadata = std::move(*m);
  a.head = std::move(head);
  return a;
}

Pool::Lease Client::stream(Outgoing &request, Patience patience, Head &head, std::optional<Answer> &answer) {
  for (int attempt = 0;; attempt++) {
    auto lease = pool.take(attempt > 0);
    try {
      head = lease->exchange(request, patience);
    } catch (const Error &e) {
      // The server may have closed an idle connection in the moment we used it. Reading may be repeated.
      if (lease.fresh() || attempt > 0 || e.code() != ErrorCode::unavailable || pool.closed() || (request.method != "GET" && request.method != "HEAD")) throw;
      continue;
    }
    if (head.status == 101) return lease;
    if (request.method == "HEAD") {
      if (head.status >= 400) throw Error(error_code_from(head.status), fmt::format("the server refuses HEAD {} with status {}", base::quoted(request.target), head.status));
      answer.emplace();
      answer->head = head;
      return lease;
    }
    // A log with nothing in it is called JSON by the official server.
    if ((is_json(head) && head.length != 0) || head.status >= 300) answer = parse(head, read_all(lease, head, limit, patience), request);
    return lease;
  }
}

Answer Client::call(Outgoing request, Patience patience) {
  Head head;
  std::optional<Answer> answer;
  auto lease = stream(request, patience, head, answer);
  if (answer) return std::move(*answer);
  // Not marked as JSON, but nothing else can be expected here.
  return parse(head, read_all(lease, head, limit, patience), request);
}

Answer Client::call(const std::string &method, const std::string &target, const json::value &body, Patience patience) {
  Outgoing o;
  o.method = method;
  o.target = target;
  if (!body.is_null()) {
    o.body = json::serialize(body);
    o.headers["content-type"] = "application/json";
  }
  return call(std::move(o), patience);
}

} // namespace incus::remote
