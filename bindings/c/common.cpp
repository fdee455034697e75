// SPDX-License-Identifier: Apache-2.0
#include "common.hpp"

#include <new>

#include "api/convert.hpp"
#include "base/names.hpp"

namespace incus::c {

json::value object(const char *s, const char *what) {
  if (!s) missing(what);
  auto v = api::parse_json(s, what);
  if (!v.is_object()) base::fail(ErrorCode::invalid_argument, "invalid {} {}: must be a JSON object", what, base::quoted(s));
  return v;
}

char *copy(std::string_view s) {
  auto *p = static_cast<char *>(std::malloc(s.size() + 1));
  if (!p) throw std::bad_alloc();
  std::memcpy(p, s.data(), s.size());
  p[s.size()] = '\0';
  return p;
}

void answer(incus_host *host, RowId row, api::Request request, char **out, char **etag) {
  auto reply = api::perform(session(host), row, std::move(request));
  Text document(json::serialize(reply.metadata)), version(reply.etag);
  document.give(out);
  version.give(etag);
}

void query(incus_host *host, RowId row, api::Request request, char **out, char **etag) {
  need(out, "json");
  answer(host, row, std::move(request), out, etag);
}

void begin(incus_host *host, RowId row, api::Request request, incus_operation **op) {
  hand_out(api::begin(session(host), row, std::move(request)), op);
}

void hand_out(Operation operation, incus_operation **op) {
  if (op)
    *op = new incus_operation{std::move(operation)};
  else
    operation.wait();
}

api::Request list(const char *project, int recursion, std::vector<std::string> path, int most) {
  if (recursion < 0 || recursion > most) base::fail(ErrorCode::invalid_argument, "invalid recursion {}: must be 0 to {}", recursion, most);
  auto r = named(project, std::move(path));
  if (recursion > 0) r.query["recursion"] = std::to_string(recursion);
  return r;
}

} // namespace incus::c
