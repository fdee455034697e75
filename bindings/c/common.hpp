// SPDX-License-Identifier: Apache-2.0
// What every file of the C face uses: the one translator of exceptions, checked arguments, outputs.
#pragma once
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <incus/incus.h>
#include <incus/incus.hpp>

#include "api/call.hpp"
#include "base/error.hpp"

struct incus_host {
  incus::Host host;
};
struct incus_operation {
  incus::Operation op;
};
struct incus_exec {
  incus::ExecSession session;
};
struct incus_listener {
  incus::EventListener listener;
};

namespace incus::c {

namespace json = boost::json;
using api::RowId;

/// The exception being handled as status and error object: the only place that knows how.
incus_status translate(incus_error **err) noexcept;

template <class F> incus_status guard(incus_error **err, F &&f) noexcept {
  if (err) *err = nullptr;
  try {
    f();
    return INCUS_OK;
  } catch (...) {
    return translate(err);
  }
}

[[noreturn]] void missing(const char *what);

template <class T> T &need(T *p, const char *what) {
  if (!p) missing(what);
  return *p;
}
/// A string that must be there.
inline std::string text(const char *s, const char *what) {
  if (!s) missing(what);
  return s;
}
inline std::string optional(const char *s) { return s ? s : ""; }
/// A JSON object that must be there; errors name `what`.
json::value object(const char *s, const char *what);
inline json::value optional_object(const char *s, const char *what) { return s && *s ? object(s, what) : json::value(json::object()); }

/// A malloc'ed copy with a NUL behind it.
char *copy(std::string_view s);
/// Outputs that may all be asked for are made before any is handed out, so that a failure changes none.
class Text {
public:
  explicit Text(std::string_view s) : p_(copy(s)) {}
  ~Text() { std::free(p_); }
  Text(const Text &) = delete;
  Text &operator=(const Text &) = delete;
  void give(char **out) {
    if (out) *out = std::exchange(p_, nullptr);
  }

private:
  char *p_;
};

inline const api::SessionPtr &session(incus_host *host) { return need(host, "host").host.session(); }

/// A synchronous row whose metadata and etag go to the caller; each may be null here (check first where one is required).
void answer(incus_host *host, RowId row, api::Request request, char **out, char **etag = nullptr);
/// The same with `json` required.
void query(incus_host *host, RowId row, api::Request request, char **out, char **etag = nullptr);
/// An asynchronous row: hands out its operation, or waits for it when `op` is null.
void begin(incus_host *host, RowId row, api::Request request, incus_operation **op);
void hand_out(Operation operation, incus_operation **op);

inline api::Request named(const char *project, std::vector<std::string> path) { return api::at(std::move(path), optional(project)); }
/// A list request; `recursion` is checked against `most`.
api::Request list(const char *project, int recursion, std::vector<std::string> path = {}, int most = 1);

} // namespace incus::c
