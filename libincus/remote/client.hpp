// SPDX-License-Identifier: Apache-2.0
// Calls of the REST API: the envelope around documents, errors, and threads that outlive a call. What all parts of the door share.
#pragma once
#include <boost/json/value.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "api/door.hpp"
#include "base/log.hpp"
#include "remote/http.hpp"

namespace incus::remote {

namespace json = boost::json;

/// The longest document of JSON that is taken.
constexpr std::size_t document_limit = 256u << 20;

std::string escape(std::string_view text);
/// "k=v&k2=v2"; empty for none.
std::string query_string(const std::map<std::string, std::string> &query);

struct Answer {
  enum class Type { sync, async, error } type = Type::sync;
  Head head;
  json::value metadata;
  std::string operation; ///< of async: the operation's URL
};

/// Threads of a door: each ends by itself or when it is told; close() waits for all.
class Crew {
public:
  ~Crew() { close(); }
  /// `stop` is called from another thread to end `work` early. Throws `unavailable` when no thread can be had or all is closed.
  void start(std::function<void()> work, std::function<void()> stop);
  void close();

private:
  struct Member {
    std::function<void()> stop;
  };
  std::mutex mutex_;
  std::condition_variable gone_;
  std::set<std::shared_ptr<Member>> members_;
  bool closed_ = false;
};

class Client {
public:
  Client(Target target, base::Log::Sink log) : pool(std::move(target)), log(std::move(log)) {}

  /// One call whose answer is a document. Throws what the server answers as an error.
  Answer call(Outgoing request, Patience patience);
  Answer call(const std::string &method, const std::string &target, const json::value &body = nullptr, Patience patience = Milliseconds(60000));
  /// A call whose answer may be bytes: `answer` is filled when it was a document, else the lease stands at the begin of the body.
  Pool::Lease stream(Outgoing &request, Patience patience, Head &head, std::optional<Answer> &answer);

  /// The rest of an answer; throws too_large.
  std::string read_all(Pool::Lease &lease, const Head &head, std::size_t limit, Patience patience);

  Pool pool;
  std::size_t limit = document_limit; ///< of an answer's document
  base::Log log;
  Crew crew;

private:
  Answer parse(Head head, const std::string &text, const Outgoing &request);
};

/// The code for an HTTP status and a text of a server that does not say more.
ErrorCode code_of(int status, std::string_view name, std::string_view text);
/// The failure of an operation's document; throws nothing when there is none.
void throw_failure(const OperationInfo &info, const std::string &name);

} // namespace incus::remote
