// SPDX-License-Identifier: Apache-2.0
#include "api/access.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::api {

namespace {

/// Lists that give a restricted caller what is in its own projects when it asks for all of them.
bool filters_all_projects(RowId id) {
  switch (id) {
  case RowId::instances_get:
  case RowId::profiles_get:
  case RowId::pool_volumes_get:
  case RowId::pool_volumes_type_get:
  case RowId::operations_get:
  case RowId::events_get:
    return true;
  default:
    return false;
  }
}

std::string text_at(const json::value &v, const char *key) {
  auto *o = v.if_object();
  auto *p = o ? o->if_contains(key) : nullptr;
  auto *s = p ? p->if_string() : nullptr;
  return s ? std::string(*s) : std::string();
}

void check_projects(const Row &row, const Request &q) {
  if (q.from_admin()) return;
  if (q.flag("all-projects")) {
    if (!filters_all_projects(row.id)) forbid("the certificate is restricted to some projects");
  } else if (row.access == Access::project) {
    require_project(q, q.project());
  } else if (auto it = q.query.find("project"); it != q.query.end() && !it->second.empty() && row.access != Access::anyone) {
    require_project(q, it->second);
  }
  if (row.access != Access::project) return;
  if (auto to = text_at(q.body, "project"); !to.empty()) require_project(q, to);
  if (auto *o = q.body.if_object())
    if (auto *source = o->if_contains("source"))
      // A project of another server is that server's matter.
      if (auto from = text_at(*source, "project"); !from.empty() && text_at(*source, "server").empty()) require_project(q, from);
}

} // namespace

void forbid(const std::string &why) { base::fail(ErrorCode::forbidden, "not authorized: {}", why); }

void require_project(const Request &q, const std::string &project) {
  if (!q.may_use(project)) forbid("project " + base::quoted(project) + " is not open to this client");
}

namespace {
/// An image that comes with a secret, which says more than who sends it; the handler checks it.
bool brings_secret(const Row &row, const Request &q) {
  auto type = q.header("content-type");
  return row.id == RowId::images_post && q.body.is_null() && !q.header("x-incus-secret").empty() && !q.header("x-incus-fingerprint").empty() && !type.empty() &&
         !type.starts_with("application/json") && !type.starts_with("text/json");
}
} // namespace

void authorize(const Row &row, const Request &q, bool open_metrics) {
  if (!q.caller || brings_secret(row, q)) return;
  auto &c = *q.caller;
  switch (row.access) {
  case Access::anyone:
    // A client that says it expects to be known wants to hear when it is not.
    if (!c.is_trusted() && !q.header("x-incus-authenticated").empty()) forbid("the client is not trusted");
    break;
  case Access::trusted:
  case Access::project:
    if (!c.is_trusted()) forbid("the client is not trusted");
    break;
  case Access::admin:
    if (!c.is_trusted()) forbid("the client is not trusted");
    if (!c.is_admin()) forbid("the certificate is restricted to some projects");
    break;
  case Access::metrics:
    if (!c.is_trusted() && c.kind != Caller::Kind::metrics && !open_metrics) forbid("the client is not trusted");
    // A certificate for metrics may be restricted to projects too; the handler shows what is in them.
    if (c.kind == Caller::Kind::metrics || !c.is_trusted()) return;
    break;
  case Access::local:
    if (c.kind != Caller::Kind::local) forbid("this can only be asked for over the unix socket");
    return;
  }
  check_projects(row, q);
}

void filter_used_by(const Request &q, std::vector<std::string> &urls) {
  if (q.from_admin()) return;
  std::erase_if(urls, [&](const std::string &u) {
    auto at = u.find("?project=");
    if (at != std::string::npos) at++;
    auto end = at == std::string::npos ? at : u.find('&', at);
    return !q.may_use(at == std::string::npos ? "default" : u.substr(at + 8, end == std::string::npos ? end : end - at - 8));
  });
}

bool may_see(const Caller *c, const Event &e) {
  if (!c || c->is_admin()) return true;
  if (c->kind != Caller::Kind::trusted) return false;
  // What has no project (log lines, pools, the server) concerns everybody and may name anybody.
  if (e.project.empty() || !c->may_use(e.project)) return false;
  // The secret of a trust token is in its operation.
  return e.type != "operation" || e.metadata.text.find("\"class\":\"token\"") == std::string::npos;
}

bool same_caller(const Caller *a, const Caller *b) {
  if (!a || !b) return a == b;
  if (a->kind != b->kind) return false;
  return a->kind == Caller::Kind::local ? a->uid == b->uid : !a->name.empty() && a->name == b->name;
}

} // namespace incus::api
