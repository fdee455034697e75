// SPDX-License-Identifier: Apache-2.0
#include "rest/access.hpp"

#include "base/error.hpp"

namespace incus::rest {

void authorize(const api::Row &row, const api::Request &q) {
  using api::Access;
  using Kind = api::Caller::Kind;
  bool ok = false;
  auto kind = q.caller ? q.caller->kind : Kind::unknown;
  switch (row.access) {
  case Access::anyone: ok = true; break;
  case Access::trusted: ok = kind == Kind::local || kind == Kind::trusted; break;
  case Access::project: ok = q.caller && q.caller->may_use(q.project()); break;
  case Access::admin: ok = q.caller && q.caller->is_admin(); break;
  case Access::metrics: ok = kind != Kind::unknown; break;
  case Access::local: ok = kind == Kind::local; break;
  }
  if (!ok) base::fail(ErrorCode::forbidden, "not authorized");
}

bool same_caller(const api::Caller *a, const api::Caller *b) {
  if (!a || !b) return a == b;
  return a->kind == b->kind && (a->kind == api::Caller::Kind::local ? a->uid == b->uid : a->name == b->name && a->certificate == b->certificate);
}

} // namespace incus::rest
