// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "api/records_warnings.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {
db::WarningRow find(db::Connection &c, const std::string &uuid) {
  auto all = db::warnings(c, uuid);
  if (all.empty()) base::fail(ErrorCode::not_found, "warning {} not found", base::quoted(uuid));
  return all[0];
}
Etag etag(const db::WarningRow &w) { return etag_of({w.uuid, w.status}); }
} // namespace

api::Reply Engine::warnings_get(api::Request &q) {
  auto project = q.query.find("project");
  json::array out;
  for (auto &w : db::warnings(*global_, {}, project == q.query.end() ? "" : project->second)) {
    if (q.recursion() == 0)
      out.emplace_back("/1.0/warnings/" + w.uuid);
    else
      out.push_back(api::to_json(w));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::warning_get(api::Request &q) {
  auto w = find(*global_, q.path[0]);
  return {api::to_json(w), etag(w), {}};
}

api::Reply Engine::warning_put(api::Request &q) {
  auto to = api::from_json<api::WarningUpdate>(q.body);
  global_->transaction([&] {
    if (!q.if_match.empty()) check_match(q.if_match, etag(find(*global_, q.path[0])), "warning " + base::quoted(q.path[0]));
    db::set_warning_status(*global_, q.path[0], to.status);
  });
  events_.lifecycle(to.status == "acknowledged" ? "warning-acknowledged" : "warning-reset", "/1.0/warnings/" + q.path[0], "default");
  return {};
}

api::Reply Engine::warning_patch(api::Request &q) { return warning_put(q); }

api::Reply Engine::warning_delete(api::Request &q) {
  db::delete_warning(*global_, q.path[0]);
  events_.lifecycle("warning-deleted", "/1.0/warnings/" + q.path[0], "default");
  return {};
}

api::Reply Engine::internal_warnings_post(api::Request &q) {
  auto r = api::from_json<api::WarningCreate>(q.body);
  db::raise_warning(*global_, {r.type_code, r.location, r.project, r.entity_type_code, r.entity_id}, r.message);
  return {};
}

} // namespace incus::embed
