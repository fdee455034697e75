// SPDX-License-Identifier: Apache-2.0
// Operations, and the rows whose answer is the server's own (rest/): in this process there is nothing behind them.
#include <boost/json.hpp>
#include <malloc.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace json = boost::json;

/// {"running": [...], "success": [...]}
api::Reply Engine::operations_get(api::Request &q) {
  bool all = q.flag("all-projects");
  auto wanted = q.query.find("project");
  if (all && wanted != q.query.end() && !wanted->second.empty())
    base::fail(ErrorCode::invalid_argument, "Cannot specify a project when requesting all projects");
  json::object out;
  for (auto &op : operations_->all()) {
    auto &project = op->project();
    // The program itself sees all; a client what it asked for.
    bool asked = all || (!q.caller && wanted == q.query.end()) || project.empty() || project == q.project();
    if (!asked || !may_see_operation(q, *op)) continue;
    auto o = op->info();
    std::string status = o.status;
    for (auto &c : status) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    auto &list = out[status];
    if (!list.is_array()) list.emplace_array();
    if (q.recursion() == 0)
      list.get_array().emplace_back("/1.0/operations/" + o.id);
    else
      list.get_array().push_back(api::to_json(o));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::operation_get(api::Request &q) {
  auto op = visible_operation(q);
  return {api::to_json(op->info()), {}, op};
}

api::Reply Engine::operation_wait_get(api::Request &q) {
  auto op = visible_operation(q);
  auto it = q.query.find("timeout");
  std::optional<std::chrono::milliseconds> timeout;
  if (it != q.query.end() && it->second != "-1") {
    if (it->second.empty() || it->second.size() > 9 || it->second.find_first_not_of("0123456789") != std::string::npos)
      base::fail(ErrorCode::invalid_argument, "invalid timeout {}: must be a number of seconds, or -1", base::quoted(it->second));
    timeout = std::chrono::seconds(std::stol(it->second));
  }
  op->wait(timeout);
  return {api::to_json(op->info()), {}, {}};
}

api::Reply Engine::operation_delete(api::Request &q) {
  auto op = visible_operation(q);
  op->cancel();
  events_.lifecycle("operation-cancelled", "/1.0/operations/" + q.path[0], op->project());
  return {};
}

api::Reply Engine::root_get(api::Request &) { return {json::array{"/1.0"}, {}, {}}; }

api::Reply Engine::internal_ready_get(api::Request &) { return {}; }

/// Memory that is free goes back to the system, as Go's collector does it.
api::Reply Engine::internal_gc_get(api::Request &) {
  ::malloc_trim(0);
  return {};
}

/// There is no BGP speaker yet; what one would advertise is nothing.
api::Reply Engine::internal_bgp_get(api::Request &) {
  return {json::object{{"server", {{"running", false}}}, {"prefixes", json::array{}}, {"peers", json::array{}}}, {}, {}};
}

api::Reply Engine::operation_websocket_get(api::Request &q) {
  visible_operation(q);
  base::fail(ErrorCode::not_supported, "the streams of operation {} are descriptors in this process: websockets are for clients of a server", base::quoted(q.path[0]));
}

api::Reply Engine::events_get(api::Request &) {
  base::fail(ErrorCode::not_supported, "events come by listen() in this process: the websocket is for clients of a server");
}

api::Reply Engine::internal_shutdown_put(api::Request &) {
  base::fail(ErrorCode::not_supported, "this host is part of a program, which ends itself: only a server can be shut down");
}

} // namespace incus::embed
